//! A comparison as a table, and as a sentence for somebody who reads no table.

use super::phase::{Kind, Phase};
use super::{Change, Comparison, RUNS_MIN, Row, Verdict};
use crate::boot::console::milliseconds;
use crate::runs::Layer;
use crate::stats::{Summary, effect};
use crate::table::table;

/// What is said of a number beside the table.
pub const LEGEND: &str = "\
- ms: medians; IQR: upper less lower quartile. From, to: the 95 % interval of the change, by bootstrap, for each phase alone.
- effect: Cliff's delta, 1 if every boot after is slower than every boot before, -1 if faster.
- slower, faster: right for all phases together in 95 of 100 cases; perhaps: for this one alone. Less than the clock's own
  noise, 0.005 ms and of a mark 0.05 %, is the same.
";

/// Spans in a table for a screen: the longest, and in a comparison those that changed.
const SPANS_SHOWN: usize = 24;
/// How many phases a sentence names.
const NAMED: usize = 3;

/// Milliseconds of a signed number of microseconds.
pub fn plain(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    sign.to_owned() + &milliseconds(us.unsigned_abs())
}

/// The same with a sign in any case.
pub fn signed(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "+" };
    sign.to_owned() + &milliseconds(us.unsigned_abs())
}

/// The shortest span that still has a row on a screen, by its median.
pub fn shortest_shown<'a>(phases: impl Iterator<Item = (&'a Phase, Option<Summary>)>) -> i64 {
    let spans = phases.filter(|(phase, _)| matches!(phase.kind, Kind::Span(_)));
    let mut medians: Vec<i64> = spans.filter_map(|(_, summary)| Some(summary?.median)).collect();
    medians.sort_unstable_by_key(|median| std::cmp::Reverse(*median));
    medians.get(SPANS_SHOWN).map_or(i64::MIN, |next| next.saturating_add(1))
}

/// What stands below a table for a screen.
pub fn left_out(count: usize) -> String {
    match count {
        0 => String::new(),
        _ => format!("\n{} left out: --html and --csv have all.\n", crate::count(count, "shorter span")),
    }
}

impl Verdict {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Slower => "slower",
            Verdict::PerhapsSlower => "perhaps slower",
            Verdict::Faster => "faster",
            Verdict::PerhapsFaster => "perhaps faster",
            Verdict::Same => "same",
            Verdict::TooFew => "too few boots",
        }
    }
}

impl Row {
    /// The phase in a sentence: a step is called one.
    pub fn named(&self) -> String {
        match self.phase.kind {
            Kind::Span(Layer::Step) => format!("step {}", self.phase.title),
            _ => self.phase.title.clone(),
        }
    }

    /// The verdict and what makes it doubtful.
    pub fn verdict(&self) -> String {
        let verdict = match (&self.change, self.control) {
            (Some(change), _) => change.verdict.name(),
            (None, Some(_)) => "gone",
            (None, None) => "new",
        };
        std::iter::once(verdict).chain(self.doubts.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
    }

    /// The cells of the table: phase, n, before, IQR, after, IQR, change, from, to, effect, verdict.
    pub fn cells(&self) -> Vec<String> {
        let of = |side: Option<Summary>, value: fn(Summary) -> String| side.map_or_else(|| "-".to_owned(), value);
        let n = |side: Option<Summary>| of(side, |summary| summary.n.to_string());
        let median = |side| of(side, |summary| plain(summary.median));
        let iqr = |side| of(side, |summary| milliseconds(summary.iqr()));
        let count = if n(self.control) == n(self.candidate) {
            n(self.control)
        } else {
            format!("{}, {}", n(self.control), n(self.candidate))
        };
        let mut cells = vec![self.phase.title.clone(), count];
        cells.extend([median(self.control), iqr(self.control), median(self.candidate), iqr(self.candidate)]);
        let sure = |change: &&Change| change.verdict != Verdict::TooFew;
        match &self.change {
            Some(change) => {
                cells.push(signed(change.median));
                let ends = Some(change).filter(sure).map(|change| {
                    [
                        signed(change.interval.0),
                        signed(change.interval.1),
                        format!("{} {:+.2}", effect(change.delta), change.delta),
                    ]
                });
                cells.extend(ends.unwrap_or_else(|| ["-", "-", "-"].map(str::to_owned)));
            }
            None => cells.extend(["-", "-", "-", "-"].map(str::to_owned)),
        }
        cells.push(self.verdict());
        cells
    }
}

/// The heads of [`Row::cells`].
pub const HEADS: [&str; 11] =
    ["phase", "n", "before ms", "IQR", "after ms", "IQR", "change ms", "from", "to", "effect", "verdict"];

impl Comparison {
    /// The table, what it means, and the sentence, as Markdown.
    pub fn markdown(&self, control: &str, candidate: &str) -> String {
        let mut text = format!("**{candidate}** (after) against **{control}** (before)");
        for difference in &self.conditions {
            text += &format!("; {difference}");
        }
        let shortest = shortest_shown(self.rows.iter().map(|row| (&row.phase, row.control.or(row.candidate))));
        let median = |row: &Row| row.control.or(row.candidate).map_or(0, |summary| summary.median);
        let is_same = |row: &Row| row.change.is_some_and(|change| change.verdict == Verdict::Same);
        let is_left_out =
            |row: &&Row| matches!(row.phase.kind, Kind::Span(_)) && is_same(row) && median(row) < shortest;
        let rows: Vec<Vec<String>> = self.rows.iter().filter(|row| !is_left_out(row)).map(Row::cells).collect();
        let (left_out, sentence) = (left_out(self.rows.len() - rows.len()), self.sentence(control, candidate));
        format!("{text}\n\n{}{left_out}\n{LEGEND}\n{sentence}\n", table(&HEADS, &rows))
    }

