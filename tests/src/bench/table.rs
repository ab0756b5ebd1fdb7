//! Plain aligned text: what the README takes over as it is.

use std::fmt;

/// A table under construction: the first column is text, all others are right-aligned; a missing cell is empty.
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
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        writeln!(f, "{}\n", self.title)?;
        for row in &self.rows {
            let mut line = String::from("    ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
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
    fn columns_are_aligned() {
        let mut table = Table::new("Title, n = 5", &["what", "ms"]);
        table.row(["a step", "0.100"]);
        table.row(["b", "12.000"]);
        assert_eq!(table.to_string(), "Title, n = 5\n\n    what        ms\n    a step   0.100\n    b       12.000\n");
    }
}
