//! Writes disk.img: a GPT disk with one partition for each slot of the plan that boots from a partition.
//!
//! Layout of UEFI 2.10 chapter 5. Every GUID is derived from the image's own UUID: the same input gives the same disk.

use crate::error::TRUNCATED;
use crate::{Error, Result};
use bootstrap::crc::crc32;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of a logical block.
const SECTOR: u64 = 512;
/// Partitions start at multiples of this many bytes.
const ALIGNMENT: u64 = 1 << 20;
/// Partition lengths are multiples of this many bytes, the largest block EROFS reads at once here.
const GRANULE: u64 = 4096;
/// Entries in the partition array, and bytes of each.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
/// Blocks of the partition array.
const ARRAY_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR;
/// Linux file system data, 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it lies on the disk.
const LINUX_DATA: [u8; 16] =
    [0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4];
/// Longest partition name in UTF-16 units, without the NUL some readers want.
const NAME_UNITS: usize = 35;
/// Bytes copied at a time; also the grain in which zeros stay holes.
const CHUNK: usize = 64 << 10;

/// A partition to write.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Name in the GPT, at most 35 UTF-16 units.
    pub name: String,
    /// GUID as its 16 bytes lie in the GPT; derived if absent.
    pub uuid: Option<[u8; 16]>,
    /// File whose bytes it starts with.
    pub image: PathBuf,
}

/// A partition as it lies in a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Number, from 1.
    pub number: u32,
    /// Name.
    pub name: String,
    /// GUID as its 16 bytes lie in the GPT.
    pub uuid: [u8; 16],
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length of the disk in bytes, holes included.
    pub bytes: u64,
    /// SHA-256 of the whole disk.
    pub sha256: [u8; 32],
}

/// Where a partition lies, in sectors; `last` is inclusive as in the GPT.
struct Extent {
    first: u64,
    last: u64,
}

/// Writes a disk with `partitions` to `out`; `seed` is the image's UUID. `progress` is called with the bytes done so far.
///
/// # Errors
/// Bad input for a name that does not fit or a missing image; failed work if writing fails.
pub fn write(out: &Path, seed: &[u8; 16], partitions: &[Partition], progress: &mut dyn FnMut(u64)) -> Result<Summary> {
    let (extents, sectors) = layout(partitions)?;
    let array = entry_array(seed, partitions, &extents)?;
    let file = File::create(out).map_err(Error::io("create", out))?;
    file.set_len(sectors * SECTOR).map_err(Error::io("resize", out))?;
    let mut disk = Sparse { file, path: out, position: 0, hash: Sha256::new() };
    disk.write(&protective_mbr(sectors))?;
    disk.write(&header(seed, &array, sectors, 1, sectors - 1, 2))?;
    disk.write(&array)?;
    for (partition, extent) in partitions.iter().zip(&extents) {
        disk.skip_to(extent.first * SECTOR)?;
        disk.copy(&partition.image, progress)?;
    }
    disk.skip_to((sectors - 1 - ARRAY_SECTORS) * SECTOR)?;
    disk.write(&array)?;
    disk.write(&header(seed, &array, sectors, sectors - 1, 1, sectors - 1 - ARRAY_SECTORS))?;
    Ok(Summary { bytes: disk.position, sha256: disk.hash.finalize().into() })
}

/// Reads the partitions of the GPT at the start of `disk`, header and array checked by their CRC.
///
/// # Errors
/// Bad input if there is no valid primary GPT, or if the disk is shorter than it says; failed work if reading fails.
pub fn list(disk: &Path) -> Result<Vec<Found>> {
    let mut file = File::open(disk).map_err(Error::io("open", disk))?;
    // A block device says 0 elsewhere.
    let length = file.seek(SeekFrom::End(0)).map_err(Error::io("read", disk))?;
    let mut start = vec![0; (2 + ARRAY_SECTORS as usize) * SECTOR as usize];
    file.rewind().and_then(|()| file.read_exact(&mut start)).map_err(Error::io("read", disk))?;
    let found = parse(&start).ok_or_else(|| {
        Error::bad_input(format!("{}: no valid GPT in the first 17 KiB", disk.display()), "give a disk.img of ours")
    })?;
    // The backup header lies in the last sector.
    let bytes = le64(&start, 512 + 32).unwrap_or(0).saturating_add(1).saturating_mul(SECTOR);
    let end = found.iter().map(|partition| partition.start.saturating_add(partition.bytes)).fold(bytes, u64::max);
    if length < end {
        let what = format!("{}: truncated: {length} of {end} bytes", disk.display());
        return Err(Error::bad_input(what, TRUNCATED));
    }
    Ok(found)
}

