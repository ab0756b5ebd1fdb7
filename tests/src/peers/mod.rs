//! The peers, side by side: `make bench-peers`. One content, one kernel, one disk, one run; every way to boot them that this
//! machine can measure, from storage as fast as QEMU goes, an eMMC and an SD card.
//!
//! The clock counts instructions, as in [`crate::bench`], also while the guest waits for a device of a known speed, which takes the
//! guest's time ([`device`]).
//!
//! QEMU puts kernel and initramfs into memory for nothing. A bootloader reads them from the same storage: that time is computed,
//! from the initramfs' bytes and the storage's rate, and always shown as what it is.

mod content;
mod curves;
mod device;
mod figures;
mod machine;
mod picture;
mod reads;
mod sweep;
mod system;

use crate::Result;
use crate::kernel::{Kernel, checkout, get};
use figures::Cell;
use machine::{Peer, STORAGES, Storage};
use std::path::{Path, PathBuf};

/// Measures some of it.
type Section = fn(&mut Peers) -> Result<()>;

/// Where the figures and the picture of the README are kept.
const KEPT: &str = "tests/peers";

/// Where what is read is kept, and its picture.
const KEPT_READS: &str = "tests/profile";

/// Boots of each, if the environment's `PEERS_RUNS` does not say: one takes the host a quarter of a minute.
const RUNS: usize = 3;

/// What all sections share.
struct Peers {
    folder: tempfile::TempDir,
    kernel: Kernel,
    /// Boots of each, if that was asked for.
    runs: Option<usize>,
    /// After how many minutes no round of boots may end, if that was asked for.
    minutes: Option<usize>,
    cells: Vec<Cell>,
    rows: Vec<reads::Row>,
    curves: Vec<curves::Curve>,
    /// What QEMU works for an instruction: measured once, where a storage has a speed.
    per_instruction: std::cell::Cell<Option<f64>>,
}

/// Measures everything, prints the tables, and writes `target/peers.json` and `target/peers.svg`, of a profile's part in it
/// `target/profile.json`, `target/profile-curves.json` and `target/profile.svg`. With names of sections only those, into the same files.
/// With `keep` alone, takes all of that to where the README shows it from: what was not measured stays there as it was.
///
/// # Errors
/// If something cannot be measured.
pub fn run(sections: &[String]) -> Result<()> {
    let target = checkout().join("target");
    if sections == ["keep"] {
        return keep(&target);
    }
    let all: [(&str, Section); 2] = [("system", system::run), ("sweep", sweep::run)];
    if let Some(unknown) = sections.iter().find(|section| !all.iter().any(|(name, _)| name == section)) {
        let known = all.map(|(name, _)| name).join(", ");
        return Err(format!("unknown section {unknown}\n  one of {known}, keep; none for all").into());
    }
    // In memory if the environment's TMPDIR is: what the host has to read again costs the guest's time.
    let place = std::env::var_os("TMPDIR").map_or(target.clone(), PathBuf::from);
    let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(place)?;
    let mut peers = Peers {
        folder,
        kernel: get("arm64-tuned")?,
        runs: number("PEERS_RUNS")?,
        minutes: number("PEERS_MINUTES")?,
        cells: Vec::new(),
        rows: Vec::new(),
        curves: Vec::new(),
        per_instruction: std::cell::Cell::default(),
    };
    for (name, section) in all {
        if sections.is_empty() || sections.iter().any(|wanted| wanted == name) {
            section(&mut peers)?;
        } else {
            println!("Not compared in this run, because only {} was asked for: {name}.\n", sections.join(", "));
        }
    }
    figures::write(&peers.cells, &target.join("peers.json"))?;
    std::fs::write(target.join("peers.svg"), picture::draw(&peers.cells))?;
    if !peers.rows.is_empty() {
        write_reads(&peers.rows, &peers.curves, &target.join("profile"))?;
    }
    Ok(())
}

fn write_reads(rows: &[reads::Row], curves: &[curves::Curve], path: &Path) -> Result<()> {
    figures::write(rows, &path.with_extension("json"))?;
    figures::write(curves, &curves_of(path))?;
    Ok(std::fs::write(path.with_extension("svg"), curves::draw(curves))?)
}

fn curves_of(path: &Path) -> PathBuf {
    path.with_file_name("profile-curves.json")
}

