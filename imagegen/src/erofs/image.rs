//! Reads the on-disk format of EROFS (kernel: fs/erofs/erofs_fs.h): superblock, inodes, attributes, directories, and
//! contents that are not compressed. Little-endian throughout.

use crate::error::TRUNCATED;
use crate::{Error, Result};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the superblock lies.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 128;
pub const MAGIC: u32 = 0xE0F5_E1E2;
const INODE_SLOT_BYTES: u64 = 32;
/// Features of an image this reader knows: zero padding, big clusters, chunks, second head, tail packing, fragments.
const KNOWN_FEATURES: u32 = 0x3f;
/// Compatible feature: the superblock has a checksum.
const CHECKSUM: u32 = 1;
/// More than one device, which shares its bit with a second compression head.
const DEVICE_TABLE: u32 = 0x8;
/// Contents may add up to this many bytes, or to [`CONTENT_RATIO`] images if that is more: holes and shared blocks let a few
/// bytes declare any size.
const CONTENT_BYTES: u64 = 1 << 30;
const CONTENT_RATIO: u64 = 16;

/// An open image.
pub struct Image {
    path: PathBuf,
    file: File,
    block_bits: u32,
    inodes_at: u64,
    attributes_at: u64,
    /// Number of the root's inode.
    pub root: u64,
    /// Bytes of content that may still be read.
    content_left: Cell<u64>,
    /// Bytes of directories that may still be read: they share nothing, so all together are smaller than the image.
    directories_left: Cell<u64>,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub number: u64,
    at: u64,
    layout: u16,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Length of its content in bytes.
    pub size: u64,
    /// First block of the content, device number or chunk format.
    union: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    attributes_at: u64,
    attributes_bytes: u64,
}

/// The attributes behind an inode, in their order there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeBody {
    /// Where the first of [`AttributeBody::shared`] lies.
    pub at: u64,
    /// Places of shared ones.
    pub shared: Vec<u32>,
    /// Those of its own, as they are stored, padded to multiples of four bytes.
    pub own: Vec<Vec<u8>>,
}

impl AttributeBody {
    /// Bytes of the header in front.
    const HEADER: usize = 12;

    fn parse(start: u64, body: &[u8]) -> Option<Self> {
        let count = usize::from(*body.get(4)?);
        let (shared, mut rest) = body.get(Self::HEADER..)?.split_at_checked(count * 4)?;
        let shared = shared.chunks_exact(4).filter_map(|id| u32_at(id, 0)).collect();
        let mut own = Vec::new();
        // Zeros behind the last one are padding.
        while rest.iter().any(|byte| *byte != 0) {
            let (name, value) = entry_lengths(rest)?;
            let (entry, behind) = rest.split_at_checked((4 + name + value).next_multiple_of(4))?;
            own.push(entry.to_vec());
            rest = behind;
        }
        Some(AttributeBody { at: start + Self::HEADER as u64, shared, own })
    }
}

/// A piece of a content.
pub enum Stored {
    /// Zeros that are not stored.
    Hole(u64),
    /// Bytes from a place of the image on.
    At {
        /// The place.
        at: u64,
        /// How many.
        bytes: u64,
    },
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

/// Checks the superblock at `path` and that the image is all there; what has none is nothing to check.
///
/// # Errors
/// Bad input if it is damaged, or the image truncated.
pub fn check_superblock(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut magic = [0; 4];
    let is_image = file.read_exact_at(&mut magic, SUPERBLOCK_OFFSET).is_ok() && u32::from_le_bytes(magic) == MAGIC;
    if is_image { Image::open(path).map(drop) } else { Ok(()) }
}

impl Inode {
    /// How its content is stored: `EROFS_INODE_*`.
    pub(super) const fn layout(&self) -> u16 {
        self.layout
    }

    /// Blocks of a compressed content, or the first block of another.
    pub(super) const fn union(&self) -> u32 {
        self.union
    }

