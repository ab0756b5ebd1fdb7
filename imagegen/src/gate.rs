//! `imagegen gate`: whether a set of boots is good enough to be merged: no mark later than the board's budget, no phase
//! slower than before for sure. Made for CI: an exit status, the phase that moved, JUnit.

use crate::board::Budget;
use crate::compare::phase::{Kind, phases};
use crate::compare::{self, Change, Comparison, RUNS_MIN, Row, Verdict, plain, signed};
use crate::report::junit::{Case, class, document, suite};
use crate::report::{self, Set};
use crate::runs::{Run, Runs};
use crate::stats::Summary;
use crate::table::table;
use crate::{Error, Result};
use std::cmp::Reverse;
use std::str::FromStr;
use std::time::Duration;

/// When a boot reached a mark that it never reached.
const NEVER: i64 = i64::MAX;

/// How much slower a phase may get; by default not at all, as far as that can be known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Of the phase's own time before.
    Percent(f64),
    /// Microseconds, the same for every phase.
    Us(i64),
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance::Us(0)
    }
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is no regression: give 2%, 50us, 1ms");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        if !(0.0..=1e9).contains(&number) {
            return Err(wrong());
        }
        let us = |factor: f64| Ok(Tolerance::Us((number * factor).round() as i64));
        match text.strip_prefix(digits) {
            Some("%") => Ok(Tolerance::Percent(number)),
            Some("us") => us(1.0),
            Some("ms") => us(1e3),
            Some("s") => us(1e6),
            _ => Err(wrong()),
        }
    }
}

impl Tolerance {
    fn us(self, before: i64) -> i64 {
        match self {
            Tolerance::Percent(percent) => (before.saturating_abs() as f64 * percent / 100.0).round() as i64,
            Tolerance::Us(us) => us,
        }
    }
}

/// What a set is held against.
#[derive(Clone, Debug, Default)]
pub struct Limits<'a> {
    /// The boots of before.
    pub baseline: Option<&'a Set>,
    /// The limits of the board.
    pub budget: Option<&'a Budget>,
    /// How much slower than before a phase may be.
    pub tolerance: Tolerance,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Every limit and every phase.
    pub cases: Vec<Case>,
    /// Tables to read.
    pub text: String,
    /// What is wrong, the phase that explains most first; empty if the set passes.
    pub reasons: Vec<String>,
}

impl Outcome {
    /// # Errors
    /// Failed work if the set does not pass.
    pub fn verdict(&self) -> Result<()> {
        match self.reasons.split_first() {
            None => Ok(()),
            Some((first, rest)) => {
                let more = if rest.is_empty() { String::new() } else { format!("; {}", rest.join("; ")) };
                Err(Error::failed(
                    format!("{first}{more}"),
                    "`imagegen report OLD NEW --html FILE` shows it; or allow it with --max-regression or the board's budget",
                ))
            }
        }
    }

    /// As JUnit's XML.
    pub fn junit(&self, candidate: &Set) -> String {
        document(&suite(&format!("gate {}", candidate.0), &report::conditions(&candidate.1), &self.cases))
    }
}

/// Holds a set of boots against its limits.
///
/// # Errors
/// Bad input if the two sets cannot be compared, or have too few boots for it.
pub fn run(candidate: &Set, limits: &Limits<'_>) -> Result<Outcome> {
    let mut outcome = Outcome { cases: Vec::new(), text: String::new(), reasons: Vec::new() };
    if let Some((title, control)) = limits.baseline {
        let comparison = compare::compare(control, &candidate.1)?;
        regressions(&comparison, limits.tolerance, &mut outcome);
        lost(&comparison, candidate.1.runs.len(), &mut outcome);
        let sentence = comparison.sentence(title, &candidate.0);
        let differences: String = comparison.conditions.iter().map(|difference| format!("{difference}\n")).collect();
        outcome.text = format!("{sentence}\n{differences}{}", outcome.text);
    }
    if let Some(budget) = limits.budget {
        absolute(&candidate.1, budget, &mut outcome);
    }
    Ok(outcome)
}

