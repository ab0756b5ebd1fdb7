//! Timelines as SVG whose places are percentages and whose letters are not: they fit a phone as well as a sheet of paper.
//! Every bar has a line of its own with its name and time above it, so that no text can meet another.

use super::{Set, escaped, median_run};
use crate::compare::phase::{Kind, phases};
use crate::compare::plain;
use crate::runs::{Layer, Run, Runs, Zero, mark};
use std::fmt::Write;

/// Height of a row in pixels: a line of text, a bar, a gap.
const ROW: usize = 36;
/// Height of the axis below.
const AXIS: usize = 24;
/// Rows of one picture at most; the longest are kept.
const ROWS_MAX: usize = 30;
/// Letters of a name, so that its time fits beside it on a phone.
const LETTERS_MAX: usize = 30;
/// Height of the picture of all boots, without the text above and below.
const DOTS: i128 = 110;
/// Boots in that picture at most, of each set.
const DOTS_MAX: usize = 400;

/// A bar or, without a length, a place.
struct Bar {
    class: &'static str,
    name: String,
    /// None if nobody knows.
    start: Option<i64>,
    /// None for a mark.
    length: Option<u64>,
}

/// The boot in the middle: from power to the last mark, then each layer's own spans.
pub fn timelines(runs: &Runs) -> String {
    let Some(run) = median_run(runs) else { return String::new() };
    let zero = match runs.conditions.zero {
        Zero::Kernel => "the kernel's start",
        Zero::FirstByte => "the first byte",
    };
    let mut text =
        picture(&format!("One boot, the median by its last mark; 0 ms is {zero}"), &whole(run, runs.conditions.zero));
    let groups: [(&str, &[Layer]); 5] = [
        ("Firmware and bootloader", &[Layer::Firmware, Layer::Bootloader]),
        ("The kernel", &[Layer::Kernel, Layer::Initcall]),
        ("From \"Run /init\" to the next init", &[Layer::Step, Layer::Module]),
        ("The initrd", &[Layer::Initrd]),
        ("After the initrd", &[Layer::Userspace]),
    ];
    for (title, layers) in groups {
        let spans = run.spans.iter().filter(|span| layers.contains(&span.layer));
        let bars: Vec<Bar> = spans
            .map(|span| Bar {
                class: span.layer.name(),
                name: if span.layer == Layer::Module { span.title() } else { span.name.clone() },
                start: span.start_us,
                length: Some(span.duration_us),
            })
            .collect();
        text += &picture(title, &bars);
    }
    text
}

/// The large parts of a boot and its marks.
fn whole(run: &Run, zero: Zero) -> Vec<Bar> {
    let at = |name: &str| run.at(name);
    let first = run.marks.iter().map(|mark| mark.at_us).min().filter(|first| *first < 0);
    let kernel = (zero == Zero::Kernel).then_some(0);
    let last = run.marks.iter().filter(|mark| mark.at_us >= 0).map(|mark| mark.at_us).max();
    let (init, next) = (at(mark::RUN_INIT), at(mark::NEXT_INIT));
    let initrd_done = at(mark::INITRD_DONE);
    let parts = [
        (Layer::Bootloader, "firmware and bootloader", first, first.map(|_| 0)),
        (Layer::Kernel, "kernel", kernel, init),
        (Layer::Step, "initoverlayfs", init, next),
        (Layer::Initrd, "initrd", next, initrd_done),
        (Layer::Userspace, "next init", initrd_done.or(next), last),
    ];
    let bars = parts.into_iter().filter_map(|(layer, name, from, to)| {
        let length = u64::try_from(to?.checked_sub(from?)?).ok().filter(|length| *length > 0)?;
        Some(Bar { class: layer.name(), name: name.to_owned(), start: from, length: Some(length) })
    });
    let marks = run.marks.iter().map(|mark| Bar {
        class: "mark",
        name: mark.name.clone(),
        start: Some(mark.at_us),
        length: None,
    });
    bars.chain(marks).collect()
}

/// Bars in the order of their starts, with an axis.
fn picture(title: &str, bars: &[Bar]) -> String {
    let mut kept: Vec<&Bar> = bars.iter().collect();
    kept.sort_by_key(|bar| std::cmp::Reverse(bar.length.unwrap_or(u64::MAX)));
    kept.truncate(ROWS_MAX);
    kept.sort_by_key(|bar| (bar.length.is_none(), bar.start));
    let Some(low) = kept.iter().filter_map(|bar| bar.start).min() else { return durations(title, &kept) };
    let end = |bar: &&Bar| Some(bar.start?.saturating_add_unsigned(bar.length.unwrap_or(0)));
    let high = kept.iter().filter_map(end).max().unwrap_or(low);
    let scale = Scale { low, high };
    let height = kept.len() * ROW + AXIS;
    let mut text = format!("<h3>{}</h3>\n", escaped(title));
    if kept.len() < bars.len() {
        let _ = writeln!(text, "<p>The {} longest of {}.</p>", kept.len(), bars.len());
    }
    let _ = writeln!(text, "<svg height=\"{height}\" role=\"img\" aria-label=\"{}\">", escaped(title));
    for quarter in 0..=4 {
        scale.tick(&mut text, quarter, height - AXIS);
    }
    for (index, bar) in kept.iter().enumerate() {
        draw(&mut text, bar, index * ROW, &scale);
    }
    text + "</svg>\n"
}

