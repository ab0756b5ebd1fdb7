//! Where the images of a build lie: a disk for QEMU, and what a bootloader needs that puts an image into memory.

use super::{Request, images};
use crate::board::{self, Board, Device, FilePath, FileSystem, Holds, ImageName, Source};
use crate::manifest::{self, Manifest};
use crate::memory::{self, Region};
use crate::progress::Progress;
use crate::{Error, Result, disk, filesystem};
use std::path::{Path, PathBuf};

/// Name of a partition where the board does not give one.
const PARTITION_NAME: &str = "initoverlayfs";
/// Bytes of an empty file system for what is written to the overlay.
const UPPER_BYTES: u64 = 256 << 20;

/// Writes disk.img with one partition for every different one the board wants. Devices that no GPT names were refused with the board.
///
/// # Errors
/// Bad input if the place of an image is not known; failed work if writing fails or a tool is missing.
pub(super) fn write_disk(
    board: &Board,
    request: &Request,
    uuid: [u8; 16],
    folder: &Path,
    manifest: &mut Manifest,
) -> Result<()> {
    let mut made = Vec::new();
    let mut partitions = Vec::new();
    for (index, wanted) in board::partitions(&board.slots, &board.overlay).into_iter().enumerate() {
        let holder = folder.join(format!("partition{index}"));
        let image = match wanted.holds {
            Holds::Image(image) => folder.join(images::file(image)),
            Holds::Upper(kind) => {
                filesystem::write(kind, &[], PARTITION_NAME, Some(UPPER_BYTES), &holder)?;
                made.push(holder.clone());
                holder
            }
            Holds::Files(kind, files) => {
                write_files(board, request, kind, &files, folder, &holder)?;
                made.push(holder.clone());
                holder
            }
        };
        partitions.push(disk::Partition {
            name: if let Device::PartName(name) = wanted.device { name.clone() } else { PARTITION_NAME.to_owned() },
            uuid: if let Device::PartUuid(uuid) = wanted.device { Some(*uuid) } else { None },
            image,
        });
    }
    if partitions.is_empty() {
        return Ok(());
    }
    let progress = Progress::start("writing disk", None);
    let summary = disk::write(&folder.join(manifest::DISK), &uuid, &partitions, &mut |bytes| progress.set(bytes))?;
    manifest.note(manifest::DISK, summary.bytes, summary.sha256);
    made.iter().try_for_each(|path| std::fs::remove_file(path).map_err(Error::io("remove", path)))
}

fn write_files(
    board: &Board,
    request: &Request,
    kind: FileSystem,
    files: &[(&FilePath, ImageName)],
    folder: &Path,
    out: &Path,
) -> Result<()> {
    let file = |(path, image): &(&FilePath, ImageName)| -> Result<(String, PathBuf)> {
        let path = match path {
            FilePath::At(path) => path.clone(),
            FilePath::Ostree => deployed(board, request)?,
        };
        Ok((path, folder.join(images::file(*image))))
    };
    let files: Result<Vec<_>> = files.iter().map(file).collect();
    filesystem::write(kind, &files?, PARTITION_NAME, None, out)
}

/// Where the image lies in the OSTree deployment that the board's command line in QEMU names.
fn deployed(board: &Board, request: &Request) -> Result<String> {
    let append = board.qemu.as_ref().map(|qemu| qemu.append.as_bytes()).unwrap_or_default();
    let deployment = bootstrap::cmdline::ostree(append).map(String::from_utf8_lossy).unwrap_or_default();
    let release = request.modules.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let Some(release) = release else {
        let what = format!("board {}: source = \"ostree\" lies in a folder of the kernel's release", board.name);
        return Err(Error::bad_input(what, "give --modules .../lib/modules/RELEASE"));
    };
    Ok(format!("{deployment}/usr/lib/modules/{release}/initoverlayfs.erofs"))
}

/// Writes the device-tree overlay and U-Boot's commands for the slot whose image the bootloader puts into memory, if there is one.
///
/// # Errors
/// Bad input if no kernel can have the image there; failed work if `dtc` is missing or fails.
pub(super) fn write_memory(board: &Board, folder: &Path, manifest: &mut Manifest) -> Result<()> {
    for slot in &board.slots {
        let Source::Memory { address, ram_start, .. } = slot.source else { continue };
        if manifest.outputs.contains_key(memory::OVERLAY) {
            let what = format!("board {}: slot {} is the second in memory", board.name, slot.name);
            return Err(Error::bad_input(what, "imagegen writes the device tree of one"));
        }
        let image = images::file(slot.image);
        let path = folder.join(image);
        let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        let region = Region::new(address, bytes, ram_start)?;
        region.write_overlay(&folder.join(memory::OVERLAY))?;
        let commands = folder.join(memory::COMMANDS);
        std::fs::write(&commands, region.commands(image)).map_err(Error::io("write", &commands))?;
        manifest.note_file(folder, memory::OVERLAY)?;
        manifest.note_file(folder, memory::COMMANDS)?;
        if let Some(machine) = &mut manifest.qemu {
            machine.in_memory = Some(manifest::InMemory { address, file: image.to_owned() });
        }
    }
    Ok(())
}
