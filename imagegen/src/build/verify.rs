//! Reads the mini-initramfs back through the reader of all inputs and compares it with what went in.

use crate::initramfs::Initramfs;
use crate::tree::{Node, NodeKind, Tree};
use crate::{Error, Result, input};
use std::path::Path;

/// Checks that the archive at `path` holds exactly what `archive` says, and that the plan in it opens.
///
/// # Errors
/// Failed work, naming the first path that differs.
pub fn initramfs(archive: &Initramfs, path: &Path, spool_parent: &Path) -> Result<()> {
    let tree = input::read(path, spool_parent, &mut |_| ())?;
    let mut paths = 1; // `/` itself, which every tree has
    for expected in archive.expected()? {
        paths += 1;
        let found = tree.node(&expected.path).ok_or_else(|| differs(&expected.path, "is missing"))?;
        if (found.mode, found.uid, found.gid) != (expected.mode, 0, 0) || !found.xattrs.is_empty() {
            return Err(differs(&expected.path, "has other metadata"));
        }
        let same = match (&expected.content, &found.kind) {
            (None, NodeKind::Directory | NodeKind::CharDevice(5, 1)) => true,
            (Some((size, sha256)), NodeKind::File(content)) => (content.size, content.sha256) == (*size, *sha256),
            _ => false,
        };
        if !same {
            return Err(differs(&expected.path, "has other content"));
        }
    }
    if tree.nodes.len() != paths {
        return Err(differs("/", &format!("holds {} entries instead of {paths}", tree.nodes.len())));
    }
    plan(&tree)
}

/// Checks the plan in the archive.
fn plan(tree: &Tree) -> Result<()> {
    let path = bootstrap::plan::PATH;
    let Some(Node { kind: NodeKind::File(content), .. }) = tree.node(path) else {
        return Err(differs(path, "is missing"));
    };
    let file = tree.content_path(content);
    sealed(&std::fs::read(&file).map_err(Error::io("read", &file))?)
}

/// Opens a sealed plan as the target will, and seals it again: the same bytes must come out.
///
/// # Errors
/// Failed work if it does not.
pub fn sealed(bytes: &[u8]) -> Result<()> {
    let path = bootstrap::plan::PATH;
    let plan = bootstrap::plan::open(bytes).map_err(|error| differs(path, &error.to_string()))?;
    let mut buffer = vec![0; bootstrap::plan::MAX_BYTES];
    let again = bootstrap::plan::seal(&plan, &mut buffer).map_err(|error| differs(path, &error.to_string()))?;
    if again == bytes { Ok(()) } else { Err(differs(path, "does not decode to what was encoded")) }
}

fn differs(path: &str, how: &str) -> Error {
    Error::failed(format!("mini-initramfs read back: {path} {how}"), "this is a fault of imagegen: please report it")
}
