//! `imagegen report`: measurements as Markdown tables, and compared with the first of them.

use crate::boot::console::milliseconds;
use crate::runs::{Clock, Run, Runs, mark, median};
use crate::table::table;
use std::fmt::Write;

/// The row over all steps.
const TOTAL: &str = "Run /init to next init";

/// The fewest boots on either side that a verdict can rest on.
const RUNS_MIN: usize = 3;
/// A change of less than the control divided by this is none.
const SHARE_MIN: u64 = 1000;

/// What a row's values were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    runs: usize,
    median: u64,
    least: u64,
    most: u64,
}

impl Sample {
    fn of(values: &[u64]) -> Option<Self> {
        let (least, most) = (*values.iter().min()?, *values.iter().max()?);
        Some(Sample { runs: values.len(), median: median(values)?, least, most })
    }
}

/// Every set of measurements as a table; from the second on, each compared with the first. Each has its title.
pub fn markdown(sets: &[(String, Runs)]) -> String {
    let mut text = String::new();
    for (title, runs) in sets {
        text += &medians(title, runs);
    }
    if let Some(((control_title, control), candidates)) = sets.split_first() {
        for (title, candidate) in candidates {
            text += &comparison(control_title, control, title, candidate);
        }
    }
    text
}

fn conditions(runs: &Runs) -> String {
    let clock = match runs.conditions.clock {
        Clock::Instructions => "1 instruction = 1 ns",
        Clock::Kernel => "the kernel's clock",
        Clock::Arrival => "the clock of the host",
    };
    format!("board {}, kernel {}, n = {}, {clock}", runs.conditions.board, runs.conditions.kernel, runs.runs.len())
}

/// Row names in the order of the first run, and every sample.
fn samples(runs: &Runs) -> Vec<(String, Sample)> {
    let total: Vec<u64> = runs.runs.iter().filter_map(|run| run.between(mark::RUN_INIT, mark::NEXT_INIT)).collect();
    let mut names: Vec<String> = Vec::new();
    for span in runs.runs.iter().flat_map(|run| &run.spans) {
        if !names.contains(&span.title()) {
            names.push(span.title());
        }
    }
    let values = |name: &str| -> Vec<u64> {
        let sum = |run: &Run| -> u64 {
            // A step of a slot that was refused comes again for the next slot.
            let spans = run.spans.iter().filter(|span| span.title() == name);
            spans.fold(0, |sum, span| sum.saturating_add(span.duration_us))
        };
        runs.runs.iter().map(sum).collect()
    };
    let steps = names.iter().filter_map(|name| Some((name.clone(), Sample::of(&values(name))?)));
    steps.chain(Sample::of(&total).map(|sample| (TOTAL.to_owned(), sample))).collect()
}

fn medians(title: &str, runs: &Runs) -> String {
    let row = |(name, sample): (String, Sample)| {
        vec![name, milliseconds(sample.median), milliseconds(sample.most - sample.least)]
    };
    let rows: Vec<Vec<String>> = samples(runs).into_iter().map(row).collect();
    let table = table(&["step", "median ms", "spread ms"], &rows);
    format!("**{title}**: {}\n\n{table}\n", conditions(runs))
}

fn comparison(control_title: &str, control: &Runs, title: &str, candidate: &Runs) -> String {
    let mut text = format!("**{title}** against **{control_title}**");
    let mut differ = |what: &str, is: &str, was: &str| {
        if is != was {
            let _ = write!(text, "; another {what}: {is}, was {was}");
        }
    };
    let (is, was) = (&candidate.conditions, &control.conditions);
    differ("board", &is.board, &was.board);
    differ("kernel", &is.kernel, &was.kernel);
    let known = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "unknown".to_owned());
    differ("content", &known(&is.input_sha256), &known(&was.input_sha256));
    let (before, after) = (samples(control), samples(candidate));
    let find = |list: &[(String, Sample)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, sample)| *sample);
    let is_new = |(name, _): &&(String, Sample)| find(&before, name).is_none();
    let names = before.iter().chain(after.iter().filter(is_new)).map(|(name, _)| name);
    let rows: Vec<Vec<String>> = names.map(|name| row(name, find(&before, name), find(&after, name))).collect();
    let table = table(&["step", "control ms", "candidate ms", "change ms", "change", "verdict"], &rows);
    format!("{text}\n\n{table}\n")
}

