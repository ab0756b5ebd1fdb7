//! Statistics held against definitions, simulation and drawing.

use super::*;
use proptest::prelude::*;

/// How often of `times` the 95 % interval of two samples holds their true difference.
fn held(sizes: (usize, usize), shift: i64, times: usize, draw: fn(&mut Generator) -> f64) -> usize {
    let mut random = Generator(sizes.0 as u64 + 1);
    let mut sample =
        |n: usize, shift: i64| -> Vec<i64> { (0..n).map(|_| draw(&mut random).round() as i64 + shift).collect() };
    let holds = |_: &usize| {
        let (low, high) = interval(&sample(sizes.0, 0), &sample(sizes.1, shift), 0.05).unwrap();
        (low..=high).contains(&shift)
    };
    (0..times).filter(holds).count()
}

fn normal(random: &mut Generator) -> f64 {
    500.0 + 20.0 * ((0..12).map(|_| random.next()).sum::<f64>() - 6.0)
}

fn skewed(random: &mut Generator) -> f64 {
    -50.0 * (1.0 - random.next()).ln()
}

#[test]
fn intervals_hold_the_true_difference_in_95_of_100_cases() {
    for (sizes, draw) in
        [((10, 10), normal as fn(&mut Generator) -> f64), ((10, 10), skewed), ((15, 30), skewed), ((50, 50), normal)]
    {
        let held = held(sizes, 37, 1000, draw);
        // Percentile intervals of few medians are a little too wide, never much too narrow.
        assert!((940..=995).contains(&held), "{sizes:?}: {held} of 1000");
    }
}

#[test]
fn intervals_are_those_of_drawing() {
    let (control, candidate) = ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [12, 7, 17, 8, 12, 18, 12, 8, 4, 5, 9]);
    let mut random = Generator(1);
    let mut median = |values: &[i64]| {
        let drawn: Vec<i64> = values.iter().map(|_| values[(random.next() * values.len() as f64) as usize]).collect();
        Summary::of(&drawn).unwrap().median
    };
    let mut differences: Vec<i64> = (0..20_000).map(|_| median(&candidate) - median(&control)).collect();
    differences.sort_unstable();
    assert_eq!(interval(&control, &candidate, 0.05), Some((differences[500], differences[19_499])));
}

#[test]
fn a_clear_difference_is_outside_the_interval_of_none() {
    let (control, slower) = ([89_i64; 10], [289_i64; 10]);
    assert_eq!(interval(&control, &slower, 0.05), Some((200, 200)));
    assert_eq!(interval(&slower, &control, 0.05), Some((-200, -200)));
    assert_eq!(interval(&[], &control, 0.05), None);
    assert_eq!(interval(&[5], &[7], 0.05), Some((2, 2)));
}

#[test]
fn effects_have_words() {
    assert_eq!(cliffs_delta(&[1, 2, 3], &[4, 5]), Some(1.0));
    assert_eq!(cliffs_delta(&[1, 2, 3], &[1, 2, 3]), Some(0.0));
    assert_eq!((cliffs_delta(&[4], &[1]), cliffs_delta(&[], &[1])), (Some(-1.0), None));
    assert_eq!([0.1, -0.2, 0.4, -0.9].map(effect), ["negligible", "small", "medium", "large"]);
}

#[test]
fn drift_is_a_trend_over_the_order() {
    let rising: Vec<i64> = (0..20).map(|i| 100 + 3 * i + (i % 3)).collect();
    assert!((55..=60).contains(&drift(&rising).unwrap()), "{:?}", drift(&rising));
    let falling: Vec<i64> = rising.iter().rev().copied().collect();
    assert!(drift(&falling).unwrap() < 0);
    let mixed = [3, 9, 1, 7, 5, 2, 8, 4, 6, 5, 4, 7];
    assert_eq!((drift(&mixed), drift(&[7; 30]), drift(&rising[..9]), drift(&[])), (None, None, None, None));
}

#[test]
fn summaries_are_measured_values() {
    let summary = Summary::of(&[9, 1, 5, 3, 7, 8, 2, 6, 4, 10]).unwrap();
    assert_eq!((summary.lower, summary.median, summary.upper), (3, 5, 8));
    assert_eq!((summary.iqr(), summary.spread(), summary.n), (5, 9, 10));
    assert_eq!(Summary::of(&[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_values_are_too_strange(control in proptest::collection::vec(any::<i64>(), 0..40), candidate in proptest::collection::vec(-3_i64..3, 0..40)) {
        for (control, candidate) in [(&control, &candidate), (&candidate, &control), (&control, &control)] {
            if let Some((low, high)) = interval(control, candidate, 0.05) {
                prop_assert!(low <= high);
                let (wide_low, wide_high) = interval(control, candidate, 1e-12).unwrap();
                prop_assert!(wide_low <= low && high <= wide_high);
            }
            if let Some(delta) = cliffs_delta(control, candidate) {
                prop_assert!((-1.0..=1.0).contains(&delta));
            }
            let _ = (Summary::of(control), drift(control), dip::Dip::of(candidate.len()).finds_two_groups(candidate));
        }
    }

    #[test]
    fn a_shift_shifts_the_interval(values in proptest::collection::vec(-1000_i64..1000, 1..30), shift in -500_i64..500) {
        let shifted: Vec<i64> = values.iter().map(|value| value + shift).collect();
        let (low, high) = interval(&values, &values, 0.05).unwrap();
        prop_assert_eq!(interval(&values, &shifted, 0.05), Some((low + shift, high + shift)));
        prop_assert_eq!(low, -high);
    }
}
