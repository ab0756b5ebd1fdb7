//! `guest=reread`: every file of the root file system, read to its end.

use crate::report::Report;
use crate::sections::names;
use core::fmt::Write;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Section `content`: a line `OCTAL-MODE UID GID SIZE CRC PATH` for everything in `/` that is not a mount point.
///
/// CRC is that of the content of a regular file or of the target of a symbolic link, else 0.
pub fn reread(report: &mut Report<'_>) {
    report.section("content");
    let Ok(root) = rustix::fs::open(c"/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let Ok(stat) = rustix::fs::fstat(&root) else { return };
    let mut path = Path { bytes: [0; 1024], length: 0 };
    walk(report, &root, u64::from(stat.st_dev), &mut path);
}

/// The path of the folder being read.
struct Path {
    bytes: [u8; 1024],
    length: usize,
}

impl Path {
    fn push(&mut self, name: &[u8]) -> usize {
        let before = self.length;
        for &byte in b"/".iter().chain(name) {
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
        before
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn walk(report: &mut Report<'_>, folder: &OwnedFd, device: u64, path: &mut Path) {
    names(folder, |name| {
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Only a directory's device tells: overlayfs gives files the device of their layer.
        if name.to_bytes().starts_with(b".guest-") || (kind == FileType::Directory && u64::from(stat.st_dev) != device)
        {
            return;
        }
        let before = path.push(name.to_bytes());
        let (size, crc) = match kind {
            FileType::RegularFile => (stat.st_size as u64, open(folder, name, OFlags::empty()).map_or(0, crc_of_file)),
            FileType::Symlink => (stat.st_size as u64, crc_of_link(folder, name)),
            _ => (0, 0),
        };
        let _ = write!(report, "{:o} {} {} {size} {crc:08x} ", stat.st_mode, stat.st_uid, stat.st_gid);
        report.escaped(path.text());
        report.raw(b"\n");
        if kind == FileType::Directory
            && let Some(inner) = open(folder, name, OFlags::DIRECTORY)
        {
            walk(report, &inner, device, path);
        }
        path.length = before;
    });
}

fn open(folder: impl AsFd, name: &core::ffi::CStr, flags: OFlags) -> Option<OwnedFd> {
    rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty()).ok()
}

fn crc_of_file(file: OwnedFd) -> u32 {
    let mut buffer = [0_u8; 16 * 1024];
    let mut crc = !0;
    loop {
        match rustix::io::read(&file, &mut buffer) {
            Ok(read) if read > 0 => crc = update(crc, buffer.get(..read).unwrap_or_default()),
            Ok(_) => return !crc,
            Err(_) => return 0,
        }
    }
}

fn crc_of_link(folder: &OwnedFd, name: &core::ffi::CStr) -> u32 {
    let mut target = [0_u8; 1024];
    match rustix::fs::readlinkat_raw(folder, name, &mut target) {
        Ok(length) => !update(!0, target.get(..length).unwrap_or_default()),
        Err(_) => 0,
    }
}

/// CRC-32 (IEEE, reflected), a byte at a time: the table is computed by the compiler.
fn update(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(crc, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}
