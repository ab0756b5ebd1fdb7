//! The statistics of comparing boots: few values a side, many of them equal, now and then one far off. So everything here
//! goes by order: medians, quartiles, and tests that ask of no distribution to be a normal one.

pub mod dip;

use std::cmp::Ordering;

/// What is compared pair by pair looks at this many boots at most, evenly picked: beyond it only the time grows.
const PAIRWISE_MAX: usize = 2000;
/// Two-sided 1 % of the normal distribution: a table has twenty rows, and one in a hundred may be called wrongly.
const Z_OF_ONE_PERCENT: f64 = 2.576;

/// A set of values in a few numbers. All are values that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many values.
    pub n: usize,
    /// The smallest.
    pub least: i64,
    /// A quarter of the values is at most this.
    pub lower: i64,
    /// The middle; of an even number the lower of the two in the middle.
    pub median: i64,
    /// Three quarters of the values are at most this.
    pub upper: i64,
    /// The largest.
    pub most: i64,
}

impl Summary {
    /// Of values in any order; none without a value.
    pub fn of(values: &[i64]) -> Option<Self> {
        let sorted = sorted(values);
        // The nearest rank: the first value that the share of the values does not exceed.
        let rank = |quarter: usize| sorted.get((sorted.len() * quarter).div_ceil(4).checked_sub(1)?).copied();
        Some(Summary {
            n: sorted.len(),
            least: *sorted.first()?,
            lower: rank(1)?,
            median: rank(2)?,
            upper: rank(3)?,
            most: *sorted.last()?,
        })
    }

    /// Upper less lower quartile.
    pub fn iqr(&self) -> u64 {
        self.upper.abs_diff(self.lower)
    }

    /// Largest less smallest value.
    pub fn spread(&self) -> u64 {
        self.most.abs_diff(self.least)
    }
}

/// The bootstrap interval of the difference of two medians, candidate less control: the percentile interval (Efron and
/// Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13), which for medians keeps its level where values are few
/// and equal (Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 2012, section 5.4). The interval called BCa
/// needs a smooth statistic, which the median is not.
///
/// Nothing is drawn: how likely each value is to be the median of a sample drawn with replacement is known exactly (Maritz
/// and Jarrett, A note on estimating the variance of the sample median, 1978). The interval is what infinitely many draws
/// would give, the same on every machine. `level` is the chance to miss, 0.05 for 95 %; none without a value on each side.
pub fn interval(control: &[i64], candidate: &[i64], level: f64) -> Option<(i64, i64)> {
    let (control, candidate) = (Resampled::of(control)?, Resampled::of(candidate)?);
    let share = (level / 2.0).clamp(f64::MIN_POSITIVE, 0.5);
    Some((lower_end(&control, &candidate, share), lower_end(&candidate, &control, share).saturating_neg()))
}

/// The least difference that a share of all resampled differences does not exceed.
fn lower_end(control: &Resampled, candidate: &Resampled, share: f64) -> i64 {
    let chance = |difference: i128| -> f64 {
        let of = |(value, chance): (&i64, &f64)| {
            // The control's median is at least the candidate's less the difference.
            let below = control.sorted.partition_point(|was| i128::from(*was) < i128::from(*value) - difference);
            chance * (1.0 - control.at_most.get(below).copied().unwrap_or(1.0))
        };
        candidate.sorted.iter().zip(&candidate.chances).map(of).sum()
    };
    let ends = |sample: &Resampled| {
        let end = |value: Option<&i64>| i128::from(value.copied().unwrap_or_default());
        (end(sample.sorted.first()), end(sample.sorted.last()))
    };
    let ((control_least, control_most), (least, most)) = (ends(control), ends(candidate));
    let (mut low, mut high) = (least - control_most, most - control_least);
    while low < high {
        let middle = low + (high - low).div_euclid(2);
        if chance(middle) >= share { high = middle } else { low = middle + 1 }
    }
    i64::try_from(low).unwrap_or(if low < 0 { i64::MIN } else { i64::MAX })
}

/// A sample, and how likely each of its values is to be the median of a sample of the same size drawn from it.
struct Resampled {
    sorted: Vec<i64>,
    chances: Vec<f64>,
    /// The chance that the median is one of the first values, for every number of them.
    at_most: Vec<f64>,
}

