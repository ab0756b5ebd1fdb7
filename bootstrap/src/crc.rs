//! CRC-32 over plans, records, GPT headers and the end of an image.
//!
//! Four bits at a time with a 64-byte table: the inputs are a few hundred bytes, and a 1 KiB table would be read at every
//! boot. The EROFS superblock's own CRC-32C is left to the kernel, which checks it at the mount.

const POLYNOMIAL: u32 = 0xEDB8_8320;

const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        let mut crc = nibble as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[nibble] = crc;
        }
        nibble += 1;
    }
    table
};

/// CRC-32 (ISO-HDLC, polynomial 0x04C11DB7, reflected), as in UEFI 2.10 section 4.2.1 and zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    // The mask keeps the index inside the table.
    let entry = |index: u32| TABLE.get(index as usize & 15).copied().unwrap_or(0);
    !bytes.iter().fold(!0, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = (crc >> 4) ^ entry(crc);
        (crc >> 4) ^ entry(crc)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        // The CRC catalogue's check input.
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
