//! Replaces a single file as a whole.

use super::{STAGED, sync};
use crate::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A temporary file beside the one it will replace; removed unless it is published.
///
/// Its name is always the same: of any number of power cuts no more than one is left, and the next try takes it over.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_published: bool,
}

impl StagedFile {
    /// Makes an empty file, readable by its owner alone, beside `target`.
    ///
    /// # Errors
    /// Bad input if `target` is something other than a file; failed work if it is being written already, or cannot be made.
    pub fn beside(target: &Path) -> Result<Self> {
        // A link stays, and what it leads to is replaced.
        let target = match fs::canonicalize(target) {
            Ok(target) => target,
            Err(_) if target.is_symlink() => {
                let what = format!("{} is no regular file: a link that leads nowhere", target.display());
                return Err(Error::bad_input(what, "remove it, or name a file"));
            }
            Err(_) => target.to_owned(),
        };
        let target = std::path::absolute(&target).map_err(Error::io("find", &target))?;
        let is_other = fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file());
        let (Some(path), false) = (Self::temporary(&target), is_other) else {
            return Err(Error::bad_input(format!("{} is not a file", target.display()), "name a file, or a new one"));
        };
        let file = open(&path)?;
        if let Ok(mut staged) = STAGED.lock() {
            staged.push(path.clone());
        }
        let staged = StagedFile { file, path, target, is_published: false };
        staged.file.set_len(0).map_err(Error::io("resize", &staged.path))?;
        Ok(staged)
    }

    /// Where the temporary file beside `target` is, which a power cut may leave. None for what cannot be a file.
    pub fn temporary(target: &Path) -> Option<PathBuf> {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(target.file_name()?);
        hidden.push(".part");
        Some(target.parent()?.join(hidden))
    }

    /// The temporary file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the file durable and puts it in the target's place in one step.
    ///
    /// # Errors
    /// Failed work; the target is as it was then.
    pub fn publish(mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        fs::rename(&self.path, &self.target).map_err(Error::io("replace", &self.target))?;
        self.is_published = true;
        self.target.parent().map_or(Ok(()), sync)
    }

    /// The same where nothing may be there yet.
    ///
    /// # Errors
    /// Bad input if something is; failed work otherwise.
    pub fn publish_new(self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        renameat2(AT_FDCWD, &self.path, AT_FDCWD, &self.target, RenameFlags::RENAME_NOREPLACE).map_err(|errno| {
            if errno == Errno::EEXIST {
                let what = format!("{} is there already", self.target.display());
                return Error::bad_input(what, "name another file");
            }
            Error::io("make", &self.target)(errno.into())
        })?;
        self.target.parent().map_or(Ok(()), sync)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // Still locked it is nobody else's. Once it is published the name is free, and may be another's by now.
        if !self.is_published {
            let _ = fs::remove_file(&self.path);
        }
        if let Ok(mut staged) = STAGED.lock() {
            staged.retain(|path| *path != self.path);
        }
    }
}

/// Opens and locks the file at `path`, which another may be publishing or removing.
fn open(path: &Path) -> Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(nix::libc::O_NOFOLLOW).open(path).map_err(Error::io("create", path))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed(format!("{} is being written", path.display()), "wait until it is done"));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let opened = file.metadata().map(id).map_err(Error::io("read", path))?;
        match fs::symlink_metadata(path).map(id) {
            Ok(named) if named == opened => return Ok(file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("read", path)(error)),
            Ok(_) | Err(_) => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn published_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let stage = |content: &str| {
            let staged = StagedFile::beside(&target).unwrap();
            staged.file().write_all(content.as_bytes()).unwrap();
            staged
        };
        stage("first").publish().unwrap();
        drop(stage("second"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "first");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
        // What a power cut has left.
        fs::write(folder.path().join(".file.part"), "a longer one").unwrap();
        stage("third").publish().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "third");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn two_writers_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let first = StagedFile::beside(&target).unwrap();
        assert!(StagedFile::beside(&target).unwrap_err().what.contains("is being written"));
        first.file().write_all(b"first").unwrap();
        first.publish().unwrap();
        drop(StagedFile::beside(&target).unwrap());
        assert_eq!(fs::read_to_string(&target).unwrap(), "first");
    }

    #[test]
    fn what_is_published_takes_nothing_away_from_the_next_writer() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let mut first = StagedFile::beside(&target).unwrap();
        // As `publish` leaves it when it has yet to sync the folder.
        fs::rename(&first.path, &target).unwrap();
        first.is_published = true;
        let second = StagedFile::beside(&target).unwrap();
        drop(first);
        second.file().write_all(b"second").unwrap();
        second.publish().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "second");
    }

    #[test]
    fn a_link_stays_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let staged = StagedFile::beside(&link).unwrap();
        staged.file().write_all(b"new").unwrap();
        staged.publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        fs::remove_file(&target).unwrap();
        assert_eq!(StagedFile::beside(&link).unwrap_err().exit_status(), 2);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(StagedFile::beside(folder.path()).unwrap_err().exit_status(), 2);
        assert_eq!(StagedFile::beside(&folder.path().join("none/file")).unwrap_err().exit_status(), 2);
    }
}
