//! File systems that hold something: the image as a file, or what is written to the overlay.

use crate::program::device::{self, Name};
use crate::program::early::{argument, read_file};
use crate::program::extras::open_folder;
use crate::program::failure::{Failure, check, check_on, refuse};
use crate::program::folder;
use crate::program::kmsg::say;
use crate::program::overlay::UPPER;
use crate::program::switch::remove_entries;
use crate::program::sys;
use crate::program::text::{Path, c_path, text};
use bootstrap::plan::{FilePath, Holder};
use bootstrap::{Step, cmdline};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use log::Level;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// What a reset takes away: renamed first, so that a reset cut short leaves nothing half.
const OLD: &CStr = c"/upper/old";

/// Finds the device and mounts its file system at `target`; returns the device's name.
///
/// Mounted read-only, ext4 and f2fs still clean up orphans on a device that can be written to (`ext4_orphan_cleanup()`,
/// fs/ext4/orphan.c, Linux 6.12): so it cannot be where it is to be `protected`, until it is mounted. Then it can again, for a
/// content that wants to.
#[inline(never)]
fn mount(holder: &Holder<'_>, target: &CStr, flags: MountFlags, protected: bool) -> Result<Name, Failure> {
    let name = device::find(&holder.device)?;
    let (kind, options) = (c_path![holder.kind], c_path![holder.options]);
    let disk = protected.then(|| device::open_device(&name)).transpose();
    let disk = check_on(Step::Device, "cannot open", &name, disk)?;
    let protect = |read_only| disk.as_ref().map_or(Ok(()), |disk| sys::block::set_read_only(disk, read_only));
    check_on(Step::Device, "cannot protect", &name, protect(true))?;
    let mounted = rustix::mount::mount(&*c_path!["/dev/", &name], target, &*kind, flags, &*options);
    check_on(Step::Device, "cannot unprotect", &name, protect(false))?;
    check_on(Step::Device, "cannot mount the file system of", &name, mounted)?;
    Ok(name)
}

/// Mounts the file system and opens the image's file in it; no link leads out of it. Returns the device's name too.
#[inline(never)]
pub fn open(holder: &Holder<'_>, path: FilePath<'_>) -> Result<(Name, OwnedFd), Failure> {
    let (path, flags, protected) = match path {
        FilePath::At(path) => (c_path![path], MountFlags::RDONLY, true),
        FilePath::Ostree => {
            let (path, flags) = ostree()?;
            (path, flags, false)
        }
    };
    let name = mount(holder, folder::HOLDER, flags, protected)?;
    let find = || {
        let root = open_folder(CWD, folder::HOLDER, ResolveFlags::empty())?;
        openat2(&root, &*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    let file = check_on(Step::Device, "cannot open", path.to_str().unwrap_or_default(), find())?;
    Ok((name, file))
}

/// Where the image lies in the OSTree deployment that the command line names, and how the content will mount its file system.
///
/// As long as the image is in use a second mount is the same file system: with `rw` EBUSY if it is read-only here
/// (`get_tree_bdev_flags()`, fs/super.c, Linux 6.12), and for good without a journal if it had none here.
#[inline(never)]
fn ostree() -> Result<(Path, MountFlags), Failure> {
    let mut line = [MaybeUninit::uninit(); 4096];
    let line = check(Step::Device, "cannot read the command line", read_file(c"/proc/cmdline", &mut line))?;
    let deployment = cmdline::ostree(line).and_then(|target| core::str::from_utf8(target).ok());
    let Some(deployment) = deployment else {
        return Err(refuse(Step::Device, "the command line names no OSTree deployment", "", Errno::NOENT));
    };
    let kernel = rustix::system::uname();
    let release = kernel.release().to_str().unwrap_or_default();
    let flags = if cmdline::is_writable(line) { MountFlags::NOATIME } else { MountFlags::RDONLY };
    Ok((c_path![deployment, "/usr/lib/modules/", release, "/initoverlayfs.erofs"], flags))
}

/// Mounts the file system that keeps what is written, and empties it if the command line says so.
#[inline(never)]
pub fn mount_upper(holder: &Holder<'_>) -> Result<(), Failure> {
    mount(holder, folder::UPPER, MountFlags::empty(), false)?;
    if argument(b"initoverlayfs.upper", &mut [MaybeUninit::uninit(); 4096]) == Some("reset") {
        check(Step::Overlay, "cannot reset the upper directory", reset())?;
        say(Level::Warn, text!["upper directory reset"]);
    }
    Ok(())
}

/// Takes away all that was ever written.
fn reset() -> Result<(), Errno> {
    remove_old();
    match rustix::fs::rename(UPPER, OLD) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    remove_old();
    Ok(())
}

fn remove_old() {
    if let Ok(old) = open_folder(CWD, OLD, ResolveFlags::NO_SYMLINKS) {
        remove_entries(old.as_fd(), 1);
        let _ = rustix::fs::unlinkat(CWD, OLD, AtFlags::REMOVEDIR);
    }
}
