//! `make demo`: Debian's installer booted as it is and from an EROFS image, on the deterministic clock, in one table.
//!
//! Every machine is the one that `imagegen boot` starts; only the initramfs differs. The content starts with the last line
//! of the kernel's log before its `/init` is executed: the kernel's "Run /init" where the kernel does that, bootstrap's
//! `exec` where bootstrap does.

use crate::cpio::{Entry, archive};
use crate::kernel::program;
use crate::{Failure, Result};
use imagegen::atomic::Output;
use imagegen::boot::console::{Log, Parser, milliseconds};
use imagegen::boot::qemu::Qemu;
use imagegen::boot::{self, Options};
use imagegen::manifest::{self, Manifest};
use imagegen::measure;
use imagegen::progress::Progress;
use imagegen::runs::{self, Layer, Run, Runs, mark, median};
use imagegen::table::table;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Boots of each kind.
const RUNS: u32 = 3;
/// A boot that has not come as far as it should by then is a failure.
const DEADLINE: Duration = Duration::from_secs(300);
/// Everything the demo makes, from the checkout; `tests/setup/demo.sh` has put links to what it boots there.
const FOLDER: &str = "target/demo";
const BOARD: &str = "qemu-arm64";
const ARCHITECTURE: &str = "aarch64";
const IMAGEGEN: &str = "target/release/imagegen";

/// A way to start the content, measured.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Its name in the table.
    pub name: String,
    /// When the content started, in microseconds of the kernel's clock; one entry a boot.
    pub start_us: Vec<u64>,
    /// Free RAM at that moment, in KiB; one entry a boot.
    pub free_kib: Vec<u64>,
    /// Bytes of the initramfs.
    pub initramfs_bytes: u64,
}

/// What the table says beside the ways.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The board's name.
    pub board: String,
    /// RAM of the machine in MiB.
    pub memory_mib: u32,
    /// The kernel's version.
    pub kernel: String,
    /// Bytes of the kernel.
    pub kernel_bytes: u64,
    /// Bytes of the EROFS image.
    pub erofs_bytes: u64,
}

/// Builds, boots, measures and prints; to be started in the checkout.
///
/// # Errors
/// Whatever went wrong, with what to do about it.
pub fn run() -> Result<()> {
    println!("\nBuilding from Debian's initramfs:");
    let out = build(BOARD, "out")?;
    println!("Building again without the modules' signatures (board key modules.strip):");
    let out_strip = build(&strip_board()?, "out-strip")?;

    println!("Booting on the deterministic clock, {RUNS} times each:");
    let machine = boot::prepare(&out, &options())?;
    let floor = floor(&machine)?;
    let classic = classic(&machine)?;
    let runs = measure(&out, "runs.json", "ours")?;
    let runs_strip = measure(&out_strip, "runs-strip.json", "ours, modules stripped")?;

    let manifest = manifest::read(&out)?;
    let conditions = Conditions {
        board: runs.conditions.board.clone(),
        memory_mib: machine.memory_mib,
        kernel: runs.conditions.kernel.clone(),
        kernel_bytes: fs::metadata(&machine.kernel)?.len(),
        erofs_bytes: bytes(&manifest, manifest::EROFS),
    };
    let ours = way("ours", &runs, &manifest);
    let strip = way("ours, modules stripped", &runs_strip, &manifest::read(&out_strip)?);
    println!("\n{}", summary(&conditions, &floor, &[classic, ours, strip])?);
    print!("{}", imagegen::report::markdown(&[("Steps of ours".into(), runs.clone())]));
    println!("{}\n", gain(&runs, &runs_strip)?);
    println!("{}", where_it_lies(&out, &manifest));
    Ok(())
}

