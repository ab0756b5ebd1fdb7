//! File systems that hold something: the image as a file, or what is written to the overlay.

use super::device::{self, Name};
use super::early::read_file;
use super::failure::{Failure, check, check_on, refuse};
use super::folder;
use super::text::{Path, c_path};
use bootstrap::plan::{FilePath, Holder};
use bootstrap::{Step, cmdline};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// Finds the device and mounts its file system at `target`; returns the device's name.
#[inline(never)]
pub fn mount(holder: &Holder<'_>, target: &CStr, flags: MountFlags) -> Result<Name, Failure> {
    let name = device::find(&holder.device)?;
    let (kind, options) = (c_path![holder.kind], c_path![holder.options]);
    let mounted = rustix::mount::mount(&*c_path!["/dev/", &name], target, &*kind, flags, &*options);
    check_on(Step::Device, "cannot mount the file system of", &name, mounted)?;
    Ok(name)
}

/// Opens the image's file; no link leads out of the file system that holds it.
#[inline(never)]
pub fn open(path: FilePath<'_>) -> Result<OwnedFd, Failure> {
    let path = match path {
        FilePath::At(path) => c_path![path],
        FilePath::Ostree => ostree()?,
    };
    let find = || {
        let root = super::extras::open_folder(rustix::fs::CWD, folder::HOLDER, ResolveFlags::empty())?;
        openat2(&root, &*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    check_on(Step::Device, "cannot open", path.to_str().unwrap_or_default(), find())
}

/// Where the image lies in the OSTree deployment that the command line names.
#[inline(never)]
fn ostree() -> Result<Path, Failure> {
    let mut line = [MaybeUninit::uninit(); 4096];
    let line = check(Step::Device, "cannot read the command line", read_file(c"/proc/cmdline", &mut line))?;
    let deployment = cmdline::ostree(line).and_then(|target| core::str::from_utf8(target).ok());
    let Some(deployment) = deployment else {
        return Err(refuse(Step::Device, "the command line names no OSTree deployment", "", Errno::NOENT));
    };
    let kernel = rustix::system::uname();
    let release = kernel.release().to_str().unwrap_or_default();
    Ok(c_path![deployment, "/usr/lib/modules/", release, "/initoverlayfs.erofs"])
}
