//! Superblocks: the EROFS image's own, checked before it is mounted, and label and UUID of the file systems a board may
//! name a device by.

use crate::bytes::{array_at, u16_le, u32_le, u64_le, until_nul};

/// Bytes from the start of a device that hold every superblock but that of btrfs.
pub const START_BYTES: usize = 4096;
/// Where the btrfs superblock starts on the device; its first [`START_BYTES`] are enough.
pub const BTRFS_OFFSET: u64 = 65536;

/// Where an EROFS superblock starts (`EROFS_SUPER_OFFSET`).
const EROFS_OFFSET: usize = 1024;
/// `EROFS_SUPER_MAGIC_V1`.
const EROFS_MAGIC: u32 = 0xE0F5_E1E2;

/// An EROFS superblock that may be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erofs {
    /// Length of the image in bytes.
    pub bytes: u64,
    /// UUID, in the order of its text.
    pub uuid: [u8; 16],
}

/// Why an image must not be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Shorter than a superblock.
    TooShort,
    /// Not EROFS.
    Magic,
    /// The superblock contradicts itself.
    Fields,
    /// The image is longer than what holds it: it was cut.
    Truncated,
    /// Not the image the plan belongs to.
    Uuid,
    /// The image's last bytes are not what was built: it was not written to its end.
    Tail,
}

impl Refusal {
    /// For log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::TooShort => "shorter than an EROFS superblock",
            Refusal::Magic => "no EROFS superblock",
            Refusal::Fields => "EROFS superblock is invalid",
            Refusal::Truncated => "EROFS image is truncated",
            Refusal::Uuid => "not the image of this plan",
            Refusal::Tail => "end of the EROFS image is wrong",
        }
    }
}

/// Checks the superblock in the first [`START_BYTES`] of an image that lies in `room` bytes.
///
/// Layout: `struct erofs_super_block` in fs/erofs/erofs_fs.h (Linux 6.12, 7.2): magic at 0,
/// block size bits 12, blocks (low 32 bits) 36, uuid 48. The checksum and the features are left to the kernel's mount, which refuses
/// a wrong checksum with EBADMSG and features it does not have.
///
/// # Errors
/// The first [`Refusal`] found.
pub fn erofs(start: &[u8], room: u64) -> Result<Erofs, Refusal> {
    let sb = start.get(EROFS_OFFSET..).ok_or(Refusal::TooShort)?;
    let field = |offset| u32_le(sb, offset).ok_or(Refusal::TooShort);
    if field(0)? != EROFS_MAGIC {
        return Err(Refusal::Magic);
    }
    let block_bits = *sb.get(12).ok_or(Refusal::TooShort)?;
    // fs/erofs/super.c takes 9 to PAGE_SHIFT; imagegen always writes 12.
    if !(9..=16).contains(&block_bits) {
        return Err(Refusal::Fields);
    }
    let bytes = u64::from(field(36)?) << block_bits;
    if bytes == 0 {
        return Err(Refusal::Fields);
    }
    if bytes > room {
        return Err(Refusal::Truncated);
    }
    Ok(Erofs { bytes, uuid: array_at(sb, 48).ok_or(Refusal::TooShort)? })
}

/// What a file system on a device is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Label without padding; UTF-16 for f2fs.
    pub label: Label<'a>,
    /// UUID.
    pub uuid: Uuid,
}

/// A label as it lies in the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label<'a> {
    /// Bytes, in practice UTF-8.
    Bytes(&'a [u8]),
    /// UTF-16, little-endian, ended by zero.
    Utf16(&'a [u8]),
}

/// A file system's UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uuid {
    /// 16 bytes in the order of the text form.
    Full([u8; 16]),
    /// vfat's serial number, written `xxxx-xxxx`.
    Serial(u32),
}

impl Label<'_> {
    /// Whether this is the label `wanted`.
    pub fn is(&self, wanted: &str) -> bool {
        match self {
            Label::Bytes(bytes) => *bytes == wanted.as_bytes(),
            Label::Utf16(bytes) => {
                let units = bytes.chunks_exact(2).filter_map(|pair| u16_le(pair, 0)).take_while(|unit| *unit != 0);
                units.eq(wanted.encode_utf16())
            }
        }
    }
}

impl Uuid {
    /// Whether this is the UUID `wanted` in its usual text form.
    pub fn is(&self, wanted: &str) -> bool {
        match self {
            Uuid::Full(bytes) => crate::uevent::uuid(wanted.as_bytes()) == Some(*bytes),
            Uuid::Serial(serial) => {
                let parts = wanted.split_once('-').filter(|(high, low)| high.len() == 4 && low.len() == 4);
                let value = parts.and_then(|(high, low)| {
                    Some(u32::from_str_radix(high, 16).ok()? << 16 | u32::from_str_radix(low, 16).ok()?)
                });
                value == Some(*serial)
            }
        }
    }
}

