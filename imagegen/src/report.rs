//! `imagegen report`: measurements as Markdown tables, each set compared with the first; as a page, a trace, a spreadsheet
//! and test results for whoever reads those.

pub mod csv;
pub mod html;
pub mod junit;
mod svg;
pub mod trace;

use crate::boot::console::milliseconds;
use crate::compare::phase::{Phase, phases};
use crate::compare::{self, Comparison, Tests, clock, noise};
use crate::runs::{Run, Runs};
use crate::table::table;

/// Measurements and what they are called: the path of their file.
pub type Set = (String, Runs);

/// What makes a file of sets.
pub type Format = fn(&[Set]) -> String;

/// The heads of [`cells`].
const HEADS: [&str; 6] = ["phase", "n", "median ms", "IQR ms", "spread ms", "remarks"];

/// Every set as a table; from the second on, each compared with the first.
pub fn markdown(sets: &[Set]) -> String {
    let mut text = String::new();
    for (title, runs) in sets {
        let found = phases(runs);
        let shortest = compare::shortest_shown(found.iter().map(|phase| (phase, phase.summary())));
        let is_shown = |phase: &Phase| {
            let is_short = phase.summary().is_some_and(|summary| summary.median < shortest);
            !(is_short && matches!(phase.kind, compare::phase::Kind::Span(_)))
        };
        let rows = cells(runs, is_shown);
        let (left_out, table) = (compare::left_out(found.len() - rows.len()), table(&HEADS, &rows));
        text += &terminal(&format!("**{title}**: {}\n\n{table}{left_out}\n", conditions(runs)));
    }
    for (control, candidate, result) in comparisons(sets) {
        text += &against(control, &candidate, result);
        text += "\n";
    }
    text
}

/// A set compared with another.
pub fn comparison(control: &Set, candidate: &Set) -> String {
    against(&control.0, &candidate.0, compare::medians(&control.1, &candidate.1))
}

fn against(control: &str, candidate: &str, result: crate::Result<Comparison>) -> String {
    match result {
        Ok(comparison) => terminal(&comparison.markdown(control, candidate)),
        Err(error) => terminal(&format!("**{candidate}** is not compared with **{control}**: {}", error.what)),
    }
}

/// Every set but the first compared with it: title of the control, of the candidate, and what came of it.
fn comparisons(sets: &[Set]) -> Vec<(&str, String, crate::Result<Comparison>)> {
    let Some(((control, before), candidates)) = sets.split_first() else { return Vec::new() };
    let compared = |(title, after): &'_ Set| (title.clone(), compare::medians(before, after));
    candidates.iter().map(compared).map(|(title, result)| (control.as_str(), title, result)).collect()
}

/// What all boots of a set have in common, in a line.
pub fn conditions(runs: &Runs) -> String {
    let conditions = &runs.conditions;
    let explained = if conditions.explained { ", explained" } else { "" };
    let (board, kernel, n) = (&conditions.board, &conditions.kernel, runs.runs.len());
    format!("board {board}, kernel {kernel}, n = {n}, {}{explained}", clock(conditions.clock))
}

/// A row for each phase that is wanted: its name, n, median, IQR, spread, and what makes it doubtful.
fn cells(runs: &Runs, is_wanted: impl Fn(&Phase) -> bool) -> Vec<Vec<String>> {
    let mut tests = Tests::default();
    let row = |phase: Phase| {
        let summary = phase.summary()?;
        let doubts = tests.doubts(&phase.values, noise(phase.kind, summary.median));
        let numbers = [
            summary.n.to_string(),
            compare::plain(summary.median),
            milliseconds(summary.iqr()),
            milliseconds(summary.spread()),
        ];
        Some([phase.title].into_iter().chain(numbers).chain([doubts.join("; ")]).collect())
    };
    phases(runs).into_iter().filter(is_wanted).filter_map(row).collect()
}

/// The boot that stands for all: the one whose last mark is the median of all; the first where there is no mark.
fn median_run(runs: &Runs) -> Option<&Run> {
    let marks = phases(runs);
    let last = marks.iter().rfind(|phase| phase.kind == compare::phase::Kind::Mark);
    let found = last.and_then(|phase| {
        let median = phase.summary()?.median;
        runs.runs.iter().find(|run| run.at(&phase.name).is_some_and(|at| at == median))
    });
    found.or(runs.runs.first())
}

/// Lines for a terminal: what files hold must not control it.
pub fn terminal(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// Without control characters and what Unicode says are none (U+FFFE, U+FFFF): a terminal would obey them, XML forbids them.
fn printable(text: &str) -> String {
    let is_good = |c: char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}');
    text.chars().map(|c| if is_good(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Text inside an element or an attribute of HTML and XML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
