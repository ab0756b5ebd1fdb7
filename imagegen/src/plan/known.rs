//! How a device is known, worked out for the target: which bytes at which places of a device are the label or UUID a board
//! names, so that `bootstrap` compares bytes and knows no file system but EROFS.

use crate::board::{Device, Wanted};
use crate::{Error, Result};
use bootstrap::envelope;
use bootstrap::plan::{self, List, MAX_PROBE_BYTES};

/// Bytes at an offset of a device.
type Place = (u32, Vec<u8>);

/// What a device is known by, in the forms the plan borrows.
pub(super) struct Known {
    /// The board's words: `LABEL=data`.
    words: String,
    /// The partition's GUID as it lies in a GPT.
    guid: [u8; 16],
    /// Magic and identity for each kind of file system.
    probes: Vec<(Place, Place)>,
}

impl Known {
    /// Works out what a device is known by; `whose` it is, for the error.
    ///
    /// # Errors
    /// Bad input if no file system can have the label.
    pub(super) fn of(device: &Device, whose: &str) -> Result<Self> {
        let (guid, probes) = match device {
            Device::PartUuid(guid) => (*guid, Vec::new()),
            Device::Label(label) => ([0; 16], labels(label)),
            Device::Uuid(uuid) => ([0; 16], uuids(uuid)),
            Device::PartName(_) | Device::MbrPartUuid(..) | Device::Path(_) => ([0; 16], Vec::new()),
        };
        if matches!(device, Device::Label(_) | Device::Uuid(_)) && probes.is_empty() {
            let what = format!("{whose}: no file system can have {device}");
            return Err(Error::bad_input(what, "labels: vfat 11, xfs 12, ext4 and erofs 16, f2fs 63, btrfs 127 bytes"));
        }
        Ok(Known { words: device.to_string(), guid, probes })
    }

    /// `wanted` as the plan has it; what is compared goes into `buffer`.
    ///
    /// # Errors
    /// If `buffer` is too small.
    pub(super) fn wanted<'a>(
        &'a self,
        wanted: &'a Wanted,
        buffer: &'a mut [u8],
    ) -> std::result::Result<plan::Wanted<'a>, envelope::Error> {
        Ok(plan::Wanted {
            device: self.device(&wanted.device, buffer)?,
            words: &self.words,
            hint: wanted.hint.as_deref(),
            // A board's fits.
            deadline_ms: u32::try_from(wanted.deadline.as_millis()).unwrap_or(u32::MAX),
            lun: wanted.lun.as_deref(),
        })
    }

    fn device<'a>(
        &'a self,
        device: &'a Device,
        buffer: &'a mut [u8],
    ) -> std::result::Result<plan::Device<'a>, envelope::Error> {
        // `PARTUUID=` and the text.
        let text = self.words.split_once('=').map_or("", |(_, text)| text);
        Ok(match device {
            Device::PartName(name) => plan::Device::PartName(name),
            Device::PartUuid(_) => plan::Device::PartUuid { text, guid: &self.guid },
            Device::MbrPartUuid(signature, number) => {
                plan::Device::MbrPartUuid { text, signature: *signature, number: *number }
            }
            Device::Path(name) => plan::Device::Path(name),
            Device::Label(_) | Device::Uuid(_) => {
                let place = |(offset, bytes): &'a Place| plan::Place { offset: *offset, bytes };
                let probes = self.probes.iter();
                let probes =
                    probes.map(|(magic, identity)| plan::Probe { magic: place(magic), identity: place(identity) });
                plan::Device::Superblock(List::encode(probes, buffer)?)
            }
        })
    }
}

/// Magic numbers: `Documentation/filesystems` and headers of Linux 6.12: fs/erofs/erofs_fs.h, fs/ext4/ext4.h,
/// include/linux/f2fs_fs.h, fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs_tree.h, include/uapi/linux/msdos_fs.h.
mod magic {
    use super::Place;

