//! From a profile to what the target reads ahead.

use super::{PAGE, Profile, united};
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result, count};
use bootstrap::plan::{self, AHEAD_MAX_BYTES, List, Piece};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Pages between two pieces that are read along with them: a request costs a device as much as some 32 KiB (eMMC: 250 MB/s and 5000
/// requests a second; SD card: 20 MB/s and 500).
const GAP_PAGES: u64 = 8;
/// Bytes of a list's length in front of it.
const LENGTH_BYTES: usize = 5;
/// What a boot reads of a file within so many pages of others it reads in one go.
const TOGETHER_PAGES: u64 = 64;
/// Bytes of inodes read before the mount: what mount, overlay and the start of the next init look at, each of which would
/// otherwise be a request of its own.
const MOUNT_BYTES: u64 = 32 * 1024;
/// Pages of a piece of further inodes, pieces of them at most, and bytes in the list for those.
const INODES_PAGES: u64 = 4;
const INODES_PIECES: u64 = 64;
const INODES_BYTES: usize = 16 * INODES_PIECES as usize;
/// What the kernel reads along meanwhile, in sectors.
const ALONG_SECTORS: u16 = 64;

/// How the plan says that there is one.
pub(super) const WORDS: &str = "read ahead beside it";

/// What is read ahead of a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The pieces of each group of pages, encoded.
    items: Vec<Vec<u8>>,
    /// Files in the list.
    pub files: usize,
    /// Pages of them.
    pub pages: u64,
    /// Pieces of them: each at least one request.
    pub pieces: usize,
    /// Paths of the profile that the content does not have.
    pub unknown: usize,
    /// Paths with pages that are something else in the content: a folder, a link.
    pub changed: usize,
    /// Pages of the profile that lie behind the end of their file.
    pub behind: u64,
    /// Files that the list had no room for.
    pub left_out: usize,
}

impl Ahead {
    /// Resolves a profile for a content; returns the paths whose inodes and contents come first, in this order, too.
    ///
    /// # Errors
    /// Failed work if the list cannot be encoded.
    pub fn of(profile: &Profile, tree: &Tree) -> Result<(Vec<Vec<u8>>, Self)> {
        let (mut first, mut ahead) = (Vec::new(), Ahead::default());
        let mut groups = Groups::default();
        let mut known = HashSet::new();
        for used in &profile.files {
            let is_new = known.insert(used.path.as_str());
            let node = used.raw_path().and_then(|path| tree.nodes.get_key_value(&path));
            let Some((path, node)) = node else {
                ahead.unknown += usize::from(is_new);
                continue;
            };
            if is_new {
                first.push(path.clone());
            }
            let NodeKind::File(content) = &node.kind else {
                let had_pages = node.kind != NodeKind::Directory && !used.pages.is_empty();
                ahead.changed += usize::from(is_new && had_pages);
                continue;
            };
            let end = content.size.div_ceil(PAGE);
            ahead.behind += used.pages.iter().map(|piece| behind(*piece, end)).sum::<u64>();
            if let Ok(path) = std::str::from_utf8(path) {
                groups.add(path, &used.pages, end);
            }
        }
        ahead.take(&groups)?;
        Ok((first, ahead))
    }

    /// Takes in as many pieces as the list has room for.
    fn take(&mut self, groups: &Groups<'_>) -> Result<()> {
        let mut left = AHEAD_MAX_BYTES - LENGTH_BYTES - INODES_BYTES;
        let (mut files, mut left_out) = (HashSet::new(), HashSet::new());
        for group in &groups.list {
            let pieces = pieces(&group.pages, group.end);
            let mut own = Vec::new();
            for (index, [page, pages]) in pieces.iter().enumerate() {
                let path = if index == 0 { group.path } else { "" };
                own.extend(encoded(&Piece { path, page: *page, pages: *pages })?);
            }
            if own.is_empty() {
                continue;
            }
            if own.len() > left {
                left_out.insert(group.path);
                continue;
            }
            left -= own.len();
            self.items.push(own);
            files.insert(group.path);
            self.pieces += pieces.len();
            self.pages += pieces.iter().map(|[_, pages]| u64::from(*pages)).sum::<u64>();
        }
        (self.files, self.left_out) = (files.len(), left_out.len());
        Ok(())
    }

    /// What the plan says of it, for an image whose first `inodes` bytes hold the inodes that are used.
    pub fn plan(&self, inodes: u64) -> plan::Ahead {
        let metadata_bytes = u32::try_from(inodes.min(MOUNT_BYTES)).unwrap_or(u32::MAX);
        plan::Ahead { metadata_bytes, along_sectors: ALONG_SECTORS }
    }

