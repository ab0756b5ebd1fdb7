//! More kernel events than a process that has to share its processor can read.

use crate::{call, say};
use rustix::event::{Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Events in a row: more than a socket's buffer of 212,992 bytes (`net.core.rmem_default`) has room for.
const BURST: u32 = 300;
/// Between two of them, while everybody else runs: too short to read them all, and until all are read the kernel drops what comes.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };
/// Folders of the mini-initramfs for this process' own mounts.
const SYS: &core::ffi::CStr = c"/saboteur-sys";
const PROC: &core::ffi::CStr = c"/saboteur-proc";
/// Its `change` event tells nobody anything.
const EVENT: &core::ffi::CStr = c"/saboteur-sys/class/mem/null/uevent";

/// Floods every socket for kernel events until bootstrap has become the next init, then says how many it had lost.
pub fn flood(kmsg: &OwnedFd, tell: OwnedFd) -> Result<(), Errno> {
    call::own_mounts()?;
    mount(c"sysfs", SYS, c"sysfs", MountFlags::empty(), None)?;
    mount(c"proc", PROC, c"proc", MountFlags::empty(), None)?;
    let event = open(EVENT, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // The folder it is mounted on goes with the mini-initramfs, and with it the mount.
    let proc = open(PROC, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    call::in_real_time()?;
    drop(tell);
    let (mut bootstrap_ran, mut lost) = (false, 0);
    loop {
        for _ in 0..BURST {
            rustix::io::write(&event, b"change")?;
        }
        let mut buffer = [0; 64];
        let runs = read(&proc, c"1/comm", &mut buffer)?.starts_with(b"bootstrap");
        if bootstrap_ran && !runs {
            break;
        }
        bootstrap_ran |= runs;
        lost = u64::max(lost, lost_events(&proc)?);
        let _ = poll(&mut [], Some(&REST));
    }
    say(kmsg, format_args!("{lost} events lost"));
    Ok(())
}

/// How many events the sockets of bootstrap have lost so far: `Drops` of /proc/net/netlink, the ninth column, where the
/// second is 15 (NETLINK_KOBJECT_UEVENT).
fn lost_events(proc: &OwnedFd) -> Result<u64, Errno> {
    let mut buffer = [0; 8192];
    let text = core::str::from_utf8(read(proc, c"1/net/netlink", &mut buffer)?).unwrap_or_default();
    let drops = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.nth(1).filter(|protocol| *protocol == "15")?;
        words.nth(6)?.parse::<u64>().ok()
    };
    Ok(text.lines().filter_map(drops).sum())
}

fn read<'b>(proc: &OwnedFd, path: &core::ffi::CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::read(&file, &mut *buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}
