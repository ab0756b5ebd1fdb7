//! The board: the first word of the vocabulary. A TOML file on the host, with parents, becomes a [`Board`] in which
//! everything is present and of its type, or one error that names everything wrong with the file.

mod bootloader;
mod document;
pub mod draft;
mod fill;
mod find;
mod hardware;
mod raw;
mod schema;
mod source;
mod suggest;
mod tables;
mod validate;
mod value;

pub use bootloader::{Bootloader, Emit};
pub use bootstrap::plan::{Handover, Mode};
pub use hardware::{Driver, Hardware, Serial, Storage};
pub use schema::schema;
pub use source::{Device, FilePath, FileSystem, Holder, Holds, ImageName, Partition, Slot, Source, Wanted, partitions};
pub(crate) use suggest::suggest;
pub(crate) use value::is_normalised;

use crate::error::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A validated board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Name, for log lines and the record.
    pub name: String,
    /// Processor architecture.
    pub architecture: Architecture,
    /// What the image holds.
    pub mode: Mode,
    /// Which mounts the next init finds; `None`: decided by looking at the content.
    pub handover: Option<Handover>,
    /// Path of the next init inside the image.
    pub next_init: String,
    /// Kernel modules to load, by name.
    pub modules: Modules,
    /// Candidates for the image, 1 to [`bootstrap::plan::MAX_SLOTS`].
    pub slots: Vec<Slot>,
    /// What vouches for the images.
    pub verity: Verity,
    /// The overlay's writable layer.
    pub overlay: Overlay,
    /// Absolute paths that the bootloader's extra cpios may bring.
    pub extras: Vec<String>,
    /// The watchdog to start; without one watchdogs are left to the kernel.
    pub watchdog: Option<Watchdog>,
    /// What happens when no slot boots.
    pub failure: Failure,
    /// How the EROFS image is written.
    pub image: Image,
    /// Compression of the mini-initramfs.
    pub initramfs: Compression,
    /// Limits for builds and measurements.
    pub budget: Budget,
    /// What the bootloader takes.
    pub bootloader: Bootloader,
    /// The machine in QEMU, if the board boots there.
    pub qemu: Option<Qemu>,
    /// The real machine, if there is one.
    pub hardware: Option<Hardware>,
    /// The files read: the board's own first, then its parents.
    pub files: Vec<PathBuf>,
}

impl Board {
    /// Whether it has a real machine on which nobody has run it.
    pub fn is_unproven(&self) -> bool {
        self.hardware.as_ref().is_some_and(|hardware| hardware.run_on.is_none())
    }
}

/// Processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARMv7, hard float.
    Armv7,
    /// 64-bit x86.
    X86_64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 3] = [Architecture::Aarch64, Architecture::Armv7, Architecture::X86_64];

    /// As written in a board file.
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "aarch64",
            Architecture::Armv7 => "armv7",
            Architecture::X86_64 => "x86_64",
        }
    }

    /// The compiler's target.
    pub const fn rust_target(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "aarch64-unknown-linux-gnu",
            Architecture::Armv7 => "armv7-unknown-linux-gnueabihf",
            Architecture::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// The folder below `arch/` in the kernel's source.
    pub const fn kernel(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "arm64",
            Architecture::Armv7 => "arm",
            Architecture::X86_64 => "x86",
        }
    }

    /// The emulator's program name.
    pub const fn qemu(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "qemu-system-aarch64",
            Architecture::Armv7 => "qemu-system-arm",
            Architecture::X86_64 => "qemu-system-x86_64",
        }
    }

    /// `e_machine` of its programs and modules (elf.h).
    pub const fn elf_machine(self) -> u16 {
        match self {
            Architecture::Aarch64 => 183,
            Architecture::Armv7 => 40,
            Architecture::X86_64 => 62,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kernel modules to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Names as written.
    pub load: Vec<String>,
    /// Remove debug information and the signature.
    pub strip: bool,
    /// Module name to its parameters.
    pub parameters: BTreeMap<String, String>,
}

/// What vouches for the images outside the initramfs; those in it are covered by whatever vouches for the initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verity {
    /// How.
    pub method: Method,
    /// What dm-verity does about a wrong block.
    pub on_corruption: OnCorruption,
    /// Parity bytes in 255 of dm-verity's error correction, 2 to 24; 0: none.
    pub fec_roots: u32,
    /// Version written into the images; 0: none.
    pub version: u32,
}

impl Verity {
    /// Whether it applies to an image that is there.
    pub fn covers(&self, source: &Source) -> bool {
        self.method != Method::None && *source != Source::Initramfs
    }

    /// Whether the image there is read through dm-verity.
    pub fn maps(&self, source: &Source) -> bool {
        self.covers(source) && self.method != Method::FsVerity
    }
}

/// What vouches for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nothing.
    None,
    /// The root hash of a dm-verity tree, in the plan.
    RootHash,
    /// A root hash beside the image, signed by a key of the kernel's keyring.
    Signature {
        /// The lowest version of an image that is taken.
        minimum_version: u32,
    },
    /// The fs-verity digest of its file, in the plan.
    FsVerity,
}

