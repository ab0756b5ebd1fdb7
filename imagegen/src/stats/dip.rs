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

/// The dip of values in order, by Algorithm AS 217 (Hartigan, Computation of the dip statistic, 1985). The peak lies in an
/// interval, which is that of all values first. As long as over it the hull above and the hull below are further apart than
/// the dip so far, it is made smaller to where they are furthest apart; what is cut off has a dip of its own.
fn depth(sorted: &[f64]) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let mut interval = (0, last);
    // In steps, and twice: nothing is nearer to a step than its middle.
    let mut dip: f64 = 1.0;
    loop {
        let (below, above) = (Hull::of(sorted, interval, Side::Below), Hull::of(sorted, interval, Side::Above));
        // A step rises from its index to the next: the hull below is that of the feet, the hull above that of the tops.
        let apart = |at: usize| above.height(at) - below.height(at) + 1.0;
        let mut knots = [below.knots.as_slice(), &above.knots].concat();
        knots.sort_unstable();
        let widest = knots.into_iter().max_by(|a, b| apart(*a).total_cmp(&apart(*b))).filter(|at| apart(*at) > dip);
        let Some(widest) = widest else { break };
        let left = below.knots.iter().rfind(|knot| **knot <= widest).map_or(interval.0, |knot| *knot);
        let right = above.knots.iter().find(|knot| **knot >= widest).map_or(interval.1, |knot| *knot);
        let of_left = (interval.0..=left).map(|at| at as f64 + 1.0 - below.height(at));
        let of_right = (right..=interval.1).map(|at| above.height(at) + 1.0 - at as f64);
        dip = of_left.chain(of_right).fold(dip, f64::max);
        if (left, right) == interval {
            break;
        }
        interval = (left, right);
    }
    dip / (2.0 * sorted.len() as f64)
}

/// Where a hull lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Below all points: the greatest convex function.
    Below,
    /// Above all points: the least concave function.
    Above,
}

/// A hull of the points (value, index) of an interval.
struct Hull<'a> {
    sorted: &'a [f64],
    /// Indices of the points that it goes through.
    knots: Vec<usize>,
}

impl<'a> Hull<'a> {
    fn of(sorted: &'a [f64], (low, high): (usize, usize), side: Side) -> Self {
        let mut hull = Hull { sorted, knots: Vec::new() };
        for index in low..=high {
            while let [.., first, second] = hull.knots.as_slice() {
                let ((x0, y0), (x1, y1), (x2, y2)) = (hull.point(*first), hull.point(*second), hull.point(index));
                let (flat, steep) = ((y1 - y0) * (x2 - x0), (y2 - y0) * (x1 - x0));
                if if side == Side::Below { flat < steep } else { flat > steep } {
                    break;
                }
                hull.knots.pop();
            }
            hull.knots.push(index);
        }
        hull
    }

    fn point(&self, index: usize) -> (f64, f64) {
        (self.sorted.get(index).copied().unwrap_or_default(), index as f64)
    }

    /// Its height over a value of the interval.
    fn height(&self, index: usize) -> f64 {
        let next = self.knots.partition_point(|knot| *knot < index);
        let knot = |at: Option<usize>| at.and_then(|at| self.knots.get(at)).map_or(index, |knot| *knot);
        let ((x0, y0), (x1, y1), (x, _)) =
            (self.point(knot(next.checked_sub(1))), self.point(knot(Some(next))), self.point(index));
        if x1 > x0 && x < x1 { y0 + (y1 - y0) * (x - x0) / (x1 - x0) } else { y1 }
    }
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
    fn depths_are_those_of_other_programs() {
        // By the R package diptest's function in Python's diptest 0.12. In all of them what is left of the peak must not end
        // above where what is right of it begins.
        for (values, dip) in [
            (&[15, 28, 29, 37, 51, 68, 76, 81, 90, 96][..], 0.105),
            (&[0, 7, 9, 10, 24, 38, 41, 44, 48, 54], 0.134_210_526_315_789_47),
            (&[5, 6, 16, 26, 27, 28, 33, 36, 41, 42, 51, 56, 65, 68, 69, 76, 77, 78, 84, 91], 0.077_777_777_777_777_77),
        ] {
            let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
            assert!((depth(&values) - dip).abs() < 1e-12, "{values:?}: {}", depth(&values));
            let mirrored: Vec<f64> = values.iter().rev().map(|value| -value).collect();
            assert!((depth(&mirrored) - dip).abs() < 1e-12, "{values:?}");
        }
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
