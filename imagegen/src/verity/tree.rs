//! The hash tree of dm-verity, format 1: level by level a digest for each block of the level below, salt first, the last
//! block of a level filled up with zeros. On disk the top level comes first (drivers/md/dm-verity-target.c, `verity_ctr`).
//!
//! The digests of a level lie one after the other: each level is hashed from what lies on disk into the level above it,
//! and checked against it in the other direction, by reading both front to back.

use super::BLOCK;
use bootstrap::trailer::BLOCK_BYTES;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;

/// Bytes of a digest.
const DIGEST: usize = 32;
/// Digests in a block.
const PER_BLOCK: u64 = (BLOCK_BYTES / DIGEST) as u64;
/// Blocks read at a time.
const CHUNK: u64 = 1024;

/// Blocks that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    start: u64,
    blocks: u64,
}

/// Where data and tree lie in a file.
#[derive(Debug)]
pub struct Tree {
    /// The data, then the level over it, and so on; the last has one block.
    regions: Vec<Region>,
    /// The first block behind the tree.
    end: u64,
}

impl Tree {
    /// The tree from block `hash_start` on over the first `data_blocks`, at least one.
    pub fn new(data_blocks: u64, hash_start: u64) -> Self {
        let mut regions = vec![Region { start: 0, blocks: data_blocks }];
        let mut blocks = data_blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil(PER_BLOCK);
            regions.push(Region { start: 0, blocks });
        }
        let mut end = hash_start;
        for level in regions.iter_mut().skip(1).rev() {
            level.start = end;
            end = end.saturating_add(level.blocks);
        }
        Tree { regions, end }
    }

    /// The first block behind it.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Writes the tree, for which the file has room filled with zeros; returns the root hash.
    pub fn write(&self, file: &File, salt: &[u8]) -> io::Result<[u8; DIGEST]> {
        for (level, above) in self.regions.iter().zip(self.regions.iter().skip(1)) {
            hash(file, *level, salt, &mut |index, digests| {
                file.write_all_at(digests, digests_at(*above, index))?;
                Ok(true)
            })?;
        }
        self.root(file, salt)
    }

    /// Checks the tree from its root to the data, as the kernel would; returns the first wrong block. `progress` is called with
    /// the blocks done so far.
    pub fn first_wrong(
        &self,
        file: &File,
        salt: &[u8],
        root_hash: &[u8; DIGEST],
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Option<u64>> {
        if self.root(file, salt)? != *root_hash {
            return Ok(self.regions.last().map(|top| top.start));
        }
        let mut wrong = None;
        for (level, above) in self.regions.iter().zip(self.regions.iter().skip(1)).rev() {
            hash(file, *level, salt, &mut |index, digests| {
                let mut wanted = vec![0; digests.len()];
                file.read_exact_at(&mut wanted, digests_at(*above, index))?;
                let pairs = digests.chunks(DIGEST).zip(wanted.chunks(DIGEST));
                let differs = pairs.into_iter().position(|(found, wanted)| found != wanted);
                wrong = differs.map(|at| level.start + index + at as u64);
                progress(index);
                Ok(wrong.is_none())
            })?;
            if wrong.is_some() {
                break;
            }
        }
        Ok(wrong)
    }

    /// The digest of the one block at the top.
    fn root(&self, file: &File, salt: &[u8]) -> io::Result<[u8; DIGEST]> {
        let mut block = [0; BLOCK_BYTES];
        if let Some(top) = self.regions.last() {
            file.read_exact_at(&mut block, top.start.saturating_mul(BLOCK))?;
        }
        Ok(salted(salt, &block))
    }
}

/// Where the digest of block `index` of the level below lies, in bytes.
fn digests_at(level: Region, index: u64) -> u64 {
    level.start.saturating_mul(BLOCK).saturating_add(index.saturating_mul(DIGEST as u64))
}

/// Hands the digests of a region's blocks to `sink`, many at a time, with the index of the first; until it has seen enough.
fn hash(
    file: &File,
    region: Region,
    salt: &[u8],
    sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let mut index = 0;
    let mut chunk = vec![0; (CHUNK.min(region.blocks) * BLOCK) as usize];
    while index < region.blocks {
        let blocks = CHUNK.min(region.blocks - index);
        chunk.truncate((blocks * BLOCK) as usize);
        file.read_exact_at(&mut chunk, (region.start + index).saturating_mul(BLOCK))?;
        if !sink(index, &digests(&chunk, salt))? {
            break;
        }
        index += blocks;
    }
    Ok(())
}

/// The digests of blocks, one after the other; by two threads.
pub fn digests(blocks: &[u8], salt: &[u8]) -> Vec<u8> {
    let hash = |blocks: &[u8]| blocks.chunks(BLOCK_BYTES).flat_map(|block| salted(salt, block)).collect::<Vec<u8>>();
    let half = (blocks.len() / 2).next_multiple_of(BLOCK_BYTES).min(blocks.len());
    let (first, second) = blocks.split_at(half);
    if second.is_empty() {
        return hash(first);
    }
    thread::scope(|scope| {
        let other = scope.spawn(|| hash(second));
        let mut digests = hash(first);
        match other.join() {
            Ok(more) => digests.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        digests
    })
}

fn salted(salt: &[u8], block: &[u8]) -> [u8; DIGEST] {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_the_kernels() {
        let regions = |blocks| {
            let tree = Tree::new(blocks, blocks + 1);
            let levels: Vec<_> = tree.regions[1..].iter().map(|level| (level.start, level.blocks)).collect();
            (levels, tree.end())
        };
        assert_eq!(regions(1), (vec![], 2));
        assert_eq!(regions(2), (vec![(3, 1)], 4));
        assert_eq!(regions(128), (vec![(129, 1)], 130));
        assert_eq!(regions(129), (vec![(131, 2), (130, 1)], 133));
        assert_eq!(regions(16_385), (vec![(16_389, 129), (16_387, 2), (16_386, 1)], 16_518));
    }
}