    /// What came of it.
    pub fn sentence(&self, control: &str, candidate: &str) -> String {
        let end = self.rows.iter().rev().find(|row| row.phase.kind == Kind::Mark && row.change.is_some());
        let end = end.or_else(|| self.rows.iter().rev().find(|row| row.change.is_some()));
        let Some((row, change)) = end.and_then(|row| row.change.as_ref().map(|change| (row, change))) else {
            return format!("{candidate} and {control} have no phase in common.");
        };
        let median = |side: Option<Summary>| plain(side.map_or(0, |summary| summary.median));
        let (was, is) = (median(row.control), median(row.candidate));
        let times = format!("{} {is} ms instead of {was} ms", row.named());
        match change.verdict {
            Verdict::TooFew => format!("Too few boots for a verdict: it takes {RUNS_MIN} of each."),
            Verdict::Same => {
                let (from, to) = (signed(change.interval.0), signed(change.interval.1));
                let text = format!(
                    "No difference between {candidate} and {control} was seen, {times}: it lies between {from} and {to} ms."
                );
                text + &self.because(&[Verdict::Slower, Verdict::Faster], " But there is")
            }
            verdict => {
                let share = row
                    .control
                    .filter(|control| control.median != 0)
                    .map(|control| format!(", {:+.1} %", change.median as f64 * 100.0 / control.median as f64));
                let same_way: &[Verdict] = match verdict {
                    Verdict::Slower | Verdict::PerhapsSlower => &[Verdict::Slower],
                    _ => &[Verdict::Faster],
                };
                let text = format!(
                    "{candidate} is {} than {control}, {times}, {} ms{}.",
                    verdict.name(),
                    signed(change.median),
                    share.unwrap_or_default()
                );
                text + &self.because(same_way, " It is")
            }
        }
    }

    /// The spans that changed for sure in one of these ways, the largest change first.
    fn because(&self, ways: &[Verdict], start: &str) -> String {
        let changed = self.moved(ways);
        let spans: Vec<&(&Row, &Change)> =
            changed.iter().filter(|(row, _)| matches!(row.phase.kind, Kind::Span(_))).collect();
        let name = |(row, change): &&(&Row, &Change)| format!("{} {} ms", row.named(), signed(change.median));
        let names: Vec<String> = spans.iter().take(NAMED).map(name).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("{start} {}{}.", names.join(", "), if spans.len() > NAMED { " and more" } else { "" }),
        }
    }

    /// Rows with one of these verdicts: spans before what they add up to, the largest change first.
    pub fn moved(&self, ways: &[Verdict]) -> Vec<(&Row, &Change)> {
        let changed = |row: &'_ Row| row.change.as_ref().is_some_and(|change| ways.contains(&change.verdict));
        let mut list: Vec<(&Row, &Change)> =
            self.rows.iter().filter(|row| changed(row)).filter_map(|row| Some((row, row.change.as_ref()?))).collect();
        let rank = |row: &Row| match row.phase.kind {
            Kind::Span(_) => 0,
            Kind::Total => 1,
            Kind::Mark => 2,
        };
        list.sort_by_key(|(row, change)| (rank(row), std::cmp::Reverse(change.median.unsigned_abs())));
        list
    }
}
