//! A dm-verity device by ioctl (include/uapi/linux/dm-ioctl.h, interface 4.0.0).

use super::call::ioctl;
use core::mem::{offset_of, size_of};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// The most bytes of a target's parameters, NUL included.
pub const PARAMETER_BYTES: usize = 1024;

/// `_IOWR(0xfd, N, struct dm_ioctl)`.
const DM_DEV_CREATE: usize = 0xC138_FD03;
const DM_DEV_REMOVE: usize = 0xC138_FD04;
/// Without `DM_SUSPEND_FLAG` it resumes.
const DM_DEV_SUSPEND: usize = 0xC138_FD06;
const DM_TABLE_LOAD: usize = 0xC138_FD09;
const DM_READONLY_FLAG: u32 = 1;
const DM_DEFERRED_REMOVE: u32 = 1 << 17;
/// Bytes of a sector, in which a device's length is counted.
const SECTOR: u64 = 512;

/// `struct dm_ioctl`, one `struct dm_target_spec`, and its parameters.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 136],
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; 16],
    parameters: [u8; PARAMETER_BYTES],
}

impl Request {
    /// About the one mapped device there is.
    const fn new() -> Self {
        let mut name = [0; 128];
        let (start, _) = name.split_at_mut(13);
        start.copy_from_slice(b"initoverlayfs");
        let mut target_type = [0; 16];
        let (start, _) = target_type.split_at_mut(6);
        start.copy_from_slice(b"verity");
        Request {
            version: [4, 0, 0],
            data_size: size_of::<Request>() as u32,
            data_start: offset_of!(Request, sector_start) as u32,
            target_count: 1,
            open_count: 0,
            flags: DM_READONLY_FLAG,
            event_nr: 0,
            padding: 0,
            device: 0,
            name,
            uuid: [0; 136],
            sector_start: 0,
            length: 0,
            status: 0,
            next: 0,
            target_type,
            parameters: [0; PARAMETER_BYTES],
        }
    }
}

/// Makes each request in turn; returns the number of the device, N of `/dev/dm-N`.
fn ask(request: &mut Request, commands: &[usize], flags: u32) -> Result<u32, Errno> {
    let control = open(c"/dev/mapper/control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for command in commands {
        // What the kernel has answered is the next request but for these.
        request.flags = flags;
        request.data_size = size_of::<Request>() as u32;
        request.data_start = offset_of!(Request, sector_start) as u32;
        request.target_count = 1;
        // A device is named in one way (`__find_device_hash_cell()`, drivers/md/dm-ioctl.c).
        request.device = 0;
        // SAFETY: the argument is a `struct dm_ioctl` of `data_size` bytes.
        unsafe { ioctl(control.as_fd(), *command, (&raw mut *request).expose_provenance()) }?;
    }
    // `huge_encode_dev()`: the minor's low 8 bits, 12 bits of major, the rest of the minor.
    Ok((request.device & 0xFF | (request.device >> 12) & 0xF_FF00) as u32)
}

/// Makes the verified, read-only device of `bytes` bytes; returns the N of its name `/dev/dm-N`.
#[inline(never)]
pub fn create_verity(bytes: u64, parameters: &str) -> Result<u32, Errno> {
    let mut request = Request::new();
    request.length = bytes / SECTOR;
    // One byte stays for the NUL.
    let room = request.parameters.get_mut(..parameters.len()).filter(|room| room.len() < PARAMETER_BYTES);
    room.ok_or(Errno::TOOBIG)?.copy_from_slice(parameters.as_bytes());
    ask(&mut request, &[DM_DEV_CREATE, DM_TABLE_LOAD, DM_DEV_SUSPEND], DM_READONLY_FLAG)
}

/// Removes the device, if there is one that nobody uses.
pub fn remove() {
    // ENXIO without one; without device-mapper there is no control node either.
    let _ = ask(&mut Request::new(), &[DM_DEV_REMOVE], 0);
}

/// Has the kernel remove the device with its last user (Linux 3.13).
pub fn remove_with_last_user() {
    let _ = ask(&mut Request::new(), &[DM_DEV_REMOVE], DM_DEFERRED_REMOVE);
}
