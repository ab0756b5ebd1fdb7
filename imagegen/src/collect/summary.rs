//! What `imagegen collect` prints: each phase as it was beside what `systemd-analyze` calls it, and why they differ.

use super::systemd::Analyzed;
use super::timeline::{Timeline, UNDIVIDED};
use crate::boot::console::milliseconds;
use crate::compare::plain;
use crate::runs::{Layer, mark};
use crate::table::table;
use std::fmt::Write;

/// Why a phase differs from what `systemd-analyze` says, each where it applies.
const NO_FIRMWARE: &str =
    "systemd-analyze knows firmware and bootloader only from EFI's variables, which this boot does not have.";
const BLIND: &str =
    "No log shows what the kernel does before its clock starts; systemd-analyze begins counting after it.";
const COUNTED: &str = "systemd-analyze calls all until its own start kernel, bootstrap included.";
const CLOCKS: &str = "systemd's clock is CLOCK_MONOTONIC, which does not start with the kernel log's.";

/// The summary: a table of phases, the marks in their order, and what is missing.
pub fn text(timeline: &Timeline) -> String {
    let analyzed = timeline.systemd.map(|systemd| systemd.analyzed());
    let mut out = phases(timeline, analyzed);
    for reason in reasons(timeline, analyzed) {
        let _ = writeln!(out, "- {reason}");
    }
    let mut marks: Vec<_> = timeline.run.marks.iter().collect();
    marks.sort_by_key(|mark| mark.at_us);
    let rows: Vec<Vec<String>> = marks.iter().map(|mark| vec![mark.name.clone(), plain(mark.at_us)]).collect();
    if !rows.is_empty() {
        out.push('\n');
        out += &table(&["mark", "ms of the kernel log's clock"], &rows);
    }
    for (index, note) in timeline.notes.iter().enumerate() {
        let _ = writeln!(out, "{}- missing: {note}", if index == 0 { "\n" } else { "" });
    }
    out
}

/// A row a phase; a phase of which nothing is known has none.
fn phases(timeline: &Timeline, analyzed: Option<Analyzed>) -> String {
    let run = &timeline.run;
    let start = timeline.systemd.map(|systemd| timeline.on_axis(systemd.start_us()));
    let since = |from: i64, to: Option<i64>| to.and_then(|to| u64::try_from(to.checked_sub(from)?).ok());
    let at = |name: &str| run.at(name);
    let after = |from: &str, to: Option<i64>| since(at(from)?, to);
    let layer = |wanted: Layer| {
        let mut spans = run.spans.iter().filter(|span| span.layer == wanted && span.start_us.is_some()).peekable();
        spans.peek()?;
        Some(spans.fold(0, |sum: u64, span| sum.saturating_add(span.duration_us)))
    };
    let before =
        run.spans.iter().find(|span| span.layer == Layer::Kernel && span.start_us.is_some_and(|start| start < 0));
    let done = at(mark::INITRD_DONE);
    let content = if at(mark::NEXT_INIT).is_some() { mark::NEXT_INIT } else { mark::RUN_INIT };
    let total = at(mark::FINISHED).and_then(|end| since(timeline.counter_us.unwrap_or(0), Some(end)));
    let divided = !run.spans.iter().any(|span| span.layer == Layer::Firmware && span.name == UNDIVIDED);
    let rows = [
        (
            if divided { "firmware" } else { "until the kernel's clock" },
            layer(Layer::Firmware),
            analyzed.and_then(|said| said.firmware_us),
        ),
        ("bootloader", layer(Layer::Bootloader), analyzed.and_then(|said| said.loader_us)),
        ("kernel, before its clock", before.map(|span| span.duration_us), None),
        ("kernel, until /init", since(0, at(mark::RUN_INIT)), analyzed.map(|said| said.kernel_us)),
        ("bootstrap", after(mark::RUN_INIT, at(mark::NEXT_INIT)), None),
        ("until systemd runs", after(content, start), None),
        ("initrd", start.and_then(|start| since(start, done)), analyzed.and_then(|said| said.initrd_us)),
        (
            "userspace",
            done.or(start).and_then(|from| since(from, at(mark::FINISHED))),
            analyzed.and_then(|said| said.userspace_us),
        ),
        ("all", total, analyzed.and_then(|said| said.total_us)),
    ];
    let cell = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), milliseconds);
    let known = rows.iter().filter(|(_, here, said)| here.or(*said).is_some());
    let rows: Vec<Vec<String>> =
        known.map(|(name, here, said)| vec![(*name).to_owned(), cell(*here), cell(*said)]).collect();
    table(&["phase", "ms", "systemd-analyze says ms"], &rows)
}

/// Why the two columns differ.
fn reasons(timeline: &Timeline, analyzed: Option<Analyzed>) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(zero) = timeline.counter_us {
        list.push(format!("The counter started {} ms before the kernel log's clock.", plain(zero.saturating_neg())));
    }
    let Some(said) = analyzed else { return list };
    if said.firmware_us.is_none() {
        list.push(NO_FIRMWARE.to_owned());
    }
    if timeline.counter_us.is_some() {
        list.push(BLIND.to_owned());
    }
    if timeline.run.at(mark::NEXT_INIT).is_some() {
        list.push(COUNTED.to_owned());
    }
    if let Some(apart) = timeline.monotonic_us.filter(|apart| *apart != 0) {
        let when = if apart > 0 { "after" } else { "before" };
        list.push(format!("{CLOCKS} Here it started {} ms {when} it.", milliseconds(apart.unsigned_abs())));
    }
    list
}
