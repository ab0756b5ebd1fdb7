//! A file tree in memory with its contents on disk: what every kind of input becomes before an image is made of it.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A file tree: absolute, normalised paths (`/`, `/bin/sh`; raw bytes, no `.`, `..`, empty component or trailing slash) in byte order.
/// Every node's parent is a directory of the tree; `/` is always there.
#[derive(Debug)]
pub struct Tree {
    /// Path to node.
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// The folder that holds the contents of regular files; removed with the tree.
    pub(crate) spool: tempfile::TempDir,
}

/// A file of any type with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes: name (`security.capability`) to value.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Regular file.
    File(Content),
    /// Directory.
    Directory,
    /// Symbolic link and its target, raw bytes.
    Symlink(Vec<u8>),
    /// Character device: major, minor.
    CharDevice(u32, u32),
    /// Block device: major, minor.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

/// The content of a regular file. Hard links are nodes with the same `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Name of the spooled file; equal for hard links of one file.
    pub id: u64,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, computed while it was read.
    pub sha256: [u8; 32],
}

impl Tree {
    /// Where the content is spooled. Valid until an image writer has moved it away.
    pub fn content_path(&self, content: &Content) -> PathBuf {
        self.spool.path().join(content.id.to_string())
    }

    /// The node at an absolute path inside the tree, symbolic links not followed.
    pub fn node(&self, path: impl AsRef<Path>) -> Option<&Node> {
        use std::os::unix::ffi::OsStrExt;
        self.nodes.get(path.as_ref().as_os_str().as_bytes())
    }

    /// Puts a program of root's in the place of the file or link at `path`; other links to that file keep it.
    ///
    /// # Errors
    /// Failed work if it cannot be spooled.
    pub(crate) fn put_program(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let id = |node: &Node| if let NodeKind::File(content) = &node.kind { Some(content.id) } else { None };
        let id = self.nodes.values().filter_map(id).max().map_or(0, |id| id + 1);
        let content = Content { id, size: bytes.len() as u64, sha256: Sha256::digest(bytes).into() };
        let spooled = self.content_path(&content);
        std::fs::write(&spooled, bytes).map_err(Error::io("write", &spooled))?;
        let node = Node { kind: NodeKind::File(content), mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new() };
        self.nodes.insert(path.as_bytes().to_vec(), node);
        Ok(())
    }

    /// SHA-256 over every path, its metadata, content and hard links: equal for equal trees, wherever they came from.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut first_links = HashMap::new();
        for (index, (path, node)) in self.nodes.iter().enumerate() {
            hash_field(&mut hash, path);
            for number in [node.mode, node.uid, node.gid] {
                hash.update(number.to_le_bytes());
            }
            match &node.kind {
                NodeKind::File(content) => {
                    hash.update([b'f']);
                    hash.update((*first_links.entry(content.id).or_insert(index) as u64).to_le_bytes());
                    hash.update(content.size.to_le_bytes());
                    hash.update(content.sha256);
                }
                NodeKind::Directory => hash.update([b'd']),
                NodeKind::Symlink(target) => {
                    hash.update([b'l']);
                    hash_field(&mut hash, target);
                }
                NodeKind::CharDevice(major, minor) => hash_device(&mut hash, b'c', *major, *minor),
                NodeKind::BlockDevice(major, minor) => hash_device(&mut hash, b'b', *major, *minor),
                NodeKind::Fifo => hash.update([b'p']),
                NodeKind::Socket => hash.update([b's']),
            }
            hash.update((node.xattrs.len() as u64).to_le_bytes());
            for (name, value) in &node.xattrs {
                hash_field(&mut hash, name);
                hash_field(&mut hash, value);
            }
        }
        hash.finalize().into()
    }
}

fn hash_field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn hash_device(hash: &mut Sha256, kind: u8, major: u32, minor: u32) {
    hash.update([kind]);
    hash.update(major.to_le_bytes());
    hash.update(minor.to_le_bytes());
}
