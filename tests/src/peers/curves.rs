//! What a boot reads from its storage over time, as a picture: the best classic initramfs, the image as it is, and with a profile.

use super::figures::{Cell, round};
use super::machine::{Boot, Peer, STORAGES, Storage};
use super::picture;
use super::reads::{PAIRS, best_classic};
use super::system::MARKERS;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One boot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Curve {
    /// Whose.
    pub peer: String,
    /// From what.
    pub storage: String,
    /// What the bootloader loads beside the kernel, in MB.
    pub loaded_mb: f64,
    /// How long that takes at the storage's rate: computed.
    pub load_ms: f64,
    /// The marks, in milliseconds from the kernel's start.
    pub marks: Vec<(String, f64)>,
    /// Milliseconds from the kernel's start, and MB that were read from the storage since.
    pub points: Vec<[f64; 2]>,
}

/// As many steps of each axis are told apart.
const STEPS: f64 = 150.0;
/// Width and height of a panel's axes, and what lies around them.
const PANEL: [f64; 2] = [700.0, 230.0];
const MARGIN: [f64; 2] = [50.0, 62.0];
/// Height of the title and the legend.
const HEAD: f64 = 96.0;
/// As in the picture of the sweep (Okabe and Ito 2008): classic, plain, profiled, and compressed with a profile.
const COLORS: [&str; 4] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7"];
const DASHES: [&str; 4] = ["2 3", "", "7 3", "9 3 2 3"];
/// How the marks are drawn, and what they are called.
const SHAPES: [(&str, &str); 3] = [
    ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "PID 1"),
    ("M-4 -4h8v8h-8z", "initrd done"),
    ("M0 -5l5 9h-10z", "multi-user.target"),
];

impl Curve {
    /// That of a boot from a device of known speed; none from any other.
    pub fn of(peer: &Peer, storage: Storage, boot: &Boot) -> Option<Self> {
        let served = boot.served.as_ref()?;
        let mut mb = 0.0;
        let mut points = vec![[0.0, 0.0]];
        for read in &served.reads {
            mb += (read.bytes.end - read.bytes.start) as f64 / 1e6;
            points.push([kernel_ms(&boot.ties, read.at.as_secs_f64() * 1e3)?.max(0.0), mb]);
        }
        let marks = boot.marks.iter().map(|mark| (mark.name.clone(), round(mark.at_ms))).collect();
        Some(Curve {
            peer: peer.name.into(),
            storage: storage.name.into(),
            loaded_mb: round(peer.loaded as f64 / 1e6),
            load_ms: round(storage.load_ms(peer.loaded)),
            marks,
            points: thinned(&points),
        })
    }

    fn end_ms(&self) -> f64 {
        self.load_ms + self.marks.iter().map(|(_, at_ms)| *at_ms).fold(0.0, f64::max)
    }

    /// All that was read by a moment of the kernel's clock, the loading included.
    fn mb_at(&self, at_ms: f64) -> f64 {
        let before = self.points.iter().take_while(|[at, _]| *at <= at_ms).last();
        self.loaded_mb + before.map_or(0.0, |[_, mb]| *mb)
    }
}

/// The kernel's time of a moment of the device's clock: between two lines of the kernel's log on a straight line, in front of the first and
/// behind the last as fast as the device's.
fn kernel_ms(ties: &[(std::time::Duration, f64)], device_ms: f64) -> Option<f64> {
    let tie = |index: usize| ties.get(index).map(|(at, kernel)| (at.as_secs_f64() * 1e3, *kernel));
    let next = ties.partition_point(|(at, _)| at.as_secs_f64() * 1e3 <= device_ms);
    let before = next.checked_sub(1).and_then(tie);
    Some(match (before, tie(next)) {
        (Some((from, kernel)), Some((to, later))) => kernel + (later - kernel) * (device_ms - from) / (to - from),
        (Some((from, kernel)), None) => kernel + device_ms - from,
        (None, Some((to, kernel))) => kernel + device_ms - to,
        (None, None) => return None,
    })
}

/// The points that a picture can tell apart; the last one stays.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let Some(end) = points.last() else { return Vec::new() };
    let mut kept: Vec<[f64; 2]> = Vec::new();
    for point in points {
        let is_far = |axis: usize| kept.last().is_none_or(|last| point[axis] - last[axis] >= end[axis] / STEPS);
        if is_far(0) || is_far(1) || point == end {
            kept.push(point.map(round));
        }
    }
    kept
}

