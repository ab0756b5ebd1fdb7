//! The file of a measurement while it grows: boot after boot, and after each of them whole.

use super::timeline::Boot;
use crate::atomic::Output;
use crate::runs::{self, Clock, Conditions, FORMAT, Runs, Zero};
use crate::{Error, Result, explain};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is not known of a board or a kernel.
pub(super) const UNKNOWN: &str = "unknown";

/// What an interrupted measurement leaves; for the last words of the program.
static KEPT: Mutex<Vec<(PathBuf, usize)>> = Mutex::new(Vec::new());

/// A file of measurements that grows.
#[derive(Debug)]
pub struct Store {
    /// None where they are kept in memory alone.
    output: Option<Output>,
    path: PathBuf,
    every_boot: bool,
    runs: Runs,
}

impl Store {
    /// Keeps boots in memory alone.
    pub fn in_memory(conditions: Conditions) -> Self {
        let runs = Runs { format: FORMAT, conditions, runs: Vec::new() };
        Store { output: None, path: PathBuf::new(), every_boot: false, runs }
    }

    /// Begins `path` for boots under `conditions`, of which kernel, command line and axis are taken from the first boot.
    /// What the file held is replaced by the first boot.
    ///
    /// # Errors
    /// Bad input if `path` cannot be written to.
    pub fn new(path: &Path, conditions: Conditions) -> Result<Self> {
        Ok(Store { output: Some(Output::at(path)?), path: path.to_owned(), ..Store::in_memory(conditions) })
    }

    /// Keeps every boot at once, because the next one may fail or the program be interrupted; with `resume` goes on with
    /// what the file holds, if there is one.
    ///
    /// # Errors
    /// Bad input if it holds no measurements, or those of another board or place.
    pub fn keep(mut self, resume: bool) -> Result<Self> {
        // A pipe takes one document.
        self.every_boot = self.output.as_ref().is_some_and(Output::replaces);
        if !resume || !self.path.try_exists().map_err(Error::io("find", &self.path))? {
            return Ok(self);
        }
        let found = runs::read(&self.path)?;
        let (old, new) = (&found.conditions, &self.runs.conditions);
        let board = new.board == UNKNOWN || new.board == old.board;
        for (what, same, is, was) in
            [("board", board, &new.board, &old.board), ("place", new.place == old.place, &new.place, &old.place)]
        {
            if !same {
                let what = format!("{} holds measurements of another {what}: {was}, not {is}", self.path.display());
                return Err(Error::bad_input(what, "name a new file, or leave out --resume to replace it"));
            }
        }
        self.runs = found;
        Ok(self)
    }

    /// How many boots it holds.
    pub fn count(&self) -> usize {
        self.runs.runs.len()
    }

    /// What it holds.
    pub const fn runs(&self) -> &Runs {
        &self.runs
    }

    /// What it holds, alone.
    pub fn into_runs(self) -> Runs {
        self.runs
    }

    /// Takes a boot.
    ///
    /// # Errors
    /// Failed work if it was under other conditions than those before it, or the file cannot be written.
    pub fn add(&mut self, boot: Boot) -> Result<()> {
        self.agree(&boot)?;
        self.runs.runs.push(boot.run);
        if !self.every_boot {
            return Ok(());
        }
        self.write()?;
        if let Ok(mut kept) = KEPT.lock() {
            kept.retain(|(path, _)| *path != self.path);
            kept.push((self.path.clone(), self.count()));
        }
        Ok(())
    }

