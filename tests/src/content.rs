//! What the images hold: the guest as `/init`, a few files, and the modules it needs to report.

use crate::Result;
use crate::cpio::Entry;
use crate::kernel::{Kernel, program};
use imagegen::modules::resolve;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Modules in loading order: name to content.
pub type Modules = Vec<(String, Vec<u8>)>;
/// A kernel's name and modules by name.
type Asked = (String, Vec<String>);

/// Modules of the kernel, in loading order: name to content. None for a kernel with all drivers built in.
///
/// # Errors
/// If one is unknown.
pub fn modules(kernel: &Kernel, names: &[&str]) -> Result<Modules> {
    let Some(folder) = &kernel.modules else { return Ok(Vec::new()) };
    // Unpacked once a run: the fault tests ask for the same few sets hundreds of times.
    static KNOWN: Mutex<BTreeMap<Asked, Modules>> = Mutex::new(BTreeMap::new());
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut known = KNOWN.lock().map_err(|_| "another test's modules failed")?;
    let key = (kernel.name.clone(), names);
    if let Some(modules) = known.get(&key) {
        return Ok(modules.clone());
    }
    let resolved = resolve(&key.1, &BTreeMap::new(), Some(folder), false)?;
    let modules: Modules = resolved.into_iter().map(|module| (module.name, module.bytes)).collect();
    known.insert(key, modules.clone());
    Ok(modules)
}

/// The driver of the bus that virtio devices are on.
pub fn bus(kernel: &Kernel) -> &'static str {
    if kernel.arch == "armv7" || kernel.modules.is_none() { "virtio_mmio" } else { "virtio_pci" }
}

/// A small system: `/init` is the guest.
///
/// # Errors
/// If the guest does not build or a module is missing.
pub fn guest(kernel: &Kernel) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> =
        ["dev", "etc", "proc", "run", "sys", "tmp", "usr", "usr/bin", "var", "guest-modules"].map(Entry::folder).into();
    entries.push(Entry::device("dev/console", 0o600, 5, 1));
    entries.push(Entry::file("init", 0o755, std::fs::read(program("guest", &kernel.arch)?)?));
    entries.push(Entry::file("etc/guest-content", 0o640, "a file of the image\n"));
    entries.push(Entry::link("etc/guest-name", "guest-content"));
    // No two blocks alike: the end of the image must not look like what lies before it.
    let large: Vec<u8> = (0..25_000_u32).flat_map(u32::to_le_bytes).collect();
    entries.push(Entry::file("usr/bin/large", 0o755, large));
    let mut list = String::new();
    for (name, bytes) in modules(kernel, &[bus(kernel), "virtio_console"])? {
        list += &format!("/guest-modules/{name}.ko\n");
        entries.push(Entry::file(&format!("guest-modules/{name}.ko"), 0o644, bytes));
    }
    entries.push(Entry::file("guest-modules/list", 0o644, list));
    Ok(entries)
}
