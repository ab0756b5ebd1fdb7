//! What a boot reads of its image: recorded by `imagegen profile`, and given to `build --profile`, which lays that first and has it
//! read ahead.
//!
//! A profile names files and pages of them, not blocks: it holds for an image with another layout, compression or source, and for
//! most of a newer content. QEMU itself says what its guest reads (trace event `virtio_blk_handle_read`), and a board's own kernel
//! what comes into its page cache ([`trace`]), so the target has nothing that records.

mod ahead;
mod blocks;
pub mod trace;

use crate::atomic::Output;
use crate::boot::qemu::{Qemu, option_value};
use crate::boot::{self, Options};
use crate::manifest::{self, Manifest};
use crate::measure::{Watch, folder};
use crate::{Error, Result, disk, json};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use ahead::Ahead;
pub use blocks::Blocks;

/// Version of the format; a reader accepts exactly its own.
pub const FORMAT: u32 = 2;
/// How a profile is told.
const KIND: json::Kind =
    json::Kind { format: FORMAT, made_by: None, max_bytes: 64 << 20, hint: "give what `imagegen profile` wrote" };
/// Bytes of a page.
pub const PAGE: u64 = bootstrap::plan::AHEAD_PAGE;
/// Bytes of a sector, in which virtio counts.
const SECTOR: u64 = 512;

/// What boots of one content read until their end, in the order of the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Version of this format.
    pub format: u32,
    /// The board that booted.
    pub board: String,
    /// SHA-256 of the content, as in its manifest.
    pub input_sha256: String,
    /// SHA-256 of the EROFS images that were booted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// How many boots are in it.
    pub boots: u32,
    /// What was read, in that order: a file comes again where others came in between.
    pub files: Vec<Used>,
}

/// What was read of a file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// Its path in the image; a byte that is not UTF-8 is `\xNN`, a backslash `\\`.
    pub path: String,
    /// Pages of its content: first, and how many; ascending. None where its inode and what lies behind that was enough.
    pub pages: Vec<[u32; 2]>,
}

impl Profile {
    /// One of no boot yet of what a build made.
    pub fn empty(manifest: Manifest) -> Self {
        let says = |words| manifest.plan.iter().any(|line| line.contains(words));
        if says(ahead::WORDS) {
            log::warn!("the image was built with a profile: what that has read ahead is taken for used");
        } else if !says(ahead::RECORDING) {
            log::warn!(
                "what the kernel reads along is taken for used: an image of `build --record` is read page by page"
            );
        }
        let image = manifest.outputs.get(manifest::EROFS).map(|output| output.sha256.clone());
        Profile {
            format: FORMAT,
            board: manifest.board.name,
            input_sha256: manifest.input.sha256,
            images: image.into_iter().collect(),
            boots: 0,
            files: Vec::new(),
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// Bad input if it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let profile: Profile = KIND.read(path)?;
        if let Some(used) = profile.files.iter().find(|used| !used.is_sound()) {
            return Err(KIND.refuse(path, &format!("`{}`: path or pages that no file has", used.path)));
        }
        Ok(profile)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// Failed work if writing fails.
    pub fn write(&self, output: Output) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::failed(format!("cannot encode the profile: {error}"), "report this"))?;
        output.write(format!("{text}\n").as_bytes())
    }

    /// Takes in what a further boot read: what is not known yet comes behind what is.
    pub fn merge(&mut self, boot: Vec<Used>) {
        let mut known: HashMap<String, Vec<[u32; 2]>> = HashMap::new();
        for used in &self.files {
            let pages = known.entry(used.path.clone()).or_default();
            *pages = united(pages.iter().chain(&used.pages));
        }
        for mut used in boot {
            match known.get_mut(&used.path) {
                None => {
                    known.insert(used.path.clone(), used.pages.clone());
                }
                Some(pages) => {
                    used.pages = without(&used.pages, pages);
                    if used.pages.is_empty() {
                        continue;
                    }
                    *pages = united(pages.iter().chain(&used.pages));
                }
            }
            self.files.push(used);
        }
        self.boots += 1;
    }

