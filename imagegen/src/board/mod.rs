//! The board: the first word of the vocabulary. A TOML file on the host, with parents, becomes a [`Board`] in which
//! everything is present and of its type, or one error that names everything wrong with the file.

mod document;
mod find;
mod raw;
mod schema;
mod validate;
mod value;

pub use bootstrap::plan::{Handover, Mode};
pub use schema::schema;

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
    /// The overlay's writable layer.
    pub overlay: Overlay,
    /// Absolute paths that the bootloader's extra cpios may bring.
    pub extras: Vec<String>,
    /// What happens when no slot boots.
    pub failure: Failure,
    /// How the EROFS image is written.
    pub image: Image,
    /// Compression of the mini-initramfs.
    pub initramfs: Compression,
    /// Limits for builds and measurements.
    pub budget: Budget,
    /// The machine in QEMU, if the board boots there.
    pub qemu: Option<Qemu>,
    /// The files read: the board's own first, then its parents.
    pub files: Vec<PathBuf>,
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

/// One candidate for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Name, unique in the board.
    pub name: String,
    /// Where the image is.
    pub source: Source,
    /// The image must be exactly the one the plan was built with.
    pub pin: bool,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Raw EROFS on a block device.
    Partition {
        /// How the device is known.
        device: Device,
        /// Kernel name tried first.
        hint: Option<String>,
        /// How long to wait for it; fits 32 bits of milliseconds.
        deadline: Duration,
    },
    /// EROFS file in the mini-initramfs. At most one slot of a board.
    Initramfs,
}

/// A file system that `bootstrap` mounts beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// FAT with long names.
    Vfat,
    /// F2FS.
    F2fs,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl FileSystem {
    /// As written in a board file, and as mount(2) takes it.
    pub const fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Vfat => "vfat",
            FileSystem::F2fs => "f2fs",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }
}

/// How a block device is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The partition's name in the GPT.
    PartName(String),
    /// The partition's GUID, as its bytes lie in the GPT.
    PartUuid([u8; 16]),
    /// Signature of an MBR disk and number of the partition.
    MbrPartUuid(u32, u8),
    /// The file system's label.
    Label(String),
    /// The file system's UUID, lower case.
    Uuid(String),
    /// Kernel name of the device node below `/dev`.
    Path(String),
}

impl fmt::Display for Device {
    /// As on a kernel command line: `PARTNAME=initoverlayfs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::PartName(name) => write!(f, "PARTNAME={name}"),
            Device::PartUuid(guid) => {
                f.write_str("PARTUUID=")?;
                for (index, byte) in value::guid_bytes(*guid).iter().enumerate() {
                    f.write_str(if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" })?;
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Device::MbrPartUuid(signature, number) => write!(f, "PARTUUID={signature:08x}-{number:02x}"),
            Device::Label(label) => write!(f, "LABEL={label}"),
            Device::Uuid(uuid) => write!(f, "UUID={uuid}"),
            Device::Path(name) => write!(f, "/dev/{name}"),
        }
    }
}

/// The different partitions of `slots`, in their order: what a disk for them has, numbered from 1.
pub fn partitions(slots: &[Slot]) -> Vec<&Device> {
    let mut devices: Vec<&Device> = Vec::new();
    for slot in slots {
        if let Source::Partition { device, .. } = &slot.source
            && !devices.contains(&device)
        {
            devices.push(device);
        }
    }
    devices
}

/// The overlay's writable layer, a tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Size in KiB, a multiple of 4.
    pub size_kib: u32,
    /// Number of inodes.
    pub inodes: u32,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Largest mini-initramfs in bytes, modules not counted.
    pub initramfs: Option<u64>,
    /// Longest time from the start of `bootstrap` to the end of step switch-root.
    pub switch_root: Option<Duration>,
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
/// installed one).
///
/// # Errors
/// Bad input with everything that is wrong with the file and its parents, a line a problem: file, line, key, the value
/// found and the value expected.
pub fn load(name_or_path: &str) -> Result<Board> {
    let document = document::Document::read(&find::file(name_or_path)?)?;
    validate::board(document)
}

/// ` (did you mean "name"?)`, or nothing when no candidate is near.
pub(crate) fn suggest<'a>(found: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // Longer words cost time and are no slip of the finger.
    if found.len() > 64 {
        return String::new();
    }
    let distance = |candidate: &'a str| (strsim::damerau_levenshtein(found, candidate), candidate);
    let limit = 1 + found.len() / 4;
    match candidates.map(distance).filter(|(distance, _)| *distance <= limit).min() {
        Some((_, candidate)) => format!(" (did you mean {candidate:?}?)"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
