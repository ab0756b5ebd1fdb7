//! How `mkfs.erofs` packs files, for a writer with an order of its own: the tool packs them in a folder without names or owners, and
//! their clusters are laid elsewhere as they are. What leads to them moves along, by whole blocks.
//!
//! fs/erofs/erofs_fs.h and fs/erofs/zmap.c, Linux 6.12: compact indexes, as every release makes them.

use super::format::{BLOCK, SLOT};
use super::image::{Image, Inode, SUPERBLOCK_OFFSET, u16_at, u32_at};
use super::{Options, Tool, arguments, run};
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `EROFS_INODE_COMPRESSED_COMPACT`.
pub const LAYOUT: u16 = 3;
/// Bytes of `struct z_erofs_map_header`, in front of an index.
const HEADER: usize = 8;
/// Compression in blocks filled from their end, and settings behind the superblock: the features that are taken over.
const FEATURES: u32 = 0b11;
/// `Z_EROFS_ADVISE_COMPACTED_2B`, and `Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`, which a file has both of.
const SHORT: u16 = 1;
const BIG: u16 = 6;
/// Clusters of an index whose entries have four bytes, in front: up to a multiple of 32 bytes in the image.
const IN_FRONT: u64 = 6;

/// Files as `mkfs.erofs` packed them.
pub struct Packed {
    /// What only this writer reads.
    _folder: TempDir,
    path: PathBuf,
    files: HashMap<u64, Index>,
    /// What the superblock says of the packing.
    pub head: Superblock,
    /// Version of the tool.
    pub version: String,
}

/// Where the clusters of a file lie.
pub struct Index {
    /// Header and entries, as they lie behind an inode.
    bytes: Vec<u8>,
    /// Where in it the blocks are named from which entries count.
    bases: Vec<usize>,
    /// The first block.
    block: u32,
    /// How many blocks.
    pub blocks: u32,
}

impl Packed {
    /// Packs the contents of a tree that are to be, and lie in its spool, which keeps them.
    ///
    /// # Errors
    /// As [`super::write`].
    pub fn new(tree: &Tree, options: &Options, uuid: [u8; 16], progress: &mut dyn FnMut(u64)) -> Result<Self> {
        let tool = Tool::probe()?;
        let mut arguments = arguments(&tool, options, uuid)?;
        // Their owners and attributes are those of the tree.
        arguments.extend(["--all-root".into(), "-x-1".into()]);
        let folder = tempfile::Builder::new().prefix(".imagegen-packed-").tempdir_in(tree.spool.path());
        let folder = folder.map_err(Error::io("make a folder in", tree.spool.path()))?;
        let (root, path) = (folder.path().join("root"), folder.path().join("image"));
        fs::create_dir(&root).map_err(Error::io("make", &root))?;
        let mut contents: HashMap<u64, PathBuf> =
            tree.nodes.values().filter_map(|node| content(tree, &node.kind)).collect();
        let left = options.left.iter().filter_map(|path| tree.nodes.get(path));
        for (id, _) in left.filter_map(|node| content(tree, &node.kind)) {
            contents.remove(&id);
        }
        for (id, content) in &contents {
            let link = root.join(id.to_string());
            fs::hard_link(content, &link).map_err(Error::io("link", &link))?;
        }
        let mut command = Command::new("mkfs.erofs");
        command.args(arguments).arg(&path).arg(&root);
        run(command, &tool, &path, progress)?;
        fs::remove_dir_all(&root).map_err(Error::io("remove", &root))?;
        let (files, head) = read(&path)?;
        Ok(Packed { _folder: folder, path, files, head, version: tool.version })
    }

    /// How the content with this id is packed; none if it is not, because that gains nothing.
    pub fn index(&self, id: u64) -> Option<&Index> {
        self.files.get(&id)
    }

    /// Writes the blocks of a file.
    ///
    /// # Errors
    /// Failed work if they cannot be read or written.
    pub fn copy(&self, index: &Index, to: &mut File, out: &Path) -> Result<()> {
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        file.seek(SeekFrom::Start(u64::from(index.block) * BLOCK)).map_err(Error::io("read", &self.path))?;
        let bytes = u64::from(index.blocks) * BLOCK;
        let copied = std::io::copy(&mut file.take(bytes), to).map_err(Error::io("write", out))?;
        if copied == bytes { Ok(()) } else { Err(unknown("has blocks behind its end")) }
    }
}

fn content(tree: &Tree, kind: &NodeKind) -> Option<(u64, PathBuf)> {
    if let NodeKind::File(content) = kind { Some((content.id, tree.content_path(content))) } else { None }
}

fn unknown(what: &str) -> Error {
    let what = format!("what mkfs.erofs packed {what}");
    Error::failed(
        what,
        "report this with the version of erofs-utils; until then build without a profile, or uncompressed",
    )
}

