//! Boots as a trace that Perfetto and Chrome open (Google, Trace Event Format, 2016): a process for each boot, a thread for
//! each layer, and further ones where spans of a layer overlap without one holding the other.

use super::{Set, printable};
use crate::runs::{Layer, Run, Span};
use serde_json::{Value, json};

/// The thread of the marks, above all others.
const MARKS: i64 = 1;
/// Threads of one layer at most; what overlaps more is drawn over each other.
const LANES: i64 = 100;

/// Every boot of every set. The viewers want no negative times, so the earliest moment of all boots is 0.
pub fn trace(sets: &[Set]) -> String {
    let runs =
        || sets.iter().flat_map(|(title, runs)| (1..).zip(&runs.runs).map(move |(boot, run)| (title, boot, run)));
    let starts = |(_, _, run): (&String, u32, &Run)| {
        let spans = run.spans.iter().filter_map(|span| span.start_us);
        spans.chain(run.marks.iter().map(|mark| mark.at_us)).min()
    };
    let zero = runs().filter_map(starts).min().unwrap_or(0).min(0);
    let mut events: Vec<Value> = Vec::new();
    for (process, (title, boot, run)) in (1..).zip(runs()) {
        let name = format!("{} boot {boot}", printable(title));
        events.push(json!({"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}));
        events.push(json!({"ph": "M", "pid": process, "name": "process_sort_index", "args": {"sort_index": process}}));
        add_spans(&mut events, run, process, zero);
        for mark in &run.marks {
            let ts = mark.at_us.saturating_sub(zero);
            let name = printable(&mark.name);
            events.push(json!({"ph": "i", "s": "t", "pid": process, "tid": MARKS, "ts": ts, "name": name}));
        }
        name_thread(&mut events, process, MARKS, "marks");
    }
    format!("{:#}\n", json!({"displayTimeUnit": "ms", "traceEvents": events}))
}

fn add_spans(events: &mut Vec<Value>, run: &Run, process: i64, zero: i64) {
    const LAYERS: [Layer; 8] = [
        Layer::Firmware,
        Layer::Bootloader,
        Layer::Kernel,
        Layer::Initcall,
        Layer::Step,
        Layer::Module,
        Layer::Initrd,
        Layer::Userspace,
    ];
    for (number, layer) in (1..).zip(LAYERS) {
        let of_layer = run.spans.iter().filter(|span| span.layer == layer);
        let mut spans: Vec<(i64, i64, &Span)> = of_layer
            .filter_map(|span| {
                let start = span.start_us?;
                Some((start, start.saturating_add_unsigned(span.duration_us), span))
            })
            .collect();
        // What holds others comes before them.
        spans.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
        // Of each lane the ends of the spans that are open.
        let mut lanes: Vec<Vec<i64>> = Vec::new();
        for (start, end, span) in spans {
            lanes.iter_mut().for_each(|open| open.retain(|other| *other > start));
            let fits = |open: &Vec<i64>| open.iter().all(|other| *other >= end);
            let lane = lanes.iter().position(fits).unwrap_or(lanes.len());
            match lanes.get_mut(lane) {
                Some(open) => open.push(end),
                None => lanes.push(vec![end]),
            }
            let thread = number * LANES + i64::try_from(lane).unwrap_or(LANES).min(LANES - 1);
            let (ts, dur) = (start.saturating_sub(zero), span.duration_us);
            let (name, layer) = (printable(&span.name), layer.name());
            events.push(
                json!({"ph": "X", "pid": process, "tid": thread, "ts": ts, "dur": dur, "name": name, "cat": layer}),
            );
        }
        for lane in 0..i64::try_from(lanes.len()).unwrap_or(LANES).min(LANES) {
            let thread = number * LANES + lane;
            name_thread(events, process, thread, layer.name());
        }
    }
}

fn name_thread(events: &mut Vec<Value>, process: i64, thread: i64, name: &str) {
    events.push(json!({"ph": "M", "pid": process, "tid": thread, "name": "thread_name", "args": {"name": name}}));
    let args = json!({"sort_index": thread});
    events.push(json!({"ph": "M", "pid": process, "tid": thread, "name": "thread_sort_index", "args": args}));
}
