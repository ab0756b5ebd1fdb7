//! A board file as it is written: every key optional, every value already of its type, nothing checked across keys.
//! The JSON schema is made of these types; their doc comments are its descriptions.

mod bootloader;
mod hardware;

pub(crate) use bootloader::{Bootloader, Emit};
pub(crate) use hardware::{Driver, Hardware};

use super::tables::{some_table, table, tables};
use super::value::{
    AbsolutePath, Address, DeviceName, Duration, ImageCompression, Label, Lun, ModuleName, Name, Parameters, PartName,
    PartUuid, Size, Uuid, WatchdogName,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A board: how one kind of machine boots through an EROFS image under a transient overlay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(title = "initoverlayfs board")]
pub(crate) struct Board {
    /// Parent file beside this one, without .toml: its tables are merged key by key, its arrays replaced.
    pub(crate) inherit: Option<Name>,
    /// The board's name, for log lines and the record.
    pub(crate) name: Option<Name>,
    /// Processor architecture.
    pub(crate) architecture: Option<Architecture>,
    /// What the image holds: an initrd (initial, the default), the final root, or an initrd that a larger initramfs mounts (service).
    pub(crate) mode: Option<Mode>,
    /// Which mounts the next init finds; auto (the default) looks at the content.
    pub(crate) handover: Option<Handover>,
    /// Next init inside the image. Default: /init, in mode root /sbin/init.
    pub(crate) next_init: Option<AbsolutePath>,
    /// Kernel modules of the mini-initramfs.
    #[serde(deserialize_with = "table")]
    pub(crate) modules: Modules,
    /// Candidates for the image, tried in order.
    #[serde(deserialize_with = "tables")]
    pub(crate) slot: Vec<Slot>,
    /// What vouches for the images outside the initramfs.
    #[serde(deserialize_with = "table")]
    pub(crate) verity: Verity,
    /// The overlay's writable layer.
    #[serde(deserialize_with = "table")]
    pub(crate) overlay: Overlay,
    /// Files the bootloader may add.
    #[serde(deserialize_with = "table")]
    pub(crate) extras: Extras,
    /// The watchdog to start; without one watchdogs are left to the kernel.
    #[serde(deserialize_with = "some_table")]
    #[schemars(with = "Watchdog")]
    pub(crate) watchdog: Option<Watchdog>,
    /// What happens when no slot boots.
    #[serde(deserialize_with = "table")]
    pub(crate) failure: Failure,
    /// How the EROFS image is written.
    #[serde(deserialize_with = "table")]
    pub(crate) image: Image,
    /// How the mini-initramfs is written.
    #[serde(deserialize_with = "table")]
    pub(crate) initramfs: Initramfs,
    /// Limits; exceeding one fails a build or a measurement.
    #[serde(deserialize_with = "table")]
    pub(crate) budget: Budget,
    /// What the board's bootloader takes.
    #[serde(deserialize_with = "table")]
    pub(crate) bootloader: Bootloader,
    /// The machine in QEMU, for boards that boot there.
    #[serde(deserialize_with = "some_table")]
    #[schemars(with = "Qemu")]
    pub(crate) qemu: Option<Qemu>,
    /// The real machine: what a person at the bench needs to know of it.
    #[serde(deserialize_with = "some_table")]
    #[schemars(with = "Hardware")]
    pub(crate) hardware: Option<Hardware>,
}

/// Processor architecture.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum Architecture {
    /// 64-bit ARM.
    #[serde(rename = "aarch64")]
    Aarch64,
    /// 32-bit ARMv7, hard float.
    #[serde(rename = "armv7")]
    Armv7,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

/// What the image holds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// An initrd, which goes on to the real root as it always did.
    Initial,
    /// The final root file system.
    Root,
    /// An initrd, mounted by a service of a larger initramfs in which udev has found the storage.
    Service,
}

/// Which mounts the next init finds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Handover {
    /// Decided at build time by looking at the content.
    Auto,
    /// /dev, /proc, /sys and /run are mounted, as systemd accepts them.
    Mounted,
    /// Nothing is mounted, as the kernel starts a classic initramfs.
    Kernel,
}

