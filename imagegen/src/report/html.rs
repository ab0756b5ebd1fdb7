//! A page that needs nothing else: no script, no font, no network; readable by light, in the dark, in print and on a phone.

use super::{HEADS, Set, cells, comparisons, conditions, escaped, svg};
use crate::compare;
use crate::runs::Runs;
use std::fmt::Write;

/// Colours are Okabe and Ito's (2008), which people who see fewer of them can tell apart; each bar has its name beside it.
const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:CanvasText;background:Canvas}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}h3{font-size:1em;margin:1.5em 0 .3em}h1,h2,h3,p{overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.25em .6em;border-bottom:1px solid #8886}
.n td:not(:first-child):not(:last-child),.n th:not(:first-child):not(:last-child){text-align:right;white-space:nowrap;\
font-variant-numeric:tabular-nums}
.n td:first-child{white-space:nowrap}.bad,.slower{background:#d55e0033}.faster{background:#009e7333}
.say{font-size:1.1em;font-weight:600}svg{display:block;width:100%;overflow:visible;margin:.5em 0}
svg text{font:13px system-ui,sans-serif;fill:currentColor;stroke:Canvas;stroke-width:3px;paint-order:stroke}svg .axis{font-size:12px}svg .us{font-variant-numeric:tabular-nums}
svg rect{stroke:currentColor;stroke-width:.6}svg line{stroke:currentColor;stroke-opacity:.35}svg circle{stroke:currentColor;stroke-width:.6}
.firmware{fill:#999}.bootloader{fill:#cc79a7}.kernel{fill:#0072b2}.initcall{fill:#56b4e9}.step{fill:#d55e00}.module{fill:#e69f00}\
.initrd{fill:#009e73}.userspace{fill:#f0e442}.mark{fill:currentColor}
.narrow{display:none}
@media(max-width:40em){.odd{display:none}.narrow{display:block}body{margin:1em auto;padding:0 .7em}td,th{padding:.25em .2em;font-size:12px}.n td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:6.5em}}
@media print{body{max-width:none;margin:0;font-size:11px}svg,tr{break-inside:avoid}h2,h3,h2+p,h3+p{break-after:avoid}\
td,th{padding:.15em .4em}.scroll{overflow:visible}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
";

/// A page with a title, which is escaped here, around a body that is HTML already.
pub fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n<h1>{title}</h1>\n{body}</html>\n"
    )
}

/// Columns that a phone has no room for: how sure the others are.
const NOT_ON_A_PHONE: [&str; 6] = ["n", "IQR", "IQR ms", "from", "to", "effect"];

/// A table; cells are escaped here. Each row with the class that marks it; numbers stand between the first and last column.
pub fn table(heads: &[&str], rows: &[(&str, Vec<String>)]) -> String {
    let attribute = |class: &str| if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let line = |class: &str, tag: &str, cells: &[String]| {
        let class = attribute(class);
        let cell = |(index, cell): (usize, &String)| {
            let is_odd = heads.get(index).is_some_and(|head| NOT_ON_A_PHONE.contains(head));
            format!("<{tag}{}>{}</{tag}>", attribute(if is_odd { "odd" } else { "" }), escaped(cell))
        };
        let cells: String = cells.iter().enumerate().map(cell).collect();
        format!("<tr{class}>{cells}</tr>\n")
    };
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let body: String = rows.iter().map(|(class, cells)| line(class, "td", cells)).collect();
    let hidden: Vec<&str> = NOT_ON_A_PHONE.into_iter().filter(|head| heads.iter().any(|known| known == head)).collect();
    let note = match hidden.is_empty() {
        true => String::new(),
        false => format!("<p class=\"narrow\">On a wider screen: {}.</p>\n", hidden.join(", ")),
    };
    format!("<div class=\"scroll\"><table class=\"n\">\n{}{body}</table></div>\n{note}", line("", "th", &heads))
}

/// The page of a report.
pub fn report(sets: &[Set]) -> String {
    let mut body = String::new();
    for (control, candidate, result) in comparisons(sets) {
        body += &match result {
            Ok(comparison) => compared(&comparison, control, &candidate),
            Err(error) => {
                let (candidate, control, why) = (escaped(&candidate), escaped(control), escaped(&error.what));
                format!("<p class=\"say\">{candidate} is not compared with {control}: {why}.</p>\n")
            }
        };
    }
    body += &svg::dots(sets);
    for (title, runs) in sets {
        let _ = write!(body, "<h2>{}</h2>\n<p>{}</p>\n", escaped(title), escaped(&conditions(runs)));
        body += &svg::timelines(runs);
        let rows: Vec<(&str, Vec<String>)> = cells(runs, |_| true).into_iter().map(|cells| ("", cells)).collect();
        body += "<h3>All boots</h3>\n";
        body += &table(&HEADS, &rows);
        body += &all_conditions(runs);
    }
    let board = sets.first().map_or("no board", |(_, runs)| &runs.conditions.board);
    page(&format!("Boot of {board}"), &body)
}

fn compared(comparison: &compare::Comparison, control: &str, candidate: &str) -> String {
    let (before, after) = (escaped(control), escaped(candidate));
    let mut text = format!("<h2>{after} (after) against {before} (before)</h2>\n");
    let _ = writeln!(text, "<p class=\"say\">{}</p>", escaped(&comparison.sentence(control, candidate)));
    for difference in &comparison.conditions {
        let _ = writeln!(text, "<p>{}</p>", escaped(difference));
    }
    let class = |row: &compare::Row| match row.change.map(|change| change.verdict) {
        Some(compare::Verdict::Slower) => "slower",
        Some(compare::Verdict::Faster) => "faster",
        _ => "",
    };
    let rows: Vec<(&str, Vec<String>)> = comparison.rows.iter().map(|row| (class(row), row.cells())).collect();
    text += &table(&compare::HEADS, &rows);
    let legend = compare::LEGEND.replace("\n  ", " ");
    legend.lines().for_each(|line| {
        let _ = writeln!(text, "<p>{}</p>", escaped(line.trim_start_matches("- ")));
    });
    text
}

fn all_conditions(runs: &Runs) -> String {
    let conditions = &runs.conditions;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let rows = [
        ("board", conditions.board.clone()),
        ("measured", conditions.place.clone()),
        ("kernel", conditions.kernel.clone()),
        ("clock", compare::clock(conditions.clock).to_owned()),
        ("explained", if conditions.explained { "yes: never compare with others" } else { "no" }.to_owned()),
        ("content, SHA-256", known(&conditions.input_sha256)),
        ("image, SHA-256", known(&conditions.image_sha256)),
        ("command line", known(&conditions.command_line)),
    ];
    let row = |(what, value): (&str, String)| {
        format!("<tr><td>{what}</td><td style=\"overflow-wrap:anywhere\">{}</td></tr>\n", escaped(&value))
    };
    format!("<h3>Conditions</h3>\n<table>\n{}</table>\n", rows.map(row).concat())
}
