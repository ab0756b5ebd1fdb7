//! Marks in the kernel's log: when a point of the boot was reached, and what memory was in use then.

use crate::place::Place;
use rustix::mount::UnmountFlags;

/// Writes the lines `guest: mark NAME N ns ago at T` and `guest: memory TOTAL FREE AVAILABLE KiB`.
pub fn write(first_ns: u64, name: &str) {
    crate::announce(first_ns, format_args!("mark {name}"));
    let mut buffer = [0; 4096];
    // Read before the mount of its own is taken away, of which the content must see nothing.
    let proc = Place::proc();
    let text = proc.read(c"meminfo", &mut buffer);
    let [total, free, available] =
        [&b"MemTotal:"[..], b"MemFree:", b"MemAvailable:"].map(|key| value(text, key).unwrap_or(0));
    drop(proc);
    if rustix::mount::unmount(c"/.guest-proc", UnmountFlags::DETACH).is_ok() {
        let _ = rustix::fs::rmdir(c"/.guest-proc");
    }
    crate::say(format_args!("guest: memory {total} {free} {available} KiB"));
}

/// The number in the line of `/proc/meminfo` that begins with `key`.
fn value(text: &[u8], key: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key))?;
    let digits = line.iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number: u64, byte| number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))))
}
