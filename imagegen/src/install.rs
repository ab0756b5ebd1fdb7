//! `imagegen install`: puts an image where a board boots it from: into a partition, or as a file into a file system.

mod in_place;
pub mod kernel;

use crate::atomic::StagedFile;
use crate::copy::{self, copy};
use crate::manifest;
use crate::progress::Progress;
use crate::verity::{self, Image};
use crate::{Error, Result, sign, verify};
use in_place::{Job, Storage};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes written at a time.
const CHUNK: usize = 1 << 20;
/// Where a disk has its GPT header, by the size of its logical blocks.
const GPT_OFFSETS: [u64; 2] = [512, 4096];
/// Bytes of the sector with an MBR, and where its four entries of 16 bytes and its signature lie (UEFI 2.10, section 5.2.1).
const MBR_BYTES: usize = 512;
const MBR_ENTRIES: std::ops::Range<usize> = 446..510;
const MBR_SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// Where devices are, and the folder among them that is one for files.
const DEVICES: [&str; 2] = ["/dev", "/dev/shm"];

/// Puts the image `source`, a file or a folder that `build` made, into `target`: a block device is written in place, and with
/// `raw` a file too; any other file is replaced as a whole. Returns the bytes written.
///
/// A power cut leaves the old image, the new one, or a partition without an image; nothing behind the image changes.
///
/// # Errors
/// Bad input if the source is no image, or does not fit the target; failed work if the source is damaged, or the target is in
/// use or does not keep what is written.
pub fn run(source: &Path, target: &Path, raw: bool) -> Result<u64> {
    let image = whole(source)?;
    let place = match fs::metadata(target) {
        Ok(place) => Some(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !raw && !is_device_name(target) => None,
        Err(error) => return Err(missing(target, Error::io("find", target)(error))),
    };
    let progress = Progress::start("installing", Some(image.bytes()));
    match place {
        Some(place) if raw || place.file_type().is_block_device() => {
            let mut device = open(target, &place, &image)?;
            let job =
                Job { source: &image.file, from: &image.path, to: target, bytes: image.bytes(), chunk_bytes: CHUNK };
            job.run(&mut device, &mut |bytes| progress.set(bytes))?;
        }
        _ => {
            let staged = StagedFile::beside(target)?;
            copy(&image.file, image.bytes(), staged.file(), &[], &mut |bytes| progress.set(bytes))
                .map_err(copy::failed(&image.path, target))?;
            staged.publish()?;
        }
    }
    Ok(image.bytes())
}

/// The image, checked by all that there is to check it by.
fn whole(source: &Path) -> Result<Image> {
    let is_folder = source.is_dir();
    let image = Image::open(&if is_folder { source.join(manifest::EROFS) } else { source.to_owned() })?;
    if is_folder {
        let manifest = manifest::read(source)?;
        verify::check_output(source, &manifest, manifest::EROFS)?;
        sign::check_is_signed(source, &manifest, &[manifest::EROFS])?;
    }
    if image.attached.is_some() {
        let progress = Progress::start("verifying", Some(image.data_bytes));
        image.check_tree(&mut |bytes| progress.set(bytes))?;
    }
    Ok(image)
}

/// What to do where a device is not there: udev names a partition by its name in the GPT.
fn missing(target: &Path, error: Error) -> Error {
    match target.strip_prefix("/dev/disk/by-partlabel").ok().filter(|name| !name.as_os_str().is_empty()) {
        Some(name) if error.exit_status() == 2 => {
            let hint = format!(
                "make a GPT partition named {}, as `imagegen bring-up` says; then udev names it",
                name.display()
            );
            Error { hint, ..error }
        }
        _ => error,
    }
}

/// Whether `path`, where there is nothing, is among the devices: a file there would lie in memory, and no board boots from it.
fn is_device_name(path: &Path) -> bool {
    let absolute = std::path::absolute(path).unwrap_or_default();
    let nearest = absolute.ancestors().skip(1).find_map(|folder| fs::canonicalize(folder).ok()).unwrap_or_default();
    let [devices, files] = DEVICES;
    nearest.starts_with(devices) && !nearest.starts_with(files)
}

/// Opens what is to be written in place, if that can do no harm.
fn open(target: &Path, place: &Metadata, image: &Image) -> Result<Device> {
    let is_device = place.file_type().is_block_device();
    if !is_device && !place.is_file() {
        let what = format!("{} is neither a block device nor a file", target.display());
        return Err(Error::bad_input(what, "name the partition or the file"));
    }
    let source = image.file.metadata().map_err(Error::io("read", &image.path))?;
    let is_same = (source.dev(), source.ino()) == (place.dev(), place.ino())
        || is_device && source.file_type().is_block_device() && source.rdev() == place.rdev();
    if is_same {
        let what = format!("{} is the image itself", target.display());
        return Err(Error::bad_input(what, "name the place to write it to"));
    }
    // open(2): of a block device this fails with EBUSY if it is in use, by a mount or by another device over it.
    let exclusive = if is_device { nix::libc::O_EXCL } else { 0 };
    let file = OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(target).map_err(|error| {
        let why = error.kind();
        if why == io::ErrorKind::ResourceBusy {
            let what = format!("{} is in use: mounted, or what this system runs from", target.display());
            return Error::failed(what, "install into another slot, or unmount it");
        }
        let refused = Error::io("open", target)(error);
        match why {
            io::ErrorKind::PermissionDenied if is_device => Error { hint: may_not(target), ..refused },
            _ => refused,
        }
    })?;
    let room = verity::length(&file, target)?;
    if room < image.bytes() {
        let what = format!("{} has {room} bytes, the image {}", target.display(), image.bytes());
        return Err(Error::bad_input(what, "name a larger partition, or build a smaller image"));
    }
    if has_partitions(&file) {
        let what = format!("{} is a whole disk with partitions", target.display());
        return Err(Error::bad_input(what, "name one of its partitions"));
    }
    Ok(Device(file))
}

/// What to do where a block device may not be written: it belongs to root, and for root it is write-protected (`bdev_open()`, Linux
/// 6.12, says EACCES then), or what runs imagegen has no right to devices.
fn may_not(target: &Path) -> String {
    if nix::unistd::geteuid().is_root() {
        let target = target.display();
        return format!("is it write-protected (blockdev --getro {target})? A container has to be given the device");
    }
    "run it as root: devices are root's".to_owned()
}

/// Whether a GPT or MBR lies at the start.
fn has_partitions(file: &File) -> bool {
    let mut magic = [0; 8];
    let mut sector = [0; MBR_BYTES];
    GPT_OFFSETS.iter().any(|at| file.read_exact_at(&mut magic, *at).is_ok() && magic == *b"EFI PART")
        || (file.read_exact_at(&mut sector, 0).is_ok() && is_mbr(&sector))
}

/// Whether a sector is an MBR with a partition. A FAT boot sector has the same signature, and code or text where the entries
/// would be: of an entry the first byte is 0 or 0x80, and one that is used has a type, a start and a length.
fn is_mbr(sector: &[u8; MBR_BYTES]) -> bool {
    let entries = || sector.get(MBR_ENTRIES).unwrap_or_default().chunks(16);
    let is_used = |entry: &[u8]| match entry {
        [_, _, _, _, kind, _, _, _, place @ ..] => *kind != 0 && place.chunks(4).all(|number| number != [0; 4]),
        _ => false,
    };
    sector.ends_with(&MBR_SIGNATURE)
        && entries().all(|entry| matches!(entry.first(), Some(0 | 0x80)))
        && entries().any(is_used)
}

/// A block device, or a file like one.
struct Device(File);

impl Storage for Device {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        // Flushed pages are dropped, so that the device is read. Offsets of files do not reach the sign bit.
        let (at_signed, length) = (i64::try_from(at), i64::try_from(bytes.len()));
        if let (Ok(at), Ok(length)) = (at_signed, length) {
            posix_fadvise(&self.0, at, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        self.0.read_exact_at(bytes, at)
    }
}

#[cfg(test)]
mod tests;
