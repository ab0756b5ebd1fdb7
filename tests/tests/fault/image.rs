//! The EROFS image: cut, written only to a point, its superblock flipped, or another image than the plan's.
//!
//! `bootstrap` refuses what the kernel would mount; the kernel refuses the rest. The plan pins the image wherever the
//! fault is one that only its UUID or the CRC of its last bytes can show.

use crate::case::{Expected, On, Scene, refused};
use bootstrap::Step::{Device, Mount};
use bootstrap::plan::{self, List};
use tests::Result;
use tests::cpio::Entry;
use tests::image::{IMAGE_PATH, Identity, PLAN, Parts, Place};

const EINVAL: u32 = 22;
const EBADMSG: u32 = 74;
/// Where the superblock lies.
const SUPERBLOCK: usize = 1024;

/// Where its fields lie: `struct erofs_super_block`, fs/erofs/erofs_fs.h, Linux 6.12.
pub mod field {
    pub const MAGIC: usize = 0;
    pub const CHECKSUM: usize = 4;
    pub const BLOCK_BITS: usize = 12;
    pub const ROOT: usize = 14;
    pub const BLOCKS: usize = 36;
    pub const UUID: usize = 48;
    pub const LABEL: usize = 64;
    pub const FEATURES: usize = 80;
}

