//! Whether a file system has room for files that are about to be written beside those that are there.

use crate::{Error, Result};
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Kept free in any case: what directories and the file system's own lists may take.
const SPARE: u64 = 256 << 10;

/// Checks that files of these bytes fit in the file system of `folder`.
///
/// # Errors
/// Failed work with what there is and what it takes.
pub(super) fn check(folder: &Path, sizes: &[u64]) -> Result<()> {
    let found = statvfs(folder).map_err(|errno| Error::io("ask for room in", folder)(errno.into()))?;
    let block = found.fragment_size().max(1);
    let free = found.blocks_available().saturating_mul(block);
    let needed = needed(sizes, block);
    if needed > free {
        let what = format!("{} has {free} bytes free, and it takes {needed}", folder.display());
        return Err(Error::failed(
            what,
            "remove an old kernel, or compress the image (image.compression of the board); nothing was changed",
        ));
    }
    // File systems that make inodes as they go say 0 of how many.
    if found.files() > 0 && found.files_available() < sizes.len() as u64 + 1 {
        let what = format!(
            "{} has {} inodes free, and it takes {}",
            folder.display(),
            found.files_available(),
            sizes.len() + 1
        );
        return Err(Error::failed(what, "remove files there; nothing was changed"));
    }
    Ok(())
}

fn needed(sizes: &[u64], block: u64) -> u64 {
    let rounded = sizes.iter().map(|bytes| bytes.div_ceil(block).saturating_mul(block));
    rounded.fold(SPARE, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_takes_whole_blocks() {
        assert_eq!(needed(&[1, 4096, 4097], 4096), SPARE + 4 * 4096);
        assert_eq!(needed(&[u64::MAX, 1], 512), u64::MAX);
    }

    #[test]
    fn more_than_there_is_is_refused_with_both_numbers() {
        let error = check(Path::new("/dev/shm"), &[1 << 60]).unwrap_err();
        assert!(
            error.exit_status() == 1 && error.what.contains("1152921504606846976") | error.what.contains("takes"),
            "{error}"
        );
        check(Path::new("/dev/shm"), &[1]).unwrap();
    }
}