/// Runs `imagegen build` as printed; returns the folder it made.
fn build(board: &str, out: &str) -> Result<PathBuf> {
    let out = Path::new(FOLDER).join(out);
    let input = |name: &str| format!("{FOLDER}/{name}");
    let words = [
        ("--from", input("initrd.gz")),
        ("--modules", input("modules")),
        ("--kernel", input("linux")),
        ("--out", out.display().to_string()),
    ];
    let mut command = Command::new(IMAGEGEN);
    command.args(["build", board]);
    println!("  $ {IMAGEGEN} build {board} \\");
    let mut parts = Vec::new();
    for (option, value) in &words {
        command.args([option, value.as_str()]);
        parts.push(format!("{option} {value}"));
    }
    println!("      {} \\\n      {}", parts[..2].join(" "), parts[2..].join(" "));
    let output = command.stderr(std::process::Stdio::inherit()).output();
    match output.map_err(|error| format!("cannot start {IMAGEGEN}: {error}\n  run `make imagegen`"))?.status {
        status if status.success() => Ok(out),
        status => Err(format!("imagegen build ended with {status}\n  its own message is above").into()),
    }
}

/// Writes the board that strips modules, beside copies of its parents; returns its path.
fn strip_board() -> Result<String> {
    let folder = format!("{FOLDER}/boards");
    fs::create_dir_all(&folder)?;
    for parent in ["arm64.toml", "qemu-arm64.toml"] {
        fs::copy(Path::new("board-configs").join(parent), Path::new(&folder).join(parent))?;
    }
    let path = format!("{folder}/qemu-arm64-strip.toml");
    let text = "# The demo's board whose modules lose their debug information and their signature.\n\
                inherit = \"qemu-arm64\"\nname = \"qemu-arm64-strip\"\n\n[modules]\nstrip = true\n";
    fs::write(&path, text)?;
    Ok(path)
}

fn options() -> Options {
    Options { kernel: None, deterministic: true, timeout: DEADLINE, append: "".into() }
}

/// The kernel with nothing but a static program.
fn floor(machine: &Qemu) -> Result<Way> {
    let init = fs::read(program("guest", ARCHITECTURE)?)?;
    let name = format!("the floor: a {} KiB /init, nothing else", init.len().div_ceil(1024));
    let content =
        archive(&[Entry::folder("dev"), Entry::device("dev/console", 0o600, 5, 1), Entry::file("init", 0o755, init)]);
    let initrd = write("floor.cpio", &content)?;
    let mut floor = Way { name, initramfs_bytes: content.len() as u64, ..Way::default() };
    let boots = boots("the floor: the kernel and one static program", machine, &initrd, "", RUNS, |seen| {
        Some((seen.log.run_init_us?, seen.free_kib()?))
    })?;
    (floor.start_us, floor.free_kib) = boots.into_iter().unzip();
    Ok(floor)
}

/// Debian's initramfs as it is; and once with a program behind it that is started in its `/init`'s place to say how much
/// memory is free.
fn classic(machine: &Qemu) -> Result<Way> {
    let initrd = Path::new(FOLDER).join("initrd.gz");
    let mut bytes = fs::read(&initrd)?;
    let mut classic =
        Way { name: "classic: Debian's, as it is".into(), initramfs_bytes: bytes.len() as u64, ..Way::default() };
    let title = "classic: Debian's initramfs as it is";
    classic.start_us = boots(title, machine, &initrd, "", RUNS, |seen| seen.log.run_init_us)?;
    // The kernel looks for the next archive at a multiple of four (unpack_to_rootfs(), init/initramfs.c, Linux 6.1).
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(archive(&[Entry::file("probe", 0o755, fs::read(program("guest", ARCHITECTURE)?)?)]));
    let probed = write("classic-probe.img", &bytes)?;
    let title = "classic, once more with a probe for the free memory";
    // Free memory is the same to the KiB from boot to boot, and this is the longest of them.
    classic.free_kib = boots(title, machine, &probed, " rdinit=/probe", 1, Seen::free_kib)?;
    Ok(classic)
}

fn write(name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = Path::new(FOLDER).join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}

/// A console so far.
#[derive(Default)]
struct Seen {
    text: String,
    log: Log,
}

impl Seen {
    /// What the guest said of the free memory, once its line has ended.
    fn free_kib(&self) -> Option<u64> {
        let (_, rest) = self.text.split_once("guest: ")?;
        let line = rest.lines().find_map(|line| line.rsplit("guest: ").next()?.strip_suffix(" KiB free"))?;
        line.parse().ok()
    }
}

