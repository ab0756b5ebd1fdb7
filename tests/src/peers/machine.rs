//! A peer, the storage it boots from, and one boot of it, read off the console by the marks of the guest.

use super::device::{Device, Limits, Moment, Served};
use crate::Result;
use crate::bench::sample::Sample;
use imagegen::boot::console;
use imagegen::boot::io_uring;
use imagegen::boot::qemu::{Clock, End, Qemu};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A boot that is not over by then has failed. No figure depends on it.
const DEADLINE: Duration = Duration::from_secs(900);

/// MiB of translated code that QEMU keeps; its own choice is a GiB.
///
/// Memory that held code and now takes something else, as that of a root file system that was left, costs QEMU a search for each block of
/// translated code in it (`tcg_flush_jmp_cache()`, accel/tcg, QEMU 7.2). What the disk brings is laid there while the guest waits, so the
/// search goes into the guest's time: half a second of a boot by systemd. Code that is thrown away early is not searched for.
const TRANSLATED_MIB: u32 = 32;

/// Storage that everything lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Name in tables and files.
    pub name: &'static str,
    /// What it can do; as fast as QEMU goes if absent.
    pub limits: Option<Limits>,
}

/// The three: QEMU's own, an eMMC, an SD card.
pub const STORAGES: [Storage; 3] = [
    Storage { name: "unlimited", limits: None },
    Storage { name: "eMMC", limits: Some(Limits { bytes: 250_000_000, requests: 5000 }) },
    Storage { name: "SD card", limits: Some(Limits { bytes: 20_000_000, requests: 500 }) },
];

impl Storage {
    /// Milliseconds that a bootloader needs to read `bytes` in one piece: computed. QEMU itself loads them for nothing.
    pub fn load_ms(self, bytes: u64) -> f64 {
        self.limits.map_or(0.0, |limits| bytes as f64 / limits.bytes as f64 * 1e3)
    }

    /// What a table must say about it.
    pub fn conditions(self) -> String {
        match self.limits {
            None => "storage as fast as QEMU goes, 1 instruction = 1 ns".to_owned(),
            Some(Limits { bytes, requests }) => {
                format!("{}: {} MB/s, {requests} requests/s, 1 instruction = 1 ns", self.name, bytes / 1_000_000)
            }
        }
    }
}

/// One of those that are compared.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Name in tables and files.
    pub name: &'static str,
    /// Whether it is one of ours.
    pub ours: bool,
    /// The machine, without its disk.
    pub machine: Qemu,
    /// The disk.
    pub disk: PathBuf,
    /// Bytes that the bootloader loads beside the kernel.
    pub loaded: u64,
    /// Bytes of memory that the kernel never has.
    pub outside: u64,
    /// Where on the disk the image lies, if on a partition of its own.
    pub image: Option<Range<u64>>,
}

/// A moment of a boot.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// Milliseconds of the kernel's clock.
    pub at_ms: f64,
    /// Bytes of memory that were in use and could not be reclaimed.
    pub used: u64,
    /// Bytes of memory that were not free: with the page cache.
    pub not_free: u64,
    /// How many reads a device of known speed had answered; none of any other.
    pub reads: usize,
}

/// One boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its marks, in order.
    pub marks: Vec<Mark>,
    /// What was read from a throttled device.
    pub served: Option<Served>,
    /// What the device's clock said when a line of the kernel came, and what the line says: milliseconds of the kernel's clock.
    pub ties: Vec<(Duration, f64)>,
    /// How long it took the host.
    pub took: Duration,
    /// How long QEMU worked of that, until the last mark.
    pub worked: Duration,
}

impl Boot {
    /// The mark of a name.
    pub fn mark(&self, name: &str) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.name == name)
    }

    /// Bytes that were read from `part` of the device until the mark `name`; none without a device or that mark.
    pub fn read_until(&self, name: &str, part: &Range<u64>) -> Option<u64> {
        Some(self.served.as_ref()?.read_in(part, self.mark(name)?.reads))
    }
}

/// How many nanoseconds QEMU works for an instruction of `peer` until the mark `last`: what it has worked, by what the guest's clock has
/// gone on without waiting.
///
/// # Errors
/// As [`boot`].
pub fn per_instruction(peer: &Peer, last: &str, runs: usize) -> Result<f64> {
    let one = || -> Result<f64> {
        let boot = boot_from(peer, None, last)?;
        let guest_ns = boot.mark(last).map_or(f64::NAN, |mark| mark.at_ms) * 1e6;
        let (worked, waited) = (boot.worked.as_nanos() as f64, boot.took.saturating_sub(boot.worked).as_nanos() as f64);
        Ok(worked / (guest_ns - waited))
    };
    let ratio = Sample::new((0..runs).map(|_| one()).collect::<Result<Vec<_>>>()?).median();
    if ratio.is_finite() && ratio >= 1.0 {
        Ok(ratio)
    } else {
        Err("QEMU seems to need less than 1 ns for an instruction\n  end what else runs on this host".into())
    }
}

