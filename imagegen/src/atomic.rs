//! Replaces a folder of outputs, or a single file, as a whole: everything is made beside it, and only what is complete
//! takes its place.

mod file;
mod output;

pub use file::StagedFile;
pub use output::Output;

use crate::{Error, Result};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The file that marks a folder as ours.
pub const MARKER: &str = "manifest.json";

/// How often removing a folder is tried while others may still write to it.
const REMOVAL_TRIES: usize = 100;

/// What the name of a temporary folder says behind that of its target, and how many letters and digits follow.
const INFIX: &str = ".imagegen-";
const RANDOM_BYTES: usize = 6;
/// What [`end`] adds to a name.
const REMOVED: &str = ".removed";

/// Folders and files to remove if the program is interrupted.
static STAGED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder beside the one it will replace; removed unless it is published.
#[derive(Debug)]
pub struct Staging {
    folder: Option<tempfile::TempDir>,
    /// Locked while the folder is in use.
    _lock: Option<File>,
    path: PathBuf,
    target: PathBuf,
}

impl Staging {
    /// Makes an empty folder, readable by its owner alone, beside `target`.
    ///
    /// # Errors
    /// Bad input if `target` is something other than a folder of ours or an empty one; failed work if the folder
    /// cannot be made.
    pub fn beside(target: &Path) -> Result<Self> {
        check_target(target)?;
        let absolute = std::path::absolute(target).map_err(Error::io("find", target))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(Error::bad_input(format!("{} cannot be replaced", target.display()), "name a new folder"));
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(INFIX);
        remove_stale(parent, &prefix);
        let (folder, lock) = loop {
            let folder = tempfile::Builder::new()
                .prefix(&prefix)
                .rand_bytes(RANDOM_BYTES)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)
                .map_err(Error::io("make a folder in", parent))?;
            match lock(folder.path()) {
                Locked::Ours(file) => break (folder, Some(file)),
                Locked::Impossible => break (folder, None),
                // Another build took it for stale before it was locked.
                Locked::Other => (),
            }
        };
        let path = folder.path().to_owned();
        if let Ok(mut staged) = STAGED.lock() {
            staged.push(path.clone());
        }
        Ok(Staging { folder: Some(folder), _lock: lock, path, target: absolute })
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the files durable and puts the folder in the target's place in one step; what was there is removed after.
    ///
    /// # Errors
    /// Bad input if the target has become something else meanwhile; failed work otherwise. The target is as it was then.
    pub fn publish(mut self) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(Error::io("list", &self.path))? {
            let path = entry.map_err(Error::io("list", &self.path))?.path();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(Error::io("protect", &path))?;
            sync(&path)?;
        }
        sync(&self.path)?;
        check_target(&self.target)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            renameat2(AT_FDCWD, &self.path, AT_FDCWD, &self.target, RenameFlags::RENAME_EXCHANGE)
                .map_err(|errno| Error::io("replace", &self.target)(errno.into()))?;
        } else {
            // No flag, which pseudo (Yocto's fakeroot) answers with ENOSYS: over a folder that has appeared meanwhile
            // rename(2) goes only if it is empty, over anything else never.
            fs::rename(&self.path, &self.target).map_err(Error::io("replace", &self.target))?;
            if let Some(folder) = self.folder.take() {
                // It lies under its final name now: there is nothing left to remove.
                let _ = folder.keep();
            }
        }
        self.target.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Ok(mut staged) = STAGED.lock() {
            staged.retain(|path| *path != self.path);
        }
    }
}

/// Ends the program early, with `status`, and removes every temporary folder and file.
///
/// The work goes on in other threads meanwhile. Moved away, a folder cannot be found by them; what they put into it
/// through an open directory is removed by the next try. A failure of theirs waits for the lock in [`Staging::drop`].
pub fn end(status: i32) -> ! {
    let staged = STAGED.lock();
    for path in staged.iter().flat_map(|staged| staged.iter()) {
        let mut away = path.clone().into_os_string();
        away.push(REMOVED);
        let doomed = if fs::rename(path, &away).is_ok() { Path::new(&away) } else { path };
        // Nothing better can be done about what stays.
        let _ = (0..REMOVAL_TRIES).find(|_| fs::remove_dir_all(doomed).or_else(|_| fs::remove_file(doomed)).is_ok());
    }
    std::process::exit(status)
}

/// Whose a temporary folder is.
enum Locked {
    /// Locked until the file is closed; the kernel does that for a process that is killed.
    Ours(File),
    /// Another process has it, or has removed it.
    Other,
    /// The file system has no locks.
    Impossible,
}

