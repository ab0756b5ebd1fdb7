//! Where everything of an image that is to be written lies.

use super::format::{self, BLOCK, Layout};
use super::writer::Inode;
use crate::tree::NodeKind;

/// How many blocks with room are remembered for an inode that does not fit the last one.
const GAPS: usize = 64;

/// Places of a whole image.
#[derive(Debug, Default)]
pub struct Places {
    /// Those of the inodes, in their order.
    pub inodes: Vec<Place>,
    /// What a directory says of each inode's kind.
    pub kinds: Vec<u8>,
    /// Indices of inodes with blocks of their own, in the order of those.
    pub contents: Vec<usize>,
    /// Bytes in front of the contents: superblock and inodes, whole blocks.
    pub metadata_bytes: u64,
    /// Bytes of them up to the end of what is used first.
    pub hot_bytes: u64,
    /// Bytes of the image, whole blocks.
    pub bytes: u64,
}

/// Place of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where it lies, in bytes: a multiple of [`format::SLOT`].
    pub at: u64,
    /// Whether the end of its content lies behind it.
    pub layout: Layout,
    /// Bytes of content in blocks of its own.
    pub stored: u64,
    /// The first of those blocks.
    pub block: u32,
}

impl Place {
    /// Number of the inode.
    pub fn number(&self) -> u64 {
        self.at / format::SLOT
    }
}

/// Gives every inode a place from `start` on, the first `hot` of them in front; none if there is no room for all.
pub fn assign(inodes: &[Inode<'_>], hot: usize, start: u64, inline: bool) -> Option<Places> {
    let mut places = Places::default();
    let mut room = Room { next: start, gaps: Vec::new() };
    for (index, inode) in inodes.iter().enumerate() {
        places.inodes.push(room.place(inode, inline));
        places.kinds.push(format::kind(&inode.node.kind));
        if index + 1 == hot {
            places.hot_bytes = room.next;
            // What is not used first fills no gap between what is.
            room.gaps.clear();
        }
    }
    places.metadata_bytes = room.next.next_multiple_of(BLOCK);
    let mut block = places.metadata_bytes / BLOCK;
    for (index, place) in places.inodes.iter_mut().enumerate().filter(|(_, place)| place.stored > 0) {
        place.block = u32::try_from(block).ok()?;
        block += place.stored.div_ceil(BLOCK);
        places.contents.push(index);
    }
    // `blocks` of the superblock.
    u32::try_from(block).ok()?;
    places.bytes = block * BLOCK;
    Some(places)
}

/// Room for inodes.
struct Room {
    /// Behind the last of them.
    next: u64,
    /// Ends of blocks that stayed free: start and end.
    gaps: Vec<(u64, u64)>,
}

impl Room {
    /// Finds a place for an inode. It lies in one block with all that is behind it, if that fits one: the kernel looks for the
    /// end of a content in the same block only (`erofs_map_blocks` in fs/erofs/data.c).
    fn place(&mut self, inode: &Inode<'_>, inline: bool) -> Place {
        let fixed = format::inode_bytes(inode) + inode.attributes.len() as u64;
        if let Some(index) = inode.packed {
            let stored = u64::from(index.blocks) * BLOCK;
            return Place { at: self.take(fixed + index.len()), layout: Layout::Packed, stored, block: 0 };
        }
        let tail = inode.size % BLOCK;
        let may = inline || !matches!(inode.node.kind, NodeKind::File(_));
        let layout = if may && tail > 0 && fixed + tail <= BLOCK { Layout::Inline } else { Layout::Plain };
        let (bytes, stored) = match layout {
            Layout::Inline => (fixed + tail, inode.size - tail),
            Layout::Plain | Layout::Packed => (fixed, inode.size),
        };
        Place { at: self.take(bytes), layout, stored, block: 0 }
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(format::SLOT);
        if let Some(gap) = self.gaps.iter_mut().find(|(start, end)| end - start >= bytes) {
            gap.0 += bytes;
            return gap.0 - bytes;
        }
        let end = self.next.next_multiple_of(BLOCK);
        if end - self.next < bytes && end > self.next {
            self.gaps.push((self.next, end));
            if self.gaps.len() > GAPS {
                self.gaps.remove(0);
            }
            self.next = end;
        }
        self.next += bytes;
        self.next - bytes
    }
}
