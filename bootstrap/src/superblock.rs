//! The EROFS image's superblock, checked before it is mounted.

use crate::bytes::{array_at, u32_le};

/// Bytes from the start of the image that hold its superblock.
pub const START_BYTES: usize = 1152;

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

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: std::vec::Vec<u8>) {
            let _ = erofs(&bytes, 4096);
        }
    }
}
