//! Modules: missing, of another kernel, rubbish, cut, without what they need.

use crate::case::{On, Scene, refused};
use bootstrap::Step::Modules;
use bootstrap::plan::{self, List, Module};
use tests::cpio::Entry;
use tests::image::PLAN;
use tests::kernel::get;
use tests::{Result, content};

const ENOENT: u32 = 2;
const ENOEXEC: u32 = 8;
const EROFS: &str = "modules/erofs.ko";

fn scene(on: &On, change: impl FnOnce(&mut tests::image::Parts) -> Result<()>, errno: u32) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.member(EROFS)?;
    change(&mut parts)?;
    Ok(Scene::new(on, parts, refused(Modules, "cannot load module: /modules/erofs.ko", errno)))
}

fn replaced(on: &On, data: impl Into<Vec<u8>>, errno: u32) -> Result<Scene> {
    let replace = |parts: &mut tests::image::Parts| {
        parts.replace(EROFS, 0o644, data);
        Ok(())
    };
    scene(on, replace, errno)
}

pub fn missing(on: &On) -> Result<Scene> {
    let remove = |parts: &mut tests::image::Parts| {
        parts.remove(EROFS);
        Ok(())
    };
    scene(on, remove, ENOENT)
}

pub fn folder(on: &On) -> Result<Scene> {
    let replace = |parts: &mut tests::image::Parts| {
        parts.remove(EROFS);
        parts.entries.push(Entry::folder(EROFS));
        Ok(())
    };
    // EINVAL: nothing that could be read (kernel_read_file(), fs/kernel_read_file.c).
    scene(on, replace, 22)
}

/// The kernel says which version it wants.
pub fn another_kernel(on: &On) -> Result<Scene> {
    let other = if on.kernel.name == "arm64-6.12" { "arm64-6.1" } else { "arm64-6.12" };
    let modules = content::modules(&get(other)?, &["erofs"])?;
    let module = modules.into_iter().find(|(name, _)| name == "erofs").ok_or("no module erofs")?;
    replaced(on, module.1, ENOEXEC)
}

pub fn rubbish(on: &On) -> Result<Scene> {
    replaced(on, vec![0x55; 4096], ENOEXEC)
}

pub fn cut(on: &On) -> Result<Scene> {
    let module = on.parts()?.member(EROFS)?;
    replaced(on, &module[..module.len() / 2], ENOEXEC)
}

/// An empty file is no ELF file: ENOEXEC from Linux 6.1 on.
pub fn empty(on: &On) -> Result<Scene> {
    replaced(on, "", 22)
}

/// As if a module came from another build of the same version: a symbol it wants is not there. Its signature, which would
/// be wrong then, is made unfindable: a module without one is loaded, one with a wrong one is EKEYREJECTED.
pub fn unresolved_symbol(on: &On) -> Result<Scene> {
    let mut module = on.parts()?.member(EROFS)?;
    let (old, new) = (b"\0iomap_bmap\0", b"\0iomap_none\0");
    // The last one is in the symbol table's strings; one before it in the list of symbol versions.
    let at = module.windows(old.len()).rposition(|part| part == old).ok_or("erofs does not import iomap_bmap")?;
    module[at..at + new.len()].copy_from_slice(new);
    if module.ends_with(b"~Module signature appended~\n") {
        module.pop();
    }
    replaced(on, module, ENOENT)
}

/// A parameter's value that the module refuses.
pub fn refused_parameter(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let changed = plan.modules.into_iter().map(|module| match module.path {
        "/modules/overlay.ko" => Module { parameters: "redirect_max=none", ..module },
        _ => module,
    });
    let mut buffer = vec![0; plan::MAX_BYTES];
    plan.modules = List::encode(changed, &mut buffer)?;
    parts.set_plan(&plan)?;
    // EINVAL
    Ok(Scene::new(on, parts, refused(Modules, "cannot load module: /modules/overlay.ko", 22)))
}
