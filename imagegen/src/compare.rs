//! `imagegen compare`: two sets of boots, phase by phase: what changed, how sure that is, and one sentence about it.
//!
//! Two intervals are taken of every difference. The one shown holds the true difference in 95 of 100 cases for each phase
//! alone; of twenty phases one would be wrong. A verdict without "perhaps" rests on a wider one, with which all phases of
//! the table together are right in 95 of 100 cases (Bonferroni).

pub mod phase;
mod words;

pub use words::{HEADS, LEGEND, left_out, plain, shortest_shown, signed};

use crate::runs::{Clock, Runs, Start};
use crate::stats::{Summary, cliffs_delta, dip::Dip, drift, interval};
use crate::{Error, Result};
use phase::{Kind, Phase, phases};

/// The fewest boots on either side that a verdict can rest on.
pub const RUNS_MIN: usize = 10;
/// The chance that an interval misses the true difference.
const LEVEL: f64 = 0.05;
/// A timer's interrupt that falls into one step instead of the next moves some 2 us, and the kernel's log has whole
/// microseconds: measured on the instruction clock, where nothing else varies. Less than this is no change.
const NOISE_US: i64 = 5;
/// The share of the time since the axis began below which the place of a mark is no change, as a divisor: 0.05 %.
const NOISE_SHARE: i64 = 2000;

/// What can be said of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate takes longer.
    Slower,
    /// It does, unless this is the one phase of twenty.
    PerhapsSlower,
    /// The candidate takes less time.
    Faster,
    /// It does, unless this is the one phase of twenty.
    PerhapsFaster,
    /// No difference was seen.
    Same,
    /// Too few boots on one side.
    TooFew,
}

/// A difference, candidate less control, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Of the medians.
    pub median: i64,
    /// The 95 % interval of this phase alone.
    pub interval: (i64, i64),
    /// The interval with which all phases together are right in 95 % of cases.
    pub sure: (i64, i64),
    /// Cliff's delta.
    pub delta: f64,
    /// Which differences the clock makes by itself.
    pub noise: i64,
    /// What follows.
    pub verdict: Verdict,
}

/// One phase on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The phase, with the values of the side that has it, of the control if both have.
    pub phase: Phase,
    /// The control's values; none if it has no such phase.
    pub control: Option<Summary>,
    /// The candidate's values; none if it has no such phase.
    pub candidate: Option<Summary>,
    /// The difference, if both have it.
    pub change: Option<Change>,
    /// What makes it doubtful: two groups of boots, a drift.
    pub doubts: Vec<String>,
}

/// Two sets of boots, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Every phase of either.
    pub rows: Vec<Row>,
    /// What else is different: `another kernel: 6.12, was 6.1`.
    pub conditions: Vec<String>,
}

/// Compares two sets of boots.
///
/// # Errors
/// Bad input if either has fewer than [`RUNS_MIN`] boots, or [`medians`] refuses them.
pub fn compare(control: &Runs, candidate: &Runs) -> Result<Comparison> {
    let fewest = control.runs.len().min(candidate.runs.len());
    if fewest < RUNS_MIN {
        let what = format!("{} are too few for a verdict", crate::count(fewest, "boot"));
        return Err(Error::bad_input(
            what,
            format!("measure at least {RUNS_MIN} of each: `imagegen measure --runs {RUNS_MIN}`"),
        ));
    }
    medians(control, candidate)
}

/// The same, but where there are too few boots the medians alone, without a verdict.
///
/// # Errors
/// Bad input if the times of the two do not mean the same.
pub fn medians(control: &Runs, candidate: &Runs) -> Result<Comparison> {
    comparable(control, candidate)?;
    let (before, after) = (phases(control), phases(candidate));
    let find = |list: &[Phase], phase: &Phase| list.iter().find(|other| other.is(phase)).cloned();
    let new = after.iter().filter(|phase| find(&before, phase).is_none());
    let pairs: Vec<(Option<Phase>, Option<Phase>)> = before
        .iter()
        .map(|phase| (Some(phase.clone()), find(&after, phase)))
        .chain(new.map(|phase| (None, Some(phase.clone()))))
        .collect();
    let shared = pairs.iter().filter(|(was, is)| was.is_some() && is.is_some()).count();
    let level = LEVEL / shared.max(1) as f64;
    let mut tests = Tests::default();
    let rows = pairs.into_iter().filter_map(|(was, is)| row(was, is, level, &mut tests)).collect();
    Ok(Comparison { rows, conditions: differences(control, candidate) })
}

