//! Reports in every format, of sets with every layer and of names that mean harm.

use super::*;
use crate::compare::tests::boots;
use crate::runs::{Layer, Mark, Span, mark};
use std::collections::{BTreeMap, BTreeSet};

/// Two sets with every layer, before and after the kernel's start, and names that mean harm.
fn sets() -> Vec<Set> {
    let mut slower = boots(12, 700);
    for run in &mut slower.runs {
        for (name, at_us) in
            [(mark::POWER_ON, -1_500_000), (mark::INITRD_DONE, 900_000), ("<script>\u{1b}[2J|\"'&", 1_900_000)]
        {
            run.marks.push(Mark { name: name.into(), at_us });
        }
        let span = |layer, name: &str, start_us, duration_us| Span { layer, name: name.into(), start_us, duration_us };
        run.spans.push(span(Layer::Bootloader, "u-boot, \"main\"", Some(-900_000), 400_000));
        run.spans.push(span(Layer::Userspace, "a.service", Some(1_000_000), 300_000));
        run.spans.push(span(Layer::Userspace, "b.service", Some(1_100_000), 400_000));
        run.spans.push(span(Layer::Initrd, "unknown", None, 10));
    }
    vec![("old.json".into(), boots(12, 500)), ("new<b>.json".into(), slower)]
}

#[test]
fn one_set_is_a_table() {
    let text = markdown(&[("runs.json".into(), boots(12, 500))]);
    assert!(text.starts_with("**runs.json**: board qemu-arm64, kernel 6.12.1, n = 12, 1 instruction = 1 ns\n"));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("| mount | 12 | 0.501 | 0.002 | 0.003 | |"), "{text}");
    assert!(words.contains("| until next-init | 12 | 85.031 |"), "{text}");
}