impl Method {
    /// As written in a board file.
    pub const fn name(self) -> &'static str {
        match self {
            Method::None => "none",
            Method::RootHash => "root-hash",
            Method::Signature { .. } => "signature",
            Method::FsVerity => "fs-verity",
        }
    }
}

/// What dm-verity does about a wrong block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCorruption {
    /// Refuses to read it.
    Error,
    /// Restarts the board.
    Restart,
    /// Panics.
    Panic,
}

impl OnCorruption {
    /// The optional word of a dm-verity table (Documentation/admin-guide/device-mapper/verity.rst).
    pub const fn word(self) -> Option<&'static str> {
        match self {
            OnCorruption::Error => None,
            OnCorruption::Restart => Some("restart_on_corruption"),
            OnCorruption::Panic => Some("panic_on_corruption"),
        }
    }
}

/// The overlay's writable layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// A tmpfs: what is written is gone with the next boot.
    Memory {
        /// Size in KiB, a multiple of 4.
        size_kib: u32,
        /// Number of inodes.
        inodes: u32,
    },
    /// A file system that keeps what is written: ext4 or f2fs.
    Partition(Holder),
}

/// A watchdog that `bootstrap` starts and hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Kernel name of its device node below `/dev`.
    pub device: String,
    /// Its timeout in seconds, at least 1.
    pub timeout_s: u32,
}

/// What happens when no slot boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Restart, with the failed step as the reboot argument.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop, console readable.
    Halt,
    /// Start this program of the host, put into the mini-initramfs.
    Shell(PathBuf),
}

/// How the EROFS image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Compression.
    pub compression: ImageCompression,
    /// Bytes of a compressed cluster, a power of two from 4 KiB to 1 MiB.
    pub cluster: u32,
    /// Whether files that a profile names stay uncompressed.
    pub leave_used: bool,
}

/// Compression of the EROFS image, with its level where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCompression {
    /// Stored.
    None,
    /// LZ4.
    Lz4,
    /// LZ4, high compression, level 0 to 12.
    Lz4hc(Option<u8>),
    /// Zstandard, level 0 to 22.
    Zstd(Option<u8>),
    /// MicroLZMA, level 0 to 109.
    Lzma(Option<u8>),
    /// Deflate, level 0 to 9.
    Deflate(Option<u8>),
}

impl fmt::Display for ImageCompression {
    /// As `mkfs.erofs -z` takes it; `none` for stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, level) = match self {
            ImageCompression::None => ("none", None),
            ImageCompression::Lz4 => ("lz4", None),
            ImageCompression::Lz4hc(level) => ("lz4hc", *level),
            ImageCompression::Zstd(level) => ("zstd", *level),
            ImageCompression::Lzma(level) => ("lzma", *level),
            ImageCompression::Deflate(level) => ("deflate", *level),
        };
        f.write_str(name)?;
        level.map_or(Ok(()), |level| write!(f, ",{level}"))
    }
}

/// Compression of the mini-initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// LZ4 in the kernel's legacy frame.
    Lz4,
    /// xz with CRC-32.
    Xz,
}

/// Limits; exceeding one fails a build or a measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Largest mini-initramfs in bytes, modules not counted.
    pub initramfs: Option<u64>,
    /// Longest time from the start of `bootstrap` to the end of step switch-root.
    pub switch_root: Option<Duration>,
    /// Latest time of a mark, since the beginning of the axis of a measurement.
    pub marks: BTreeMap<String, Duration>,
}

/// The machine in QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// Machine, as for `-M`.
    pub machine: String,
    /// Processor, as for `-cpu`, if not the machine's own.
    pub cpu: Option<String>,
    /// Memory in bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Number of processors.
    pub cpus: u32,
    /// How virtio devices are attached.
    pub transport: Transport,
    /// The kernel's console, as for `console=`.
    pub console: String,
    /// Further kernel arguments; may be empty.
    pub append: String,
    /// Further arguments of QEMU.
    pub arguments: Vec<String>,
}

/// How virtio devices are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// On the PCI bus: `virtio-blk-pci`.
    Pci,
    /// Memory mapped: `virtio-blk-device`.
    Mmio,
}

/// Reads a board: from a path if the argument contains `/`, ends with `.toml` or is a file, else by its name from the
/// board folder (`INITOVERLAYFS_BOARDS`, else `board-configs` above the working directory or the program, else the
/// one installed with the program, else the package's).
///
/// # Errors
/// Bad input with everything that is wrong with the file and its parents, a line a problem: file, line, key, the value
/// found and the value expected.
pub fn load(name_or_path: &str) -> Result<Board> {
    let document = document::Document::read(&find::file(name_or_path)?)?;
    validate::board(document)
}

/// The file of a board, by its path or name, as [`load`] finds it.
///
/// # Errors
/// Bad input if no board has this name.
pub fn file(name_or_path: &str) -> Result<PathBuf> {
    find::file(name_or_path)
}

#[cfg(test)]
mod tests;
