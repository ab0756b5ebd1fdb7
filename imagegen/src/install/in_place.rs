//! Writes an image over another so that a power cut at any moment leaves the old one whole, the new one whole, or none.
//!
//! Between two flushes a device may write in any order, and stop anywhere; what it writes whole is a sector. So the sector of
//! the EROFS superblock decides alone: it is made zeros first, and is written last, when all else has been read back.

use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the smallest sector.
const SECTOR: usize = 512;
/// Where the sector with the superblock starts (`EROFS_SUPER_OFFSET`).
const SUPERBLOCK: usize = 1024;

/// What an image is written to.
pub trait Storage {
    /// Writes, at once or later.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written will survive a power cut.
    fn flush(&mut self) -> io::Result<()>;
    /// Reads what was flushed from the storage itself, not from memory.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// An image to be written.
pub struct Job<'a> {
    /// What holds the image.
    pub source: &'a File,
    /// Its path.
    pub from: &'a Path,
    /// Path of the storage.
    pub to: &'a Path,
    /// Bytes of the image; at least a block.
    pub bytes: u64,
    /// Bytes written at a time; at least a block.
    pub chunk_bytes: usize,
}

impl Job<'_> {
    /// Writes the image. `progress` is called with the bytes done.
    ///
    /// # Errors
    /// Failed work if source or storage fail, or the storage does not hold what was written: there is no image in it then.
    pub fn run(&self, storage: &mut impl Storage, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let zeros = [0; SECTOR];
        let mut superblock = [0; SECTOR];
        self.source.read_exact_at(&mut superblock, SUPERBLOCK as u64).map_err(Error::io("read", self.from))?;
        self.write_sector(storage, &zeros)?;
        self.chunks(&mut |at, chunk| {
            progress(at);
            storage.write(at, chunk).map_err(Error::io("write", self.to))
        })?;
        storage.flush().map_err(Error::io("write", self.to))?;
        self.chunks(&mut |at, chunk| self.compare(storage, at, chunk))?;
        self.write_sector(storage, &superblock)?;
        self.compare(storage, SUPERBLOCK as u64, &superblock).inspect_err(|_| {
            // The failure is reported as it is; whether this helps changes nothing about it.
            let _ = self.write_sector(storage, &zeros);
        })
    }

    fn write_sector(&self, storage: &mut impl Storage, sector: &[u8; SECTOR]) -> Result<()> {
        storage.write(SUPERBLOCK as u64, sector).and_then(|()| storage.flush()).map_err(Error::io("write", self.to))
    }

    /// Goes through the image, the superblock's sector zeros.
    fn chunks(&self, sink: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut chunk = vec![0; self.chunk_bytes];
        let mut at = 0;
        while at < self.bytes {
            chunk.truncate(usize::try_from(self.bytes - at).unwrap_or(usize::MAX));
            self.source.read_exact_at(&mut chunk, at).map_err(Error::io("read", self.from))?;
            if let (0, Some(sector)) = (at, chunk.get_mut(SUPERBLOCK..SUPERBLOCK + SECTOR)) {
                sector.fill(0);
            }
            sink(at, &chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn compare(&self, storage: &mut impl Storage, at: u64, wanted: &[u8]) -> Result<()> {
        let mut found = vec![0; wanted.len()];
        storage.read(at, &mut found).map_err(Error::io("read", self.to))?;
        let Some(differs) = found.iter().zip(wanted).position(|(found, wanted)| found != wanted) else { return Ok(()) };
        let what = format!("{}: byte {}: not what was written there", self.to.display(), at + differs as u64);
        Err(Error::failed(what, "the device is worn out, or something else writes to it: it holds no image now"))
    }
}

#[cfg(test)]
mod tests;
