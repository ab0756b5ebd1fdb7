//! The rows of `target/fault.json` and its page.

use crate::case::{Fault, On};
use serde::Serialize;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tests::Result;
use tests::boot::Outcome;
use tests::image::Place;
use tests::kernel::{Kernel, checkout};

/// One boot.
#[derive(Default, Serialize)]
pub struct Row {
    /// The fault.
    pub name: String,
    /// Where the image lay.
    pub source: &'static str,
    /// Name of the kernel.
    pub kernel: String,
    /// Its architecture.
    pub arch: String,
    /// What must be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Wall-clock time in milliseconds.
    pub ms: u64,
    /// Whether it was as expected.
    pub ok: bool,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// Boots a fault and notes what came of it. What could not be booted is a row too, and a failure.
pub fn run(fault: &Fault, kernel: Result<Kernel>, name: &str, place: Place) -> Result<()> {
    let start = Instant::now();
    let arch = kernel.as_ref().map(|kernel| kernel.arch.clone()).unwrap_or_default();
    let mut row =
        Row { name: fault.name.into(), source: place.name(), kernel: name.to_owned(), arch, ..Row::default() };
    let result = kernel.and_then(|kernel| boot(fault, On { kernel, place }, &mut row));
    row.ms = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    row.ok = result.is_ok();
    if let (true, Err(error)) = (row.seen.is_empty(), &result) {
        row.seen = format!("not run: {}", error.to_string().lines().next().unwrap_or_default());
    }
    note(row);
    result
}

/// Notes a boot.
pub fn note(row: Row) {
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

/// What bootstrap has said of a boot, in one line.
pub fn seen(outcome: &Outcome) -> String {
    let log = crate::case::said(outcome);
    let failures = log.failures.iter().map(|(step, cause, errno)| format!("{step} failed: {cause} (errno {errno})"));
    let policy = log.policy.iter().map(|policy| format!("policy {policy}"));
    let panic = log.panic.iter().map(|panic| format!("panic: {panic}"));
    let boots = log.next_init_ran().then(|| "boots".to_owned());
    let seen = failures.chain(policy).chain(panic).chain(boots).collect::<Vec<_>>().join("; ");
    if seen.is_empty() { format!("nothing of ours; {:?}", outcome.end) } else { seen }
}

fn boot(fault: &Fault, on: On, row: &mut Row) -> Result<()> {
    let mut scene = (fault.scene)(&on)?;
    row.expected = scene.expected.to_string();
    let outcome = scene.boot(&on.kernel)?;
    row.seen = seen(&outcome);
    scene.judge(&outcome)
}

/// Writes the rows to `target/NAME.json` and, as a page, `target/NAME.html`; each as a whole or not at all.
///
/// # Errors
/// If writing fails.
pub fn write(name: &str) -> Result<()> {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by(|a, b| (&a.name, &a.kernel, a.source).cmp(&(&b.name, &b.kernel, b.source)));
    let json = serde_json::to_string_pretty(&*rows)? + "\n";
    for (ending, text) in [("json", json), ("html", page(name, &rows))] {
        let folder = checkout().join("target");
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(folder.join(format!("{name}.{ending}")))?;
    }
    Ok(())
}

/// One table, readable in print, by light and in the dark, without scripts.
fn page(name: &str, rows: &[Row]) -> String {
    const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}\
        table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25em .6em;\
        border-bottom:1px solid #8884}td:nth-child(5){text-align:right}.bad{background:#f443}\
        :root{color-scheme:light dark}";
    let bad = rows.iter().filter(|row| !row.ok).count();
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n\
        <title>{name}</title><style>{STYLE}</style>\n<h1>{} boots, {bad} not as expected</h1>\n\
        <table><tr><th>fault<th>kernel, source<th>expected<th>seen<th>ms\n",
        rows.len()
    );
    for row in rows {
        let class = if row.ok { "" } else { " class=bad" };
        let Row { name, source, kernel, ms, .. } = row;
        let (expected, seen) = (escaped(&row.expected), escaped(&row.seen));
        page += &format!("<tr{class}><td>{name}<td>{kernel}, {source}<td>{expected}<td>{seen}<td>{ms}\n");
    }
    page + "</table></html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
