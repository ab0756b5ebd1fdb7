//! Superblock, inodes, attributes and directories as they lie in an image (fs/erofs/erofs_fs.h, Linux 6.12), for the writer.

use super::image::{MAGIC, SUPERBLOCK_OFFSET, crc32c};
use super::packed::{self, Packed};
use super::place::{Place, Places};
use super::writer::{Head, Inode};
use crate::tree::NodeKind;
use std::collections::BTreeMap;

/// Bytes of a block: what every kernel has a page for.
pub const BLOCK: u64 = 4096;
const BLOCK_BITS: u8 = 12;
/// Bytes of the slots that inodes are numbered by.
pub const SLOT: u64 = 32;
const SUPERBLOCK_BYTES: u64 = 128;
/// `EROFS_NAME_LEN`.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a directory entry without its name.
const ENTRY: usize = 12;
/// Bytes in front of the attributes of an inode.
const ATTRIBUTES_HEAD: usize = 12;
/// Compatible features: a checksum, and times that are modification times.
const FEATURES: u32 = 0b11;

/// Where the end of a content lies (`EROFS_INODE_FLAT_PLAIN`, `EROFS_INODE_FLAT_INLINE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In blocks, like the rest.
    Plain,
    /// Behind the inode.
    Inline,
    /// Packed in blocks, to which an index behind the inode leads.
    Packed,
}

/// Whether a compact inode of 32 bytes holds it.
fn is_compact(inode: &Inode<'_>) -> bool {
    let short = |value: u32| value <= u32::from(u16::MAX);
    let node = inode.node;
    short(node.uid) && short(node.gid) && short(inode.links) && u32::try_from(inode.size).is_ok()
}

/// Bytes of an inode without attributes.
pub fn inode_bytes(inode: &Inode<'_>) -> u64 {
    if is_compact(inode) { 32 } else { 64 }
}

/// An inode without attributes; `number` is what `stat` shows where an inode number has 32 bits.
pub fn inode(inode: &Inode<'_>, place: &Place, number: u32, head: Head) -> Vec<u8> {
    let node = inode.node;
    let (kind, union) = match &node.kind {
        NodeKind::File(_) => (0o100_000, inode.packed.map_or(place.block, |index| index.blocks)),
        NodeKind::Directory => (0o040_000, place.block),
        NodeKind::Symlink(_) => (0o120_000, place.block),
        NodeKind::CharDevice(major, minor) => (0o020_000, device(*major, *minor)),
        NodeKind::BlockDevice(major, minor) => (0o060_000, device(*major, *minor)),
        NodeKind::Fifo => (0o010_000, 0),
        NodeKind::Socket => (0o140_000, 0),
    };
    let compact = is_compact(inode);
    let layout: u16 = match place.layout {
        Layout::Plain => 0,
        Layout::Inline => 2,
        Layout::Packed => packed::LAYOUT,
    };
    let attributes = if inode.attributes.is_empty() { 0 } else { (inode.attributes.len() - ATTRIBUTES_HEAD) / 4 + 1 };
    let mut bytes = Vec::new();
    let mut put = |field: &[u8]| bytes.extend_from_slice(field);
    put(&(layout << 1 | u16::from(!compact)).to_le_bytes());
    put(&(attributes as u16).to_le_bytes());
    put(&((kind | node.mode) as u16).to_le_bytes());
    if compact {
        put(&(inode.links as u16).to_le_bytes());
        put(&(inode.size as u32).to_le_bytes());
        put(&[0; 4]);
        put(&union.to_le_bytes());
        put(&number.to_le_bytes());
        put(&(node.uid as u16).to_le_bytes());
        put(&(node.gid as u16).to_le_bytes());
        put(&[0; 4]);
    } else {
        put(&[0; 2]);
        put(&inode.size.to_le_bytes());
        put(&union.to_le_bytes());
        put(&number.to_le_bytes());
        put(&node.uid.to_le_bytes());
        put(&node.gid.to_le_bytes());
        put(&head.seconds.to_le_bytes());
        put(&[0; 4]);
        put(&inode.links.to_le_bytes());
        put(&[0; 16]);
    }
    bytes
}

