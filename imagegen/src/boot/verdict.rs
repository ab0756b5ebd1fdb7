//! Why a boot did not reach the next init, and what to do about it.

use super::console::Log;
use super::qemu::{End, Qemu, Transport};
use crate::{Error, Result};
use bootstrap::Step;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The console level from which on the kernel prints "Run /init" (`KERN_INFO` in include/linux/kern_levels.h is 6).
const LOGLEVEL_SEEN: u32 = 7;

/// How a boot went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the console told.
    pub log: Log,
    /// How watching it ended.
    pub end: End,
    /// Lines the console printed.
    pub lines: u64,
    /// How long was allowed.
    pub timeout: Duration,
    /// What was started.
    pub qemu: Qemu,
}

impl Outcome {
    /// # Errors
    /// Failed work with the cause, unless the next init ran.
    pub fn verdict(&self) -> Result<()> {
        if self.log.next_init_ran() {
            return Ok(());
        }
        let (cause, hint) = self.cause();
        // Of a boot that says nothing nobody knows.
        let what =
            if self.is_told() { "the next init did not run" } else { "nobody can tell whether the next init ran" };
        Err(Error::failed(format!("{what}: {cause}"), hint))
    }

    fn cause(&self) -> (String, String) {
        let Qemu { program, machine, .. } = &self.qemu;
        let seconds = self.timeout.as_secs_f64();
        if let Some((step, cause, errno)) = self.log.failures.last() {
            let mut hint =
                "the console says it for each slot; `imagegen inspect` of the folder shows what the plan wants"
                    .to_owned();
            if *step == Step::Device {
                let transport = match self.qemu.transport {
                    Transport::Pci => "pci: or does this machine have mmio?",
                    Transport::Mmio => "mmio: or does this machine have pci?",
                };
                hint += &format!("; is the driver of its disk in modules.load? qemu.transport is {transport}");
            }
            return (format!("{step} failed: {cause} (errno {errno})"), hint);
        }
        if let Some(why) = &self.log.panic {
            let hint = "can the kernel unpack the initramfs (its compression), and are its modules of its version?";
            return (format!("the kernel panicked: {why}"), hint.to_owned());
        }
        let of_machine =
            format!("is the kernel for {program} -machine {machine}, and are board and kernel of one processor?");
        if self.end == End::Exited(false) {
            return (format!("{program} failed"), format!("its own message is above; {of_machine}"));
        }
        if let Some(word) = self.hides() {
            let hint = format!("boot without `{word}`, in --append and in the board's qemu.append");
            return (format!("`{word}` hides the kernel's log"), hint);
        }
        let hint = "the console's last lines say how far it came";
        match self.end {
            End::Exited(_) => (format!("{program} ended before"), hint.to_owned()),
            End::Stopped | End::Deadline if self.lines == 0 => {
                let cause = format!("nothing on the console within {seconds} s");
                (cause, format!("{of_machine} is qemu.console its console?"))
            }
            End::Stopped | End::Deadline => {
                (format!("stopped after {seconds} s"), format!("{hint}; --timeout gives it longer"))
            }
        }
    }

    fn is_told(&self) -> bool {
        let log = &self.log;
        !log.failures.is_empty() || log.panic.is_some() || self.end == End::Exited(false) || self.hides().is_none()
    }

    /// The kernel argument that keeps the kernel's log from the console.
    fn hides(&self) -> Option<String> {
        let words = self.qemu.append.as_bytes().split(|byte| *byte == b' ').map(String::from_utf8_lossy);
        let hides = |word: &str| {
            let level = word.strip_prefix("loglevel=").and_then(|level| level.parse().ok());
            word == "quiet" || level.is_some_and(|level: u32| level < LOGLEVEL_SEEN)
        };
        words.filter(|word| hides(word)).map(String::from).next_back()
    }
}