/// Spans whose starts nobody knows: their lengths alone.
fn durations(title: &str, bars: &[&Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let from_zero: Vec<Bar> = bars
        .iter()
        .map(|bar| Bar { class: bar.class, name: bar.name.clone(), start: Some(0), length: bar.length })
        .collect();
    picture(&format!("{title}: durations, whose beginnings are not known"), &from_zero)
}

fn draw(text: &mut String, bar: &Bar, top: usize, scale: &Scale) {
    let time = match bar.length {
        Some(length) => crate::boot::console::milliseconds(length),
        None => format!("at {}", plain(bar.start.unwrap_or(0))),
    };
    let (baseline, upper) = (top + 14, top + 19);
    let _ = writeln!(
        text,
        "<text x=\"0\" y=\"{baseline}\">{}<title>{}</title></text><text class=\"us\" x=\"100%\" y=\"{baseline}\" text-anchor=\"end\">{time} ms</text>",
        escaped(&short(&bar.name)),
        escaped(&bar.name)
    );
    let Some(start) = bar.start else { return };
    let (class, from) = (bar.class, scale.percent(start));
    let _ = match bar.length {
        Some(length) => {
            let width = (scale.percent(start.saturating_add_unsigned(length)) - from).max(0.0);
            writeln!(
                text,
                "<rect class=\"{class}\" x=\"{from:.3}%\" y=\"{upper}\" width=\"{width:.3}%\" height=\"11\"/>"
            )
        }
        None => writeln!(text, "<circle class=\"{class}\" cx=\"{from:.3}%\" cy=\"{}\" r=\"4.5\"/>", upper + 6),
    };
}

/// A name without its middle, if it is long: many begin alike.
fn short(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LETTERS_MAX {
        return name.to_owned();
    }
    let half = LETTERS_MAX / 2;
    letters.iter().take(half - 1).chain(&['…']).chain(letters.iter().skip(letters.len() - half)).collect()
}

/// From microseconds to the width of the picture.
struct Scale {
    low: i64,
    high: i64,
}

impl Scale {
    fn percent(&self, at: i64) -> f64 {
        let width = (i128::from(self.high) - i128::from(self.low)).max(1);
        ((i128::from(at) - i128::from(self.low)) as f64 * 100.0 / width as f64).clamp(0.0, 100.0)
    }

    /// A line and its label at a quarter of the width.
    fn tick(&self, text: &mut String, quarter: i128, height: usize) {
        let width = i128::from(self.high) - i128::from(self.low);
        let at = i128::from(self.low) + width * quarter / 4;
        let at = plain(i64::try_from(at).unwrap_or(i64::MAX));
        let (x, anchor) =
            (quarter * 25, ["start", "middle", "end"][usize::from(quarter > 0) + usize::from(quarter > 3)]);
        // A phone has room for three labels.
        let odd = if quarter % 2 == 1 { " odd" } else { "" };
        let unit = if quarter == 4 { " ms" } else { "" };
        let _ = writeln!(
            text,
            "<line x1=\"{x}%\" x2=\"{x}%\" y1=\"0\" y2=\"{height}\"/><text class=\"axis us{odd}\" x=\"{x}%\" y=\"{}\" text-anchor=\"{anchor}\">{at}{unit}</text>",
            height + 16
        );
    }
}

/// The last mark that all sets have, of every boot in its order: groups and drifts are seen here before any test finds them.
pub fn dots(sets: &[Set]) -> String {
    let all: Vec<_> = sets.iter().map(|(title, runs)| (title, phases(runs))).collect();
    let Some((_, first)) = all.first() else { return String::new() };
    let in_all = |title: &str| all.iter().all(|(_, list)| list.iter().any(|phase| phase.title == title));
    let Some(last) = first.iter().rfind(|phase| phase.kind == Kind::Mark && in_all(&phase.title)) else {
        return String::new();
    };
    let of = |list: &'_ [crate::compare::phase::Phase]| {
        list.iter().find(|phase| phase.is(last)).map_or_else(Vec::new, |phase| phase.values.clone())
    };
    let values: Vec<(&String, Vec<i64>)> = all.iter().map(|(title, list)| (*title, of(list))).collect();
    // One boot has no order.
    if values.iter().all(|(_, values)| values.len() < 2) {
        return String::new();
    }
    let every = || values.iter().flat_map(|(_, values)| values).copied();
    let (Some(least), Some(most)) = (every().min(), every().max()) else { return String::new() };
    let heading = format!("Every boot in its order: {}", last.title);
    let mut text = format!(
        "<h2>{}</h2>\n<p>From {} to {} ms; each on the same scale.</p>\n",
        escaped(&heading),
        plain(least),
        plain(most)
    );
    for (title, values) in values {
        let _ = writeln!(
            text,
            "<h3>{}</h3>\n<svg height=\"{}\" role=\"img\" aria-label=\"{}\">",
            escaped(title),
            DOTS + 40,
            escaped(&heading)
        );
        for (y, value) in [(14, most), (DOTS + 38, least)] {
            let _ = writeln!(text, "<text class=\"axis us\" x=\"0\" y=\"{y}\">{} ms</text>", plain(value));
        }
        for y in [20, DOTS + 22] {
            let _ = writeln!(text, "<line x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>");
        }
        let step = values.len().div_ceil(DOTS_MAX).max(1);
        let range = (i128::from(most) - i128::from(least)).max(1);
        for (index, value) in values.iter().enumerate().step_by(step) {
            let x = (index as f64 + 0.5) * 100.0 / values.len() as f64;
            let y = 21 + (i128::from(most) - i128::from(*value)) * DOTS / range;
            let _ = writeln!(text, "<circle class=\"kernel\" cx=\"{x:.3}%\" cy=\"{y}\" r=\"4\"/>");
        }
        text += "</svg>\n";
    }
    text
}
