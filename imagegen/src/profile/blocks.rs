//! From blocks of an image to what lies in them.

use super::{PAGE, Used, escape, united};
use crate::Result;
use crate::erofs::{self, Extent};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

/// What lies where in an image.
pub struct Blocks {
    paths: Vec<Vec<u8>>,
    /// Pages of contents: first byte in the image to file and first page. Whole blocks, so that each page is one.
    contents: BTreeMap<u64, Piece>,
    /// Inodes and what lies behind them, by block.
    inodes: BTreeMap<u64, Vec<usize>>,
}

/// A piece of a content.
struct Piece {
    file: usize,
    page: u64,
    bytes: u64,
}

impl Blocks {
    /// Goes through the image at `path`.
    ///
    /// # Errors
    /// Bad input if it is no image, or compressed.
    pub fn of(path: &Path) -> Result<Self> {
        let mut blocks = Blocks { paths: Vec::new(), contents: BTreeMap::new(), inodes: BTreeMap::new() };
        erofs::places(path, &mut |inside, extents| {
            let file = blocks.paths.len();
            blocks.paths.push(inside.to_vec());
            for extent in extents {
                match extent {
                    Extent::Inode(range) => {
                        for block in range.start / PAGE..=(range.end - 1) / PAGE {
                            blocks.inodes.entry(block).or_default().push(file);
                        }
                    }
                    Extent::Content { at, offset, bytes } => {
                        // Hard links have one content: the first path stands for all.
                        let piece = Piece { file, page: offset / PAGE, bytes };
                        blocks.contents.entry(at).or_insert(piece);
                    }
                }
            }
        })?;
        Ok(blocks)
    }

    /// What was used by reads of these bytes, in their order.
    pub fn used(&self, reads: impl Iterator<Item = Range<u64>>) -> Vec<Used> {
        let mut seen = Seen::default();
        for read in reads {
            for block in read.start / PAGE..read.end.div_ceil(PAGE) {
                for (file, page) in self.in_block(block) {
                    seen.add(file, page);
                }
            }
        }
        seen.used(&self.paths)
    }

    /// Files in a block, with the page where it is content.
    fn in_block(&self, block: u64) -> Vec<(usize, Option<u32>)> {
        let at = block * PAGE;
        let content = self.contents.range(..=at).next_back().filter(|(start, piece)| at - *start < piece.bytes);
        if let Some((start, piece)) = content {
            let page = u32::try_from(piece.page + (at - start) / PAGE).ok();
            return vec![(piece.file, page)];
        }
        self.inodes.get(&block).into_iter().flatten().map(|file| (*file, None)).collect()
    }
}

/// What was used, in the order in which it was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Pages of files that came one after the other.
    order: Vec<(usize, BTreeSet<u32>)>,
    known: HashMap<usize, HashSet<u32>>,
}

impl Seen {
    /// Notes a file, and a page of it if it is content that was read.
    pub(super) fn add(&mut self, file: usize, page: Option<u32>) {
        let is_first = !self.known.contains_key(&file);
        let known = self.known.entry(file).or_default();
        if !page.map_or(is_first, |page| known.insert(page)) {
            return;
        }
        match self.order.last_mut() {
            Some((last, pages)) if *last == file => pages.extend(page),
            _ => self.order.push((file, page.into_iter().collect())),
        }
    }

    /// The same by paths.
    pub(super) fn used(&self, paths: &[Vec<u8>]) -> Vec<Used> {
        let used = |(file, pages): &(usize, BTreeSet<u32>)| {
            let pieces: Vec<[u32; 2]> = pages.iter().map(|page| [*page, 1]).collect();
            let path = escape(paths.get(*file).map_or(&[][..], Vec::as_slice));
            Used { path, pages: united(pieces.iter()) }
        };
        self.order.iter().map(used).collect()
    }
}
