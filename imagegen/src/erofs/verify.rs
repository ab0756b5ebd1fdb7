//! Reads an image back, independently of what wrote it, and compares it with the tree it was made from.
//!
//! Compressed contents are unpacked by `fsck.erofs`; names, metadata and all else are read here in either case.

use super::format::BLOCK;
use super::image::{Image, Inode, Stored};
use super::tool;
use crate::tree::{Content, Node, NodeKind, Tree};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// As Linux: `PATH_MAX` in include/uapi/linux/limits.h.
const PATH_BYTES_MAX: usize = 4096;

/// Every path of the image at `path`, in byte order, with its node. The id of a content is its inode number, equal for
/// hard links.
///
/// # Errors
/// `BadInput` if it is no readable image, `FailedWork` if `fsck.erofs` cannot unpack compressed contents.
pub fn list(path: &Path) -> Result<Vec<(Vec<u8>, Node)>> {
    let image = Image::open(path)?;
    let inodes = walk(&image)?;
    let unpacked = Unpacked::new(&image, path, inodes.values())?;
    let mut hashes = HashMap::new();
    let mut nodes = Vec::new();
    for (inside, inode) in inodes {
        let kind = kind(&image, &inside, &inode, &unpacked, &mut hashes)?;
        let (mode, uid, gid) = (inode.mode & 0o7777, inode.uid, inode.gid);
        nodes.push((inside, Node { kind, mode, uid, gid, xattrs: image.attributes(&inode)? }));
    }
    Ok(nodes)
}

/// A piece of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// An inode, its attributes, and the end of its content if that lies behind it: bytes of the image.
    Inode(Range<u64>),
    /// Content in blocks of its own.
    Content {
        /// Where, in bytes from the start of the image.
        at: u64,
        /// Where in the content.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
}

/// An inode, and how much content it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, which is that of the mounted image.
    pub number: u64,
    /// Where it and its attributes lie, in bytes of the image.
    pub place: Range<u64>,
    /// Bytes of its content; 0 if it has none.
    pub bytes: u64,
}

/// Tells `see` of every path which inode it is, compressed or not.
///
/// # Errors
/// `BadInput` if it is no readable image.
pub fn entries(path: &Path, see: &mut dyn FnMut(&[u8], Entry)) -> Result<()> {
    let image = Image::open(path)?;
    for (inside, inode) in walk(&image)? {
        let bytes = if has_content(&inode) { inode.size } else { 0 };
        see(&inside, Entry { number: inode.number, place: inode.place(), bytes });
    }
    Ok(())
}

/// Whether it is a regular file, a directory or a symbolic link.
const fn has_content(inode: &Inode) -> bool {
    matches!(inode.mode & 0o170_000, 0o100_000 | 0o040_000 | 0o120_000)
}

/// Tells `see` of every path where it lies in the image at `path`.
///
/// # Errors
/// `BadInput` if it is no readable image, or compressed.
pub fn places(path: &Path, see: &mut dyn FnMut(&[u8], Vec<Extent>)) -> Result<()> {
    let image = Image::open(path)?;
    for (inside, inode) in walk(&image)? {
        if Image::is_compressed(&inode) {
            let what = format!("{}: `{}` is compressed", path.display(), inside.escape_ascii());
            return Err(Error::bad_input(what, "build it with compression = \"none\" for this"));
        }
        let own = inode.place();
        let mut extents = vec![Extent::Inode(own.clone())];
        let mut offset = 0;
        for stored in if has_content(&inode) { image.extents(&inode)? } else { Vec::new() } {
            match stored {
                Stored::At { at, bytes } if bytes > 0 => {
                    let behind = at == own.end && bytes < BLOCK;
                    extents.push(if behind {
                        Extent::Inode(at..at + bytes)
                    } else {
                        Extent::Content { at, offset, bytes }
                    });
                    offset += bytes;
                }
                Stored::At { .. } => {}
                Stored::Hole(bytes) => offset += bytes,
            }
        }
        see(&inside, extents);
    }
    Ok(())
}

