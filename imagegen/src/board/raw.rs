//! A board file as it is written: every key optional, every value already of its type, nothing checked across keys.
//! The JSON schema is made of these types; their doc comments are its descriptions.

use super::value::{
    AbsolutePath, DeviceName, Duration, ImageCompression, Label, ModuleName, Name, Parameters, PartName, PartUuid,
    Size, Uuid,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

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
    /// What the image holds: an initrd (initial, the default) or the final root.
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
    /// The overlay's writable layer.
    #[serde(deserialize_with = "table")]
    pub(crate) overlay: Overlay,
    /// Files the bootloader may add.
    #[serde(deserialize_with = "table")]
    pub(crate) extras: Extras,
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
    /// The machine in QEMU, for boards that boot there.
    #[serde(deserialize_with = "some_table")]
    #[schemars(with = "Qemu")]
    pub(crate) qemu: Option<Qemu>,
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
    /// Partition: its name in the GPT.
    pub(crate) partname: Option<PartName>,
    /// Partition: its GUID in the GPT, or MBR signature and number.
    pub(crate) partuuid: Option<PartUuid>,
    /// Partition: label of the file system on it.
    pub(crate) label: Option<Label>,
    /// Partition: UUID of the file system on it.
    pub(crate) uuid: Option<Uuid>,
    /// Partition: its kernel name.
    pub(crate) path: Option<DeviceName>,
    /// Kernel name tried first; used only if it is the wanted device.
    pub(crate) hint: Option<DeviceName>,
    /// How long to wait for the device (default 10s).
    pub(crate) deadline: Option<Duration>,
    /// The image must be exactly the one this plan was built with (default true).
    pub(crate) pin: Option<bool>,
}

/// Where an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// Raw EROFS on a block device.
    Partition,
    /// EROFS file in the mini-initramfs.
    Initramfs,
}

/// The overlay's writable layer, a tmpfs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Overlay {
    /// Size, a multiple of 4 KiB (default 64MiB).
    pub(crate) size: Option<Size>,
    /// Number of inodes (default 16384).
    pub(crate) inodes: Option<u32>,
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

/// Accepts a table only: a derived struct would also take an array, field by field.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Table)
            }
        }
        deserializer.deserialize_map(Tables(PhantomData))
    }
}

fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Table::deserialize(deserializer).map(|Table(value)| value)
}

fn some_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    table(deserializer).map(Some)
}

fn tables<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::<Table<T>>::deserialize(deserializer).map(|tables| tables.into_iter().map(|Table(value)| value).collect())
}
