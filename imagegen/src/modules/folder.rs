//! Questions about a kernel's folder of modules, for `imagegen doctor`: what is in it, what a name needs, and whether that is whole.

use super::index::{Index, Meaning, normalised};
use crate::error::{Error, Result};
use std::path::Path;

/// A kernel's folder of modules.
#[derive(Debug)]
pub struct Folder {
    index: Index,
}

/// What a folder has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These modules: one, or several behind an alias, first the one that the alias is resolved to if it is.
    Modules(Vec<String>),
    /// Something built into the kernel.
    BuiltIn,
    /// Nothing.
    Nothing,
}

impl Folder {
    /// Reads `/lib/modules/VERSION`, or a folder with exactly one such in it.
    ///
    /// # Errors
    /// Bad input if there is not exactly one, or `depmod` was not run on it.
    pub fn read(dir: &Path) -> Result<Self> {
        Ok(Folder { index: Index::read(dir)? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.index.folder
    }

    /// The kernel's version: its name.
    pub fn version(&self) -> &str {
        &self.index.version
    }

    /// What is there under a name or alias.
    pub fn find(&self, name: &str) -> Found {
        match self.index.meaning(&normalised(name)) {
            Meaning::Module(chosen) => Found::Modules(self.index.behind(&normalised(name), chosen)),
            Meaning::BuiltIn => Found::BuiltIn,
            Meaning::Ambiguous(names) => Found::Modules(names),
            Meaning::Unknown => Found::Nothing,
        }
    }

    /// The modules to load for one name, in order.
    ///
    /// # Errors
    /// Bad input, as for [`super::resolve`].
    pub fn order(&self, name: &str) -> Result<Vec<String>> {
        super::order(&self.index, &[name.to_owned()])
    }

    /// Whether the file of a module is there, can be read, and is for this kernel.
    ///
    /// # Errors
    /// Bad input if not.
    pub fn check(&self, module: &str) -> Result<()> {
        let Some(entry) = self.index.modules.get(module) else { return Ok(()) };
        if !entry.file.exists() {
            let what = format!("module {module} has no file {}", entry.file.display());
            return Err(Error::bad_input(
                what,
                "install it there, with all of the kernel's module packages, and run depmod",
            ));
        }
        super::load(&self.index, module.to_owned(), &mut std::collections::BTreeMap::new(), false).map(drop)
    }
}
