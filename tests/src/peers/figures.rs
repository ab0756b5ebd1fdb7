//! What was measured, one cell a peer, storage, content and mark: `target/peers.json`, and what is said of it in words.

use super::machine::{Boot, Peer, STORAGES, Storage, sample};
use crate::Result;
use crate::bench::sample::Sample;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// One measured value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cell {
    /// Who.
    pub peer: String,
    /// Whether it is one of ours.
    pub ours: bool,
    /// Whether it is a limit, not a way to boot the content.
    pub limit: bool,
    /// From what: a name of [`STORAGES`].
    pub storage: String,
    /// Content in MB of 1,000,000 bytes.
    pub content_mb: f64,
    /// The part of it that is read.
    pub used_percent: f64,
    /// Which moment of the boot.
    pub marker: String,
    /// Boots.
    pub n: usize,
    /// From the kernel's start, in milliseconds of the kernel's clock.
    pub median_ms: f64,
    /// The fastest boot.
    pub low_ms: f64,
    /// The slowest boot.
    pub high_ms: f64,
    /// Memory in use that cannot be reclaimed, with what the kernel never has, in MB.
    pub ram_mb: f64,
    /// Memory that is not free: with the page cache, in MB.
    pub not_free_mb: f64,
    /// What a bootloader loads beside the kernel, in MB.
    pub loaded_mb: f64,
    /// How long that takes at the storage's rate: computed. Not in the other values.
    pub load_ms: f64,
    /// What was read of the image until the boot's end, in MB; of a partition of known speed only.
    pub read_mb: Option<f64>,
    /// What of it is used until then, in MB of whole pages.
    pub used_mb: Option<f64>,
    /// Processors.
    pub cpus: u32,
}

/// What boots of one peer have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// From what.
    pub storage: Storage,
    /// Content in MB.
    pub content_mb: f64,
    /// The part of it that is read.
    pub used_percent: f64,
    /// That part in MB of whole pages, if it was recorded.
    pub used_mb: Option<f64>,
    /// What QEMU works for an instruction, in nanoseconds.
    pub per_instruction: f64,
}

impl Cell {
    /// The value of a mark; none if the boots do not have it.
    pub fn new(peer: &Peer, setting: Setting, boots: &[Boot], marker: &str) -> Option<Self> {
        let at = sample(boots, marker, |mark| mark.at_ms)?;
        let mb = |bytes: f64| round((bytes + peer.outside as f64) / 1e6);
        let low_ms = boots.iter().filter_map(|boot| boot.mark(marker)).map(|mark| mark.at_ms).fold(f64::NAN, f64::min);
        Some(Cell {
            peer: peer.name.into(),
            ours: peer.ours,
            limit: peer.machine.initrd.is_none(),
            storage: setting.storage.name.into(),
            content_mb: round(setting.content_mb),
            used_percent: round(setting.used_percent),
            marker: marker.into(),
            n: at.n(),
            median_ms: round(at.median()),
            low_ms: round(low_ms),
            high_ms: round(low_ms + at.range()),
            ram_mb: mb(sample(boots, marker, |mark| mark.used as f64)?.median()),
            not_free_mb: mb(sample(boots, marker, |mark| mark.not_free as f64)?.median()),
            loaded_mb: round(peer.loaded as f64 / 1e6),
            load_ms: round(setting.storage.load_ms(peer.loaded)),
            read_mb: read_mb(peer, boots),
            used_mb: setting.used_mb.filter(|_| peer.image.is_some()).map(round),
            cpus: peer.machine.cpus,
        })
    }

    /// With the time that the bootloader needs to load the initramfs.
    pub fn with_load_ms(&self) -> f64 {
        self.median_ms + self.load_ms
    }
}

/// What was read of the image of `peer`, the median of its boots.
fn read_mb(peer: &Peer, boots: &[Boot]) -> Option<f64> {
    let image = peer.image.as_ref()?;
    let read = |boot: &Boot| Some(boot.served.as_ref()?.read_in(image, usize::MAX) as f64 / 1e6);
    let read = boots.iter().map(read).collect::<Option<Vec<f64>>>()?;
    (!read.is_empty()).then(|| round(Sample::new(read).median()))
}

/// To the microsecond, or the kilobyte.
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The cells of one storage and mark.
pub fn of<'c>(cells: &'c [Cell], storage: &str, marker: &str) -> Vec<&'c Cell> {
    cells.iter().filter(|cell| cell.storage == storage && cell.marker == marker).collect()
}

/// The least value among those that are wanted.
pub fn best<'c>(cells: &[&'c Cell], wanted: impl Fn(&Cell) -> bool, value: impl Fn(&Cell) -> f64) -> Option<&'c Cell> {
    cells.iter().copied().filter(|cell| wanted(cell)).min_by(|one, other| value(one).total_cmp(&value(other)))
}

/// For each storage and mark of the boots of a whole system: how our best does against the best of the others.
pub fn verdicts(cells: &[Cell], markers: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for storage in STORAGES {
        for marker in markers {
            let cells = of(cells, storage.name, marker);
            for (what, value) in
                [("", Cell::with_load_ms as fn(&Cell) -> f64), (", loading not counted", |cell: &Cell| cell.median_ms)]
            {
                if storage.limits.is_none() && !what.is_empty() {
                    continue;
                }
                lines.extend(verdict(&cells, value).map(|text| format!("{}, {marker}{what}: {text}", storage.name)));
            }
        }
    }
    lines
}