/// CRC-32C as the kernel has it in the superblock: start value all ones, not inverted at the end, over the rest of the first
/// block with the checksum itself as zero (`erofs_superblock_csum_verify()`, fs/erofs/super.c).
fn checksum(image: &[u8]) -> u32 {
    let mut block = image[SUPERBLOCK..4096].to_vec();
    block[field::CHECKSUM..field::CHECKSUM + 4].fill(0);
    block.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

/// Writes the checksum that the image ought to have.
///
/// # Errors
/// If the one it had was computed in another way.
pub fn with_checksum(image: &mut [u8], change: impl FnOnce(&mut [u8])) -> Result<()> {
    let at = SUPERBLOCK + field::CHECKSUM;
    if image[at..at + 4] != checksum(image).to_le_bytes() {
        return Err("the checksum that mkfs.erofs wrote is not the one computed here".into());
    }
    change(&mut image[SUPERBLOCK..]);
    let sum = checksum(image);
    image[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Replaces the image's bytes, wherever it lies.
///
/// # Errors
/// If reading or writing fails.
pub fn change(on: &On, parts: &mut Parts, change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let mut bytes = std::fs::read(&parts.erofs)?;
    change(&mut bytes)?;
    std::fs::write(&parts.erofs, &bytes)?;
    if on.place == Place::Initramfs {
        parts.replace(IMAGE_PATH.trim_start_matches('/'), 0o644, bytes);
    }
    Ok(())
}

/// Parts whose plan pins the image as it is now.
///
/// # Errors
/// If they cannot be made.
pub fn pinned(on: &On) -> Result<Parts> {
    let mut parts = on.parts()?;
    let identity = Identity::of(&std::fs::read(&parts.erofs)?)?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let pinned = plan.slots.into_iter().map(|slot| plan::Slot { image: identity.pin(), ..slot });
    let mut buffer = vec![0; plan::MAX_BYTES];
    plan.slots = List::encode(pinned, &mut buffer)?;
    parts.set_plan(&plan)?;
    Ok(parts)
}

/// An image that the plan pins and that is whole.
pub fn whole(on: &On) -> Result<Scene> {
    Ok(Scene::new(on, pinned(on)?, Expected::Boots))
}

/// Only the first bytes are there: a file that ends, or a partition as long as what is left, in blocks of 4 KiB.
pub fn cut(on: &On, length: Option<usize>) -> Result<Scene> {
    let mut parts = on.parts()?;
    change(on, &mut parts, |bytes| {
        bytes.truncate(length.unwrap_or(bytes.len() / 2));
        Ok(())
    })?;
    let cause = match (length, on.place) {
        (Some(0..=SUPERBLOCK), Place::Initramfs | Place::File(_)) => "shorter than an EROFS superblock",
        (Some(0..=SUPERBLOCK), Place::Partition) => "no EROFS superblock",
        _ => "EROFS image is truncated",
    };
    Ok(Scene::new(on, parts, refused(Mount, cause, EINVAL)))
}

/// The image was written only to a point; behind it are zeros. Both the partition and the file are as long as ever, and the
/// kernel mounts what has a superblock.
pub fn zeroed(on: &On, length: Option<usize>) -> Result<Scene> {
    let mut parts = pinned(on)?;
    change(on, &mut parts, |bytes| {
        let length = length.unwrap_or(bytes.len() / 2);
        bytes[length..].fill(0);
        Ok(())
    })?;
    let cause = match length {
        Some(0..=SUPERBLOCK) => "no EROFS superblock",
        _ => "end of the EROFS image is wrong",
    };
    Ok(Scene::new(on, parts, refused(Mount, cause, EINVAL)))
}

/// One bit of the superblock; the checksum stays what it was.
pub fn flipped(on: &On, at: usize, cause: &str, errno: u32) -> Result<Scene> {
    let mut parts = on.parts()?;
    change(on, &mut parts, |bytes| {
        bytes[SUPERBLOCK + at] ^= 0x10;
        Ok(())
    })?;
    Ok(Scene::new(on, parts, refused(Mount, cause, errno)))
}

/// One bit of the UUID that the plan pins: refused before the kernel looks at the checksum.
pub fn uuid_flipped(on: &On) -> Result<Scene> {
    let mut parts = pinned(on)?;
    change(on, &mut parts, |bytes| with_checksum(bytes, |superblock| superblock[field::UUID + 15] ^= 1))?;
    Ok(Scene::new(on, parts, refused(Mount, "not the image of this plan", EINVAL)))
}

/// A field with another value and the checksum that belongs to it.
pub fn written(on: &On, pin: bool, set: impl FnOnce(&mut [u8]), cause: &str, errno: u32) -> Result<Scene> {
    let mut parts = if pin { pinned(on)? } else { on.parts()? };
    change(on, &mut parts, |bytes| with_checksum(bytes, set))?;
    Ok(Scene::new(on, parts, refused(Mount, cause, errno)))
}

/// The checksum itself.
pub fn checksum_flipped(on: &On) -> Result<Scene> {
    flipped(on, field::CHECKSUM, "cannot mount EROFS", EBADMSG)
}

/// A feature that no kernel has, and its checksum.
pub fn unknown_feature(on: &On) -> Result<Scene> {
    written(on, false, |superblock| superblock[field::FEATURES + 3] |= 0x80, "cannot mount EROFS", EINVAL)
}

/// Blocks of 8 KiB, larger than a page (fs/erofs/super.c takes 512 bytes to a page, Linux 6.1 exactly a page).
pub fn large_blocks(on: &On) -> Result<Scene> {
    let set = |superblock: &mut [u8]| {
        superblock[field::BLOCK_BITS] = 13;
        superblock[field::BLOCKS..field::BLOCKS + 4].copy_from_slice(&1_u32.to_le_bytes());
    };
    written(on, false, set, "cannot mount EROFS", EINVAL)
}

/// The superblock says one block more, or one less, than the image has.
pub fn blocks(on: &On, more: bool) -> Result<Scene> {
    let set = |superblock: &mut [u8]| {
        let at = field::BLOCKS..field::BLOCKS + 4;
        let blocks = u32::from_le_bytes(superblock[at.clone()].try_into().unwrap_or_default());
        let blocks = if more { blocks + 1 } else { blocks - 1 };
        superblock[at].copy_from_slice(&blocks.to_le_bytes());
    };
    let cause = if more { "EROFS image is truncated" } else { "end of the EROFS image is wrong" };
    written(on, !more, set, cause, EINVAL)
}

pub fn no_blocks(on: &On) -> Result<Scene> {
    let set = |superblock: &mut [u8]| superblock[field::BLOCKS..field::BLOCKS + 4].fill(0);
    written(on, false, set, "EROFS superblock is invalid", EINVAL)
}

/// The root's inode is where nothing is, and the checksum is right.
pub fn no_root(on: &On) -> Result<Scene> {
    let set = |superblock: &mut [u8]| superblock[field::ROOT..field::ROOT + 2].fill(0xFF);
    // EFSCORRUPTED
    written(on, false, set, "cannot mount EROFS", 117)
}

/// The plan pins one image and another, whole one lies there: an update that wrote half of what belongs together.
pub fn another(on: &On) -> Result<Scene> {
    let mut parts = pinned(on)?;
    let other = std::fs::read(&on.parts()?.erofs)?;
    change(on, &mut parts, |bytes| {
        *bytes = other;
        // mkfs.erofs gives each image a UUID of its own only if asked.
        with_checksum(bytes, |superblock| superblock[field::UUID..field::UUID + 16].fill(0x55))
    })?;
    Ok(Scene::new(on, parts, refused(Mount, "not the image of this plan", EINVAL)))
}

/// No file of that name in the mini-initramfs.
pub fn no_file(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.remove(IMAGE_PATH.trim_start_matches('/'));
    Ok(Scene::new(on, parts, refused(Device, "cannot open: /image.erofs", 2)))
}

pub fn folder(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.remove(IMAGE_PATH.trim_start_matches('/'));
    parts.entries.push(Entry::folder(IMAGE_PATH.trim_start_matches('/')));
    // A folder has no end to seek to: EINVAL.
    Ok(Scene::new(on, parts, refused(Mount, "cannot read the image's size", EINVAL)))
}
