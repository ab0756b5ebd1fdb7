//! Measurements of boots: what `measure` and `collect` write, and what `report`, `compare` and `gate` read.
//!
//! One axis for everything: microseconds of the kernel's clock, which starts when the kernel does. What lies before it
//! (firmware, bootloader) is negative. A boot is marks (instants: the next init starts, multi-user.target is reached) and
//! spans (what took how long: a step, a module, an initcall).

use crate::atomic::Output;
use crate::boot::console::Log;
use crate::{Error, Result, explain, json, manifest};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Version of the format; a reader accepts exactly its own.
pub const FORMAT: u32 = 2;
/// How a file of measurements is told. So large are thousands of boots.
const KIND: json::Kind = json::Kind {
    format: FORMAT,
    made_by: None,
    max_bytes: 64 << 20,
    hint: "give a file that `imagegen measure` or `collect` wrote",
};

/// Names of the marks that imagegen itself sets; users name others.
pub mod mark {
    /// The processor's counter started: with the reset, on most boards.
    pub const COUNTER_START: &str = "counter-start";
    /// The board got power, or was reset.
    pub const POWER_ON: &str = "power-on";
    /// The first byte on the serial line.
    pub const FIRST_BYTE: &str = "first-byte";
    /// The kernel starts `/init` of the initramfs: "Run /init as init process".
    pub const RUN_INIT: &str = "run-init";
    /// Step switch-root has ended.
    pub const SWITCH_ROOT: &str = "switch-root";
    /// The next init is executed.
    pub const NEXT_INIT: &str = "next-init";
    /// The content's initrd phase is over: systemd switches to the real root.
    pub const INITRD_DONE: &str = "initrd-done";
    /// systemd has reached multi-user.target.
    pub const MULTI_USER: &str = "multi-user.target";
    /// systemd has started all that was asked for at the start.
    pub const FINISHED: &str = "systemd-finished";
    /// The end that the user asked for: `--end`.
    pub const END: &str = "end";
}

/// The measurements of one board under the same conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// Version of this format.
    pub format: u32,
    /// What all boots have in common.
    pub conditions: Conditions,
    /// One entry a boot, in the order they were made.
    pub runs: Vec<Run>,
}

/// What all boots of a file have in common; `compare` says where two files differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The board's name.
    pub board: String,
    /// Where it was measured: `QEMU`, a serial line, a host, a place of a lab.
    pub place: String,
    /// The kernel's version, as its console or uname(2) says it.
    pub kernel: String,
    /// SHA-256 of the file tree in the image, if known.
    pub input_sha256: Option<String>,
    /// SHA-256 of the EROFS image, if known.
    pub image_sha256: Option<String>,
    /// The kernel command line, if known; bytes that are not UTF-8 are replaced.
    pub command_line: Option<String>,
    /// What the times were read off.
    pub clock: Clock,
    /// Where the axis begins.
    pub zero: Zero,
    /// Whether the boots explained themselves (initcall_debug and the like), which takes time: never compared with others.
    pub explained: bool,
}

/// What times are read off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The kernel's clock in an emulator that counts instructions: 1 instruction = 1 ns, and nothing else takes time.
    Instructions,
    /// The same, but that waiting for a disk takes the host's time.
    InstructionsAndWaits,
    /// The kernel's clock, in real time.
    Kernel,
    /// This host's clock, when a line arrived.
    Arrival,
}

impl Clock {
    /// Whether it counts instructions.
    pub const fn counts(self) -> bool {
        matches!(self, Clock::Instructions | Clock::InstructionsAndWaits)
    }
}

/// Where the axis of a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zero {
    /// The kernel's clock began.
    Kernel,
    /// The kernel prints no times: the board got power, or said its first byte.
    FirstByte,
}

/// One boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How the board was started, if known.
    pub start: Option<Start>,
    /// Instants, in no particular order.
    pub marks: Vec<Mark>,
    /// What took how long, in the order of their ends. A name may come more than once: a step, once for each slot tried.
    pub spans: Vec<Span>,
    /// Free RAM in KiB when the next init started.
    pub free_ram_kib: Option<u64>,
}

/// How a board was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// It had no power before.
    Cold,
    /// It was restarted.
    Warm,
}