/// What became slower for sure by more than is allowed, and what is new where something did.
fn regressions(comparison: &Comparison, tolerance: Tolerance, outcome: &mut Outcome) {
    let limit =
        |row: &Row, change: &Change| change.noise.max(tolerance.us(row.control.map_or(0, |control| control.median)));
    let too_slow = |row: &Row, change: &Change| change.sure.0 > limit(row, change);
    let moved = comparison.moved(&[Verdict::Slower]);
    let mut slower: Vec<(&Row, i64)> =
        moved.iter().filter(|(row, change)| too_slow(row, change)).map(|(row, change)| (*row, change.median)).collect();
    if !slower.is_empty() {
        let new = comparison.rows.iter().filter(|row| row.control.is_none() && matches!(row.phase.kind, Kind::Span(_)));
        slower.extend(new.filter_map(|row| Some((row, row.candidate?.median))));
        slower.sort_by_key(|(row, change)| (!matches!(row.phase.kind, Kind::Span(_)), Reverse(*change)));
    }
    for (row, change) in &slower {
        outcome.reasons.push(match (&row.change, row.control, row.candidate) {
            (Some(of), Some(control), Some(candidate)) => format!(
                "{} is {} ms slower ({} to {}), {} instead of {} ms",
                row.named(),
                plain(*change),
                plain(of.sure.0),
                plain(of.sure.1),
                plain(candidate.median),
                plain(control.median)
            ),
            _ => format!("{} is new and takes {} ms", row.named(), plain(*change)),
        });
    }
    for row in &comparison.rows {
        let Some((change, candidate)) = row.change.as_ref().zip(row.candidate) else { continue };
        let failure = too_slow(row, change).then(|| {
            format!(
                "{} ms slower, 95 % sure of {}; allowed {}",
                plain(change.median),
                plain(change.sure.0),
                plain(limit(row, change))
            )
        });
        let class = class(row.phase.kind).to_owned();
        outcome.cases.push(Case { class, name: row.phase.title.clone(), us: candidate.median, failure });
    }
    let cells = |(row, change): &(&Row, i64)| {
        let ends =
            row.change.map_or(["-", "-"].map(str::to_owned), |change| [signed(change.sure.0), signed(change.sure.1)]);
        let median = |side: Option<Summary>| side.map_or_else(|| "-".to_owned(), |side| plain(side.median));
        [row.phase.title.clone(), median(row.control), median(row.candidate), signed(*change)]
            .into_iter()
            .chain(ends)
            .collect()
    };
    if !slower.is_empty() {
        let heads = ["slower", "before ms", "after ms", "change ms", "from", "to"];
        outcome.text += &format!("\n{}", table(&heads, &slower.iter().map(cells).collect::<Vec<_>>()));
    }
}

/// Marks that could be held against those of before if as many boots reached them as did then: what is not reached any more is
/// worse than late.
fn lost(comparison: &Comparison, boots: usize, outcome: &mut Outcome) {
    for row in comparison.rows.iter().filter(|row| row.phase.kind == Kind::Mark) {
        let reached = |side: Option<Summary>| side.map_or(0, |side| side.n);
        let (before, after) = (reached(row.control), reached(row.candidate));
        if before < RUNS_MIN || after >= RUNS_MIN {
            continue;
        }
        let (mark, title) = (&row.phase.name, &row.phase.title);
        let reason = format!("{mark} was reached in {after} of {boots} boots only, before in {before}");
        let us = row.candidate.map_or(0, |candidate| candidate.median);
        let failure = Some(reason.clone());
        outcome.cases.retain(|case| case.name != *title);
        outcome.cases.push(Case { class: class(Kind::Mark).to_owned(), name: title.clone(), us, failure });
        outcome.reasons.push(reason);
    }
}

/// The limits of the board, held against medians; a boot that never reached a mark reached it later than any other.
fn absolute(candidate: &Runs, budget: &Budget, outcome: &mut Outcome) {
    let found = phases(candidate);
    let boots = candidate.runs.len();
    let at = |name: &str| {
        let mut values = found.iter().find(|phase| phase.kind == Kind::Mark && phase.name == name)?.values.clone();
        values.resize(boots, NEVER);
        Summary::of(&values)
    };
    let us = |limit: &Duration| i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    let mut limits: Vec<(String, Option<i64>, i64)> = budget
        .marks
        .iter()
        .map(|(name, limit)| (name.clone(), at(name).map(|summary| summary.median), us(limit)))
        .collect();
    if let Some(limit) = &budget.switch_root {
        let took = |run: &Run| i64::try_from(run.steps_to_switch_root_us()?).ok();
        let values: Vec<i64> = candidate.runs.iter().filter_map(took).collect();
        let median = Summary::of(&values).map(|summary| summary.median);
        limits.push(("steps to switch-root".to_owned(), median, us(limit)));
    }
    let mut rows = Vec::new();
    for (name, median, limit) in limits {
        let failure = match median {
            None => Some(format!("{name} was never reached, the budget is {} ms", plain(limit))),
            Some(NEVER) => {
                Some(format!("{name} was not reached in half of {boots} boots, the budget is {} ms", plain(limit)))
            }
            Some(median) if median > limit => {
                Some(format!("{name} at {} ms, the budget is {} ms", plain(median), plain(limit)))
            }
            Some(_) => None,
        };
        let verdict = if failure.is_some() { "EXCEEDED" } else { "kept" };
        let median = median.filter(|median| *median != NEVER);
        rows.push(vec![name.clone(), median.map_or_else(|| "-".to_owned(), plain), plain(limit), verdict.to_owned()]);
        outcome.reasons.extend(failure.clone());
        outcome.cases.push(Case { class: "budget".to_owned(), name, us: median.unwrap_or(0), failure });
    }
    if !rows.is_empty() {
        outcome.text += &format!("\n{}", table(&["budget", "median ms", "limit ms", "verdict"], &rows));
    }
}

#[cfg(test)]
mod tests;
