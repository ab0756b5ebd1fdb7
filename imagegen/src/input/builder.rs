//! Puts entries of an archive into a tree the way unpacking them into a root file system would: later ones override,
//! parents are followed through symbolic links, inside the tree, and contents go to the spool with their SHA-256.

use crate::tree::{Content, Node, NodeKind, Tree};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::Path;

const COPY_BYTES: usize = 256 * 1024;
/// As the kernel: `MAXSYMLINKS` in include/linux/namei.h.
const MAX_LINKS_FOLLOWED: usize = 40;
/// Longest name, path and target of a link in bytes: `NAME_MAX`, and `PATH_MAX` less its NUL, of
/// include/uapi/linux/limits.h.
const NAME_BYTES_MAX: usize = 255;
pub const PATH_BYTES_MAX: usize = 4095;
/// Bytes of a name that a message shows.
const SHOWN_BYTES: usize = 300;

/// A tree in the making.
pub struct Builder {
    tree: Tree,
    next_id: u64,
    /// Every path a content with more than one link was put at.
    links: HashMap<u64, Vec<Vec<u8>>>,
    buffer: Vec<u8>,
}

/// What became of an entry that was to be put somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Done,
    /// The place is taken by a directory that is not empty: the kernel leaves it as it is.
    Kept,
}

impl Builder {
    /// An empty tree with its spool inside `spool_parent`.
    pub fn new(spool_parent: &Path) -> Result<Self> {
        let spool = tempfile::Builder::new()
            .prefix(".imagegen-spool-")
            .tempdir_in(spool_parent)
            .map_err(Error::io("make a temporary folder in", spool_parent))?;
        let nodes = BTreeMap::from([(b"/".to_vec(), directory())]);
        Ok(Builder { tree: Tree { nodes, spool }, next_id: 0, links: HashMap::new(), buffer: vec![0; COPY_BYTES] })
    }

    /// The finished tree.
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// A name for a new content.
    pub fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Spools `size` bytes under the name `id`, overwriting what it held. `fill` fills the buffer it is given, or says
    /// why it cannot.
    pub fn spool(&mut self, id: u64, size: u64, fill: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<Content> {
        let path = self.tree.spool.path().join(id.to_string());
        let mut file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut hash = Sha256::new();
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BYTES);
            let piece = self.buffer.get_mut(..length).unwrap_or_default();
            fill(piece)?;
            hash.update(&*piece);
            file.write_all(piece).map_err(Error::io("write", &path))?;
            left -= length as u64;
        }
        Ok(Content { id, size, sha256: hash.finalize().into() })
    }

    /// The place in the tree that `name` of an archive means; creates missing parents. `None` for a name without a
    /// component, which means the root.
    ///
    /// # Errors
    /// What is wrong with the name, to be completed with where it stands.
    pub fn locate(&mut self, name: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let mut rest: VecDeque<Vec<u8>> = components(name).map(<[u8]>::to_vec).collect();
        if rest.iter().any(|component| component == b"..") {
            return Err("has a `..` component".to_owned());
        }
        if let Some(long) = rest.iter().find(|component| component.len() > NAME_BYTES_MAX) {
            return Err(format!("has a name of {} bytes, the limit is {NAME_BYTES_MAX}", long.len()));
        }
        let Some(last) = rest.pop_back() else { return Ok(b"/".to_vec()) };
        let mut place = b"/".to_vec();
        let mut followed = 0;
        while let Some(component) = rest.pop_front() {
            if component == b".." {
                parent(&mut place);
                continue;
            }
            let next = join(&place, &component);
            if next.len() > PATH_BYTES_MAX {
                return Err(format!("leads to a path of {} bytes, the limit is {PATH_BYTES_MAX}", next.len()));
            }
            match self.tree.nodes.get(&next).map(|node| &node.kind) {
                Some(NodeKind::Directory) => place = next,
                Some(NodeKind::Symlink(target)) => {
                    followed += 1;
                    if followed > MAX_LINKS_FOLLOWED {
                        return Err(format!("leads through a loop of symbolic links at `{}`", text(&next)));
                    }
                    if target.starts_with(b"/") {
                        place = b"/".to_vec();
                    }
                    for component in components(target).rev() {
                        rest.push_front(component.to_vec());
                    }
                }
                Some(_) => return Err(format!("lies below `{}`, which is not a directory", text(&next))),
                None => {
                    self.tree.nodes.insert(next.clone(), directory());
                    place = next;
                }
            }
        }
        let path = join(&place, &last);
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("is a path of {} bytes, the limit is {PATH_BYTES_MAX}", path.len()));
        }
        Ok(path)
    }

    /// The node at a located path.
    pub fn node(&self, path: &[u8]) -> Option<&Node> {
        self.tree.nodes.get(path)
    }

    /// Puts `node` at a located path. A directory over a directory changes its metadata; everything else replaces what
    /// was there, but for a directory that is not empty.
    pub fn put(&mut self, path: Vec<u8>, node: Node) -> Put {
        let onto_directory = matches!(self.node(&path), Some(Node { kind: NodeKind::Directory, .. }));
        if onto_directory && node.kind != NodeKind::Directory && (path == b"/" || self.has_children(&path)) {
            return Put::Kept;
        }
        self.tree.nodes.insert(path, node);
        Put::Done
    }

    /// Makes `path` a hard link of the node at `from`, which must be there.
    pub fn link(&mut self, from: &[u8], path: Vec<u8>) -> Put {
        let Some(node) = self.node(from).cloned() else { return Put::Kept };
        if let NodeKind::File(content) = &node.kind {
            let links = self.links.entry(content.id).or_insert_with(|| vec![from.to_vec()]);
            links.push(path.clone());
        }
        self.put(path, node)
    }

    /// Changes the regular file at `path`, and with it all its hard links.
    pub fn rewrite(&mut self, path: &[u8], node: &Node) {
        let NodeKind::File(content) = &node.kind else { return };
        let alone = [path.to_vec()];
        let paths = self.links.get(&content.id).map_or(&alone[..], Vec::as_slice);
        for path in paths {
            let old = self.tree.nodes.get_mut(path);
            if let Some(old) = old.filter(|old| matches!(&old.kind, NodeKind::File(c) if c.id == content.id)) {
                *old = node.clone();
            }
        }
    }

    fn has_children(&self, path: &[u8]) -> bool {
        let prefix = [path, b"/"].concat();
        self.tree.nodes.range(prefix.clone()..).next().is_some_and(|(other, _)| other.starts_with(&prefix))
    }
}

/// Whether EROFS can hold the extended attribute `name`.
pub fn keeps_xattr(name: &[u8]) -> bool {
    let prefixes: [&[u8]; 5] =
        [b"user.", b"trusted.", b"security.", b"system.posix_acl_access", b"system.posix_acl_default"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// A parent nobody described.
fn directory() -> Node {
    Node { kind: NodeKind::Directory, mode: 0o755, uid: 0, gid: 0, xattrs: BTreeMap::new() }
}

fn components(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    name.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent == b"/" { [parent, name].concat() } else { [parent, b"/", name].concat() }
}

fn parent(path: &mut Vec<u8>) {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.truncate(end.max(1));
}

/// Raw bytes for a message, the start of them if they are many.
pub fn text(bytes: &[u8]) -> String {
    match bytes.split_at_checked(SHOWN_BYTES) {
        Some((start, rest)) if !rest.is_empty() => format!("{}...", start.escape_ascii()),
        _ => bytes.escape_ascii().to_string(),
    }
}