/// Kernel modules of the mini-initramfs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Modules {
    /// Modules by name; built-ins are dropped, dependencies added.
    pub(crate) load: Option<Vec<ModuleName>>,
    /// Remove debug information and the signature (default false). A kernel that enforces signatures needs them.
    pub(crate) strip: Option<bool>,
    /// Module name to its parameters.
    #[serde(deserialize_with = "table")]
    pub(crate) parameters: BTreeMap<String, Parameters>,
}

/// One candidate for the image.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Slot {
    /// Name, unique in the board.
    pub(crate) name: Option<Name>,
    /// Where the image is.
    pub(crate) source: Option<Source>,
    /// Device: the partition's name in the GPT.
    pub(crate) partname: Option<PartName>,
    /// Device: the partition's GUID in the GPT, or MBR signature and number.
    pub(crate) partuuid: Option<PartUuid>,
    /// Device: label of the file system on it.
    pub(crate) label: Option<Label>,
    /// Device: UUID of the file system on it.
    pub(crate) uuid: Option<Uuid>,
    /// Device: its kernel name (memory: default pmem0); mode service: also /dev/mapper/NAME.
    pub(crate) path: Option<DeviceName>,
    /// Kernel name tried first; used only if it is the wanted device.
    pub(crate) hint: Option<DeviceName>,
    /// How long to wait for the device (default 10s).
    pub(crate) deadline: Option<Duration>,
    /// The one logical unit to scan, for kernels with scsi_mod.scan=manual.
    pub(crate) lun: Option<Lun>,
    /// File and ostree: the file system on the device.
    pub(crate) filesystem: Option<FileSystem>,
    /// File: path of the image in that file system.
    pub(crate) file: Option<AbsolutePath>,
    /// Memory: physical address of the image, a multiple of 2 MiB.
    pub(crate) address: Option<Address>,
    /// Memory: physical address at which the board's RAM begins; the kernel is told to end below the image.
    pub(crate) ram_start: Option<Address>,
    /// Which image of a build it holds (default main).
    pub(crate) image: Option<ImageName>,
    /// The image must be exactly the one this plan was built with (default true; method signature: false).
    pub(crate) pin: Option<bool>,
}

/// Where an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// Raw EROFS on a block device.
    Partition,
    /// EROFS file in a file system.
    File,
    /// EROFS file in the mini-initramfs.
    Initramfs,
    /// Raw EROFS in memory, put there by the bootloader.
    Memory,
    /// EROFS file in the OSTree deployment that the kernel command line names.
    Ostree,
}

/// A file system that is mounted beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileSystem {
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

/// Which image of a build a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ImageName {
    /// The one made of what --from gives.
    Main,
    /// The one made of what --rescue gives.
    Rescue,
}

/// What vouches for the images outside the initramfs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Verity {
    /// How (default none).
    pub(crate) method: Option<Method>,
    /// What dm-verity does about a wrong block (default error).
    pub(crate) on_corruption: Option<OnCorruption>,
    /// Parity bytes in 255 of the error correction: 2 to 24, or 0 for none (default).
    pub(crate) fec_roots: Option<u32>,
    /// Version written into the images (default 0: none).
    pub(crate) version: Option<u32>,
    /// Method signature: the lowest version of an image that is taken (default 0).
    pub(crate) minimum_version: Option<u32>,
}

/// What vouches for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// Nothing.
    None,
    /// The root hash of a dm-verity tree, in the plan.
    RootHash,
    /// A root hash beside the image, signed by a key of the kernel's keyring.
    Signature,
    /// The fs-verity digest of its file, in the plan.
    FsVerity,
}

/// What dm-verity does about a wrong block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnCorruption {
    /// Refuse to read it.
    Error,
    /// Restart the board.
    Restart,
    /// Panic.
    Panic,
}

