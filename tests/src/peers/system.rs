//! A whole system, by every peer and from every storage: dracut's initramfs as the content, then Debian's own root file system.

use super::content::{Debian, FILE, INITRAMFS, LIMIT, MEMORY, Maker, SHELL, Usage, classic};
use super::curves;
use super::figures::{Cell, Setting, of, verdicts};
use super::machine::{self, Boot, Peer, STORAGES, Storage, boot};
use super::reads::{self, PAIRS};
use super::{Peers, RUNS, quick, storages, wanted};
use crate::Result;
use crate::bench::content::Compression;
use crate::bench::table::{Table, ms};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The marks, in their order.
pub const MARKERS: [&str; 3] = ["pid1", "initrd-done", "multi-user"];
/// The last of them, the end of a boot.
const LAST: &str = "multi-user";
/// Kernel arguments of all: where the root file system is; and that systemd leaves the console to the marks.
const APPEND: &str = " root=PARTLABEL=root rw guest=pass systemd.show_status=false";

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(peers: &mut Peers) -> Result<()> {
    peers.say("Debian 13 with systemd and dracut (installed once)");
    let debian = Debian::get(&peers.kernel)?;
    let (all, usage) = make(peers, &debian)?;
    let content_mb = std::fs::metadata(debian.path("dracut.cpio"))?.len() as f64 / 1e6;
    let used_mb = usage.profile.bytes() as f64 / 1e6;
    println!(
        "Compared: {}. Content: {} of Debian 13 arm64 ({}), {content_mb:.1} MB uncompressed, of which {used_mb:.1} MB are used; root file system on ext4, the same disk.\n",
        all.iter().map(|peer| peer.name).collect::<Vec<_>>().join("; "),
        debian.version("dracut")?,
        debian.version("systemd")?,
    );
    println!(
        "Not compared: dracut's mode with squashfs, which this kernel does not have; the mode with erofs stands for both.\n"
    );
    let setting = |storage| -> Result<Setting> {
        let (per_instruction, used_percent) = (peers.per_instruction(storage, &all, LAST)?, used_mb * 1e2 / content_mb);
        Ok(Setting { storage, content_mb, used_percent, used_mb: Some(used_mb), per_instruction })
    };
    let settings = storages().into_iter().map(setting).collect::<Result<Vec<_>>>()?;
    let (mut cells, mut rows, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for (setting, boots) in settings.iter().zip(in_turn(peers, &all, &settings)?) {
        for (peer, boots) in all.iter().zip(&boots) {
            cells.extend(MARKERS.iter().filter_map(|marker| Cell::new(peer, *setting, boots, marker)));
        }
        println!("{}", table(&all, &cells, *setting));
        let read = read(&all, setting.storage, &boots)?;
        let until = |peer: &str, marker: &str| read.get(&(peer, marker)).copied();
        rows.extend(reads::rows(&cells, setting.storage.name, &|marker| usage.bytes(marker), &until));
        drawn.extend(curves::choose(&cells, setting.storage, &all, &boots));
    }
    println!("{}", memory_table(&all, &cells));
    println!("- the limit has no initrd, so no mark initrd-done");
    verdicts(&cells, &MARKERS).iter().for_each(|line| println!("- {line}"));
    PAIRS.iter().flat_map(|pair| by_profile(&cells, *pair)).for_each(|line| println!("- {line}"));
    println!();
    peers.cells.extend(cells);
    peers.rows.extend(rows);
    peers.curves.extend(drawn);
    Ok(())
}

/// What the images on partitions were read until each mark. Storage without a speed tells nothing of that: there each is booted once more,
/// from a device that takes no time.
fn read<'p>(all: &'p [Peer], storage: Storage, boots: &[Vec<Boot>]) -> Result<BTreeMap<(&'p str, &'static str), u64>> {
    let mut read = BTreeMap::new();
    for (peer, boots) in all.iter().zip(boots).filter(|(peer, _)| reads::is_of_a_pair(peer.name)) {
        let counted = if storage.limits.is_none() { vec![machine::reads(peer, LAST)?] } else { boots.clone() };
        for marker in MARKERS {
            read.extend(reads::read_until(peer, &counted, marker).map(|bytes| ((peer.name, marker), bytes)));
        }
    }
    Ok(read)
}

