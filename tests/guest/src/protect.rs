//! `guest=protect`: has the file system on vda1 verify the image it holds from now on (Documentation/filesystems/fsverity.rst).

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Setter, opcode};
use rustix::mount::MountFlags;

/// `FS_IOC_ENABLE_VERITY` (include/uapi/linux/fsverity.h).
const ENABLE: ioctl::Opcode = opcode::write::<EnableArgument>(b'f', 133);

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// Does so; what it says goes to the kernel's log.
pub fn protect() -> rustix::io::Result<()> {
    let (devices, holder) = (c"/.guest-dev", c"/.guest-holder");
    for folder in [devices, holder] {
        rustix::fs::mkdir(folder, Mode::from_raw_mode(0o700))?;
    }
    rustix::mount::mount(c"dev", devices, c"devtmpfs", MountFlags::empty(), None)?;
    rustix::mount::mount(c"/.guest-dev/vda1", holder, c"ext4", MountFlags::empty(), None)?;
    let file = rustix::fs::open(c"/.guest-holder/boot/initoverlayfs.erofs", OFlags::RDONLY, Mode::empty())?;
    // Version 1, SHA-256.
    let argument = EnableArgument {
        version: 1,
        hash_algorithm: 1,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the argument is what the request takes.
    unsafe { ioctl::ioctl(&file, Setter::<ENABLE, EnableArgument>::new(argument)) }?;
    drop(file);
    rustix::mount::unmount(holder, rustix::mount::UnmountFlags::empty())
}
