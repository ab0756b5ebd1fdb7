//! Storage of a known speed: a disk behind QEMU's network block device, served by this program at the rate of an eMMC or an SD card.
//!
//! QEMU's own throttle lets a tenth of a second's worth of bytes and requests pass unthrottled, at the start and after every
//! pause of that length (`throttle_compute_wait()`, util/throttle.c, QEMU 7.2), which is most of what a boot reads. Here no request is
//! free: each takes as long as its bytes at the device's rate, at least the time of one request, one after the other.
//!
//! What takes so long is the guest's time, see [`GuestClock`].
//!
//! The protocol is NBD's fixed newstyle (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), the part that QEMU
//! speaks to a server without structured replies.

use crate::Result;
use imagegen::profile::within;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a block, for what is written and for what is counted.
const BLOCK: u64 = 4096;
/// Longest request answered; QEMU sends none longer than 32 MiB.
const MAX_REQUEST: u32 = 32 << 20;

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second.
    pub bytes: u64,
    /// Requests a second.
    pub requests: u64,
}

impl Limits {
    /// How long one request of `bytes` takes.
    pub fn service(self, bytes: u64) -> Duration {
        let nanoseconds = |amount: u64, rate: u64| amount.saturating_mul(1_000_000_000) / rate.max(1);
        Duration::from_nanos(nanoseconds(bytes, self.bytes).max(nanoseconds(1, self.requests)))
    }
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it was answered, on the device's clock.
    pub at: Duration,
    /// Which bytes of the device.
    pub bytes: Range<u64>,
}

/// What was read from a device.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Requests of any kind.
    pub requests: u64,
    /// What was read, in order.
    pub reads: Vec<Asked>,
}

impl Served {
    /// Bytes that the first `count` reads read between these two places of the device, as often as they did.
    pub fn read_in(&self, part: &Range<u64>, count: usize) -> u64 {
        self.inside(part, count).map(|read| read.end - read.start).sum()
    }

    /// What the first `count` reads read between these two places, in bytes from the first.
    pub fn inside(&self, part: &Range<u64>, count: usize) -> impl Iterator<Item = Range<u64>> {
        self.reads.iter().take(count).filter_map(|read| within(&read.bytes, part))
    }
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its clock.
    pub at: Duration,
    /// Reads that were answered.
    pub reads: usize,
}

/// What others see of a device while it serves.
#[derive(Debug, Default)]
struct Watched {
    clock: OnceLock<GuestClock>,
    reads: AtomicUsize,
}

/// The guest's clock as its device can tell it, where one instruction is one nanosecond (`-icount shift=0`): while the processor works it
/// goes as much slower than the host's as QEMU needs longer for an instruction, while it waits as fast. So it is the host's time
/// less what QEMU has worked, and that divided by [`GuestClock::per_instruction`]. A device that took the host's time would seem many
/// times faster to a guest that computes meanwhile.
#[derive(Clone, Copy, Debug)]
struct GuestClock {
    start: Instant,
    worked: ClockId,
    per_instruction: f64,
}

impl GuestClock {
    /// The clock of the process at the other end of `stream`.
    fn of(stream: &UnixStream, per_instruction: f64) -> io::Result<Self> {
        let peer = getsockopt(stream, PeerCredentials)?;
        let worked = clock_getcpuclockid(Pid::from_raw(peer.pid()))?;
        Ok(GuestClock { start: Instant::now(), worked, per_instruction })
    }

