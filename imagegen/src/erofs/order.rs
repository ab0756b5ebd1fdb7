//! Puts the extended attributes of every inode in one order. `mkfs.erofs` writes them as the file system lists them, or
//! `fakeroot`, or `pseudo`: the same tree would give other bytes elsewhere.

use super::image::{Image, SUPERBLOCK_OFFSET};
use super::verify::walk;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Sorts the attributes of every inode of the image at `path`. Nothing changes its place but they.
///
/// # Errors
/// Failed work if the image cannot be written; bad input if it is damaged.
pub fn sort_attributes(path: &Path) -> Result<()> {
    let image = Image::open(path)?;
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
    for inode in walk(&image)?.values() {
        let Some(mut body) = image.attribute_body(inode)? else { continue };
        body.shared.sort_unstable();
        body.own.sort_unstable();
        let shared = body.shared.iter().flat_map(|id| id.to_le_bytes());
        let bytes: Vec<u8> = shared.chain(body.own.concat()).collect();
        file.write_all_at(&bytes, body.at).map_err(Error::io("write", path))?;
    }
    // The first inodes lie in the block that the superblock's checksum covers.
    if let Some(checksum) = image.checksum()? {
        file.write_all_at(&checksum.to_le_bytes(), SUPERBLOCK_OFFSET + 4).map_err(Error::io("write", path))?;
    }
    Ok(())
}