fn parse(start: &[u8]) -> Option<Vec<Found>> {
    let header = start.get(512..604)?;
    let mut zeroed = header.to_vec();
    zeroed.get_mut(16..20)?.fill(0);
    let array = start.get(1024..)?;
    let valid = header.starts_with(b"EFI PART")
        && le32(header, 16)? == crc32(&zeroed)
        && le32(header, 80)? == ENTRIES
        && le32(header, 84)? == ENTRY_BYTES
        && le32(header, 88)? == crc32(array);
    if !valid {
        return None;
    }
    let used = array.chunks(ENTRY_BYTES as usize).enumerate().filter(|(_, entry)| entry.iter().any(|byte| *byte != 0));
    used.map(|(index, entry)| {
        let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
        let units: Vec<u16> = entry.get(56..)?.chunks_exact(2).map(le16).take_while(|u| *u != 0).collect();
        Some(Found {
            number: u32::try_from(index).ok()? + 1,
            name: String::from_utf16_lossy(&units),
            uuid: entry.get(16..32)?.try_into().ok()?,
            start: first.checked_mul(SECTOR)?,
            bytes: last.checked_sub(first)?.checked_add(1)?.checked_mul(SECTOR)?,
        })
    })
    .collect()
}

fn le16(unit: &[u8]) -> u16 {
    unit.iter().rev().fold(0, |value, byte| (value << 8) | u16::from(*byte))
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?))
}

/// A GUID's 16 bytes as they lie in the GPT, in its usual text form.
pub fn guid_text(uuid: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *uuid;
    let (clock, node) = rest.split_at(2);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{}-{}-{}-{}-{}", hex(&[d, c, b, a]), hex(&[f, e]), hex(&[h, g]), hex(clock), hex(node))
}

/// Where each partition lies, and how many sectors the disk has.
fn layout(partitions: &[Partition]) -> Result<(Vec<Extent>, u64)> {
    let mut extents = Vec::new();
    let mut free = ALIGNMENT;
    for partition in partitions {
        let bytes = std::fs::metadata(&partition.image).map_err(Error::io("read", &partition.image))?.len();
        let end = free + bytes.next_multiple_of(GRANULE).max(GRANULE);
        extents.push(Extent { first: free / SECTOR, last: end / SECTOR - 1 });
        free = end.next_multiple_of(ALIGNMENT);
    }
    // The backup array and header lie in a last, otherwise empty megabyte.
    Ok((extents, (free + ALIGNMENT) / SECTOR))
}

fn entry_array(seed: &[u8; 16], partitions: &[Partition], extents: &[Extent]) -> Result<Vec<u8>> {
    if partitions.len() > ENTRIES as usize {
        let what = format!("{} partitions do not fit a GPT", partitions.len());
        return Err(Error::bad_input(what, "128 are possible"));
    }
    let mut array = Vec::new();
    for (index, (partition, extent)) in partitions.iter().zip(extents).enumerate() {
        let mut name: Vec<u16> = partition.name.encode_utf16().collect();
        if name.is_empty() || name.len() > NAME_UNITS || name.contains(&0) {
            let what = format!("{:?} cannot be the name of a GPT partition", partition.name);
            return Err(Error::bad_input(what, "give 1 to 35 characters"));
        }
        name.resize(36, 0);
        array.extend(LINUX_DATA);
        array.extend(partition.uuid.unwrap_or_else(|| derive(seed, &format!("partition {}", index + 1))));
        array.extend(extent.first.to_le_bytes());
        array.extend(extent.last.to_le_bytes());
        array.extend(0_u64.to_le_bytes());
        array.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
    }
    array.resize((ENTRIES * ENTRY_BYTES) as usize, 0);
    Ok(array)
}

/// A GUID of version 8 (RFC 9562: made by the vendor's own rule) from the first bytes of SHA-256(seed, purpose).
fn derive(seed: &[u8; 16], purpose: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::new().chain_update(seed).chain_update(purpose).finalize().into();
    let mut guid = [0; 16];
    for (index, (to, from)) in guid.iter_mut().zip(hash).enumerate() {
        *to = match index {
            7 => (from & 0x0F) | 0x80,
            8 => (from & 0x3F) | 0x80,
            _ => from,
        };
    }
    guid
}

/// One partition of type EE over the whole disk, so that old tools leave it alone (UEFI 2.10, 5.2.3).
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; 446];
    mbr.extend([0x00, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF]);
    mbr.extend(1_u32.to_le_bytes());
    mbr.extend(u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    mbr.resize(510, 0);
    mbr.extend([0x55, 0xAA]);
    mbr
}

/// A GPT header at sector `here` that names its twin at `other` and its array at `array_at` (UEFI 2.10, 5.3.2).
fn header(seed: &[u8; 16], array: &[u8], sectors: u64, here: u64, other: u64, array_at: u64) -> Vec<u8> {
    let build = |own_crc: u32| {
        let mut header = Vec::with_capacity(SECTOR as usize);
        header.extend(b"EFI PART\0\0\x01\0");
        header.extend(92_u32.to_le_bytes());
        header.extend(own_crc.to_le_bytes());
        header.extend(0_u32.to_le_bytes());
        for sector in [here, other, 2 + ARRAY_SECTORS, sectors - 2 - ARRAY_SECTORS] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(derive(seed, "disk"));
        header.extend(array_at.to_le_bytes());
        for word in [ENTRIES, ENTRY_BYTES, crc32(array)] {
            header.extend(word.to_le_bytes());
        }
        header
    };
    let mut header = build(crc32(&build(0)));
    header.resize(SECTOR as usize, 0);
    header
}

