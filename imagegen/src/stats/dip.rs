//! Whether boots fall into two groups: Hartigan's dip test (Hartigan and Hartigan, The dip test of unimodality, 1985).
//!
//! The dip is the distance between how the values are distributed and the nearest distribution with one peak: one whose
//! cumulative function is convex before the peak and concave after it. The test asks how often as many values of a uniform
//! distribution, the flattest that has one peak, dip as deep; less than 1 % is called two groups.

use super::{Generator, PAIRWISE_MAX};

/// How many uniform samples the depth is held against, and how many of them, 1 %, may be as deep.
const DRAWS: usize = 1000;
const EXCEPTIONS: usize = 10;
/// Fewer values have no shape.
const VALUES_MIN: usize = 10;

/// The test for one number of values.
#[derive(Clone, Copy, Debug)]
pub struct Dip {
    n: usize,
    deepest: f64,
}

impl Dip {
    /// Draws what samples of `n` values are held against; the same every time.
    pub fn of(n: usize) -> Self {
        let n = n.min(PAIRWISE_MAX);
        let mut random = Generator(n as u64);
        let mut depths: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let mut values: Vec<f64> = (0..n).map(|_| random.next()).collect();
                values.sort_by(f64::total_cmp);
                depth(&values)
            })
            .collect();
        depths.sort_by(f64::total_cmp);
        Dip { n, deepest: depths.iter().rev().nth(EXCEPTIONS).copied().unwrap_or(1.0) }
    }

    /// Whether values, as many as the test is for, fall into two groups.
    pub fn finds_two_groups(&self, values: &[i64]) -> bool {
        self.n >= VALUES_MIN && depth(&spread_out(&super::picked(values))) > self.deepest
    }
}

/// In order, and equal values evenly over the microsecond that they were rounded to: otherwise every value would be a
/// group of its own.
fn spread_out(values: &[i64]) -> Vec<f64> {
    let sorted = super::sorted(values);
    let spread = |equal: &[i64]| -> Vec<f64> {
        let step = 1.0 / equal.len() as f64;
        equal.iter().enumerate().map(|(index, value)| *value as f64 + (index as f64 + 0.5) * step).collect()
    };
    sorted.chunk_by(|a, b| a == b).flat_map(spread).collect()
}

/// The dip of values in order. A peak further right asks more of the convex side and less of the concave one, so the best
/// place for it is where the two demands meet.
fn depth(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n == 0 {
        return 0.0;
    }
    let mirrored: Vec<f64> = sorted.iter().rev().map(|value| -value).collect();
    // The peak is at the value behind the first `before`.
    let sides = |before: usize| (convex(sorted, before + 1, n), convex(&mirrored, n - before, n));
    let (mut low, mut high) = (0, n - 1);
    while low < high {
        let middle = (low + high) / 2;
        let (left, right) = sides(middle);
        if left >= right { high = middle } else { low = middle + 1 }
    }
    let worse = |before: usize| {
        let (left, right) = sides(before);
        left.max(right)
    };
    worse(low).min(worse(low.saturating_sub(1)))
}

/// How far the steps of the first `count` of `n` values stay from the nearest convex function that ends in a peak at the
/// last: half of how far the tops of the steps rise above the convex hull of their feet.
fn convex(sorted: &[f64], count: usize, n: usize) -> f64 {
    let point = |index: usize| (sorted.get(index).copied().unwrap_or_default(), index as f64);
    let mut hull: Vec<usize> = Vec::with_capacity(count);
    for index in 0..count {
        while let [.., first, second] = hull.as_slice() {
            let ((x0, y0), (x1, y1), (x2, y2)) = (point(*first), point(*second), point(index));
            if (y1 - y0) * (x2 - x0) < (y2 - y0) * (x1 - x0) {
                break;
            }
            hull.pop();
        }
        hull.push(index);
    }
    // The step at the peak itself may be as high as it likes, but no lower than one step can be.
    let mut most: f64 = 1.0;
    for pair in hull.windows(2) {
        let [from, to] = pair else { continue };
        let ((x0, y0), (x1, y1)) = (point(*from), point(*to));
        for index in *from..*to {
            let (x, y) = point(index);
            let below = if x1 > x0 { y0 + (y1 - y0) * (x - x0) / (x1 - x0) } else { y0 };
            most = most.max(y + 1.0 - below);
        }
    }
    most / (2.0 * n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_those_of_the_definition() {
        // Evenly spaced values are as flat as steps can be: half a step.
        assert!((depth(&[1.0, 2.0, 3.0, 4.0]) - 0.125).abs() < 1e-9);
        // Two far groups of equal size: a quarter, which is the most there is.
        let groups: Vec<f64> =
            (0..50).map(|i| f64::from(i) * 1e-6).chain((0..50).map(|i| 1.0 + f64::from(i) * 1e-6)).collect();
        assert!((depth(&groups) - 0.25).abs() < 0.011, "{}", depth(&groups));
        assert_eq!((depth(&[]), depth(&[1.0])), (0.0, 0.5));
    }

    #[test]
    fn two_groups_are_found_and_one_is_not() {
        let dip = Dip::of(20);
        let groups: Vec<i64> = (0..20).map(|i| 500 + i % 5 + if i % 2 == 0 { 0 } else { 80 }).collect();
        assert!(dip.finds_two_groups(&groups));
        for one in [vec![7; 20], (0..20).collect(), (0..20).map(|i| 100 + i % 2).collect()] {
            assert!(!dip.finds_two_groups(&one), "{one:?}");
        }
        let mut far = vec![100; 20];
        far[19] = 5000;
        assert!(!dip.finds_two_groups(&far), "one boot that was disturbed is no group");
        assert!(!Dip::of(9).finds_two_groups(&[0, 0, 0, 0, 9, 9, 9, 9, 9]));
    }

    #[test]
    fn values_of_one_peak_are_rarely_called_two_groups() {
        let mut random = Generator(7);
        let dip = Dip::of(30);
        let mut normal = || ((0..12).map(|_| random.next()).sum::<f64>() * 1000.0) as i64;
        let wrong = (0..500).filter(|_| dip.finds_two_groups(&(0..30).map(|_| normal()).collect::<Vec<_>>())).count();
        assert!(wrong <= 5, "{wrong}");
    }
}
