//! What can go wrong, said once: the step, the cause, the error number; and the one way a failed boot ends.

use super::text::{Text, path, text};
use super::{clock, sys};
use bootstrap::Step;
use bootstrap::plan::Policy;
use bootstrap::record::{Event, Record};
use rustix::io::Errno;

/// Why a slot, or the whole boot, cannot go on.
#[derive(Debug)]
pub struct Failure {
    step: Step,
    cause: &'static str,
    detail: Text,
    errno: Errno,
    reported: bool,
}

impl Failure {
    /// Adds what exactly: a path, a name. Cut where it is too long.
    pub fn about(mut self, detail: core::fmt::Arguments<'_>) -> Self {
        self.detail = text(detail);
        self
    }

    /// The same failure, already in the log.
    pub fn reported(mut self) -> Self {
        self.reported = true;
        self
    }
}

/// A failure of `step`.
pub fn refuse(step: Step, cause: &'static str, errno: Errno) -> Failure {
    Failure { step, cause, detail: Text::new(), errno, reported: false }
}

/// Turns a system call's error into a failure of `step`.
pub fn check<T>(step: Step, cause: &'static str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, errno))
}

/// As [`check`], naming what the call was about.
pub fn check_on<T>(step: Step, cause: &'static str, on: &str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| refuse(step, cause, errno).about(format_args!("{on}")))
}

/// Puts the failure into the record and the kernel log.
pub fn report(failure: &Failure, item: u8, record: &mut Record) {
    let Failure { step, cause, detail, errno, .. } = failure;
    // Linux error numbers are below 4096.
    let number = u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX);
    record.add(Event { step: *step, item, ended_ns: clock::now_ns(), errno: number });
    let separator = if detail.is_empty() { "" } else { ": " };
    log::error!("{step} failed: {cause}{separator}{detail} (errno {number})");
}

/// Ends a boot that cannot go on, as the plan's policy says; without a plan, by restarting, so that a bootloader that
/// counts tries can choose another.
pub fn die(policy: Option<Policy<'_>>, failure: &Failure, record: &mut Record) -> ! {
    if !failure.reported {
        report(failure, 0, record);
    }
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
