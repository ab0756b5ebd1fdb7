//! A whole system, by every peer and from every storage: dracut's initramfs as the content, then Debian's own root file system.

use super::content::{Debian, Maker};
use super::figures::{Cell, Setting, of, verdicts};
use super::machine::{Boot, Peer, STORAGES, Storage, boot};
use super::{Peers, quick, storages, wanted};
use crate::Result;
use crate::bench::content::Compression;
use crate::bench::table::{Table, ms};

/// The marks, in their order.
pub const MARKERS: [&str; 3] = ["pid1", "initrd-done", "multi-user"];
/// The peer whose reading is counted.
const OURS: &str = "ours, partition";
/// Boots of each: a boot takes the host a quarter of a minute.
const RUNS: usize = 3;
/// Kernel arguments of all: where the root file system is; and that systemd leaves the console to the marks.
const APPEND: &str = " root=PARTLABEL=root rw guest=pass systemd.show_status=false";

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(peers: &mut Peers) -> Result<()> {
    peers.say("Debian 13 with systemd and dracut (installed once)");
    let debian = Debian::get(&peers.kernel)?;
    let all = make(peers, &debian)?;
    let content = std::fs::metadata(debian.path("dracut.cpio"))?.len();
    println!(
        "Compared: {}. Content: {} of Debian 13 arm64 ({}), {:.1} MB uncompressed; root file system on ext4, the same disk.\n",
        all.iter().map(|peer| peer.name).collect::<Vec<_>>().join("; "),
        debian.version("dracut")?,
        debian.version("systemd")?,
        content as f64 / 1e6
    );
    println!(
        "Not compared: dracut's mode with squashfs, which this kernel does not have; the mode with erofs stands for both.\n"
    );
    let mut measured: Vec<(Storage, Vec<Vec<Boot>>)> = Vec::new();
    for storage in storages() {
        measured.push((storage, in_turn(peers, &all, storage)?));
    }
    let used = used_percent(&all, &measured);
    let mut cells = Vec::new();
    for (storage, boots) in &measured {
        let setting =
            Setting { storage: *storage, content_mb: content as f64 / 1e6, used_percent: used.unwrap_or(0.0) };
        for (peer, boots) in all.iter().zip(boots) {
            cells.extend(MARKERS.iter().filter_map(|marker| Cell::new(peer, setting, boots, marker)));
        }
    }
    for (storage, _) in &measured {
        println!("{}", table(&all, &cells, *storage));
    }
    println!("{}", memory_table(&all, &cells));
    println!("- the limit has no initrd, so no mark initrd-done");
    match used {
        Some(percent) => println!("- ours, partition: {percent:.0} % of the image are read until multi-user.target"),
        None => println!("- how much of the image is read was not measured: no throttled storage, or no peer `{OURS}`"),
    }
    verdicts(&cells, &MARKERS).iter().for_each(|line| println!("- {line}"));
    println!();
    peers.cells.extend(cells);
    Ok(())
}

/// The machines of all peers.
fn make(peers: &Peers, debian: &Debian) -> Result<Vec<Peer>> {
    let folder = peers.path("system");
    std::fs::create_dir(&folder)?;
    let plain = folder.join("content.cpio");
    std::fs::copy(debian.path("dracut.cpio"), &plain)?;
    let maker = Maker { folder, kernel: &peers.kernel, plain, root: Some(debian.path("root.ext4")), append: APPEND };
    let ours = maker.partition(OURS, "tuned")?;
    let image = maker.folder.join("tuned/initoverlayfs.erofs");
    let mut limit = maker.kernel_only(&ours)?;
    limit.machine.append.push(" init=/usr/lib/peers/guest");
    let mut all = vec![limit];
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::None] {
        all.push(maker.classic(&ours, compression)?);
    }
    let squash = debian.path("squash.cpio");
    all.push(maker.with_initrd("dracut's erofs mode, lz4hc", false, &ours, &squash, &ours.disk)?);
    all.push(maker.shell(&ours, &debian.path("busybox"), &image)?);
    let others = [
        maker.partition("ours, partition, lz4hc", "tuned-lz4hc")?,
        maker.file(&ours)?,
        maker.initramfs(&ours)?,
        maker.memory(&ours)?,
        maker.partition("ours, partition, dm-verity", "tuned-verity")?,
    ];
    all.push(ours);
    all.extend(others);
    all.retain(|peer| wanted("PEERS_ONLY", peer.name));
    Ok(all)
}