/// What a profile changes: the time at each mark, and how much is read for what is used.
fn by_profile(cells: &[Cell], [plain, profiled]: [&str; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    for storage in STORAGES {
        for marker in MARKERS {
            let cells = of(cells, storage.name, marker);
            let find = |name| cells.iter().find(|cell| cell.peer == name);
            let (Some(plain), Some(profiled)) = (find(plain), find(profiled)) else { continue };
            let less = (plain.median_ms - profiled.median_ms) / plain.median_ms * 100.0;
            let mut line = format!(
                "{}, {}, {marker}: {:.1} ms with a profile, {:.1} without: {:.1} % {}",
                plain.peer,
                storage.name,
                profiled.median_ms,
                plain.median_ms,
                less.abs(),
                if less < 0.0 { "more" } else { "less" }
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

/// The machines of all peers that are wanted; and what the boot uses of the content.
fn make(peers: &Peers, debian: &Debian) -> Result<(Vec<Peer>, Usage)> {
    let folder = peers.path("system");
    std::fs::create_dir(&folder)?;
    let plain = folder.join("content.cpio");
    std::fs::copy(debian.path("dracut.cpio"), &plain)?;
    let maker = Maker { folder, kernel: &peers.kernel, plain, root: Some(debian.path("root.ext4")), append: APPEND };
    let [[ours, profiled], [compressed, compressed_profiled]] = PAIRS;
    let like = maker.partition(ours, "tuned")?;
    let image = maker.folder.join("tuned/initoverlayfs.erofs");
    peers.say("what the boot uses of its content");
    let usage = maker.record(LAST)?;
    let mut all = Vec::new();
    let mut add = |name: &str, make: &dyn Fn() -> Result<Peer>| -> Result<()> {
        if wanted("PEERS_ONLY", name) {
            all.push(make()?);
        }
        Ok(())
    };
    add(LIMIT, &|| {
        let mut limit = maker.kernel_only(&like)?;
        limit.machine.append.push(" init=/usr/lib/peers/guest");
        Ok(limit)
    })?;
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::None] {
        add(classic(compression), &|| maker.classic(&like, compression))?;
    }
    const SQUASH: &str = "dracut's erofs mode, lz4hc";
    add(SQUASH, &|| maker.with_initrd(SQUASH, false, &like, &debian.path("squash.cpio"), &like.disk))?;
    add(SHELL, &|| maker.shell(&like, &debian.path("busybox"), &image))?;
    add(ours, &|| Ok(like.clone()))?;
    add(profiled, &|| maker.profiled(profiled, "tuned", &usage.profile))?;
    add(compressed, &|| maker.partition(compressed, "tuned-lz4hc"))?;
    add(compressed_profiled, &|| maker.profiled(compressed_profiled, "tuned-lz4hc", &usage.profile))?;
    add(FILE, &|| maker.file(&like))?;
    add(INITRAMFS, &|| maker.initramfs(&like))?;
    add(MEMORY, &|| maker.memory(&like))?;
    const VERITY: &str = "ours, partition, dm-verity";
    add(VERITY, &|| maker.partition(VERITY, "tuned-verity"))?;
    if all.is_empty() { Err("PEERS_ONLY leaves no peer".into()) } else { Ok((all, usage)) }
}

/// Boots of each from this storage.
fn runs(peers: &Peers, storage: Storage) -> usize {
    match (quick(), peers.runs, storage.limits) {
        (true, ..) => 1,
        (false, Some(runs), _) => runs,
        (false, None, None) => RUNS,
        // They take the host up to a minute each.
        (false, None, Some(_)) => RUNS - 1,
    }
}

/// Boots all peers from all storages in turn, so that what changes on the host changes for all: the boots of one are spread over the
/// whole run. Of each storage, and each peer, its boots.
fn in_turn(peers: &Peers, all: &[Peer], settings: &[Setting]) -> Result<Vec<Vec<Vec<Boot>>>> {
    let mut boots = vec![vec![Vec::new(); all.len()]; settings.len()];
    let rounds = settings.iter().map(|setting| runs(peers, setting.storage)).max().unwrap_or(0);
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    // What is booted was written just now, so that all of it is in the host's memory.
    for round in 1..=rounds {
        let round_start = Instant::now();
        let limit = peers.minutes.map(|minutes| Duration::from_secs(minutes as u64 * 60));
        if round > 1 && limit.is_some_and(|limit| start.elapsed() + longest > limit) {
            println!("Ended after {} rounds of {rounds}: PEERS_MINUTES leaves no time for another.\n", round - 1);
            break;
        }
        for (setting, boots) in settings.iter().zip(&mut boots) {
            let Setting { storage, per_instruction, .. } = *setting;
            if round > runs(peers, storage) {
                continue;
            }
            for (peer, boots) in all.iter().zip(boots) {
                let boot = boot(peer, storage, per_instruction, LAST)?;
                let took = boot.took.as_secs_f64();
                peers.say(format!("round {round} of {rounds}, {}: {} ({took:.0} s)", storage.name, peer.name));
                boots.push(boot);
            }
        }
        longest = longest.max(round_start.elapsed());
    }
    Ok(boots)
}

fn table(all: &[Peer], cells: &[Cell], setting: Setting) -> Table {
    let storage = setting.storage;
    let n = cells.iter().filter(|cell| cell.storage == storage.name).map(|cell| cell.n).min().unwrap_or(0);
    let title = format!(
        "Kernel start to PID 1 of the content, end of the initrd, multi-user.target, in ms ({}; QEMU virt, cortex-a72, one processor, 2 GiB, n = {n})",
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