    /// Where it and its attributes lie.
    pub const fn place(&self) -> std::ops::Range<u64> {
        self.at..self.attributes_at + self.attributes_bytes
    }
}

impl Image {
    /// Opens the image at `path` and reads its superblock.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        // A block device says 0 elsewhere.
        let length = file.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
        let mut block = [0; SUPERBLOCK_BYTES];
        file.read_exact_at(&mut block, SUPERBLOCK_OFFSET).map_err(|_| {
            let what = format!("{}: byte {SUPERBLOCK_OFFSET}: truncated, too short for an EROFS image", path.display());
            Error::bad_input(what, TRUNCATED)
        })?;
        let image = Self::parse(path, file, length, &block).ok_or_else(|| {
            let what = format!("{}: byte {SUPERBLOCK_OFFSET}: no EROFS superblock that is known here", path.display());
            Error::bad_input(what, "the image is damaged, or has features of a newer mkfs.erofs: build it again")
        })?;
        if u32_at(&block, 4) != image.checksum()? {
            return Err(image.error(format_args!("byte {SUPERBLOCK_OFFSET}: damaged, wrong checksum")));
        }
        let bytes = u64::from(u32_at(&block, 36).unwrap_or(0)) << image.block_bits;
        if length < bytes {
            let what = format!("{}: truncated: {length} of {bytes} bytes", path.display());
            return Err(Error::bad_input(what, TRUNCATED));
        }
        Ok(image)
    }

    /// What its checksum must be: over its first block from the superblock on, the checksum itself as zeros
    /// (`erofs_superblock_csum_verify` in fs/erofs/super.c); what is there, if it has none.
    pub fn checksum(&self) -> Result<Option<u32>> {
        let block = 1 << self.block_bits;
        let mut bytes = self.bytes(SUPERBLOCK_OFFSET, if block > 1024 { block - 1024 } else { block })?;
        if u32_at(&bytes, 8).is_none_or(|features| features & CHECKSUM == 0) {
            return Ok(u32_at(&bytes, 4));
        }
        bytes.iter_mut().skip(4).take(4).for_each(|byte| *byte = 0);
        Ok(Some(crc32c(&bytes)))
    }

    fn parse(path: &Path, file: File, length: u64, block: &[u8]) -> Option<Self> {
        let block_bits = u32::from(*block.get(12)?);
        let features = u32_at(block, 80)?;
        let devices = u16_at(block, 86)?;
        let known = features & !KNOWN_FEATURES == 0 && (features & DEVICE_TABLE == 0 || devices == 0);
        if u32_at(block, 0)? != MAGIC || !(9..=16).contains(&block_bits) || !known {
            return None;
        }
        Some(Image {
            path: path.to_owned(),
            file,
            block_bits,
            inodes_at: u64::from(u32_at(block, 40)?) << block_bits,
            attributes_at: u64::from(u32_at(block, 44)?) << block_bits,
            root: u16_at(block, 14)?.into(),
            content_left: Cell::new(CONTENT_BYTES.max(length.saturating_mul(CONTENT_RATIO))),
            directories_left: Cell::new(length),
        })
    }

