//! What can go wrong, said at once where it is found: the step, the cause, the error number; and the one way a failed boot
//! ends.

use super::full::help;
use super::kmsg::say;
use super::text::{c_path, text};
use super::{clock, sys};
use bootstrap::Step;
use bootstrap::plan::Policy;
use bootstrap::record::{Event, Record};
use log::Level;
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
pub fn refuse(step: Step, cause: &str, about: &str, errno: Errno) -> Failure {
    // Linux error numbers are below 4096.
    let errno = u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX);
    let colon = if about.is_empty() { "" } else { ": " };
    say(Level::Error, text![step, " failed: ", cause, colon, about, " (errno ", u32::from(errno), ")"]);
    Failure { step, errno }
}

/// Turns a system call's error into a failure of `step`.
pub fn check<T>(step: Step, cause: &str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, "", errno))
}

/// As [`check`], naming what the call was about.
pub fn check_on<T>(step: Step, cause: &str, on: &str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, on, errno))
}

/// Ends a boot that cannot go on, as the plan's policy says; without a plan, by restarting, so that a bootloader that
/// counts tries can choose another.
pub fn die(policy: Option<Policy<'_>>, failure: Failure) -> ! {
    help::say_what_there_is();
    help::keep(&text!["initoverlayfs: ", failure.step, " failed (errno ", u32::from(failure.errno), ")"]);
    match policy.unwrap_or(Policy::Reboot) {
        Policy::Reboot => {
            say(Level::Error, text!["policy reboot"]);
            sys::call::restart(&c_path!["initoverlayfs-", failure.step]);
        }
        Policy::PowerOff => {
            say(Level::Error, text!["policy power-off"]);
            // Where the hardware refuses the kernel ends the process that asked (`reboot()`, kernel/reboot.c, Linux 6.12), and PID
            // 1 must not end.
            sys::call::in_child_or_here(sys::call::power_off);
        }
        Policy::Halt => say(Level::Error, text!["policy halt"]),
        Policy::Shell(shell) => {
            say(Level::Error, text!["policy shell ", shell]);
            let errno = sys::start::execute_alone(shell);
            say(Level::Error, text!["cannot start ", shell, " (errno ", errno.raw_os_error().unsigned_abs(), ")"]);
            sys::call::restart(c"initoverlayfs-shell");
        }
    }
    sys::call::wait_forever()
}