/// Boots `peer` once, until the guest has made the mark `last`. `per_instruction`: see there; of no interest to a storage without a speed.
///
/// # Errors
/// If it did not; the error shows the console.
pub fn boot(peer: &Peer, storage: Storage, per_instruction: f64, last: &str) -> Result<Boot> {
    let device = storage.limits.map(|limits| (limits, per_instruction));
    boot_from(peer, device, last).map_err(|error| format!("{}: {error}", storage.name).into())
}

/// Boots `peer` once from a device that takes no time, to see what it reads.
///
/// # Errors
/// As [`boot`].
pub fn reads(peer: &Peer, last: &str) -> Result<Boot> {
    const FREE: Limits = Limits { bytes: u64::MAX, requests: u64::MAX };
    boot_from(peer, Some((FREE, 1.0)), last)
}

/// How far the console and the device were.
struct Seen {
    console: usize,
    device: Moment,
}

fn boot_from(peer: &Peer, device: Option<(Limits, f64)>, last: &str) -> Result<Boot> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("disk");
    let device = device.map(|(limits, ratio)| Device::start(&peer.disk, limits, ratio, &socket)).transpose()?;
    let mut machine = Qemu { clock: Clock::InstructionsAndWaits, ..peer.machine.clone() };
    let arguments = disk_arguments(&machine.program, &peer.disk, device.is_some().then_some(socket.as_path()));
    machine.extra.extend(arguments);
    machine.extra.extend(["-accel".into(), format!("tcg,tb-size={TRANSLATED_MIB}").into()]);
    let start = Instant::now();
    let (mut bytes, mut worked, mut seen): (Vec<u8>, _, _) = (Vec::new(), Duration::ZERO, Vec::new());
    let watched = machine.start().and_then(|mut running| {
        let clock = clock_getcpuclockid(Pid::from_raw(running.id().cast_signed()));
        running.watch(Some(start + DEADLINE), &mut |new| {
            bytes.extend_from_slice(new);
            let moment = device.as_ref().and_then(Device::moment);
            seen.extend(moment.map(|device| Seen { console: bytes.len(), device }));
            let over = is_over(&bytes, last);
            if over && let Ok(now) = clock.and_then(clock_gettime) {
                worked = now.into();
            }
            !over
        })
    });
    let took = start.elapsed();
    let served = device.map(Device::end).transpose()?;
    let end = watched?;
    let (marks, ties) = parse(&bytes, &seen);
    let text = String::from_utf8_lossy(&bytes);
    if end == End::Stopped && marks.iter().any(|mark| mark.name == last) && !text.contains("DAX unsupported") {
        return Ok(Boot { marks, served, ties, took, worked });
    }
    Err(format!("{}: no mark {last} ({end:?}); console:\n{text}", peer.name).into())
}

/// QEMU's arguments for the disk: what is written is forgotten.
fn disk_arguments(program: &str, disk: &Path, socket: Option<&Path>) -> [OsString; 4] {
    let (start, path) = match socket {
        Some(socket) => (",file.driver=nbd,file.server.type=unix,file.server.path=".to_owned(), socket),
        None => (format!("{},snapshot=on,file=", io_uring::option(program, disk)), disk),
    };
    // In an option a comma is written twice.
    let drive = format!("if=none,id=storage,format=raw{start}{}", path.to_string_lossy().replace(',', ",,"));
    ["-drive".into(), drive.into(), "-device".into(), "virtio-blk-device,drive=storage".into()]
}

/// Whether the console has the lines of the mark `last`, or the kernel has given up. It is looked at from its end: the watcher
/// brings 4096 bytes at most.
fn is_over(bytes: &[u8], last: &str) -> bool {
    let recent = bytes.get(bytes.len().saturating_sub(8192)..).unwrap_or_default();
    let text = String::from_utf8_lossy(recent);
    let marked = text.split_once(&format!("guest: mark {last} ")).is_some_and(|(_, rest)| rest.contains(" KiB\r\n"));
    marked || text.contains("end Kernel panic") || text.contains("You are in emergency mode")
}

