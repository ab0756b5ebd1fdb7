//! What a board's slots need of their kernel's modules and do not load, found while somebody is still watching: a target has no
//! modprobe, and a file system or device-mapper that nobody loaded is not there.

use super::config::{self, Config, State};
use super::needs::{Choice, Level, Need, needs};
use crate::board::{Board, Mode};
use crate::modules::{Folder, Found};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// A module that is needed and not loaded.
#[derive(Debug, PartialEq, Eq)]
struct Unloaded {
    name: String,
    why: String,
    /// Names of the slots that need it.
    slots: Vec<String>,
}

/// Refuses a board that does not load what its slots need and the folder `dir` has as a module; `loaded` are the modules that are.
/// Nothing is said of what the folder does not show: without the kernel's configuration beside it, what is built in or off.
///
/// # Errors
/// Bad input, naming every such module, and the line of the board file that loads them too; as [`Folder::read`].
pub fn check(board: &Board, dir: &Path, loaded: &BTreeSet<String>) -> Result<()> {
    // dracut brings modules along, and the kernel has modprobe load them.
    if board.mode == Mode::Service {
        return Ok(());
    }
    let folder = Folder::read(dir)?;
    let config = config::find(Some(folder.path())).and_then(|path| Config::read(&path)).ok();
    let unloaded = unloaded(board, &folder, config.as_ref(), loaded);
    if unloaded.is_empty() {
        return Ok(());
    }
    let words = |Unloaded { name, why, slots }: &Unloaded| {
        let plural = if slots.len() > 1 { "s" } else { "" };
        format!("{name} (slot{plural} {}: {why})", slots.join(", "))
    };
    let list: Vec<String> = unloaded.iter().map(words).collect();
    let what = format!("board {} does not load what it needs: {}", board.name, list.join("; "));
    let all = board.modules.load.iter().chain(unloaded.iter().map(|module| &module.name));
    let all: Vec<String> = all.map(|name| format!("{name:?}")).collect();
    let file = board.files.first().map(|file| file.display().to_string()).unwrap_or_default();
    let hint = format!("in [modules] of {file}: load = [{}]; or build them into the kernel", all.join(", "));
    Err(Error::bad_input(what, hint))
}

/// Each module once, in the order they are needed.
fn unloaded(board: &Board, folder: &Folder, config: Option<&Config>, loaded: &BTreeSet<String>) -> Vec<Unloaded> {
    let version = Config::of_version(folder.version());
    let mut found: Vec<Unloaded> = Vec::new();
    for slot in &board.slots {
        let alone = Board { slots: vec![slot.clone()], ..board.clone() };
        for need in needs(&alone, config.or(Some(&version))) {
            let Some(name) = lacking(&need, folder, config, loaded) else { continue };
            match found.iter_mut().find(|module| module.name == name) {
                Some(module) if module.slots.contains(&slot.name) => {}
                Some(module) => module.slots.push(slot.name.clone()),
                None => found.push(Unloaded { name, why: need.why, slots: vec![slot.name.clone()] }),
            }
        }
    }
    found
}

/// The module that would meet the need, if nothing else does or may.
fn lacking(need: &Need, folder: &Folder, config: Option<&Config>, loaded: &BTreeSet<String>) -> Option<String> {
    if need.level == Level::Advised {
        return None;
    }
    let states: Vec<Seen> = need.choices.iter().map(|choice| seen(choice, folder, config, loaded)).collect();
    if states.contains(&Seen::Met) {
        return None;
    }
    states.into_iter().find_map(|state| if let Seen::Unloaded(name) = state { Some(name) } else { None })
}

/// What can be seen of an option.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is there, or nothing says that it is not.
    Met,
    /// It is this module, which is not loaded.
    Unloaded(String),
    /// This kernel does not have it.
    Absent,
}

fn seen(choice: &Choice, folder: &Folder, config: Option<&Config>, loaded: &BTreeSet<String>) -> Seen {
    match config.map(|config| config.state(&choice.option)) {
        Some(State::On) => return Seen::Met,
        Some(State::Off) => return Seen::Absent,
        Some(State::Module) | None => {}
    }
    let is_early =
        matches!((choice.since, config::release(folder.version())), (Some(since), Some(release)) if release < since);
    let Some(module) = &choice.module else { return if is_early { Seen::Absent } else { Seen::Met } };
    match folder.find(module) {
        Found::Modules(names) if !names.iter().any(|name| loaded.contains(name)) => {
            Seen::Unloaded(names.into_iter().next().unwrap_or_else(|| module.clone()))
        }
        Found::Modules(_) | Found::BuiltIn | Found::Nothing => Seen::Met,
    }
}

#[cfg(test)]
mod tests;
