//! Comparisons: what is seen, what is not said, what is refused.

use super::*;
use crate::runs::tests::example;
use crate::runs::{Layer, Run, Span};
use proptest::prelude::*;

/// `n` boots whose step mount takes what is given, a little unsteady.
pub(crate) fn boots(n: usize, mount: u64) -> Runs {
    let mut runs = example(0);
    let boot = |index: usize| -> Run { example(mount - 200 + (index as u64 * 7) % 4).runs.remove(1) };
    runs.runs = (0..n).map(boot).collect();
    runs
}

fn find<'a>(comparison: &'a Comparison, title: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.phase.title == title).unwrap()
}

fn verdict_of(comparison: &Comparison, title: &str) -> Verdict {
    find(comparison, title).change.unwrap().verdict
}

#[test]
fn twenty_microseconds_of_five_hundred_are_seen_and_named() {
    let comparison = compare(&boots(10, 500), &boots(10, 520)).unwrap();
    assert_eq!(verdict_of(&comparison, "mount"), Verdict::Slower);
    assert_eq!(verdict_of(&comparison, "exec"), Verdict::Same);
    assert_eq!(verdict_of(&comparison, phase::TOTAL), Verdict::Slower);
    // 20 us of 85 ms are less than 0.05 %.
    assert_eq!(verdict_of(&comparison, "until next-init"), Verdict::Same);
    let text = comparison.markdown("old", "new");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(
            "| mount | 10 | 0.501 | 0.003 | 0.521 | 0.003 | +0.020 | +0.018 | +0.022 | large +1.00 | slower |"
        ),
        "{words}"
    );
    assert!(text.ends_with("it lies between +0.018 and +0.022 ms. But there is step mount +0.020 ms.\n"), "{text}");
    let comparison = compare(&boots(10, 500), &boots(10, 300)).unwrap();
    let sentence = comparison.sentence("old", "new");
    assert_eq!(
        sentence,
        "new is faster than old, until next-init 84.831 ms instead of 85.031 ms, -0.200 ms, -0.2 %. It is step mount -0.200 ms."
    );
}

#[test]
fn a_screen_has_the_longest_spans_and_those_that_changed() {
    let (mut control, mut candidate) = (boots(10, 500), boots(10, 500));
    for index in 0..100 {
        for (runs, changed) in [(&mut control, 0), (&mut candidate, u64::from(index == 7) * 100)] {
            let duration_us = 1000 - index + changed;
            let span = Span { layer: Layer::Initcall, name: index.to_string(), start_us: None, duration_us };
            runs.runs.iter_mut().for_each(|run| run.spans.push(span.clone()));
        }
    }
    let text = compare(&control, &candidate).unwrap().markdown("old", "new");
    assert_eq!(text.matches("| initcall ").count(), 23, "the module is longer than all of them");
    assert!(text.contains("\n81 shorter spans left out: "), "{text}");
    candidate.runs.iter_mut().for_each(|run| run.spans[90].duration_us += 100);
    let text = compare(&control, &candidate).unwrap().markdown("old", "new");
    assert_eq!(text.matches("| initcall ").count(), 24);
}

#[test]
fn few_boots_have_medians_and_no_verdict() {
    assert_eq!(compare(&boots(9, 500), &boots(10, 500)).unwrap_err().exit_status(), 2);
    let comparison = medians(&boots(9, 500), &boots(10, 900)).unwrap();
    assert_eq!(verdict_of(&comparison, "mount"), Verdict::TooFew);
    assert!(comparison.sentence("old", "new").starts_with("Too few"));
}

#[test]
fn what_means_something_else_is_refused_and_what_differs_is_said() {
    let control = boots(10, 500);
    for spoil in [
        (|runs: &mut Runs| runs.conditions.explained = true) as fn(&mut Runs),
        |runs| runs.conditions.clock = Clock::Kernel,
        |runs| runs.conditions.zero = crate::runs::Zero::FirstByte,
    ] {
        let mut other = control.clone();
        spoil(&mut other);
        assert_eq!(medians(&control, &other).unwrap_err().exit_status(), 2);
    }
    let mut other = control.clone();
    other.conditions.kernel = "6.18".into();
    other.runs[3].start = Some(Start::Cold);
    let comparison = compare(&control, &other).unwrap();
    let expected = ["another kernel: 6.18, was 6.12.1", "another start: 1 cold and 0 warm, was unknown"];
    assert_eq!(comparison.conditions, expected);
}

#[test]
fn a_span_at_the_threshold_is_not_slower_by_all_of_it() {
    let (mut control, mut candidate) = (boots(10, 500), boots(10, 500));
    // 99 us are left out (`explain::LEAST_US`), 101 are kept.
    let span = Span { layer: Layer::Initcall, name: "probe".into(), start_us: None, duration_us: 101 };
    control.runs[0].spans.push(span.clone());
    candidate.runs.iter_mut().for_each(|run| run.spans.push(span.clone()));
    let comparison = compare(&control, &candidate).unwrap();
    assert_eq!(verdict_of(&comparison, "initcall probe"), Verdict::TooFew);
}

#[test]
fn phases_of_one_side_are_new_or_gone() {
    let (control, mut candidate) = (boots(10, 500), boots(10, 500));
    candidate.runs.iter_mut().for_each(|run| run.spans.remove(1).name.clear());
    assert_eq!(find(&compare(&control, &candidate).unwrap(), "module erofs").verdict(), "gone");
    assert_eq!(find(&compare(&candidate, &control).unwrap(), "module erofs").verdict(), "new");
}

#[test]
fn two_groups_and_a_drift_are_said() {
    let (control, mut candidate) = (boots(20, 500), boots(20, 500));
    for (index, run) in candidate.runs.iter_mut().enumerate() {
        run.spans[2].duration_us += if index % 2 == 0 { 90 } else { 0 };
        run.spans[4].duration_us += 3 * index as u64;
    }
    let comparison = compare(&control, &candidate).unwrap();
    assert!(
        find(&comparison, "mount").verdict().ends_with("; after: two groups"),
        "{:?}",
        find(&comparison, "mount").doubts
    );
    assert_eq!(find(&comparison, "exec").doubts, ["after: drifts +0.057 ms"]);
}

proptest! {
    #[test]
    fn any_times_compare(times in proptest::collection::vec((any::<i64>(), any::<u64>()), 10..14)) {
        let (control, mut candidate) = (boots(10, 500), boots(times.len(), 500));
        for (run, (at_us, duration_us)) in candidate.runs.iter_mut().zip(times) {
            run.marks[2].at_us = at_us;
            run.spans[0].duration_us = duration_us;
        }
        for (a, b) in [(&control, &candidate), (&candidate, &control), (&candidate, &candidate)] {
            let text = compare(a, b).unwrap().markdown("a", "b");
            prop_assert!(!text.is_empty());
        }
    }
}