fn row(name: &str, control: Option<Sample>, candidate: Option<Sample>) -> Vec<String> {
    let cell = |sample: Option<Sample>| sample.map_or_else(|| "-".to_owned(), |sample| milliseconds(sample.median));
    let (change, share, verdict) = match (control, candidate) {
        (Some(control), Some(candidate)) => {
            let (was, is) = (control.median, candidate.median);
            let sign = if is < was { "-" } else { "+" };
            let share = if was == 0 {
                "-".to_owned()
            } else {
                format!("{sign}{:.1} %", is.abs_diff(was) as f64 * 100.0 / was as f64)
            };
            (sign.to_owned() + &milliseconds(is.abs_diff(was)), share, verdict(control, candidate))
        }
        (Some(_), None) => ("-".to_owned(), "-".to_owned(), "gone"),
        (None, _) => ("-".to_owned(), "-".to_owned(), "new"),
    };
    vec![name.to_owned(), cell(control), cell(candidate), change, share, verdict.to_owned()]
}

/// A change is one only where the medians are further apart than either side's boots, and by more than 0.1 %.
fn verdict(control: Sample, candidate: Sample) -> &'static str {
    let spread = (control.most - control.least).max(candidate.most - candidate.least);
    let change = candidate.median.abs_diff(control.median);
    if control.runs.min(candidate.runs) < RUNS_MIN {
        "too few runs"
    } else if change <= spread || change.saturating_mul(SHARE_MIN) <= control.median {
        "same"
    } else if candidate.median < control.median {
        "faster"
    } else {
        "slower"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::example;

    #[test]
    fn one_set_is_a_table() {
        let text = markdown(&[("runs.json".into(), example(4))]);
        assert!(text.starts_with("**runs.json**: board qemu-arm64, kernel 6.12.1, n = 2, 1 instruction = 1 ns\n"));
        assert!(text.contains("| mount                  |     0.200 |     0.004 |\n"), "{text}");
        assert!(text.contains("| Run /init to next init |    45.330 |     0.004 |\n"), "{text}");
    }

    #[test]
    fn two_sets_are_compared() {
        let (mut control, mut slower) = (example(4), example(0));
        for run in &mut slower.runs {
            run.spans[2].duration_us = 300;
            run.spans.remove(1);
        }
        let compared = |control: &Runs, candidate: &Runs| {
            let text = markdown(&[("old".into(), control.clone()), ("new".into(), candidate.clone())]);
            text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let text = compared(&control, &slower);
        assert!(text.contains("| mount | 0.200 | 0.300 | +0.100 | +50.0 % | too few runs |"), "{text}");
        control.runs.push(control.runs[0].clone());
        assert!(compared(&control, &slower).contains("| +50.0 % | too few runs |"));
        slower.runs.push(slower.runs[0].clone());
        let text = compared(&control, &slower);
        assert!(text.contains("| mount | 0.200 | 0.300 | +0.100 | +50.0 % | slower |"), "{text}");
        assert!(text.contains("| module erofs | 45.000 | - | - | - | gone |"), "{text}");
        assert!(text.contains("| exec | 0.030 | 0.030 | +0.000 | +0.0 % | same |"), "{text}");
        assert!(compared(&slower, &control).contains("| mount | 0.300 | 0.200 | -0.100 | -33.3 % | faster |"));
    }

    #[test]
    fn a_verdict_needs_more_than_the_spread_and_a_thousandth() {
        let sample = |runs, least, median, most| Sample { runs, median, least, most };
        let control = sample(3, 99_990, 100_000, 100_010);
        assert_eq!(verdict(control, sample(3, 100_101, 100_101, 100_101)), "slower");
        assert_eq!(verdict(control, sample(3, 100_100, 100_100, 100_100)), "same", "a thousandth");
        assert_eq!(verdict(control, sample(3, 99_000, 99_000, 100_001)), "same", "the candidate's spread");
        assert_eq!(verdict(control, sample(3, 99_000, 99_000, 99_999)), "faster");
        assert_eq!(verdict(sample(3, 99_000, 100_000, 101_000), sample(3, 101_000, 101_000, 101_000)), "same");
        assert_eq!(verdict(control, sample(2, 1, 1, 1)), "too few runs");
    }
}
