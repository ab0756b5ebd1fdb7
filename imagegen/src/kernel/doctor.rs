//! `imagegen doctor`: holds a kernel's configuration and modules against what a board needs, and says for each thing that is missing
//! what to do about it.

use super::config::{self, Config, State};
use super::needs::{Choice, Level, Need, needs};
use crate::board::{self, Board, Mode};
use crate::modules::{Folder, Found};
use crate::{Error, Result, count};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the kernel lies.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Its configuration; none: beside the modules, else the running kernel's.
    pub config: Option<PathBuf>,
    /// Its folder of modules; none: everything is built in, or the running kernel's where its configuration is taken.
    pub modules: Option<PathBuf>,
}

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much.
    pub level: Level,
    /// One line: what is missing, and what it is for.
    pub what: String,
    /// One line: what to do about it.
    pub fix: String,
}

/// What was held against what, and with which result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The board's name.
    pub board: String,
    /// The kernel, in words.
    pub kernel: String,
    /// How many things the board needs.
    pub needs: usize,
    /// What is missing, required things first.
    pub findings: Vec<Finding>,
}

/// Holds a kernel against a board.
///
/// # Errors
/// Bad input if the board is wrong, there is no configuration or no folder of modules, or they are for another architecture or
/// kernel.
pub fn run(board: &str, kernel: &Kernel) -> Result<Report> {
    let board = board::load(board)?;
    let running = PathBuf::from("/lib/modules").join(config::running().unwrap_or_default());
    let modules = match (&kernel.config, &kernel.modules) {
        (None, None) => Some(running).filter(|folder| folder.join("modules.dep").exists()),
        (_, given) => given.clone(),
    };
    let folder = modules.as_deref().map(Folder::read).transpose()?;
    let beside = kernel.modules.as_ref().and(folder.as_ref()).map(Folder::path);
    let path = kernel.config.clone().map_or_else(|| config::find(beside), Ok)?;
    let config = Config::read(&path)?;
    fits(&board, &config, &path, folder.as_ref())?;
    let (needs, findings) = hold(&board, &config, folder.as_ref());
    let version = config.version.as_deref().map(|version| format!("Linux {version}, ")).unwrap_or_default();
    let modules = folder.map_or("no modules".to_owned(), |folder| format!("modules {}", folder.path().display()));
    Ok(Report { board: board.name, kernel: format!("{version}{}, {modules}", path.display()), needs, findings })
}

/// Whether configuration and modules are of the board's kernel at all.
fn fits(board: &Board, config: &Config, path: &Path, folder: Option<&Folder>) -> Result<()> {
    let wanted = board.architecture.kernel();
    if let Some(found) = config.architecture.as_deref().filter(|found| *found != wanted) {
        let what = format!("{}: of a kernel for {found}, and {} wants {wanted}", path.display(), board.name);
        return Err(Error::bad_input(what, "give the configuration of the board's kernel"));
    }
    let of_folder = folder.and_then(|folder| Some((folder, config::release(folder.version())?)));
    if let (Some((folder, found)), Some(expected)) = (of_folder, config.release())
        && found != expected
    {
        let version = config.version.as_deref().unwrap_or_default();
        let what = format!(
            "{}: of Linux {version}, and {} is for {}",
            path.display(),
            folder.path().display(),
            folder.version()
        );
        return Err(Error::bad_input(what, "give configuration and modules of one kernel"));
    }
    Ok(())
}

/// How many things the board needs of this kernel, and those that are missing.
fn hold(board: &Board, config: &Config, folder: Option<&Folder>) -> (usize, Vec<Finding>) {
    let needs = needs(board, Some(config));
    let (loaded, broken) = folder.map(|folder| load(board, folder)).unwrap_or_default();
    let place = Place { board, config, folder, loaded };
    let lacking: Vec<(&Need, Finding)> = needs.iter().filter_map(|need| Some((need, place.missing(need)?))).collect();
    // A name that no module has because its option is off has its line already.
    let is_said = |name: &str| {
        let choices = lacking.iter().flat_map(|(need, _)| &need.choices);
        choices.filter_map(|choice| choice.module.as_deref()).any(|module| same(module, name))
    };
    let broken = broken.into_iter().filter(|(unknown, _)| unknown.as_deref().is_none_or(|name| !is_said(name)));
    let mut findings: Vec<Finding> = broken.map(|(_, finding)| finding).collect();
    findings.extend(lacking.into_iter().map(|(_, finding)| finding));
    if board.modules.strip && config.state("MODULE_SIG_FORCE") == State::On {
        let what = "MODULE_SIG_FORCE is on: it takes no module without its signature, which modules.strip removes";
        findings.push(finding(what.to_owned(), format!("set strip = false in [modules] of {}", place.file())));
    }
    findings.sort_by_key(|finding| finding.level == Level::Advised);
    (needs.len(), findings)
}

