//! Writes the mini-initramfs: a newc cpio with exactly what the bootstrap needs, byte for byte the same every time.
//!
//! The kernel unpacks entries in order and skips in silence what it has no memory for, so `/init` comes first
//! (`init/initramfs.c`, Linux 6.12); the folders the bootstrap mounts on are here, so that it never makes one.

use crate::board::Compression;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Folders the bootstrap mounts on.
pub const MOUNT_POINTS: [&str; 7] = ["proc", "sys", "run", "holder", "image", "upper", "root"];

/// Longest name in bytes with its NUL, `PATH_MAX` of `include/uapi/linux/limits.h`.
const MAX_NAME: usize = 4096;
/// Bytes a block of the lz4 legacy format holds, fixed by the format.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// Content of a file.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file, copied when the archive is written.
    Path(PathBuf),
}

/// What an entry is.
#[derive(Clone, Debug)]
enum What {
    Directory,
    /// Character device: major, minor.
    Device(u32, u32),
    File(Body),
}

/// An entry as a reader must find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Length and SHA-256, for a regular file.
    pub content: Option<(u64, [u8; 32])>,
}

/// A mini-initramfs: files in the order in which the kernel unpacks them, all owned by root, all dated 1970.
#[derive(Debug)]
pub struct Initramfs {
    entries: Vec<(String, u32, What)>,
    names: BTreeSet<String>,
}

impl Initramfs {
    /// Starts an archive with `/init`, `/dev/console` (the kernel opens it before anything is mounted) and the mount
    /// points.
    pub fn new(init: Body) -> Self {
        let mut archive = Initramfs { entries: Vec::new(), names: BTreeSet::new() };
        archive.push("init", 0o755, What::File(init));
        archive.push("dev", 0o755, What::Directory);
        archive.push("dev/console", 0o600, What::Device(5, 1));
        for name in MOUNT_POINTS {
            archive.push(name, 0o755, What::Directory);
        }
        archive
    }