    /// How many different paths it has.
    pub fn paths(&self) -> usize {
        self.files.iter().map(|used| &used.path).collect::<HashSet<_>>().len()
    }

    /// Bytes of contents that were read, in whole pages.
    pub fn bytes(&self) -> u64 {
        let pages = self.files.iter().flat_map(|used| &used.pages).map(|[_, pages]| u64::from(*pages));
        pages.fold(0, u64::saturating_add).saturating_mul(PAGE)
    }
}

impl Used {
    /// The path as the image has it.
    pub fn raw_path(&self) -> Option<Vec<u8>> {
        unescape(&self.path)
    }

    fn is_sound(&self) -> bool {
        let mut behind = 0;
        let ascending = self.pages.iter().all(|[first, count]| {
            let sound = u64::from(*first) >= behind && *count > 0;
            behind = u64::from(*first) + u64::from(*count);
            sound && behind <= u64::from(u32::MAX)
        });
        ascending && self.raw_path().is_some_and(|path| path.starts_with(b"/"))
    }
}

/// Pages of `pieces` that are not among the ascending `known`.
fn without(pieces: &[[u32; 2]], known: &[[u32; 2]]) -> Vec<[u32; 2]> {
    let mut left = Vec::new();
    for [first, count] in pieces {
        let (mut at, end) = (*first, first.saturating_add(*count));
        // Those before the first that reaches here are of no interest.
        let start = known.partition_point(|[first, count]| first.saturating_add(*count) <= at);
        for [first, count] in known.iter().skip(start).take_while(|[first, _]| *first < end) {
            if at < *first {
                left.push([at, first - at]);
            }
            at = at.max(first.saturating_add(*count));
        }
        if at < end {
            left.push([at, end - at]);
        }
    }
    left
}

/// Pages that are in any of these, as few pieces.
fn united<'p>(pieces: impl Iterator<Item = &'p [u32; 2]>) -> Vec<[u32; 2]> {
    let mut sorted: Vec<[u32; 2]> = pieces.copied().collect();
    sorted.sort_unstable();
    let mut united: Vec<[u32; 2]> = Vec::new();
    for [first, count] in sorted {
        let end = first.saturating_add(count);
        match united.last_mut().filter(|last| last[0].saturating_add(last[1]) >= first) {
            Some(last) => last[1] = last[1].max(end - last[0]),
            None => united.push([first, count]),
        }
    }
    united
}