    /// The list as it lies in the mini-initramfs. Further inodes come in good time between the files, whose order they have.
    ///
    /// # Errors
    /// Failed work if it cannot be encoded.
    pub fn list(&self, inodes: u64) -> Result<Vec<u8>> {
        let (mut at, end) = (MOUNT_BYTES / PAGE, inodes.div_ceil(PAGE));
        let all = end.saturating_sub(at);
        let step = all.div_ceil(INODES_PIECES).max(INODES_PAGES);
        let mut items = Vec::new();
        for (number, item) in (0..).zip(&self.items) {
            // One step before a file's own inode.
            while at < end && at < MOUNT_BYTES / PAGE + all * number / self.items.len() as u64 + step {
                let pages = step.min(end - at);
                let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                items.extend(encoded(&Piece { path: "/", page: narrow(at), pages: narrow(pages) })?);
                at += pages;
            }
            items.extend(item);
        }
        encoded(&List::<Piece<'_>>::of_encoded(&items))
    }
}

/// Pieces of files in the order of reading.
#[derive(Default)]
struct Groups<'p> {
    list: Vec<Group<'p>>,
    /// The last of each file.
    last: HashMap<&'p str, usize>,
    /// Pages so far.
    pages: u64,
}

/// Pages of a file that are read one after the other.
struct Group<'p> {
    path: &'p str,
    pages: Vec<[u32; 2]>,
    /// Pages of the whole file.
    end: u64,
    /// Pages of all groups before it.
    before: u64,
}

impl<'p> Groups<'p> {
    /// Further pages of a file: with the last of it, if that is not long ago.
    fn add(&mut self, path: &'p str, pages: &[[u32; 2]], end: u64) {
        let before = self.pages;
        self.pages += pages.iter().map(|[_, count]| u64::from(*count)).sum::<u64>();
        let last = self.last.get(path).and_then(|index| self.list.get_mut(*index));
        if let Some(last) = last.filter(|last| before - last.before <= TOGETHER_PAGES) {
            last.pages.extend(pages);
            return;
        }
        self.last.insert(path, self.list.len());
        self.list.push(Group { path, pages: pages.to_vec(), end, before });
    }
}

impl Ahead {
    /// What of a profile does not fit the content that it is used for, in words; none if all of it does.
    pub fn misfits(&self, profile: &Profile) -> Option<String> {
        let parts = [
            (self.unknown as u64, format!("{} it does not have", count(self.unknown, "path"))),
            (self.changed as u64, format!("{} that is no file in it", count(self.changed, "path"))),
            (self.behind, format!("{} behind the end of their file", count(self.behind as usize, "page"))),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|(number, _)| *number > 0).map(|(_, words)| words).collect();
        let all = count(profile.paths(), "path");
        (!parts.is_empty()).then(|| format!("the profile, of {all}, is of another content: {}", parts.join(", ")))
    }
}

/// Pages of a piece that lie behind the end of a file of so many.
fn behind([first, count]: [u32; 2], end: u64) -> u64 {
    let (first, last) = (u64::from(first), u64::from(first) + u64::from(count));
    last.saturating_sub(first.max(end))
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ahead { files, pages, pieces, .. } = self;
        let mib = *pages as f64 * PAGE as f64 / f64::from(1 << 20);
        write!(f, "{WORDS}: {mib:.1} MiB of {}, in {}", count(*files, "file"), count(*pieces, "piece"))
    }
}

/// Pieces of a file of so many pages, those with small gaps as one.
fn pieces(used: &[[u32; 2]], pages: u64) -> Vec<[u32; 2]> {
    let mut pieces: Vec<[u32; 2]> = Vec::new();
    for [first, count] in united(used.iter()) {
        let (first, end) = (u64::from(first), (u64::from(first) + u64::from(count)).min(pages));
        if first >= end {
            continue;
        }
        let last = pieces.last_mut().filter(|last| u64::from(last[0]) + u64::from(last[1]) + GAP_PAGES >= first);
        // All are pages of one file, so that 32 bits hold them.
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match last {
            Some(last) => last[1] = narrow(end - u64::from(last[0])),
            None => pieces.push([narrow(first), narrow(end - first)]),
        }
    }
    pieces
}

fn encoded(item: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut buffer = vec![0; AHEAD_MAX_BYTES];
    let bytes = postcard::to_slice(item, &mut buffer);
    let bytes =
        bytes.map_err(|error| Error::failed(format!("cannot encode what is read ahead: {error}"), "report this"))?;
    Ok(bytes.to_vec())
}
