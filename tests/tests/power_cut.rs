//! Boot tier: the power goes at random moments while a system replaces the image in the slot that it did not boot from.
//!
//! `POWER_CUTS` times (3), by `POWER_SEED` if it is set. Every boot tries the slot that was being written first, so that it is
//! itself the proof: from there if it is whole, else from the other one. A killed QEMU loses what the guest has not written
//! out; a disk that loses or reorders what was not flushed is simulated in `imagegen/src/install/in_place/tests.rs`.

use bootstrap::plan::{self, Device, Handover, Image, List, MAX_BYTES, Slot, Source, Wanted};
use imagegen::boot::qemu::End;
use imagegen::disk::{self, Found, Partition};
use imagegen::verity;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use tests::boot::{Boot, Outcome};
use tests::cpio::Entry;
use tests::image::{PLAN, Parts, Place, Spec, make};
use tests::kernel::{Kernel, get};
use tests::{Result, equal, tool};

/// Debian's busybox-static.
const SHELL: &str = "/usr/bin/busybox";
/// Installs the images one and two by turns, `first` (an unknown kernel argument is in init's environment) first. What goes
/// through the kernel log comes in whole lines and with the time.
const INIT: &str = r#"#!/bin/busybox sh
case $(/bin/busybox dmesg | /bin/busybox sed -n 's/.*initoverlayfs: device [0-9]* us //p' | /bin/busybox tail -n 1) in
    vda1) to=/dev/vda2 ;;
    vda2) to=/dev/vda1 ;;
    *) exit 1 ;;
esac
image=$first
while :; do
    echo "power: begins $image" > /dev/kmsg
    /bin/imagegen install "/dev/vda$((image + 2))" --to $to || exit 1
    echo "power: ends $image" > /dev/kmsg
    image=$((3 - image))
done
"#;
/// Bytes in which the two images differ: one is larger, and the rest of it lies elsewhere.
const FILLER: [u32; 2] = [1 << 20, 3 << 20];
/// What the slots have more room for than the larger image, in bytes.
const SPARE: u64 = 1 << 20;

/// Which image a slot holds whole, 1 or 2; none if it is refused.
type Content = Option<u8>;

/// The machine: slots a and b in partitions 1 and 2, images one and two to install from in 3 and 4.
struct Board {
    kernel: Kernel,
    parts: Parts,
    disk: PathBuf,
    slots: Vec<Found>,
    root_hashes: [[u8; 32]; 2],
}

/// What is known of the slots between two boots.
struct State {
    holds: [Content; 2],
    /// The slot to try first.
    first: usize,
}

/// A line of the guest: when an installation began or ended.
struct Said {
    seconds: f64,
    image: u8,
    has_ended: bool,
}

impl Board {
    fn new() -> Result<Self> {
        let kernel = get(if cfg!(target_arch = "aarch64") { "arm64-6.1" } else { "x86_64-6.1" })?;
        let [one, two] = [image(&kernel, FILLER[0])?, image(&kernel, FILLER[1])?];
        let options = verity::Options::default();
        let summaries = [verity::append(&one.erofs, &options)?, verity::append(&two.erofs, &options)?];
        let folder = one.folder.path();
        let partition = |name: &str, image: &Path| Partition { name: name.into(), uuid: None, image: image.into() };
        let mut partitions = Vec::new();
        for (name, image) in [("a", &one.erofs), ("b", &two.erofs)] {
            let path = folder.join(name);
            std::fs::copy(image, &path)?;
            File::options().write(true).open(&path)?.set_len(summaries[1].bytes + SPARE)?;
            partitions.push(partition(name, &path));
        }
        partitions.extend([partition("one", &one.erofs), partition("two", &two.erofs)]);
        let disk = folder.join("disk.img");
        disk::write(&disk, &[7; 16], &partitions, &mut |_| ())?;
        let slots = disk::list(&disk)?;
        Ok(Board { kernel, parts: with_slots(one)?, disk, slots, root_hashes: summaries.map(|image| image.root_hash) })
    }

    /// What slot 0 or 1 holds.
    fn holds(&self, slot: usize) -> Result<Content> {
        let mut bytes = vec![0; usize::try_from(self.slots[slot].bytes)?];
        File::open(&self.disk)?.read_exact_at(&mut bytes, self.slots[slot].start)?;
        let path = self.parts.folder.path().join("slot");
        std::fs::write(&path, bytes)?;
        // What bootstrap refuses, by the same function.
        let Ok(image) = verity::Image::open(&path) else { return Ok(None) };
        image.check_tree(&mut |_| ())?;
        let root_hash = image.attached()?.summary.root_hash;
        match self.root_hashes.iter().position(|known| *known == root_hash) {
            Some(index) => Ok(Some(if index == 0 { 1 } else { 2 })),
            None => Err(format!("slot {slot} holds an image that nobody installed").into()),
        }
    }