/// A file written front to back, hashed on the way, where zeros stay holes.
struct Sparse<'a> {
    file: File,
    path: &'a Path,
    position: u64,
    hash: Sha256,
}

impl Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file
            .seek(SeekFrom::Start(self.position))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(Error::io("write", self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip_to(&mut self, position: u64) -> Result<()> {
        let zeros = [0; CHUNK];
        while self.position < position {
            let step = (position - self.position).min(CHUNK as u64);
            self.hash.update(zeros.get(..step as usize).unwrap_or_default());
            self.position += step;
        }
        Ok(())
    }

    fn copy(&mut self, image: &Path, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let mut source = File::open(image).map_err(Error::io("open", image))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = source.read(&mut chunk).map_err(Error::io("read", image))?;
            let bytes = chunk.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().all(|byte| *byte == 0) {
                self.skip_to(self.position + count as u64)?;
            } else {
                self.write(bytes)?;
            }
            progress(self.position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn disk(folder: &Path, name: &str) -> (PathBuf, Summary) {
        let image = folder.join("image");
        let mut content = vec![0xA5; 5000];
        content.extend(vec![0; 3 << 20]);
        content.push(1);
        std::fs::write(&image, &content).unwrap();
        let partition = |name: &str, uuid| Partition { name: name.into(), uuid, image: image.clone() };
        let out = folder.join(name);
        let partitions = [partition("initoverlayfs", None), partition("rückfall", Some([7; 16]))];
        let summary = write(&out, &[1; 16], &partitions, &mut |_| ()).unwrap();
        (out, summary)
    }

    #[test]
    fn the_partitions_are_found_again_with_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (out, summary) = disk(folder.path(), "disk.img");
        let found = list(&out).unwrap();
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["initoverlayfs", "rückfall"]);
        assert_eq!(found[1].uuid, [7; 16]);
        let bytes = std::fs::read(&out).unwrap();
        assert_eq!(summary.bytes, bytes.len() as u64);
        assert_eq!(summary.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
        for partition in found {
            assert_eq!(partition.start % ALIGNMENT, 0);
            assert_eq!(partition.bytes % GRANULE, 0);
            let image = std::fs::read(folder.path().join("image")).unwrap();
            let start = partition.start as usize;
            assert!(bytes[start..start + image.len()] == image[..]);
        }
    }

    #[test]
    fn twice_written_is_identical_and_sparse() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let (first, summary) = disk(folder.path(), "first");
        let (second, again) = disk(folder.path(), "second");
        assert_eq!(summary, again);
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
        let metadata = std::fs::metadata(first).unwrap();
        assert!(metadata.blocks() * 512 < metadata.len() / 4, "{} blocks", metadata.blocks());
    }

    #[test]
    fn sgdisk_finds_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (out, _) = disk(folder.path(), "disk.img");
        let Ok(checked) = Command::new("sgdisk").arg("-v").arg(&out).output() else {
            return; // gptfdisk is not installed
        };
        let text = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && text.contains("No problems found"), "{text}");
    }

    #[test]
    fn a_flipped_bit_is_no_gpt() {
        let folder = tempfile::tempdir().unwrap();
        let (out, _) = disk(folder.path(), "disk.img");
        for offset in [512, 512 + 40, 1024 + 40] {
            let mut bytes = std::fs::read(&out).unwrap();
            bytes[offset] ^= 1;
            let damaged = folder.path().join("damaged");
            std::fs::write(&damaged, bytes).unwrap();
            assert_eq!(list(&damaged).unwrap_err().exit_status(), 2);
        }
    }

    #[test]
    fn a_disk_cut_short_is_truncated() {
        let folder = tempfile::tempdir().unwrap();
        let (out, summary) = disk(folder.path(), "disk.img");
        for bytes in [summary.bytes - 1, 1 << 20, 20_000, 1028] {
            File::options().write(true).open(&out).unwrap().set_len(bytes).unwrap();
            let error = list(&out).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.contains("truncated"), "{bytes}: {error}");
            assert!(error.what.contains("disk.img") && !error.what.contains("whole buffer"), "{error}");
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, b"x").unwrap();
        for name in ["", &"n".repeat(36)] {
            let partition = Partition { name: name.into(), uuid: None, image: image.clone() };
            assert!(write(&folder.path().join("disk"), &[0; 16], &[partition], &mut |_| ()).is_err());
        }
    }

    #[test]
    fn guids_read_as_everywhere() {
        assert_eq!(guid_text(&LINUX_DATA), "0fc63daf-8483-4772-8e79-3d69d8477de4");
    }
}
