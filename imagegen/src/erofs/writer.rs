//! Writes EROFS in a given order: all inodes together at the start, what a boot uses first in front, contents behind them in the
//! same order. `mkfs.erofs` before 1.8 takes no order, and lays inodes between the contents: a boot then reads a block here and
//! a block there, for which a slow disk takes longer than for the bytes. What is compressed is packed by that tool ([`Packed`]).
//!
//! The format is fs/erofs/erofs_fs.h (Linux 6.12): no feature newer than 5.4 is used but by what packs. Attributes lie behind their
//! inode, none is shared.

use super::format::{self, BLOCK, Layout};
use super::packed::{self, Index, Packed};
use super::place::{self, Places};
use crate::tree::{Content, Node, NodeKind, Tree};
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Time stamps, identity and kind of an image.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// UUID of the superblock.
    pub uuid: [u8; 16],
    /// Time of every inode, in seconds since 1970.
    pub seconds: u64,
    /// Whether ends of regular files may lie behind their inode. Not for direct access.
    pub inline: bool,
}

/// An inode that is to be written.
pub(super) struct Inode<'t> {
    pub(super) node: &'t Node,
    pub(super) links: u32,
    /// Length of the content in bytes.
    pub(super) size: u64,
    pub(super) attributes: Vec<u8>,
    /// How the content is packed, if it is.
    pub(super) packed: Option<&'t Index>,
    /// Names and inodes of a directory, in order.
    pub(super) entries: Vec<(&'t [u8], usize)>,
}

/// Writes `tree` to the empty file `out`; the inodes and contents of the paths in `first` come first, in that order. Returns the
/// bytes of metadata from the start of the image that belong to those. `progress` is called with the bytes written so far.
///
/// # Errors
/// Bad input for what the format cannot hold, failed work if a content cannot be read or the image not be written.
pub fn write(
    tree: &Tree,
    first: &[Vec<u8>],
    packed: Option<&Packed>,
    head: Head,
    out: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<u64> {
    let inodes = inodes(tree, first, packed)?;
    let hot = inodes.hot;
    let inodes = inodes.list;
    let places = place::assign(&inodes, hot, format::inodes_at(packed), head.inline).ok_or_else(|| {
        Error::bad_input("the content is too large for one EROFS image of 16 TiB", "make an image of less")
    })?;
    let failed = || Error::failed(format!("{}: the layout contradicts itself", out.display()), "report this");
    let mut metadata = metadata(tree, &inodes, &places, head)?.ok_or_else(failed)?;
    format::seal(&mut metadata, &places, inodes.len(), head, packed).ok_or_else(failed)?;
    let mut file = File::options().write(true).truncate(true).open(out).map_err(Error::io("open", out))?;
    file.write_all(&metadata).map_err(Error::io("write", out))?;
    let mut written = metadata.len() as u64;
    progress(written);
    for index in &places.contents {
        let (Some(inode), Some(place)) = (inodes.get(*index), places.inodes.get(*index)) else { return Err(failed()) };
        match (&inode.node.kind, inode.packed.zip(packed)) {
            (_, Some((index, packed))) => packed.copy(index, &mut file, out)?,
            (NodeKind::File(content), None) => copy(tree, content, place.stored, &mut file, out)?,
            _ => file.write_all(&padded(small(inode, &places)?, place.stored)).map_err(Error::io("write", out))?,
        }
        written += place.stored.next_multiple_of(BLOCK);
        progress(written);
    }
    Ok(places.hot_bytes)
}

/// All inodes: those used first, in order, then the others by path.
struct Inodes<'t> {
    list: Vec<Inode<'t>>,
    /// How many of them are used first.
    hot: usize,
}

fn inodes<'t>(tree: &'t Tree, first: &[Vec<u8>], packed: Option<&'t Packed>) -> Result<Inodes<'t>> {
    let mut list: Vec<Inode<'t>> = Vec::new();
    let mut by_path: HashMap<&'t [u8], usize> = HashMap::new();
    let mut by_content: HashMap<u64, usize> = HashMap::new();
    let mut add = |path: &'t [u8], node: &'t Node, list: &mut Vec<Inode<'t>>| -> Result<()> {
        if by_path.contains_key(path) {
            return Ok(());
        }
        let known = if let NodeKind::File(content) = &node.kind { by_content.get(&content.id) } else { None };
        let index = known.copied().unwrap_or(list.len());
        if let Some(inode) = list.get_mut(index) {
            inode.links += 1;
        } else {
            list.push(Inode::new(path, node, packed)?);
        }
        if let NodeKind::File(content) = &node.kind {
            by_content.insert(content.id, index);
        }
        by_path.insert(path, index);
        Ok(())
    };
    // The superblock has 16 bits for the number of the root, which therefore is the first of all.
    let paths = std::iter::once(&b"/"[..]).chain(first.iter().flat_map(|path| lineage(path)));
    for path in paths {
        if let Some((path, node)) = tree.nodes.get_key_value(path) {
            add(path, node, &mut list)?;
        }
    }
    let hot = list.len();
    for (path, node) in &tree.nodes {
        add(path, node, &mut list)?;
    }
    connect(tree, &by_path, &mut list)?;
    Ok(Inodes { list, hot })
}

/// The directories that lead to a path, and it.
fn lineage(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = (1..path.len()).filter(|at| path.get(*at) == Some(&b'/'));
    slashes.chain([path.len()]).map(|end| path.get(..end).unwrap_or_default())
}

