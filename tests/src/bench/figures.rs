//! The figures the project is held against: printed with their targets, and written to one flat JSON file.

use super::sample::Sample;
use super::table::{Table, percent};
use crate::Result;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// Nearer to 1 than this.
    Within(f64),
    /// A figure that others are compared with.
    None,
}

impl Target {
    /// Whether `value` reaches it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtMost(limit) => value <= limit,
            Target::Below(limit) => value < limit,
            Target::Within(distance) => (value - 1.0).abs() <= distance,
            Target::None => true,
        }
    }

    fn cells(self, value: f64) -> [String; 2] {
        let met = if self.is_met(value) { "yes" } else { "NO" }.to_owned();
        match self {
            Target::AtMost(limit) => [format!("<= {limit}"), met],
            Target::Below(limit) => [format!("< {limit}"), met],
            Target::Within(distance) => [format!("1 +- {distance}"), met],
            Target::None => ["-".to_owned(), "-".to_owned()],
        }
    }
}

/// All figures measured so far.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, Sample, Target)>);

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, key: &str, sample: Sample, target: Target) {
        self.0.push((key.to_owned(), sample, target));
    }

    /// All as a table.
    pub fn table(&self, conditions: &str) -> Table {
        let mut table =
            Table::new(format!("Figures ({conditions})"), &["figure", "median", "n", "spread", "target", "met"]);
        for (key, sample, target) in &self.0 {
            let value = round(sample.median());
            let [wanted, met] = target.cells(value);
            table.row([key.clone(), value.to_string(), sample.n().to_string(), percent(sample.spread()), wanted, met]);
        }
        table
    }

    /// `KEY`, `KEY_n` and `KEY_spread` of every figure.
    pub fn json(&self) -> Value {
        let mut map = Map::new();
        for (key, sample, _) in &self.0 {
            map.insert(key.clone(), number(round(sample.median())));
            map.insert(format!("{key}_n"), sample.n().into());
            map.insert(format!("{key}_spread"), number(round(sample.spread())));
        }
        Value::Object(map)
    }

    /// Writes [`Figures::json`] to `path`, whole or not at all.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        writeln!(file, "{:#}", self.json())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

/// To four decimals.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Whole numbers without a decimal point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.add("exec_ms", Sample::new(vec![1.25, 1.5, 2.0]), Target::AtMost(1.5));
        figures.add("initramfs_bytes", Sample::exact(40961.0), Target::AtMost(40960.0));
        figures
    }

    #[test]
    fn the_file_is_flat_with_n_and_spread_beside_each_figure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        figures().write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"exec_ms":1.5,"exec_ms_n":3,"exec_ms_spread":0.5,"initramfs_bytes":40961,"initramfs_bytes_n":1,"initramfs_bytes_spread":0}"#;
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn the_table_says_what_is_met() {
        // One space between words: how wide a column is depends on its heading.
        let text = figures().table("n >= 5").to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("exec_ms | 1.5 | 3 | 50.00 % | <= 1.5 | yes"), "{text}");
        assert!(text.contains("initramfs_bytes | 40961 | 1 | 0.00 % | <= 40960 | NO"), "{text}");
    }

    #[test]
    fn targets_have_edges() {
        assert!(Target::AtMost(1.3).is_met(1.3) && !Target::AtMost(1.3).is_met(1.3001));
        assert!(Target::Below(5.0).is_met(4.999) && !Target::Below(5.0).is_met(5.0));
        assert!(Target::Within(0.01).is_met(0.9901) && !Target::Within(0.01).is_met(1.0101));
        assert!(!Target::AtMost(1.0).is_met(f64::NAN));
    }
}
