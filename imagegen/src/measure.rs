//! `imagegen measure`: boots a board again and again and keeps when it reached what.
//!
//! In QEMU, on a clock that counts instructions or in real time, several folders in turn; or a real board on a serial
//! line, or in a place of a labgrid lab. Either way a console is recorded ([`recorder`]), put on one axis ([`timeline`]) and kept ([`store`]).

pub mod board;
pub mod folder;
pub mod labgrid;
mod recorder;
mod store;
mod timeline;

pub use recorder::{Line, Recorder, Watch};
pub use store::{Store, kept};
pub use timeline::{Arrivals, Boot, read};

use crate::boot::Options;
use crate::runs::{Run, Runs, mark, median};
use crate::{Error, Result, manifest};
use std::path::Path;
use std::time::Duration;

/// Boots `folder` `count` times until the next init runs; `progress` is called with the number of boots done.
///
/// # Errors
/// As [`folders`].
pub fn run(folder: &Path, options: &Options, count: u32, progress: &mut dyn FnMut(u64)) -> Result<Runs> {
    let mut stores = [Store::in_memory(folder::conditions(folder, options)?)];
    folders(&[folder], options, &Watch::default(), count, &mut stores, progress)?;
    let [store] = stores;
    Ok(store.into_runs())
}

/// Boots every folder `count` times, in turn, so that what changes on the host meets all of them; the boots of each go into
/// the store in the same place. In a round all draw the same random numbers, in each round others, the same in every measurement: what
/// a boot owes to chance is in the figures, and is equal on both sides of a comparison. Of each folder one boot more is made
/// first and not counted: its files are not in the host's cache.
///
/// # Errors
/// Bad input as for a boot; failed work if one of them does not come to its end.
pub fn folders(
    folders: &[&Path],
    options: &Options,
    watch: &Watch,
    count: u32,
    stores: &mut [Store],
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut done = 0;
    for round in 0..=count {
        for (folder, store) in folders.iter().zip(stores.iter_mut()) {
            let boot = folder::boot(folder, options, watch, round).map_err(|error| {
                let which = if round == 0 { "the boot before the first".to_owned() } else { named(round, count) };
                let of = if folders.len() > 1 { format!("{}: ", folder.display()) } else { String::new() };
                let hint = format!("`imagegen boot` shows the console; {}", error.hint);
                Error { what: format!("{of}{which}: {}", error.what), hint, ..error }
            })?;
            if round > 0 {
                store.add(boot)?;
                done += 1;
                progress(done);
            }
        }
    }
    stores.iter().for_each(|store| tell_missing(store.runs(), watch));
    Ok(())
}

/// Records `board` until `store` holds `count` boots; `progress` is called with the number it holds.
///
/// # Errors
/// Failed work if a boot does not come to its end; those before it are kept.
pub fn board(board: &mut board::Board, count: u32, store: &mut Store, progress: &mut dyn FnMut(u64)) -> Result<()> {
    while store.count() < count as usize {
        let name = named(store.count() as u32 + 1, count);
        let kept = store.count();
        let add = board.boot(&name).and_then(|boot| store.add(boot));
        add.map_err(|error| {
            let hint = match kept {
                0 => error.hint,
                _ => format!("{}; {} kept: --resume goes on", error.hint, crate::count(kept, "boot")),
            };
            Error { what: format!("{name}: {}", error.what), hint, ..error }
        })?;
        progress(store.count() as u64);
    }
    store.write()
}

fn named(number: u32, count: u32) -> String {
    format!("boot {number} of {count}")
}

/// How a hint calls what the console said last.
const LAST_LINES: &str = "last lines";

/// The console's last lines behind a hint that speaks of them: nobody sees the console of a boot that is measured.
fn with_lines(error: Error, lines: &[Line]) -> Error {
    if !error.hint.contains(LAST_LINES) || lines.is_empty() {
        return error;
    }
    // The recorder has left out what a terminal would obey.
    let last = lines.iter().skip(lines.len().saturating_sub(10)).map(|line| line.text.trim_end());
    let hint = last.fold(error.hint + ":", |text, line| text + "\n    " + line);
    Error { hint, ..error }
}

/// Why a boot is not over, where nothing more is known.
fn unseen(recorder: &Recorder<'_>, watch: &Watch, timeout: Duration) -> Error {
    let log = &recorder.log;
    if let Some(why) = &log.panic {
        let error =
            Error::failed(format!("the kernel panicked: {why}"), format!("the console's {LAST_LINES} say where"));
        return with_lines(error, &recorder.lines);
    }
    let seconds = timeout.as_secs_f64();
    let what = match (&watch.end, log.failures.last()) {
        (_, Some((step, cause, errno))) if log.policy.is_some() => {
            let policy = log.policy.as_deref().unwrap_or_default();
            format!("the next init did not run: {step} failed: {cause} (errno {errno}), policy {policy}")
        }
        (Some(end), _) => format!("no line matches `{end}` within {seconds} s"),
        (None, _) => format!("the next init was not seen within {seconds} s"),
    };
    let last = recorder.lines.last().map_or("", |line| line.text.as_str());
    let hint = match watch.end {
        Some(_) => "--timeout gives it longer",
        None => "--end says what else ends a boot, --timeout gives it longer; `quiet` hides the kernel's lines",
    };
    Error::failed(format!("{what}; the last line: {last:?}"), hint)
}

/// Says which marks are not in every boot.
fn tell_missing(runs: &Runs, watch: &Watch) {
    let names = watch.marks.iter().map(|(name, _)| name.as_str()).chain(watch.end.iter().map(|_| mark::END));
    for name in names {
        let missing = runs.runs.iter().filter(|run| run.at(name).is_none()).count();
        if missing > 0 {
            log::warn!(
                "mark {name} has no time in {missing} of {}: no line said it, or none with a time: on the instruction \
                 clock the kernel's timestamp is the only one",
                crate::count(runs.runs.len(), "boot")
            );
        }
    }
}

/// Microseconds of a clock that began a moment ago.
fn microseconds(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

/// Holds the median against the board's budget for step switch-root, counted from the start of bootstrap.
///
/// # Errors
/// Failed work if it is exceeded, or cannot be told.
pub fn check_budget(folder: &Path, runs: &Runs) -> Result<()> {
    let Some(limit) = manifest::read(folder)?.budget_switch_root_us else { return Ok(()) };
    let times: Vec<u64> = runs.runs.iter().filter_map(Run::steps_to_switch_root_us).collect();
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