/// Gives every directory its entries, with `.` and `..`, in the order of their bytes.
fn connect<'t>(tree: &'t Tree, by_path: &HashMap<&'t [u8], usize>, list: &mut [Inode<'t>]) -> Result<()> {
    let index = |path: &[u8]| by_path.get(path).copied();
    for path in tree.nodes.keys() {
        let (parent, name) = split(path);
        let (Some(own), Some(parent)) = (index(path), index(parent)) else { continue };
        let is_directory = list.get(own).is_some_and(|inode| inode.node.kind == NodeKind::Directory);
        if name.len() > format::NAME_BYTES_MAX {
            let what = format!("`{}`: a name of {} bytes", path.escape_ascii(), name.len());
            return Err(Error::bad_input(what, "EROFS takes at most 255: shorten it"));
        }
        if is_directory && let Some(inode) = list.get_mut(own) {
            inode.entries.extend([(&b"."[..], own), (&b".."[..], parent)]);
        }
        if path != b"/"
            && let Some(inode) = list.get_mut(parent)
        {
            inode.entries.push((name, own));
            inode.links += u32::from(is_directory);
        }
    }
    for inode in list.iter_mut().filter(|inode| inode.node.kind == NodeKind::Directory) {
        inode.entries.sort_unstable();
        inode.size = format::directory_bytes(&inode.entries);
    }
    Ok(())
}

/// The directory that a path lies in, and its name there; the root lies in itself.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let parent = path.get(..at.max(1)).unwrap_or_default();
    (parent, path.get(at + 1..).unwrap_or_default())
}

impl<'t> Inode<'t> {
    fn new(path: &[u8], node: &'t Node, packed: Option<&'t Packed>) -> Result<Self> {
        let size = match &node.kind {
            NodeKind::File(content) => content.size,
            NodeKind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let mut attributes = format::attributes(&node.xattrs).map_err(|problem| {
            let what = format!("`{}`: {problem}", path.escape_ascii());
            Error::bad_input(what, "EROFS cannot hold it: remove it, or shorten it")
        })?;
        let packed = match &node.kind {
            NodeKind::File(content) => packed.and_then(|packed| packed.index(content.id)),
            _ => None,
        };
        if packed.is_some() {
            packed::padded(&mut attributes);
        }
        // A directory is named by its parent and by itself.
        let links = if node.kind == NodeKind::Directory { 2 } else { 1 };
        Ok(Inode { node, links, size, attributes, packed, entries: Vec::new() })
    }
}

/// Everything in front of the contents but the superblock; none if the places do not fit it.
fn metadata(tree: &Tree, inodes: &[Inode<'_>], places: &Places, head: Head) -> Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; usize::try_from(places.metadata_bytes).unwrap_or(0)];
    for (number, (inode, place)) in (1_u32..).zip(inodes.iter().zip(&places.inodes)) {
        let core = format::inode(inode, place, number, head);
        let tail = match (place.layout, &inode.node.kind) {
            (Layout::Plain, _) => Vec::new(),
            (Layout::Packed, _) => inode.packed.map(|index| index.moved(place.block)).unwrap_or_default(),
            (Layout::Inline, NodeKind::File(content)) => end_of(tree, content, place.stored)?,
            (Layout::Inline, _) => small(inode, places)?.split_off(usize::try_from(place.stored).unwrap_or(0)),
        };
        let whole = [core, inode.attributes.clone(), tail].concat();
        let start = usize::try_from(place.at).unwrap_or(usize::MAX);
        let Some(room) = bytes.get_mut(start..).and_then(|rest| rest.get_mut(..whole.len())) else { return Ok(None) };
        room.copy_from_slice(&whole);
    }
    Ok(Some(bytes))
}

/// The content of a directory or symbolic link.
fn small(inode: &Inode<'_>, places: &Places) -> Result<Vec<u8>> {
    let failed = || Error::failed("a directory cannot be laid out", "report this");
    match &inode.node.kind {
        NodeKind::Symlink(target) => Ok(target.clone()),
        NodeKind::Directory => format::directory(&inode.entries, places).ok_or_else(failed),
        _ => Ok(Vec::new()),
    }
}

/// The first `bytes` of a small content, padded to whole blocks.
fn padded(mut content: Vec<u8>, bytes: u64) -> Vec<u8> {
    content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    content.resize(content.len().next_multiple_of(BLOCK as usize), 0);
    content
}

/// What lies behind the first `stored` bytes of a file.
fn end_of(tree: &Tree, content: &Content, stored: u64) -> Result<Vec<u8>> {
    let path = tree.content_path(content);
    let mut bytes = vec![0; usize::try_from(content.size - stored).unwrap_or(0)];
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, stored).map_err(Error::io("read", &path))?;
    Ok(bytes)
}

/// Copies the first `bytes` of a file, padded to whole blocks.
fn copy(tree: &Tree, content: &Content, bytes: u64, to: &mut File, out: &Path) -> Result<()> {
    let path = tree.content_path(content);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let copied = std::io::copy(&mut file.take(bytes), to).map_err(Error::io("write", out))?;
    if copied != bytes {
        return Err(Error::failed(format!("{} ends early", path.display()), "something changed it: try again"));
    }
    let padding = bytes.next_multiple_of(BLOCK) - bytes;
    to.write_all(&vec![0; usize::try_from(padding).unwrap_or(0)]).map_err(Error::io("write", out))
}
