//! Repeated measurements of one thing.

/// At least one value.
#[derive(Clone, Debug)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes the values; they may be in any order.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Sample(values)
    }

    /// A value that is known, not measured: it does not vary.
    pub fn exact(value: f64) -> Self {
        Sample(vec![value])
    }

    /// How many.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The middle value; of an even number the lower of the two in the middle, so that it is one that was measured.
    pub fn median(&self) -> f64 {
        self.0.get(self.n().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// The largest value.
    pub fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// Largest less smallest value.
    pub fn range(&self) -> f64 {
        self.0.last().zip(self.0.first()).map_or(f64::NAN, |(last, first)| last - first)
    }

    /// The range as a part of the median; 0 where nothing varies.
    pub fn spread(&self) -> f64 {
        if self.range() == 0.0 { 0.0 } else { self.range() / self.median() }
    }

    /// Every value less `base`.
    pub fn above(&self, base: f64) -> Self {
        Sample(self.0.iter().map(|value| value - base).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_measured_values_and_spreads_are_parts_of_them() {
        let sample = Sample::new(vec![12.0, 8.0, 10.0, 11.0]);
        assert_eq!((sample.n(), sample.median(), sample.range(), sample.spread()), (4, 10.0, 4.0, 0.4));
        assert_eq!(sample.above(8.0).median(), 2.0);
        assert_eq!((Sample::exact(5.0).median(), Sample::exact(5.0).spread()), (5.0, 0.0));
    }
}
