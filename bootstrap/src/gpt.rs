//! Partition GUIDs from a GPT and disk signatures from an MBR, for kernels that do not put PARTUUID into uevents.
//!
//! Source: UEFI 2.10 section 5.3. Only what the kernel has already parsed is looked up: partition numbers come from the
//! kernel, and a table it did not accept has no partitions.

use crate::bytes::{array_at, u32_le, u64_le};
use crate::crc::crc32;

/// Bytes of a GPT header that are read.
pub const HEADER_BYTES: usize = 92;
/// Bytes of a partition entry that are read; entries may be longer.
pub const ENTRY_BYTES: usize = 128;

/// Where the entries of a GPT lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    first_entry_lba: u64,
    entries: u32,
    entry_bytes: u32,
}

/// Reads the header, the block at LBA 1; `None` if its signature, size or CRC is wrong.
pub fn header(block: &[u8]) -> Option<Header> {
    let mut copy: [u8; HEADER_BYTES] = array_at(block, 0)?;
    if array_at::<8>(&copy, 0)? != *b"EFI PART" || u32_le(&copy, 12)? != HEADER_BYTES as u32 {
        return None;
    }
    let crc = u32_le(&copy, 16)?;
    copy.get_mut(16..20)?.fill(0);
    let header =
        Header { first_entry_lba: u64_le(&copy, 72)?, entries: u32_le(&copy, 80)?, entry_bytes: u32_le(&copy, 84)? };
    (crc == crc32(&copy) && header.entry_bytes >= ENTRY_BYTES as u32).then_some(header)
}

impl Header {
    /// Byte offset on the disk of the entry of partition `number` (from 1), for blocks of `block_bytes`.
    pub fn entry_offset(&self, number: u32, block_bytes: u64) -> Option<u64> {
        let index = number.checked_sub(1).filter(|index| *index < self.entries)?;
        let offset = u64::from(index) * u64::from(self.entry_bytes);
        self.first_entry_lba.checked_mul(block_bytes)?.checked_add(offset)
    }
}

/// The partition's GUID, as its bytes lie in the entry.
pub fn entry_guid(entry: &[u8]) -> Option<[u8; 16]> {
    array_at(entry, 16)
}

/// The disk signature of an MBR, the block at LBA 0; `None` without the boot signature.
pub fn mbr_signature(block: &[u8]) -> Option<u32> {
    (array_at::<2>(block, 510)? == [0x55, 0xAA]).then_some(u32_le(block, 440)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; 512] {
        let mut block = [0; 512];
        block[..8].copy_from_slice(b"EFI PART");
        block[12..16].copy_from_slice(&92u32.to_le_bytes());
        block[72..80].copy_from_slice(&2u64.to_le_bytes());
        block[80..84].copy_from_slice(&128u32.to_le_bytes());
        block[84..88].copy_from_slice(&128u32.to_le_bytes());
        let crc = crc32(&block[..92]);
        block[16..20].copy_from_slice(&crc.to_le_bytes());
        block
    }

    #[test]
    fn entries_follow_the_header() {
        let header = header(&sample()).unwrap();
        assert_eq!(header.entry_offset(1, 512), Some(1024));
        assert_eq!(header.entry_offset(3, 4096), Some(8192 + 256));
        assert_eq!(header.entry_offset(0, 512), None);
        assert_eq!(header.entry_offset(129, 512), None);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..92 * 8 {
            let mut block = sample();
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header(&block), None, "bit {bit}");
        }
    }
}
