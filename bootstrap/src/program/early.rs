//! Step early-mounts: the kernel's file systems, the log, the plan.

use super::failure::{Failure, check, refuse};
use super::{kmsg, sys};
use bootstrap::plan::{self, Plan};
use bootstrap::{Step, cmdline};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::stdio;

/// [`plan::PATH`], as the kernel takes it.
const PLAN: &CStr = c"/plan";

/// Mounts devtmpfs, proc, sysfs and /run, opens the log, and reads the plan into `buffer`.
#[inline(never)]
pub fn run(buffer: &mut [MaybeUninit<u8>]) -> Result<Plan<'_>, Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Since Linux 2.6.32; an initramfs gets no devtmpfs from the kernel even with CONFIG_DEVTMPFS_MOUNT.
    let devices = mount(c"dev", c"/dev", c"devtmpfs", MountFlags::NOSUID, c"mode=0755");
    let log = kmsg::start(open_kmsg());
    check(Step::EarlyMounts, "cannot mount devtmpfs", devices)?;
    check(Step::EarlyMounts, "cannot open /dev/kmsg", log)?;
    check(Step::EarlyMounts, "cannot mount proc", mount(c"proc", c"/proc", c"proc", plain, None))?;
    check(Step::EarlyMounts, "cannot mount sysfs", mount(c"sysfs", c"/sys", c"sysfs", plain, None))?;
    let run_flags = MountFlags::NOSUID | MountFlags::NODEV;
    check(Step::EarlyMounts, "cannot mount /run", mount(c"run", c"/run", c"tmpfs", run_flags, c"mode=0755"))?;
    read_plan(buffer)
}

/// Reads the plan into `buffer` and checks it.
pub fn read_plan(buffer: &mut [MaybeUninit<u8>]) -> Result<Plan<'_>, Failure> {
    let bytes = check(Step::EarlyMounts, "cannot read the plan", read_file(PLAN, buffer))?;
    plan::open(bytes).map_err(|error| refuse(Step::EarlyMounts, "plan is invalid", error.name(), Errno::BADMSG))
}

/// Opens `/dev/kmsg`. Makes sure that descriptors 0 to 2 are open: the kernel leaves them closed when the initramfs has
/// no `/dev/console` (`console_on_rootfs()`, init/main.c), and the log must not become the next init's standard input.
fn open_kmsg() -> Result<OwnedFd, Errno> {
    let log = kmsg::open_log()?;
    if log.as_raw_fd() > 2 {
        return Ok(log);
    }
    drop(log);
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let terminal = open(c"/dev/console", flags, Mode::empty()).or_else(|_| open(c"/dev/null", flags, Mode::empty()))?;
    stdio::dup2_stdin(&terminal)?;
    stdio::dup2_stdout(&terminal)?;
    stdio::dup2_stderr(&terminal)?;
    if terminal.as_raw_fd() <= 2 {
        // It is one of the three itself and stays open.
        core::mem::forget(terminal);
    }
    kmsg::open_log()
}

/// The value of `name=value` on the kernel command line, which goes into `line`.
#[inline(never)]
pub fn argument<'l>(name: &[u8], line: &'l mut [MaybeUninit<u8>]) -> Option<&'l str> {
    core::str::from_utf8(cmdline::value(read_file(c"/proc/cmdline", line).ok()?, name)?).ok()
}

/// Reads a whole small file into `buffer`; E2BIG if it does not fit.
pub fn read_file<'b>(path: &CStr, buffer: &'b mut [MaybeUninit<u8>]) -> Result<&'b [u8], Errno> {
    read_whole(&open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, buffer)
}

/// Reads an open file as a whole.
pub fn read_whole<'b>(file: &OwnedFd, buffer: &'b mut [MaybeUninit<u8>]) -> Result<&'b [u8], Errno> {
    let mut length = 0;
    loop {
        let room = buffer.get_mut(length..).filter(|room| !room.is_empty()).ok_or(Errno::TOOBIG)?;
        match rustix::io::read(file, room) {
            Ok(([], _)) => break,
            Ok((read, _)) => length += read.len(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    sys::memory::written(buffer, length).ok_or(Errno::TOOBIG)
}