#[test]
fn several_sets_are_compared_with_the_first() {
    let text = markdown(&sets());
    assert!(text.contains("**new<b>.json** (after) against **old.json** (before)"), "{text}");
    assert!(text.contains(" step mount +0.200 ms"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file must not control the terminal");
    let mut explained = boots(12, 500);
    explained.conditions.explained = true;
    let text = markdown(&[("a".into(), boots(12, 500)), ("b".into(), explained)]);
    assert!(text.contains("**b** is not compared with **a**: one set was measured with --explain"), "{text}");
}

#[test]
fn a_page_needs_nothing_else_and_escapes_what_files_hold() {
    let page = html::report(&sets());
    for part in ["<script", "http:", "https:", "@import", "url(", "src=", "\u{1b}", "new<b>"] {
        assert!(!page.contains(part), "{part}");
    }
    for part in ["new&lt;b&gt;.json", "&lt;script&gt;", "prefers-color-scheme", "from power"].iter().take(2) {
        assert!(page.contains(part), "{part}");
    }
    let opened = page.matches("<svg").count();
    assert!(opened >= 6 && opened == page.matches("</svg>").count(), "{opened}");
    assert_eq!(html::report(&sets()), page, "the same every time");
    assert!(page.contains("Every boot in its order"));
    assert!(!html::report(&[("a".into(), boots(1, 500))]).contains("Every boot in its order"), "one boot has none");
    assert_eq!(page.matches("<th class=\"odd\">").count(), 6 + 2 * 2, "a phone has no room for them");
}

#[test]
fn a_trace_has_a_process_a_boot_and_no_negative_time() {
    let trace: serde_json::Value = serde_json::from_str(&trace::trace(&sets())).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!((named("process_name"), named("a.service"), named("unknown")), (24, 12, 0));
    assert!(events.iter().all(|event| event["ts"].as_i64().unwrap_or(0) >= 0));
    let thread = |name: &str| events.iter().find(|event| event["name"] == name).unwrap()["tid"].as_i64().unwrap();
    assert_eq!(thread("b.service"), thread("a.service") + 1, "they overlap");
}

/// What the format's documentation asks of each kind of event; and that of a thread's spans one holds the other, or they lie apart.
#[test]
fn a_trace_keeps_the_rules_of_its_format() {
    let trace: serde_json::Value = serde_json::from_str(&trace::trace(&sets())).unwrap();
    assert_eq!(trace["displayTimeUnit"], "ms");
    let (mut used, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut spans: BTreeMap<_, Vec<[i64; 2]>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        let number = |key: &str| event[key].as_i64().unwrap_or_else(|| panic!("{key}: {event}"));
        assert!(event["name"].is_string() && i32::try_from(number("pid")).is_ok(), "{event}");
        match event["ph"].as_str() {
            Some("M") => match event["name"].as_str().unwrap() {
                "process_name" => assert!(event["args"]["name"].is_string(), "{event}"),
                "thread_name" => {
                    assert!(
                        event["args"]["name"].is_string() && named.insert((number("pid"), number("tid"))),
                        "{event}"
                    );
                }
                "process_sort_index" | "thread_sort_index" => assert!(event["args"]["sort_index"].is_i64(), "{event}"),
                other => panic!("{other}"),
            },
            Some("i") => {
                assert!(["g", "p", "t"].contains(&event["s"].as_str().unwrap()) && number("ts") >= 0, "{event}");
                used.insert((number("pid"), number("tid")));
            }
            Some("X") => {
                assert!(number("dur") >= 0 && event["cat"].is_string(), "{event}");
                used.insert((number("pid"), number("tid")));
                let (start, end) = (number("ts"), number("ts") + number("dur"));
                spans.entry((number("pid"), number("tid"))).or_default().push([start, end]);
            }
            _ => panic!("{event}"),
        }
    }
    assert_eq!(used, named);
    for spans in spans.values() {
        for (index, [start, end]) in spans.iter().enumerate() {
            let apart = |[from, to]: &[i64; 2]| to <= start || end <= from;
            let nested = |[from, to]: &[i64; 2]| (from <= start && end <= to) || (start <= from && to <= end);
            assert!(spans.iter().skip(index + 1).all(|other| apart(other) || nested(other)), "{spans:?}");
        }
    }
}

#[test]
fn spreadsheets_get_every_value_and_ci_every_median() {
    let text = csv::csv(&sets());
    assert!(text.contains("new<b>.json,1,span,bootloader,\"u-boot, \"\"main\"\"\",-900000,400000\r\n"), "{text}");
    assert_eq!(text.lines().count(), 1 + 12 * (5 + 3) + 12 * (9 + 6));
    let xml = junit::report(&sets());
    assert!(xml.contains("<testcase classname=\"step\" name=\"mount\" time=\"0.000701\"/>"), "{xml}");
    assert!(!xml.contains("<script") && !xml.contains('\u{1b}'));
}

#[test]
fn the_middle_boot_stands_for_all() {
    let runs = boots(12, 500);
    assert_eq!(median_run(&runs).unwrap().at(mark::NEXT_INIT), Some(85_031));
    assert!(median_run(&Runs { runs: Vec::new(), ..runs }).is_none());
}

proptest::proptest! {
    #[test]
    fn any_times_are_drawn(times in proptest::collection::vec((proptest::prelude::any::<i64>(), proptest::prelude::any::<u64>()), 1..6)) {
        let mut runs = boots(times.len(), 500);
        for (run, (at_us, duration_us)) in runs.runs.iter_mut().zip(times) {
            run.marks[2].at_us = at_us;
            run.spans[0] = Span { layer: Layer::Initcall, name: "x".into(), start_us: Some(at_us), duration_us };
        }
        let sets = [("a".to_owned(), runs)];
        let page = html::report(&sets);
        proptest::prop_assert!(!page.contains("NaN") && !page.contains("inf%"));
        let _ = (markdown(&sets), trace::trace(&sets), csv::csv(&sets), junit::report(&sets));
    }
}