fn lock(folder: &Path) -> Locked {
    let file = match File::open(folder) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Locked::Other,
        Err(_) => return Locked::Impossible,
    };
    match file.try_lock() {
        Ok(()) if file.metadata().is_ok_and(|metadata| metadata.nlink() > 0) => Locked::Ours(file),
        Ok(()) | Err(TryLockError::WouldBlock) => Locked::Other,
        Err(TryLockError::Error(_)) => Locked::Impossible,
    }
}

/// Removes temporary folders in `parent` whose builds were killed: those of this prefix that nobody holds.
fn remove_stale(parent: &Path, prefix: &OsStr) {
    let is_ours = |name: &OsStr| {
        let random = name.as_bytes().strip_prefix(prefix.as_bytes());
        let random = random.map(|rest| rest.strip_suffix(REMOVED.as_bytes()).unwrap_or(rest));
        random.is_some_and(|rest| rest.len() == RANDOM_BYTES && rest.iter().all(u8::is_ascii_alphanumeric))
    };
    // What cannot be listed, locked or removed stays: it is in nobody's way.
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder
            && is_ours(&entry.file_name())
            && let Locked::Ours(_held) = lock(&entry.path())
            && fs::remove_dir_all(entry.path()).is_ok()
        {
            log::info!("removed {}, left by a build that was killed", entry.path().display());
        }
    }
}

/// A target may be absent, empty or a folder of ours.
fn check_target(target: &Path) -> Result<()> {
    let refuse = |why: &str| {
        let what = format!("{} {why}, which would be lost", target.display());
        Err(Error::bad_input(what, "name a new folder, or one that `imagegen build` made"))
    };
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", target)(error)),
        Ok(metadata) if !metadata.is_dir() => return refuse("is not a folder"),
        Ok(_) => (),
    }
    let ours = crate::manifest::read(target).map(|manifest| manifest.outputs).unwrap_or_default();
    for entry in fs::read_dir(target).map_err(Error::io("list", target))? {
        let name = entry.map_err(Error::io("list", target))?.file_name();
        let known = name.to_str().is_some_and(|name| ours.contains_key(name) || (name == MARKER && !ours.is_empty()));
        if !known {
            return refuse(&format!("holds {}", name.display()));
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn staged(target: &Path, content: &str) -> Staging {
        let staging = Staging::beside(target).unwrap();
        fs::write(staging.path().join("file"), content).unwrap();
        let mut manifest = crate::manifest::Manifest::example();
        manifest.note_file(staging.path(), "file").unwrap();
        manifest.write(staging.path()).unwrap();
        staging
    }

    #[test]
    fn new_then_replaced_and_nothing_else_left() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        staged(&target, "first").publish().unwrap();
        staged(&target, "second").publish().unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "second");
        assert_eq!(others(parent.path()), ["out"]);
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(target.join("file")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_dropped_staging_leaves_the_last_good_image() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        staged(&target, "first").publish().unwrap();
        drop(staged(&target, "second"));
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "first");
        assert_eq!(others(parent.path()), ["out"]);
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let running = Staging::beside(&target).unwrap();
        let at = |name: &str| parent.path().join(name);
        let others_own = [".out.imagegen-notes", ".out.imagegen-abc12/", ".other.imagegen-abc123", ".out.abc123"];
        for name in [".out.imagegen-abc123", ".out.imagegen-Abc124.removed"].iter().chain(&others_own) {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("spool"), "x").unwrap();
        }
        fs::write(at(".out.imagegen-abc125"), "a file").unwrap();
        let second = Staging::beside(&target).unwrap();
        let held = [&running, &second].map(|staging| staging.path().file_name().unwrap().to_str().unwrap().to_owned());
        let kept = others_own.map(|name| name.trim_end_matches('/').to_owned());
        let mut expected = [&held[..], &kept, &[".out.imagegen-abc125".to_owned()]].concat();
        expected.sort();
        assert_eq!(others(parent.path()), expected);
        drop(running);
        second.publish().unwrap();
        assert!(target.is_dir());
    }

    #[test]
    fn folders_of_others_files_and_links_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("thesis.tex"), "years of work").unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        for target in [&other, &other.join("thesis.tex"), &link] {
            assert_eq!(Staging::beside(target).unwrap_err().exit_status(), 2, "{}", target.display());
        }
        fs::write(other.join(MARKER), "{}").unwrap();
        assert_eq!(Staging::beside(&other).unwrap_err().exit_status(), 2, "a manifest of something else");
        let target = parent.path().join("out");
        staged(&target, "first").publish().unwrap();
        fs::write(target.join("notes.txt"), "mine").unwrap();
        let error = Staging::beside(&target).unwrap_err();
        assert!(error.what.contains("notes.txt"), "{error}");
    }
}
