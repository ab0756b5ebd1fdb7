//! How much content, and how much of it is used: where the image is ahead, where it is behind, and where they meet.

use super::content::Maker;
use super::figures::{Cell, Setting, best};
use super::machine::{Boot, Peer, STORAGES, Storage, boot};
use super::{Peers, RUNS, quick, storages, wanted};
use crate::Result;
use crate::bench::content::{Compression, Content};
use crate::bench::table::Table;
use crate::cpio::{self, Entry};
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The mark at the end of the work.
pub const MARKER: &str = "work-done";
/// Content in MB.
const SIZES_MB: [u64; 4] = [8, 32, 128, 512];
/// Percent of the files that are read; the largest first, which brings all into the host's memory.
const USED: [u32; 3] = [100, 20, 5];
/// Bytes of a file: between Debian's median library and its mean.
const FILE_BYTES: u64 = 65_536;
/// Files of a folder, of which one is 5 percent. What is used lies scattered among what is not.
const FOLDER_FILES: u64 = 20;
/// Content in MB from which one boot from a storage of known speed is enough: it takes minutes, and next to nothing but reading.
const LONG_MB: u64 = 128;

/// Reads the files whose share the kernel's command line names; every page of them is brought into memory, none is copied.
const WORK: &str = "\
[ -e /proc/cmdline ] || mount -t proc proc /proc
read line < /proc/cmdline
case $line in
    *used=100*) set -- /data/*/* ;;
    *used=20*) set -- /data/*/0[0-3] ;;
    *) set -- /data/*/00 ;;
esac
cat \"$@\" > /dev/null
exec /init mark work-done
";

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(peers: &mut Peers) -> Result<()> {
    let source = peers.path("debian.cpio");
    Content::debian(None)?.write(&source)?;
    let busybox = super::content::Debian::get(&peers.kernel)?.path("busybox");
    let (storages, mut cells) = (storages(), Vec::new());
    for size in SIZES_MB.into_iter().filter(|size| !quick() || *size <= 32) {
        peers.say(format!("{size} MB of content"));
        let folder = peers.path(&format!("sweep-{size}"));
        std::fs::create_dir(&folder)?;
        let plain = folder.join("content.cpio");
        content(&source, &busybox, size, &plain)?;
        let maker = Maker { folder, kernel: &peers.kernel, plain, root: None, append: " guest=work" };
        let all = make(&maker)?;
        for &storage in &storages {
            let per_instruction = peers.per_instruction(storage, &all, MARKER)?;
            for used in USED {
                let (content_mb, used_percent) = (size as f64, f64::from(used));
                let setting = Setting { storage, content_mb, used_percent, used_mb: None, per_instruction };
                measure(peers, &all, setting, &mut cells)?;
            }
        }
        std::fs::remove_dir_all(&maker.folder)?;
    }
    storages.iter().for_each(|storage| println!("{}", table(&cells, *storage)));
    crossings(&cells).iter().for_each(|line| println!("- {line}"));
    println!();
    peers.cells.extend(cells);
    Ok(())
}

/// Writes about `size` MB of files cut from Debian's, the same mixture for every size, with a shell and the work.
fn content(source: &Path, busybox: &Path, size: u64, path: &Path) -> Result<()> {
    let source = File::open(source)?;
    let pieces = source.metadata()?.len() / FILE_BYTES;
    let files = (size * 1_000_000 / FILE_BYTES).next_multiple_of(FOLDER_FILES);
    let mut made = Content::least()?;
    made.push(Entry::folder("bin"));
    made.push(Entry::file("bin/busybox", 0o755, std::fs::read(busybox)?));
    made.extend(["sh", "cat", "mount"].map(|name| Entry::link(&format!("bin/{name}"), "busybox")));
    made.push(Entry::file("work", 0o755, WORK));
    made.push(Entry::device("dev/null", 0o666, 1, 3));
    made.push(Entry::folder("data"));
    let folders = (0..files / FOLDER_FILES).map(|folder| Ok(Entry::folder(&format!("data/{folder:04}"))));
    let data = (0..files).map(|file| {
        // Spread over all of the source; one that is longer than it begins again.
        let piece = if files < pieces { file * pieces / files } else { file % pieces };
        let mut bytes = vec![0; FILE_BYTES as usize];
        source.read_exact_at(&mut bytes, piece * FILE_BYTES)?;
        Ok(Entry::file(&format!("data/{:04}/{:02}", file / FOLDER_FILES, file % FOLDER_FILES), 0o644, bytes))
    });
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    cpio::write(&mut out, &mut made.into_iter().map(Ok).chain(folders).chain(data))?;
    out.into_inner().map_err(|error| crate::Failure::from(error.into_error()))?;
    Ok(())
}

fn make(maker: &Maker<'_>) -> Result<Vec<Peer>> {
    let ours = maker.partition("ours, partition", "tuned")?;
    let mut all = vec![
        maker.classic(&ours, Compression::None)?,
        maker.classic(&ours, Compression::Lz4)?,
        maker.classic(&ours, Compression::Zstd)?,
        maker.file(&ours)?,
        maker.partition("ours, partition, lz4hc", "tuned-lz4hc")?,
        ours,
    ];
    all.retain(|peer| wanted("PEERS_ONLY", peer.name));
    if all.is_empty() { Err("PEERS_ONLY leaves no peer".into()) } else { Ok(all) }
}

/// Measures one point of the sweep. A classic initramfs reads nothing from the storage: all throttled storages have the same boots
/// of it, which differ in what is computed for loading it. The boots of a peer lie apart, between those of all others.
fn measure(peers: &Peers, all: &[Peer], setting: Setting, cells: &mut Vec<Cell>) -> Result<()> {
    let long = setting.storage.limits.is_some() && setting.content_mb >= LONG_MB as f64;
    let runs = if quick() || long { 1 } else { peers.runs.unwrap_or(RUNS) };
    let first = setting.used_percent == f64::from(USED[0]) && setting.storage == STORAGES[0] && !quick();
    let mut boots: Vec<Vec<Boot>> = vec![Vec::new(); all.len()];
    for run in usize::from(!first)..=runs {
        for (peer, boots) in all.iter().zip(&mut boots) {
            if earlier(cells, peer, setting).is_some() {
                continue;
            }
            let mut peer = peer.clone();
            peer.machine.append.push(format!(" used={}", setting.used_percent));
            let boot = boot(&peer, setting.storage, setting.per_instruction, MARKER)?;
            if run > 0 {
                boots.push(boot);
            }
        }
    }
    let Setting { storage, content_mb, used_percent, .. } = setting;
    peers.say(format!("{}, {content_mb} MB, {used_percent} % used: {runs} boots of each", storage.name));
    for (peer, boots) in all.iter().zip(&boots) {
        let same = earlier(cells, peer, setting).map(|cell| Cell {
            storage: storage.name.into(),
            load_ms: storage.load_ms(peer.loaded),
            ..cell.clone()
        });
        cells.extend(same.or_else(|| Cell::new(peer, setting, boots, MARKER)));
    }
    Ok(())
}

/// What was measured of a peer that reads nothing from the storage, on another throttled one.
fn earlier<'c>(cells: &'c [Cell], peer: &Peer, setting: Setting) -> Option<&'c Cell> {
    let throttled = |name: &str| STORAGES.iter().any(|storage| storage.limits.is_some() && storage.name == name);
    cells.iter().find(|cell| {
        !peer.ours
            && throttled(setting.storage.name)
            && throttled(&cell.storage)
            && cell.peer == peer.name
            && cell.content_mb == setting.content_mb
            && cell.used_percent == setting.used_percent
    })
}

/// The peers, in the order of their cells.
pub fn names(cells: &[Cell]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.marker == MARKER) {
        if !names.contains(&cell.peer.as_str()) {
            names.push(&cell.peer);
        }
    }
    names
}

/// The cells of one point, in the order of the peers.
pub fn point<'c>(cells: &'c [Cell], storage: &str, content_mb: f64, used_percent: f64) -> Vec<&'c Cell> {
    let here = |cell: &&Cell| {
        cell.marker == MARKER
            && cell.storage == storage
            && cell.content_mb == content_mb
            && cell.used_percent == used_percent
    };
    cells.iter().filter(here).collect()
}

/// Sizes and shares that were measured, ascending.
pub fn axes(cells: &[Cell]) -> [Vec<f64>; 2] {
    let values = |value: fn(&Cell) -> f64| {
        let mut values: Vec<f64> = cells.iter().filter(|cell| cell.marker == MARKER).map(value).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    [values(|cell| cell.content_mb), values(|cell| cell.used_percent)]
}

fn table(cells: &[Cell], storage: Storage) -> Table {
    let names = names(cells);
    let mut heads = vec!["content MB", "used %"];
    heads.extend(&names);
    heads.push("first");
    let title = format!(
        "Kernel start to the work's end, loading the initramfs included (computed), in ms ({}; QEMU virt, cortex-a72, 2 GiB, n = {})",
        storage.conditions(),
        cells.iter().filter(|cell| cell.storage == storage.name).map(|cell| cell.n).min().unwrap_or(0)
    );
    let mut table = Table::new(title, &heads);
    let [sizes, shares] = axes(cells);
    for size in sizes {
        for share in &shares {
            let cells = point(cells, storage.name, size, *share);
            let value = |name: &&str| {
                let cell = cells.iter().find(|cell| cell.peer == **name);
                cell.map_or("-".to_owned(), |cell| format!("{:.1}", cell.with_load_ms()))
            };
            let first = best(&cells, |_| true, Cell::with_load_ms).map_or("-", |cell| cell.peer.as_str());
            let start = [size.to_string(), share.to_string()];
            table.row(start.into_iter().chain(names.iter().map(value)).chain([first.to_owned()]));
        }
    }
    table
}

/// For each storage and size: up to which share of the content our best is ahead of the best of the others. Between two shares that
/// were measured a straight line is drawn.
pub fn crossings(cells: &[Cell]) -> Vec<String> {
    let [sizes, shares] = axes(cells);
    let mut lines = Vec::new();
    for storage in STORAGES {
        for size in &sizes {
            let ahead: Vec<(f64, f64)> = shares
                .iter()
                .filter_map(|share| {
                    let cells = point(cells, storage.name, *size, *share);
                    let of = |ours| best(&cells, |cell| cell.ours == ours, Cell::with_load_ms).map(Cell::with_load_ms);
                    Some((*share, of(false)? - of(true)?))
                })
                .collect();
            lines.extend(crossing(&ahead).map(|text| format!("{}, {size} MB: {text}", storage.name)));
        }
    }
    lines
}

/// Shares, ascending, and by how many milliseconds ours is ahead there.
fn crossing(ahead: &[(f64, f64)]) -> Option<String> {
    let ((least, first), (most, last)) = (*ahead.first()?, *ahead.last()?);
    let turn = ahead.windows(2).find_map(|pair| {
        let [(from, before), (to, after)] = pair else { return None };
        ((*before > 0.0) != (*after > 0.0)).then(|| from + (to - from) * before / (before - after))
    });
    Some(match (turn, first > 0.0) {
        (Some(share), true) => {
            format!(
                "ahead up to {share:.0} % used, by {first:.1} ms at {least} %, behind by {:.1} ms at {most} %",
                -last
            )
        }
        (Some(share), false) => {
            format!(
                "behind up to {share:.0} % used, by {:.1} ms at {least} %, ahead by {last:.1} ms at {most} %",
                -first
            )
        }
        (None, true) => {
            format!("ahead at every share measured, by {first:.1} ms at {least} % and {last:.1} ms at {most} %")
        }
        (None, false) => {
            format!("BEHIND at every share measured, by {:.1} ms at {least} % and {:.1} ms at {most} %", -first, -last)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::cell;
    use super::*;

    #[test]
    fn a_crossing_lies_where_a_line_through_both_shares_is_zero() {
        let say = |ahead: &[(f64, f64)]| crossing(ahead).unwrap();
        assert!(
            say(&[(5.0, 30.0), (20.0, 10.0), (100.0, -30.0)]).starts_with("ahead up to 40 % used, by 30.0 ms at 5 %")
        );
        assert!(say(&[(5.0, -1.0), (25.0, 1.0)]).starts_with("behind up to 15 % used"));
        assert!(say(&[(5.0, 1.0), (100.0, 2.0)]).starts_with("ahead at every"));
        assert!(say(&[(5.0, -1.0), (100.0, -2.0)]).starts_with("BEHIND at every"));
        assert!(crossing(&[]).is_none());
    }

    #[test]
    fn loading_counts() {
        let mut classic = cell("classic", "SD card", 8.0, 5.0, 10.0);
        classic.load_ms = 400.0;
        let cells = [cell("ours", "SD card", 8.0, 5.0, 100.0), classic];
        assert_eq!(
            crossings(&cells),
            ["SD card, 8 MB: ahead at every share measured, by 310.0 ms at 5 % and 310.0 ms at 5 %"]
        );
        let text = table(&cells, STORAGES[2]).to_string();
        assert!(text.contains(" 410.0 | ours "), "{text}");
    }
}
