//! `imagegen measure`: boots a folder again and again on the deterministic clock and keeps what each step took.
//!
//! All times come from the guest's clock. How long the host took is nobody's measure.

use crate::boot::{self, Options};
use crate::runs::{Clock, Conditions, FORMAT, Layer, Run, Runs, Zero, mark, median};
use crate::{Error, Result, manifest};
use std::path::Path;

/// Boots `folder` `count` times; `progress` is called with the number of boots done.
///
/// # Errors
/// Bad input as for a boot; failed work if the next init does not run in one of them.
pub fn run(folder: &Path, options: &Options, count: u32, progress: &mut dyn FnMut(u64)) -> Result<Runs> {
    let manifest = manifest::read(folder)?;
    let image = manifest.outputs.get(manifest::EROFS).map(|output| output.sha256.clone());
    let mut runs = Runs {
        format: FORMAT,
        conditions: Conditions {
            board: manifest.board.name,
            place: "QEMU".to_owned(),
            kernel: "unknown".to_owned(),
            input_sha256: Some(manifest.input.sha256),
            image_sha256: image,
            command_line: None,
            clock: if options.deterministic { Clock::Instructions } else { Clock::Kernel },
            zero: Zero::Kernel,
            explained: false,
        },
        runs: Vec::new(),
    };
    for done in 1..=count {
        let outcome = boot::until_next_init(folder, options)?;
        outcome.verdict().map_err(|error| {
            let hint = format!("`imagegen boot` shows the console; {}", error.hint);
            Error::failed(format!("boot {done} of {count}: {}", error.what), hint)
        })?;
        if let Some(kernel) = &outcome.log.kernel {
            runs.conditions.kernel.clone_from(kernel);
        }
        runs.conditions.command_line = Some(outcome.qemu.append.to_string_lossy().into_owned());
        runs.runs.push(Run::from_log(&outcome.log));
        progress(u64::from(done));
    }
    Ok(runs)
}

/// Holds the median against the board's budget for step switch-root, counted from the start of bootstrap.
///
/// # Errors
/// Failed work if it is exceeded, or cannot be told.
pub fn check_budget(folder: &Path, runs: &Runs) -> Result<()> {
    let Some(limit) = manifest::read(folder)?.budget_switch_root_us else { return Ok(()) };
    let times: Vec<u64> = runs.runs.iter().filter_map(switch_root_us).collect();
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
            runs.conditions.board
        ),
        "`imagegen report` shows which step it was; or raise budget.switch-root",
    ))
}

/// Microseconds from the start of bootstrap to the end of step switch-root: each line counts from the one before.
fn switch_root_us(run: &Run) -> Option<u64> {
    let is_switch = |span: &crate::runs::Span| span.layer == Layer::Step && span.name == mark::SWITCH_ROOT;
    let end = run.spans.iter().position(is_switch)?;
    Some(run.spans.iter().take(end + 1).fold(0, |sum, span| sum.saturating_add(span.duration_us)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::example;

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
}
