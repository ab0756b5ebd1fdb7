//! `imagegen measure`: boots a folder again and again on the deterministic clock and keeps what each step took.
//!
//! All times come from the guest's clock. How long the host took is nobody's measure.

use crate::atomic::Output;
use crate::boot::console::Log;
use crate::boot::{self, Options};
use crate::{Error, Result, manifest};
use bootstrap::Step;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Version of the format; a reader accepts exactly its own.
const FORMAT: u32 = 1;
/// The largest file that is read, in bytes: thousands of boots.
const MAX_BYTES: u64 = 16 << 20;

/// The measurements of one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// Version of this format.
    pub format: u32,
    /// The board's name.
    pub board: String,
    /// The kernel's version, from its console.
    pub kernel: String,
    /// SHA-256 of the file tree in the image.
    pub input_sha256: String,
    /// Whether instructions were counted instead of time.
    pub deterministic: bool,
    /// One entry a boot.
    pub runs: Vec<Run>,
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// When the kernel started `/init`, in microseconds of its clock.
    pub run_init_us: Option<u64>,
    /// Microseconds from the kernel's "Run /init" to the start of the next init.
    pub exec_after_us: Option<u64>,
    /// Free RAM in KiB when the next init started.
    pub free_ram_kib: Option<u64>,
    /// Steps and modules in order, and what each took in microseconds.
    pub steps: Vec<(String, u64)>,
}

/// Boots `folder` `count` times; `progress` is called with the number of boots done.
///
/// # Errors
/// Bad input as for a boot; failed work if the next init does not run in one of them.
pub fn run(folder: &Path, options: &Options, count: u32, progress: &mut dyn FnMut(u64)) -> Result<Runs> {
    let manifest = manifest::read(folder)?;
    let mut runs = Runs {
        format: FORMAT,
        board: manifest.board.name,
        kernel: String::new(),
        input_sha256: manifest.input.sha256,
        deterministic: options.deterministic,
        runs: Vec::new(),
    };
    for done in 1..=count {
        let outcome = boot::until_next_init(folder, options)?;
        outcome.verdict().map_err(|error| {
            let hint = format!("`imagegen boot` shows the console; {}", error.hint);
            Error::failed(format!("boot {done} of {count}: {}", error.what), hint)
        })?;
        let log = outcome.log;
        runs.kernel = log.kernel.clone().unwrap_or_else(|| "unknown".to_owned());
        runs.runs.push(Run::new(&log));
        progress(u64::from(done));
    }
    Ok(runs)
}

impl Run {
    fn new(log: &Log) -> Self {
        Run {
            run_init_us: log.run_init_us,
            exec_after_us: log.exec_after_us(),
            free_ram_kib: log.exec.as_ref().and_then(|exec| exec.free_ram_kib),
            steps: log.rows.iter().map(|row| (row.name.clone(), row.duration_us)).collect(),
        }
    }

    /// Microseconds from the start of the bootstrap to the end of step switch-root: each line counts from the one before.
    fn switch_root_us(&self) -> Option<u64> {
        let end = self.steps.iter().position(|(name, _)| name == Step::SwitchRoot.name())?;
        Some(self.steps.iter().take(end + 1).fold(0, |sum, (_, us)| sum.saturating_add(*us)))
    }
}

/// Holds the median against the board's budget for step switch-root.
///
/// # Errors
/// Failed work if it is exceeded, or cannot be told.
pub fn check_budget(folder: &Path, runs: &Runs) -> Result<()> {
    let Some(limit) = manifest::read(folder)?.budget_switch_root_us else { return Ok(()) };
    let times: Vec<u64> = runs.runs.iter().filter_map(Run::switch_root_us).collect();
    let Some(median) = median(&times) else {
        return Err(Error::failed("no boot told when step switch-root ended", "the kernel log may be rate-limited"));
    };
    if median <= limit {
        return Ok(());
    }
    Err(Error::failed(
        format!(
            "switch-root after {median} us (median of {}), the budget of {} is {limit} us",
            times.len(),
            runs.board
        ),
        "`imagegen report` shows which step it was; or raise budget.switch-root",
    ))
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
    let mut text = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    let refuse = |why: String| {
        let what = format!("{}: {why}", path.display());
        Err(Error::bad_input(what, "give a file that `imagegen measure` wrote"))
    };
    if text.len() as u64 > MAX_BYTES {
        return refuse(format!("larger than {MAX_BYTES} bytes"));
    }
    match serde_json::from_slice::<Runs>(&text) {
        Ok(runs) if runs.format == FORMAT => Ok(runs),
        Ok(runs) => refuse(format!("unknown format {}", runs.format)),
        Err(error) => refuse(error.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two boots; the second is `later` microseconds slower in step mount.
    pub(crate) fn example(later: u64) -> Runs {
        let run = |mount: u64| Run {
            run_init_us: Some(39_400),
            exec_after_us: Some(600 + mount),
            free_ram_kib: Some(900_000),
            steps: vec![
                ("early-mounts".into(), 85),
                ("module erofs".into(), 45_000),
                ("mount".into(), mount),
                ("switch-root".into(), 15),
                ("exec".into(), 30),
            ],
        };
        Runs {
            format: FORMAT,
            board: "qemu-arm64".into(),
            kernel: "6.12.1".into(),
            input_sha256: "00".into(),
            deterministic: true,
            runs: vec![run(200), run(200 + later)],
        }
    }

    #[test]
    fn written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.json");
        write(&example(1), &Output::at(&path).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), example(1));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read(&path).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn the_budget_is_held_against_the_median() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = manifest::Manifest::example();
        manifest.budget_switch_root_us = Some(45_300);
        manifest.write(folder.path()).unwrap();
        check_budget(folder.path(), &example(0)).unwrap();
        manifest.budget_switch_root_us = Some(45_299);
        manifest.write(folder.path()).unwrap();
        let error = check_budget(folder.path(), &example(0)).unwrap_err();
        assert!(error.exit_status() == 1 && error.what.contains("45300 us"), "{error}");
    }

    #[test]
    fn medians_are_measured_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3]), Some(3));
        assert_eq!(median(&[4, 1]), Some(1));
        assert_eq!(median(&[9, 1, 5]), Some(5));
    }
}