/// The marks on a console, and what ties the device's clock to the kernel's; lines that are no marks are passed over.
fn parse(bytes: &[u8], seen: &[Seen]) -> (Vec<Mark>, Vec<(Duration, f64)>) {
    let (mut marks, mut ties): (Vec<Mark>, Vec<(Duration, f64)>) = (Vec::new(), Vec::new());
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        let seen = seen.get(seen.partition_point(|seen| seen.console < end)).map(|seen| seen.device);
        let line = String::from_utf8_lossy(line);
        let at_us = console::parse(&line).at_us;
        if let (Some(seen), Some(at_us)) = (seen, at_us) {
            // Of lines that came together, as those in front of the console's driver, the last is of that moment.
            ties.pop_if(|(at, _)| *at == seen.at);
            ties.push((seen.at, at_us as f64 / 1e3));
        }
        if let (Some(at_us), Some((name, ago_ns))) = (at_us, mark_line(&line)) {
            let at_ms = at_us as f64 / 1e3 - ago_ns / 1e6;
            let reads = seen.map_or(0, |seen| seen.reads);
            marks.push(Mark { name: name.to_owned(), at_ms, used: 0, not_free: 0, reads });
        }
        if let (Some(mark), Some([total, free, available])) = (marks.last_mut(), memory_line(&line)) {
            (mark.used, mark.not_free) = (total.saturating_sub(available) * 1024, total.saturating_sub(free) * 1024);
        }
    }
    (marks, ties)
}

fn mark_line(line: &str) -> Option<(&str, f64)> {
    let (_, rest) = line.split_once("guest: mark ")?;
    let mut words = rest.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?))
}

fn memory_line(line: &str) -> Option<[u64; 3]> {
    let (_, rest) = line.split_once("guest: memory ")?;
    let mut numbers = rest.split(' ').map_while(|word| word.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// A value of the mark `name` in every boot.
pub fn sample(boots: &[Boot], name: &str, value: impl Fn(&Mark) -> f64) -> Option<Sample> {
    let values = boots.iter().map(|boot| boot.mark(name).map(&value)).collect::<Option<Vec<_>>>()?;
    (!values.is_empty()).then(|| Sample::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.041000] guest: mark pid1 250000 ns ago at 31000000\r\n\
        [    0.041500] guest: memory 2000 1500 1900 KiB\r\n\
        peers login: [    3.000000] guest: mark multi-user 1000000 ns ago at 2999000000\r\n\
        [    3.001500] guest: memory 2000 1000 1200 KiB\r\n";

    #[test]
    fn marks_have_times_and_memory() {
        let moment = |ms, reads| Moment { at: Duration::from_millis(ms), reads };
        let seen = [(60, moment(50, 1)), (110, moment(90, 3)), (CONSOLE.len(), moment(4000, 7))];
        let seen = seen.map(|(console, device)| Seen { console, device });
        let (marks, ties) = parse(CONSOLE.as_bytes(), &seen);
        assert_eq!(marks.iter().map(|mark| mark.reads).collect::<Vec<_>>(), [1, 7]);
        let expected = [(50, 41.0), (90, 41.5), (4000, 3001.5)];
        assert_eq!(ties, expected.map(|(device, kernel)| (Duration::from_millis(device), kernel)));
        let expected = [("pid1", 40.75, 100, 500), ("multi-user", 2999.0, 800, 1000)];
        assert_eq!(marks.len(), 2);
        for (mark, (name, at_ms, used, not_free)) in marks.iter().zip(expected) {
            assert_eq!((mark.name.as_str(), mark.used, mark.not_free), (name, used * 1024, not_free * 1024));
            assert!((mark.at_ms - at_ms).abs() < 1e-9, "{mark:?}");
        }
    }

    #[test]
    fn a_boot_is_over_with_the_last_marks_memory_or_a_panic() {
        assert!(is_over(CONSOLE.as_bytes(), "multi-user") && !is_over(CONSOLE.as_bytes(), "initrd-done"));
        let cut = CONSOLE.rfind('[').unwrap();
        assert!(!is_over(&CONSOLE.as_bytes()[..cut], "multi-user"));
        assert!(is_over(b"[ 1.0] ---[ end Kernel panic - not syncing: x ]---", "multi-user"));
    }

    #[test]
    fn loading_takes_what_the_rate_says() {
        let [unlimited, emmc, card] = STORAGES;
        assert_eq!((unlimited.load_ms(1 << 30), emmc.load_ms(250_000), card.load_ms(20_000_000)), (0.0, 1.0, 1000.0));
    }
}
