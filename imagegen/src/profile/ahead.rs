//! From a profile to what the target reads ahead.

use super::{PAGE, Profile};
use crate::tree::{NodeKind, Tree};
use crate::{Error, Result, count};
use bootstrap::plan::{AHEAD_MAX_BYTES, List, Piece};
use std::fmt;

/// Pages between two pieces that are read along with them: a request costs a device as much as some 32 KiB (eMMC: 250 MB/s and 5000
/// requests a second; SD card: 20 MB/s and 500).
const GAP_PAGES: u64 = 8;
/// Bytes of a list's length in front of it.
const LENGTH_BYTES: usize = 5;

/// How the plan says that there is one.
pub(super) const WORDS: &str = "read ahead beside it";

/// What is read ahead of a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The list as it lies in the mini-initramfs.
    pub list: Vec<u8>,
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
        let mut items = Vec::new();
        for used in &profile.files {
            let known = used.raw_path().and_then(|path| tree.nodes.get_key_value(&path));
            let Some((path, node)) = known else {
                ahead.unknown += 1;
                continue;
            };
            first.push(path.clone());
            let NodeKind::File(content) = &node.kind else {
                let had_pages = node.kind != NodeKind::Directory && !used.pages.is_empty();
                ahead.changed += usize::from(had_pages);
                continue;
            };
            let end = content.size.div_ceil(PAGE);
            ahead.behind += used.pages.iter().map(|piece| behind(*piece, end)).sum::<u64>();
            let pieces = pieces(&used.pages, end);
            let Ok(path) = std::str::from_utf8(path) else { continue };
            let mut own = Vec::new();
            for (index, [page, pages]) in pieces.iter().enumerate() {
                own.extend(encoded(&Piece { path: if index == 0 { path } else { "" }, page: *page, pages: *pages })?);
            }
            if own.is_empty() {
                continue;
            }
            if items.len() + own.len() + LENGTH_BYTES > AHEAD_MAX_BYTES {
                ahead.left_out += 1;
                continue;
            }
            items.extend(own);
            ahead.files += 1;
            ahead.pieces += pieces.len();
            ahead.pages += pieces.iter().map(|[_, pages]| u64::from(*pages)).sum::<u64>();
        }
        ahead.list = encoded(&List::<Piece<'_>>::of_encoded(&items))?;
        Ok((first, ahead))
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
        let all = count(profile.files.len(), "path");
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
    for [first, count] in used {
        let (first, end) = (u64::from(*first), (u64::from(*first) + u64::from(*count)).min(pages));
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