/// An instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// One of [`mark`], or a name that the user gave.
    pub name: String,
    /// Microseconds on the run's axis.
    pub at_us: i64,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Whose it is.
    pub layer: Layer,
    /// What it is called there: a step's name, a module's, a function's, a unit's.
    pub name: String,
    /// When it began, in microseconds on the run's axis, if known.
    pub start_us: Option<i64>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// Who does something, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Boot ROM and first stages, before the bootloader says anything.
    Firmware,
    /// U-Boot, EDK2 and the like.
    Bootloader,
    /// The kernel until it starts `/init`.
    Kernel,
    /// One initcall of the kernel.
    Initcall,
    /// A step of bootstrap.
    Step,
    /// A module that bootstrap loads.
    Module,
    /// The content's initrd.
    Initrd,
    /// What comes after it.
    Userspace,
}

impl Layer {
    /// The word of the format.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::Firmware => "firmware",
            Layer::Bootloader => "bootloader",
            Layer::Kernel => "kernel",
            Layer::Initcall => "initcall",
            Layer::Step => "step",
            Layer::Module => "module",
            Layer::Initrd => "initrd",
            Layer::Userspace => "userspace",
        }
    }
}

impl Span {
    /// What tables call it: a step by its name alone, all else behind its layer.
    pub fn title(&self) -> String {
        match self.layer {
            Layer::Step => self.name.clone(),
            layer => format!("{} {}", layer.name(), self.name),
        }
    }
}

impl Run {
    /// What a console told of a boot through bootstrap.
    pub fn from_log(log: &Log) -> Self {
        let mut run = Run { free_ram_kib: log.exec.as_ref().and_then(|exec| exec.free_ram_kib), ..Run::default() };
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        for row in &log.rows {
            let (layer, name) = match row.name.strip_prefix("module ") {
                Some(module) => (Layer::Module, module),
                None => (Layer::Step, row.name.as_str()),
            };
            let start_us = row.ended_us.map(|ended| signed(ended).saturating_sub(signed(row.duration_us)));
            run.spans.push(Span { layer, name: name.to_owned(), start_us, duration_us: row.duration_us });
        }
        let explained = log.explained.spans().iter().filter(|span| span.duration_us >= explain::LEAST_US);
        run.spans.extend(explained.cloned());
        if !log.explained.spans().is_empty() {
            run.spans.sort_by_key(|span| span.start_us.map(|start| start.saturating_add(signed(span.duration_us))));
        }
        let switched = log.rows.iter().rfind(|row| row.name == mark::SWITCH_ROOT).and_then(|row| row.ended_us);
        let next_init = log.exec.as_ref().and_then(|exec| exec.at_us);
        let marks = [(mark::RUN_INIT, log.run_init_us), (mark::SWITCH_ROOT, switched), (mark::NEXT_INIT, next_init)];
        for (name, at_us) in marks {
            run.marks.extend(at_us.map(|at_us| Mark { name: name.to_owned(), at_us: signed(at_us) }));
        }
        run
    }

    /// When a mark was reached, in microseconds on the run's axis.
    pub fn at(&self, name: &str) -> Option<i64> {
        self.marks.iter().find(|mark| mark.name == name).map(|mark| mark.at_us)
    }

    /// Microseconds from one mark to another; none if either is missing or they come the other way round.
    pub fn between(&self, from: &str, to: &str) -> Option<u64> {
        u64::try_from(self.at(to)?.checked_sub(self.at(from)?)?).ok()
    }

    /// Microseconds of all spans of this layer and name together; none if there is no such span.
    pub fn took(&self, layer: Layer, name: &str) -> Option<u64> {
        let mut spans = self.spans.iter().filter(|span| span.layer == layer && span.name == name).peekable();
        spans.peek()?;
        Some(spans.fold(0, |sum, span| sum.saturating_add(span.duration_us)))
    }

    /// Microseconds from the start of bootstrap to the end of step switch-root: each line counts from the one before. What
    /// the kernel explained besides lies inside.
    pub fn steps_to_switch_root_us(&self) -> Option<u64> {
        let mut ours = self.spans.iter().filter(|span| matches!(span.layer, Layer::Step | Layer::Module));
        let mut sum: u64 = 0;
        ours.find_map(|span| {
            sum = sum.saturating_add(span.duration_us);
            (span.layer == Layer::Step && span.name == mark::SWITCH_ROOT).then_some(sum)
        })
    }
}

