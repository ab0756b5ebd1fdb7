//! Tables with a title: what the README takes over as it is.

use std::fmt;

/// A table under construction; a missing cell is empty.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its title and the heads of its columns.
    pub fn new(title: impl Into<String>, heads: &[&str]) -> Self {
        Table { title: title.into(), rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heads, rows) = self.rows.split_first().ok_or(fmt::Error)?;
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        write!(f, "**{}**\n\n{}", self.title, imagegen::table::table(&heads, rows))
    }
}

/// Milliseconds to the microsecond: what the kernel's log resolves.
pub fn ms(value: f64) -> String {
    format!("{value:.3}")
}

/// A part of a whole in percent.
pub fn percent(value: f64) -> String {
    format!("{:.2} %", value * 100.0)
}

/// Bytes in MB of 1,000,000.
pub fn mb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_stands_above() {
        let mut table = Table::new("Title, n = 5", &["what", "ms"]);
        table.row(["a step", "0.100"]);
        assert_eq!(
            table.to_string(),
            "**Title, n = 5**\n\n| what   |    ms |\n| ------ | ----: |\n| a step | 0.100 |\n"
        );
    }
}