/// A device number as `new_encode_dev` in include/linux/kdev_t.h.
fn device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// What lies behind an inode with these attributes.
///
/// # Errors
/// What cannot be stored: a name of an unknown kind, or too much of it.
pub fn attributes(attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<u8>, String> {
    /// Number of a prefix, and it: `EROFS_XATTR_INDEX_*`.
    const PREFIXES: [(u8, &[u8]); 5] = [
        (2, b"system.posix_acl_access"),
        (3, b"system.posix_acl_default"),
        (1, b"user."),
        (4, b"trusted."),
        (6, b"security."),
    ];
    if attributes.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for (name, value) in attributes {
        let shown = name.escape_ascii();
        let known = PREFIXES.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)));
        let (index, suffix) = known.ok_or_else(|| format!("attribute `{shown}` is of no kind that EROFS knows"))?;
        let suffix_bytes = u8::try_from(suffix.len()).map_err(|_| format!("attribute `{shown}` has a long name"))?;
        let value_bytes =
            u16::try_from(value.len()).map_err(|_| format!("attribute `{shown}` has {} bytes", value.len()))?;
        let mut entry = vec![suffix_bytes, index];
        entry.extend(value_bytes.to_le_bytes());
        entry.extend_from_slice(suffix);
        entry.extend_from_slice(value);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entries.push(entry);
    }
    entries.sort_unstable();
    let body = [vec![0; ATTRIBUTES_HEAD], entries.concat()].concat();
    // Their length is stored in 16 bits, in words; an inode with them must fit a block.
    if body.len() as u64 + 64 > BLOCK {
        return Err(format!("its attributes have {} bytes", body.len()));
    }
    Ok(body)
}

/// The entries of each block of a directory.
fn blocks<'e, 't>(entries: &'e [(&'t [u8], usize)]) -> Vec<&'e [(&'t [u8], usize)]> {
    let mut blocks = Vec::new();
    let (mut rest, mut used, mut count) = (entries, 0, 0);
    for (name, _) in entries {
        if used + ENTRY + name.len() > BLOCK as usize {
            let (full, left) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            blocks.push(full);
            (rest, used, count) = (left, 0, 0);
        }
        used += ENTRY + name.len();
        count += 1;
    }
    blocks.push(rest);
    blocks
}

/// Length of a directory's content in bytes.
pub fn directory_bytes(entries: &[(&[u8], usize)]) -> u64 {
    let blocks = blocks(entries);
    let last: usize = blocks.last().map_or(0, |block| block.iter().map(|(name, _)| ENTRY + name.len()).sum());
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

/// A directory's content.
pub fn directory(entries: &[(&[u8], usize)], places: &Places) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let blocks = blocks(entries);
    for (number, block) in (1..).zip(&blocks) {
        let start = bytes.len();
        let mut name_at = ENTRY * block.len();
        for (name, index) in *block {
            let place = places.inodes.get(*index)?;
            bytes.extend(place.number().to_le_bytes());
            bytes.extend(u16::try_from(name_at).ok()?.to_le_bytes());
            bytes.extend([*places.kinds.get(*index)?, 0]);
            name_at += name.len();
        }
        block.iter().for_each(|(name, _)| bytes.extend_from_slice(name));
        if number < blocks.len() {
            bytes.resize(start + BLOCK as usize, 0);
        }
    }
    Some(bytes)
}

/// `EROFS_FT_*` of a node.
pub const fn kind(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::File(_) => 1,
        NodeKind::Directory => 2,
        NodeKind::CharDevice(..) => 3,
        NodeKind::BlockDevice(..) => 4,
        NodeKind::Fifo => 5,
        NodeKind::Socket => 6,
        NodeKind::Symlink(_) => 7,
    }
}

/// Where the first inode can lie, behind the superblock and the settings of what packed contents.
pub fn inodes_at(packed: Option<&Packed>) -> u64 {
    (SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES + packed.map_or(0, |packed| packed.head.settings.len() as u64))
        .next_multiple_of(SLOT)
}

/// Puts the superblock into `metadata`, with the checksum of its block; none if there is no room.
pub fn seal(metadata: &mut [u8], places: &Places, inodes: usize, head: Head, packed: Option<&Packed>) -> Option<()> {
    let root = u16::try_from(places.inodes.first()?.number()).ok()?;
    let block = metadata.get_mut(SUPERBLOCK_OFFSET as usize..BLOCK as usize)?;
    let fields: [(usize, &[u8]); 11] = [
        (0, &MAGIC.to_le_bytes()),
        (8, &FEATURES.to_le_bytes()),
        (12, &[BLOCK_BITS]),
        (14, &root.to_le_bytes()),
        (16, &(inodes as u64).to_le_bytes()),
        (24, &head.seconds.to_le_bytes()),
        (36, &u32::try_from(places.bytes / BLOCK).ok()?.to_le_bytes()),
        (48, &head.uuid),
        // No metadata block address: zeros.
        (80, &packed.map_or(0, |packed| packed.head.features).to_le_bytes()),
        (84, &packed.map_or([0; 2], |packed| packed.head.algorithm)),
        (SUPERBLOCK_BYTES as usize, packed.map_or(&[], |packed| &packed.head.settings)),
    ];
    for (at, field) in fields {
        block.get_mut(at..at + field.len())?.copy_from_slice(field);
    }
    let checksum = crc32c(block).to_le_bytes();
    block.get_mut(4..8)?.copy_from_slice(&checksum);
    Some(())
}
