//! Memory that is full before bootstrap starts.

use crate::say;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};

/// Written at once.
const PIECE: usize = 4096;

/// Writes a file into a file system of its own without a limit until `kib` are free, by the count of sysinfo(2).
pub fn fill(kmsg: &OwnedFd, kib: u64) {
    let mounted = mount(c"saboteur", c"/saboteur-sys", c"tmpfs", MountFlags::empty(), c"size=0,huge=never")
        .or_else(|_| mount(c"saboteur", c"/saboteur-sys", c"tmpfs", MountFlags::empty(), c"size=0"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = mounted.and_then(|()| open(c"/saboteur-sys/ballast", flags, Mode::RUSR));
    let Ok(file) = file else { return say(kmsg, format_args!("no file")) };
    while free_kib() > kib {
        if rustix::io::write(&file, &[b'b'; PIECE]).is_err() {
            break;
        }
    }
    say(kmsg, format_args!("{} KiB free", free_kib()));
}

fn free_kib() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "32 bits wide on armv7")]
    let units = u64::from(info.freeram);
    units * u64::from(info.mem_unit) / 1024
}