    /// Holds a boot's conditions against those of the boots before it, and takes what was not known yet.
    fn agree(&mut self, boot: &Boot) -> Result<()> {
        let is_first = self.runs.runs.is_empty();
        let conditions = &mut self.runs.conditions;
        let changed = |what: &str, is: &str, was: &str| {
            let what = format!("another {what} than in the boots before: {is}, was {was}");
            Err(Error::failed(
                what,
                "boots of one file have their conditions in common: measure it into a file of its own",
            ))
        };
        if conditions.board == UNKNOWN
            && let Some(model) = &boot.model
        {
            conditions.board.clone_from(model);
        }
        match &boot.kernel {
            Some(kernel) if conditions.kernel == UNKNOWN => conditions.kernel.clone_from(kernel),
            Some(kernel) if *kernel != conditions.kernel => return changed("kernel", kernel, &conditions.kernel),
            _ => {}
        }
        if is_first {
            conditions.command_line.clone_from(&boot.command_line);
            conditions.zero = boot.zero;
            conditions.explained |= boot.command_line.as_deref().is_some_and(explain::is_asked);
        } else if conditions.zero != boot.zero {
            return changed("axis", &format!("{:?}", boot.zero), &format!("{:?}", conditions.zero));
        } else if conditions.command_line.is_some() && conditions.command_line != boot.command_line {
            log::warn!("the kernel command line is not the same in every boot: it is left out of the conditions");
            conditions.command_line = None;
        }
        if !conditions.clock.counts() {
            conditions.clock = if boot.zero == Zero::Kernel { Clock::Kernel } else { Clock::Arrival };
        }
        Ok(())
    }

    /// Writes what it holds.
    ///
    /// # Errors
    /// Failed work.
    pub fn write(&self) -> Result<()> {
        self.output.as_ref().map_or(Ok(()), |output| runs::write(&self.runs, output))
    }
}

/// What an interrupted measurement leaves, for people; empty if nothing.
pub fn kept() -> String {
    let Ok(kept) = KEPT.lock() else { return String::new() };
    let line = |(path, count): &(PathBuf, usize)| {
        format!("imagegen: interrupted: {} holds {}; --resume goes on\n", path.display(), crate::count(*count, "boot"))
    };
    kept.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Run;

    fn conditions(board: &str) -> Conditions {
        Conditions {
            board: board.to_owned(),
            place: "/dev/ttyUSB0".to_owned(),
            kernel: UNKNOWN.to_owned(),
            input_sha256: None,
            image_sha256: None,
            command_line: None,
            clock: Clock::Kernel,
            zero: Zero::Kernel,
            explained: false,
        }
    }

    fn boot(kernel: &str, command_line: &str) -> Boot {
        Boot {
            run: Run::default(),
            zero: Zero::Kernel,
            model: Some("A Board".into()),
            kernel: Some(kernel.into()),
            command_line: Some(command_line.into()),
        }
    }

    #[test]
    fn every_boot_is_kept_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.json");
        let begin = |board| Store::new(&path, conditions(board)).unwrap();
        let mut store = begin(UNKNOWN).keep(true).unwrap();
        assert!(!path.exists(), "nothing is replaced by nothing");
        store.add(boot("6.12.1", "quiet")).unwrap();
        drop(store);
        let mut store = begin(UNKNOWN).keep(true).unwrap();
        assert_eq!((store.count(), store.runs().conditions.board.as_str()), (1, "A Board"));
        store.add(boot("6.12.1", "quiet")).unwrap();
        assert_eq!(runs::read(&path).unwrap().runs.len(), 2);
        assert!(kept().contains("runs.json holds 2 boots"), "{}", kept());
        let error = begin("B").keep(true).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("another board: A Board, not B"), "{error}");
        let mut store = begin("B").keep(false).unwrap();
        store.add(boot("6.12.1", "quiet")).unwrap();
        assert_eq!(runs::read(&path).unwrap().runs.len(), 1);
    }

    #[test]
    fn boots_of_one_file_have_one_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(&folder.path().join("x"), conditions("A")).unwrap();
        store.add(boot("6.12.1", "quiet")).unwrap();
        let error = store.add(boot("6.12.2", "quiet")).unwrap_err();
        assert!(error.exit_status() == 1 && error.what.contains("kernel"), "{error}");
        store.add(boot("6.12.1", "loud")).unwrap();
        store.add(boot("6.12.1", "quiet")).unwrap();
        assert_eq!((store.count(), &store.runs().conditions.command_line), (3, &None));
        assert!(!store.runs().conditions.explained);
        let error = store.add(Boot { zero: Zero::FirstByte, ..boot("6.12.1", "quiet") }).unwrap_err();
        assert!(error.what.contains("axis"), "{error}");
        let mut loud = Store::in_memory(conditions("A"));
        loud.add(boot("6.12.1", "console=ttyS0 initcall_debug")).unwrap();
        assert!(loud.runs().conditions.explained);
    }
}
