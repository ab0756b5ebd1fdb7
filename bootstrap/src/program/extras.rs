//! Step extras: what the bootloader added becomes a layer of the overlay.
//!
//! The kernel has unpacked every cpio it was given into the rootfs. Of what lies there beside our own files only what the
//! board allows is moved into a folder that nothing else has written to, which the overlay shows on top of the image: nothing is
//! copied. Only folders, regular files and symbolic links are taken: a device node in an unsigned cpio is refused.

use super::failure::{Failure, check_on};
use super::text::c_path;
use bootstrap::Step;
use bootstrap::plan::{Extra, List};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Uid, openat2};
use rustix::io::Errno;

/// How deep directories are followed; a deeper one is refused.
const MAX_DEPTH: u32 = 16;

/// Makes the layer; returns how many files are in it.
#[inline(never)]
pub fn gather(extras: List<'_, Extra<'_>>) -> Result<u32, Failure> {
    let mut files = 0;
    for extra in extras {
        match extra {
            Extra::Folder { path, mode, uid, gid } => {
                check_on(Step::Extras, "cannot make", path, make_folder(path, mode, uid, gid))?;
            }
            Extra::Move { from, to } => match take(from, to) {
                Ok(count) => files += count,
                Err(Errno::NOENT) => {}
                Err(Errno::LOOP | Errno::NODEV) => {
                    return check_on(Step::Extras, "not a file, directory or link", from, Err(Errno::NODEV));
                }
                Err(errno) => return check_on(Step::Extras, "cannot lay", from, Err(errno)),
            },
        }
    }
    Ok(files)
}

/// A folder that is there already was put there by somebody else, and what is in it is not what the board allows.
fn make_folder(path: &str, mode: u16, uid: u32, gid: u32) -> Result<(), Errno> {
    let path = c_path![path];
    rustix::fs::mkdir(&*path, Mode::empty())?;
    rustix::fs::chownat(CWD, &*path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::empty())?;
    rustix::fs::chmod(&*path, Mode::from_raw_mode(mode.into()))
}

fn take(from: &str, to: &str) -> Result<u32, Errno> {
    let (parent, name) = from.rsplit_once('/').unwrap_or((from, ""));
    // The source's own parents must be real directories: a link there would let one allowed name stand for another.
    let folder = open_folder(CWD, &c_path!["/", parent], ResolveFlags::NO_SYMLINKS)?;
    let name = c_path![name];
    let files = count(folder.as_fd(), &name, 0)?;
    rustix::fs::renameat(&folder, &*name, CWD, &*c_path![to])?;
    Ok(files)
}

/// Counts the files of a tree that holds nothing but folders, regular files and symbolic links.
fn count(folder: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<u32, Errno> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => return Ok(1),
        FileType::Directory if depth == MAX_DEPTH => return Err(Errno::NAMETOOLONG),
        FileType::Directory => {}
        _ => return Err(Errno::NODEV),
    }
    let folder = open_folder(folder, name, ResolveFlags::NO_SYMLINKS)?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut files = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            files += count(folder.as_fd(), entry.file_name(), depth + 1)?;
        }
    }
    Ok(files)
}

pub fn open_folder(at: BorrowedFd<'_>, path: &CStr, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    openat2(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}
