//! A new commit on top of another: by `ostree commit`, which gets the files as a tar.
//!
//! Of a folder laid over a commit, ostree takes owner, mode and labels of every folder on the way, from `/` on. A tar that has
//! files alone changes nothing but them, whoever runs this.

use super::{Commit, Found, MODULES, Piece, releases};
use crate::tool::Tool;
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Read, Write};

impl Commit {
    fn base(&self) -> &str {
        self.base.as_deref().unwrap_or(&self.branch)
    }

    fn ostree(&self, verb: &str) -> Tool {
        Tool::new("ostree", "ostree").arg(verb).arg("--repo").arg(&self.repo)
    }

    /// The releases that the base has.
    pub(super) fn list(&self) -> Result<Vec<Found>> {
        let list = |folders: &[String]| -> Result<Vec<Found>> {
            let hint = format!("is {} a branch or commit of {} with that folder?", self.base(), self.repo.display());
            let tool = self.ostree("ls").arg("--nul-filenames-only").arg(self.base()).args(folders).hint(hint);
            // A branch or repository that is not there is the caller's to put right; a missing ostree is not.
            let [paths, _] = tool.output().map_err(|error| match error.what.starts_with("cannot run") {
                true => error,
                false => Error::bad_input(error.what, error.hint),
            })?;
            Ok(releases(paths.as_bytes()))
        };
        let found = list(&[format!("/{MODULES}")])?;
        let folders: Vec<String> = found.iter().map(|found| format!("/{MODULES}/{}", found.release)).collect();
        if folders.is_empty() { Ok(found) } else { list(&folders) }
    }

    /// Makes the commit, with the files in `folder`; returns its checksum.
    pub(super) fn make(&self, pieces: &[Piece], folder: &str) -> Result<String> {
        let subject = format!("initoverlayfs for {}", folder.trim_start_matches(MODULES).trim_start_matches('/'));
        let tool = self.ostree("commit").arg("--branch").arg(&self.branch).arg("--base").arg(self.base());
        let tool = tool.args(["--tree=tar=-", "--tar-autocreate-parents", "--bootable"]);
        // New files get the labels of the base's own policy; where it has none this does nothing.
        let tool = tool.arg("--selinux-policy-from-base").arg("--subject").arg(subject).args(&self.arguments);
        let tool = tool.hint("may this user write to the repository, and is there space?");
        let [checksum, _] = tool.feed(|input| archive(pieces, folder, input))?;
        Ok(checksum.trim().to_owned())
    }
}

/// Writes the files as a tar: root's, mode 0600.
fn archive(pieces: &[Piece], folder: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for piece in pieces {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("{folder}/{}", piece.name))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(piece.bytes);
        header.set_cksum();
        let mut file = File::open(&piece.path)?.take(piece.bytes);
        archive.append(&header, &mut file)?;
        if file.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;
    use crate::tree::NodeKind;

    #[test]
    fn the_tar_holds_the_files_and_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let piece = |name: &'static str, bytes: usize| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![7; bytes]).unwrap();
            Piece { path, name, bytes: bytes as u64 }
        };
        let pieces = [piece("vmlinuz", 1024), piece("initramfs.img", 513), piece("empty", 0)];
        let mut bytes = Vec::new();
        archive(&pieces, "usr/lib/modules/6.1", &mut bytes).unwrap();
        let path = folder.path().join("tar");
        std::fs::write(&path, &bytes).unwrap();
        let tree = input::read(&path, folder.path(), &mut |_| ()).unwrap();
        for piece in &pieces {
            let node = tree.node(format!("/usr/lib/modules/6.1/{}", piece.name)).unwrap();
            let NodeKind::File(content) = &node.kind else { panic!("{node:?}") };
            assert_eq!((node.mode, node.uid, node.gid, content.size), (0o600, 0, 0, piece.bytes));
        }
        // Members alone: a header each, what they hold, and the end.
        assert_eq!(bytes.len(), 3 * 512 + 1024 + 1024 + 1024);
        std::fs::write(&pieces[0].path, "cut").unwrap();
        assert!(archive(&pieces, "usr/lib/modules/6.1", &mut Vec::new()).is_err());
    }

    #[test]
    fn the_longest_release_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let piece = Piece { path, name: crate::manifest::EROFS, bytes: 1 };
        let release = "r".repeat(super::super::MAX_RELEASE_BYTES);
        archive(&[piece], &format!("{MODULES}/{release}"), &mut Vec::new()).unwrap();
    }
}
