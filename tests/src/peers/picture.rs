//! The sweep as a picture: a panel for each storage and share of the content that is used, a line for each peer.

use super::figures::{Cell, best};
use super::machine::STORAGES;
use super::sweep::{axes, names, point};
use std::fmt::Write;

/// Width and height of a panel's axes, and what lies around them.
const PANEL: [f64; 2] = [218.0, 168.0];
const MARGIN: [f64; 2] = [50.0, 42.0];
/// Height of the title and the legend.
const HEAD: f64 = 92.0;
/// Lines that can be told apart, also by those who see no red or no green (Okabe and Ito 2008), and in print by their dashes.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES: [&str; 3] = ["", "7 3", "2 3"];

/// Draws it; without a sweep, a picture that says so.
pub fn draw(cells: &[Cell]) -> String {
    let [sizes, shares] = axes(cells);
    let width = MARGIN[0] * 0.4 + shares.len().max(2) as f64 * (PANEL[0] + MARGIN[0]);
    let of_storage = |name: &str| cells.iter().any(|cell| cell.marker == super::sweep::MARKER && cell.storage == name);
    let measured: Vec<_> = STORAGES.iter().filter(|storage| of_storage(storage.name)).collect();
    let height = HEAD + measured.len() as f64 * (PANEL[1] + MARGIN[1]) + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>From the kernel's start to the work's end, loading the initramfs included, by size of the content</title>\n\
         <style>.t{{fill:#1f2328}}.q{{fill:#59636e}}.g{{stroke:#d1d9e0;fill:none}}.b{{fill:#fff}}\
         @media (prefers-color-scheme:dark){{.t{{fill:#f0f6fc}}.q{{fill:#9198a1}}.g{{stroke:#3d444d}}.b{{fill:#0d1117}}}}</style>\n\
         <rect class=\"b\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"t\" x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"bold\">Seconds to the work's end, by MB of content</text>\n"
    );
    if sizes.len() < 2 {
        svg += "<text class=\"t\" x=\"12\" y=\"60\">not measured: run make bench-peers</text>\n</svg>\n";
        return svg;
    }
    svg += "<text class=\"q\" x=\"12\" y=\"37\">kernel start to work done; loading the initramfs at the storage's rate is computed and included</text>\n";
    let names = names(cells);
    legend(&mut svg, &names);
    for (row, storage) in measured.iter().enumerate() {
        let here: Vec<&Cell> =
            cells.iter().filter(|cell| sizes.contains(&cell.content_mb) && cell.storage == storage.name).collect();
        let worked: Vec<&Cell> = here.into_iter().filter(|cell| cell.marker == super::sweep::MARKER).collect();
        let scale = Scale::of(&sizes, &worked);
        for (column, share) in shares.iter().enumerate() {
            let place =
                [MARGIN[0] + column as f64 * (PANEL[0] + MARGIN[0]), HEAD + 18.0 + row as f64 * (PANEL[1] + MARGIN[1])];
            let _ = writeln!(svg, "<g transform=\"translate({:.0} {:.0})\">", place[0], place[1]);
            let _ = writeln!(svg, "<text class=\"t\" x=\"0\" y=\"-6\">{}, {share} % used</text>", storage.name);
            frame(&mut svg, &scale, &sizes);
            for (index, name) in names.iter().enumerate() {
                let at = |size: &f64| {
                    let cell = point(cells, storage.name, *size, *share).into_iter().find(|cell| cell.peer == *name)?;
                    Some([scale.x(*size), scale.y(cell.with_load_ms())])
                };
                line(&mut svg, index, &sizes.iter().filter_map(at).collect::<Vec<_>>());
            }
            first(&mut svg, cells, (storage.name, *share), &sizes);
            svg += "</g>\n";
        }
    }
    svg + "</svg>\n"
}

/// Both axes are logarithmic: each size is four times the one before.
struct Scale {
    sizes: [f64; 2],
    ms: [f64; 2],
}

impl Scale {
    fn of(sizes: &[f64], cells: &[&Cell]) -> Self {
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, 0.0_f64], |[least, most], value| [least.min(value), most.max(value)])
        };
        let [least, most] = ends(&mut cells.iter().map(|cell| cell.with_load_ms()));
        Scale { sizes: ends(&mut sizes.iter().copied()), ms: [least * 0.85, most * 1.15] }
    }

    fn x(&self, size: f64) -> f64 {
        6.0 + (size / self.sizes[0]).ln() / (self.sizes[1] / self.sizes[0]).ln() * (PANEL[0] - 12.0)
    }

    fn y(&self, ms: f64) -> f64 {
        PANEL[1] - (ms / self.ms[0]).ln() / (self.ms[1] / self.ms[0]).ln() * PANEL[1]
    }
}

fn style(index: usize) -> String {
    stroke(&COLORS, &DASHES, index)
}

/// Attributes of the line with this number.
pub fn stroke(colors: &[&str], dashes: &[&str], index: usize) -> String {
    let color = colors.get(index % colors.len()).unwrap_or(&"#000");
    let dash = dashes.get(index % dashes.len()).unwrap_or(&"");
    format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"")
}

/// A line in the legend, and what it stands for.
pub fn entry(svg: &mut String, [x, y]: [usize; 2], style: &str, name: &str) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x} {y}h30\" {style}/><text class=\"t\" x=\"{}\" y=\"{}\">{name}</text>",
        x + 36,
        y + 4
    );
}