/// The overlay's writable layer: a tmpfs, or a file system on a device, which keeps what is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Overlay {
    /// Tmpfs: size, a multiple of 4 KiB (default 64MiB).
    pub(crate) size: Option<Size>,
    /// Tmpfs: number of inodes (default 16384).
    pub(crate) inodes: Option<u32>,
    /// Device: the partition's name in the GPT.
    pub(crate) partname: Option<PartName>,
    /// Device: the partition's GUID in the GPT, or MBR signature and number.
    pub(crate) partuuid: Option<PartUuid>,
    /// Device: label of the file system on it.
    pub(crate) label: Option<Label>,
    /// Device: UUID of the file system on it.
    pub(crate) uuid: Option<Uuid>,
    /// Device: its kernel name; mode service: also /dev/mapper/NAME.
    pub(crate) path: Option<DeviceName>,
    /// Kernel name tried first; used only if it is the wanted device.
    pub(crate) hint: Option<DeviceName>,
    /// How long to wait for the device (default 10s).
    pub(crate) deadline: Option<Duration>,
    /// The one logical unit to scan, for kernels with scsi_mod.scan=manual.
    pub(crate) lun: Option<Lun>,
    /// The file system on the device: ext4 or f2fs.
    pub(crate) filesystem: Option<FileSystem>,
}

/// A watchdog that is started and handed over to the next init.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Watchdog {
    /// Kernel name of its device (default watchdog0).
    pub(crate) device: Option<WatchdogName>,
    /// Its timeout, in whole seconds.
    pub(crate) timeout: Option<Duration>,
}

/// Files the bootloader may add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Extras {
    /// Absolute paths of files and folders laid on top of the image.
    pub(crate) allow: Option<Vec<AbsolutePath>>,
}

/// What happens when no slot boots.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Failure {
    /// What to do (default reboot).
    pub(crate) policy: Option<Policy>,
    /// Policy shell: host path, relative to this file, of a static program for the mini-initramfs.
    pub(crate) shell: Option<String>,
}

/// What to do when no slot boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// Restart, with the failed step as the reboot argument.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop, console readable.
    Halt,
    /// Start a shell on the console.
    Shell,
}

/// How the EROFS image is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Image {
    /// Compression (default none).
    pub(crate) compression: Option<ImageCompression>,
    /// Size of a compressed cluster: a power of two from 4KiB to 1MiB (default 64KiB).
    pub(crate) cluster: Option<Size>,
    /// Whether files that a profile names stay uncompressed (default false).
    pub(crate) leave_used: bool,
}

/// How the mini-initramfs is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Initramfs {
    /// Compression (default none).
    pub(crate) compression: Option<Compression>,
}

/// Compression of the mini-initramfs.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compression {
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Budget {
    /// Largest mini-initramfs, modules not counted.
    pub(crate) initramfs: Option<Size>,
    /// Longest time from the start of the boot program to the end of step switch-root.
    pub(crate) switch_root: Option<Duration>,
    /// Mark of a measurement to the latest time of it: next-init = "50ms".
    #[serde(deserialize_with = "table")]
    pub(crate) marks: BTreeMap<String, Duration>,
}

/// The machine in QEMU.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Qemu {
    /// Machine, as for -M.
    pub(crate) machine: Option<String>,
    /// Processor, as for -cpu (default: the machine's own).
    pub(crate) cpu: Option<String>,
    /// Memory, a multiple of 1 MiB (default 1GiB).
    pub(crate) memory: Option<Size>,
    /// Number of processors (default 1).
    pub(crate) cpus: Option<u32>,
    /// How virtio devices are attached (default pci).
    pub(crate) transport: Option<Transport>,
    /// The kernel's console, as for console=.
    pub(crate) console: Option<String>,
    /// Further kernel arguments.
    pub(crate) append: Option<String>,
    /// Further arguments of QEMU.
    pub(crate) arguments: Option<Vec<String>>,
}

/// How virtio devices are attached.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// On the PCI bus: module virtio_pci.
    Pci,
    /// Memory mapped: module virtio_mmio.
    Mmio,
}
