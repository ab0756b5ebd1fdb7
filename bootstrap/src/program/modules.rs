//! Step modules: loads what the host has put in order.

use super::done;
use super::failure::{Failure, check_on};
use super::text::c_path;
use bootstrap::Step;
use bootstrap::plan::{List, Module};
use bootstrap::record::Record;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::system::finit_module;

/// Loads `modules` in order; a module that is there already is a success.
#[inline(never)]
pub fn load(modules: List<'_, Module<'_>>, record: &mut Record) -> Result<(), Failure> {
    for (index, module) in (0..).zip(modules) {
        match insert(&module) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return check_on(Step::Modules, "cannot load module", module.path, Err(errno)),
        }
        let file = module.path.strip_prefix("/modules/").unwrap_or(module.path);
        done(record, Step::Modules, index, file.strip_suffix(".ko").unwrap_or(file));
    }
    Ok(())
}

fn insert(module: &Module<'_>) -> Result<(), Errno> {
    let file = open(&*c_path![module.path], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    finit_module(&file, &c_path![module.parameters], 0)
}
