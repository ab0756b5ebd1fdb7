//! The plan: what the target must do, decided completely on the host.
//!
//! Read from `/plan` in the mini-initramfs. All paths are absolute; text is UTF-8; strings borrow from the file's bytes.

mod list;

pub use list::{Items, List};

use crate::envelope::{self, Kind};
use serde::{Deserialize, Serialize};

/// Magic and version of a sealed plan.
pub const KIND: Kind = Kind { magic: *b"IOFP", version: 4 };
/// Where the plan lies in the mini-initramfs.
pub const PATH: &str = "/plan";
/// The largest sealed plan in bytes.
pub const MAX_BYTES: usize = 16 * 1024;
/// The longest path, list of a module's parameters or list of mount options in bytes: `bootstrap` has no room for more.
pub const MAX_TEXT: usize = 255;
/// The most kernel modules a plan can load.
pub const MAX_MODULES: usize = 96;
/// The most slots a plan can try.
pub const MAX_SLOTS: usize = 4;
/// The most bytes compared at one place of a superblock.
pub const MAX_PROBE_BYTES: usize = 128;
/// Bytes that [`Tail::crc`] covers.
pub const TAIL_BYTES: usize = 512;
/// The most entries in the allow-list of extra files.
pub const MAX_EXTRAS: usize = 16;
/// The list of [`Piece`]s of a plan with [`Ahead`], in the mini-initramfs: postcard without an envelope, because what is wrong in it
/// costs time and nothing else.
pub const AHEAD_PATH: &str = "/ahead";
/// The largest such list in bytes.
pub const AHEAD_MAX_BYTES: usize = 32 * 1024;
/// Bytes of a page, in which [`Piece`]s are counted.
pub const AHEAD_PAGE: u64 = 4096;
/// Text in every bootstrap with the feature `full`, and in no other: what tells them apart.
pub const FULL_MARK: &str = "/dev/mapper/control";
/// Folder of the mini-initramfs, made at boot, that becomes the layer of the extra files.
pub const EXTRAS_FOLDER: &str = "/extras";

/// Everything `bootstrap` does in one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan<'a> {
    /// The board's name, for log lines and the record.
    pub board: &'a str,
    /// What the image holds.
    pub mode: Mode,
    /// Which mounts the next init finds.
    pub handover: Handover,
    /// Path of the next init inside the image.
    pub next_init: &'a str,
    /// Kernel modules, in loading order.
    #[serde(borrow)]
    pub modules: List<'a, Module<'a>>,
    /// Candidates for the image, tried in order. Never empty.
    #[serde(borrow)]
    pub slots: List<'a, Slot<'a>>,
    /// The overlay's writable layer.
    #[serde(borrow)]
    pub upper: Upper<'a>,
    /// What extra cpios from the bootloader may bring, laid over the image.
    #[serde(borrow)]
    pub extras: List<'a, Extra<'a>>,
    /// Whether the old rootfs is freed before the next init starts or beside it.
    pub free: Free,
    /// What is read before it is asked for.
    pub ahead: Option<Ahead>,
    /// The watchdog to start and hand over; without one watchdogs are left to the kernel.
    #[serde(borrow)]
    pub watchdog: Option<Watchdog<'a>>,
    /// What happens when no slot is left.
    #[serde(borrow)]
    pub on_failure: Policy<'a>,
}

/// What the image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// An initrd, which goes on to the real root as it always did.
    Initial,
    /// The final root file system.
    Root,
    /// An initrd, mounted by `bootstrap --service` in a larger initramfs, whose systemd switches to it.
    #[cfg(feature = "full")]
    Service,
}

/// Which mounts the next init finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handover {
    /// `/dev`, `/proc`, `/sys` and `/run` mounted, as systemd accepts them.
    Mounted,
    /// Nothing mounted, exactly as the kernel starts the `/init` of a classic initramfs.
    Kernel,
}

