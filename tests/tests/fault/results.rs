//! The rows of `target/fault.json` and its page.

use crate::case::{Fault, On};
use imagegen::report::{escaped, html::page as page_of};
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

/// One table, in the style of imagegen's reports.
fn page(name: &str, rows: &[Row]) -> String {
    let bad = rows.iter().filter(|row| !row.ok).count();
    let mut body =
        "<div class=\"scroll\"><table>\n<tr><th>fault<th>kernel, source<th>expected<th>seen<th>ms\n".to_owned();
    for row in rows {
        let class = if row.ok { "" } else { " class=\"bad\"" };
        let Row { name, source, kernel, ms, .. } = row;
        let (expected, seen) = (escaped(&row.expected), escaped(&row.seen));
        body += &format!("<tr{class}><td>{name}<td>{kernel}, {source}<td>{expected}<td>{seen}<td>{ms}\n");
    }
    page_of(&format!("{name}: {} boots, {bad} not as expected", rows.len()), &(body + "</table></div>\n"))
}