    pub(super) fn erofs() -> Place {
        (1024, vec![0xE2, 0xE1, 0xF5, 0xE0])
    }
    pub(super) fn ext4() -> Place {
        (1024 + 56, vec![0x53, 0xEF])
    }
    pub(super) fn f2fs() -> Place {
        (1024, vec![0x10, 0x20, 0xF5, 0xF2])
    }
    pub(super) fn xfs() -> Place {
        (0, b"XFSB".to_vec())
    }
    pub(super) fn btrfs() -> Place {
        (65536 + 64, b"_BHRfS_M".to_vec())
    }
    pub(super) fn fat32() -> Place {
        (82, b"FAT32".to_vec())
    }
    pub(super) fn fat16() -> Place {
        (54, b"FAT".to_vec())
    }
}

/// Where each file system keeps a label of these bytes.
fn labels(label: &str) -> Vec<(Place, Place)> {
    // With its end: NUL where the field has room for one.
    let ended = |room: usize| {
        let mut bytes = label.as_bytes().to_vec();
        bytes.resize(room.min(bytes.len() + 1), 0);
        (label.len() <= room).then_some(bytes)
    };
    let padded = || {
        let mut bytes = label.as_bytes().to_vec();
        bytes.resize(11, b' ');
        (label.len() <= 11).then_some(bytes)
    };
    let utf16: Vec<u8> = label.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let all = [
        (magic::erofs(), 1024 + 64, ended(16)),
        (magic::ext4(), 1024 + 120, ended(16)),
        (magic::f2fs(), 1024 + 124, Some(utf16)),
        (magic::xfs(), 108, ended(12)),
        (magic::btrfs(), 65536 + 299, ended(256)),
        (magic::fat32(), 71, padded()),
        (magic::fat16(), 43, padded()),
    ];
    let fits = |bytes: &Vec<u8>| bytes.len() <= MAX_PROBE_BYTES;
    all.into_iter().filter_map(|(magic, offset, bytes)| Some((magic, (offset, bytes.filter(fits)?)))).collect()
}

/// Where each file system keeps this UUID, in text form; vfat's serial number is `xxxx-xxxx`.
fn uuids(text: &str) -> Vec<(Place, Place)> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).filter_map(pair).collect();
    match bytes.len() {
        16 => vec![
            (magic::erofs(), (1024 + 48, bytes.clone())),
            (magic::ext4(), (1024 + 104, bytes.clone())),
            (magic::f2fs(), (1024 + 108, bytes.clone())),
            (magic::xfs(), (32, bytes.clone())),
            (magic::btrfs(), (65536 + 32, bytes)),
        ],
        4 => {
            // The serial is a little-endian number, written high half first.
            let serial: Vec<u8> = bytes.into_iter().rev().collect();
            vec![(magic::fat32(), (67, serial.clone())), (magic::fat16(), (39, serial))]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_where_the_field_ends() {
        let of = |label: &str| labels(label).into_iter().map(|(_, identity)| identity).collect::<Vec<_>>();
        assert!(of("boot").contains(&(1024 + 120, b"boot\0".to_vec())));
        assert!(of("sixteen-bytes-xx").contains(&(1024 + 120, b"sixteen-bytes-xx".to_vec())));
        assert!(of("BOOT").contains(&(71, b"BOOT       ".to_vec())));
        assert!(of("ok").contains(&(1024 + 124, vec![b'o', 0, b'k', 0, 0, 0])));
        assert_eq!(of(&"x".repeat(200)), []);
    }

    #[test]
    fn uuids_lie_in_the_order_of_their_text() {
        let found = uuids("01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!(found[1].1, (1024 + 104, (1..=16).collect()));
        assert_eq!(uuids("abcd-1234")[0].1, (67, vec![0x34, 0x12, 0xCD, 0xAB]));
        assert_eq!(uuids("zz"), []);
    }
}
