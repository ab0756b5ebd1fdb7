//! The fs-verity digest of a file (Documentation/filesystems/fsverity.rst): SHA-256, blocks of 4096 bytes, no salt.

use super::tree::digests;
use crate::{Error, Result};
use bootstrap::trailer::BLOCK_BYTES;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes read at a time, in blocks.
const CHUNK: usize = 1024 * BLOCK_BYTES;

/// The digest under which the kernel knows `file` once fs-verity is enabled on it. Takes memory of 1/128 of the file.
///
/// # Errors
/// As reading the file.
pub fn digest(file: &Path) -> Result<[u8; 32]> {
    let mut source = File::open(file).map_err(Error::io("open", file))?;
    let (mut bytes, mut level, mut chunk) = (0, Vec::new(), Vec::new());
    loop {
        chunk.clear();
        let read = source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(Error::io("read", file))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        level.extend(digests(padded(&mut chunk), &[]));
    }
    while level.len() > 32 {
        level = digests(padded(&mut level), &[]);
    }
    // An empty file has a root hash of zeros.
    level.resize(32, 0);
    Ok(descriptor(bytes, &level))
}

fn padded(blocks: &mut Vec<u8>) -> &[u8] {
    blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    blocks
}

/// Digest of `struct fsverity_descriptor`: version 1, algorithm 1 (SHA-256), block size as a power of 2, length of the salt,
/// four reserved bytes, length of the file, 64 bytes of root hash, 32 of salt, 144 reserved.
fn descriptor(bytes: u64, root_hash: &[u8]) -> [u8; 32] {
    let mut descriptor = vec![1, 1, 12, 0, 0, 0, 0, 0];
    descriptor.extend(bytes.to_le_bytes());
    descriptor.extend(root_hash);
    descriptor.resize(256, 0);
    Sha256::digest(descriptor).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::hex;
    use std::process::Command;

    #[test]
    fn as_the_fsverity_program_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [0, 1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 16_385 * 4096 - 7] {
            let content: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(bytes).collect();
            std::fs::write(&path, content).unwrap();
            let output = Command::new("fsverity").args(["digest", "--compact"]).arg(&path).output();
            let output = output.expect("fsverity: tests/setup/apt.sh test");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), hex(&digest(&path).unwrap()), "{bytes} bytes");
        }
    }
}