/// A kernel module, uncompressed in the mini-initramfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module<'a> {
    /// Path in the mini-initramfs.
    pub path: &'a str,
    /// Parameters as `finit_module(2)` takes them, separated by spaces.
    pub parameters: &'a str,
}

/// One candidate for the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot<'a> {
    /// The slot's name, for `initoverlayfs.slot=`, log lines and the record.
    pub name: &'a str,
    /// Where the image is.
    #[serde(borrow)]
    pub source: Source<'a>,
    /// What the image must be.
    #[serde(borrow)]
    pub image: Image<'a>,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source<'a> {
    /// Raw EROFS on a block device, which may be memory (`/dev/pmem0`).
    Partition {
        /// The device.
        #[serde(borrow)]
        device: Wanted<'a>,
        /// Options of the EROFS mount: `dax=always` for memory, else empty.
        options: &'a str,
    },
    /// EROFS file in the mini-initramfs.
    Initramfs {
        /// Its path there.
        path: &'a str,
    },
    /// EROFS file in a file system.
    #[cfg(feature = "full")]
    File {
        /// The file system that holds it.
        #[serde(borrow)]
        holder: Holder<'a>,
        /// Where in that file system.
        #[serde(borrow)]
        path: FilePath<'a>,
    },
}

/// Where a file lies in its file system; symbolic links do not lead out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilePath<'a> {
    /// At this path.
    At(&'a str),
    /// At `/usr/lib/modules/RELEASE/initoverlayfs.erofs` of the OSTree deployment that the kernel command line names, for the
    /// running kernel's release.
    Ostree,
}

/// A block device to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted<'a> {
    /// How it is known.
    #[serde(borrow)]
    pub device: Device<'a>,
    /// The same in the board's words (`PARTNAME=initoverlayfs`), for log lines.
    pub words: &'a str,
    /// Kernel name (`vda1`) tried first; used only if it is the wanted device.
    pub hint: Option<&'a str>,
    /// How long to wait for the device, in milliseconds from the start of the step.
    pub deadline_ms: u32,
    /// The one logical unit to scan, as `host:channel:target:lun`, for kernels with `scsi_mod.scan=manual`;
    /// `initoverlayfs.lun=` overrides it.
    pub lun: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether all that it is known by decodes.
    fn is_whole(&self) -> bool {
        match self.device {
            Device::Superblock(probes) => probes.all(|_| true),
            _ => true,
        }
    }
}

/// A file system on a block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder<'a> {
    /// The device.
    #[serde(borrow)]
    pub device: Wanted<'a>,
    /// Kind of file system, as mount(2) takes it.
    pub kind: &'a str,
    /// Its mount options: those that keep a journal from being replayed.
    pub options: &'a str,
}

/// How a block device is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device<'a> {
    /// The partition's name in the GPT.
    PartName(&'a str),
    /// The partition's GUID.
    PartUuid {
        /// As newer kernels write it into uevents: lower case, with dashes.
        text: &'a str,
        /// As its 16 bytes lie in the GPT, for kernels that do not.
        guid: &'a [u8],
    },
    /// Signature of an MBR disk and number of the partition.
    MbrPartUuid {
        /// As newer kernels write it into uevents: `xxxxxxxx-xx`.
        text: &'a str,
        /// The disk's signature.
        signature: u32,
        /// The partition's number.
        number: u8,
    },
    /// A label or UUID in the superblock of any file system: the device fits if one of these does.
    #[serde(borrow)]
    Superblock(List<'a, Probe<'a>>),
    /// Kernel name of the device node below `/dev`; in mode `service` also `mapper/NAME`, a name of device-mapper's.
    Path(&'a str),
}

/// One kind of file system with the wanted label or UUID: both places must hold these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe<'a> {
    /// What tells the kind of file system.
    #[serde(borrow)]
    pub magic: Place<'a>,
    /// The label or UUID as it lies in its superblock.
    #[serde(borrow)]
    pub identity: Place<'a>,
}

