//! From what a file says to a [`Board`]: what must be there, what must fit together, what defaults to what.

use super::document::{Document, KEYS};
use super::value::PartitionId;
use super::{
    Architecture, Board, Budget, Compression, Device, Failure, Handover, Image, ImageCompression, Mode, Modules,
    Overlay, Qemu, Slot, Source, Transport, raw,
};
use crate::error::{Error, Result};
use bootstrap::plan::{MAX_EXTRAS, MAX_SLOTS};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);
const OVERLAY_BYTES: u64 = 64 << 20;
const OVERLAY_INODES: u32 = 16384;
const CLUSTER: u32 = 64 << 10;
const QEMU_MEMORY: u64 = 1 << 30;

/// Validates a document.
///
/// # Errors
/// Bad input with all problems of the document, those of its values and those found here.
pub(super) fn board(document: Document) -> Result<Board> {
    let file = document.files.first().map(|file| file.display().to_string()).unwrap_or_default();
    let refused = |what: &str| Error::bad_input(format!("{file}: {what}"), KEYS);
    let raw = raw::Board::deserialize(document.root.plain()).map_err(|error| refused(error.message()))?;
    let mut check = Validator { document };
    let board = check.board(raw);
    let files = check.document.verdict()?;
    // Without a problem every part is there.
    let board = board.ok_or_else(|| refused("incomplete"))?;
    Ok(Board { files, ..board })
}

struct Validator {
    document: Document,
}

impl Validator {
    fn problem(&mut self, path: &str, text: impl Into<String>) {
        let place = self.document.place(path);
        self.document.problem(place, path, text.into());
    }

    /// A key that must be there; if it was there and wrong, that was said already.
    fn required<T>(&mut self, path: &str, value: Option<T>, expected: &str) -> Option<T> {
        if value.is_none() && !self.document.is_refused(path) {
            self.problem(path, format!("missing, expected {expected}"));
        }
        value
    }

    fn board(&mut self, raw: raw::Board) -> Option<Board> {
        let name = self.required("name", raw.name, "the board's name, as in \"qemu-arm64\"");
        let architecture = self.required("architecture", raw.architecture, "aarch64, armv7 or x86_64");
        let mode = match raw.mode {
            None | Some(raw::Mode::Initial) => Mode::Initial,
            Some(raw::Mode::Root) => Mode::Root,
        };
        let handover = match raw.handover {
            None | Some(raw::Handover::Auto) => None,
            Some(raw::Handover::Mounted) => Some(Handover::Mounted),
            Some(raw::Handover::Kernel) => Some(Handover::Kernel),
        };
        let default_init = if mode == Mode::Root { "/sbin/init" } else { "/init" };
        let modules = self.modules(raw.modules);
        let slots = self.slots(raw.slot);
        let overlay = self.overlay(&raw.overlay);
        let extras = self.extras(raw.extras);
        let failure = self.failure(raw.failure);
        let image = self.image(raw.image);
        let qemu = raw.qemu.map(|qemu| self.qemu(qemu));
        if qemu.is_some() {
            self.disk(slots.as_deref().unwrap_or_default());
        }
        Some(Board {
            name: name?.0,
            architecture: match architecture? {
                raw::Architecture::Aarch64 => Architecture::Aarch64,
                raw::Architecture::Armv7 => Architecture::Armv7,
                raw::Architecture::X86_64 => Architecture::X86_64,
            },
            mode,
            handover,
            next_init: raw.next_init.map_or_else(|| default_init.to_owned(), |path| path.0),
            modules,
            slots: slots?,
            overlay: overlay?,
            extras,
            failure: failure?,
            image: image?,
            initramfs: compression(raw.initramfs.compression),
            budget: Budget {
                initramfs: raw.budget.initramfs.map(|size| size.0),
                switch_root: raw.budget.switch_root.map(|duration| duration.0),
            },
            qemu: match qemu {
                Some(qemu) => Some(qemu?),
                None => None,
            },
            files: Vec::new(),
        })
    }

