//! Where things are: slots and what their images lie in, block devices and how they are known, and the partitions a disk must
//! have for them.

use super::{Overlay, value};
use std::fmt;
use std::time::Duration;

/// One candidate for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Name, unique in the board.
    pub name: String,
    /// Where the image is.
    pub source: Source,
    /// Which image it is.
    pub image: ImageName,
    /// The image must be exactly the one the plan was built with.
    pub pin: bool,
}

/// One of the images a build makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageName {
    /// Made of what `--from` gives.
    Main,
    /// Made of what `--rescue` gives.
    Rescue,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Raw EROFS on a block device.
    Partition(Wanted),
    /// EROFS file in a file system.
    File {
        /// The file system that holds it.
        holder: Holder,
        /// Where in that file system.
        path: FilePath,
    },
    /// Raw EROFS in memory that the bootloader filled, as a persistent memory device.
    Memory {
        /// The device.
        device: Wanted,
        /// Physical address of its first byte, a multiple of 2 MiB.
        address: u64,
        /// Physical address at which RAM begins.
        ram_start: u64,
    },
    /// EROFS file in the mini-initramfs. At most one slot of a board.
    Initramfs,
}

impl Source {
    /// The block device to wait for, if there is one.
    pub const fn device(&self) -> Option<&Wanted> {
        match self {
            Source::Partition(device) | Source::Memory { device, .. } => Some(device),
            Source::File { holder, .. } => Some(&holder.device),
            Source::Initramfs => None,
        }
    }
}

/// Where a file lies in its file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePath {
    /// At this absolute path.
    At(String),
    /// At `/usr/lib/modules/RELEASE/initoverlayfs.erofs` of the OSTree deployment that the kernel command line names.
    Ostree,
}

impl FilePath {
    /// Mount options of its file system. That of a deployment is the content's root, mounted again by it and then in use for as long
    /// as the board runs: with its journal.
    pub const fn options(&self, kind: FileSystem) -> &'static str {
        match self {
            FilePath::At(_) => kind.no_replay(),
            FilePath::Ostree => "",
        }
    }
}

/// A block device to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How it is known.
    pub device: Device,
    /// Kernel name tried first.
    pub hint: Option<String>,
    /// How long to wait for it; fits 32 bits of milliseconds.
    pub deadline: Duration,
    /// The one logical unit to scan, `host:channel:target:lun`.
    pub lun: Option<String>,
}

/// A file system on a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The device.
    pub device: Wanted,
    /// Kind of file system.
    pub kind: FileSystem,
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

    /// Mount options that keep a read-only mount from replaying the journal. Linux 6.1 to 6.12: `parse_options()` or the parameter
    /// tables of fs/ext4/super.c, fs/f2fs/super.c, fs/xfs/xfs_super.c and fs/btrfs/super.c; vfat has no journal.
    pub const fn no_replay(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "noload",
            FileSystem::Vfat => "",
            FileSystem::F2fs | FileSystem::Xfs => "norecovery",
            FileSystem::Btrfs => "rescue=nologreplay",
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

/// A partition that a disk must have for a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition<'a> {
    /// How the target will know it.
    pub device: &'a Device,
    /// What must be on it.
    pub holds: Holds<'a>,
}

/// What must be on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds<'a> {
    /// An image, bare.
    Image(ImageName),
    /// A file system with images as files, each path once.
    Files(FileSystem, Vec<(&'a FilePath, ImageName)>),
    /// An empty file system, for what is written to the overlay.
    Upper(FileSystem),
}

/// The different partitions that `slots` and `overlay` name, in their order: what a disk for them has, numbered from 1. Memory is
/// on no disk. A validated board wants one thing alone of a device.
pub fn partitions<'a>(slots: &'a [Slot], overlay: &'a Overlay) -> Vec<Partition<'a>> {
    let mut partitions: Vec<Partition<'a>> = Vec::new();
    for slot in slots {
        let (device, holds) = match &slot.source {
            Source::Partition(wanted) => (&wanted.device, Holds::Image(slot.image)),
            Source::File { holder, path } => {
                (&holder.device.device, Holds::Files(holder.kind, vec![(path, slot.image)]))
            }
            Source::Memory { .. } | Source::Initramfs => continue,
        };
        let known = partitions.iter_mut().find(|known| known.device == device).map(|known| &mut known.holds);
        match (known, holds) {
            (None, holds) => partitions.push(Partition { device, holds }),
            (Some(Holds::Files(_, files)), Holds::Files(_, more)) => {
                let more: Vec<_> = more.into_iter().filter(|file| !files.contains(file)).collect();
                files.extend(more);
            }
            (Some(_), _) => {}
        }
    }
    if let Overlay::Partition(holder) = overlay {
        partitions.push(Partition { device: &holder.device.device, holds: Holds::Upper(holder.kind) });
    }
    partitions
}
