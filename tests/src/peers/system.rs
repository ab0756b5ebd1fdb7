//! A whole system, by every peer and from every storage: dracut's initramfs as the content, then Debian's own root file system.

use super::content::{Debian, Maker};
use super::figures::{Cell, Setting, of, verdicts};
use super::machine::{Boot, Peer, STORAGES, boot};
use super::{Peers, RUNS, cpus, quick, storages, wanted};
use crate::Result;
use crate::bench::content::Compression;
use crate::bench::table::{Table, ms};

/// The marks, in their order.
pub const MARKERS: [&str; 3] = ["pid1", "initrd-done", "multi-user"];
/// The one that a profile is compared with.
const OURS: &str = "ours, partition";
/// The same with a profile of its boot.
const PROFILED: &str = "ours, partition, profiled";
/// Kernel arguments of all: where the root file system is; and that systemd leaves the console to the marks.
const APPEND: &str = " root=PARTLABEL=root rw guest=pass systemd.show_status=false";

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(peers: &mut Peers) -> Result<()> {
    peers.say("Debian 13 with systemd and dracut (installed once)");
    let debian = Debian::get(&peers.kernel)?;
    let (all, used_mb) = make(peers, &debian)?;
    let content = std::fs::metadata(debian.path("dracut.cpio"))?.len();
    println!(
        "Compared: {}. Content: {} of Debian 13 arm64 ({}), {:.1} MB uncompressed, of which {used_mb:.1} MB are used; root file system on ext4, the same disk.\n",
        all.iter().map(|peer| peer.name).collect::<Vec<_>>().join("; "),
        debian.version("dracut")?,
        debian.version("systemd")?,
        content as f64 / 1e6
    );
    println!(
        "Not compared: dracut's mode with squashfs, which this kernel does not have; the mode with erofs stands for both.\n"
    );
    let mut cells = Vec::new();
    let used_percent = used_mb * 1e8 / content as f64;
    for storage in storages() {
        let per_instruction = peers.per_instruction(storage, &all, "multi-user")?;
        let content_mb = content as f64 / 1e6;
        let setting = Setting { storage, content_mb, used_percent, used_mb: Some(used_mb), per_instruction };
        for (peer, boots) in all.iter().zip(in_turn(peers, &all, setting)?) {
            cells.extend(MARKERS.iter().filter_map(|marker| Cell::new(peer, setting, &boots, marker)));
        }
        println!("{}", table(&all, &cells, setting));
    }
    println!("{}", memory_table(&all, &cells));
    println!("- the limit has no initrd, so no mark initrd-done");
    verdicts(&cells, &MARKERS).iter().for_each(|line| println!("- {line}"));
    by_profile(&cells).iter().for_each(|line| println!("- {line}"));
    println!();
    peers.cells.extend(cells);
    Ok(())
}

/// What a profile changes: the time at each mark, and how much is read for what is used.
fn by_profile(cells: &[Cell]) -> Vec<String> {
    let mut lines = Vec::new();
    for storage in STORAGES {
        for marker in MARKERS {
            let cells = of(cells, storage.name, marker);
            let find = |name| cells.iter().find(|cell| cell.peer == name);
            let (Some(plain), Some(profiled)) = (find(OURS), find(PROFILED)) else { continue };
            let less = (plain.median_ms - profiled.median_ms) / plain.median_ms * 100.0;
            let mut line = format!(
                "{}, {marker}: {:.1} ms with a profile, {:.1} without: {less:.1} % less",
                storage.name, profiled.median_ms, plain.median_ms
            );
            if let (Some(plain), Some(profiled), Some(used)) = (plain.read_mb, profiled.read_mb, profiled.used_mb) {
                line += &format!(
                    "; {profiled:.1} MB read, {plain:.1} without, for {used:.1} MB used: {:.2}",
                    profiled / used
                );
            }
            lines.push(line);
        }
    }
    lines
}

/// The machines of all peers; and how many MB of the content are used.
fn make(peers: &Peers, debian: &Debian) -> Result<(Vec<Peer>, f64)> {
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
    peers.say("what the boot uses of its content");
    let profile = maker.record("multi-user")?;
    let others = [
        maker.profiled(PROFILED, &profile)?,
        maker.partition("ours, partition, lz4hc", "tuned-lz4hc")?,
        maker.file(&ours)?,
        maker.initramfs(&ours)?,
        maker.memory(&ours)?,
        maker.partition("ours, partition, dm-verity", "tuned-verity")?,
    ];
    all.push(ours);
    all.extend(others);
    let cpus = cpus()?;
    all.iter_mut().for_each(|peer| peer.machine.cpus = cpus);
    all.retain(|peer| wanted("PEERS_ONLY", peer.name));
    Ok((all, profile.bytes() as f64 / 1e6))
}

/// Boots all peers in turn, so that what changes on the host changes for all.
fn in_turn(peers: &Peers, all: &[Peer], setting: Setting) -> Result<Vec<Vec<Boot>>> {
    let Setting { storage, per_instruction, .. } = setting;
    let runs = match (quick(), storage.limits) {
        (true, _) => 1,
        (false, None) => RUNS,
        // They take the host up to a minute each.
        (false, Some(_)) => RUNS - 1,
    };
    let mut boots = vec![Vec::new(); all.len()];
    // What is booted was written just now, so that all of it is in the host's memory.
    for run in 1..=runs {
        for (peer, boots) in all.iter().zip(&mut boots) {
            let boot = boot(peer, storage, per_instruction, "multi-user")?;
            peers.say(format!(
                "{}, boot {run} of {runs}: {} ({:.0} s)",
                storage.name,
                peer.name,
                boot.took.as_secs_f64()
            ));
            boots.push(boot);
        }
    }
    Ok(boots)
}

fn table(all: &[Peer], cells: &[Cell], setting: Setting) -> Table {
    let storage = setting.storage;
    let n = cells.iter().filter(|cell| cell.storage == storage.name).map(|cell| cell.n).min().unwrap_or(0);
    let title = format!(
        "Kernel start to PID 1 of the content, end of the initrd, multi-user.target, in ms ({}; QEMU virt, cortex-a72, {} processors, 2 GiB, n = {n})",
        storage.conditions(),
        all.first().map_or(1, |peer| peer.machine.cpus)
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
