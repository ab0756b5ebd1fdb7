//! The envelope around plan, record and trailer: postcard is compact but not self-describing, so 16 bytes in front of it say
//! what follows, in which version, how long it is, and whether it arrived intact.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic, `IOFP` for a plan, `IOFR` for a record, `IOFT` for a trailer |
//! | 4 | 4 | format version, little-endian |
//! | 8 | 4 | length of the payload in bytes, little-endian |
//! | 12 | 4 | CRC-32 of the payload, little-endian |

use crate::bytes::{array_at, u32_le};
use crate::crc::crc32;
use serde::{Deserialize, Serialize};

/// Bytes in front of the payload.
pub const HEADER_BYTES: usize = 16;

/// What a sealed file holds: its magic and the version of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// First four bytes of the file.
    pub magic: [u8; 4],
    /// Version of the payload; a reader accepts exactly its own.
    pub version: u32,
}

/// Why bytes are not a sealed payload of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header, or than the header announces; holds the bytes present and the bytes wanted.
    Truncated(usize, usize),
    /// The first four bytes are not the magic.
    Magic,
    /// The format version, held here, is not the reader's.
    Version(u32),
    /// The payload's CRC-32 is not the header's.
    Crc,
    /// More bytes than the header announces; holds how many.
    Trailing(usize),
    /// The payload is intact but does not decode.
    Payload,
    /// The payload does not fit the buffer; holds the buffer's bytes.
    TooLarge(usize),
}

impl Error {
    /// What is wrong, without the figures: all that the target says.
    pub const fn name(self) -> &'static str {
        match self {
            Error::Truncated(..) => "truncated",
            Error::Magic => "wrong magic",
            Error::Version(_) => "unknown format version",
            Error::Crc => "wrong CRC-32",
            Error::Trailing(_) => "longer than its header says",
            Error::Payload => "payload does not decode",
            Error::TooLarge(_) => "does not fit",
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = self.name();
        match self {
            Error::Truncated(have, want) => write!(f, "{name}: {have} of {want} bytes"),
            Error::Version(version) => write!(f, "{name} {version}"),
            Error::Trailing(bytes) => write!(f, "{name}: {bytes} bytes too many"),
            Error::TooLarge(bytes) => write!(f, "{name} {bytes} bytes"),
            Error::Magic | Error::Crc | Error::Payload => f.write_str(name),
        }
    }
}

impl core::error::Error for Error {}

/// Encodes `value` behind a header of `kind` into `buffer`; returns the sealed part of it.
///
/// # Errors
/// [`Error::TooLarge`] if `buffer` is too small.
pub fn seal<'b, T: Serialize>(kind: Kind, value: &T, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
    let room = buffer.len();
    let (header, payload) = buffer.split_at_mut_checked(HEADER_BYTES).ok_or(Error::TooLarge(room))?;
    let payload = postcard::to_slice(value, payload).map_err(|_| Error::TooLarge(room))?;
    let length = u32::try_from(payload.len()).map_err(|_| Error::TooLarge(room))?;
    let fields = [kind.magic, kind.version.to_le_bytes(), length.to_le_bytes(), crc32(payload).to_le_bytes()];
    header.copy_from_slice(fields.as_flattened());
    let end = HEADER_BYTES + payload.len();
    buffer.get(..end).ok_or(Error::TooLarge(room))
}

/// Checks the header of `bytes` and decodes the payload, which may borrow from them.
///
/// # Errors
/// Any [`Error`] but [`Error::TooLarge`]; the first that applies, in the order of the header's fields.
pub fn open<'b, T: Deserialize<'b>>(kind: Kind, bytes: &'b [u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(payload(kind, bytes)?) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Error::Payload),
    }
}

/// The payload, once for all types.
#[inline(never)]
fn payload(kind: Kind, bytes: &[u8]) -> Result<&[u8], Error> {
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::Truncated(bytes.len(), HEADER_BYTES))?;
    if array_at::<4>(header, 0) != Some(kind.magic) {
        return Err(Error::Magic);
    }
    let field = |offset| u32_le(header, offset).ok_or(Error::Truncated(bytes.len(), HEADER_BYTES));
    let (version, length, crc) = (field(4)?, field(8)? as usize, field(12)?);
    if version != kind.version {
        return Err(Error::Version(version));
    }
    if payload.len() < length {
        return Err(Error::Truncated(bytes.len(), HEADER_BYTES.saturating_add(length)));
    }
    if payload.len() > length {
        return Err(Error::Trailing(payload.len() - length));
    }
    if crc32(payload) == crc { Ok(payload) } else { Err(Error::Crc) }
}
