//! What the target does for the extra files: the folders that lead to them, as the image has them, and which path moves where.

use super::content::real_folder;
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result};
use bootstrap::plan::{EXTRAS_FOLDER, Extra};
use std::collections::BTreeSet;
use std::path::Path;

/// An [`Extra`] that owns its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// Make a folder.
    Folder {
        /// Its path in the mini-initramfs.
        path: String,
        /// Permission bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Move a path.
    Move {
        /// Path in the mini-initramfs.
        from: String,
        /// Path there in the layer.
        to: String,
    },
}

impl Owned {
    /// As the plan has it.
    pub(super) fn borrowed(&self) -> Extra<'_> {
        match self {
            Owned::Folder { path, mode, uid, gid } => Extra::Folder { path, mode: *mode, uid: *uid, gid: *gid },
            Owned::Move { from, to } => Extra::Move { from, to },
        }
    }
}

/// Works out the list for `allowed`, absolute paths, over the image made of `tree`.
///
/// # Errors
/// Bad input if a path leads through what is no folder in the image.
pub(super) fn resolve(tree: &Tree, allowed: &[String]) -> Result<Vec<Owned>> {
    let mut made = BTreeSet::new();
    let mut list = Vec::new();
    for from in allowed {
        let (parent, name) = from.rsplit_once('/').unwrap_or(("", from));
        let refused = |reason| {
            let what = format!("extras.allow {from}: {reason}");
            Error::bad_input(what, "name a path whose folders are folders in the image")
        };
        let real = real_folder(tree, parent).map_err(refused)?;
        // The folder itself, then every one that leads there.
        let ends = real.match_indices('/').map(|(end, _)| end).chain([real.len()]);
        for path in ends.filter_map(|end| real.get(..end)) {
            if made.insert(path.to_owned()) {
                list.push(folder(tree, path));
            }
        }
        list.push(Owned::Move { from: from.clone(), to: format!("{EXTRAS_FOLDER}{real}/{name}") });
    }
    match nested(&list) {
        Some((inner, outer)) => {
            let what = format!("extras.allow: {inner} lies inside {outer}");
            Err(Error::bad_input(what, "name the outer path alone"))
        }
        None => Ok(list),
    }
}

/// A path that would have to be made inside one that is moved, and that one.
fn nested(list: &[Owned]) -> Option<(&str, &str)> {
    list.iter().find_map(|owned| {
        let Owned::Folder { path, .. } = owned else { return None };
        list.iter().find_map(|owned| match owned {
            Owned::Move { from, to } if Path::new(path).starts_with(to) => {
                Some((path.strip_prefix(EXTRAS_FOLDER).unwrap_or(path), from.as_str()))
            }
            Owned::Move { .. } | Owned::Folder { .. } => None,
        })
    })
}

/// The folder `path` of the image; one that it does not have is root's.
fn folder(tree: &Tree, path: &str) -> Owned {
    let node = tree.node(if path.is_empty() { "/" } else { path });
    let node = node.filter(|node| node.kind == NodeKind::Directory);
    let (mode, uid, gid) = node.map_or((0o755, 0, 0), |node| (node.mode, node.uid, node.gid));
    Owned::Folder { path: format!("{EXTRAS_FOLDER}{path}"), mode: (mode & 0o7777) as u16, uid, gid }
}
