//! From blocks of an image to what lies in them.

use super::{PAGE, Used, escape, united};
use crate::Result;
use crate::erofs::{self, Extent};
use std::collections::{BTreeMap, BTreeSet};
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
        let content = self.contents.range(..=at).next_back().filter(|(start, piece)| at < *start + piece.bytes);
        if let Some((start, piece)) = content {
            let page = u32::try_from(piece.page + (at - start) / PAGE).ok();
            return vec![(piece.file, page)];
        }
        self.inodes.get(&block).into_iter().flatten().map(|file| (*file, None)).collect()
    }
}

/// What was used, in the order in which it was first seen.
#[derive(Default)]
pub(super) struct Seen {
    order: Vec<usize>,
    pages: BTreeMap<usize, BTreeSet<u32>>,
}

impl Seen {
    /// Notes a file, and a page of it if it is content that was read.
    pub(super) fn add(&mut self, file: usize, page: Option<u32>) {
        let known = self.pages.entry(file).or_insert_with(|| {
            self.order.push(file);
            BTreeSet::new()
        });
        known.extend(page);
    }

    /// The same by paths.
    pub(super) fn used(&self, paths: &[Vec<u8>]) -> Vec<Used> {
        let used = |file: &usize| {
            let pieces: Vec<[u32; 2]> = self.pages.get(file).into_iter().flatten().map(|page| [*page, 1]).collect();
            let path = escape(paths.get(*file).map_or(&[][..], Vec::as_slice));
            Used { path, pages: united(pieces.iter()) }
        };
        self.order.iter().map(used).collect()
    }
}