/// The box of the axes.
pub fn outline(svg: &mut String, [width, height]: [f64; 2]) {
    let _ = writeln!(svg, "<rect class=\"g\" width=\"{width}\" height=\"{height}\"/>");
}

/// A line across, with its number.
pub fn row(svg: &mut String, width: f64, y: f64, number: f64) {
    let _ = writeln!(
        svg,
        "<path class=\"g\" d=\"M0 {y:.1}h{width}\"/><text class=\"q\" x=\"-5\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>",
        y + 4.0
    );
}

/// A number below the axes.
pub fn below(svg: &mut String, height: f64, x: f64, number: f64) {
    let y = height + 15.0;
    let _ = writeln!(svg, "<text class=\"q\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{number}</text>");
}

fn legend(svg: &mut String, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        let (x, y) = (12 + index % 3 * 255, 56 + index / 3 * 18);
        entry(svg, [x, y], &style(index), name);
    }
}

/// The axes with their numbers: seconds at 1, 3, 10 and so on, and the sizes.
fn frame(svg: &mut String, scale: &Scale, sizes: &[f64]) {
    outline(svg, PANEL);
    for ms in (0..6).flat_map(|power| [1.0, 3.0].map(|digit| digit * 10_f64.powi(power))) {
        if ms > scale.ms[0] && ms < scale.ms[1] {
            row(svg, PANEL[0], scale.y(ms), ms / 1e3);
        }
    }
    for size in sizes {
        below(svg, PANEL[1], scale.x(*size), *size);
    }
}

fn line(svg: &mut String, index: usize, points: &[[f64; 2]]) {
    let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1} {y:.1}")).collect();
    let _ = writeln!(svg, "<path d=\"M{}\" {}/>", path.join("L"), style(index));
}

/// Says in the panel at which sizes another than ours is first.
fn first(svg: &mut String, cells: &[Cell], (storage, share): (&str, f64), sizes: &[f64]) {
    let behind: Vec<String> = sizes
        .iter()
        .filter(|size| {
            best(&point(cells, storage, **size, share), |_| true, Cell::with_load_ms).is_some_and(|cell| !cell.ours)
        })
        .map(ToString::to_string)
        .collect();
    if !behind.is_empty() {
        let _ = writeln!(
            svg,
            "<text class=\"t\" x=\"6\" y=\"15\" font-weight=\"bold\">behind at {} MB</text>",
            behind.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::cell;
    use super::*;

    #[test]
    fn every_peer_has_a_line_in_every_panel_and_a_loss_is_said() {
        let mut cells = Vec::new();
        for storage in STORAGES {
            for (size, share) in [(8.0, 5.0), (32.0, 5.0), (8.0, 100.0), (32.0, 100.0)] {
                cells.push(cell("ours", storage.name, size, share, size * share));
                cells.push(cell("classic", storage.name, size, share, size * 20.0));
            }
        }
        let svg = draw(&cells);
        // Two lines in each of six panels, and the legend.
        assert_eq!(svg.matches("stroke-width").count(), 14);
        assert_eq!(svg.matches("behind at 8, 32 MB").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_measured_is_said() {
        assert!(draw(&[]).contains("not measured"));
    }
}
