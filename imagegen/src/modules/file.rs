//! A module's file: decompressed, described by its `.modinfo`, with or without its signature.

use crate::error::{Error, Result};
use object::{Object, ObjectSection};
use std::io::Read;
use std::path::Path;

/// The largest module in bytes, decompressed: a bound against decompression bombs, far above the largest there is.
const MAX_BYTES: u64 = 256 << 20;
/// What ends a signed module (include/linux/module_signature.h).
const SIGNATURE_MARKER: &[u8] = b"~Module signature appended~\n";
/// Bytes of `struct module_signature`, in front of the marker.
const SIGNATURE_BYTES: usize = 12;

/// Reads a file, decompressed by its name's ending (.xz, .zst, .gz).
///
/// # Errors
/// Failed work if it cannot be read, bad input if it does not decompress.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let file = std::io::BufReader::new(file);
    let reader: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => Box::new(lzma_rust2::XzReader::new(file, true)),
        Some("zst") => Box::new(zstd::Decoder::new(file).map_err(Error::io("decompress", path))?),
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut bytes = Vec::new();
    let damaged = |reason: String| Error::bad_input(format!("{}: {reason}", path.display()), "is the file complete?");
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(damaged(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// What a module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Version of the kernel it is for.
    pub(super) kernel: String,
    /// Firmware files it may ask for, relative to the firmware folder.
    pub(super) firmware: Vec<String>,
}

/// Reads the `.modinfo` section.
///
/// # Errors
/// A reason, if the bytes are no module.
pub(super) fn info(bytes: &[u8]) -> std::result::Result<Info, String> {
    let file = object::File::parse(bytes).map_err(|error| format!("not an ELF file: {error}"))?;
    let section = file.section_by_name(".modinfo").ok_or("no .modinfo section, so no kernel module")?;
    let data = section.data().map_err(|error| format!(".modinfo: {error}"))?;
    let mut info = Info::default();
    for entry in data.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        match entry.split_once('=') {
            Some(("vermagic", magic)) => info.kernel = magic.split(' ').next().unwrap_or_default().to_owned(),
            Some(("firmware", name)) => info.firmware.push(name.to_owned()),
            _ => {}
        }
    }
    Ok(info)
}

/// The module without its signature, if it has one.
pub(super) fn unsigned(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_suffix(SIGNATURE_MARKER)?;
    let (rest, signature) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_BYTES)?)?;
    // algo, hash, id_type, signer_len, key_id_len, three bytes of padding, sig_len (big-endian).
    let [_, _, _, signer, key_id, _, _, _, length @ ..] = signature else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let behind = length.checked_add(usize::from(*signer))?.checked_add(usize::from(*key_id))?;
    rest.get(..rest.len().checked_sub(behind)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_cut_off_exactly() {
        let mut signed = b"module".to_vec();
        signed.extend(*b"signature");
        signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        signed.extend(SIGNATURE_MARKER);
        assert_eq!(unsigned(&signed), Some(&b"module"[..]));
        assert_eq!(unsigned(b"module"), None);
        assert_eq!(unsigned(SIGNATURE_MARKER), None);
    }

    #[test]
    fn no_module_is_refused() {
        assert!(info(b"").is_err());
        assert!(info(b"\x7fELF").is_err());
    }
}