/// Writes the content of the regular file `inside` of the image at `path` to `out`. Symbolic links are not followed.
///
/// # Errors
/// `BadInput` if there is no such file, `FailedWork` if it cannot be unpacked or written.
pub fn cat(path: &Path, inside: &[u8], out: &mut dyn Write) -> Result<()> {
    let image = Image::open(path)?;
    let shown = inside.escape_ascii();
    let mut inode = image.inode(image.root)?;
    for component in inside.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        let is_directory = inode.mode & 0o170_000 == 0o040_000;
        let entries = if is_directory { image.entries(&inode)? } else { Vec::new() };
        let found = entries.iter().find(|(name, _)| name == component);
        let Some((_, number)) = found else {
            return Err(Error::bad_input(format!("{}: there is no `{shown}`", path.display()), "list it with inspect"));
        };
        inode = image.inode(*number)?;
    }
    if inode.mode & 0o170_000 != 0o100_000 {
        return Err(Error::bad_input(
            format!("{}: `{shown}` is not a regular file", path.display()),
            "list it with inspect",
        ));
    }
    let unpacked = Unpacked::new(&image, path, [&inode])?;
    read_content(&image, inside, &inode, &unpacked, &mut |piece| {
        out.write_all(piece).map_err(Error::io("write", "the output"))
    })
}

/// Compares the image at `path` with `tree`: paths, types, modes, owners, devices, targets, attributes, contents and
/// hard links.
///
/// # Errors
/// `FailedWork` naming the first path that differs, and how.
pub fn verify(tree: &Tree, path: &Path) -> Result<()> {
    let differs = |inside: &[u8], how: &str| {
        let what = format!("{} is not what was to be written: `{}` {how}", path.display(), inside.escape_ascii());
        Err(Error::failed(what, "this is a fault of the tools or of the disk: try again, then report it"))
    };
    let nodes: BTreeMap<Vec<u8>, Node> = list(path)?.into_iter().collect();
    if let Some(inside) = nodes.keys().find(|inside| !tree.nodes.contains_key(*inside)) {
        return differs(inside, "is too many");
    }
    let (mut to_image, mut to_tree) = (HashMap::new(), HashMap::new());
    for (inside, wanted) in &tree.nodes {
        let Some(found) = nodes.get(inside) else { return differs(inside, "is missing") };
        if let (NodeKind::File(wanted), NodeKind::File(found)) = (&wanted.kind, &found.kind) {
            if (wanted.size, wanted.sha256) != (found.size, found.sha256) {
                return differs(inside, "has another content");
            }
            let same = *to_image.entry(wanted.id).or_insert(found.id) == found.id
                && *to_tree.entry(found.id).or_insert(wanted.id) == wanted.id;
            if !same {
                return differs(inside, "has other hard links");
            }
        } else if wanted.kind != found.kind {
            return differs(inside, "is of another type, or has another device number or target");
        }
        if (wanted.mode, wanted.uid, wanted.gid) != (found.mode, found.uid, found.gid) {
            return differs(inside, "has another mode or owner");
        }
        if wanted.xattrs != found.xattrs {
            return differs(inside, "has other extended attributes");
        }
    }
    Ok(())
}

/// Every path of the image with its inode.
pub(super) fn walk(image: &Image) -> Result<BTreeMap<Vec<u8>, Inode>> {
    let mut inodes = BTreeMap::new();
    let mut directories = HashSet::new();
    let mut waiting = vec![(b"/".to_vec(), image.root)];
    while let Some((path, number)) = waiting.pop() {
        let inode = image.inode(number)?;
        if inode.mode & 0o170_000 == 0o040_000 {
            // One directory in two places would be a loop.
            if !directories.insert(number) {
                return Err(image.error(format_args!("directory inode {number} is in two places")));
            }
            let parent = if path == b"/" { &b""[..] } else { &path };
            for (name, number) in image.entries(&inode)? {
                let path = [parent, b"/", &name].concat();
                if path.len() > PATH_BYTES_MAX {
                    return Err(image.error(format_args!("inode {number}: a path of {} bytes", path.len())));
                }
                waiting.push((path, number));
            }
        }
        inodes.insert(path, inode);
    }
    Ok(inodes)
}

