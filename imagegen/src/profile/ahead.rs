//! From a profile to what the target reads ahead.

use super::{PAGE, Profile, united};
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result, count};
use bootstrap::plan::{self, AHEAD_MAX_BYTES, List, Piece};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Pages between two pieces that are read along with them: a request costs a device as much as some 32 KiB (eMMC: 250 MB/s and 5000
/// requests a second; SD card: 20 MB/s and 500).
const GAP_PAGES: u64 = 8;
/// Bytes of a list's length in front of it.
const LENGTH_BYTES: usize = 5;
/// Pages of a request, so that what is wanted later does not hold up what comes first: as the kernel reads along by itself.
const REQUEST_PAGES: u32 = 32;
/// Bytes of inodes read before the mount: what mount, overlay and the start of the next init look at, each of which would
/// otherwise be a request of its own.
const MOUNT_BYTES: u64 = 32 * 1024;
/// Pages of a piece of further inodes, pieces of them at most, and bytes in the list for those.
const INODES_PAGES: u64 = 4;
const INODES_PIECES: u64 = 64;
const INODES_BYTES: usize = 16 * INODES_PIECES as usize;

/// How the plan says that there is one.
pub(super) const WORDS: &str = "read ahead beside it";
/// How it says that the boot is to be profiled.
pub(super) const RECORDING: &str = "read page by page, to be profiled";

/// What is read ahead of a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Whether nothing is, because what is read is to be recorded.
    records: bool,
    /// Path, first page, and how many.
    items: Vec<(String, u32, u32)>,
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
        let mut wanted = Wanted::default();
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
                wanted.add(path, &used.pages, end);
            }
        }
        ahead.take(&wanted)?;
        Ok((first, ahead))
    }

    /// Takes in as many requests as the list has room for.
    fn take(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let mut left = AHEAD_MAX_BYTES - LENGTH_BYTES - INODES_BYTES;
        let (mut files, mut left_out, mut last) = (HashSet::new(), HashSet::new(), "");
        for Request { path, page, pages, .. } in wanted.requests() {
            let own = encoded(&Piece { path: if path == last { "" } else { path }, page, pages })?.len();
            if own > left {
                left_out.insert(path);
                continue;
            }
            (left, last) = (left - own, path);
            self.items.push((path.to_owned(), page, pages));
            files.insert(path);
            self.pieces += 1;
            self.pages += u64::from(pages);
        }
        (self.files, self.left_out) = (files.len(), left_out.len());
        Ok(())
    }

    /// For a boot that reads what is used alone.
    pub fn recording() -> Self {
        Ahead { records: true, ..Ahead::default() }
    }

    /// Whether it is that.
    pub const fn is_recording(&self) -> bool {
        self.records
    }

    /// What the plan says of it, for an image whose first `inodes` bytes hold the inodes that are used.
    pub fn plan(&self, inodes: u64) -> plan::Ahead {
        let inodes = if self.records { 0 } else { inodes.min(MOUNT_BYTES) };
        plan::Ahead { metadata_bytes: u32::try_from(inodes).unwrap_or(u32::MAX), page_by_page: self.records }
    }

    /// The list as it lies in the mini-initramfs. Further inodes come in good time between the files, whose order they have.
    ///
    /// # Errors
    /// Failed work if it cannot be encoded.
    pub fn list(&self, inodes: u64) -> Result<Vec<u8>> {
        let (mut at, end) = (MOUNT_BYTES / PAGE, inodes.div_ceil(PAGE));
        let all = end.saturating_sub(at);
        let step = all.div_ceil(INODES_PIECES).max(INODES_PAGES);
        let (mut items, mut last) = (Vec::new(), "");
        let mut add = |path, page, pages| -> Result<()> {
            let own = encoded(&Piece { path: if path == last { "" } else { path }, page, pages })?;
            if items.len() + own.len() + LENGTH_BYTES <= AHEAD_MAX_BYTES {
                items.extend(own);
                last = path;
            }
            Ok(())
        };
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let count = self.items.len() as u64;
        let mut of = "";
        for (number, item) in (0..).zip(self.items.iter().map(Some).chain([None])) {
            // Between files: within one its path would have to be said again.
            let is_between = item.is_none_or(|(path, ..)| path != of);
            // One step before a file's own inode.
            let due = if number < count { MOUNT_BYTES / PAGE + all * number / count + step } else { end };
            while is_between && at < end.min(due) {
                let pages = step.min(end - at);
                add("/", narrow(at), narrow(pages))?;
                at += pages;
            }
            if let Some((path, page, pages)) = item {
                add(path, *page, *pages)?;
                of = path;
            }
        }
        encoded(&List::<Piece<'_>>::of_encoded(&items))
    }
}

/// What is read of every file.
#[derive(Default)]
struct Wanted<'p> {
    files: BTreeMap<&'p str, File>,
    /// Pieces of the profile so far.
    moment: usize,
}

/// What is read of a file.
#[derive(Default)]
struct File {
    /// Pages of the whole file.
    end: u64,
    /// Pages, and when they are read.
    pages: Vec<([u32; 2], usize)>,
}

/// A request.
struct Request<'p> {
    moment: usize,
    path: &'p str,
    page: u32,
    pages: u32,
}

impl<'p> Wanted<'p> {
    /// Pages that are read next.
    fn add(&mut self, path: &'p str, pages: &[[u32; 2]], end: u64) {
        let file = self.files.entry(path).or_default();
        file.end = end;
        file.pages.extend(pages.iter().map(|piece| (*piece, self.moment)));
        self.moment += 1;
    }

    /// As few requests as that takes, each when the first of its pages is read; those of one file that then follow each other are one.
    fn requests(&self) -> Vec<Request<'p>> {
        let mut all: Vec<Request<'p>> = self.files.iter().flat_map(|(path, file)| file.requests(path)).collect();
        all.sort_by_key(|request| (request.moment, request.path, request.page));
        let mut joined: Vec<Request<'p>> = Vec::new();
        for request in all {
            match joined
                .last_mut()
                .filter(|last| (last.path, last.page.saturating_add(last.pages)) == (request.path, request.page))
            {
                Some(last) => last.pages += request.pages,
                None => joined.push(request),
            }
        }
        joined
    }
}

impl File {
    fn requests<'p>(&self, path: &'p str) -> Vec<Request<'p>> {
        let used: Vec<[u32; 2]> = self.pages.iter().map(|(pages, _)| *pages).collect();
        let mut requests = Vec::new();
        for [first, count] in pieces(&used, self.end) {
            let steps = (0..count).step_by(REQUEST_PAGES as usize);
            requests.extend(steps.map(|step| Request {
                moment: usize::MAX,
                path,
                page: first + step,
                pages: REQUEST_PAGES.min(count - step),
            }));
        }
        for ([first, count], moment) in &self.pages {
            let end = |request: &Request<'_>| request.page.saturating_add(request.pages);
            let from = requests.partition_point(|request| end(request) <= *first);
            let last = first.saturating_add(*count);
            let own = requests.iter_mut().skip(from).take_while(|request| request.page < last);
            own.for_each(|request| request.moment = request.moment.min(*moment));
        }
        requests
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
        if self.records {
            return f.write_str(RECORDING);
        }
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
