//! What is read for what is used, until each mark: `target/profile.json`, a row for every image with and without a profile, and for the
//! best classic initramfs.

use super::figures::{Cell, best, of};
use super::machine::{Boot, Peer};
use super::system::MARKERS;
use crate::bench::sample::Sample;
use serde::{Deserialize, Serialize};

/// The peers whose image is on a partition, without a profile of the boot and with it.
pub const PAIRS: [[&str; 2]; 2] =
    [["ours, partition", "ours, partition, profiled"], ["ours, partition, lz4hc", "ours, partition, lz4hc, profiled"]];

/// Whether that is one of the peers of [`PAIRS`].
pub fn is_of_a_pair(peer: &str) -> bool {
    PAIRS.as_flattened().contains(&peer)
}

/// A cell, and its bytes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// All else that was measured.
    #[serde(flatten)]
    pub cell: Cell,
    /// Bytes that were read until the mark of what holds the content: of the image; of an initramfs all of it, by the bootloader.
    pub bytes_read: Option<u64>,
    /// Bytes of the content, uncompressed and in whole pages, that are used until the mark.
    pub bytes_used: Option<u64>,
}

/// Bytes of the image of `peer` that were read until the mark: the median of these boots, if they were from a device that counts.
pub fn read_until(peer: &Peer, boots: &[Boot], marker: &str) -> Option<u64> {
    let image = peer.image.as_ref()?;
    let read = |boot: &Boot| Some(boot.read_until(marker, image)? as f64);
    let read = boots.iter().map(read).collect::<Option<Vec<f64>>>()?;
    (!read.is_empty()).then(|| Sample::new(read).median() as u64)
}

/// The best classic initramfs of one storage at one mark, its loading included.
pub fn best_classic<'c>(cells: &'c [Cell], storage: &str, marker: &str) -> Option<&'c Cell> {
    best(&of(cells, storage, marker), |cell| cell.peer.starts_with("classic"), Cell::with_load_ms)
}

/// The rows of one storage. `used` says what is used until a mark, `read` how much of the image of a peer was read until then.
pub fn rows(
    cells: &[Cell],
    storage: &str,
    used: &dyn Fn(&str) -> Option<u64>,
    read: &dyn Fn(&str, &str) -> Option<u64>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for marker in MARKERS {
        let bytes_used = used(marker);
        let ours = of(cells, storage, marker).into_iter().filter(|cell| is_of_a_pair(&cell.peer));
        rows.extend(ours.map(|cell| Row { cell: cell.clone(), bytes_read: read(&cell.peer, marker), bytes_used }));
        let loaded = |cell: &Cell| (cell.loaded_mb * 1e6).round() as u64;
        rows.extend(best_classic(cells, storage, marker).map(|cell| Row {
            cell: cell.clone(),
            bytes_read: Some(loaded(cell)),
            bytes_used,
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::cell;
    use super::*;

    #[test]
    fn plain_profiled_and_the_classic_that_is_first_have_their_bytes() {
        let of = |peer: &str, marker: &str, median_ms, load_ms| Cell {
            marker: marker.into(),
            load_ms,
            loaded_mb: load_ms,
            ..cell(peer, "eMMC", 44.2, 28.0, median_ms)
        };
        let cells = [
            of("ours, partition", "pid1", 10.0, 0.0),
            of("ours, partition, profiled", "pid1", 11.0, 0.1),
            of("ours, memory with DAX", "pid1", 11.0, 44.0),
            of("classic, uncompressed", "pid1", 70.0, 44.0),
            of("classic, lz4", "pid1", 90.0, 16.0),
            of("classic, lz4", "multi-user", 900.0, 16.0),
        ];
        let used = |marker: &str| (marker == "pid1").then_some(4096);
        let rows = rows(&cells, "eMMC", &used, &|peer, _| (peer == "ours, partition").then_some(8192));
        let bytes: Vec<_> = rows.iter().map(|row| (row.cell.peer.as_str(), row.bytes_read, row.bytes_used)).collect();
        assert_eq!(
            bytes,
            [
                ("ours, partition", Some(8192), Some(4096)),
                ("ours, partition, profiled", None, Some(4096)),
                ("classic, lz4", Some(16_000_000), Some(4096)),
                ("classic, lz4", Some(16_000_000), None),
            ]
        );
        let text = serde_json::to_string(&rows).unwrap();
        assert!(text.starts_with("[{\"peer\":\"ours, partition\"") && text.contains("\"bytes_read\":8192"), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Row>>(&text).unwrap(), rows);
    }
}