    /// Adds a regular file at an absolute path, and the folders above it that are missing.
    ///
    /// # Errors
    /// Bad input for a path that is not absolute and normal, is too long or is there already.
    pub fn add(&mut self, path: &str, mode: u32, body: Body) -> Result<()> {
        let name = path.strip_prefix('/').unwrap_or_default();
        if name.len() >= MAX_NAME || name.contains('\0') || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(Error::bad_input(
                format!("{path:?} cannot be a path in the initramfs"),
                "give an absolute path without `.`, `..` and empty parts, shorter than 4096 bytes",
            ));
        }
        if self.names.contains(name) {
            return Err(Error::bad_input(format!("{path} comes twice in the initramfs"), "rename one of the two"));
        }
        for (end, _) in name.match_indices('/') {
            if !self.names.contains(&name[..end]) {
                self.push(&name[..end], 0o755, What::Directory);
            }
        }
        self.push(name, mode & 0o7777, What::File(body));
        Ok(())
    }

    fn push(&mut self, name: &str, mode: u32, what: What) {
        self.names.insert(name.to_owned());
        self.entries.push((name.to_owned(), mode, what));
    }

    /// What a reader of the archive must find.
    ///
    /// # Errors
    /// Failed work if a file cannot be read.
    pub fn expected(&self) -> Result<Vec<Expected>> {
        let expect = |(name, mode, what): &(String, u32, What)| {
            let content = match what {
                What::Directory | What::Device(..) => None,
                What::File(Body::Bytes(bytes)) => Some((bytes.len() as u64, Sha256::digest(bytes).into())),
                What::File(Body::Path(path)) => Some(crate::manifest::digest_file(path)?),
            };
            Ok(Expected { path: format!("/{name}"), mode: *mode, content })
        };
        self.entries.iter().map(expect).collect()
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Bad input for a file above 4 GiB - 1 or one that changes its size meanwhile; failed work if writing fails.
    pub fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<()> {
        let failed = Error::io("write", "initramfs");
        match compression {
            Compression::None => self.write_raw(out),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::best());
                self.write_raw(&mut encoder)?;
                encoder.finish().map(drop).map_err(failed)
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, 19).map_err(Error::io("compress", "initramfs"))?;
                self.write_raw(&mut encoder)?;
                encoder.finish().map(drop).map_err(failed)
            }
            Compression::Xz => {
                let mut options = lzma_rust2::XzOptions::with_preset(6);
                options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
                let mut encoder =
                    lzma_rust2::XzWriter::new(out, options).map_err(Error::io("compress", "initramfs"))?;
                self.write_raw(&mut encoder)?;
                encoder.finish().map(drop).map_err(failed)
            }
            Compression::Lz4 => {
                let mut encoder = Lz4Legacy::new(out).map_err(Error::io("write", "initramfs"))?;
                self.write_raw(&mut encoder)?;
                encoder.finish().map_err(failed)
            }
        }
    }

    fn write_raw(&self, out: &mut dyn Write) -> Result<()> {
        let mut inode = 0;
        for (name, mode, what) in &self.entries {
            inode += 1;
            match what {
                What::Directory => header(out, name, inode, S_IFDIR | mode, 2, 0, (0, 0)),
                What::Device(major, minor) => header(out, name, inode, S_IFCHR | mode, 1, 0, (*major, *minor)),
                What::File(Body::Bytes(bytes)) => {
                    let size = file_size(name, bytes.len() as u64)?;
                    header(out, name, inode, S_IFREG | mode, 1, size, (0, 0))
                        .and_then(|()| out.write_all(bytes))
                        .and_then(|()| pad(out, bytes.len() as u64))
                }
                What::File(Body::Path(path)) => {
                    copy_file(out, name, inode, S_IFREG | mode, path)?;
                    Ok(())
                }
            }
            .map_err(Error::io("write", "initramfs"))?;
        }
        header(out, "TRAILER!!!", 0, 0, 1, 0, (0, 0)).map_err(Error::io("write", "initramfs"))
    }
}

fn copy_file(out: &mut dyn Write, name: &str, inode: u32, mode: u32, path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let size = file_size(name, bytes)?;
    let write_failed = || Error::io("write", "initramfs");
    header(out, name, inode, mode, 1, size, (0, 0)).map_err(write_failed())?;
    let copied = io::copy(&mut file.take(bytes), out).map_err(Error::io("copy", path))?;
    if copied != bytes {
        return Err(Error::failed(format!("{} became shorter while it was read", path.display()), "try again"));
    }
    pad(out, bytes).map_err(write_failed())
}

fn file_size(name: &str, bytes: u64) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| {
        Error::bad_input(
            format!("/{name} has {bytes} bytes; a file of an initramfs holds 4294967295 at most"),
            "put the image on a partition instead",
        )
    })
}

/// The 110 bytes in front of every file, its name and the padding after it (`Documentation/driver-api/early-userspace/
/// buffer-format.rst`).
fn header(
    out: &mut dyn Write,
    name: &str,
    inode: u32,
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
) -> io::Result<()> {
    let name_bytes = name.len() + 1;
    // inode, mode, uid, gid, links, mtime, size, device of the file system, device node, name, checksum
    let (major, minor) = device;
    write!(out, "070701{inode:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{size:08X}", 0, 0, 0)?;
    write!(out, "{:08X}{:08X}{major:08X}{minor:08X}{name_bytes:08X}{:08X}{name}\0", 0, 0, 0)?;
    pad(out, 110 + name_bytes as u64)
}

/// Zeros up to the next multiple of 4.
fn pad(out: &mut dyn Write, written: u64) -> io::Result<()> {
    let missing = (4 - (written % 4) as usize) % 4;
    out.write_all([0; 3].get(..missing).unwrap_or_default())
}