/// The middle value; of an even number the lower of the two in the middle, so that it is one that was measured.
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Writes measurements to `output`.
///
/// # Errors
/// Failed work if writing fails.
pub fn write(runs: &Runs, output: &Output) -> Result<()> {
    let text = serde_json::to_string_pretty(runs)
        .map_err(|error| Error::failed(format!("JSON: {error}"), "this is a fault of imagegen: please report it"))?;
    output.write((text + "\n").as_bytes())
}

/// Reads measurements.
///
/// # Errors
/// Bad input if the file does not hold any.
pub fn read(path: &Path) -> Result<Runs> {
    KIND.read(path).map_err(|error| match path.is_file() && manifest::read(path).is_ok() {
        true => KIND.refuse(path, "is a manifest of a build, not measurements"),
        false => error,
    })
}

/// Refuses one file under two names: boots do not differ from themselves, which looks like a result.
///
/// # Errors
/// Bad input if it is; as a file cannot be read.
pub fn distinct(one: &Path, other: &Path) -> Result<()> {
    let place = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        Ok((metadata.dev(), metadata.ino()))
    };
    if place(one)? != place(other)? {
        return Ok(());
    }
    let what = format!("{} and {} are the same file", one.display(), other.display());
    Err(Error::bad_input(what, "give the boots of before and those of after, each in a file of its own"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::boot::console::Parser;

    /// Two boots; the second is `later` microseconds slower in step mount.
    pub(crate) fn example(later: u64) -> Runs {
        let run = |mount: u64| {
            let end = 39_485 + 45_000 + mount;
            let console = format!(
                "[    0.039400] Run /init as init process\n\
                 [    0.039485] initoverlayfs: early-mounts 85 us\n\
                 [    0.084485] initoverlayfs: module /modules/erofs.ko 45000 us\n\
                 [    0.{end:06}] initoverlayfs: mount {mount} us\n\
                 [    0.{:06}] initoverlayfs: switch-root 15 us\n\
                 [    0.{:06}] initoverlayfs: exec 30 us /init with 900000 KiB free\n",
                end + 15,
                end + 45
            );
            let mut log = Log::default();
            Parser::default().feed(console.as_bytes()).into_iter().for_each(|line| log.add(line));
            Run::from_log(&log)
        };
        Runs {
            format: FORMAT,
            conditions: Conditions {
                board: "qemu-arm64".into(),
                place: "QEMU".into(),
                kernel: "6.12.1".into(),
                input_sha256: Some("00".into()),
                image_sha256: None,
                command_line: None,
                clock: Clock::Instructions,
                zero: Zero::Kernel,
                explained: false,
            },
            runs: vec![run(200), run(200 + later)],
        }
    }

    #[test]
    fn written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.json");
        write(&example(1), &Output::at(&path).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), example(1));
        for (text, why) in [
            ("{}", "missing field `format`"),
            ("{\"format\": 1, \"board\": \"x\"}", "an older format, 1: this imagegen reads 2"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.contains(why), "{error}");
        }
    }

    #[test]
    fn a_manifest_is_called_one() {
        let folder = tempfile::tempdir().unwrap();
        manifest::Manifest::example().write(folder.path()).unwrap();
        let error = read(&folder.path().join(crate::atomic::MARKER)).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("is a manifest"), "{error}");
    }

    #[test]
    fn one_file_under_two_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other, link] = ["one", "other", "link"].map(|name| folder.path().join(name));
        std::fs::write(&one, "").unwrap();
        std::fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        distinct(&one, &other).unwrap();
        for same in [&one, &link] {
            let error = distinct(&one, same).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.ends_with("are the same file"), "{error}");
        }
    }

    #[test]
    fn a_console_becomes_marks_and_spans() {
        let run = &example(0).runs[0];
        assert_eq!(
            (run.at(mark::RUN_INIT), run.between(mark::RUN_INIT, mark::NEXT_INIT)),
            (Some(39_400), Some(45_330))
        );
        assert_eq!((run.took(Layer::Module, "erofs"), run.took(Layer::Step, "verity")), (Some(45_000), None));
        assert_eq!(run.spans[1].start_us, Some(39_485));
        assert_eq!(run.between(mark::NEXT_INIT, mark::RUN_INIT), None);
        assert_eq!(run.free_ram_kib, Some(900_000));
    }

    #[test]
    fn medians_are_measured_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3]), Some(3));
        assert_eq!(median(&[4, 1]), Some(1));
        assert_eq!(median(&[9, 1, 5]), Some(5));
    }
}
