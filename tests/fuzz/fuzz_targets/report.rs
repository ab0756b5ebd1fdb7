//! Any bytes as measurements: refused as bad input, or reported in every form, compared with themselves and gated; never a
//! panic, and nothing of the file that could control a terminal or close an element.
#![no_main]

use imagegen::report::{self, csv, html, junit, trace};
use imagegen::{Kind, compare, gate, runs};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("runs.json");
    std::fs::write(&path, bytes).expect("write the measurements");
    let runs = match runs::read(&path) {
        Ok(runs) => runs,
        Err(error) => return assert_eq!(error.kind, Kind::BadInput, "{error}"),
    };
    let sets = [("a".to_owned(), runs.clone()), ("<b>".to_owned(), runs)];
    let controls = |text: &str| text.contains(|c: char| c.is_control() && c != '\n');
    assert!(!controls(&report::markdown(&sets)) && !controls(&html::report(&sets)) && !controls(&junit::report(&sets)));
    assert!(!html::report(&sets).contains("<b>") && !junit::report(&sets).contains("<b>"));
    serde_json::from_str::<serde_json::Value>(&trace::trace(&sets)).expect("JSON");
    assert!(csv::csv(&sets).ends_with("\r\n"));
    let [control, candidate] = &sets;
    let limits = gate::Limits { baseline: Some(control), ..gate::Limits::default() };
    match gate::run(candidate, &limits) {
        Ok(outcome) => assert!(outcome.verdict().is_ok(), "the same boots are no regression: {outcome:?}"),
        Err(error) => assert!(compare::compare(&control.1, &candidate.1).is_err(), "{error}"),
    }
});
