//! What each step of a boot took, by bootstrap's own lines.

use super::machine::{Boot, sample};
use super::sample::Sample;
use super::table::Table;

/// Medians and ranges in microseconds of each set of boots, a pair of columns each. What is left of the way to the next
/// init's first instruction, before the first step and behind the last, is the kernel's.
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
    add("the kernel starts bootstrap", &before_us);
    for name in names {
        add(name, &|boot| took_us(boot, |found| found == name));
    }
    let rest_us = |boot: &Boot| boot.exec_ms() * 1e3 - took_us(boot, |_| true) - before_us(boot);
    add("the kernel starts the next init", &rest_us);
    add("\"Run /init\" to the next init", &|boot| boot.exec_ms() * 1e3);
    table
}

/// Microseconds from "Run /init" to the start of the first step.
fn before_us(boot: &Boot) -> f64 {
    let first = boot.log.rows.first().and_then(|row| row.ended_us?.checked_sub(row.duration_us));
    first.zip(boot.log.run_init_us).map_or(f64::NAN, |(start, base)| start as f64 - base as f64)
}

/// Microseconds that the steps of the names in question took together.
pub fn took_us(boot: &Boot, wanted: impl Fn(&str) -> bool) -> f64 {
    boot.log.rows.iter().filter(|row| wanted(&row.name)).map(|row| row.duration_us as f64).fold(0.0, |sum, us| sum + us)
}

fn cells(sample: &Sample) -> [String; 2] {
    [sample.median(), sample.range()].map(|value| format!("{value:.0}"))
}
