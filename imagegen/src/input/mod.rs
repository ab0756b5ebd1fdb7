//! Reads what the user has, an initramfs, a directory or a tar, into a [`Tree`]. What a file is, its content says, never
//! its name.
//!
//! An initramfs is unpacked as the kernel does it (`init/initramfs.c`, `buffer-format.rst`), except that what the kernel
//! passes over in silence is an error here: a damaged or truncated member, a missing `TRAILER!!!`, an unusable name. A
//! missing parent directory is created, mode 0755, owned by root.

mod builder;
mod compression;
mod cpio;
mod directory;
mod initramfs;
mod lz4_legacy;
mod lzop;
mod source;
mod tar;
mod xz;

pub(crate) use builder::PATH_BYTES_MAX;

use crate::tree::Tree;
use crate::{Error, Result};
use builder::Builder;
use compression::Compression;
use source::Source;
use std::io::{BufRead, Read};
use std::path::Path;

/// What is accepted, for hints.
pub(crate) const ACCEPTED: &str = "accepted: a directory; a tar, plain or as gzip, xz, zstd, bzip2; newc cpio archives, each plain or \
                        as gzip, xz, zstd, lz4 (lz4 -l), lzma, bzip2, lzo (lzop)";

/// Bytes of a file's start that tell what it is: the header of a tar.
const PROBE_BYTES: u64 = 512;

/// Reads the initramfs, directory or tar at `path`. Contents are spooled to a folder made inside `spool_parent`, which
/// should be on the file system where the image is going to be built. `progress` is called with the bytes of input
/// consumed so far.
///
/// # Errors
/// `BadInput` naming file and offset if the input is not what it should be; `FailedWork` if spooling fails.
pub fn read(path: &Path, spool_parent: &Path, progress: &mut dyn FnMut(u64)) -> Result<Tree> {
    let is_directory = is_directory(path)?;
    if is_directory && is_inside(spool_parent, path) {
        let what = format!("{}: what is read from it would be put into {}", path.display(), spool_parent.display());
        return Err(Error::bad_input(what, "set TMPDIR, or the output, to a folder outside of it"));
    }
    let mut builder = Builder::new(spool_parent)?;
    if is_directory {
        directory::read(path, &mut builder, progress)?;
        return Ok(builder.finish());
    }
    match probe(path)? {
        Format::Tar(compression) => tar::read(path, compression, &mut builder, progress)?,
        Format::Initramfs => initramfs::read(path, &mut builder, progress)?,
    }
    Ok(builder.finish())
}

/// Whether `path` is a directory; otherwise it is a regular file.
///
/// # Errors
/// Bad input for whatever is neither: a pipe or a device may never end, and is read twice here.
pub fn is_directory(path: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.is_file() || metadata.is_dir() {
        return Ok(metadata.is_dir());
    }
    let what = format!("{} is no regular file or folder", path.display());
    Err(Error::bad_input(what, "write what it gives to a file first"))
}

/// Whether `inner`, which may still have to be made, is `outer` or lies in it, symbolic links followed.
pub fn is_inside(inner: &Path, outer: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let Some(outer) = real(outer) else { return false };
    let absolute = std::path::absolute(inner).unwrap_or_default();
    absolute.ancestors().find_map(real).is_some_and(|inner| inner.starts_with(&outer))
}

enum Format {
    Tar(Option<Compression>),
    Initramfs,
}

/// Looks at the first bytes, unpacked if they are compressed. Whatever is not a tar is left to the initramfs reader.
fn probe(path: &Path) -> Result<Format> {
    let mut source = Source::open(path)?;
    let start = source.fill_buf().map_err(Error::io("read", path))?;
    if start.is_empty() {
        return Err(Error::bad_input(format!("{} is empty", path.display()), ACCEPTED));
    }
    let compression = Compression::detect(start);
    let mut header = Vec::new();
    match compression {
        None => header.extend(start.iter().take(PROBE_BYTES as usize)),
        // A member too damaged to be unpacked is reported, with its offset, by the reader.
        Some(compression) => {
            let _ = compression.reader(&mut source).and_then(|r| r.take(PROBE_BYTES).read_to_end(&mut header));
        }
    }
    Ok(if tar::is_header(&header) { Format::Tar(compression) } else { Format::Initramfs })
}

#[cfg(test)]
mod tests;
