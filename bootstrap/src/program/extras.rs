//! Step extras: lays what the bootloader added on top of the image.
//!
//! The kernel has unpacked every cpio it was given into the rootfs. Of what lies there beside our own files, only what the
//! board allows is copied, and only directories, regular files and symbolic links: a device node in an unsigned cpio is
//! refused. Targets are resolved inside the new root (`RESOLVE_IN_ROOT`, Linux 5.6), so no link leads out of it.

use super::failure::{Failure, check, check_on};
use super::folder;
use super::sys::memory;
use super::text::c_path;
use bootstrap::Step;
use bootstrap::plan::List;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How deep directories are followed; a deeper one is refused.
const MAX_DEPTH: u32 = 16;
/// Bytes copied at once.
const COPY_BYTES: usize = 64 * 1024;

/// Copies the allowed paths that are there; returns how many files that were.
#[inline(never)]
pub fn lay(allowed: List<'_, &str>) -> Result<u32, Failure> {
    let root = open_folder(CWD, folder::ROOT, ResolveFlags::empty());
    let root = check(Step::Extras, "cannot open the overlay", root)?;
    let mut files = 0;
    for path in allowed {
        match lay_one(&root, path.strip_prefix('/').unwrap_or(path)) {
            Ok(count) => files += count,
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NODEV) => {
                let refused = Err(Errno::NODEV);
                return check_on(Step::Extras, "not a file, directory or link", path, refused);
            }
            Err(errno) => return check_on(Step::Extras, "cannot lay", path, Err(errno)),
        }
    }
    Ok(files)
}

fn lay_one(root: &OwnedFd, path: &str) -> Result<u32, Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    // The source's own parents must be real directories: a link there would let one allowed name stand for another.
    let old_root = open_folder(CWD, c"/", ResolveFlags::empty())?;
    let from = open_folder(old_root.as_fd(), &c_path![parent], ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH)?;
    let name = c_path![name];
    rustix::fs::statat(&from, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    let to = make_folders(root, parent)?;
    copy(from.as_fd(), to.as_fd(), &name, 0)
}

/// Opens the directory `path` below `root`, making what is missing.
fn make_folders(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut folder = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
    let mut end = 0;
    for name in path.split('/') {
        end += name.len();
        let so_far = c_path![path.get(..end).ok_or(Errno::INVAL)?];
        end += 1;
        folder = match open_folder(root.as_fd(), &so_far, ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&folder, &*c_path![name], Mode::from_raw_mode(0o755))?;
                open_folder(root.as_fd(), &so_far, ResolveFlags::IN_ROOT)?
            }
            other => other?,
        };
    }
    Ok(folder)
}

/// Copies one file, directory or link, replacing what is not a directory.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<u32, Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if depth < MAX_DEPTH => copy_folder(from, to, name, mode, depth),
        FileType::RegularFile => copy_file(from, to, name, mode).map(|()| 1),
        FileType::Symlink => copy_link(from, to, name).map(|()| 1),
        FileType::Directory => Err(Errno::NAMETOOLONG),
        _ => Err(Errno::NODEV),
    }
}

fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, mode: Mode, depth: u32) -> Result<u32, Errno> {
    match rustix::fs::mkdirat(to, name, mode) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let inside = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let (from, to) = (open_folder(from, name, inside)?, open_folder(to, name, inside)?);
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&from, &mut buffer);
    let mut files = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            files += copy(from.as_fd(), to.as_fd(), entry.file_name(), depth + 1)?;
        }
    }
    Ok(files)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<(), Errno> {
    let source = openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    remove(to, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(to, name, flags, mode)?;
    while rustix::fs::sendfile(&target, &source, None, COPY_BYTES)? != 0 {}
    Ok(())
}

fn copy_link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // PATH_MAX, which counts the NUL.
    let mut buffer = [0; 4096];
    let length = rustix::fs::readlinkat_raw(from, name, &mut buffer[..])?;
    remove(to, name)?;
    // A target that fills the buffer has no NUL in it and becomes the empty one, which the kernel refuses.
    rustix::fs::symlinkat(memory::c_str(buffer.get(..=length).unwrap_or_default()), to, name)
}

fn remove(folder: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open_folder(at: BorrowedFd<'_>, path: &CStr, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    openat2(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}
