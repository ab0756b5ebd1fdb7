//! Kernel modules: from the names a board gives to the files to load, in order, with everything they need. Decided here
//! so that the target only loads a list.

mod file;
mod folder;
mod index;
mod strip;

pub use folder::{Folder, Found};

use crate::error::{Error, Result};
use bootstrap::plan::MAX_MODULES;
use index::{Index, Meaning, normalised};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModule {
    /// Name, with `_` for `-`.
    pub name: String,
    /// The host file it comes from.
    pub source: PathBuf,
    /// Its content, decompressed, stripped if asked for.
    pub bytes: Vec<u8>,
    /// Its parameters, separated by spaces; may be empty.
    pub parameters: String,
    /// Firmware it may ask for, as far as the host has it.
    pub firmware: Vec<Firmware>,
    /// Whether `bytes` end with a signature.
    pub signed: bool,
}

/// A firmware file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Path below `/lib/firmware` on the target.
    pub name: String,
    /// The host file it comes from.
    pub source: PathBuf,
    /// Its content, decompressed.
    pub bytes: Vec<u8>,
}

/// Resolves names to the modules to load, in order: dependencies first, each once. `dir` is `/lib/modules/VERSION`, or a
/// folder with exactly one such in it or in its `lib/modules`; without it everything is taken to be built in.
///
/// # Errors
/// Bad input: an unknown name (with the nearest known one), a folder without `modules.dep`, a cycle, a module for another
/// kernel, parameters for a module that is not loaded, more than [`MAX_MODULES`] modules.
pub fn resolve(
    names: &[String],
    parameters: &BTreeMap<String, String>,
    dir: Option<&Path>,
    strip: bool,
) -> Result<Vec<ResolvedModule>> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let index = Index::read(dir)?;
    let order = order(&index, names)?;
    if order.len() > MAX_MODULES {
        let what = format!("{} modules to load, at most {MAX_MODULES} fit a plan", order.len());
        return Err(Error::bad_input(what, "build some of them into the kernel, or name fewer"));
    }
    let mut parameters = named(&index, &order, parameters)?;
    let load = |name: String| load(&index, name, &mut parameters, strip);
    order.into_iter().map(load).collect()
}

/// Release of the kernel whose modules `dir` has.
///
/// # Errors
/// As [`resolve`].
pub fn release(dir: &Path) -> Result<String> {
    Ok(Index::read(dir)?.version)
}

/// The names to load, in order.
fn order(index: &Index, names: &[String]) -> Result<Vec<String>> {
    let mut walk = Walk { index, open: Vec::new(), done: BTreeSet::new(), order: Vec::new() };
    for asked in names {
        match index.meaning(&normalised(asked)) {
            Meaning::Module(name) => walk.visit(&name)?,
            Meaning::BuiltIn => log::debug!("module {asked}: built into the kernel"),
            Meaning::Ambiguous(modules) => {
                let what = format!("module {asked:?} is an alias of {}", modules.join(", "));
                return Err(Error::bad_input(what, "name the one for this board"));
            }
            Meaning::Unknown => {
                let suggestion = crate::board::suggest(&normalised(asked), index.names());
                let what = format!("unknown module {asked:?}{suggestion} in {}", index.folder.display());
                let hint = if index.folder.join("modules.builtin").exists() {
                    "is this the board's kernel, with all its module packages?"
                } else {
                    "it may be built in, but modules.builtin is missing there (Debian from 7.0 on: in package linux-base-VERSION)"
                };
                return Err(Error::bad_input(what, hint));
            }
        }
    }
    Ok(walk.order)
}