/// Bytes at a place of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place<'a> {
    /// Offset from the start of the device in bytes.
    pub offset: u32,
    /// What lies there; at most [`MAX_PROBE_BYTES`].
    pub bytes: &'a [u8],
}

/// What an EROFS image must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Image<'a> {
    /// Any that is whole.
    Any,
    /// Exactly this one, written to its end: a guard against mistakes, not against somebody.
    Pinned {
        /// The 16 bytes of its superblock's UUID.
        uuid: &'a [u8],
        /// What lies at its end.
        tail: Tail,
    },
    /// What a root hash in this plan vouches for, by dm-verity (Documentation/admin-guide/device-mapper/verity.rst).
    #[cfg(feature = "full")]
    RootHash {
        /// Bytes of the image.
        bytes: u64,
        /// The target's parameters, `@` for the device.
        parameters: &'a str,
    },
    /// What a root hash beside the image ([`crate::trailer`]) vouches for, by dm-verity, if a key of the kernel's keyring signed it.
    #[cfg(feature = "full")]
    Signed {
        /// The target's optional parameters but those of signature and error correction, without their number.
        options: &'a str,
        /// How many words that is.
        words: u8,
        /// The lowest version of an image that is taken.
        minimum_version: u32,
    },
    /// A file with this fs-verity digest (SHA-256, 32 bytes; Documentation/filesystems/fsverity.rst).
    #[cfg(feature = "full")]
    Digest(&'a [u8]),
}

impl Image<'_> {
    /// Whether a device can be it. Only of a file the kernel knows an fs-verity digest.
    const fn can_be_device(&self) -> bool {
        match self {
            Image::Any | Image::Pinned { .. } => true,
            #[cfg(feature = "full")]
            Image::RootHash { .. } | Image::Signed { .. } => true,
            #[cfg(feature = "full")]
            Image::Digest(_) => false,
        }
    }
}

/// The last [`TAIL_BYTES`] of an image that are not all zeros, at a multiple of their number: a cheap sign that writing the
/// image was not cut short. What lies behind them is padding, the same whether written or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Where they lie, in bytes from the start of the image.
    pub offset: u64,
    /// Their CRC-32.
    pub crc: u32,
}

/// The overlay's writable layer: what holds its upper and work directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper<'a> {
    /// A tmpfs with these options: what is written is gone with the next boot.
    Memory(&'a str),
    /// A file system that keeps what is written, until `initoverlayfs.upper=reset` on the command line.
    #[cfg(feature = "full")]
    #[serde(borrow)]
    Partition(Holder<'a>),
}

/// Something to do for the extra files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extra<'a> {
    /// Make a folder as the image has it.
    Folder {
        /// Its path in the mini-initramfs, below [`EXTRAS_FOLDER`].
        path: &'a str,
        /// Permission bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Move what lies at a path, if anything does. Only folders, regular files and symbolic links may lie there.
    Move {
        /// Path in the mini-initramfs.
        from: &'a str,
        /// Path below [`EXTRAS_FOLDER`], that included.
        to: &'a str,
    },
}

/// A watchdog that `bootstrap` starts and nobody stops: the next init takes it over, or the board restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog<'a> {
    /// Kernel name of its device node below `/dev`.
    pub device: &'a str,
    /// Its timeout in seconds.
    pub timeout_s: u32,
}

/// When the initramfs' memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Free {
    /// Before the next init starts: right for a small initramfs.
    Before,
    /// By a child process, beside the next init: right for a large one.
    Beside,
}

/// What a boot was seen to use is read ahead: the first inodes before the mount, which needs them, and by a child process beside the
/// next init the pieces of files listed in [`AHEAD_PATH`].
#[cfg(feature = "full")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Bytes from the start of the image that are read before the mount.
    pub metadata_bytes: u32,
    /// Whether the kernel is to read nothing along from the image's device, for the boot to be recorded, and no list is read.
    pub page_by_page: bool,
}

