//! What can go wrong, said at once where it is found: the step, the cause, the error number; and the one way a failed boot
//! ends.

use super::text::path;
use super::{clock, sys};
use bootstrap::Step;
use bootstrap::plan::Policy;
use bootstrap::record::{Event, Record};
use core::fmt::Arguments;
use rustix::io::Errno;

/// Why a slot, or the whole boot, cannot go on. Its line is in the kernel log already.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    step: Step,
    errno: u16,
}

impl Failure {
    /// Puts the failure into the record.
    pub fn add_to(self, record: &mut Record, item: u8) {
        record.add(Event { step: self.step, item, ended_ns: clock::now_ns(), errno: self.errno });
    }
}

/// A failure of `step`: says in the kernel log what failed, about what, and the error number.
#[cold]
#[inline(never)]
pub fn refuse(step: Step, cause: &str, about: Arguments<'_>, errno: Errno) -> Failure {
    // Linux error numbers are below 4096.
    let errno = u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX);
    match about.as_str() {
        Some("") => log::error!("{step} failed: {cause} (errno {errno})"),
        _ => log::error!("{step} failed: {cause}: {about} (errno {errno})"),
    }
    Failure { step, errno }
}

/// Turns a system call's error into a failure of `step`.
pub fn check<T>(step: Step, cause: &str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, format_args!(""), errno))
}

/// As [`check`], naming what the call was about.
pub fn check_on<T>(step: Step, cause: &str, on: &str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, format_args!("{on}"), errno))
}

/// Ends a boot that cannot go on, as the plan's policy says; without a plan, by restarting, so that a bootloader that
/// counts tries can choose another.
pub fn die(policy: Option<Policy<'_>>, failure: Failure) -> ! {
    match policy.unwrap_or(Policy::Reboot) {
        Policy::Reboot => {
            log::error!("policy reboot");
            sys::call::restart(path(format_args!("initoverlayfs-{}", failure.step)).as_c_str());
        }
        Policy::PowerOff => {
            log::error!("policy power-off");
            sys::call::power_off();
        }
        Policy::Halt => log::error!("policy halt"),
        Policy::Shell(shell) => {
            log::error!("policy shell {shell}");
            let errno = sys::start::execute_alone(shell);
            log::error!("cannot start {shell} (errno {})", errno.raw_os_error());
            sys::call::restart(c"initoverlayfs-shell");
        }
    }
    sys::call::wait_forever()
}
