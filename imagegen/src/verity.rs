//! Stub, until the module of this name is merged: what makes hash trees, versions and digests.

use crate::{Error, Result};
use std::path::Path;

/// How a tree is to be made.
pub struct Options {
    /// Parity bytes in 255 of the error correction; 0: none.
    pub fec_roots: u32,
}

/// What was made.
pub struct Summary {
    /// Bytes of the image.
    pub data_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The root hash.
    pub root_hash: [u8; 32],
}

impl Summary {
    /// Parameters of the dm-verity target, `@` for the device.
    pub fn parameters(&self, words: &[&str]) -> String {
        words.join(" ")
    }
}

fn missing(image: &Path) -> Error {
    Error::failed(format!("{}: this imagegen cannot verify", image.display()), "set verity.method = \"none\"")
}

/// Writes the version into an image.
///
/// # Errors
/// Always.
pub fn set_version(image: &Path, _version: u32) -> Result<()> {
    Err(missing(image))
}

/// Appends trailer and tree.
///
/// # Errors
/// Always.
pub fn append(image: &Path, _options: &Options) -> Result<Summary> {
    Err(missing(image))
}

/// The fs-verity digest of a file.
///
/// # Errors
/// Always.
pub fn digest(file: &Path) -> Result<[u8; 32]> {
    Err(missing(file))
}
