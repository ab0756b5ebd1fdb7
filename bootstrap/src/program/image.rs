//! Steps device and mount: from a slot's source to EROFS at `/image`.

use super::device;
use super::failure::{Failure, check, check_on, refuse};
use super::kmsg::say;
use super::text::{c_path, text};
use super::{done, folder, sys};
use bootstrap::Step;
use bootstrap::crc::crc32;
use bootstrap::plan::{Image, Slot, Source, TAIL_BYTES};
use bootstrap::record::Record;
use bootstrap::superblock::{self, Refusal, START_BYTES};
use core::ffi::CStr;
use log::Level;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use rustix::io::{Errno, pread};
use rustix::mount::MountFlags;

/// Finds the slot's image, checks it, and mounts it at `/image`.
#[inline(never)]
pub fn mount(slot: &Slot<'_>, index: u8, record: &mut Record) -> Result<(), Failure> {
    match &slot.source {
        Source::Partition { device, wanted, hint, deadline_ms } => {
            let name = device::find(device, wanted, *hint, *deadline_ms)?;
            done(record, Step::Device, index, &name);
            let disk = check_on(Step::Mount, "cannot open", &name, device::open_device(&name))?;
            check_image(&disk, &slot.image)?;
            check(Step::Mount, "cannot mount EROFS", mount_erofs(&c_path!["/dev/", &name]))?;
        }
        Source::Initramfs { path } => {
            let file = open(&*c_path![*path], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let file = check_on(Step::Device, "cannot open", path, file)?;
            done(record, Step::Device, index, path);
            check_image(&file, &slot.image)?;
            mount_file(path, &file)?;
        }
    }
    done(record, Step::Mount, index, "");
    Ok(())
}

/// Mounts an EROFS file: by the file itself where the kernel can (6.12, on ramfs), else through a loop device.
#[inline(never)]
fn mount_file(path: &str, file: &OwnedFd) -> Result<(), Failure> {
    match mount_erofs(&c_path![path]) {
        // ENOTBLK: this kernel, or the file system that holds the file, has no file-backed EROFS.
        Err(Errno::NOTBLK) => {}
        other => return check(Step::Mount, "cannot mount EROFS", other),
    }
    // Autocleared with its last user: it must live until the mount holds it.
    let device = check(Step::Mount, "cannot attach a loop device", sys::block::attach_loop(file))?;
    if !device.direct {
        say(Level::Info, text!["loop", device.number, " without direct I/O"]);
    }
    let name = text!["loop", device.number];
    check_on(Step::Mount, "cannot mount EROFS", &name, mount_erofs(&c_path!["/dev/", &name]))
}

fn mount_erofs(source: &CStr) -> Result<(), Errno> {
    rustix::mount::mount(source, folder::IMAGE, c"erofs", MountFlags::RDONLY, None)
}

/// Checks what a mount does not: that the image lies there whole, and that it is this plan's.
#[inline(never)]
fn check_image(holder: &OwnedFd, expected: &Image<'_>) -> Result<(), Failure> {
    let room = check(Step::Mount, "cannot read the image's size", seek(holder, SeekFrom::End(0)))?;
    let mut start = [0; START_BYTES];
    let length = check(Step::Mount, "cannot read the image", pread(holder, &mut start[..], 0))?;
    let erofs = superblock::erofs(start.get(..length).unwrap_or(&[]), room).map_err(refusal)?;
    if expected.uuid.is_some_and(|uuid| erofs.uuid != uuid) {
        return Err(refusal(Refusal::Uuid));
    }
    if let Some(expected) = expected.tail {
        let mut tail = [0; TAIL_BYTES];
        let length =
            check(Step::Mount, "cannot read the end of the image", pread(holder, &mut tail[..], expected.offset))?;
        let inside = expected.offset.saturating_add(TAIL_BYTES as u64) <= erofs.bytes;
        if length != TAIL_BYTES || !inside || crc32(&tail) != expected.crc {
            return Err(refusal(Refusal::Tail));
        }
    }
    Ok(())
}

fn refusal(refusal: Refusal) -> Failure {
    refuse(Step::Mount, refusal.name(), "", Errno::INVAL)
}
