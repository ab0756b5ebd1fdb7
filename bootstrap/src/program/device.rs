//! Step device: finds the block device a plan names, and waits for it by events, never by polling.
//!
//! The hint is looked at first, because it is right on every ordinary boot. Otherwise: subscribe to kernel events, *then*
//! scan sysfs (a device that appears in between is in one or both, never in neither), then wait until the deadline.

use super::clock;
use super::early::read_file;
use super::failure::{Failure, check, refuse};
use super::full::service::is_mapped;
use super::full::unit::Unit;
use super::text::{Text, c_path, text};
use bootstrap::Step;
use bootstrap::gpt;
use bootstrap::plan::{self, Device, Place, Wanted};
use bootstrap::uevent::{self, BlockDevice};
use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir, open};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Kernel name of a device.
pub type Name = Text;

/// Bytes of the largest kernel event (`UEVENT_BUFFER_SIZE` is 2048, plus the head) and of a sysfs `uevent` file.
pub const EVENT_BYTES: usize = 4096;

/// Finds the wanted device.
#[inline(never)]
pub fn find(wanted: &Wanted<'_>) -> Result<Name, Failure> {
    let Wanted { device, words, deadline_ms, .. } = wanted;
    let deadline_ns = clock::now_ns().saturating_add(u64::from(*deadline_ms) * 1_000_000);
    if let Some(name) = wanted.hint.and_then(|hint| name_of(hint.as_bytes()))
        && is_wanted(device, &name)
    {
        return Ok(name);
    }
    let events = check(Step::Device, "cannot subscribe to kernel events", subscribe())?;
    let mut unit = Unit::of(wanted);
    let mut given_up = None;
    loop {
        if let Some(name) = scan(device, words)? {
            return Ok(name);
        }
        if let Some(errno) = given_up {
            let about = text![*words, " within ", *deadline_ms, " ms"];
            return Err(refuse(Step::Device, "device did not appear", &about, errno));
        }
        // After the deadline a last look: a device that could not be read at the first look has no further event.
        given_up = wait(device, &mut unit, &events, deadline_ns).err();
    }
}

