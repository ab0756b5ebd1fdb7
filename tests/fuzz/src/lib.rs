//! What the targets share.

use bootstrap::crc::crc32;
use bootstrap::envelope::Kind;

/// `payload` in an envelope that is right: without it no mutation would get past the CRC.
pub fn enveloped(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short input");
    let fields = [kind.magic, kind.version.to_le_bytes(), length.to_le_bytes(), crc32(payload).to_le_bytes()];
    [fields.as_flattened(), payload].concat()
}
