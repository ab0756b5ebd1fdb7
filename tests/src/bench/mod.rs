//! Every figure of the README, measured in one run: `make bench`. Boots count instructions instead of time (QEMU's
//! `-icount shift=0`), so their figures are the same on any host; what is timed on the host is only ever compared.

mod boots;
pub mod content;
mod figures;
mod flat;
mod gate;
pub mod machine;
mod modules;
pub mod sample;
mod sources;
mod speed;
mod steps;
pub(crate) mod table;

use crate::Result;
use crate::kernel::{Kernel, checkout, get};
use figures::{Figures, Target};
use machine::Boot;
use sample::Sample;
use std::path::PathBuf;
use table::Table;

/// Measures some of the figures.
type Section = fn(&mut Bench) -> Result<()>;

/// What all sections share.
pub struct Bench {
    folder: tempfile::TempDir,
    figures: Figures,
    /// A board's kernel: drivers built in.
    tuned: Kernel,
    /// A distribution's kernel: drivers in modules.
    stock: Kernel,
}

/// Measures everything, prints the tables, and writes `target/bench.json`. With names of sections only those, and no file.
///
/// # Errors
/// If something cannot be measured. A target that is not met is said, and is no error.
pub fn run(sections: &[String]) -> Result<()> {
    let target = checkout().join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&target)?;
    let mut bench = Bench { folder, figures: Figures::default(), tuned: get("arm64-tuned")?, stock: get("arm64-6.1")? };
    let all: [(&str, Section); 7] = [
        ("boots", boots::run),
        ("flat", flat::run),
        ("sources", sources::run),
        ("modules", modules::run),
        ("gate", gate::run),
        ("speed", speed::run),
        ("sizes", sizes),
    ];
    if let Some(unknown) = sections.iter().find(|section| !all.iter().any(|(name, _)| name == section)) {
        let known = all.map(|(name, _)| name).join(", ");
        return Err(format!("unknown section {unknown}\n  one of {known}; none for all").into());
    }
    for (name, section) in all {
        if sections.is_empty() || sections.iter().any(|wanted| wanted == name) {
            section(&mut bench)?;
        }
    }
    bench.print(&bench.figures.table("targets of the project; boots on the instruction clock, sizes in bytes"));
    if sections.is_empty() {
        bench.figures.write(&target.join("bench.json"))?;
    }
    Ok(())
}

/// Sizes of what the target gets.
fn sizes(bench: &mut Bench) -> Result<()> {
    for arch in ["aarch64", "armv7", "x86_64"] {
        let program = checkout().join(format!("target/release/bootstrap-{arch}"));
        let bytes = std::fs::metadata(&program)
            .map_err(|error| format!("cannot read {}: {error}\n  run make bootstrap", program.display()))?
            .len();
        let key = format!("bootstrap_bytes_{arch}");
        bench.figures.add(&key, Sample::exact(bytes as f64), Target::AtMost(32_768.0));
    }
    Ok(())
}

impl Bench {
    /// A path in the folder that is removed at the end.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Says on standard error what comes next.
    fn say(&self, what: impl std::fmt::Display) {
        eprintln!("bench: {what}");
    }

    /// Prints a table to standard output.
    fn print(&self, table: &Table) {
        println!("{table}");
    }

    /// What a table of boots must say about them.
    fn conditions(&self, boots: &[Boot]) -> String {
        let kernel = boots.first().and_then(|boot| boot.log.kernel.as_deref()).unwrap_or("unknown");
        format!("QEMU virt, cortex-a72, 2 GiB, kernel {kernel}, 1 instruction = 1 ns, n = {}", boots.len())
    }
}
