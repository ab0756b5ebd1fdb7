//! Loop devices by ioctl (include/uapi/linux/loop.h, Linux 5.8 for `LOOP_CONFIGURE`), fs-verity and watchdogs.

use super::call::ioctl;
use crate::program::text::c_path;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

const LOOP_CONFIGURE: usize = 0x4C0A;
const LOOP_GET_STATUS64: usize = 0x4C05;
const LOOP_CTL_GET_FREE: usize = 0x4C82;
/// Read-only, gone with its last user, without a page cache of its own.
const FLAGS: u32 = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
#[cfg(feature = "full")]
/// `_IOWR('f', 134, struct fsverity_digest)` (include/uapi/linux/fsverity.h).
const FS_IOC_MEASURE_VERITY: usize = 0xC004_6686;
#[cfg(feature = "full")]
const FS_VERITY_HASH_ALG_SHA256: u16 = 1;
/// `_IO(0x12, 93)` (include/uapi/linux/fs.h).
#[cfg(feature = "full")]
const BLKROSET: usize = 0x125D;
/// `_IO(0x12, 98)`.
#[cfg(feature = "full")]
const BLKRASET: usize = 0x1262;
/// `_IOWR('W', 6, int)` (include/uapi/linux/watchdog.h).
const WDIOC_SETTIMEOUT: usize = 0xC004_5706;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config`: the descriptor, the block size, and `struct loop_info64` whose flags are at 52.
#[repr(C, align(8))]
struct LoopConfig {
    descriptor: i32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// `struct loop_info64` with only its flags named.
#[repr(C, align(8))]
struct LoopInfo {
    before: [u8; 52],
    flags: u32,
    after: [u8; 176],
}

impl LoopInfo {
    const fn with_flags(flags: u32) -> Self {
        LoopInfo { before: [0; 52], flags, after: [0; 176] }
    }
}

/// A loop device that lives as long as this, or a mount of it.
pub struct Loop {
    /// N of `/dev/loopN`.
    pub number: u32,
    /// Whether the kernel granted direct I/O: it drops the wish silently, and then pages are cached twice.
    pub direct: bool,
    _device: OwnedFd,
}

/// Attaches `file` to a free loop device.
pub fn attach_loop(file: &OwnedFd) -> Result<Loop, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let control = open(c"/dev/loop-control", flags, Mode::empty())?;
    // SAFETY: takes no argument.
    let number = unsafe { ioctl(control.as_fd(), LOOP_CTL_GET_FREE, 0) }? as u32;
    let device = open(&*c_path!["/dev/loop", number], flags, Mode::empty())?;
    let info = LoopInfo::with_flags(FLAGS);
    let mut config = LoopConfig { descriptor: file.as_raw_fd(), block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the argument is a `struct loop_config`.
    unsafe { ioctl(device.as_fd(), LOOP_CONFIGURE, (&raw mut config).expose_provenance()) }?;
    let mut status = LoopInfo::with_flags(0);
    // SAFETY: the argument is a `struct loop_info64`.
    unsafe { ioctl(device.as_fd(), LOOP_GET_STATUS64, (&raw mut status).expose_provenance()) }?;
    Ok(Loop { number, direct: status.flags & LO_FLAGS_DIRECT_IO != 0, _device: device })
}

#[cfg(feature = "full")]
/// The SHA-256 digest by which the kernel verifies what is read of `file`; ENODATA if it does not.
pub fn measure_verity(file: &OwnedFd) -> Result<[u8; 32], Errno> {
    /// `struct fsverity_digest` with room for one.
    #[repr(C)]
    struct Digest {
        algorithm: u16,
        size: u16,
        digest: [u8; 32],
    }
    let mut digest = Digest { algorithm: 0, size: 32, digest: [0; 32] };
    // SAFETY: the argument is a `struct fsverity_digest` with `size` bytes behind it.
    unsafe { ioctl(file.as_fd(), FS_IOC_MEASURE_VERITY, (&raw mut digest).expose_provenance()) }?;
    if digest.algorithm == FS_VERITY_HASH_ALG_SHA256 { Ok(digest.digest) } else { Err(Errno::OPNOTSUPP) }
}

/// Makes a block device read-only for everybody, or writable again.
#[cfg(feature = "full")]
pub fn set_read_only(device: &OwnedFd, read_only: bool) -> Result<(), Errno> {
    let mut value = i32::from(read_only);
    // SAFETY: the argument is an `int`.
    unsafe { ioctl(device.as_fd(), BLKROSET, (&raw mut value).expose_provenance()) }.map(drop)
}

/// Sets what the kernel reads along with what is asked of a block device, in sectors of 512 bytes. ENOTTY for a file.
#[cfg(feature = "full")]
pub fn set_read_ahead(device: &OwnedFd, sectors: usize) -> Result<(), Errno> {
    // SAFETY: the argument is a number.
    unsafe { ioctl(device.as_fd(), BLKRASET, sectors) }.map(drop)
}

/// Sets a watchdog's timeout in seconds.
pub fn set_watchdog(watchdog: &OwnedFd, mut timeout_s: u32) -> Result<(), Errno> {
    // SAFETY: the argument is an `int`.
    unsafe { ioctl(watchdog.as_fd(), WDIOC_SETTIMEOUT, (&raw mut timeout_s).expose_provenance()) }.map(drop)
}
