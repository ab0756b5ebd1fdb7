//! A directory of the host, with the owners, modes, devices, hard links and attributes the system shows; under `fakeroot`
//! or `pseudo` those are the ones they pretend. Other file systems mounted below it are part of it.

use super::builder::{Builder, keeps_xattr};
use crate::tree::{Node, NodeKind};
use crate::{Error, Result};
use nix::sys::stat::{major, minor};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

struct Reader<'a> {
    builder: &'a mut Builder,
    progress: &'a mut dyn FnMut(u64),
    consumed: u64,
    /// Device and inode number to the path in the tree.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// Reads the directory at `path` as the tree's root.
pub fn read(path: &Path, builder: &mut Builder, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut reader = Reader { builder, progress, consumed: 0, links: HashMap::new() };
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    let root = node(path, &metadata, NodeKind::Directory)?;
    reader.builder.put(b"/".to_vec(), root);
    let mut waiting = vec![(path.to_owned(), Vec::new())];
    while let Some((directory, inside)) = waiting.pop() {
        let mut names = fs::read_dir(&directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>())
            .map_err(Error::io("read", &directory))?;
        // So that the first of several hard links is the same every time.
        names.sort();
        for name in names {
            let (path, inside) = (directory.join(&name), [&inside, &b"/"[..], name.as_bytes()].concat());
            if reader.add(&path, inside.clone())? {
                waiting.push((path, inside));
            }
        }
    }
    Ok(())
}

impl Reader<'_> {
    /// Adds what is at `path`; whether it is a directory.
    fn add(&mut self, path: &Path, inside: Vec<u8>) -> Result<bool> {
        let metadata = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
        let file_type = metadata.file_type();
        let key = (metadata.dev(), metadata.ino());
        if file_type.is_file() && metadata.nlink() > 1 {
            if let Some(earlier) = self.links.get(&key) {
                self.builder.link(earlier, inside);
                return Ok(false);
            }
            self.links.insert(key, inside.clone());
        }
        let (major, minor) = (major(metadata.rdev()) as u32, minor(metadata.rdev()) as u32);
        let kind = match file_type {
            kind if kind.is_dir() => NodeKind::Directory,
            kind if kind.is_file() => self.content(path, metadata.len())?,
            kind if kind.is_symlink() => {
                let target: PathBuf = fs::read_link(path).map_err(Error::io("read", path))?;
                NodeKind::Symlink(target.into_os_string().into_vec())
            }
            kind if kind.is_char_device() => NodeKind::CharDevice(major, minor),
            kind if kind.is_block_device() => NodeKind::BlockDevice(major, minor),
            kind if kind.is_fifo() => NodeKind::Fifo,
            _ => NodeKind::Socket,
        };
        let is_directory = kind == NodeKind::Directory;
        let node = node(path, &metadata, kind)?;
        self.builder.put(inside, node);
        Ok(is_directory)
    }

    fn content(&mut self, path: &Path, size: u64) -> Result<NodeKind> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let id = self.builder.new_id();
        let content = self.builder.spool(id, size, &mut |piece| {
            file.read_exact(piece).map_err(Error::io("read", path))?;
            self.consumed += piece.len() as u64;
            (self.progress)(self.consumed);
            Ok(())
        })?;
        Ok(NodeKind::File(content))
    }
}

fn node(path: &Path, metadata: &Metadata, kind: NodeKind) -> Result<Node> {
    let mode = metadata.mode() & 0o7777;
    Ok(Node { kind, mode, uid: metadata.uid(), gid: metadata.gid(), xattrs: attributes(path)? })
}

fn attributes(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        // Not every file system has attributes.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read the attributes of", path)(error)),
    };
    let mut attributes = BTreeMap::new();
    for name in names.filter(|name| keeps_xattr(name.as_bytes())) {
        if let Some(value) = xattr::get(path, &name).map_err(Error::io("read the attributes of", path))? {
            attributes.insert(name.into_vec(), value);
        }
    }
    Ok(attributes)
}
