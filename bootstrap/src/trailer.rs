//! The trailer of a verified image: one block behind the EROFS that says where its hash tree is and what it must be.
//!
//! Layout of what lies on a partition or in a file, in blocks of [`BLOCK_BYTES`]: the EROFS image, this block, the dm-verity hash
//! tree (its top level first, no superblock), and, if there is any, the forward error correction. Where the plan has the root hash
//! the trailer is for tools alone; else `bootstrap` reads it, and trusts nothing in it but what the kernel has checked: a root hash
//! whose signature is by a key of its keyring.
//!
//! The image itself opens with [`VERSION_MAGIC`] and its version, in the bytes in front of the superblock that EROFS leaves alone:
//! the root hash covers them.

use crate::bytes::{array_at, u32_le};
use crate::envelope::{self, Kind};
use serde::{Deserialize, Serialize};

/// Magic and version of a sealed trailer.
pub const KIND: Kind = Kind { magic: *b"IOFT", version: 1 };
/// Bytes of a block of data, of a hash block, and of the trailer.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a root hash.
pub const ROOT_HASH_BYTES: usize = 32;
/// The longest salt in bytes.
pub const MAX_SALT: usize = 64;
/// First bytes of an image that has a version, which follows in four bytes, little-endian.
pub const VERSION_MAGIC: [u8; 4] = *b"IOFV";

/// What verifies an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer<'a> {
    /// First block of the hash tree.
    pub hash_start: u64,
    /// Forward error correction, if there is any.
    pub fec: Option<Fec>,
    /// SHA-256 root hash, [`ROOT_HASH_BYTES`] bytes.
    pub root_hash: &'a [u8],
    /// Salt, at most [`MAX_SALT`] bytes.
    pub salt: &'a [u8],
    /// PKCS#7 signature in DER of the root hash in lower-case hexadecimal, or nothing.
    pub signature: &'a [u8],
}

/// Reed-Solomon code over the image and all from [`Trailer::hash_start`] to its own start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fec {
    /// Its first block.
    pub start: u64,
    /// Parity bytes in 255, 2 to 24.
    pub roots: u32,
}

/// Checks and decodes the trailer in `block`, which is what lies behind an image.
///
/// # Errors
/// As [`envelope::open`]; a salt that is too long and a root hash of another length do not decode.
pub fn open(block: &[u8]) -> Result<Trailer<'_>, envelope::Error> {
    let length = u32_le(block, 8).map_or(usize::MAX, |length| length as usize);
    let sealed = block.get(..envelope::HEADER_BYTES.saturating_add(length)).unwrap_or(block);
    let trailer: Trailer<'_> = envelope::open(KIND, sealed)?;
    let is_whole = trailer.root_hash.len() == ROOT_HASH_BYTES && trailer.salt.len() <= MAX_SALT;
    if is_whole { Ok(trailer) } else { Err(envelope::Error::Payload) }
}

/// Encodes and seals a trailer into `block`.
///
/// # Errors
/// As [`envelope::seal`].
pub fn seal<'b>(trailer: &Trailer<'_>, block: &'b mut [u8; BLOCK_BYTES]) -> Result<&'b [u8], envelope::Error> {
    envelope::seal(KIND, trailer, block)
}

/// The version of the image that begins with `start`; 0 if it has none.
pub fn version(start: &[u8]) -> u32 {
    match (array_at::<4>(start, 0), u32_le(start, 4)) {
        (Some(VERSION_MAGIC), Some(version)) => version,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Trailer<'static> {
        let fec = Some(Fec { start: 304, roots: 2 });
        Trailer { hash_start: 301, fec, root_hash: &[7; 32], salt: b"salt", signature: &[1; 600] }
    }

    #[test]
    fn a_trailer_is_read_back_from_its_block() {
        let mut block = [0; BLOCK_BYTES];
        seal(&sample(), &mut block).unwrap();
        assert_eq!(open(&block), Ok(sample()));
    }

    #[test]
    fn golden_bytes() {
        let mut block = [0; BLOCK_BYTES];
        let trailer = Trailer { root_hash: &[0xAB; 32], signature: b"", ..sample() };
        let sealed = seal(&trailer, &mut block).unwrap();
        let payload = [&[0xAD, 2, 1, 0xB0, 2, 2, 32][..], &[0xAB; 32], &[4], b"salt", &[0]].concat();
        assert_eq!(&sealed[..12], b"IOFT\x01\0\0\0\x2d\0\0\0");
        assert_eq!(&sealed[16..], payload);
    }

    #[test]
    fn a_long_salt_is_refused() {
        let mut block = [0; BLOCK_BYTES];
        seal(&Trailer { salt: &[0; MAX_SALT + 1], ..sample() }, &mut block).unwrap();
        assert_eq!(open(&block), Err(envelope::Error::Payload));
    }

    #[test]
    fn an_image_without_the_magic_has_version_0() {
        assert_eq!(version(b"IOFV\x07\x01\0\0"), 263);
        assert_eq!(version(b"IOFW\x07\x01\0\0"), 0);
        assert_eq!(version(b"IOFV\x07"), 0);
    }

    proptest! {
        #[test]
        fn any_block_is_read(block: std::vec::Vec<u8>) {
            let _ = open(&block);
            version(&block);
        }
    }
}