/// Boots `initrd` `count` times, each until `find` finds what it looks for on the console.
fn boots<T>(
    title: &'static str,
    machine: &Qemu,
    initrd: &Path,
    append: &str,
    count: u32,
    find: impl Fn(&Seen) -> Option<T>,
) -> Result<Vec<T>> {
    println!("  {title}");
    let mut qemu = machine.clone();
    qemu.initrd = Some(initrd.to_owned());
    qemu.append.push(append);
    let progress = Progress::counting("  booting", count.into());
    let mut found = Vec::new();
    for done in 1..=count {
        qemu.seed = done;
        let (mut seen, mut parser, mut result) = (Seen::default(), Parser::default(), None);
        qemu.start()?.watch(Some(Instant::now() + DEADLINE), &mut |new| {
            seen.text += &String::from_utf8_lossy(new);
            parser.feed(new).into_iter().for_each(|line| seen.log.add(line));
            result = find(&seen);
            result.is_none()
        })?;
        found.push(result.ok_or_else(|| failed(title, &seen))?);
        progress.set(done.into());
    }
    Ok(found)
}

fn failed(title: &str, seen: &Seen) -> Failure {
    let hint = match write("console.log", seen.text.as_bytes()) {
        Ok(path) => format!("its console is in {}", path.display()),
        Err(error) => format!("its console could not be kept: {error}"),
    };
    format!("{title}: the boot did not come as far as /init in {} s\n  {hint}", DEADLINE.as_secs()).into()
}

/// Boots a folder of outputs and keeps the measurements.
fn measure(out: &Path, file: &str, title: &str) -> Result<Runs> {
    println!("  {title}");
    let progress = Progress::counting("  booting", RUNS.into());
    let runs = measure::run(out, &options(), RUNS, &mut |done| progress.set(done))?;
    drop(progress);
    runs::write(&runs, &Output::at(&Path::new(FOLDER).join(file))?)?;
    Ok(runs)
}

fn bytes(manifest: &Manifest, output: &str) -> u64 {
    manifest.outputs.get(output).map_or(0, |output| output.bytes)
}

fn way(name: &str, runs: &Runs, manifest: &Manifest) -> Way {
    let start = |run: &Run| u64::try_from(run.at(mark::NEXT_INIT)?).ok();
    Way {
        name: name.into(),
        start_us: runs.runs.iter().filter_map(start).collect(),
        free_kib: runs.runs.iter().filter_map(|run| run.free_ram_kib).collect(),
        initramfs_bytes: bytes(manifest, manifest::INITRAMFS),
    }
}

/// The one table, and what its columns mean.
///
/// # Errors
/// If a way was not measured.
pub fn summary(conditions: &Conditions, floor: &Way, ways: &[Way]) -> Result<String> {
    let missing = |way: &Way| format!("{}: the console did not tell when it started", way.name);
    let floor_us = median(&floor.start_us).ok_or_else(|| missing(floor))?;
    let mut rows = Vec::new();
    for way in std::iter::once(floor).chain(ways) {
        let start_us = median(&way.start_us).ok_or_else(|| missing(way))?;
        let spread_us =
            way.start_us.iter().max().zip(way.start_us.iter().min()).map_or(0, |(most, least)| most - least);
        let free_kib = median(&way.free_kib).ok_or_else(|| missing(way))?;
        let used_kib = (u64::from(conditions.memory_mib) * 1024).saturating_sub(free_kib);
        rows.push(vec![
            way.name.clone(),
            milliseconds(start_us.saturating_sub(floor_us)),
            milliseconds(spread_us),
            format!("{}.{}", used_kib / 1024, used_kib % 1024 * 10 / 1024),
            way.initramfs_bytes.to_string(),
            (way.initramfs_bytes + conditions.kernel_bytes).to_string(),
        ]);
    }
    let header = ["initramfs", "ms above floor", "spread ms", "RAM MiB", "initramfs bytes", "and kernel bytes"];
    let Conditions { board, memory_mib, kernel, erofs_bytes, .. } = conditions;
    Ok(format!(
        "Debian 12's netboot installer, board {board}, kernel {kernel}, n = {}, 1 instruction = 1 ns\n\n{}\n\
         - ms above floor: when the content's /init is executed, less the floor's {} ms; medians. Spread: slowest less\n  \
         fastest boot, each with random numbers of its own.\n\
         - RAM: the machine's {memory_mib} MiB less what sysinfo(2) calls free, at that moment.\n\
         - bytes: what the bootloader loads. Ours leaves {erofs_bytes} bytes of EROFS on the disk and reads of them what the\n  \
         content asks for, when it asks: that comes after the time shown.\n",
        floor.start_us.len(),
        table(&header, &rows),
        milliseconds(floor_us),
    ))
}

