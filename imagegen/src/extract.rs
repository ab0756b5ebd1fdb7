//! Lays a tree out on disk as root would, for `mkfs.erofs` to read. Everything passes through libc functions, so that
//! under `fakeroot` or `pseudo` no privilege is needed.

use crate::input::PATH_BYTES_MAX;
use crate::tree::{Node, NodeKind, Tree};
use crate::{Error, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Lays `tree` out in the existing, empty directory `dir`, on the file system of the tree's spool. Contents are moved out
/// of the spool, not copied: afterwards [`Tree::content_path`] leads nowhere.
///
/// # Errors
/// `BadInput` for a path that is too long in `dir`; `FailedWork` naming the path; without the right to make devices or to change owners, at the first that needs it.
pub fn into(tree: &Tree, dir: &Path) -> Result<()> {
    let mut placed: HashMap<u64, PathBuf> = HashMap::new();
    for (inside, node) in &tree.nodes {
        let path = host_path(dir, inside);
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let (bytes, all) = (inside.len(), path.as_os_str().len());
            let what =
                format!("a path of {bytes} bytes in the content, {all} where it is built: {}", inside.escape_ascii());
            let hint = format!("the limit is {PATH_BYTES_MAX}: build into a folder with a shorter path");
            return Err(Error::bad_input(what, hint));
        }
        if let NodeKind::File(content) = &node.kind {
            if let Some(first) = placed.get(&content.id) {
                fs::hard_link(first, &path).map_err(Error::io("link", &path))?;
                continue;
            }
            fs::rename(tree.content_path(content), &path).map_err(Error::io("move a spooled file to", &path))?;
            placed.insert(content.id, path.clone());
        } else if inside != b"/" {
            make(&path, &node.kind).map_err(privileged("make", &path))?;
        }
        if node.kind != NodeKind::Directory {
            dress(&path, node)?;
        }
    }
    // Children first: a directory may be read-only.
    for (inside, node) in tree.nodes.iter().rev().filter(|(_, node)| node.kind == NodeKind::Directory) {
        dress(&host_path(dir, inside), node)?;
    }
    Ok(())
}

fn host_path(dir: &Path, inside: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(inside.strip_prefix(b"/").unwrap_or(inside)))
}

fn make(path: &Path, kind: &NodeKind) -> io::Result<()> {
    let node = |kind, major: u32, minor: u32| {
        Ok(mknod(path, kind, Mode::S_IRUSR | Mode::S_IWUSR, makedev(major.into(), minor.into()))?)
    };
    match kind {
        NodeKind::Directory => fs::create_dir(path),
        NodeKind::Symlink(target) => symlink(OsStr::from_bytes(target), path),
        NodeKind::CharDevice(major, minor) => node(SFlag::S_IFCHR, *major, *minor),
        NodeKind::BlockDevice(major, minor) => node(SFlag::S_IFBLK, *major, *minor),
        NodeKind::Fifo => node(SFlag::S_IFIFO, 0, 0),
        NodeKind::Socket => node(SFlag::S_IFSOCK, 0, 0),
        // Moved out of the spool by the caller.
        NodeKind::File(_) => Ok(()),
    }
}

/// Owner first: changing it clears the set-user-id bits and `security.capability`.
fn dress(path: &Path, node: &Node) -> Result<()> {
    lchown(path, Some(node.uid), Some(node.gid)).map_err(privileged("change the owner of", path))?;
    if !matches!(node.kind, NodeKind::Symlink(_)) {
        fs::set_permissions(path, Permissions::from_mode(node.mode)).map_err(Error::io("change the mode of", path))?;
    }
    for (name, value) in &node.xattrs {
        xattr::set(path, OsStr::from_bytes(name), value).map_err(privileged("set an attribute of", path))?;
    }
    Ok(())
}

fn privileged(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let mut error = Error::io(verb, path)(error);
        if denied {
            error.hint = "run it under fakeroot, or as root".to_owned();
        }
        error
    }
}