/// Boots all peers in turn, so that what changes on the host changes for all.
fn in_turn(peers: &Peers, all: &[Peer], storage: Storage) -> Result<Vec<Vec<Boot>>> {
    let runs = if quick() { 1 } else { RUNS };
    let mut boots = vec![Vec::new(); all.len()];
    // Everything is in the host's memory once all have been booted from the first storage.
    for run in usize::from(quick() || storage != STORAGES[0])..=runs {
        for (peer, boots) in all.iter().zip(&mut boots) {
            let boot = boot(peer, storage, "multi-user")?;
            peers.say(format!(
                "{}, boot {run} of {runs}: {} ({:.0} s)",
                storage.name,
                peer.name,
                boot.took.as_secs_f64()
            ));
            if run > 0 {
                boots.push(boot);
            }
        }
    }
    Ok(boots)
}

/// The part of the image that ours reads from its partition, in percent: what a throttled device has served.
fn used_percent(all: &[Peer], measured: &[(Storage, Vec<Vec<Boot>>)]) -> Option<f64> {
    let index = all.iter().position(|peer| peer.name == OURS)?;
    let served = measured.iter().find_map(|(_, boots)| boots.get(index)?.first()?.served.as_ref())?;
    let found = imagegen::disk::list(&all.get(index)?.disk).ok()?;
    let image = found.iter().find(|partition| partition.name == crate::place::PARTNAME)?;
    let blocks = image.start..image.start + image.bytes;
    let read = served.blocks.iter().filter(|block| blocks.contains(&(**block * 4096))).count() as f64 * 4096.0;
    Some(read / image.bytes as f64 * 100.0)
}

fn table(all: &[Peer], cells: &[Cell], storage: Storage) -> Table {
    let n = cells.iter().filter(|cell| cell.storage == storage.name).map(|cell| cell.n).min().unwrap_or(0);
    let title = format!(
        "Kernel start to PID 1 of the content, end of the initrd, multi-user.target, in ms ({}; QEMU virt, cortex-a72, 2 GiB, n = {n})",
        storage.conditions()
    );
    let throttled = storage.limits.is_some();
    let mut heads = vec!["peer", "loaded MB", "PID 1", "initrd done", "multi-user", "spread of it"];
    if throttled {
        heads.extend(["loading, computed", "PID 1 with it", "initrd done with it", "multi-user with it"]);
    }
    let mut table = Table::new(title, &heads);
    for peer in all {
        let found = |marker| of(cells, storage.name, marker).into_iter().find(|cell| cell.peer == peer.name);
        let marks = MARKERS.map(found);
        let mut row = vec![peer.name.to_owned(), format!("{:.3}", peer.loaded as f64 / 1e6)];
        let text = |value: fn(&Cell) -> f64| marks.map(|cell| cell.map_or("-".to_owned(), |cell| ms(value(cell))));
        row.extend(text(|cell| cell.median_ms));
        row.push(marks.into_iter().flatten().next_back().map_or("-".into(), |cell| ms(cell.high_ms - cell.low_ms)));
        if throttled {
            row.push(ms(storage.load_ms(peer.loaded)));
            row.extend(text(Cell::with_load_ms));
        }
        table.row(row);
    }
    table
}

fn memory_table(all: &[Peer], cells: &[Cell]) -> Table {
    let title = "Memory in MB at each mark: in use and not reclaimable, with an image the kernel never has; in brackets all that is not free";
    let mut table = Table::new(title, &["peer", "PID 1", "initrd done", "multi-user"]);
    for peer in all {
        let cells = MARKERS.map(|marker| {
            let found = cells.iter().find(|cell| cell.marker == marker && cell.peer == peer.name);
            found.map_or("-".to_owned(), |cell| format!("{:.1} ({:.1})", cell.ram_mb, cell.not_free_mb))
        });
        table.row([peer.name.to_owned()].into_iter().chain(cells));
    }
    table
}