/// What stripping the modules gains, in one line.
fn gain(runs: &Runs, stripped: &Runs) -> Result<String> {
    let of = |runs: &Runs| {
        let modules =
            |run: &Run| run.spans.iter().filter(|span| span.layer == Layer::Module).map(|span| span.duration_us).sum();
        let times: Vec<u64> = runs.runs.iter().map(modules).collect();
        median(&times).ok_or("no boot told what its modules took")
    };
    let (with, without) = (of(runs)?, of(stripped)?);
    Ok(format!(
        "Modules signed by Debian: {} ms, stripped: {} ms (`strip = true` in the board's [modules], off by default).\n\
         Step by step: {IMAGEGEN} report {FOLDER}/runs.json {FOLDER}/runs-strip.json",
        milliseconds(with),
        milliseconds(without),
    ))
}

fn where_it_lies(out: &Path, manifest: &Manifest) -> String {
    let line =
        |(name, output): (&String, &manifest::Output)| format!("  {:>10} {}\n", output.bytes, out.join(name).display());
    let files: String = manifest.outputs.iter().map(line).collect();
    format!("The images:\n{files}Boot them with a console (Ctrl-A X ends it):\n  $ {IMAGEGEN} boot {}", out.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> Conditions {
        Conditions {
            board: "qemu-arm64".into(),
            memory_mib: 1024,
            kernel: "6.1".into(),
            kernel_bytes: 32_000_000,
            erofs_bytes: 128_000_000,
        }
    }

    fn way(name: &str, start_us: [u64; 3], free_kib: u64) -> Way {
        Way { name: name.into(), start_us: start_us.into(), free_kib: vec![free_kib; 3], initramfs_bytes: 500 }
    }

    #[test]
    fn times_count_from_the_floor() {
        let floor = way("floor", [1_000_000, 1_000_004, 1_000_001], 1000 * 1024);
        let text = summary(&conditions(), &floor, &[way("ours", [1_075_000, 1_075_170, 1_076_000], 999 * 1024 + 512)]);
        // One space between words: how wide a column is depends on its heading.
        let text = text.unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("kernel 6.1, n = 3, "), "{text}");
        assert!(text.contains("| floor | 0.000 | 0.004 | 24.0 | 500 | 32000500 |"), "{text}");
        assert!(text.contains("| ours | 75.169 | 1.000 | 24.5 | 500 | 32000500 |"), "{text}");
    }

    #[test]
    fn a_way_that_was_not_measured_is_a_failure_and_no_zero() {
        let floor = way("floor", [1, 2, 3], 1);
        let mut ours = way("ours", [4, 5, 6], 1);
        ours.free_kib.clear();
        let error = summary(&conditions(), &floor, &[ours]).unwrap_err();
        assert!(error.to_string().starts_with("ours: "), "{error}");
    }

    #[test]
    fn the_probes_line_counts_once_it_has_ended() {
        let mut seen = Seen {
            text: "[ 1.0] guest: first instruction 5 ns ago at 7\r\n[ 1.0] guest: 97".into(),
            log: Log::default(),
        };
        assert_eq!(seen.free_kib(), None);
        seen.text += "4356 KiB free\r\n";
        assert_eq!(seen.free_kib(), Some(974_356));
    }
}
