//! Steps device, verity and mount: from a slot's source to EROFS at `/image`.

use super::device::{self, Name, open_device, read_at};
use super::failure::{Failure, check, check_on, refuse};
use super::holder;
use super::kmsg::say;
use super::text::{c_path, text};
use super::{done, folder, sys, verity};
use bootstrap::Step;
use bootstrap::crc::crc32;
use bootstrap::plan::{Image, Slot, Source, TAIL_BYTES, Trust};
use bootstrap::record::Record;
use bootstrap::superblock::{self, Erofs, Refusal, START_BYTES};
use bootstrap::trailer;
use core::ffi::CStr;
use log::Level;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// Finds the slot's image, checks it, and mounts it at `/image`.
#[inline(never)]
pub fn mount(slot: &Slot<'_>, index: u8, record: &mut Record) -> Result<(), Failure> {
    let image = &slot.image;
    match &slot.source {
        Source::Partition { device, options } => {
            let name = device::find(device)?;
            done(record, Step::Device, index, &name);
            mount_device(&name, options, image, index, record)?;
        }
        Source::File { holder, path } => {
            let name = holder::mount(holder, folder::HOLDER, MountFlags::RDONLY)?;
            let file = holder::open(*path)?;
            done(record, Step::Device, index, &name);
            // What the kernel caches of the file would be there twice.
            mount_file(&file, "directio", image, index, record)?;
        }
        Source::Initramfs { path } => {
            let file = open(&*c_path![*path], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let file = check_on(Step::Device, "cannot open", path, file)?;
            done(record, Step::Device, index, path);
            mount_file(&file, "", image, index, record)?;
        }
    }
    done(record, Step::Mount, index, "");
    Ok(())
}

/// Mounts EROFS from a block device, verified if the plan says so.
#[inline(never)]
fn mount_device(name: &Name, options: &str, image: &Image<'_>, index: u8, record: &mut Record) -> Result<(), Failure> {
    let disk = check_on(Step::Mount, "cannot open", name, open_device(name))?;
    if !matches!(image.trust, Trust::RootHash { .. } | Trust::Signature { .. }) {
        check_image(&disk, image)?;
        return check_on(Step::Mount, "cannot mount EROFS", name, mount_erofs(&c_path!["/dev/", name], options));
    }
    let verified = verity::open(image.trust, name, &disk)?;
    done(record, Step::Verity, index, &verified);
    let disk = check_on(Step::Mount, "cannot open", &verified, open_device(&verified))?;
    check_image(&disk, image)?;
    check_on(Step::Mount, "cannot mount EROFS", &verified, mount_erofs(&c_path!["/dev/", &verified], options))
}

/// Mounts an EROFS file: by the file itself where kernel and holder can, else through a loop device. dm-verity wants a device.
#[inline(never)]
fn mount_file(file: &OwnedFd, options: &str, image: &Image<'_>, index: u8, record: &mut Record) -> Result<(), Failure> {
    if let Trust::Digest(digest) = image.trust {
        let found = check(Step::Verity, "cannot measure the file by fs-verity", sys::block::measure_verity(file))?;
        if found != *digest {
            return Err(refuse(Step::Verity, "file has another fs-verity digest", "", Errno::KEYREJECTED));
        }
        done(record, Step::Verity, index, "fs-verity");
    }
    if matches!(image.trust, Trust::Nothing | Trust::Digest(_)) {
        check_image(file, image)?;
        // A path would be looked up anew, and may be another file by then.
        let path = c_path!["/proc/self/fd/", file.as_raw_fd().unsigned_abs()];
        match mount_erofs(&path, options) {
            // ENOTBLK: this kernel, or the file system that holds the file, has no file-backed EROFS (Linux 6.12); EINVAL: it
            // has no `directio` (Linux 6.15).
            Err(Errno::NOTBLK | Errno::INVAL) => {}
            other => return check(Step::Mount, "cannot mount EROFS", other),
        }
    }
    // Autocleared with its last user: it must live until the mount holds it.
    let device = check(Step::Mount, "cannot attach a loop device", sys::block::attach_loop(file))?;
    let name = text!["loop", device.number];
    if !device.direct {
        say(Level::Info, text![&name, " without direct I/O"]);
    }
    mount_device(&name, "", image, index, record)
}

fn mount_erofs(source: &CStr, options: &str) -> Result<(), Errno> {
    rustix::mount::mount(source, folder::IMAGE, c"erofs", MountFlags::RDONLY, &*c_path![options])
}

/// Checks what a mount does not: that the image lies there whole, and that it is this plan's.
#[inline(never)]
fn check_image(holder: &OwnedFd, expected: &Image<'_>) -> Result<(), Failure> {
    let erofs = check_start(holder, Step::Mount)?;
    if expected.uuid.is_some_and(|uuid| erofs.uuid != uuid) {
        return Err(refusal(Step::Mount, Refusal::Uuid));
    }
    if let Some(expected) = expected.tail {
        let mut tail = [0; TAIL_BYTES];
        let inside = expected.offset.saturating_add(TAIL_BYTES as u64) <= erofs.bytes;
        check(Step::Mount, "cannot read the end of the image", read_at(holder, &mut tail, expected.offset))?;
        if !inside || crc32(&tail) != expected.crc {
            return Err(refusal(Step::Mount, Refusal::Tail));
        }
    }
    if let Trust::Signature { minimum_version, .. } = expected.trust {
        let mut version = [0; 8];
        check(Step::Verity, "cannot read the image's version", read_at(holder, &mut version, 0))?;
        let version = trailer::version(&version);
        if version < minimum_version {
            let about = text![version, ", at least ", minimum_version];
            return Err(refuse(Step::Verity, "image version is too low", &about, Errno::KEYEXPIRED));
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