/// What a superblock says of the packing.
pub struct Superblock {
    /// Its incompatible features.
    pub features: u32,
    /// What it says of the algorithm.
    pub algorithm: [u8; 2],
    /// What lies behind it: the algorithm's settings.
    pub settings: Vec<u8>,
}

/// The index of every packed file of the image at `path`, by the number that is its name.
fn read(path: &Path) -> Result<(HashMap<u64, Index>, Superblock)> {
    let image = Image::open(path)?;
    let head = superblock(&image)?;
    let mut files = HashMap::new();
    let root = image.inode(image.root)?;
    for (name, number) in image.entries(&root)? {
        let inode = image.inode(number)?;
        let id = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok());
        let id = id.ok_or_else(|| unknown("has a name that nothing had"))?;
        if Image::is_compressed(&inode) {
            files.insert(id, Index::read(&image, &inode)?);
        }
    }
    Ok((files, head))
}

fn superblock(image: &Image) -> Result<Superblock> {
    let bytes = image.bytes(SUPERBLOCK_OFFSET, 128)?;
    let fields = || Some((u32_at(&bytes, 80)?, bytes.get(84..86)?.first_chunk::<2>()?, u64::from(*bytes.get(13)?)));
    let (features, algorithm, slots) = fields().ok_or_else(|| unknown("has no superblock"))?;
    if features & !FEATURES != 0 {
        return Err(unknown(&format!("has features {features:#x}")));
    }
    // `z_erofs_parse_cfgs()`: a length and so many bytes for each algorithm, at multiples of four bytes.
    let start = SUPERBLOCK_OFFSET + 128 + slots * 16;
    let mut end = start;
    for _ in 0..if features & 2 == 0 { 0 } else { u16::from_le_bytes(*algorithm).count_ones() } {
        end = end.next_multiple_of(4);
        let length = image.bytes(end, 2)?;
        end += 2 + u64::from(u16_at(&length, 0).unwrap_or(0));
    }
    let settings = image.bytes(start, usize::try_from(end - start).unwrap_or(0))?;
    Ok(Superblock { features, algorithm: *algorithm, settings })
}

impl Index {
    fn read(image: &Image, inode: &Inode) -> Result<Self> {
        let start = inode.place().end.next_multiple_of(8);
        let header = image.bytes(start, HEADER)?;
        let advice = u16_at(&header, 4).unwrap_or(0);
        // Clusters of one block, nothing inside inodes or shared, and the alignment that it will have again.
        let is_known = inode.layout() == LAYOUT && advice & !(SHORT | BIG) == 0 && header.get(7) == Some(&0);
        if !is_known || !start.is_multiple_of(SLOT) {
            return Err(unknown(&format!("has an index of another kind: {}, {header:02x?}", inode.layout())));
        }
        let (bases, bytes) = shape(inode.size.div_ceil(BLOCK), advice & SHORT != 0);
        let bytes = image.bytes(start, HEADER + bytes)?;
        let base = bases.first().and_then(|base| u32_at(&bytes, *base));
        let block = base.map(|base| base.wrapping_add(u32::from(advice & BIG == 0)));
        let block = block.ok_or_else(|| unknown("has a file without clusters"))?;
        Ok(Index { bytes, bases, block, blocks: inode.union() })
    }

    /// Bytes behind the inode.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The same for clusters that begin at `block`.
    pub fn moved(&self, block: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for base in &self.bases {
            let moved = u32_at(&bytes, *base).unwrap_or(0).wrapping_sub(self.block).wrapping_add(block);
            if let Some(field) = bytes.get_mut(*base..*base + 4) {
                field.copy_from_slice(&moved.to_le_bytes());
            }
        }
        bytes
    }
}

/// Where an index for so many clusters names blocks, in bytes from its header on, and bytes of its entries
/// (`z_erofs_load_compact_lcluster()`): two entries share eight bytes, or sixteen of the short ones 32, whose last four are a
/// block.
fn shape(clusters: u64, short: bool) -> (Vec<usize>, usize) {
    let behind = clusters.saturating_sub(IN_FRONT);
    let packs = if short { behind / 16 } else { 0 };
    let (front, end) = (clusters.min(IN_FRONT).div_ceil(2), (behind - packs * 16).div_ceil(2));
    let (mut bases, mut at) = (Vec::new(), HEADER);
    for (count, bytes) in [(front, 8), (packs, 32), (end, 8)] {
        for _ in 0..count {
            at += bytes;
            bases.push(at - 4);
        }
    }
    (bases, at - HEADER)
}

/// What an inode with an index has in front of that, padded so that the index lies as it lay.
pub fn padded(attributes: &mut Vec<u8>) {
    attributes.resize(attributes.len().next_multiple_of(SLOT as usize), 0);
}
