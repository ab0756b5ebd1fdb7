//! What each step of a boot took, by bootstrap's own lines.

use super::machine::{Boot, sample};
use super::sample::Sample;
use super::table::Table;

/// Medians and ranges in microseconds of each set of boots, a pair of columns each.
///
/// The rest of "Run /init" to the next init's first instruction, before the first step and behind the last line, is the
/// kernel's: it starts two programs.
pub fn table(title: &str, sets: &[(&str, &[Boot])]) -> Table {
    let heads = sets.iter().flat_map(|(head, _)| [*head, "range us"]);
    let mut table = Table::new(title, &std::iter::once("step").chain(heads).collect::<Vec<_>>());
    let mut names: Vec<&str> = Vec::new();
    for row in sets.iter().flat_map(|(_, boots)| *boots).flat_map(|boot| &boot.log.rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut add = |name: &str, value: &dyn Fn(&Boot) -> f64| {
        let cells = sets.iter().flat_map(|(_, boots)| cells(&sample(boots, value)));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    for name in names {
        add(name, &|boot| took_us(boot, |found| found == name));
    }
    add("the kernel's part: two execs", &|boot| boot.exec_ms() * 1e3 - took_us(boot, |_| true));
    add("\"Run /init\" to the next init", &|boot| boot.exec_ms() * 1e3);
    table
}

/// Microseconds that the steps of the names in question took together.
pub fn took_us(boot: &Boot, wanted: impl Fn(&str) -> bool) -> f64 {
    boot.log.rows.iter().filter(|row| wanted(&row.name)).map(|row| row.duration_us as f64).sum()
}

fn cells(sample: &Sample) -> [String; 2] {
    [sample.median(), sample.range()].map(|value| format!("{value:.0}"))
}
