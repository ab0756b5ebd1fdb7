//! Where the image of a test lies: the modules that takes, the plan's words for it, and what its partition holds.

use crate::Result;
use crate::content::bus;
use crate::kernel::Kernel;
use bootstrap::plan::{Device, FilePath, Holder, Source, Wanted};
use imagegen::board::FileSystem;
use imagegen::filesystem;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the partition that holds the image.
pub const PARTNAME: &str = "initoverlayfs";
/// Name of the partition that keeps what is written.
pub const UPPER: &str = "upper";
/// Path of the image in the mini-initramfs, for [`Place::Initramfs`].
pub const IMAGE_PATH: &str = "/image.erofs";
/// Path of the image in a file system, for [`Place::File`].
pub const FILE_PATH: &str = "/boot/initoverlayfs.erofs";
/// Where an OSTree deployment lies.
const DEPLOYMENT: &str = "/ostree/deploy/debian/deploy/0123456789abcdef.0";
/// The kernel argument that names it.
pub const OSTREE: &str = "ostree=/ostree/boot.1/debian/fedcba9876543210/0";
/// The logical unit with the image, for [`Place::Scsi`].
pub const LUN: &str = "0:0:0:1";

/// Where the image lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a GPT partition.
    Partition,
    /// In the mini-initramfs.
    Initramfs,
    /// In a file system on a GPT partition.
    File(FileSystem),
    /// In an OSTree deployment for the running kernel, on ext4.
    Ostree,
    /// On a GPT partition of one of a SCSI host's logical units.
    Scsi,
    /// In memory behind what the kernel knows of.
    Memory,
}

impl Place {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Partition => "partition",
            Place::Initramfs => "initramfs",
            Place::File(kind) => kind.name(),
            Place::Ostree => "ostree",
            Place::Scsi => "scsi",
            Place::Memory => "memory",
        }
    }

    /// Whether only the full program can boot it.
    pub const fn is_full(self) -> bool {
        matches!(self, Place::File(_) | Place::Ostree | Place::Scsi)
    }

    /// The file system that holds the image as a file.
    pub const fn holder(self) -> Option<FileSystem> {
        match self {
            Place::File(kind) => Some(kind),
            Place::Ostree => Some(FileSystem::Ext4),
            _ => None,
        }
    }

    /// Modules it takes beside EROFS, the overlay and those of its file system.
    pub fn modules(self, kernel: &Kernel) -> Vec<&'static str> {
        match self {
            Place::Partition => vec![bus(kernel), "virtio_blk"],
            Place::Initramfs => vec!["loop"],
            Place::File(_) | Place::Ostree => vec![bus(kernel), "virtio_blk", "loop"],
            Place::Scsi => vec![bus(kernel), "virtio_scsi", "sd_mod"],
            Place::Memory => vec!["of_pmem", "nd_pmem"],
        }
    }

    /// As the plan has it; `wanted` is the partition's device.
    pub fn source(self, wanted: Wanted<'_>) -> Source<'_> {
        let holder = |kind: FileSystem, options| Holder { device: wanted.clone(), kind: kind.name(), options };
        match self {
            Place::Partition => Source::Partition { device: wanted, options: "" },
            Place::Initramfs => Source::Initramfs { path: IMAGE_PATH },
            Place::File(kind) => Source::File { holder: holder(kind, kind.no_replay()), path: FilePath::At(FILE_PATH) },
            Place::Ostree => Source::File { holder: holder(FileSystem::Ext4, ""), path: FilePath::Ostree },
            Place::Scsi => Source::Partition { device: Wanted { lun: Some(LUN), ..wanted }, options: "" },
            Place::Memory => Source::Partition {
                device: Wanted { device: Device::Path("pmem0"), words: "/dev/pmem0", ..wanted },
                options: "dax=always",
            },
        }
    }

    /// Writes what the partition holds for an image, into `folder` if that is not the image itself.
    ///
    /// # Errors
    /// If a tool is missing or fails.
    pub fn stored(self, kernel: &Kernel, image: &Path, folder: &Path) -> Result<PathBuf> {
        let out = folder.join("holder.img");
        let file = |path: String| [(path, image.to_owned())];
        match self {
            Place::File(kind) => filesystem::write(kind, &file(FILE_PATH.into()), "HOLDER", None, &out)?,
            Place::Ostree => {
                let path = format!("{DEPLOYMENT}/usr/lib/modules/{}/initoverlayfs.erofs", kernel.release()?);
                filesystem::write(FileSystem::Ext4, &file(path), "HOLDER", None, &out)?;
                link_deployment(&out)?;
            }
            _ => return Ok(image.to_owned()),
        }
        Ok(out)
    }
}

/// Modules of a file system. What it asks the kernel for by name has to be there already: no program loads modules so early.
pub fn file_system(kind: FileSystem, kernel: &Kernel) -> &'static [&'static str] {
    match kind {
        FileSystem::Ext4 => &["ext4"],
        // The code page of short names, and the character set of long ones (CONFIG_FAT_DEFAULT_*).
        FileSystem::Vfat => &["vfat", "nls_cp437", "nls_ascii"],
        // Its checksum, which later kernels have built in.
        FileSystem::F2fs if kernel.name == "arm64-6.12" => &["crc32_generic", "f2fs"],
        FileSystem::F2fs => &["f2fs"],
        FileSystem::Xfs => &["xfs"],
        FileSystem::Btrfs => &["btrfs"],
    }
}

/// The links to a deployment as ostree makes them: for an argument `ostree=`, and for the slots of an Android bootloader.
fn link_deployment(image: &Path) -> Result<()> {
    let deployed = DEPLOYMENT.trim_start_matches("/ostree/");
    debugfs(
        image,
        &format!(
            "mkdir /ostree/boot.1.1\nmkdir /ostree/boot.1.1/debian\nmkdir /ostree/boot.1.1/debian/fedcba9876543210\n\
             symlink /ostree/boot.1 boot.1.1\nsymlink /ostree/boot.1.1/debian/fedcba9876543210/0 ../../../{deployed}\n\
             symlink /ostree/root.b {deployed}\n"
        ),
    )
}

/// Changes an ext4 image.
///
/// # Errors
/// If debugfs is missing or one of `commands` fails.
pub fn debugfs(image: &Path, commands: &str) -> Result<()> {
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), commands)?;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("debugfs").env("PATH", path).args(["-w", "-f"]).arg(script.path()).arg(image).output()?;
    // Its exit status does not say whether a command failed.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match said.lines().find(|line| !line.is_empty() && !line.starts_with("debugfs ")) {
        Some(line) => Err(format!("debugfs: {line}").into()),
        None => Ok(()),
    }
}
