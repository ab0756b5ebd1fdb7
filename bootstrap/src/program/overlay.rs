//! Step overlay: a writable layer over the image, in a tmpfs of its own whose size and inodes are capped, or in a file system that
//! keeps it.

use super::failure::{Failure, check};
use super::folder;
use super::full::verity;
use super::text::c_path;
use bootstrap::Step;
use bootstrap::plan::Upper;
use core::ffi::CStr;
use rustix::fs::{CWD, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};

/// The upper directory.
pub const UPPER: &CStr = c"/upper/upper";
const WORK: &CStr = c"/upper/work";
const OPTIONS: &CStr = c"lowerdir=/image,upperdir=/upper/upper,workdir=/upper/work";
const OPTIONS_WITH_EXTRAS: &CStr = c"lowerdir=/extras:/image,upperdir=/upper/upper,workdir=/upper/work";

/// Mounts what holds the upper directory, and the overlay.
#[inline(never)]
pub fn mount(upper: &Upper<'_>, has_extras: bool) -> Result<(), Failure> {
    match upper {
        Upper::Memory(options) => {
            let options = c_path![*options];
            let tmpfs = rustix::mount::mount(c"upper", folder::UPPER, c"tmpfs", MountFlags::empty(), &*options);
            check(Step::Overlay, "cannot mount the upper tmpfs", tmpfs)?;
        }
        #[cfg(feature = "full")]
        Upper::Partition(holder) => super::full::holder::mount_upper(holder)?,
    }
    check(Step::Overlay, "cannot make the upper directory", make_upper())?;
    check(Step::Overlay, "cannot make the work directory", make(WORK, Mode::RWXU).map(drop))?;
    let options = if has_extras { OPTIONS_WITH_EXTRAS } else { OPTIONS };
    let overlay = rustix::mount::mount(c"overlay", folder::ROOT, c"overlay", MountFlags::empty(), options);
    check(Step::Overlay, "cannot mount the overlay", overlay)
}

/// Makes a folder; false if it was there.
fn make(path: &CStr, mode: Mode) -> Result<bool, Errno> {
    match rustix::fs::mkdir(path, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The merged root shows the upper directory's mode and owner, so they are made those of the image's root.
fn make_upper() -> rustix::io::Result<()> {
    let image = rustix::fs::stat(folder::IMAGE)?;
    let mode = Mode::from_raw_mode(image.st_mode);
    if !make(UPPER, mode)? {
        return Ok(());
    }
    // Bits that the umask of PID 1 (0022, set by the kernel) takes away, and those mkdir ignores.
    if !(Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH).contains(mode) {
        rustix::fs::chmod(UPPER, mode)?;
    }
    if (image.st_uid, image.st_gid) != (0, 0) {
        let (owner, group) = (Uid::from_raw(image.st_uid), Gid::from_raw(image.st_gid));
        rustix::fs::chownat(CWD, UPPER, Some(owner), Some(group), rustix::fs::AtFlags::empty())?;
    }
    Ok(())
}

/// Leaves what the overlay is made of mounted in the overlay alone, which has mounts of its own of it (`clone_private_mount()`,
/// fs/overlayfs/super.c, Linux 6.12): whoever leaves the overlay for the final root frees image, holder and what was written. In the
/// covered rootfs nobody could unmount them any more.
pub fn hide_layers() {
    for mounted in [folder::UPPER, folder::IMAGE, folder::HOLDER] {
        // EINVAL where there is none. What stays costs memory.
        let _ = unmount(mounted, UnmountFlags::DETACH);
    }
}

/// Takes away what a refused slot has mounted, so that the next one starts clean.
pub fn undo() {
    for mounted in [folder::ROOT, folder::UPPER, folder::IMAGE] {
        // EINVAL where nothing was mounted yet.
        let _ = unmount(mounted, UnmountFlags::DETACH);
    }
    verity::undo();
    let _ = unmount(folder::HOLDER, UnmountFlags::DETACH);
}
