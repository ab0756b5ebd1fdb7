//! `guest=leave`: the content leaves its root for another, as an initrd does once it has found the root file system. What it left
//! must be in nobody's way then.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// The new root, in memory.
const ROOT: &core::ffi::CStr = c"/.guest-root";
/// What goes along.
const MOVED: [(&core::ffi::CStr, &core::ffi::CStr); 4] = [
    (c"/dev", c"/.guest-root/dev"),
    (c"/proc", c"/.guest-root/proc"),
    (c"/sys", c"/.guest-root/sys"),
    (c"/run", c"/.guest-root/run"),
];

/// Does so, up to the point where only this program's own file is left there.
pub fn leave() -> Result<(), Errno> {
    // They lie in the root that is left.
    crate::port::load_modules();
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdir(ROOT, mode)?;
    rustix::mount::mount(c"root", ROOT, c"tmpfs", MountFlags::empty(), None)?;
    copy(c"/init", c"/.guest-root/init")?;
    for (from, to) in MOVED {
        rustix::fs::mkdir(to, mode)?;
        // What is no mount stays behind.
        let _ = rustix::mount::mount_move(from, to);
    }
    rustix::process::chdir(ROOT)?;
    // As systemd does it: old and new root lie in one place, and the upper one is the old.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)
}

fn copy(from: &core::ffi::CStr, to: &core::ffi::CStr) -> Result<(), Errno> {
    let from: OwnedFd = open(from, OFlags::RDONLY, Mode::empty())?;
    let to = open(to, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o755))?;
    let mut buffer = [0; 4096];
    loop {
        let length = rustix::io::read(&from, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        rustix::io::write(&to, buffer.get(..length).unwrap_or_default())?;
    }
}