    /// `BadInput` about this image.
    pub fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::bad_input(format!("{}: {what}", self.path.display()), "the image is damaged: build it again")
    }

    pub(super) fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.error(format_args!("byte {at}: damaged, leads behind the end")))
            }
            Err(error) => Err(self.error(format_args!("byte {at}: {error}"))),
        }
    }

    /// Reads an inode.
    pub fn inode(&self, number: u64) -> Result<Inode> {
        let at = number.checked_mul(INODE_SLOT_BYTES).and_then(|at| at.checked_add(self.inodes_at));
        let at = at.ok_or_else(|| self.error(format_args!("impossible inode number {number}")))?;
        let mut bytes = self.bytes(at, 32)?;
        if u16_at(&bytes, 0).is_some_and(|format| format & 1 == 1) {
            bytes = self.bytes(at, 64)?;
        }
        Self::parse_inode(number, at, &bytes).ok_or_else(|| self.error(format_args!("inode {number} is damaged")))
    }

    fn parse_inode(number: u64, at: u64, bytes: &[u8]) -> Option<Inode> {
        let format = u16_at(bytes, 0)?;
        let extended = format & 1 == 1;
        let attributes_bytes = match u64::from(u16_at(bytes, 2)?) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        let (size, uid, gid) = if extended {
            (u64_at(bytes, 8)?, u32_at(bytes, 24)?, u32_at(bytes, 28)?)
        } else {
            let short = |offset| u16_at(bytes, offset).map(u32::from);
            (u32_at(bytes, 8)?.into(), short(24)?, short(26)?)
        };
        Some(Inode {
            number,
            at,
            layout: format >> 1 & 7,
            mode: u16_at(bytes, 4)?.into(),
            size,
            union: u32_at(bytes, 16)?,
            uid,
            gid,
            attributes_at: at + bytes.len() as u64,
            attributes_bytes,
        })
    }

    /// The extended attributes of an inode: those of its own, and those it shares.
    pub fn attributes(&self, inode: &Inode) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut attributes = BTreeMap::new();
        let damaged = || self.error(format_args!("attributes of inode {} are damaged", inode.number));
        let Some(body) = self.attribute_body(inode)? else { return Ok(attributes) };
        for id in body.shared {
            let at = self.attributes_at + u64::from(id) * 4;
            let head = self.bytes(at, 4)?;
            let (name, value) = entry_lengths(&head).ok_or_else(damaged)?;
            let entry = self.bytes(at, 4 + name + value)?;
            let (name, value) = split_entry(&entry).ok_or_else(damaged)?;
            attributes.insert(name, value);
        }
        for entry in &body.own {
            let (name, value) = split_entry(entry).ok_or_else(damaged)?;
            attributes.insert(name, value);
        }
        Ok(attributes)
    }

    /// What stands behind an inode about its attributes, if anything.
    pub fn attribute_body(&self, inode: &Inode) -> Result<Option<AttributeBody>> {
        if inode.attributes_bytes == 0 {
            return Ok(None);
        }
        let body = self.bytes(inode.attributes_at, inode.attributes_bytes as usize)?;
        let parsed = AttributeBody::parse(inode.attributes_at, &body);
        parsed.map(Some).ok_or_else(|| self.error(format_args!("attributes of inode {} are damaged", inode.number)))
    }

    /// The entries of a directory but for `.` and `..`: name and inode number.
    pub fn entries(&self, inode: &Inode) -> Result<Vec<(Vec<u8>, u64)>> {
        let damaged = || self.error(format_args!("directory inode {} is damaged", inode.number));
        let mut entries = Vec::new();
        let block_bytes = 1_usize << self.block_bits;
        self.take(&self.directories_left, inode)?;
        let mut blocks = Vec::new();
        self.content(inode, &mut |piece| {
            blocks.extend_from_slice(piece);
            Ok(())
        })?;
        for block in blocks.chunks(block_bytes) {
            let count = usize::from(u16_at(block, 8).ok_or_else(damaged)?) / 12;
            for index in 0..count {
                let number = u64_at(block, index * 12).ok_or_else(damaged)?;
                let start = usize::from(u16_at(block, index * 12 + 8).ok_or_else(damaged)?);
                let end = if index + 1 < count { u16_at(block, index * 12 + 20).map(usize::from) } else { None };
                let name = block.get(start..end.unwrap_or(block.len())).ok_or_else(damaged)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name.is_empty() || name.contains(&b'/') {
                    return Err(damaged());
                }
                if name != b"." && name != b".." {
                    entries.push((name.to_vec(), number));
                }
            }
        }
        Ok(entries)
    }

    /// Device numbers of a device inode: major, minor.
    pub fn device(inode: &Inode) -> (u32, u32) {
        let device = inode.union;
        ((device & 0xfff00) >> 8, device & 0xff | device >> 12 & 0xfff00)
    }

    /// Whether the content is compressed, so that [`Image::content`] cannot read it.
    pub fn is_compressed(inode: &Inode) -> bool {
        matches!(inode.layout, 1 | 3)
    }

    /// Hands the content of an inode to `sink`, piece by piece.
    pub fn content(&self, inode: &Inode, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.take(&self.content_left, inode)?;
        let mut buffer = vec![0; 256 * 1024];
        for extent in self.extents(inode)? {
            let (mut at, mut left, hole) = match extent {
                Stored::Hole(bytes) => (0, bytes, true),
                Stored::At { at, bytes } => (at, bytes, false),
            };
            if hole {
                buffer.fill(0);
            }
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let piece = buffer.get_mut(..length).unwrap_or_default();
                if !hole && self.file.read_exact_at(piece, at).is_err() {
                    return Err(self.error(format_args!("content of inode {} ends early", inode.number)));
                }
                sink(piece)?;
                at += length as u64;
                left -= length as u64;
            }
        }
        Ok(())
    }

    /// Takes the size of an inode's content out of what is left.
    fn take(&self, left: &Cell<u64>, inode: &Inode) -> Result<()> {
        let impossible = || self.error(format_args!("inode {}: impossible size {}", inode.number, inode.size));
        left.set(left.get().checked_sub(inode.size).ok_or_else(impossible)?);
        Ok(())
    }

    /// Where the content of an inode lies, in order; not for one that is compressed.
    pub fn extents(&self, inode: &Inode) -> Result<Vec<Stored>> {
        let first = u64::from(inode.union) << self.block_bits;
        let behind = inode.attributes_at + inode.attributes_bytes;
        match inode.layout {
            0 => Ok(vec![Stored::At { at: first, bytes: inode.size }]),
            2 => {
                let blocks = inode.size.saturating_sub(1) >> self.block_bits << self.block_bits;
                let tail = inode.size - blocks;
                Ok(vec![Stored::At { at: first, bytes: blocks }, Stored::At { at: behind, bytes: tail }])
            }
            4 => self.chunks(inode, behind),
            layout => Err(self.error(format_args!("inode {}: layout {layout} is not readable here", inode.number))),
        }
    }

    fn chunks(&self, inode: &Inode, behind: u64) -> Result<Vec<Stored>> {
        let indexed = inode.union & 0x20 != 0;
        let chunk_bits = self.block_bits + (inode.union & 0x1f);
        let (entry_bytes, field) = if indexed { (8, 4) } else { (4, 0) };
        let count = inode.size.div_ceil(1 << chunk_bits);
        let mut extents = Vec::new();
        for index in 0..count {
            let entry = self.bytes(behind.next_multiple_of(entry_bytes) + index * entry_bytes, entry_bytes as usize)?;
            let bytes = (inode.size - (index << chunk_bits)).min(1 << chunk_bits);
            extents.push(match u32_at(&entry, field) {
                Some(u32::MAX) | None => Stored::Hole(bytes),
                Some(block) => Stored::At { at: u64::from(block) << self.block_bits, bytes },
            });
        }
        Ok(extents)
    }
}

/// Lengths of name suffix and value.
fn entry_lengths(entry: &[u8]) -> Option<(usize, usize)> {
    Some(((*entry.first()?).into(), u16_at(entry, 2)?.into()))
}

/// Name and value of an attribute entry.
fn split_entry(entry: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name_bytes, value_bytes) = entry_lengths(entry)?;
    let prefix: &[u8] = match entry.get(1)? {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        _ => return None,
    };
    let name = entry.get(4..4 + name_bytes)?;
    Some(([prefix, name].concat(), entry.get(4 + name_bytes..4 + name_bytes + value_bytes)?.to_vec()))
}

/// CRC-32C (Castagnoli) as the kernel's `crc32c(~0, ...)` gives it: not inverted at the end.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