/// Nothing, without the feature `full`: a plan that has it does not decode.
#[cfg(not(feature = "full"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ahead {}

/// A piece of a file that is read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece<'a> {
    /// The file's path in the image; empty for a further piece of the file before, `/` for the image itself, where its inodes lie.
    pub path: &'a str,
    /// Its first page.
    pub page: u32,
    /// How many pages.
    pub pages: u32,
}

/// What happens when every slot was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy<'a> {
    /// Restart, with the failed step as the reboot argument, so that the bootloader counts the try.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop the processor and keep the console readable.
    Halt,
    /// Start this program of the mini-initramfs on the console.
    Shell(&'a str),
}

/// Checks the envelope and decodes a plan.
///
/// # Errors
/// As [`envelope::open`]; a plan without a slot does not decode, nor one that wants of a device what only a file has.
pub fn open(bytes: &[u8]) -> Result<Plan<'_>, envelope::Error> {
    let plan: Plan<'_> = envelope::open(KIND, bytes)?;
    let is_whole = !plan.slots.is_empty()
        && plan.modules.all(|_| true)
        && plan.extras.all(|_| true)
        && plan.slots.all(|slot| match &slot.source {
            Source::Partition { device, .. } => device.is_whole() && slot.image.can_be_device(),
            Source::Initramfs { .. } => true,
            #[cfg(feature = "full")]
            Source::File { holder, .. } => holder.device.is_whole(),
        })
        && match &plan.upper {
            Upper::Memory(_) => true,
            #[cfg(feature = "full")]
            Upper::Partition(holder) => holder.device.is_whole(),
        };
    if is_whole { Ok(plan) } else { Err(envelope::Error::Payload) }
}

/// The pieces of a list as it lies in [`AHEAD_PATH`]; none if it is not one.
pub fn pieces(bytes: &[u8]) -> List<'_, Piece<'_>> {
    postcard::from_bytes(bytes).unwrap_or(List::of_encoded(&[]))
}

/// Encodes and seals a plan into `buffer`.
///
/// # Errors
/// As [`envelope::seal`].
pub fn seal<'b>(plan: &Plan<'_>, buffer: &'b mut [u8]) -> Result<&'b [u8], envelope::Error> {
    envelope::seal(KIND, plan, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(source: Source<'_>, image: Image<'_>) -> Result<(), envelope::Error> {
        let mut buffers = [[0; 512]; 2];
        let [for_slots, for_plan] = &mut buffers;
        let plan = Plan {
            board: "board",
            mode: Mode::Initial,
            handover: Handover::Kernel,
            next_init: "/init",
            modules: List::encode([], &mut []).unwrap(),
            slots: List::encode([Slot { name: "a", source, image }], for_slots).unwrap(),
            upper: Upper::Memory(""),
            extras: List::encode([], &mut []).unwrap(),
            free: Free::Before,
            ahead: None,
            watchdog: None,
            on_failure: Policy::Reboot,
        };
        open(seal(&plan, for_plan).unwrap()).map(drop)
    }

    #[test]
    fn a_digest_is_no_devices() {
        let wanted = || Wanted { device: Device::Path("vda1"), words: "vda1", hint: None, deadline_ms: 0, lun: None };
        let partition = || Source::Partition { device: wanted(), options: "" };
        let file = Source::File {
            holder: Holder { device: wanted(), kind: "ext4", options: "" },
            path: FilePath::At("/image"),
        };
        assert_eq!(opened(partition(), Image::Any), Ok(()));
        assert_eq!(opened(partition(), Image::RootHash { bytes: 1, parameters: "" }), Ok(()));
        assert_eq!(opened(file, Image::Digest(&[0; 32])), Ok(()));
        assert_eq!(opened(partition(), Image::Digest(&[0; 32])), Err(envelope::Error::Payload));
    }
}
