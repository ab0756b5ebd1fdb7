//! Writes newc archives: classic initramfs, and later members that override what an image's mini-initramfs holds.

use crate::Result;
use std::io::Write;

/// A file of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path without the leading slash.
    pub path: String,
    /// Type and permission bits.
    pub mode: u32,
    /// Content of a file, target of a link.
    pub data: Vec<u8>,
    /// Device number of a node.
    pub device: (u32, u32),
}

impl Entry {
    /// A regular file.
    pub fn file(path: &str, mode: u32, data: impl Into<Vec<u8>>) -> Self {
        Entry { path: path.into(), mode: 0o100_000 | mode, data: data.into(), device: (0, 0) }
    }

    /// A directory.
    pub fn folder(path: &str) -> Self {
        Entry { path: path.into(), mode: 0o040_755, data: Vec::new(), device: (0, 0) }
    }

    /// A symbolic link.
    pub fn link(path: &str, target: &str) -> Self {
        Entry { path: path.into(), mode: 0o120_777, data: target.into(), device: (0, 0) }
    }

    /// A character device.
    pub fn device(path: &str, mode: u32, major: u32, minor: u32) -> Self {
        Entry { path: path.into(), mode: 0o020_000 | mode, data: Vec::new(), device: (major, minor) }
    }
}

/// One archive with its trailer, padded to 512 bytes so that another can follow.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a vector cannot fail.
    let _ = write(&mut out, &mut entries.iter().cloned().map(Ok));
    out
}

/// Writes one archive as [`archive`] makes it, an entry at a time: its size is not limited by memory.
///
/// # Errors
/// What `entries` fail with; if writing fails.
pub fn write(out: &mut dyn Write, entries: &mut dyn Iterator<Item = Result<Entry>>) -> Result<()> {
    let (mut bytes, mut total) = (Vec::new(), 0);
    for (index, entry) in entries.enumerate() {
        bytes.clear();
        // Every member ends on a multiple of four bytes, so its own padding does not depend on what is before it.
        member(&mut bytes, index + 1, &entry?);
        out.write_all(&bytes)?;
        total += bytes.len();
    }
    bytes.clear();
    member(&mut bytes, 0, &Entry { path: "TRAILER!!!".into(), mode: 0, data: Vec::new(), device: (0, 0) });
    bytes.resize(bytes.len() + (total + bytes.len()).next_multiple_of(512) - (total + bytes.len()), 0);
    Ok(out.write_all(&bytes)?)
}

fn member(out: &mut Vec<u8>, inode: usize, entry: &Entry) {
    let fields = [
        inode as u32,
        entry.mode,
        0,
        0,
        1,
        0,
        entry.data.len() as u32,
        0,
        0,
        entry.device.0,
        entry.device.1,
        entry.path.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{field:08X}");
    }
    out.extend_from_slice(entry.path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(4), 0);
}
