//! Steps device, verity and mount: from a slot's source to EROFS at `/image`.

use super::device::{self, Name, open_device, read_at};
use super::failure::{Failure, check, check_on, refuse};
#[cfg(feature = "full")]
use super::full::holder;
use super::full::{ahead, verity};
use super::kmsg::say;
use super::text::{c_path, text};
use super::{done, folder, sys};
use bootstrap::Step;
use bootstrap::crc::crc32;
use bootstrap::plan::{Image, Slot, Source, TAIL_BYTES};
use bootstrap::record::Record;
use bootstrap::superblock::{self, Erofs, Refusal, START_BYTES};
use core::ffi::CStr;
use log::Level;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// Finds the slot's image, checks it, and mounts it at `/image`; returns what it begins, to be read ahead.
#[inline(never)]
pub fn mount(slot: &Slot<'_>, index: u8, record: &mut Record) -> Result<ahead::Image, Failure> {
    let image = &slot.image;
    let mounted = match &slot.source {
        Source::Partition { device, options } => {
            let name = device::find(device)?;
            done(record, Step::Device, index, &name);
            mount_device(name, options, image, index, record)?
        }
        Source::Initramfs { path } => {
            let file = open(&*c_path![*path], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let file = check_on(Step::Device, "cannot open", path, file)?;
            done(record, Step::Device, index, path);
            mount_file(file, "", image, index, record)?
        }
        #[cfg(feature = "full")]
        Source::File { holder, path } => {
            let (name, file) = holder::open(holder, *path)?;
            done(record, Step::Device, index, &name);
            // Without it the kernel would cache the file and what is in it.
            mount_file(file, "directio", image, index, record)?
        }
    };
    done(record, Step::Mount, index, "");
    Ok(mounted)
}

/// Mounts EROFS from a block device.
#[inline(never)]
fn mount_device(
    name: Name,
    options: &str,
    image: &Image<'_>,
    index: u8,
    record: &mut Record,
) -> Result<ahead::Image, Failure> {
    let disk = check_on(Step::Mount, "cannot open", &name, open_device(&name))?;
    let (name, disk) = verity::cover(image, name, disk, index, record)?;
    ahead::want_metadata(&disk);
    check_image(&disk, image)?;
    let device = c_path!["/dev/", &name];
    let mounted = match mount_erofs(&device, options) {
        // A kernel without CONFIG_FS_DAX: it reads memory as it reads a disk.
        Err(Errno::INVAL) if !options.is_empty() => {
            say(Level::Warn, text!["EROFS without ", options]);
            mount_erofs(&device, "")
        }
        mounted => mounted,
    };
    check_on(Step::Mount, "cannot mount EROFS", &name, mounted)?;
    verity::let_go(image);
    Ok(ahead::kept(disk))
}

/// Mounts an EROFS file: by the file itself where kernel and holder can, else through a loop device.
#[inline(never)]
fn mount_file(
    file: OwnedFd,
    options: &str,
    image: &Image<'_>,
    index: u8,
    record: &mut Record,
) -> Result<ahead::Image, Failure> {
    if verity::check_file(image, &file, index, record)? {
        ahead::want_metadata(&file);
        check_image(&file, image)?;
        // A path would be looked up anew, and may be another file by then.
        let path = c_path!["/proc/self/fd/", file.as_raw_fd().unsigned_abs()];
        match mount_erofs(&path, options) {
            // ENOTBLK: this kernel, or the file system that holds the file, has no file-backed EROFS (Linux 6.12); EINVAL: it
            // has no `directio` (Linux 6.15).
            Err(Errno::NOTBLK | Errno::INVAL) => {}
            other => {
                check(Step::Mount, "cannot mount EROFS", other)?;
                return Ok(ahead::kept(file));
            }
        }
    }
    // Autocleared with its last user: it must live until the mount holds it.
    let device = check(Step::Mount, "cannot attach a loop device", sys::block::attach_loop(&file))?;
    let name = text!["loop", device.number];
    if !device.direct {
        say(Level::Info, text![&name, " without direct I/O"]);
    }
    mount_device(name, "", image, index, record)
}

fn mount_erofs(source: &CStr, options: &str) -> Result<(), Errno> {
    rustix::mount::mount(source, folder::IMAGE, c"erofs", MountFlags::RDONLY, &*c_path![options])
}

/// Checks what a mount does not: that the image lies there whole, and that it is this plan's.
#[inline(never)]
fn check_image(holder: &OwnedFd, expected: &Image<'_>) -> Result<(), Failure> {
    let erofs = check_start(holder, Step::Mount)?;
    if let Image::Pinned { uuid, tail: expected } = expected {
        if erofs.uuid != *uuid {
            return Err(refusal(Step::Mount, Refusal::Uuid));
        }
        let mut tail = [0; TAIL_BYTES];
        let inside = expected.offset.saturating_add(TAIL_BYTES as u64) <= erofs.bytes;
        check(Step::Mount, "cannot read the end of the image", read_at(holder, &mut tail, expected.offset))?;
        if !inside || crc32(&tail) != expected.crc {
            return Err(refusal(Step::Mount, Refusal::Tail));
        }
    }
    Ok(())
}

/// Checks the superblock of the image that `holder` begins with.
#[inline(never)]
pub fn check_start(holder: &OwnedFd, step: Step) -> Result<Erofs, Failure> {
    let room = check(step, "cannot read the image's size", seek(holder, SeekFrom::End(0)))?;
    let mut start = [0; START_BYTES];
    let length = check(step, "cannot read the image", rustix::io::pread(holder, &mut start[..], 0))?;
    superblock::erofs(start.get(..length).unwrap_or(&[]), room).map_err(|found| refusal(step, found))
}

fn refusal(step: Step, refusal: Refusal) -> Failure {
    refuse(step, refusal.name(), "", Errno::INVAL)
}
