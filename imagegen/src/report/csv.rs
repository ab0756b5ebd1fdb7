//! Every mark and span of every boot as comma-separated values (RFC 4180): for spreadsheets and R.

use super::Set;
use crate::runs::Layer;

/// A line for each mark and span; times in microseconds on the axis of the boot.
pub fn csv(sets: &[Set]) -> String {
    let mut text = String::from("set,boot,kind,layer,name,start_us,duration_us\r\n");
    for (title, runs) in sets {
        for (boot, run) in (1..).zip(&runs.runs) {
            let mut line = |kind: &str, layer: &str, name: &str, start: Option<i64>, duration: Option<u64>| {
                let start = start.map_or_else(String::new, |us| us.to_string());
                let duration = duration.map_or_else(String::new, |us| us.to_string());
                text += &format!("{},{boot},{kind},{layer},{},{start},{duration}\r\n", field(title), field(name));
            };
            for span in &run.spans {
                line("span", Layer::name(span.layer), &span.name, span.start_us, Some(span.duration_us));
            }
            for mark in &run.marks {
                line("mark", "", &mark.name, Some(mark.at_us), None);
            }
        }
    }
    text
}

/// A field; in quotes where it must be.
fn field(text: &str) -> String {
    let special = |c: char| matches!(c, ',' | '"' | '\r' | '\n');
    if text.contains(special) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
