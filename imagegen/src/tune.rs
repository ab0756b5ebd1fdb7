//! `imagegen tune`: builds a board's image in every way that changes how fast it boots, boots each in QEMU, and says which are worth
//! choosing from: no other is smaller, faster and leaves more memory at the same time.
//!
//! Nothing here builds or measures by itself: that is what `build`, `profile` and `measure` do.

mod show;

use crate::board::{Image, ImageCompression};
use crate::boot::Options;
use crate::measure::{self, Store, Watch, folder};
use crate::profile;
use crate::progress::Progress;
use crate::runs::{Runs, mark, median};
use crate::{Error, Result, atomic, build, erofs, manifest};
use serde::Serialize;
use std::path::{Path, PathBuf};

pub use show::{json, text};

/// Sizes of compressed clusters that are tried, in bytes: a page, what one request of an eMMC is worth, and the kernel's own window of
/// read-ahead.
const CLUSTERS: [u32; 3] = [4096, 16384, 65536];
/// Compressions that are tried, where the installed `mkfs.erofs` has them.
const COMPRESSIONS: [(&str, ImageCompression); 3] = [
    ("lz4", ImageCompression::Lz4),
    ("lz4hc", ImageCompression::Lz4hc(Some(12))),
    ("zstd", ImageCompression::Zstd(None)),
];
/// Times are equal below this part of them: what the emulator's clock scatters.
const SAME: f64 = 0.002;

/// What to tune.
#[derive(Clone, Debug)]
pub struct Request {
    /// What every image is built from; a profile in it is used as it is.
    pub build: build::Request,
    /// How to boot. The clock is that of instructions, whatever this says.
    pub options: Options,
    /// The line that ends a boot.
    pub watch: Watch,
    /// How many boots of each image.
    pub runs: u32,
}

/// A way to build the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// As a board file says it.
    pub compression: String,
    /// Bytes of a cluster, of a compressed image.
    pub cluster: Option<u32>,
    /// Whether it is built with a profile.
    pub profile: bool,
    /// Whether what that names stays uncompressed.
    pub leave_used: bool,
    /// What came of it, or why nothing.
    pub outcome: std::result::Result<Measured, String>,
    /// Whether no other point is at least as good in every respect, and better in one.
    pub is_best: bool,
}

/// Medians of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Bytes of the EROFS image.
    pub image_bytes: u64,
    /// Bytes of the mini-initramfs, which the bootloader reads.
    pub initramfs_bytes: u64,
    /// When the next init was started, in microseconds of the kernel's clock.
    pub next_init_us: u64,
    /// When the end was seen, if one was asked for.
    pub end_us: Option<u64>,
    /// Free RAM in KiB when the next init was started.
    pub free_ram_kib: Option<u64>,
}

impl Measured {
    /// What is to be early.
    const fn time_us(&self) -> u64 {
        match self.end_us {
            Some(end_us) => end_us,
            None => self.next_init_us,
        }
    }

    /// Whether it is at least as good in every respect, and better in one.
    fn beats(&self, other: &Measured) -> bool {
        let values = |of: &Measured| {
            let used = of.free_ram_kib.map_or(0, |free| u64::MAX - free);
            [of.image_bytes + of.initramfs_bytes, of.time_us(), used]
        };
        let pairs = || values(self).into_iter().zip(values(other));
        pairs().all(|(own, other)| own <= other) && pairs().any(|(own, other)| own < other)
    }
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Every point, in the order in which they were tried.
    pub points: Vec<Point>,
    /// Index of the point to choose: the smallest of those that are as early as the earliest.
    pub chosen: Option<usize>,
    /// Why no profile was tried, if none was.
    pub without_profile: Option<String>,
}

/// Builds and boots every point; `say` is told which is next.
///
/// # Errors
/// As `build` and `measure` for the uncompressed image without a profile. A point that does not build or boot is one of the outcome.
pub fn run(request: &Request, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let work = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let algorithms = erofs::Tool::probe()?.algorithms();
    let (mut points, mut profile, mut without_profile) = (Vec::new(), request.build.profile.clone(), None);
    let compressed = COMPRESSIONS.iter().filter(|(name, _)| algorithms.contains(name));
    let compressed = compressed.flat_map(|(_, compression)| CLUSTERS.map(|cluster| (*compression, Some(cluster))));
    for (compression, cluster) in std::iter::once((ImageCompression::None, None)).chain(compressed) {
        for (with, leave_used) in [(false, false), (true, false), (true, true)] {
            let used = if with { profile.as_deref() } else { None };
            if with && used.is_none() || leave_used && cluster.is_none() {
                continue;
            }
            say(&show::name(&compression.to_string(), cluster, with, leave_used));
            let image = Image { compression, cluster: cluster.unwrap_or(CLUSTERS[0]), leave_used };
            let outcome = match measure_one(request, image, used, work.path()) {
                // Everything is held against it, and what is wrong with board or kernel is wrong with all.
                Err(error) if points.is_empty() => return Err(error),
                outcome => outcome.map_err(|error| error.what),
            };
            if points.is_empty() && profile.is_none() {
                match record(request, work.path()) {
                    Ok(path) => profile = Some(path),
                    Err(why) => without_profile = Some(why),
                }
            }
            points.push(Point {
                compression: compression.to_string(),
                cluster,
                profile: with,
                leave_used,
                outcome,
                is_best: false,
            });
        }
    }
    let chosen = judge(&mut points);
    Ok(Outcome { points, chosen, without_profile })
}

