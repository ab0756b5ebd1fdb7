//! Finds the bootstrap for an architecture and makes sure that the kernel of that architecture can start it.

use crate::board::{Architecture, Board, Mode, Overlay, Slot, Source};
use crate::bytes::has;
use crate::{Error, Result, elf};
use bootstrap::plan::FULL_MARK;
use std::path::{Path, PathBuf};

/// Where it is installed, from the folder around the program's.
const BESIDE: &str = "lib/initoverlayfs";
/// Where packages install it.
const INSTALLED: &str = "/usr/lib/initoverlayfs";
/// Largest bootstrap taken for one, in bytes; ours are below 64 KiB.
const MAX_BYTES: u64 = 16 << 20;

/// The bytes of the bootstrap for `board`: the file `given`, else the smallest that can do what its plan asks for, from the
/// folder `given`, else from beside this program, else one installed with it, else the package's.
///
/// # Errors
/// Bad input if there is none, it is not a static ELF program for the architecture, or it cannot do what the plan asks for.
pub fn read(given: Option<&Path>, board: &Board, reads_ahead: bool) -> Result<Vec<u8>> {
    let full = needs_full(board, reads_ahead);
    let path = match given {
        Some(path) if !path.is_dir() => path.to_owned(),
        folder => find(folder, if full { "bootstrap-full" } else { "bootstrap" }, board.architecture)?,
    };
    let bytes = read_static(&path, "bootstrap", board.architecture)?;
    if full && !has(&bytes, FULL_MARK.as_bytes()) {
        return Err(refused(
            &path,
            "bootstrap",
            format!("the plain one; board {} needs bootstrap-full-{}", board.name, board.architecture),
        ));
    }
    Ok(bytes)
}

/// The bytes of `run-init` for the architecture: from the folder `given`, or that of the file `given`, or where bootstrap is found.
///
/// # Errors
/// As [`read`].
pub fn read_run_init(given: Option<&Path>, architecture: Architecture) -> Result<Vec<u8>> {
    let beside = given.filter(|path| !path.is_dir()).and_then(Path::parent);
    let folder = beside.filter(|folder| folder.join(format!("run-init-{architecture}")).is_file());
    let path = find(folder.or(given.filter(|path| path.is_dir())), "run-init", architecture)?;
    read_static(&path, "run-init", architecture)
}

/// The bytes of a static program for the architecture.
fn read_static(path: &Path, name: &str, architecture: Architecture) -> Result<Vec<u8>> {
    let refuse = |why| refused(path, name, why);
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(refuse("not a file of at most 16 MiB".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let foreign = |reason: elf::Refusal| {
        let hint = format!("give {name}-{architecture}, or the folder it lies in: `make bootstrap` makes it");
        let error = refuse(reason.text);
        if reason.is_foreign { Error { hint, ..error } } else { error }
    };
    match elf::interpreter(bytes.as_slice(), architecture).map_err(foreign)? {
        None => Ok(bytes),
        Some(interpreter) => Err(refuse(format!("not static: wants {}", interpreter.escape_ascii()))),
    }
}

fn refused(path: &Path, name: &str, why: String) -> Error {
    Error::bad_input(format!("{name} {}: {why}", path.display()), "run `make bootstrap`, or give --bootstrap FILE")
}

/// Whether the board's plan, or one that reads ahead, asks for what only the full program has (feature `full` of bootstrap).
fn needs_full(board: &Board, reads_ahead: bool) -> bool {
    let slot = |slot: &Slot| {
        let has_unit = slot.source.device().is_some_and(|device| device.lun.is_some());
        matches!(slot.source, Source::File { .. }) || has_unit || board.verity.covers(&slot.source)
    };
    board.mode == Mode::Service
        || reads_ahead
        || matches!(board.overlay, Overlay::Partition(_))
        || board.slots.iter().any(slot)
}

fn find(folder: Option<&Path>, name: &str, architecture: Architecture) -> Result<PathBuf> {
    let name = format!("{name}-{architecture}");
    let folders = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => {
            let program = std::env::current_exe().ok();
            let beside = program.and_then(|program| Some(program.parent()?.to_owned()));
            let installed = beside.as_ref().and_then(|folder| Some(folder.parent()?.join(BESIDE)));
            beside.into_iter().chain(installed).chain([INSTALLED.into()]).collect()
        }
    };
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| folder.join(&name)).collect();
    // A program in /usr/bin was installed by a package.
    places.dedup();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        Error::bad_input(
            format!("no {name}: looked for {}", places.join(" and ")),
            "run `make bootstrap`, or give --bootstrap FILE",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_one_names_the_remedy() {
        let board = crate::board::load("qemu-arm64").unwrap();
        let error = read(Some(Path::new("/nonexistent")), &board, false).unwrap_err();
        assert_eq!(error.exit_status(), 2);
    }

    #[test]
    fn a_folder_has_the_smallest_that_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let found = |name| find(Some(folder.path()), name, Architecture::Aarch64);
        std::fs::write(folder.path().join("bootstrap-aarch64"), "").unwrap();
        assert_eq!(found("bootstrap").unwrap(), folder.path().join("bootstrap-aarch64"));
        let error = found("bootstrap-full").unwrap_err();
        assert!(error.what.starts_with("no bootstrap-full-aarch64: looked for "), "{error:?}");
    }

    #[test]
    fn only_a_plan_that_asks_for_more_gets_the_full_program() {
        for (name, full) in [("qemu-arm64", false), ("qemu-arm64-memory", false), ("qemu-arm64-verity", true)] {
            let board = crate::board::load(name).unwrap();
            assert_eq!((needs_full(&board, false), needs_full(&board, true)), (full, true), "{name}");
        }
    }
}