fn keep(target: &Path) -> Result<()> {
    let kept = checkout().join(KEPT);
    // Before the first run there is nothing.
    let earlier = figures::read(&kept.with_extension("json")).unwrap_or_default();
    let cells = figures::merge(earlier, figures::read(&target.join("peers.json"))?);
    figures::write(&cells, &kept.with_extension("json"))?;
    std::fs::write(kept.with_extension("svg"), picture::draw(&cells))?;
    let path = target.join("profile");
    if path.with_extension("json").exists() {
        let rows: Vec<reads::Row> = figures::read(&path.with_extension("json"))?;
        write_reads(&rows, &figures::read(&curves_of(&path))?, &checkout().join(KEPT_READS))?;
    }
    Ok(())
}

/// Whether to boot everything once only, to see that it works: `PEERS_QUICK=1`. No figure comes of that.
fn quick() -> bool {
    std::env::var_os("PEERS_QUICK").is_some_and(|value| value == "1")
}

/// Whether `name` is to be measured: all are, unless the environment's `PEERS_ONLY` or `PEERS_STORAGE` has words for those that are, with
/// semicolons between them. What is left out is said.
fn wanted(variable: &str, name: &str) -> bool {
    let wanted = std::env::var(variable).map_or(true, |words| is_meant(&words, name));
    if !wanted {
        eprintln!("peers: left out because of {variable}: {name}");
    }
    wanted
}

/// Whether one of these words is a part of the name, or all of it where it begins with `=`: some names begin as others do.
fn is_meant(words: &str, name: &str) -> bool {
    words.split(';').map(str::trim).filter(|word| !word.is_empty()).any(|word| match word.strip_prefix('=') {
        Some(whole) => whole == name,
        None => name.contains(word),
    })
}

/// The number that the environment's variable has, if it has one.
fn number(variable: &str) -> Result<Option<usize>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{variable}: found {text:?}, expected a number from 1").into()),
    }
}

/// The storages that are measured.
fn storages() -> Vec<Storage> {
    STORAGES.into_iter().filter(|storage| wanted("PEERS_STORAGE", storage.name)).collect()
}

impl Peers {
    /// The figure of [`machine::per_instruction`] by the first of the peers, which stands for all; 1 for a storage that it is of no interest
    /// to.
    fn per_instruction(&self, storage: Storage, all: &[Peer], last: &str) -> Result<f64> {
        let (Some(_), Some(peer)) = (storage.limits, all.first()) else { return Ok(1.0) };
        if let Some(known) = self.per_instruction.get() {
            return Ok(known);
        }
        let measured = machine::per_instruction(peer, last, if quick() { 1 } else { RUNS })?;
        self.say(format!("QEMU works {measured:.2} ns for an instruction"));
        self.per_instruction.set(Some(measured));
        Ok(measured)
    }

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
        let Ok(cells) = figures::read::<Cell>(&kept.with_extension("json")) else { return };
        assert!(
            std::fs::read_to_string(kept.with_extension("svg")).unwrap() == picture::draw(&cells),
            "run target/release/peers keep"
        );
        let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
        assert!(readme.contains(&format!("({KEPT}.svg)")), "the README does not show {KEPT}.svg");
    }

    #[test]
    fn the_picture_of_what_is_read_is_drawn_from_the_figures_beside_it() {
        let kept = checkout().join(KEPT_READS);
        let Ok(curves) = figures::read::<curves::Curve>(&curves_of(&kept)) else { return };
        assert!(
            std::fs::read_to_string(kept.with_extension("svg")).unwrap() == curves::draw(&curves),
            "run target/release/peers keep"
        );
        assert!(!figures::read::<reads::Row>(&kept.with_extension("json")).unwrap().is_empty());
        let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
        assert!(readme.contains(&format!("({KEPT_READS}.svg)")), "the README does not show {KEPT_READS}.svg");
    }

    #[test]
    fn a_word_is_a_part_of_a_name_or_all_of_it() {
        let [plain, profiled] = ["ours, partition", "ours, partition, profiled"];
        assert!(is_meant("classic;ours, part", plain) && is_meant("classic; profiled", profiled));
        assert!(is_meant("=ours, partition", plain) && !is_meant("=ours, partition", profiled));
        assert!(!is_meant("profiled", plain) && !is_meant("", plain) && !is_meant(";", plain));
    }

    #[test]
    fn an_unknown_section_is_refused() {
        let error = run(&["speed".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("one of system, sweep"), "{error}");
    }
}
