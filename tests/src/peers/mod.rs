//! The peers, side by side: `make bench-peers`. One content, one kernel, one disk, one run; every way to boot them that this
//! machine can measure, from storage as fast as QEMU goes, an eMMC and an SD card.
//!
//! On the first the clock counts instructions, as in [`crate::bench`]. A device of a known speed takes time of the host, so there
//! the guest's clock is the host's, the processor is as fast as QEMU emulates it, and peers are booted in turn.
//!
//! QEMU puts kernel and initramfs into memory for nothing. A bootloader reads them from the same storage: that time is computed,
//! from the initramfs' bytes and the storage's rate, and always shown as what it is.

mod content;
mod device;
mod figures;
mod machine;
mod picture;
mod sweep;
mod system;

use crate::Result;
use crate::kernel::{Kernel, checkout, get};
use figures::Cell;
use machine::{STORAGES, Storage};
use std::path::PathBuf;

/// Measures some of it.
type Section = fn(&mut Peers) -> Result<()>;

/// Where the figures and the picture of the README are kept.
const KEPT: &str = "tests/peers";

/// What all sections share.
struct Peers {
    folder: tempfile::TempDir,
    kernel: Kernel,
    cells: Vec<Cell>,
}

/// Measures everything, prints the tables, and writes `target/peers.json` and `target/peers.svg`. With names of sections only those, into
/// the same files. With `keep` alone, copies both to where the README shows them from.
///
/// # Errors
/// If something cannot be measured.
pub fn run(sections: &[String]) -> Result<()> {
    let target = checkout().join("target");
    if sections == ["keep"] {
        let cells = figures::read(&target.join("peers.json"))?;
        figures::write(&cells, &checkout().join(KEPT).with_extension("json"))?;
        std::fs::write(checkout().join(KEPT).with_extension("svg"), picture::draw(&cells))?;
        return Ok(());
    }
    let all: [(&str, Section); 2] = [("system", system::run), ("sweep", sweep::run)];
    if let Some(unknown) = sections.iter().find(|section| !all.iter().any(|(name, _)| name == section)) {
        let known = all.map(|(name, _)| name).join(", ");
        return Err(format!("unknown section {unknown}\n  one of {known}, keep; none for all").into());
    }
    let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(&target)?;
    let mut peers = Peers { folder, kernel: get("arm64-tuned")?, cells: Vec::new() };
    for (name, section) in all {
        if sections.is_empty() || sections.iter().any(|wanted| wanted == name) {
            section(&mut peers)?;
        } else {
            println!("Not compared in this run, because only {} was asked for: {name}.\n", sections.join(", "));
        }
    }
    figures::write(&peers.cells, &target.join("peers.json"))?;
    std::fs::write(target.join("peers.svg"), picture::draw(&peers.cells))?;
    Ok(())
}

/// Whether to boot everything once only, to see that it works: `PEERS_QUICK=1`. No figure comes of that.
fn quick() -> bool {
    std::env::var_os("PEERS_QUICK").is_some_and(|value| value == "1")
}

/// Whether `name` is to be measured: all are, unless the environment's `PEERS_ONLY` or `PEERS_STORAGE` holds parts of the names that are,
/// separated by commas. What is left out is said.
fn wanted(variable: &str, name: &str) -> bool {
    let wanted = std::env::var(variable).map_or(true, |list| list.split(',').any(|part| name.contains(part)));
    if !wanted {
        eprintln!("peers: left out because of {variable}: {name}");
    }
    wanted
}

/// The storages that are measured.
fn storages() -> Vec<Storage> {
    STORAGES.into_iter().filter(|storage| wanted("PEERS_STORAGE", storage.name)).collect()
}

impl Peers {
    /// A path in the folder that is removed at the end.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Says on standard error what comes next, or what was done.
    fn say(&self, what: impl std::fmt::Display) {
        eprintln!("peers: {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_the_readme_is_drawn_from_the_figures_beside_it() {
        let kept = checkout().join(KEPT);
        // Until the first whole run there are neither.
        let Ok(cells) = figures::read(&kept.with_extension("json")) else { return };
        assert!(
            std::fs::read_to_string(kept.with_extension("svg")).unwrap() == picture::draw(&cells),
            "run target/release/peers keep"
        );
        let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
        assert!(readme.contains(&format!("({KEPT}.svg)")), "the README does not show {KEPT}.svg");
    }

    #[test]
    fn an_unknown_section_is_refused() {
        let error = run(&["speed".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("one of system, sweep"), "{error}");
    }
}
