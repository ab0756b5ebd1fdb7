//! Tables that read as plain text on a terminal and are Markdown as they are.

use std::fmt::Write;

/// A table with a line for the header and one for each row. A column of numbers is aligned right; a missing cell is empty.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first));
    let header: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let columns: Vec<(usize, bool)> = (0..header.len())
        .map(|column| {
            let cells: Vec<String> = rows.iter().map(|row| cell(row, column)).collect();
            let width = cells.iter().chain(header.get(column)).map(|text| text.chars().count()).max().unwrap_or(0);
            // The narrowest mark of a right-aligned column is `-:`.
            (width.max(2), cells.iter().all(|text| is_number(text)))
        })
        .collect();
    let mut out = String::new();
    let mut line = |row: &[String]| {
        for (column, (width, right)) in columns.iter().enumerate() {
            let text = cell(row, column);
            // Writing to a String cannot fail.
            let _ = if *right { write!(out, "| {text:>width$} ") } else { write!(out, "| {text:<width$} ") };
        }
        out.push_str("|\n");
    };
    line(&header);
    let mark = |(width, right): &(usize, bool)| "-".repeat(width - usize::from(*right)) + if *right { ":" } else { "" };
    line(&columns.iter().map(mark).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_left_and_numbers_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["mount", "0.116", "same"]), row(["module overlay", "23.942", "-"])];
        assert_eq!(
            table(&["step", "ms", "verdict"], &rows),
            "| step           |     ms | verdict |\n\
             | -------------- | -----: | ------- |\n\
             | mount          |  0.116 | same    |\n\
             | module overlay | 23.942 | -       |\n"
        );
    }

    #[test]
    fn a_short_row_has_empty_cells() {
        assert_eq!(table(&["a", "b"], &[vec!["x".to_owned()]]), "| a  | b  |\n| -- | -- |\n| x  |    |\n");
    }
}
