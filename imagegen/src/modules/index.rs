//! What a kernel's modules folder knows about its modules: the text files that `depmod` and the kernel's build leave in
//! it (formats: depmod.d(5), modprobe.d(5), Documentation/kbuild/kbuild.rst).

use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module file and what it needs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file.
    pub(super) file: PathBuf,
    /// Names of the modules it needs, as `depmod` lists them: to be loaded from last to first.
    pub(super) needs: Vec<String>,
    /// Names or aliases to load before it where they exist.
    pub(super) before: Vec<String>,
    /// Names or aliases to load after it where they exist.
    pub(super) after: Vec<String>,
}

/// The modules of one kernel. All names are normalised.
#[derive(Debug)]
pub(super) struct Index {
    /// The kernel's version: the folder's name.
    pub(super) version: String,
    /// The folder.
    pub(super) folder: PathBuf,
    /// Name to module.
    pub(super) modules: BTreeMap<String, Entry>,
    built_in: BTreeSet<String>,
    aliases: BTreeMap<String, BTreeSet<String>>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This module.
    Module(String),
    /// Something built into the kernel.
    BuiltIn,
    /// An alias of these modules, none of which is for every machine.
    Ambiguous(Vec<String>),
    /// Nothing.
    Unknown,
}

/// `-` and `_` are the same in names of modules.
pub(super) fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/fs/erofs/erofs.ko.xz` is module `erofs`.
fn name_of(path: &str) -> Option<String> {
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(normalised(name))
}

impl Index {
    /// Reads the index of `dir`: a modules folder, or a folder with exactly one in it or in its `lib/modules`.
    ///
    /// # Errors
    /// Bad input if there is not exactly one modules folder, or `depmod` was not run on it.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let folder = folder_of(dir)?;
        let version = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let text =
            |name: &str| std::fs::read(folder.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let Ok(dep) = text("modules.dep") else {
            let what = format!("{}: no readable modules.dep", folder.display());
            return Err(Error::bad_input(what, format!("run: depmod -b ROOT {version}, where ROOT holds lib/modules")));
        };
        let mut index = Index {
            version,
            modules: BTreeMap::new(),
            built_in: BTreeSet::new(),
            aliases: BTreeMap::new(),
            folder: folder.clone(),
        };
        index.add_dependencies(&dep)?;
        index.add_soft_dependencies(&text("modules.softdep").unwrap_or_default());
        index.add_aliases(&text("modules.alias").unwrap_or_default());
        let built_in = text("modules.builtin").unwrap_or_default();
        index.built_in.extend(built_in.lines().filter_map(name_of));
        // NUL-separated `module.field=value`; older kernels have no such file.
        for entry in text("modules.builtin.modinfo").unwrap_or_default().split('\0') {
            if let Some((_, alias)) = entry.split_once(".alias=") {
                index.built_in.insert(normalised(alias));
            }
        }
        Ok(index)
    }

    fn add_dependencies(&mut self, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate() {
            let entry = line.split_once(':').and_then(|(file, needs)| Some((name_of(file)?, file, needs)));
            let Some((name, file, needs)) = entry else {
                let what = format!("{}/modules.dep:{}: not FILE.ko: FILES", self.folder.display(), number + 1);
                return Err(Error::bad_input(what, "run depmod again"));
            };
            let needs = needs.split_whitespace().filter_map(name_of).collect();
            let file = self.folder.join(file);
            self.modules.insert(name, Entry { file, needs, before: Vec::new(), after: Vec::new() });
        }
        Ok(())
    }

    fn add_soft_dependencies(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some("softdep") {
                continue;
            }
            let Some(entry) = words.next().and_then(|name| self.modules.get_mut(&normalised(name))) else { continue };
            let mut list = None;
            for word in words {
                match word {
                    "pre:" => list = Some(&mut entry.before),
                    "post:" => list = Some(&mut entry.after),
                    name => {
                        if let Some(list) = &mut list {
                            list.push(normalised(name));
                        }
                    }
                }
            }
        }
    }

    fn add_aliases(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) {
                self.aliases.entry(normalised(alias)).or_default().insert(normalised(module));
            }
        }
    }

    /// What a normalised name stands for.
    pub(super) fn meaning(&self, name: &str) -> Meaning {
        if self.modules.contains_key(name) {
            return Meaning::Module(name.to_owned());
        }
        if self.built_in.contains(name) {
            return Meaning::BuiltIn;
        }
        let modules = self.aliases.get(name).into_iter().flatten();
        if modules.clone().any(|module| self.built_in.contains(module)) {
            return Meaning::BuiltIn;
        }
        let modules: Vec<_> = modules.filter(|module| self.modules.contains_key(*module)).cloned().collect();
        match modules.as_slice() {
            [] => Meaning::Unknown,
            [module] => Meaning::Module(module.clone()),
            // Crypto drivers for one processor refuse to load on another (ENODEV): only the generic one is safe.
            several => match several.iter().find(|module| module.ends_with("_generic")) {
                Some(module) => Meaning::Module(module.clone()),
                None => Meaning::Ambiguous(modules),
            },
        }
    }

    /// The modules behind a normalised name: `chosen`, for which it stands, and the others of which it is an alias too.
    pub(super) fn behind(&self, name: &str, chosen: String) -> Vec<String> {
        let others = self.aliases.get(name).into_iter().flatten().filter(|other| **other != chosen && name != chosen);
        let others = others.filter(|other| self.modules.contains_key(*other)).cloned();
        std::iter::once(chosen.clone()).chain(others).collect()
    }

    /// Every name a module can be asked for, for suggestions.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().chain(&self.built_in).map(String::as_str)
    }
}

/// Finds the one modules folder.
fn folder_of(dir: &Path) -> Result<PathBuf> {
    let dir = std::fs::canonicalize(dir).map_err(Error::io("read", dir))?;
    let is_modules = |folder: &Path| {
        ["modules.dep", "modules.builtin", "modules.order", "kernel"].iter().any(|name| folder.join(name).exists())
    };
    if is_modules(&dir) {
        return Ok(dir);
    }
    let mut found = BTreeSet::new();
    for parent in [dir.clone(), dir.join("lib/modules"), dir.join("usr/lib/modules")] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            // Canonical: /lib may be a link to /usr/lib.
            found.extend(std::fs::canonicalize(entry.path()).ok().filter(|folder| is_modules(folder)));
        }
    }
    let mut folders = found.into_iter();
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        (None, _) => {
            let what = format!("{}: no modules folder in it", dir.display());
            Err(Error::bad_input(what, "give /lib/modules/VERSION of the board's kernel"))
        }
        (Some(one), Some(other)) => {
            let what = format!("{}: modules of more than one kernel", dir.display());
            Err(Error::bad_input(what, format!("give one of {}, {} ...", one.display(), other.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(name_of("kernel/arch/x86/crypto/crc32c-intel.ko.xz").as_deref(), Some("crc32c_intel"));
        assert_eq!(name_of("kernel/fs/erofs"), None);
    }
}