/// A depth-first walk over what modules need.
struct Walk<'a> {
    index: &'a Index,
    /// Modules whose needs are being visited, outermost first.
    open: Vec<String>,
    done: BTreeSet<String>,
    order: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str) -> Result<()> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.open.iter().position(|open| open == name) {
            let chain: Vec<_> = self.open.iter().skip(start).map(String::as_str).chain([name]).collect();
            let what = format!("{}/modules.dep: a cycle: {}", self.index.folder.display(), chain.join(" -> "));
            return Err(Error::bad_input(what, "run depmod again"));
        }
        let Some(entry) = self.index.modules.get(name) else {
            let what = format!("{}/modules.dep: no line for {name}, which a module needs", self.index.folder.display());
            return Err(Error::bad_input(what, "is a module package missing? run depmod again"));
        };
        self.open.push(name.to_owned());
        let mut after = self.soft(name, &entry.before)?;
        for need in entry.needs.iter().rev() {
            self.visit(need)?;
        }
        self.open.pop();
        self.done.insert(name.to_owned());
        self.order.push(name.to_owned());
        after.extend(self.present(name, &entry.after));
        for name in after {
            if !self.open.contains(&name) {
                self.visit(&name)?;
            }
        }
        Ok(())
    }

    /// Visits what should be loaded before `name`; returns what cannot be, because it needs a module that is open.
    fn soft(&mut self, name: &str, before: &[String]) -> Result<Vec<String>> {
        let mut late = Vec::new();
        for module in self.present(name, before) {
            if self.needs_open(&module, &mut BTreeSet::new()) {
                late.push(module);
            } else {
                self.visit(&module)?;
            }
        }
        Ok(late)
    }

    /// Modules of this kernel behind the names of soft dependencies; the others are optional by definition.
    fn present(&self, name: &str, soft: &[String]) -> Vec<String> {
        let module = |asked: &String| match self.index.meaning(asked) {
            Meaning::Module(module) => Some(module),
            Meaning::BuiltIn => None,
            Meaning::Ambiguous(modules) => {
                log::warn!("module {name} may want one of {}: name the one for this board", modules.join(", "));
                None
            }
            Meaning::Unknown => {
                log::debug!("module {name}: soft dependency {asked} does not exist");
                None
            }
        };
        soft.iter().filter_map(module).collect()
    }

    fn needs_open(&self, name: &str, seen: &mut BTreeSet<String>) -> bool {
        if self.open.iter().any(|open| open == name) {
            return true;
        }
        let needs = self.index.modules.get(name).map(|entry| entry.needs.as_slice()).unwrap_or_default();
        seen.insert(name.to_owned()) && needs.iter().any(|need| self.needs_open(need, seen))
    }
}

/// Parameters by the name of the module loaded.
fn named(index: &Index, order: &[String], given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for (asked, text) in given {
        match index.meaning(&normalised(asked)) {
            Meaning::Module(name) if order.contains(&name) => {
                if parameters.insert(name, text.clone()).is_some() {
                    let what = format!("two sets of parameters for module {asked:?}");
                    return Err(Error::bad_input(what, "- and _ are the same in names of modules"));
                }
            }
            Meaning::BuiltIn => log::warn!("module {asked} is built in: give {text:?} on the kernel command line"),
            _ => {
                let suggestion = crate::board::suggest(&normalised(asked), order.iter().map(String::as_str));
                let what = format!("parameters for module {asked:?}, which is not loaded{suggestion}");
                return Err(Error::bad_input(what, "add it to modules.load, or remove its parameters"));
            }
        }
    }
    Ok(parameters)
}

fn load(index: &Index, name: String, parameters: &mut BTreeMap<String, String>, strip: bool) -> Result<ResolvedModule> {
    let Some(entry) = index.modules.get(&name) else {
        return Err(Error::bad_input(
            format!("unknown module {name:?}"),
            "run depmod over the folder of modules again",
        ));
    };
    let wrong = |reason: String| {
        let what = format!("{}: {reason}", entry.file.display());
        Error::bad_input(what, "is this the board's kernel, with all its module packages?")
    };
    let bytes = file::read(&entry.file)?;
    let info = file::info(&bytes).map_err(wrong)?;
    if info.kernel != index.version {
        let what = format!("{}: for kernel {:?}, expected {:?}", entry.file.display(), info.kernel, index.version);
        let hint = "the folder of modules has its kernel's version for a name: is this the board's kernel, in a folder of that name?";
        return Err(Error::bad_input(what, hint));
    }
    let bytes =
        if strip { strip::without_debug(file::unsigned(&bytes).unwrap_or(&bytes)).map_err(wrong)? } else { bytes };
    let mut firmware = Vec::new();
    for wanted in info.firmware {
        match read_firmware(&index.folder, &wanted)? {
            Some(file) => firmware.push(file),
            None => log::warn!("module {name} may ask for firmware {wanted}, which the host does not have"),
        }
    }
    Ok(ResolvedModule {
        parameters: parameters.remove(&name).unwrap_or_default(),
        signed: file::unsigned(&bytes).is_some(),
        source: entry.file.clone(),
        name,
        bytes,
        firmware,
    })
}

/// Looks for a firmware file in `firmware` beside the folder of all modules; pattern names find nothing.
fn read_firmware(modules: &Path, name: &str) -> Result<Option<Firmware>> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\\');
    let Some(folder) = modules.ancestors().nth(2).map(|lib| lib.join("firmware")) else { return Ok(None) };
    if !name.split('/').all(is_plain) {
        return Ok(None);
    }
    for ending in ["", ".xz", ".zst"] {
        let source = folder.join(format!("{name}{ending}"));
        if source.is_file() {
            let bytes = file::read(&source)?;
            return Ok(Some(Firmware { name: name.to_owned(), source, bytes }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
