//! Copies an image or disk: zeros become holes, and a block may be another in the copy.

use crate::Error;
use bootstrap::trailer::BLOCK_BYTES;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes copied at a time; also the grain in which zeros become holes. Blocks lie at multiples of their size, so none crosses it.
const CHUNK: usize = 64 << 10;

/// A block that is another in the copy.
#[derive(Clone, Copy)]
pub struct Patch<'a> {
    /// Where it lies, in bytes: a multiple of its size.
    pub at: u64,
    /// What it becomes.
    pub block: &'a [u8; BLOCK_BYTES],
}

/// Copies the first `bytes` of `from` into the empty file `to`; returns the SHA-256 of what `to` holds then. `progress` is
/// called with the bytes done.
///
/// # Errors
/// As reading and writing.
pub fn copy(
    from: &File,
    bytes: u64,
    to: &File,
    patches: &[Patch<'_>],
    progress: &mut dyn FnMut(u64),
) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    to.set_len(bytes)?;
    while at < bytes {
        chunk.truncate(usize::try_from(bytes - at).unwrap_or(CHUNK));
        from.read_exact_at(&mut chunk, at)?;
        for patch in patches {
            let offset = patch.at.checked_sub(at).and_then(|offset| usize::try_from(offset).ok());
            let place = offset.and_then(|offset| chunk.get_mut(offset..offset.checked_add(BLOCK_BYTES)?));
            if let Some(place) = place {
                place.copy_from_slice(patch.block);
            }
        }
        hash.update(&chunk);
        if chunk.iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk, at)?;
        }
        at += chunk.len() as u64;
        progress(at);
    }
    Ok(hash.finalize().into())
}

/// A copy from one path to another that failed: where there is no room left, that is the other's.
pub fn failed(from: &Path, to: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::io("write", to)(error),
        _ => Error::io("copy", from)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_place_is_named() {
        let [from, to] = [Path::new("from"), Path::new("to")];
        let full = failed(from, to)(io::ErrorKind::StorageFull.into());
        assert!(full.what.contains("write to:") && full.exit_status() == 1, "{full}");
        assert!(failed(from, to)(io::ErrorKind::Other.into()).what.contains("copy from:"));
    }
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn blocks_are_replaced_and_zeros_are_holes() {
        let [from, to] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        let mut bytes = vec![0; (1 << 20) + 5000];
        bytes[70_000..90_000].fill(3);
        from.write_all_at(&bytes, 0).unwrap();
        let (first, last) = ([1; BLOCK_BYTES], [2; BLOCK_BYTES]);
        let patches = [Patch { at: 69_632, block: &first }, Patch { at: 1 << 20, block: &last }];
        let mut done = 0;
        let hash = copy(&from, bytes.len() as u64 - 1, &to, &patches, &mut |bytes| done = bytes).unwrap();
        bytes.pop();
        bytes[69_632..][..BLOCK_BYTES].fill(1);
        bytes[1 << 20..][..BLOCK_BYTES].fill(2);
        let mut copied = vec![0; bytes.len()];
        to.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == bytes);
        assert_eq!((hash, done), (Sha256::digest(&bytes).into(), bytes.len() as u64));
        let metadata = to.metadata().unwrap();
        assert!(metadata.len() == done && metadata.blocks() * 512 < done / 4, "{} blocks", metadata.blocks());
        assert!(copy(&from, u64::from(u32::MAX), &to, &[], &mut |_| ()).is_err(), "more than there is");
    }
}
