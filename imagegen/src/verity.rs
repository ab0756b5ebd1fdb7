//! What verifies an image: the version in front of it, and behind it the trailer, the dm-verity hash tree and the forward
//! error correction. Layout: [`bootstrap::trailer`]; the kernel's side: Documentation/admin-guide/device-mapper/verity.rst.

mod digest;
mod fec;
mod image;
mod tree;

pub use digest::digest;
pub use image::{Attached, Image};

use crate::manifest::hex;
use crate::{Error, Result};
use bootstrap::trailer::{self, BLOCK_BYTES, Trailer, VERSION_MAGIC};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tree::Tree;

/// Bytes of a block.
const BLOCK: u64 = BLOCK_BYTES as u64;
/// What the salt is derived from, together with the image's UUID.
const SALT_PURPOSE: &str = "initoverlayfs dm-verity salt";

/// How an image is to be verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Parity bytes in 255 of the forward error correction, 2 to 24; 0 for none.
    pub fec_roots: u32,
}

/// What verifies an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the EROFS image: what the tree vouches for.
    pub data_bytes: u64,
    /// Bytes of all: image, trailer, tree and error correction.
    pub bytes: u64,
    /// First block of the tree.
    pub hash_start: u64,
    /// SHA-256 root hash.
    pub root_hash: [u8; 32],
    /// Salt.
    pub salt: Vec<u8>,
    /// Forward error correction, if there is any.
    pub fec: Option<trailer::Fec>,
}

impl Summary {
    /// Parameters of the dm-verity target, `@` for the device, with `words` as further optional parameters.
    pub fn parameters(&self, words: &[&str]) -> String {
        let blocks = self.data_bytes / BLOCK;
        let salt = if self.salt.is_empty() { "-".to_owned() } else { hex(&self.salt) };
        let mut text =
            format!("1 @ @ {BLOCK} {BLOCK} {blocks} {} sha256 {} {salt}", self.hash_start, hex(&self.root_hash));
        let mut options: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if let Some(fec) = self.fec {
            let covered = (blocks + fec.start).saturating_sub(self.hash_start);
            let pairs = [("fec_roots", fec.roots.into()), ("fec_blocks", covered), ("fec_start", fec.start)];
            options.extend(["use_fec_from_device".to_owned(), "@".to_owned()]);
            options
                .extend(pairs.into_iter().flat_map(|(name, value): (&str, u64)| [name.to_owned(), value.to_string()]));
        }
        if !options.is_empty() {
            text += &format!(" {} {}", options.len(), options.join(" "));
        }
        text
    }

    /// The trailer that says so, as it lies in its block.
    ///
    /// # Errors
    /// Bad input if `signature` does not fit the block.
    pub fn seal(&self, signature: &[u8]) -> Result<[u8; BLOCK_BYTES]> {
        let (hash_start, fec, root_hash) = (self.hash_start, self.fec, self.root_hash);
        let mut block = [0; BLOCK_BYTES];
        let trailer = Trailer { hash_start, fec, root_hash: &root_hash, salt: &self.salt, signature };
        trailer::seal(&trailer, &mut block).map_err(|error| {
            let what = format!("a signature of {} bytes: the trailer {error}", signature.len());
            Error::bad_input(what, "sign with a smaller key, and by one certificate")
        })?;
        Ok(block)
    }
}

/// Gives the EROFS image in the file `image` a version, in the bytes in front of its superblock, which belong to nobody.
///
/// # Errors
/// Bad input if it is no EROFS image, or has a trailer already: its root hash would become wrong.
pub fn set_version(image: &Path, version: u32) -> Result<()> {
    bare(image)?;
    let [a, b, c, d] = VERSION_MAGIC;
    let [e, f, g, h] = version.to_le_bytes();
    let file = OpenOptions::new().write(true).open(image).map_err(Error::io("open", image))?;
    file.write_all_at(&[a, b, c, d, e, f, g, h], 0).map_err(Error::io("write", image))
}

/// Appends trailer, hash tree and error correction to the EROFS image in the file `image`. The same image and options give
/// the same bytes. Reads all of the image; memory does not grow with it.
///
/// # Errors
/// Bad input if it is no EROFS image or has a trailer already; failed work if writing fails or `veritysetup` is missing.
pub fn append(image: &Path, options: &Options) -> Result<Summary> {
    let bare = bare(image)?;
    let salt: [u8; 32] = Sha256::new().chain_update(SALT_PURPOSE).chain_update(bare.uuid).finalize().into();
    let hash_start = bare.data_bytes / BLOCK + 1;
    let tree = Tree::new(bare.data_bytes / BLOCK, hash_start);
    let file = OpenOptions::new().read(true).write(true).open(image).map_err(Error::io("open", image))?;
    // What is not written is zeros: the trailer until it is complete, the ends of the levels.
    file.set_len(tree.end() * BLOCK).map_err(Error::io("resize", image))?;
    let root_hash = tree.write(&file, &salt).map_err(Error::io("hash", image))?;
    let mut summary =
        Summary { data_bytes: bare.data_bytes, bytes: 0, hash_start, root_hash, salt: salt.to_vec(), fec: None };
    if options.fec_roots > 0 {
        let fec = trailer::Fec { start: tree.end(), roots: options.fec_roots };
        fec::append(image, &summary, fec)?;
        summary.fec = Some(fec);
    }
    file.write_all_at(&summary.seal(&[])?, bare.data_bytes).map_err(Error::io("write", image))?;
    summary.bytes = length(&file, image)?;
    Ok(summary)
}

/// An image in a file of its own with nothing behind it.
fn bare(path: &Path) -> Result<Image> {
    let image = Image::open(path)?;
    let length = length(&image.file, path)?;
    if length != image.data_bytes {
        let what = format!("{}: {} bytes behind its EROFS image", path.display(), length - image.data_bytes);
        return Err(Error::bad_input(what, "give an image without a trailer: build it again"));
    }
    Ok(image)
}

/// Bytes of an open file or block device.
pub(crate) fn length(file: &File, path: &Path) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0)).map_err(Error::io("read", path))
}

#[cfg(test)]
pub(crate) mod tests;