/// `-` and `_` are the same in names of modules.
fn same(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

/// What is wrong with a module; with the name in `modules.load` that stands for none.
type Broken = (Option<String>, Finding);

/// The modules that the board's mini-initramfs loads, and what is wrong with them.
fn load(board: &Board, folder: &Folder) -> (BTreeSet<String>, Vec<Broken>) {
    let (mut loaded, mut broken) = (BTreeSet::new(), Vec::new());
    for name in &board.modules.load {
        let order = folder.order(name).unwrap_or_else(|error| {
            let unknown = (folder.find(name) == Found::Nothing).then(|| name.clone());
            broken.push((unknown, finding(format!("modules.load: {name}: {}", error.what), error.hint)));
            Vec::new()
        });
        for module in order {
            let is_new = loaded.insert(module.clone());
            if let Err(error) = if is_new { folder.check(&module) } else { Ok(()) } {
                let whose = if same(&module, name) { String::new() } else { format!(", which {name} needs") };
                broken.push((None, finding(format!("modules.load: {}{whose}", error.what), error.hint)));
            }
        }
    }
    (loaded, broken)
}

fn finding(what: String, fix: String) -> Finding {
    Finding { level: Level::Required, what, fix }
}

/// A board and its kernel.
struct Place<'a> {
    board: &'a Board,
    config: &'a Config,
    folder: Option<&'a Folder>,
    /// Modules that the board loads, with everything they need.
    loaded: BTreeSet<String>,
}

impl Place<'_> {
    fn missing(&self, need: &Need) -> Option<Finding> {
        let lacks = need.choices.iter().map(|choice| self.lack(choice)).collect::<Option<Vec<_>>>()?;
        // The nearest to being there, else the one to set first.
        let nearest =
            need.choices.iter().position(|choice| self.config.state(&choice.option) == State::Module).unwrap_or(0);
        let (is, fix) = lacks.into_iter().nth(nearest)?;
        Some(Finding { level: need.level, what: format!("{is}: {}", need.why), fix })
    }

    /// What an option lacks, and the fix; `None` if it is there and in use.
    fn lack(&self, choice: &Choice) -> Option<(String, String)> {
        let option = &choice.option;
        let build_in = format!("set CONFIG_{option}=y");
        match (self.config.state(option), &choice.module) {
            (State::On, _) => None,
            (State::Module, Some(module)) => self.lack_of_module(option, module, &build_in),
            (State::Module, None) => Some((format!("{option} is a module"), build_in)),
            (State::Off, _) => Some(self.off(choice, &build_in)),
        }
    }

    fn off(&self, choice: &Choice, build_in: &str) -> (String, String) {
        let option = &choice.option;
        match (choice.since, self.config.release()) {
            (Some((major, minor)), Some(release)) if release < (major, minor) => {
                let version = self.config.version.as_deref().unwrap_or_default();
                let fix = format!("take Linux {major}.{minor} or later, or have {} not ask for it", self.file());
                (format!("Linux {version} has no {option}"), fix)
            }
            _ => {
                let text = if choice.option == "SYSTEM_TRUSTED_KEYS" {
                    "set CONFIG_SYSTEM_TRUSTED_KEYS to the file of that certificate, in PEM".to_owned()
                } else {
                    build_in.to_owned()
                };
                let place = choice.kconfig.map(|place| format!(" ({place})")).unwrap_or_default();
                (format!("{option} is off"), text + &place)
            }
        }
    }

    fn lack_of_module(&self, option: &str, module: &str, build_in: &str) -> Option<(String, String)> {
        let is = format!("{option} is a module");
        let Some(folder) = self.folder else {
            return Some((format!("{is}, and there are none"), format!("{build_in}, or give --modules DIR")));
        };
        match folder.find(module) {
            Found::BuiltIn => None,
            // dracut brings it along, udev or the kernel has modprobe load it.
            Found::Modules(_) if self.board.mode == Mode::Service => None,
            Found::Modules(names) if names.iter().any(|name| self.loaded.contains(name)) => None,
            Found::Modules(names) => {
                let name = names.first().map_or(module, String::as_str);
                let fix = format!("add \"{name}\" to modules.load of {}, or {build_in}", self.file());
                Some((format!("{is}, and nothing loads {name}"), fix))
            }
            Found::Nothing => {
                let what = format!("{is}, and {} has no {module}", folder.path().display());
                Some((what, format!("install all of the kernel's module packages there and run depmod, or {build_in}")))
            }
        }
    }

    /// The board's file.
    fn file(&self) -> String {
        self.board.files.first().map(|file| file.display().to_string()).unwrap_or_default()
    }
}

impl Report {
    /// Whether nothing required is missing.
    ///
    /// # Errors
    /// Failed work if something is.
    pub fn verdict(&self) -> Result<()> {
        let missing = self.findings.iter().filter(|finding| finding.level == Level::Required).count();
        if missing == 0 {
            return Ok(());
        }
        let what = format!("this kernel does not boot {}: {} missing", self.board, count(missing, "thing"));
        Err(Error::failed(what, "each has its fix above; then ask again"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.board, self.kernel)?;
        for Finding { level, what, fix } in &self.findings {
            let level = if *level == Level::Required { "missing" } else { "advised" };
            writeln!(f, "{level}: {what}\n  {fix}")?;
        }
        let of_level = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (missing, advised) = (of_level(Level::Required), of_level(Level::Advised));
        writeln!(f, "{} looked at, {missing} missing, {advised} advised", count(self.needs, "option"))
    }
}

#[cfg(test)]
mod tests;