fn verdict(cells: &[&Cell], value: fn(&Cell) -> f64) -> Option<String> {
    let ours = best(cells, |cell| cell.ours, value)?;
    let other = best(cells, |cell| !cell.ours && !cell.limit, value)?;
    let difference = value(other) - value(ours);
    // What is not more than the spread of either is no difference.
    let noise = (ours.high_ms - ours.low_ms).max(other.high_ms - other.low_ms);
    let word = match difference {
        _ if difference.abs() <= noise => "EQUAL within the spread of",
        _ if difference > 0.0 => "ahead of",
        _ => "BEHIND",
    };
    let behind: Vec<&str> = cells
        .iter()
        .filter(|cell| cell.ours && value(cell) > value(other) + noise)
        .map(|cell| cell.peer.as_str())
        .collect();
    let rest = if behind.is_empty() { String::new() } else { format!("; behind it: {}", behind.join("; ")) };
    Some(format!(
        "{} ({:.1} ms) is {word} {} ({:.1} ms) by {:.1} ms{rest}",
        ours.peer,
        value(ours),
        other.peer,
        value(other),
        difference.abs()
    ))
}

/// What was measured earlier, with what was measured later in its place. The content of a system may be another then.
pub fn merge(earlier: Vec<Cell>, later: Vec<Cell>) -> Vec<Cell> {
    let is_same = |one: &Cell, other: &Cell| {
        let of = |cell: &Cell| (cell.peer.clone(), cell.storage.clone(), cell.marker.clone());
        let is_sweep = one.marker == super::sweep::MARKER;
        let points = [one, other].map(|cell| is_sweep.then_some((cell.content_mb, cell.used_percent)));
        of(one) == of(other) && points[0] == points[1]
    };
    let (mut cells, mut later) = (Vec::new(), later);
    for cell in earlier {
        let newer = later.iter().position(|newer| is_same(newer, &cell));
        cells.push(newer.map_or(cell, |index| later.remove(index)));
    }
    cells.extend(later);
    cells
}

/// Writes all cells, or rows of another kind, whole or not at all.
///
/// # Errors
/// If writing fails.
pub fn write<T: Serialize>(cells: &[T], path: &Path) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    writeln!(file, "{}", serde_json::to_string_pretty(cells)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// If it does not hold cells.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read(path)
        .map_err(|error| format!("cannot read {}: {error}\n  run make bench-peers", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A cell whose boots spread by 2 ms.
    pub fn cell(peer: &str, storage: &str, content_mb: f64, used_percent: f64, median_ms: f64) -> Cell {
        Cell {
            peer: peer.into(),
            ours: peer.starts_with("ours"),
            limit: peer.starts_with("no initramfs"),
            storage: storage.into(),
            content_mb,
            used_percent,
            marker: "work-done".into(),
            n: 3,
            median_ms,
            low_ms: median_ms - 1.0,
            high_ms: median_ms + 1.0,
            ram_mb: 10.0,
            not_free_mb: 20.0,
            loaded_mb: 0.0,
            load_ms: 0.0,
            read_mb: None,
            used_mb: None,
            cpus: 1,
        }
    }

    #[test]
    fn written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let cells = vec![cell("ours", "eMMC", 8.0, 5.0, 100.0)];
        write(&cells, &path).unwrap();
        assert_eq!(read::<Cell>(&path).unwrap(), cells);
        assert!(read::<Cell>(&folder.path().join("none")).unwrap_err().to_string().contains("make bench-peers"));
    }

    #[test]
    fn what_is_measured_later_takes_the_place_of_the_same() {
        let of = |peer, marker: &str, content_mb, median_ms| Cell {
            marker: marker.into(),
            ..cell(peer, "eMMC", content_mb, 5.0, median_ms)
        };
        let earlier = vec![of("a", "pid1", 44.2, 1.0), of("a", "work-done", 8.0, 2.0), of("b", "pid1", 44.2, 3.0)];
        let later = vec![of("c", "pid1", 44.3, 4.0), of("a", "pid1", 44.3, 5.0), of("a", "work-done", 32.0, 6.0)];
        let medians: Vec<f64> = merge(earlier, later).iter().map(|cell| cell.median_ms).collect();
        assert_eq!(medians, [5.0, 2.0, 3.0, 4.0, 6.0]);
    }

    #[test]
    fn words_say_who_is_ahead_and_when_nobody_is() {
        let say = |ours: f64| {
            let cells = [
                cell("ours, a", "unlimited", 8.0, 5.0, ours),
                cell("ours, b", "unlimited", 8.0, 5.0, 300.0),
                cell("classic", "unlimited", 8.0, 5.0, 100.0),
                cell("no initramfs", "unlimited", 8.0, 5.0, 1.0),
            ];
            verdicts(&cells, &["work-done"]).join("\n")
        };
        assert!(
            say(50.0).contains("unlimited, work-done: ours, a (50.0 ms) is ahead of classic (100.0 ms) by 50.0 ms")
        );
        assert!(say(50.0).ends_with("behind it: ours, b"));
        assert!(say(101.5).contains("EQUAL") && say(150.0).contains("is BEHIND classic"));
    }
}