/// Finds the file system in the first [`START_BYTES`] of a device: EROFS, ext4, f2fs, xfs or vfat.
///
/// Layouts: fs/ext4/ext4.h, include/linux/f2fs_fs.h, fs/xfs/libxfs/xfs_format.h, include/uapi/linux/msdos_fs.h.
pub fn identify(start: &[u8]) -> Option<Identity<'_>> {
    let full = |label, uuid| Some(Identity { label: Label::Bytes(until_nul(label)), uuid: Uuid::Full(uuid) });
    if u32_le(start, EROFS_OFFSET)? == EROFS_MAGIC {
        return full(start.get(1024 + 64..1024 + 80)?, array_at(start, 1024 + 48)?);
    }
    if u16_le(start, 1024 + 56)? == 0xEF53 {
        return full(start.get(1024 + 120..1024 + 136)?, array_at(start, 1024 + 104)?);
    }
    if u32_le(start, 1024)? == 0xF2F5_2010 {
        let uuid = Uuid::Full(array_at(start, 1024 + 108)?);
        return Some(Identity { label: Label::Utf16(start.get(1024 + 124..1024 + 124 + 1024)?), uuid });
    }
    if start.starts_with(b"XFSB") {
        return full(start.get(108..120)?, array_at(start, 32)?);
    }
    vfat(start)
}

fn vfat(start: &[u8]) -> Option<Identity<'_>> {
    let (serial, label) = if start.get(82..87)? == b"FAT32" {
        (67, start.get(71..82)?)
    } else if start.get(54..57)? == b"FAT" {
        (39, start.get(43..54)?)
    } else {
        return None;
    };
    let padded = label.trim_ascii_end();
    let label = if padded == b"NO NAME" { &[] } else { padded };
    Some(Identity { label: Label::Bytes(label), uuid: Uuid::Serial(u32_le(start, serial)?) })
}

/// Finds a btrfs superblock in the first [`START_BYTES`] at [`BTRFS_OFFSET`] (include/uapi/linux/btrfs_tree.h).
pub fn identify_btrfs(block: &[u8]) -> Option<Identity<'_>> {
    if u64_le(block, 64)?.to_le_bytes() != *b"_BHRfS_M" {
        return None;
    }
    let label = until_nul(block.get(299..299 + 256)?);
    Some(Identity { label: Label::Bytes(label), uuid: Uuid::Full(array_at(block, 32)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> [u8; START_BYTES] {
        let mut start = [0; START_BYTES];
        start[1024..1028].copy_from_slice(&EROFS_MAGIC.to_le_bytes());
        start[1024 + 12] = 12;
        start[1024 + 36..1024 + 40].copy_from_slice(&2u32.to_le_bytes());
        start[1024 + 48..1024 + 64].fill(7);
        start[1024 + 64..1024 + 68].copy_from_slice(b"root");
        start
    }

    #[test]
    fn an_image_must_fit_what_holds_it() {
        assert_eq!(erofs(&sample(), 8192), Ok(Erofs { bytes: 8192, uuid: [7; 16] }));
        assert_eq!(erofs(&sample(), 8191), Err(Refusal::Truncated));
        assert_eq!(erofs(&sample()[..1024], 8192), Err(Refusal::TooShort));
        assert_eq!(erofs(&[], 0), Err(Refusal::TooShort));
        assert_eq!(erofs(&[0; START_BYTES], 8192), Err(Refusal::Magic));
        let mut bad = sample();
        bad[1024 + 12] = 40;
        assert_eq!(erofs(&bad, 8192), Err(Refusal::Fields));
    }

    #[test]
    fn names_of_file_systems() {
        let start = sample();
        let found = identify(&start).unwrap();
        assert!(found.label.is("root") && found.uuid.is("07070707-0707-0707-0707-070707070707"));
        let mut fat = [0; START_BYTES];
        fat[82..87].copy_from_slice(b"FAT32");
        fat[67..71].copy_from_slice(&0xABCD_1234u32.to_le_bytes());
        fat[71..82].copy_from_slice(b"BOOT       ");
        let found = identify(&fat).unwrap();
        assert!(found.label.is("BOOT") && found.uuid.is("abcd-1234") && !found.uuid.is("abcd1234"));
        let mut f2fs = [0; START_BYTES];
        f2fs[1024..1028].copy_from_slice(&0xF2F5_2010u32.to_le_bytes());
        f2fs[1148..1152].copy_from_slice(&[b'o', 0, b'k', 0]);
        assert!(identify(&f2fs).unwrap().label.is("ok"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: std::vec::Vec<u8>) {
            let _ = erofs(&bytes, 4096);
            identify(&bytes);
            identify_btrfs(&bytes);
        }
    }
}