fn kind(
    image: &Image,
    inside: &[u8],
    inode: &Inode,
    unpacked: &Unpacked,
    hashes: &mut HashMap<u64, [u8; 32]>,
) -> Result<NodeKind> {
    let (major, minor) = Image::device(inode);
    Ok(match inode.mode & 0o170_000 {
        0o100_000 => {
            let sha256 = match hashes.get(&inode.number) {
                Some(sha256) => *sha256,
                None => {
                    let mut hash = Sha256::new();
                    read_content(image, inside, inode, unpacked, &mut |piece| {
                        hash.update(piece);
                        Ok(())
                    })?;
                    hash.finalize().into()
                }
            };
            hashes.insert(inode.number, sha256);
            NodeKind::File(Content { id: inode.number, size: inode.size, sha256 })
        }
        0o040_000 => NodeKind::Directory,
        0o120_000 => {
            if inode.size > PATH_BYTES_MAX as u64 {
                return Err(image.error(format_args!("inode {}: a target of {} bytes", inode.number, inode.size)));
            }
            let mut target = Vec::new();
            read_content(image, inside, inode, unpacked, &mut |piece| {
                target.extend_from_slice(piece);
                Ok(())
            })?;
            NodeKind::Symlink(target)
        }
        0o020_000 => NodeKind::CharDevice(major, minor),
        0o060_000 => NodeKind::BlockDevice(major, minor),
        0o010_000 => NodeKind::Fifo,
        0o140_000 => NodeKind::Socket,
        _ => return Err(image.error(format_args!("inode {} is of no type", inode.number))),
    })
}

fn read_content(
    image: &Image,
    inside: &[u8],
    inode: &Inode,
    unpacked: &Unpacked,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    match &unpacked.folder {
        Some(folder) if Image::is_compressed(inode) => read_unpacked(image, folder.path(), inside, inode, sink),
        _ => image.content(inode, sink),
    }
}

fn read_unpacked(
    image: &Image,
    folder: &Path,
    inside: &[u8],
    inode: &Inode,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let path = folder.join("root").join(OsStr::from_bytes(inside.strip_prefix(b"/").unwrap_or(inside)));
    let shown = inside.escape_ascii();
    // What fsck.erofs did not unpack it found in no place, or of another type.
    let metadata = std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file);
    let bytes = metadata.map(|metadata| metadata.len());
    if bytes != Some(inode.size) {
        let found = bytes.map_or_else(|| "nothing".to_owned(), |bytes| format!("{bytes} bytes"));
        return Err(image.error(format_args!("`{shown}` of {} bytes unpacks to {found}", inode.size)));
    }
    let mut file = File::open(&path).map_err(Error::io("open", &path))?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", &path))?;
        if read == 0 {
            return Ok(());
        }
        sink(buffer.get(..read).unwrap_or_default())?;
    }
}

/// An image's contents, unpacked by `fsck.erofs` if any is compressed.
struct Unpacked {
    folder: Option<tempfile::TempDir>,
}

impl Unpacked {
    fn new<'a>(image: &Image, path: &Path, inodes: impl IntoIterator<Item = &'a Inode>) -> Result<Self> {
        if !inodes.into_iter().any(Image::is_compressed) {
            return Ok(Unpacked { folder: None });
        }
        let folder = tempfile::Builder::new().prefix(".imagegen-unpacked-").tempdir_in(path.parent().unwrap_or(path));
        let folder = folder.map_err(Error::io("make a folder beside", path))?;
        let mut extract = std::ffi::OsString::from("--extract=");
        extract.push(folder.path().join("root"));
        let output = Command::new("fsck.erofs")
            .args([extract.as_os_str(), OsStr::new("--no-preserve")])
            .arg(path)
            .stdin(Stdio::null())
            .output()
            .map_err(tool::unusable("fsck.erofs"))?;
        if output.status.success() {
            return Ok(Unpacked { folder: Some(folder) });
        }
        let said = tool::errors(&output.stderr);
        let failed = |hint| Err(Error::failed(format!("fsck.erofs cannot unpack {}: {said}", path.display()), hint));
        if said.contains("No space left on device") {
            failed("make room beside the image")
        } else if said.contains("Operation not permitted") || said.contains("Permission denied") {
            failed("run it under fakeroot")
        } else {
            Err(image.error(format_args!("damaged: fsck.erofs cannot unpack it: {said}")))
        }
    }
}