    /// Switches it on, waits for `text` and cuts the power a time later; returns what the slot being written holds then, and
    /// what the guest said.
    fn cut(&self, state: &mut State, text: &str, later: Duration) -> Result<(Content, Vec<Said>)> {
        let from = if state.holds[state.first].is_some() { state.first } else { 1 - state.first };
        let to = 1 - from;
        let next = if state.holds[to] == Some(1) { 2 } else { 1 };
        let mut boot = Boot::new(&self.kernel, self.parts.initrd()?);
        (boot.disks, boot.writable) = (vec![self.disk.clone()], true);
        boot.append = format!("initoverlayfs.slot={} first={next}", ["a", "b"][state.first]).into();
        (boot.until, boot.stays) = (Some(text.into()), later);
        let outcome = boot.run()?;
        if outcome.end != End::Deadline {
            return Err(outcome.failure("it did not come up and install until the power went"));
        }
        let slot = ["a", "b"][state.first];
        equal("slot refused", &outcome.console.contains(&format!("slot {slot} refused")), &(from != state.first))?;
        let device = format!(" us vda{}", from + 1);
        let came_from = |line: &str| line.contains("initoverlayfs: device ") && line.trim_end().ends_with(&device);
        if !outcome.console.lines().any(came_from) {
            return Err(outcome.failure(&format!("not from vda{}", from + 1)));
        }
        let said = said(&outcome);
        let before = said.iter().rfind(|line| line.has_ended).map_or(state.holds[to], |line| Some(line.image));
        let mut possible = vec![before];
        possible.extend(said.last().filter(|line| !line.has_ended).iter().flat_map(|line| [None, Some(line.image)]));
        let now = self.holds(to).map_err(|error| outcome.failure(&error.to_string()))?;
        if !possible.contains(&now) {
            return Err(outcome.failure(&format!("the slot being written holds {now:?}, not one of {possible:?}")));
        }
        equal("the slot that it runs from", &self.holds(from)?, &state.holds[from])?;
        state.holds[to] = now;
        state.first = to;
        Ok((now, said))
    }
}

/// A system with a shell, imagegen and the libraries that takes.
fn image(kernel: &Kernel, filler: u32) -> Result<Parts> {
    let imagegen = tool::program()?;
    let mut files = vec![("/bin/busybox".to_owned(), PathBuf::from(SHELL)), ("/bin/imagegen".into(), imagegen.clone())];
    let output = Command::new("ldd").arg(&imagegen).output()?;
    let listed = String::from_utf8(output.stdout)?;
    files.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(|path| (path.into(), path.into())));
    let mut folders = BTreeSet::from(["/dev", "/proc", "/sys", "/run"]);
    for (path, _) in &files {
        folders.extend(path.match_indices('/').filter(|(end, _)| *end > 0).map(|(end, _)| &path[..end]));
    }
    let mut entries: Vec<Entry> = folders.iter().map(|path| Entry::folder(&path[1..])).collect();
    entries.push(Entry::device("dev/console", 0o600, 5, 1));
    entries.push(Entry::file("init", 0o755, INIT));
    entries.push(Entry::file("a-filler", 0o644, (0..filler / 4).flat_map(u32::to_le_bytes).collect::<Vec<_>>()));
    for (path, from) in &files {
        let bytes = std::fs::read(from)
            .map_err(|error| format!("cannot read {}: {error}\n  run tests/setup/apt.sh test", from.display()))?;
        entries.push(Entry::file(&path[1..], 0o755, bytes));
    }
    make(kernel, &entries, &Spec::new(Place::Partition, Handover::Mounted))
}

/// The mini-initramfs with a plan of slots a and b.
fn with_slots(mut parts: Parts) -> Result<Parts> {
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let slot = |name, words| {
        let device = Wanted { device: Device::PartName(name), words, hint: None, deadline_ms: 10_000, lun: None };
        Slot { name, source: Source::Partition { device, options: "" }, image: Image::Any }
    };
    let mut buffer = vec![0; MAX_BYTES];
    plan.slots = List::encode([slot("a", "PARTNAME=a"), slot("b", "PARTNAME=b")], &mut buffer)?;
    parts.set_plan(&plan)?;
    Ok(parts)
}

fn said(outcome: &Outcome) -> Vec<Said> {
    let line = |line: &str| {
        let (time, rest) = line.trim_end().split_once("] power: ")?;
        let (verb, image) = rest.split_once(' ')?;
        let seconds = time.rsplit('[').next()?.trim().parse().ok()?;
        Some(Said { seconds, image: image.parse().ok()?, has_ended: verb == "ends" })
    };
    outcome.console.lines().filter_map(line).collect()
}

fn number<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Cuts the power so often; returns how often the slot being written was refused then, held what it held when the boot began,
/// and an image that was installed since.
fn run(cuts: u32, seed: u64) -> Result<[u32; 3]> {
    let board = Board::new()?;
    let mut state = State { holds: [Some(1), Some(2)], first: 0 };
    // The first boot says how long two installations take; it ends like the others.
    let (_, said) = board.cut(&mut state, "power: ends 2", Duration::from_millis(1))?;
    let [begin, .., end] = &said[..] else { return Err("the first boot did not say what it did".into()) };
    let window = (end.seconds - begin.seconds) * 1.5;
    // xorshift64 (Marsaglia 2003).
    let mut random = seed;
    let mut left = [0; 3];
    for cut in 1..=cuts {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let later = Duration::from_secs_f64(window * (random % 10_000) as f64 / 10_000.0);
        let (now, said) = board.cut(&mut state, "power: begins ", later).map_err(|error| {
            format!("cut {cut} of {cuts}, POWER_SEED={seed}, {later:?} after the first begin: {error}")
        })?;
        let is_new = said.iter().any(|line| line.has_ended || now == Some(line.image));
        left[if now.is_none() { 0 } else { 1 + usize::from(is_new) }] += 1;
    }
    // The last cut is survived too.
    board.cut(&mut state, "power: begins ", Duration::from_millis(1))?;
    Ok(left)
}

#[test]
fn a_power_cut_while_a_slot_is_replaced_always_leaves_one_that_boots() {
    let time = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let seed = number("POWER_SEED").unwrap_or_else(time).max(1);
    let cuts = number("POWER_CUTS").unwrap_or(3);
    let [refused, old, new] = run(cuts, seed).unwrap();
    // Not by println!, which a test that passes keeps to itself.
    let line = format!(
        "{cuts} power cuts, each with a slot that boots; the other one: {refused} refused, {old} old, {new} new; POWER_SEED={seed}"
    );
    writeln!(std::io::stdout(), "{line}").unwrap();
}