/// `\xNN` for a byte that is not printable or not UTF-8, `\\` for a backslash.
fn escape(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (kind, behind) = rest.split_first()?;
        rest = behind;
        bytes.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'\'' | b'"' => *kind,
            b'x' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// Keeps what a board's own kernel traced of boots of the image in `folder`, a trace for each boot; with `until` only what is not later
/// than that, in seconds of the kernel's clock.
///
/// # Errors
/// Bad input if the folder is not ours, or a trace not one of its image.
pub fn from_traces(folder: &Path, traces: &[PathBuf], until: Option<f64>) -> Result<Profile> {
    let image = folder.join(manifest::EROFS);
    let mut profile = Profile::empty(manifest::read(folder)?);
    let inodes = trace::Inodes::of(&image)?;
    for path in traces {
        profile.merge_trace(&inodes, &image, path, until)?;
    }
    Ok(profile)
}

/// Boots `folder` in QEMU `runs` times until the end that `watch` names, and keeps what its image was read.
///
/// # Errors
/// Bad input if the folder is not ours, its image is compressed or does not lie on a partition of its disk; failed work if a boot
/// does not come to its end, or QEMU does not say what it reads.
pub fn record(folder: &Path, options: &Options, watch: &Watch, runs: u32) -> Result<Profile> {
    let manifest = manifest::read(folder)?;
    let image = folder.join(manifest::EROFS);
    let blocks = Blocks::of(&image)?;
    let partition = partition(folder, &image)?;
    let mut profile = Profile::empty(manifest);
    for _ in 0..runs {
        let reads = reads(boot::prepare(folder, options)?, options, watch)?;
        let inside = reads.iter().filter_map(|read| within(read, &partition));
        profile.merge(blocks.used(inside));
    }
    if profile.files.is_empty() {
        let what = format!("no boot of {} read its image from the disk", folder.display());
        return Err(Error::failed(
            what,
            "give the line that ends a boot as --end REGEX: what is read until then is kept",
        ));
    }
    Ok(profile)
}

/// Where on the folder's disk its image lies, in bytes.
fn partition(folder: &Path, image: &Path) -> Result<Range<u64>> {
    let path = folder.join(manifest::DISK);
    let missing = || {
        let what = format!("{}: the image is not on a partition of its own", folder.display());
        Error::bad_input(what, "profile a board with source `partition`: the profile holds for every source")
    };
    if !path.is_file() {
        let board = manifest::read(folder)?.board.name;
        let what =
            format!("{} has no {}: board {board} does not boot in QEMU from a disk", folder.display(), manifest::DISK);
        let hint = "record the same content on a board that does, as qemu-arm64, or by --trace on the board itself";
        return Err(Error::bad_input(what, hint));
    }
    let start = |path: &Path, at| -> Result<[u8; 1152]> {
        let mut bytes = [0; 1152];
        let file = File::open(path).map_err(Error::io("open", path))?;
        file.read_exact_at(&mut bytes, at).map_err(Error::io("read", path))?;
        Ok(bytes)
    };
    let wanted = start(image, 0)?;
    for found in disk::list(&path)? {
        if start(&path, found.start)? == wanted {
            return Ok(found.start..found.start + found.bytes);
        }
    }
    Err(missing())
}

/// The part of a read that lies in the partition, in bytes from its start.
pub fn within(read: &Range<u64>, partition: &Range<u64>) -> Option<Range<u64>> {
    let (start, end) = (read.start.max(partition.start), read.end.min(partition.end));
    (start < end).then(|| start - partition.start..end - partition.start)
}

/// Boots once; what was read from the disk, in order, in bytes.
fn reads(mut qemu: Qemu, options: &Options, watch: &Watch) -> Result<Vec<Range<u64>>> {
    let folder = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let path = folder.path().join("trace");
    let mut trace = OsString::from("enable=virtio_blk_handle_read,file=");
    trace.push(option_value(path.as_os_str()));
    qemu.extra.extend(["-trace".into(), trace]);
    folder::boot_machine(qemu, options, watch)?;
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let mut reads = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(Error::io("read", &path))?;
        reads.extend(read_of(&String::from_utf8_lossy(&line)));
    }
    if reads.is_empty() {
        let hint = "is its log backend for traces left out? Debian's has it (qemu-system-aarch64 -trace help)";
        return Err(Error::failed("QEMU said nothing of what its guest reads", hint));
    }
    Ok(reads)
}

/// Reads `virtio_blk_handle_read vdev 0x1 req 0x2 sector 3 nsectors 4`, whatever stands in front of it (hw/block/trace-events, QEMU 7.2
/// to 10).
fn read_of(line: &str) -> Option<Range<u64>> {
    let (_, rest) = line.split_once("virtio_blk_handle_read ")?;
    let value = |name: &str| {
        let mut words = rest.split_ascii_whitespace().skip_while(|word| *word != name);
        words.nth(1)?.parse::<u64>().ok()
    };
    let start = value("sector")?.checked_mul(SECTOR)?;
    Some(start..start.checked_add(value("nsectors")?.checked_mul(SECTOR)?)?)
}

#[cfg(test)]
mod tests;
