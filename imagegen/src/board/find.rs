//! From what a command line says to a board file: a path, or a name looked up in the board folder.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Name of the board folder in the source tree.
const FOLDER: &str = "board-configs";
/// Where the board folder is installed, from the folder around the program's.
const BESIDE: &str = "share/initoverlayfs/board-configs";
/// Where a package installs it.
const INSTALLED: &str = "/usr/share/initoverlayfs/board-configs";
/// Environment variable that names another board folder.
const VARIABLE: &str = "INITOVERLAYFS_BOARDS";

/// The file of a board.
///
/// # Errors
/// Bad input if no board has this name; lists the known ones.
pub(super) fn file(name_or_path: &str) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") || path.is_file() {
        return Ok(path.to_owned());
    }
    let folder = folder();
    let file = folder.join(format!("{name_or_path}.toml"));
    if file.is_file() {
        return Ok(file);
    }
    let beside = format!("{name_or_path}.toml");
    if Path::new(&beside).is_file() {
        let what = format!("unknown board {name_or_path:?} (looked in {})", folder.display());
        return Err(Error::bad_input(what, format!("{beside} lies in this folder: say {beside}")));
    }
    let known = names_in(&folder, is_bootable);
    let suggestion = super::suggest(name_or_path, known.iter().map(String::as_str));
    let what = format!("unknown board {name_or_path:?}{suggestion} (looked in {})", folder.display());
    let hint = if known.is_empty() {
        format!("give a path, or name the board folder in {VARIABLE}")
    } else {
        format!("known boards: {}", known.join(", "))
    };
    Err(Error::bad_input(what, hint))
}

/// The file of the parent that `file` calls `name`: beside it, else in the board folder; so a board of your own can inherit
/// from one that is shipped, even under its name.
pub(super) fn parent(file: &Path, name: &str) -> PathBuf {
    let beside = file.with_file_name(format!("{name}.toml"));
    if beside.is_file() && beside != file {
        return beside;
    }
    let shipped = folder().join(format!("{name}.toml"));
    if shipped.is_file() { shipped } else { beside }
}

/// What to say where there is no such parent.
pub(super) fn no_parent(file: &Path, name: &str) -> String {
    let (beside, folder) = (file.parent().unwrap_or(Path::new("")), folder());
    let known: Vec<String> = [beside, &folder].iter().flat_map(|folder| names_in(folder, |_| true)).collect();
    let suggestion = super::suggest(name, known.iter().map(String::as_str));
    format!("unknown parent {name:?}{suggestion}: no {name}.toml beside this file or in {}", folder.display())
}

/// The board folder.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        return folder.into();
    }
    let starts = [std::env::current_dir(), std::env::current_exe()];
    let above = starts.iter().flatten().flat_map(|start| start.ancestors()).map(|start| start.join(FOLDER));
    let installed = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.parent()?.join(BESIDE)));
    above.chain(installed).find(|folder| folder.is_dir()).unwrap_or_else(|| INSTALLED.into())
}

/// Names of the board files in `folder` that `wanted` accepts, sorted.
pub(super) fn names_in(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let paths = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let boards = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml") && wanted(path));
    let mut names: Vec<String> = boards.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

/// Whether a file is a board and no mere parent: a board has a name.
fn is_bootable(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("name"))
}