    fn now(&self) -> io::Result<Duration> {
        let worked = match clock_gettime(self.worked) {
            Ok(worked) => Duration::from(worked),
            // It has ended, and waits for nothing.
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok(self.start.elapsed().saturating_sub(worked) + worked.div_f64(self.per_instruction))
    }

    /// Waits as a device does: the host's scheduler wakes late, so the last part is spent looking at the clock.
    fn wait_until(&self, moment: Duration) -> io::Result<()> {
        const LATE: Duration = Duration::from_micros(150);
        loop {
            let left = moment.saturating_sub(self.now()?);
            match left {
                Duration::ZERO => return Ok(()),
                // It never goes faster than the host's.
                left if left > LATE => std::thread::sleep(left - LATE),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// A device that serves one connection.
#[derive(Debug)]
pub struct Device {
    socket: PathBuf,
    watched: Arc<Watched>,
    thread: JoinHandle<io::Result<Served>>,
}

impl Device {
    /// Serves `disk` on `socket` to a QEMU that needs `per_instruction` nanoseconds for an instruction. What the guest writes is kept in
    /// memory and forgotten.
    ///
    /// # Errors
    /// If the disk cannot be read or the socket not be made.
    pub fn start(disk: &Path, limits: Limits, per_instruction: f64, socket: &Path) -> Result<Self> {
        let disk = File::open(disk)?;
        let bytes = disk.metadata()?.len();
        let listener = UnixListener::bind(socket)?;
        let watched = Arc::<Watched>::default();
        let seen = Arc::clone(&watched);
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            let clock = GuestClock::of(&stream, per_instruction)?;
            let _ = seen.clock.set(clock);
            let (written, served) = (HashMap::new(), Served::default());
            Session { stream, disk, bytes, limits, clock, written, served, watched: seen }.run()
        });
        Ok(Device { socket: socket.to_owned(), watched, thread })
    }

    /// How far it is; none before QEMU has connected, or after its end.
    pub fn moment(&self) -> Option<Moment> {
        let reads = self.watched.reads.load(Ordering::Acquire);
        Some(Moment { at: self.watched.clock.get()?.now().ok()?, reads })
    }

    /// Waits for the end of the connection, which is that of QEMU.
    ///
    /// # Errors
    /// If serving failed.
    pub fn end(self) -> Result<Served> {
        // A QEMU that never connected would be waited for. One that did has ended, and nobody is asked any more.
        drop(UnixStream::connect(&self.socket));
        let _ = std::fs::remove_file(&self.socket);
        let served = self.thread.join().map_err(|_| "the device panicked")?;
        served.map_err(|error| format!("the throttled device failed: {error}").into())
    }
}

struct Session {
    stream: UnixStream,
    disk: File,
    bytes: u64,
    limits: Limits,
    clock: GuestClock,
    /// Blocks that differ from the disk's.
    written: HashMap<u64, Vec<u8>>,
    served: Served,
    watched: Arc<Watched>,
}

impl Session {
    fn run(mut self) -> io::Result<Served> {
        match self.negotiate().and_then(|goes_on| if goes_on { self.serve() } else { Ok(()) }) {
            // QEMU is killed once the guest has said what was waited for.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Err(error)
            }
            _ => Ok(self.served),
        }
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn long(&mut self) -> io::Result<u64> {
        Ok(u64::from(self.word()?) << 32 | u64::from(self.word()?))
    }

    /// Answers options until the client wants the disk; false if it wants none.
    fn negotiate(&mut self) -> io::Result<bool> {
        const GO: u32 = 7;
        const ABORT: u32 = 2;
        // NBDMAGIC, IHAVEOPT, fixed newstyle and no zeroes.
        self.stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
        self.word()?;
        loop {
            self.long()?;
            let (option, length) = (self.word()?, self.word()?);
            let mut data = vec![0; length.min(4096) as usize];
            self.stream.read_exact(&mut data)?;
            match option {
                GO => {
                    // Information 0, the size, and flags: has flags, sends flush.
                    let mut export = vec![0, 0];
                    export.extend(self.bytes.to_be_bytes());
                    export.extend(0b101_u16.to_be_bytes());
                    self.answer(option, 3, &export)?;
                    self.answer(option, 1, &[])?;
                    return Ok(true);
                }
                ABORT => {
                    self.answer(option, 1, &[])?;
                    return Ok(false);
                }
                // Not supported.
                _ => self.answer(option, 1 << 31 | 1, &[])?,
            }
        }
    }

    fn answer(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        for word in [option, kind, data.len() as u32] {
            reply.extend(word.to_be_bytes());
        }
        reply.extend(data);
        self.stream.write_all(&reply)
    }

    fn serve(&mut self) -> io::Result<()> {
        const READ: u32 = 0;
        const WRITE: u32 = 1;
        const DISCONNECT: u32 = 2;
        // When the device has done what it was asked so far.
        let mut free_at = Duration::ZERO;
        loop {
            let mut start = [0; 4];
            self.stream.read_exact(&mut start)?;
            let kind = self.word()? & 0xffff;
            let (handle, offset, length) = (self.long()?, self.long()?, self.word()?);
            let arrived = self.clock.now()?;
            let inside = offset.checked_add(u64::from(length)).is_some_and(|end| end <= self.bytes);
            if kind == DISCONNECT || (kind <= WRITE && (length > MAX_REQUEST || !inside)) {
                return Ok(());
            }
            let mut data = vec![0; if kind <= WRITE { length as usize } else { 0 }];
            match kind {
                READ => self.read(offset, &mut data)?,
                WRITE => {
                    self.stream.read_exact(&mut data)?;
                    self.write(offset, &data)?;
                }
                _ => (),
            }
            self.served.requests += 1;
            free_at = free_at.max(arrived) + self.limits.service(data.len() as u64);
            self.clock.wait_until(free_at)?;
            if kind == READ {
                self.served.reads.push(Asked { at: free_at, bytes: offset..offset + u64::from(length) });
                self.watched.reads.store(self.served.reads.len(), Ordering::Release);
            }
            let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
            reply.extend([0; 4]);
            reply.extend(handle.to_be_bytes());
            if kind == READ {
                reply.extend(data);
            }
            self.stream.write_all(&reply)?;
        }
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.disk.read_exact_at(data, offset)?;
        let end = offset + data.len() as u64;
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let Some(newer) = self.written.get(&block) else { continue };
            let from = (block * BLOCK).max(offset);
            let to = ((block + 1) * BLOCK).min(end);
            data[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&newer[(from - block * BLOCK) as usize..(to - block * BLOCK) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let (start, disk) = (block * BLOCK, &self.disk);
            let kept = self.written.entry(block);
            let mut fresh = vec![0; BLOCK as usize];
            if matches!(kept, std::collections::hash_map::Entry::Vacant(_)) {
                // The last block of a disk may be cut short.
                let room = BLOCK.min(self.bytes - start) as usize;
                disk.read_exact_at(&mut fresh[..room], start)?;
            }
            let kept = kept.or_insert(fresh);
            let (from, to) = (start.max(offset), (start + BLOCK).min(end));
            kept[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Limits = Limits { bytes: 20_000_000, requests: 500 };

    #[test]
    fn a_request_takes_its_bytes_or_the_time_of_one() {
        assert_eq!(CARD.service(4096), Duration::from_millis(2));
        assert_eq!(CARD.service(2_000_000), Duration::from_millis(100));
        assert_eq!(CARD.service(0), Duration::from_millis(2));
    }

    /// As QEMU does it: the handshake, a write, a read across it, the end.
    #[test]
    fn a_client_reads_what_it_wrote_and_no_sooner_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, socket) = (folder.path().join("disk"), folder.path().join("socket"));
        std::fs::write(&disk, vec![7; 3 * BLOCK as usize]).unwrap();
        let device = Device::start(&disk, CARD, 1.0, &socket).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        let mut hello = vec![0, 0, 0, 3];
        hello.extend(b"IHAVEOPT\0\0\0\x08\0\0\0\0IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0");
        stream.write_all(&hello).unwrap();
        // Refused, the size, accepted: 20 bytes each, and 12 of information.
        let mut replies = [0; 72];
        stream.read_exact(&mut replies).unwrap();
        assert_eq!(replies[42..50], (3 * BLOCK).to_be_bytes());
        let request = |kind: u8, offset: u64, data: &[u8], length: u32| {
            let mut request = vec![0x25, 0x60, 0x95, 0x13, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 9];
            request.extend(offset.to_be_bytes());
            request.extend(length.to_be_bytes());
            request.extend(data);
            request
        };
        let start = Instant::now();
        stream.write_all(&request(1, 4090, &[1; 12], 12)).unwrap();
        stream.write_all(&request(0, 4088, &[], 16)).unwrap();
        let mut replies = [0; 48];
        stream.read_exact(&mut replies).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(4), "{:?}", start.elapsed());
        assert_eq!(replies[32..], [7, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7, 7]);
        let moment = device.moment().unwrap();
        drop(stream);
        let served = device.end().unwrap();
        let part = 4090..BLOCK * 2;
        assert_eq!((served.requests, served.read_in(&part, 1), served.read_in(&part, 0)), (2, 14, 0));
        let [read] = served.reads.as_slice() else { panic!("{served:?}") };
        assert_eq!((read.bytes.clone(), moment.reads), (4088..4104, 1));
        assert!(read.at >= Duration::from_millis(4) && read.at <= moment.at, "{read:?} {moment:?}");
        assert_eq!(std::fs::read(&disk).unwrap(), vec![7; 3 * BLOCK as usize]);
    }

    #[test]
    fn a_device_that_nobody_asked_ends() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::start(Path::new("/proc/self/exe"), CARD, 1.0, &folder.path().join("socket")).unwrap();
        assert_eq!(device.moment(), None);
        assert_eq!(device.end().unwrap().requests, 0);
    }
}