/// Of each peer of the picture the boot in the middle, on one storage.
pub fn choose(cells: &[Cell], storage: Storage, all: &[Peer], boots: &[Vec<Boot>]) -> Vec<Curve> {
    let last = MARKERS[MARKERS.len() - 1];
    let classic = best_classic(cells, storage.name, last).map(|cell| cell.peer.as_str());
    let [[plain, profiled], [_, compressed]] = PAIRS;
    let names = [classic.unwrap_or_default(), plain, profiled, compressed];
    let curve = |name: &str| {
        let (peer, boots) = all.iter().zip(boots).find(|(peer, _)| peer.name == name)?;
        let mut boots: Vec<_> = boots.iter().filter_map(|boot| Some((boot.mark(last)?.at_ms, boot))).collect();
        boots.sort_by(|one, other| one.0.total_cmp(&other.0));
        Curve::of(peer, storage, boots.get(boots.len().saturating_sub(1) / 2)?.1)
    };
    names.into_iter().filter_map(curve).collect()
}

/// Draws all; without any, a picture that says so.
pub fn draw(curves: &[Curve]) -> String {
    let storages: Vec<&str> = STORAGES
        .iter()
        .map(|storage| storage.name)
        .filter(|name| curves.iter().any(|curve| curve.storage == *name))
        .collect();
    let width = MARGIN[0] + PANEL[0] + 24.0;
    let height = HEAD + storages.len() as f64 * (PANEL[1] + MARGIN[1]);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>MB read from the storage over time: a classic initramfs, the image as it is, and with a profile</title>\n\
         <style>.t{{fill:#1f2328}}.q{{fill:#59636e}}.g{{stroke:#d1d9e0;fill:none}}.b{{fill:#fff}}.m{{stroke:#fff}}\
         @media (prefers-color-scheme:dark){{.t{{fill:#f0f6fc}}.q{{fill:#9198a1}}.g{{stroke:#3d444d}}.b{{fill:#0d1117}}.m{{stroke:#0d1117}}}}</style>\n\
         <rect class=\"b\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"t\" x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"bold\">MB read from the storage, by seconds</text>\n"
    );
    if storages.is_empty() {
        svg += "<text class=\"t\" x=\"12\" y=\"60\">not measured: run make bench-peers</text>\n</svg>\n";
        return svg;
    }
    svg += "<text class=\"q\" x=\"12\" y=\"37\">from the start of loading the initramfs (computed, at the storage's rate), then the kernel's clock; one boot each</text>\n";
    let names = names(curves);
    legend(&mut svg, &names);
    for (row, storage) in storages.into_iter().enumerate() {
        let here: Vec<&Curve> = curves.iter().filter(|curve| curve.storage == storage).collect();
        let _ = writeln!(
            svg,
            "<g transform=\"translate({:.0} {:.0})\">",
            MARGIN[0],
            HEAD + 22.0 + row as f64 * (PANEL[1] + MARGIN[1])
        );
        let _ = writeln!(svg, "<text class=\"t\" x=\"0\" y=\"-7\" font-weight=\"bold\">{storage}</text>");
        let scale = Scale::of(&here);
        frame(&mut svg, &scale);
        for curve in here {
            let index = names.iter().position(|name| *name == series(&curve.peer)).unwrap_or_default();
            line(&mut svg, &scale, index, curve);
        }
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

/// What stands for a peer in the legend: one word for all classic ones, whichever is the best.
fn series(peer: &str) -> &str {
    if peer.starts_with("classic") { "classic" } else { peer }
}

fn names(curves: &[Curve]) -> Vec<&str> {
    let mut names = Vec::new();
    for curve in curves {
        if !names.contains(&series(&curve.peer)) {
            names.push(series(&curve.peer));
        }
    }
    names
}

/// Both axes begin at 0.
struct Scale {
    seconds: f64,
    mb: f64,
}

impl Scale {
    fn of(curves: &[&Curve]) -> Self {
        let most = |value: &dyn Fn(&Curve) -> f64| curves.iter().map(|curve| value(curve)).fold(1e-3, f64::max);
        let read = |curve: &Curve| curve.mb_at(f64::INFINITY);
        Scale { seconds: most(&Curve::end_ms) / 1e3 * 1.02, mb: most(&read) * 1.06 }
    }

    fn x(&self, ms: f64) -> f64 {
        ms / 1e3 / self.seconds * PANEL[0]
    }

    fn y(&self, mb: f64) -> f64 {
        PANEL[1] - mb / self.mb * PANEL[1]
    }
}

/// Steps of 1, 2 or 5 that divide `most` into some six parts.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 6.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| most / step <= 6.5).unwrap_or(power * 10.0)
}

fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let step = step(most);
    (0..).map(move |index| f64::from(index) * step).take_while(move |value| *value <= most)
}

fn style(index: usize) -> String {
    picture::stroke(&COLORS, &DASHES, index)
}

fn legend(svg: &mut String, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        let (x, y) = (12 + index % 2 * 250, 58 + index / 2 * 19);
        let name = if *name == "classic" { "classic initramfs, the best" } else { name };
        picture::entry(svg, [x, y], &style(index), name);
    }
    for (index, (shape, name)) in SHAPES.iter().enumerate() {
        let (x, y) = (520 + index / 2 * 120, 58 + index % 2 * 19);
        let _ = writeln!(
            svg,
            "<path class=\"t\" transform=\"translate({x} {y})\" d=\"{shape}\"/><text class=\"t\" x=\"{}\" y=\"{}\">{name}</text>",
            x + 10,
            y + 4
        );
    }
}

fn frame(svg: &mut String, scale: &Scale) {
    picture::outline(svg, PANEL);
    for mb in ticks(scale.mb) {
        picture::row(svg, PANEL[0], scale.y(mb), round(mb));
    }
    for seconds in ticks(scale.seconds) {
        picture::below(svg, PANEL[1], scale.x(seconds * 1e3), round(seconds));
    }
    let _ = writeln!(
        svg,
        "<text class=\"q\" x=\"{}\" y=\"-7\" text-anchor=\"end\">up: MB; to the right: s</text>",
        PANEL[0]
    );
}

/// The ramp of the loading, then a step for each read, and the marks on it.
fn line(svg: &mut String, scale: &Scale, index: usize, curve: &Curve) {
    let mut path = format!("M{:.1} {:.1}", scale.x(0.0), scale.y(0.0));
    for [at_ms, mb] in curve.points.iter().filter(|[at_ms, _]| *at_ms + curve.load_ms <= curve.end_ms()) {
        let _ = write!(path, "L{:.1} {:.1}", scale.x(curve.load_ms + at_ms), scale.y(curve.loaded_mb + mb));
    }
    let end_ms = curve.end_ms() - curve.load_ms;
    let _ = write!(path, "L{:.1} {:.1}", scale.x(curve.end_ms()), scale.y(curve.mb_at(end_ms)));
    let _ = writeln!(svg, "<path d=\"{path}\" {}/>", style(index));
    for ((name, at_ms), (marker, (shape, _))) in
        curve.marks.iter().flat_map(|mark| MARKERS.iter().zip(SHAPES).map(move |shape| (mark, shape)))
    {
        if name == marker {
            let (x, y) = (scale.x(curve.load_ms + at_ms), scale.y(curve.mb_at(*at_ms)));
            let color = COLORS.get(index % COLORS.len()).unwrap_or(&"#000");
            let _ = writeln!(
                svg,
                "<path class=\"m\" transform=\"translate({x:.1} {y:.1})\" d=\"{shape}\" fill=\"{color}\"/>"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn curve(peer: &str, storage: &str, loaded_mb: f64, load_ms: f64) -> Curve {
        let marks = [("pid1", 30.0), ("initrd-done", 1700.0), ("multi-user", 4100.0)];
        Curve {
            peer: peer.into(),
            storage: storage.into(),
            loaded_mb,
            load_ms,
            marks: marks.map(|(name, at_ms)| (name.into(), at_ms)).to_vec(),
            points: vec![[0.0, 0.0], [20.0, 0.1], [1500.0, 17.0], [4000.0, 60.0], [4200.0, 61.0]],
        }
    }

    #[test]
    fn a_line_and_three_marks_each_and_one_place_in_the_legend_for_every_classic() {
        let curves = [
            curve("classic, lz4", "eMMC", 16.0, 64.0),
            curve("ours, partition", "eMMC", 0.0, 0.1),
            curve("classic, zstd", "SD card", 12.0, 605.0),
            curve("ours, partition", "SD card", 0.0, 1.6),
        ];
        let svg = draw(&curves);
        assert_eq!((svg.matches("stroke-width").count(), svg.matches("class=\"m\"").count()), (2 + 4, 12));
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.ends_with("</svg>\n"));
        assert_eq!(curves[2].mb_at(1500.0), 29.0);
        assert!(draw(&[]).contains("not measured"));
    }

    #[test]
    fn the_devices_clock_becomes_the_kernels() {
        let ties = [(100, 0.0), (200, 50.0), (400, 250.0)].map(|(at, kernel)| (Duration::from_millis(at), kernel));
        let at = [90.0, 100.0, 150.0, 300.0, 410.0].map(|ms| kernel_ms(&ties, ms).unwrap());
        assert_eq!(at, [-10.0, 0.0, 25.0, 150.0, 260.0]);
        assert_eq!(kernel_ms(&[], 1.0), None);
    }

    #[test]
    fn what_cannot_be_told_apart_is_left_out() {
        let points: Vec<[f64; 2]> = (0..10_000).map(|index| [f64::from(index), f64::from(index / 100)]).collect();
        let kept = thinned(&points);
        assert!(kept.len() > 90 && kept.len() < 400, "{}", kept.len());
        assert_eq!(kept.last(), points.last());
        assert!(thinned(&[]).is_empty());
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(4.4).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ticks(61.0).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }
}
