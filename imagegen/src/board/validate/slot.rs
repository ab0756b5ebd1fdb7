//! Slots of a board file: which keys go with which source, and what the slots must be together.

use super::Validator;
use super::device::DeviceKeys;
use crate::board::{Device, FilePath, ImageName, Method, Slot, Source, Verity, raw};
use bootstrap::plan::MAX_SLOTS;
use std::collections::BTreeSet;

/// The device the kernel makes of the first region of persistent memory.
const MEMORY_DEVICE: &str = "pmem0";
/// DAX maps memory in pages of this many bytes where it can.
const MEMORY_ALIGNMENT: u64 = 2 << 20;
const FILE_SYSTEMS: &str = "ext4, vfat, f2fs, xfs or btrfs";

impl Validator {
    pub(super) fn slots(&mut self, raw: Vec<raw::Slot>, verity: Option<Verity>) -> Option<Vec<Slot>> {
        if (raw.is_empty() && !self.document.is_refused("slot")) || raw.len() > MAX_SLOTS {
            self.problem("slot", format!("found {} slots, expected 1 to {MAX_SLOTS} [[slot]] tables", raw.len()));
        }
        let mut names = BTreeSet::new();
        let mut in_initramfs = 0;
        let mut slots = Some(Vec::new());
        for (index, raw) in raw.into_iter().enumerate() {
            let path = format!("slot.{index}");
            let slot = self.slot(&path, raw, verity);
            if let Some(slot) = &slot {
                if !names.insert(slot.name.clone()) {
                    self.problem(&format!("{path}.name"), format!("{:?} is taken, expected unique names", slot.name));
                }
                in_initramfs += usize::from(slot.source == Source::Initramfs);
                if in_initramfs > 1 {
                    self.problem(&format!("{path}.source"), "a second image in the initramfs, expected at most one");
                }
            }
            slots = slots.zip(slot).map(|(mut slots, slot)| {
                slots.push(slot);
                slots
            });
        }
        slots
    }

    fn slot(&mut self, path: &str, mut raw: raw::Slot, verity: Option<Verity>) -> Option<Slot> {
        let name = self.required(&format!("{path}.name"), raw.name.take(), "the slot's name, as in \"a\"");
        let expected = "partition, file, initramfs, memory or ostree";
        let source = self.required(&format!("{path}.source"), raw.source, expected);
        let image = match raw.image {
            None | Some(raw::ImageName::Main) => ImageName::Main,
            Some(raw::ImageName::Rescue) => ImageName::Rescue,
        };
        let pin = raw.pin;
        let source = self.source(path, source?, raw)?;
        let pin = self.pin(path, pin, &source, verity);
        Some(Slot { name: name?.0, source, image, pin })
    }

    fn source(&mut self, path: &str, source: raw::Source, mut raw: raw::Slot) -> Option<Source> {
        const DEVICE: [&str; 8] = ["partname", "partuuid", "label", "uuid", "path", "hint", "deadline", "lun"];
        let keys = DeviceKeys::of_slot(&mut raw);
        let mut given = keys.given();
        given.extend(raw.file.as_ref().map(|_| "file"));
        given.extend(raw.address.as_ref().map(|_| "address"));
        given.extend(raw.ram_start.as_ref().map(|_| "ram-start"));
        let with = |more: &[&'static str]| DEVICE.iter().chain(more).copied().collect::<Vec<_>>();
        let (allowed, word) = match source {
            raw::Source::Partition => (with(&[]), "partition"),
            raw::Source::File => (with(&["filesystem", "file"]), "file"),
            raw::Source::Ostree => (with(&["filesystem"]), "ostree"),
            raw::Source::Memory => (vec!["path", "deadline", "address", "ram-start"], "memory"),
            raw::Source::Initramfs => (Vec::new(), "initramfs"),
        };
        self.only(path, &given, &allowed, &format!("source = {word:?}"));
        Some(match source {
            raw::Source::Partition => Source::Partition(self.wanted(path, keys, None)?),
            raw::Source::File => {
                let file = self.required(&format!("{path}.file"), raw.file, "the image's path in the file system");
                let holder = self.holder(path, keys, FILE_SYSTEMS);
                Source::File { holder: holder?, path: FilePath::At(file?.0) }
            }
            raw::Source::Ostree => {
                Source::File { holder: self.holder(path, keys, FILE_SYSTEMS)?, path: FilePath::Ostree }
            }
            raw::Source::Memory => {
                let key = format!("{path}.address");
                let address = self.required(&key, raw.address, "a physical address, as in \"0xa0000000\"");
                let expected = "the physical address of the first RAM, as in \"0x40000000\"";
                let ram_start = self.required(&format!("{path}.ram-start"), raw.ram_start, expected);
                let device = self.wanted(path, keys, Some(Device::Path(MEMORY_DEVICE.to_owned())));
                let address = address?.0;
                if !address.is_multiple_of(MEMORY_ALIGNMENT) {
                    self.problem(&key, format!("found {address:#x}, expected a multiple of 2MiB"));
                }
                Source::Memory { device: device?, address, ram_start: ram_start?.0 }
            }
            raw::Source::Initramfs => Source::Initramfs,
        })
    }

    /// Whether the slot takes one image alone. What vouches for an image's bytes says that too.
    fn pin(&mut self, path: &str, given: Option<bool>, source: &Source, verity: Option<Verity>) -> bool {
        let covered = verity.filter(|verity| verity.covers(source));
        let method = covered.map_or(Method::None, |verity| verity.method);
        let pin = match method {
            Method::None => return given.unwrap_or(true),
            Method::RootHash | Method::FsVerity => true,
            Method::Signature { .. } => false,
        };
        if given.is_some_and(|given| given != pin) {
            let taken = if pin { "takes exactly one image" } else { "takes every image with a good signature" };
            let text = format!("found {}, but verity.method {:?} {taken}, expected {pin}", !pin, method.name());
            self.problem(&format!("{path}.pin"), text);
        }
        pin
    }
}
