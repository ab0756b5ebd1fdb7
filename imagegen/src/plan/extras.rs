//! What the target does for the extra files: the folders that lead to them, as the image has them, and which path moves where.

use super::content::real_folder;
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result};
use bootstrap::plan::{EXTRAS_FOLDER, Extra, MAX_TEXT};
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
    /// The path it is about, as the board knows it.
    pub(super) fn path(&self) -> &str {
        match self {
            Owned::Folder { path, .. } => {
                path.strip_prefix(EXTRAS_FOLDER).filter(|path| !path.is_empty()).unwrap_or("/")
            }
            Owned::Move { from, .. } => from,
        }
    }

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
/// Bad input if a path leads through what is no folder in the image, or to one that `bootstrap` has no room for.
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
        let to = format!("{EXTRAS_FOLDER}{real}/{name}");
        if to.len() > MAX_TEXT {
            let what = format!("extras.allow {from}: it comes to lie at {to}, which is {} bytes", to.len());
            return Err(Error::bad_input(what, format!("name a shorter path: the target has room for {MAX_TEXT}")));
        }
        list.push(Owned::Move { from: from.clone(), to });
    }
    match overlapping(&list) {
        Some((inner, outer)) => {
            let what = format!("extras.allow: {inner} and {outer} overlap");
            Err(Error::bad_input(what, "name the outer path alone"))
        }
        None => Ok(list),
    }
}

/// A path whose place is in or at that of another, and that one: neither could be moved there with the other.
fn overlapping(list: &[Owned]) -> Option<(&str, &str)> {
    let moves = || {
        list.iter().enumerate().filter_map(|(index, owned)| match owned {
            Owned::Move { from, to } => Some((index, from.as_str(), Path::new(to))),
            Owned::Folder { .. } => None,
        })
    };
    moves().find_map(|(index, inner, place)| {
        let outer = moves().find(|(other, _, outer)| *other != index && place.starts_with(outer));
        outer.map(|(_, outer, _)| (inner, outer))
    })
}

/// The folder `path` of the image; one that it does not have is root's.
fn folder(tree: &Tree, path: &str) -> Owned {
    let node = tree.node(if path.is_empty() { "/" } else { path });
    let node = node.filter(|node| node.kind == NodeKind::Directory);
    let (mode, uid, gid) = node.map_or((0o755, 0, 0), |node| (node.mode, node.uid, node.gid));
    Owned::Folder { path: format!("{EXTRAS_FOLDER}{path}"), mode: (mode & 0o7777) as u16, uid, gid }
}