impl Resampled {
    fn of(values: &[i64]) -> Option<Self> {
        let sorted = sorted(values);
        let n = sorted.len();
        let half = n.div_ceil(2);
        if n == 0 {
            return None;
        }
        // ln(k!) for the binomial coefficients.
        let mut factorials = vec![0.0; n + 1];
        let mut sum = 0.0;
        for (number, slot) in factorials.iter_mut().enumerate().skip(1) {
            sum += (number as f64).ln();
            *slot = sum;
        }
        // The median is among the first k if at least half of the draws are.
        let at_most: Vec<f64> = (0..=n).map(|k| at_least(half, n, k as f64 / n as f64, &factorials)).collect();
        let chances = at_most.windows(2).map(|pair| pair.iter().rev().copied().reduce(|a, b| a - b).unwrap_or(0.0));
        let chances = chances.collect();
        Some(Resampled { sorted, chances, at_most })
    }
}

/// The chance of at least `wanted` successes in `n` tries.
fn at_least(wanted: usize, n: usize, chance: f64, factorials: &[f64]) -> f64 {
    if chance <= 0.0 || chance >= 1.0 {
        return if chance >= 1.0 || wanted == 0 { 1.0 } else { 0.0 };
    }
    let factorial = |number: usize| factorials.get(number).copied().unwrap_or(0.0);
    let term = |k: usize| {
        let ways = factorial(n) - factorial(k) - factorial(n - k);
        (ways + k as f64 * chance.ln() + (n - k) as f64 * (1.0 - chance).ln()).exp()
    };
    (wanted..=n).map(term).sum::<f64>().min(1.0)
}

/// Cliff's delta: how much likelier a boot of the candidate is to be slower than one of the control than the other way round, from
/// -1 to 1 (Cliff, Dominance statistics, 1993). None without a value on each side.
pub fn cliffs_delta(control: &[i64], candidate: &[i64]) -> Option<f64> {
    let control = sorted(control);
    let pairs = control.len() * candidate.len();
    let count = |value: &i64| {
        let below = control.partition_point(|was| was < value);
        let above = control.len() - control.partition_point(|was| was <= value);
        below as f64 - above as f64
    };
    (pairs > 0).then(|| candidate.iter().map(count).sum::<f64>() / pairs as f64)
}

/// The word for a Cliff's delta (Romano and others, Appropriate statistics for ordinal level data, 2006).
pub fn effect(delta: f64) -> &'static str {
    match delta.abs() {
        size if size < 0.147 => "negligible",
        size if size < 0.33 => "small",
        size if size < 0.474 => "medium",
        _ => "large",
    }
}

/// How much later the last boot is than the first, by the median slope (Sen 1968), where the Mann-Kendall test finds a
/// trend over the order of the boots at 1 % (Mann 1945, Kendall 1975, with the correction for equal values); the test's
/// normal approximation holds from 10 values on.
pub fn drift(values: &[i64]) -> Option<i64> {
    let values = picked(values);
    let n = values.len();
    if n < 10 {
        return None;
    }
    let (mut score, mut slopes) = (0_i64, Vec::with_capacity(n * (n - 1) / 2));
    for (early, first) in values.iter().enumerate() {
        for (late, second) in values.iter().enumerate().skip(early + 1) {
            score += match second.cmp(first) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            };
            slopes.push((*second as f64 - *first as f64) / (late - early) as f64);
        }
    }
    let weight = |count: usize| (count * (count - 1) * (2 * count + 5)) as f64;
    let mut ties = 0.0;
    sorted(&values).chunk_by(|a, b| a == b).for_each(|equal| ties += weight(equal.len()));
    let variance = (weight(n) - ties) / 18.0;
    let z = (score.abs() - 1).max(0) as f64 / variance.sqrt();
    // Without variance all values are equal.
    if variance <= 0.0 || z < Z_OF_ONE_PERCENT {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let slope = slopes.get(slopes.len() / 2)?;
    Some((slope * (n - 1) as f64).round() as i64)
}

fn sorted(values: &[i64]) -> Vec<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Evenly picked values in their order, [`PAIRWISE_MAX`] at most.
fn picked(values: &[i64]) -> Vec<i64> {
    values.iter().step_by(values.len().div_ceil(PAIRWISE_MAX).max(1)).copied().collect()
}

/// Numbers that look random and are the same on every machine: SplitMix64 (Steele, Lea and Flood, Fast splittable
/// pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Generator(pub(crate) u64);

impl Generator {
    /// The next number, from 0 up to but not 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The 53 bits that a double holds.
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