    fn modules(&mut self, raw: raw::Modules) -> Modules {
        for name in raw.parameters.keys() {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_name) {
                self.problem(
                    "modules.parameters",
                    format!("found module name {name:?}, expected letters, digits, - and _"),
                );
            }
        }
        Modules {
            load: raw.load.unwrap_or_default().into_iter().map(|name| name.0).collect(),
            strip: raw.strip.unwrap_or(false),
            parameters: raw.parameters.into_iter().map(|(name, parameters)| (name, parameters.0)).collect(),
        }
    }

    fn slots(&mut self, raw: Vec<raw::Slot>) -> Option<Vec<Slot>> {
        if (raw.is_empty() && !self.document.is_refused("slot")) || raw.len() > MAX_SLOTS {
            self.problem("slot", format!("found {} slots, expected 1 to {MAX_SLOTS} [[slot]] tables", raw.len()));
        }
        let mut names = BTreeSet::new();
        let mut in_initramfs = 0;
        let mut slots = Some(Vec::new());
        for (index, raw) in raw.into_iter().enumerate() {
            let path = format!("slot.{index}");
            let slot = self.slot(&path, raw);
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

    fn slot(&mut self, path: &str, raw: raw::Slot) -> Option<Slot> {
        let name = self.required(&format!("{path}.name"), raw.name.clone(), "the slot's name, as in \"a\"");
        let source = self.required(&format!("{path}.source"), raw.source, "partition or initramfs");
        let pin = raw.pin.unwrap_or(true);
        let source = match source? {
            raw::Source::Partition => self.partition(path, raw)?,
            raw::Source::Initramfs => {
                let given = [
                    ("partname", raw.partname.is_some()),
                    ("partuuid", raw.partuuid.is_some()),
                    ("label", raw.label.is_some()),
                    ("uuid", raw.uuid.is_some()),
                    ("path", raw.path.is_some()),
                    ("hint", raw.hint.is_some()),
                    ("deadline", raw.deadline.is_some()),
                ];
                for (key, _) in given.iter().filter(|(_, given)| *given) {
                    self.problem(&format!("{path}.{key}"), "only for source = \"partition\", expected no such key");
                }
                Source::Initramfs
            }
        };
        Some(Slot { name: name?.0, source, pin })
    }

    fn partition(&mut self, path: &str, raw: raw::Slot) -> Option<Source> {
        let partuuid = raw.partuuid.map(|id| match id.0 {
            PartitionId::Gpt(guid) => ("partuuid", Device::PartUuid(guid)),
            PartitionId::Mbr(signature, number) => ("partuuid", Device::MbrPartUuid(signature, number)),
        });
        let devices = [
            raw.partname.map(|name| ("partname", Device::PartName(name.0))),
            partuuid,
            raw.label.map(|label| ("label", Device::Label(label.0))),
            raw.uuid.map(|uuid| ("uuid", Device::Uuid(uuid.0))),
            raw.path.map(|path| ("path", Device::Path(path.0))),
        ];
        let keys: Vec<_> = devices.iter().flatten().map(|(key, _)| *key).collect();
        let expected = "expected exactly one of partname, partuuid, label, uuid, path";
        match keys.as_slice() {
            [_] => {}
            [] if self.document.is_refused(path) => {}
            [] => self.problem(path, format!("no device, {expected}")),
            [_, second, ..] => {
                self.problem(&format!("{path}.{second}"), format!("found {}, {expected}", keys.join(" and ")));
            }
        }
        let deadline = raw.deadline.map_or(DEADLINE, |duration| duration.0);
        if u32::try_from(deadline.as_millis()).is_err() || !deadline.subsec_micros().is_multiple_of(1000) {
            let text = format!("found {deadline:?}, expected whole milliseconds, fewer than 2^32");
            self.problem(&format!("{path}.deadline"), text);
        }
        let (_, device) = devices.into_iter().flatten().next()?;
        Some(Source::Partition { device, hint: raw.hint.map(|name| name.0), deadline })
    }

    /// The disk made for QEMU has a GPT and raw images: nothing else can be found on it.
    fn disk(&mut self, slots: &[Slot]) {
        let devices = super::partitions(slots);
        for (index, slot) in slots.iter().enumerate() {
            let Source::Partition { device, .. } = &slot.source else { continue };
            let number = devices.iter().position(|known| *known == device).map_or(0, |position| position + 1);
            let (key, found) = match device {
                Device::PartName(_) | Device::PartUuid(_) => continue,
                Device::Path(name) if *name == format!("vda{number}") => continue,
                Device::Path(name) => ("path", format!("/dev/{name}")),
                Device::MbrPartUuid(..) => ("partuuid", device.to_string()),
                Device::Label(_) => ("label", device.to_string()),
                Device::Uuid(_) => ("uuid", device.to_string()),
            };
            let expected = format!("partname, a GPT partuuid or path = \"vda{number}\" of a board with [qemu]");
            self.problem(
                &format!("slot.{index}.{key}"),
                format!("found {found}, which disk.img would not have, expected {expected}"),
            );
        }
    }

    fn overlay(&mut self, raw: &raw::Overlay) -> Option<Overlay> {
        let bytes = raw.size.map_or(OVERLAY_BYTES, |size| size.0);
        let inodes = raw.inodes.unwrap_or(OVERLAY_INODES);
        if inodes == 0 {
            self.problem("overlay.inodes", "found 0, expected at least 1");
        }
        match u32::try_from(bytes / 1024) {
            Ok(size_kib) if size_kib > 0 && bytes.is_multiple_of(4096) => Some(Overlay { size_kib, inodes }),
            _ => {
                self.problem("overlay.size", format!("found {bytes} bytes, expected a multiple of 4KiB below 4096GiB"));
                None
            }
        }
    }

    fn extras(&mut self, raw: raw::Extras) -> Vec<String> {
        let allow: Vec<_> = raw.allow.unwrap_or_default().into_iter().map(|path| path.0).collect();
        if allow.len() > MAX_EXTRAS {
            self.problem("extras.allow", format!("found {} paths, expected at most {MAX_EXTRAS}", allow.len()));
        }
        allow
    }

    fn failure(&mut self, raw: raw::Failure) -> Option<Failure> {
        let policy = raw.policy.unwrap_or(raw::Policy::Reboot);
        if raw.shell.is_some() && policy != raw::Policy::Shell && !self.document.is_refused("failure") {
            self.problem("failure.shell", "only for policy = \"shell\", expected no such key");
        }
        match policy {
            raw::Policy::Reboot => Some(Failure::Reboot),
            raw::Policy::PowerOff => Some(Failure::PowerOff),
            raw::Policy::Halt => Some(Failure::Halt),
            raw::Policy::Shell => {
                let shell = self.required("failure.shell", raw.shell, "the host path of a static program")?;
                let place = self.document.place("failure.shell");
                let folder = self.document.files.get(place.file).and_then(|file| file.parent());
                let path = folder.unwrap_or(Path::new("")).join(&shell);
                if !path.is_file() {
                    let text = format!("found {shell}, expected a file beside this one or an absolute path");
                    self.problem("failure.shell", text);
                }
                Some(Failure::Shell(path))
            }
        }
    }

    fn image(&mut self, raw: raw::Image) -> Option<Image> {
        let bytes = raw.cluster.map_or(u64::from(CLUSTER), |size| size.0);
        let compression = raw.compression.map_or(ImageCompression::None, |compression| compression.0);
        match u32::try_from(bytes) {
            Ok(cluster) if cluster.is_power_of_two() && (4 << 10..=1 << 20).contains(&cluster) => {
                Some(Image { compression, cluster })
            }
            _ => {
                self.problem(
                    "image.cluster",
                    format!("found {bytes} bytes, expected a power of two from 4KiB to 1MiB"),
                );
                None
            }
        }
    }

    fn qemu(&mut self, raw: raw::Qemu) -> Option<Qemu> {
        let machine = self.required("qemu.machine", raw.machine, "a machine, as in \"virt\"");
        let console = self.required("qemu.console", raw.console, "a console, as in \"ttyAMA0\"");
        let memory = raw.memory.map_or(QEMU_MEMORY, |size| size.0);
        if memory == 0 || !memory.is_multiple_of(1 << 20) {
            self.problem("qemu.memory", format!("found {memory} bytes, expected a multiple of 1MiB"));
        }
        let cpus = raw.cpus.unwrap_or(1);
        if cpus == 0 {
            self.problem("qemu.cpus", "found 0, expected at least 1");
        }
        Some(Qemu {
            machine: machine?,
            cpu: raw.cpu,
            memory,
            cpus,
            transport: match raw.transport {
                None | Some(raw::Transport::Pci) => Transport::Pci,
                Some(raw::Transport::Mmio) => Transport::Mmio,
            },
            console: console?,
            append: raw.append.unwrap_or_default(),
            arguments: raw.arguments.unwrap_or_default(),
        })
    }
}

fn compression(raw: Option<raw::Compression>) -> Compression {
    match raw {
        None | Some(raw::Compression::None) => Compression::None,
        Some(raw::Compression::Gzip) => Compression::Gzip,
        Some(raw::Compression::Zstd) => Compression::Zstd,
        Some(raw::Compression::Lz4) => Compression::Lz4,
        Some(raw::Compression::Xz) => Compression::Xz,
    }
}