/// Blocks of 8 MiB, each behind its compressed length (`lib/decompress_unlz4.c`).
struct Lz4Legacy<'a> {
    out: &'a mut dyn Write,
    block: Vec<u8>,
}

impl<'a> Lz4Legacy<'a> {
    fn new(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(&0x184C_2102_u32.to_le_bytes())?;
        Ok(Lz4Legacy { out, block: Vec::new() })
    }

    fn write_block(&mut self) -> io::Result<()> {
        let compressed = lz4_flex::block::compress(&self.block);
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        self.block.clear();
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&compressed)
    }

    fn finish(mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.write_block() }
    }
}

impl Write for Lz4Legacy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(LZ4_LEGACY_BLOCK - self.block.len());
        self.block.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.block.len() == LZ4_LEGACY_BLOCK {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Initramfs {
        let mut archive = Initramfs::new(Body::Bytes(b"#!init".to_vec()));
        archive.add("/plan", 0o600, Body::Bytes(b"IOFP".to_vec())).unwrap();
        archive.add("/modules/erofs.ko", 0o600, Body::Bytes(b"\x7fELF!".to_vec())).unwrap();
        archive
    }

    fn bytes(archive: &Initramfs, compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        archive.write(compression, &mut out).unwrap();
        out
    }

    #[test]
    fn golden_bytes_of_the_first_entries() {
        let out = bytes(&tiny(), Compression::None);
        let head = "07070100000001000081ED00000000000000000000000100000000\
                    0000000600000000000000000000000000000000000000050000\
                    0000init\0";
        assert_eq!(&out[..head.len()], head.as_bytes());
        assert_eq!(&out[115..124], b"\0#!init\0\0");
        let console = "0707010000000300002180000000000000000000000001000000000000000000000000000000000000000500000001\
                       0000000C00000000dev/console\0";
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains(console), "{text}");
        assert_eq!(out.len() % 4, 0);
    }

    #[test]
    fn init_is_first_and_folders_precede_their_files() {
        let paths: Vec<String> = tiny().expected().unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(
            paths,
            [
                "/init",
                "/dev",
                "/dev/console",
                "/proc",
                "/sys",
                "/run",
                "/holder",
                "/image",
                "/upper",
                "/root",
                "/plan",
                "/modules",
                "/modules/erofs.ko"
            ]
        );
    }

    #[test]
    fn twice_written_is_identical_in_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::Xz]
        {
            assert_eq!(bytes(&tiny(), compression), bytes(&tiny(), compression), "{compression:?}");
        }
    }

    #[test]
    fn names_that_are_no_paths_are_refused() {
        for path in ["", "plan", "/", "/a/../b", "/a//b", "/a/", "/a\0", "/init", &format!("/{}", "a".repeat(4096))] {
            assert!(tiny().add(path, 0o600, Body::Bytes(Vec::new())).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_file_of_4_gib_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(1 << 32).unwrap();
        let mut archive = tiny();
        archive.add("/image.erofs", 0o600, Body::Path(path)).unwrap();
        let error = archive.write(Compression::None, &mut Vec::new()).unwrap_err();
        assert!(error.what.contains("4294967296"), "{error}");
    }

    #[test]
    fn lz4_legacy_splits_into_blocks_of_8_mib() {
        let mut archive = tiny();
        archive.add("/large", 0o600, Body::Bytes(vec![7; LZ4_LEGACY_BLOCK + 1])).unwrap();
        let out = bytes(&archive, Compression::Lz4);
        let (mut offset, mut plain) = (4, Vec::new());
        while offset < out.len() {
            let length = u32::from_le_bytes(out[offset..offset + 4].try_into().unwrap()) as usize;
            let block = &out[offset + 4..offset + 4 + length];
            plain.extend(lz4_flex::block::decompress(block, LZ4_LEGACY_BLOCK).unwrap());
            offset += 4 + length;
        }
        assert_eq!(plain, bytes(&archive, Compression::None));
    }
}