fn subscribe() -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(KOBJECT_UEVENT),
    )?;
    // Group 1 is the kernel itself; udev sends to group 2.
    bind(&socket, &SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

/// Looks at every block device there is. Two that fit are a failure: choosing one would be a guess.
#[inline(never)]
fn scan(wanted: &Device<'_>, words: &str) -> Result<Option<Name>, Failure> {
    let folder = open(c"/sys/class/block", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = check(Step::Device, "cannot list block devices", folder)?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut found: Option<Name> = None;
    while let Some(entry) = entries.next() {
        let entry = check(Step::Device, "cannot list block devices", entry)?;
        let Some(name) = name_of(entry.file_name().to_bytes()) else { continue };
        if !is_wanted(wanted, &name) {
            continue;
        }
        if let Some(first) = found {
            let about = text![words, ": ", &first, " and ", &name];
            return Err(refuse(Step::Device, "more than one device fits", &about, Errno::NOTUNIQ));
        }
        found = Some(name);
    }
    Ok(found)
}

/// Waits for the event of a device that fits; ETIMEDOUT at the deadline. As soon as its host is there, `unit` is scanned. The
/// device is then looked for among all others: a disk's partitions are all there before the first event of one of them
/// (`device_add_disk()`, block/genhd.c, Linux 6.12), and a second one may fit.
#[inline(never)]
fn wait(wanted: &Device<'_>, unit: &mut Unit, events: &OwnedFd, deadline_ns: u64) -> Result<(), Errno> {
    let mut buffer = [0; EVENT_BYTES];
    loop {
        unit.scan();
        let left_ns = deadline_ns.saturating_sub(clock::now_ns());
        if left_ns == 0 {
            return Err(Errno::TIMEDOUT);
        }
        // Both parts fit: the deadline is below 2^32 ms.
        let left = Timespec { tv_sec: (left_ns / 1_000_000_000) as _, tv_nsec: (left_ns % 1_000_000_000) as _ };
        match poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&left)) {
            // The kernel's own word for it: a clock that stands still keeps nobody waiting.
            Ok(0) => return Err(Errno::TIMEDOUT),
            Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let length = match recv(events, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(Errno::NOBUFS) => {
                // We were slow. Said once; then the kernel drops all until the socket is empty (`netlink_overrun()` and
                // `netlink_rcv_wake()`, net/netlink/af_netlink.c, Linux 6.12). Whatever was dropped, sysfs says it too.
                while matches!(recv(events, &mut buffer[..], RecvFlags::empty()), Ok(_) | Err(Errno::NOBUFS)) {}
                return Ok(());
            }
            Err(errno) => return Err(errno),
        };
        if buffer.get(..length).and_then(uevent::message).is_some_and(|device| fits(wanted, &device)) {
            return Ok(());
        }
    }
}

/// Whether the device of this kernel name exists and is the wanted one.
fn is_wanted(wanted: &Device<'_>, name: &Name) -> bool {
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
    let Ok(text) = read_file(&c_path!["/sys/class/block/", name, "/uevent"], &mut buffer) else { return false };
    uevent::file(text).is_some_and(|device| fits(wanted, &device))
}

fn fits(wanted: &Device<'_>, device: &BlockDevice<'_>) -> bool {
    match wanted {
        Device::PartName(name) => device.part_name == name.as_bytes(),
        Device::Path(path) => device.name == path.as_bytes() || is_mapped(device, path),
        // Newer kernels say it; otherwise the partition table is read.
        Device::PartUuid { text, .. } | Device::MbrPartUuid { text, .. } if !device.part_uuid.is_empty() => {
            device.part_uuid == text.as_bytes()
        }
        Device::PartUuid { guid, .. } => part_guid(device).is_some_and(|found| found == *guid),
        Device::MbrPartUuid { signature, number, .. } => {
            device.part_number == u32::from(*number) && mbr_signature(device) == Some(*signature)
        }
        Device::Superblock(probes) => {
            name_of(device.name).and_then(|name| open_device(&name).ok()).is_some_and(|disk| {
                probes.into_iter().any(|probe| holds(&disk, &probe.magic) && holds(&disk, &probe.identity))
            })
        }
    }
}

/// Whether the device holds these bytes at this place.
fn holds(disk: &OwnedFd, place: &Place<'_>) -> bool {
    let mut buffer = [0; plan::MAX_PROBE_BYTES];
    let Some(bytes) = buffer.get_mut(..place.bytes.len()) else { return false };
    read_at(disk, bytes, u64::from(place.offset)).is_ok() && bytes == place.bytes
}

/// The partition's GUID from the GPT of its disk.
#[inline(never)]
fn part_guid(device: &BlockDevice<'_>) -> Option<[u8; 16]> {
    let (disk, block_bytes) = open_disk(device)?;
    let mut header = [0; gpt::HEADER_BYTES];
    read_at(&disk, &mut header, block_bytes).ok()?;
    let offset = gpt::header(&header)?.entry_offset(device.part_number, block_bytes)?;
    let mut entry = [0; gpt::ENTRY_BYTES];
    read_at(&disk, &mut entry, offset).ok()?;
    gpt::entry_guid(&entry)
}

#[inline(never)]
fn mbr_signature(device: &BlockDevice<'_>) -> Option<u32> {
    let (disk, _) = open_disk(device)?;
    let mut block = [0; 512];
    read_at(&disk, &mut block, 0).ok()?;
    gpt::mbr_signature(&block)
}

/// Opens the disk a partition is on; returns its logical block size too.
fn open_disk(device: &BlockDevice<'_>) -> Option<(OwnedFd, u64)> {
    if device.part_number == 0 {
        return None;
    }
    let name = name_of(device.name)?;
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
    // The class entry is a link into the device tree, where a partition's parent is its disk.
    let file = c_path!["/sys/class/block/", &name, "/../uevent"];
    let disk_name = name_of(uevent::file(read_file(&file, &mut buffer).ok()?)?.name)?;
    let disk = open_device(&disk_name).ok()?;
    let block_bytes = rustix::fs::ioctl_blksszget(&disk).ok()?;
    Some((disk, u64::from(block_bytes)))
}

/// Opens a device node read-only.
pub fn open_device(name: &Name) -> Result<OwnedFd, Errno> {
    open(&*c_path!["/dev/", name], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Fills `buffer` with what lies at `offset`; EIO if that is beyond the end.
#[inline(never)]
pub fn read_at(device: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<(), Errno> {
    let length = buffer.len();
    if rustix::io::pread(device, buffer, offset)? == length { Ok(()) } else { Err(Errno::IO) }
}

/// A name as the kernel gives it; none for `.` and `..`.
pub fn name_of(bytes: &[u8]) -> Option<Name> {
    let name = core::str::from_utf8(bytes).ok().filter(|name| !name.starts_with('.'))?;
    Some(text![name])
}
