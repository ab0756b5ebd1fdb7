//! Finds the bootstrap for an architecture and makes sure that the kernel of that architecture can start it.

use crate::board::Architecture;
use crate::{Error, Result, elf};
use std::path::{Path, PathBuf};

/// Where packages install it.
const INSTALLED: &str = "/usr/lib/initoverlayfs";
/// Largest bootstrap taken for one, in bytes; ours is below 32 KiB.
const MAX_BYTES: u64 = 16 << 20;

/// The bytes of the bootstrap for `architecture`: from `given`, else from beside this program, else the installed one.
///
/// # Errors
/// Bad input if there is none, or it is not a static ELF program for the architecture.
pub fn read(given: Option<&Path>, architecture: Architecture) -> Result<Vec<u8>> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => find(architecture)?,
    };
    let metadata = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    let refuse = |why: String| {
        Error::bad_input(
            format!("bootstrap {}: {why}", path.display()),
            "run `make bootstrap`, or give --bootstrap FILE",
        )
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(refuse("not a file of at most 16 MiB".to_owned()));
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    match elf::interpreter(bytes.as_slice(), architecture).map_err(refuse)? {
        None => Ok(bytes),
        Some(interpreter) => Err(refuse(format!("not static: wants {}", interpreter.escape_ascii()))),
    }
}

fn find(architecture: Architecture) -> Result<PathBuf> {
    let name = format!("bootstrap-{architecture}");
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(&name)));
    let places: Vec<PathBuf> = beside.into_iter().chain([Path::new(INSTALLED).join(&name)]).collect();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        Error::bad_input(
            format!("no bootstrap for {architecture}: looked for {}", places.join(" and ")),
            "run `make bootstrap`, or give --bootstrap FILE",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_one_names_the_remedy() {
        let error = read(Some(Path::new("/nonexistent")), Architecture::Aarch64).unwrap_err();
        assert_eq!(error.exit_status(), 2);
    }
}
