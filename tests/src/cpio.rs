//! Writes newc archives: classic initramfs, and later members that override what an image's mini-initramfs holds.

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
    for (index, entry) in entries.iter().enumerate() {
        member(&mut out, index + 1, entry);
    }
    member(&mut out, 0, &Entry { path: "TRAILER!!!".into(), mode: 0, data: Vec::new(), device: (0, 0) });
    out.resize(out.len().next_multiple_of(512), 0);
    out
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

/// Reads one newc archive of files without hard links, as Debian's installer is one.
pub fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let header = std::str::from_utf8(bytes.get(at..at + 110)?).ok()?;
        if !header.starts_with("070701") {
            return None;
        }
        let field = |index: usize| u32::from_str_radix(header.get(6 + 8 * index..14 + 8 * index)?, 16).ok();
        let (name, size) = (field(11)? as usize, field(6)? as usize);
        let path = String::from_utf8(bytes.get(at + 110..at + 110 + name.checked_sub(1)?)?.to_vec()).ok()?;
        let data = (at + 110 + name).next_multiple_of(4);
        if path == "TRAILER!!!" {
            return Some(entries);
        }
        let content = bytes.get(data..data + size)?.to_vec();
        let path = path.trim_start_matches("./").trim_start_matches('/').to_owned();
        if path != "." && !path.is_empty() {
            entries.push(Entry { path, mode: field(1)?, data: content, device: (field(9)?, field(10)?) });
        }
        at = (data + size).next_multiple_of(4);
    }
}