/// Builds and boots one point.
fn measure_one(request: &Request, image: Image, profile: Option<&Path>, work: &Path) -> Result<Measured> {
    let out = work.join("out");
    let profile = profile.map(Path::to_owned);
    let build = build::Request { image: Some(image), profile, record: false, ..request.build.clone() };
    let manifest = build::run(&build, &out)?;
    let options = Options { deterministic: true, kernel: None, ..request.options.clone() };
    let mut stores = [Store::in_memory(folder::conditions(&out, &options)?)];
    let progress = Progress::counting("booting", request.runs.into());
    measure::folders(&[&out], &options, &request.watch, request.runs, &mut stores, &mut |done| progress.set(done))?;
    drop(progress);
    let [store] = stores;
    let bytes = |name| manifest.outputs.get(name).map_or(0, |output| output.bytes);
    medians(&store.into_runs(), bytes(manifest::EROFS), bytes(manifest::INITRAMFS), request.watch.end.is_some())
}

fn medians(runs: &Runs, image_bytes: u64, initramfs_bytes: u64, has_end: bool) -> Result<Measured> {
    let at = |name: &str| {
        let times = runs.runs.iter().filter_map(|run| u64::try_from(run.at(name)?).ok());
        median(&times.collect::<Vec<_>>())
    };
    let missing = || {
        let hint = "`quiet` and printk.time=0 hide what is measured: leave them out";
        Error::failed("no boot said when the next init or the end came", hint)
    };
    let free: Vec<u64> = runs.runs.iter().filter_map(|run| run.free_ram_kib).collect();
    let end_us = if has_end { Some(at(mark::END).ok_or_else(missing)?) } else { None };
    let next_init_us = at(mark::NEXT_INIT).ok_or_else(missing)?;
    Ok(Measured { image_bytes, initramfs_bytes, next_init_us, end_us, free_ram_kib: median(&free) })
}

/// Records a profile; says why where there is none.
fn record(request: &Request, work: &Path) -> std::result::Result<PathBuf, String> {
    if request.watch.end.is_none() {
        return Err("without --end nobody knows how long a boot is to be profiled".to_owned());
    }
    let path = work.join("profile");
    let options = Options { deterministic: false, kernel: None, ..request.options.clone() };
    let image = Image { compression: ImageCompression::None, cluster: CLUSTERS[0], leave_used: false };
    let build = build::Request { image: Some(image), record: true, ..request.build.clone() };
    let out = work.join("record");
    let recorded = build::run(&build, &out).and_then(|_| profile::record(&out, &options, &request.watch, 1));
    let written = recorded.and_then(|profile| profile.write(atomic::Output::at(&path)?));
    written.map(|()| path).map_err(|error| error.what)
}

/// Marks the points that no other beats; returns the one to choose.
fn judge(points: &mut [Point]) -> Option<usize> {
    let measured: Vec<Option<Measured>> = points.iter().map(|point| point.outcome.clone().ok()).collect();
    for (point, own) in points.iter_mut().zip(&measured) {
        let Some(own) = own else { continue };
        point.is_best = !measured.iter().flatten().any(|other| other.beats(own));
    }
    let earliest = measured.iter().flatten().map(Measured::time_us).min()?;
    let is_early = |measured: &Measured| measured.time_us() as f64 <= earliest as f64 * (1.0 + SAME);
    let early = measured.iter().enumerate().filter_map(|(index, measured)| Some((index, measured.as_ref()?)));
    let early = early.filter(|(_, measured)| is_early(measured));
    early.min_by_key(|(_, measured)| measured.image_bytes + measured.initramfs_bytes).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(image_bytes: u64, end_us: u64, free: u64) -> Point {
        let measured = Measured {
            image_bytes,
            initramfs_bytes: 0,
            next_init_us: 1,
            end_us: Some(end_us),
            free_ram_kib: Some(free),
        };
        Point {
            compression: "none".into(),
            cluster: None,
            profile: false,
            leave_used: false,
            outcome: Ok(measured),
            is_best: false,
        }
    }

    #[test]
    fn the_front_is_what_nothing_beats_and_the_choice_is_early_and_small() {
        let broken = Point { outcome: Err("no".into()), ..point(0, 0, 0) };
        let mut points = [
            broken,
            point(100, 1000, 5),
            point(50, 1001, 5),
            point(40, 3000, 5),
            point(100, 1000, 4),
            point(60, 1002, 9),
        ];
        let chosen = judge(&mut points);
        let best: Vec<bool> = points.iter().map(|point| point.is_best).collect();
        assert_eq!((best, chosen), (vec![false, true, true, true, false, true], Some(2)));
        assert_eq!(judge(&mut []), None);
    }

    #[test]
    fn what_is_shown_says_what_to_write_and_what_the_clock_cannot_tell() {
        let mut points = vec![point(8 << 20, 1_000_000, 1024), point(4 << 20, 1_000_900, 1024)];
        points[1].compression = "lz4hc,12".into();
        points[1].cluster = Some(16384);
        points[1].profile = true;
        points[1].leave_used = true;
        points.push(Point { outcome: Err("mount failed".into()), ..points[0].clone() });
        let chosen = judge(&mut points);
        let outcome = Outcome { points, chosen, without_profile: None };
        let text = text(&outcome);
        assert!(
            text.contains("[image]\ncompression = \"lz4hc,12\"\ncluster = \"16KiB\"\nleave-used = true\n"),
            "{text}"
        );
        assert!(
            text.contains("mount failed") && text.contains("--profile") && text.contains("answers at once"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&outcome).unwrap()).unwrap();
        assert!(json["chosen"] == 1 && json["points"][1]["outcome"]["Ok"]["end_us"] == 1_000_900, "{json}");
    }
}