/// Refuses sets whose times do not mean the same.
fn comparable(control: &Runs, candidate: &Runs) -> Result<()> {
    let (was, is) = (&control.conditions, &candidate.conditions);
    let refuse = |what: String| Err(Error::bad_input(what, "measure both in the same way"));
    if was.explained != is.explained {
        return refuse("one set was measured with --explain, which takes time, the other without".to_owned());
    }
    if was.clock != is.clock {
        return refuse(format!("times by {} cannot be compared with times by {}", clock(is.clock), clock(was.clock)));
    }
    if was.zero != is.zero {
        return refuse("the times of one set begin with the kernel, those of the other with its first byte".to_owned());
    }
    Ok(())
}

/// What times are read off, in words.
pub fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Instructions => "1 instruction = 1 ns",
        Clock::InstructionsAndWaits => "1 instruction = 1 ns, waits in the host's time",
        Clock::Kernel => "the kernel's clock",
        Clock::Arrival => "the clock of the host",
    }
}

fn differences(control: &Runs, candidate: &Runs) -> Vec<String> {
    let (was, is) = (&control.conditions, &candidate.conditions);
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let starts = |runs: &Runs| {
        let count = |start| runs.runs.iter().filter(|run| run.start == start).count();
        match (count(Some(Start::Cold)), count(Some(Start::Warm))) {
            (0, 0) => "unknown".to_owned(),
            (cold, 0) if cold == runs.runs.len() => "cold".to_owned(),
            (0, warm) if warm == runs.runs.len() => "warm".to_owned(),
            (cold, warm) => format!("{cold} cold and {warm} warm"),
        }
    };
    [
        ("board", is.board.clone(), was.board.clone()),
        ("place", is.place.clone(), was.place.clone()),
        ("kernel", is.kernel.clone(), was.kernel.clone()),
        ("content", known(&is.input_sha256), known(&was.input_sha256)),
        ("image", known(&is.image_sha256), known(&was.image_sha256)),
        ("command line", known(&is.command_line), known(&was.command_line)),
        ("start", starts(candidate), starts(control)),
    ]
    .into_iter()
    .filter(|(_, is, was)| is != was)
    .map(|(what, is, was)| format!("another {what}: {is}, was {was}"))
    .collect()
}

/// The dip test of every number of values met so far.
#[derive(Debug, Default)]
pub(crate) struct Tests(std::collections::BTreeMap<usize, Dip>);

impl Tests {
    /// What makes a set of values doubtful.
    pub(crate) fn doubts(&mut self, values: &[i64], noise: i64) -> Vec<String> {
        let mut doubts = Vec::new();
        let spread = Summary::of(values).map_or(0, |summary| summary.spread());
        if spread <= noise.unsigned_abs() {
            return doubts;
        }
        if self.0.entry(values.len()).or_insert_with(|| Dip::of(values.len())).finds_two_groups(values) {
            doubts.push("two groups".to_owned());
        }
        if let Some(later) = drift(values).filter(|later| later.saturating_abs() > noise) {
            doubts.push(format!("drifts {} ms", words::signed(later)));
        }
        doubts
    }
}

/// Which differences of a phase the clock makes by itself.
pub(crate) fn noise(kind: Kind, median: i64) -> i64 {
    let share = if kind == Kind::Mark { median.saturating_abs() / NOISE_SHARE } else { 0 };
    share.max(NOISE_US)
}

fn row(was: Option<Phase>, is: Option<Phase>, level: f64, tests: &mut Tests) -> Option<Row> {
    let values = |phase: &Option<Phase>| phase.as_ref().map_or_else(Vec::new, |phase| phase.values.clone());
    let (before, after) = (values(&was), values(&is));
    let phase = was.or(is)?;
    let (control, candidate) = (Summary::of(&before), Summary::of(&after));
    let noise = noise(phase.kind, control.or(candidate)?.median);
    let mut doubts = Vec::new();
    for (side, values) in [("before", &before), ("after", &after)] {
        doubts.extend(tests.doubts(values, noise).into_iter().map(|doubt| format!("{side}: {doubt}")));
    }
    let change = control.zip(candidate).and_then(|(control, candidate)| {
        let (own, sure) = (interval(&before, &after, LEVEL)?, interval(&before, &after, level)?);
        let fewest = control.n.min(candidate.n);
        Some(Change {
            median: candidate.median.saturating_sub(control.median),
            interval: own,
            sure,
            delta: cliffs_delta(&before, &after)?,
            noise,
            verdict: if fewest < RUNS_MIN { Verdict::TooFew } else { verdict(own, sure, noise) },
        })
    });
    Some(Row { phase, control, candidate, change, doubts })
}

fn verdict(own: (i64, i64), sure: (i64, i64), noise: i64) -> Verdict {
    if sure.0 > noise {
        Verdict::Slower
    } else if sure.1 < -noise {
        Verdict::Faster
    } else if own.0 > noise {
        Verdict::PerhapsSlower
    } else if own.1 < -noise {
        Verdict::PerhapsFaster
    } else {
        Verdict::Same
    }
}

#[cfg(test)]
pub(crate) mod tests;
