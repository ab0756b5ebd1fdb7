//! The plan: what the target must do, decided completely on the host.
//!
//! Read from `/plan` in the mini-initramfs. All paths are absolute; text is UTF-8; strings borrow from the file's bytes.

use crate::envelope::{self, Kind};
use core::fmt;
use core::marker::PhantomData;
use serde::{Deserialize, Serialize, Serializer};

/// Magic and version of a sealed plan.
pub const KIND: Kind = Kind { magic: *b"IOFP", version: 1 };
/// Where the plan lies in the mini-initramfs.
pub const PATH: &str = "/plan";
/// The largest sealed plan in bytes.
pub const MAX_BYTES: usize = 16 * 1024;
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

/// A list inside a plan, decoded item by item when it is gone through: nothing is copied or counted in advance.
///
/// On the wire the length in bytes, then the items one after the other.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(bound = "")]
pub struct List<'a, T> {
    bytes: &'a [u8],
    #[serde(skip)]
    item: PhantomData<T>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<'a, T> List<'a, T> {
    /// Whether there is no item.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a, T: Deserialize<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a, T: Deserialize<'a> + Serialize> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(*self)
        } else {
            serializer.serialize_bytes(self.bytes)
        }
    }
}

impl<'a, T: Serialize> List<'a, T> {
    /// Encodes `items` into `buffer`.
    ///
    /// # Errors
    /// [`envelope::Error::TooLarge`] if `buffer` is too small.
    pub fn encode(items: impl IntoIterator<Item = T>, buffer: &'a mut [u8]) -> Result<Self, envelope::Error> {
        let room = buffer.len();
        let mut end = 0;
        for item in items {
            let left = buffer.get_mut(end..).unwrap_or_default();
            end += postcard::to_slice(&item, left).map_err(|_| envelope::Error::TooLarge(room))?.len();
        }
        Ok(List { bytes: buffer.get(..end).unwrap_or_default(), item: PhantomData })
    }
}

impl<'a, T: Deserialize<'a>> List<'a, T> {
    /// Whether every item decodes and `accept` takes it.
    fn all(self, accept: impl Fn(&T) -> bool) -> bool {
        let mut items = self.into_iter();
        items.by_ref().all(|item| accept(&item)) && items.list.is_empty()
    }
}

impl<'a, T: Deserialize<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        Items { list: self }
    }
}

/// Goes through a [`List`].
pub struct Items<'a, T> {
    list: List<'a, T>,
}

impl<'a, T: Deserialize<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (item, rest) = postcard::take_from_bytes(self.list.bytes).ok()?;
        self.list.bytes = rest;
        Some(item)
    }
}

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
    /// Limits of the overlay's writable layer.
    pub upper: Upper,
    /// Files and folders of the initramfs laid over the image: what extra cpios from the bootloader may bring.
    #[serde(borrow)]
    pub extras: List<'a, &'a str>,
    /// Whether the old rootfs is freed before the next init starts or beside it.
    pub free: Free,
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
    /// Raw EROFS on a block device.
    Partition {
        /// How the device is known.
        #[serde(borrow)]
        device: Device<'a>,
        /// The same in the board's words (`PARTNAME=initoverlayfs`), for log lines.
        wanted: &'a str,
        /// Kernel name (`vda1`) tried first; used only if it is the wanted device.
        hint: Option<&'a str>,
        /// How long to wait for the device, in milliseconds from the start of the step.
        deadline_ms: u32,
    },
    /// EROFS file in the mini-initramfs.
    Initramfs {
        /// Its path there.
        path: &'a str,
    },
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
    /// Kernel name of the device node below `/dev`.
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

/// What an EROFS image must be, checked before it is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image<'a> {
    /// The 16 bytes of its superblock's UUID, if the plan belongs to exactly this image.
    pub uuid: Option<&'a [u8]>,
    /// What lies at its end, if pinned.
    pub tail: Option<Tail>,
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

/// Limits of the tmpfs that holds the overlay's upper and work directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    /// Size in KiB.
    pub size_kib: u32,
    /// Number of inodes.
    pub inodes: u32,
}

/// When the initramfs' memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Free {
    /// Before the next init starts: right for a small initramfs.
    Before,
    /// By a child process, beside the next init: right for a large one.
    Beside,
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
/// As [`envelope::open`]; a plan without a slot does not decode.
pub fn open(bytes: &[u8]) -> Result<Plan<'_>, envelope::Error> {
    let plan: Plan<'_> = envelope::open(KIND, bytes)?;
    let is_whole = !plan.slots.is_empty()
        && plan.modules.all(|_| true)
        && plan.extras.all(|_| true)
        && plan.slots.all(|slot| match &slot.source {
            Source::Partition { device: Device::Superblock(probes), .. } => probes.all(|_| true),
            Source::Partition { .. } | Source::Initramfs { .. } => true,
        });
    if is_whole { Ok(plan) } else { Err(envelope::Error::Payload) }
}

/// Encodes and seals a plan into `buffer`.
///
/// # Errors
/// As [`envelope::seal`].
pub fn seal<'b>(plan: &Plan<'_>, buffer: &'b mut [u8]) -> Result<&'b [u8], envelope::Error> {
    envelope::seal(KIND, plan, buffer)
}
