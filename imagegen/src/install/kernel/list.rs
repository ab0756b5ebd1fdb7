//! What lies in the boot folder for a kernel: written before the first of it, so that nothing is ever forgotten there.

use super::StagedFile;
use super::system::System;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of the format; a reader takes exactly its own.
const FORMAT: u32 = 1;

/// The files of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    format: u32,
    release: String,
    /// What they were made of.
    build: String,
    /// Whether all of them are there, and no others.
    complete: bool,
    /// As the system has them, in the order in which they are published.
    files: Vec<PathBuf>,
}

impl List {
    pub(super) fn new(system: &System, build: &str, files: &[PathBuf]) -> Self {
        let files = files.iter().map(|path| system.inside(path)).collect();
        List { format: FORMAT, release: system.release.clone(), build: build.to_owned(), complete: false, files }
    }

    /// Keeps others from installing or removing at the same time, until the file is closed.
    ///
    /// # Errors
    /// Failed work if somebody does, or it cannot be made.
    pub(super) fn lock(system: &System) -> Result<File> {
        let folder = system.state_folder();
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let path = folder.join("lock");
        let file = File::options().append(true).create(true).open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(Error::failed("another imagegen installs or removes", "wait until it is done"))
            }
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    fn path(system: &System) -> PathBuf {
        system.state_folder().join(format!("{}.json", system.release))
    }

    /// The list of a kernel, if something was installed for it.
    ///
    /// # Errors
    /// Bad input if it is no list.
    pub(super) fn read(system: &System) -> Result<Option<Self>> {
        let path = Self::path(system);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let refuse = |why: String| {
            let hint = "remove what it was of from the boot folder, and it, then install again";
            Err(Error::bad_input(format!("{}: {why}", path.display()), hint))
        };
        let list: List = match serde_json::from_slice(&text) {
            Ok(list) => list,
            Err(error) => return refuse(error.to_string()),
        };
        if list.format != FORMAT || list.release != system.release {
            return refuse(format!("of format {} and kernel {:?}", list.format, list.release));
        }
        // It says what to delete.
        if let Some(path) = list.files.iter().find(|path| !path.to_str().is_some_and(crate::board::is_normalised)) {
            return refuse(format!("{} is no path", path.display()));
        }
        Ok(Some(list))
    }

    /// With what another lists beside it.
    pub(super) fn and(&self, other: Option<&List>) -> Self {
        let mut all = self.clone();
        let more = other.map(|list| list.files.clone()).unwrap_or_default();
        // Removed from last to first: what is to replace the old comes behind it.
        all.files = more.into_iter().filter(|path| !self.files.contains(path)).chain(all.files).collect();
        all
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// As writing fails.
    pub(super) fn write(&self, system: &System, complete: bool) -> Result<()> {
        let path = Self::path(system);
        let list = List { complete, ..self.clone() };
        let mut text = serde_json::to_string_pretty(&list).map_err(|error| Error::io("write", &path)(error.into()))?;
        text.push('\n');
        let staged = StagedFile::beside(&path)?;
        staged.file().write_all(text.as_bytes()).map_err(Error::io("write", &path))?;
        staged.publish()
    }

    /// Writes it as it was read.
    ///
    /// # Errors
    /// As writing fails.
    pub(super) fn restore(&self, system: &System) -> Result<()> {
        self.write(system, self.complete)
    }

    /// Removes it.
    ///
    /// # Errors
    /// As removing fails.
    pub(super) fn remove(&self, system: &System) -> Result<()> {
        super::delete(&Self::path(system)).map(drop)
    }

    /// Its files, as they are reached from here.
    pub(super) fn files(&self, system: &System) -> Vec<PathBuf> {
        self.files.iter().map(|path| system.at(&path.to_string_lossy())).collect()
    }

    /// Whether all that `build` consists of is there.
    pub(super) fn holds(&self, system: &System, build: &str) -> bool {
        self.complete && self.build == build && self.files(system).iter().all(|path: &PathBuf| Path::is_file(path))
    }
}
