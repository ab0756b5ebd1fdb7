//! From what a file says to a [`Board`]: what must be there, what must fit together, what defaults to what.

mod bootloader;
mod device;
mod disk;
mod hardware;
mod service;
mod slot;
mod trust;

use super::document::{Document, KEYS};
use super::{
    Architecture, Board, Budget, Compression, Failure, FileSystem, Handover, Image, ImageCompression, Mode, Modules,
    Overlay, Qemu, Transport, raw,
};
use crate::error::{Error, Result};
use bootstrap::plan::MAX_EXTRAS;
use device::DeviceKeys;
use serde::Deserialize;
use std::path::Path;

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

    /// Refuses those of `given` keys of the table at `path` that are not `allowed` with `with`.
    fn only(&mut self, path: &str, given: &[&str], allowed: &[&str], with: &str) {
        for key in given.iter().filter(|key| !allowed.contains(key)) {
            self.problem(&format!("{path}.{key}"), format!("not with {with}, expected no such key"));
        }
    }

    fn board(&mut self, raw: raw::Board) -> Option<Board> {
        let name = self.required("name", raw.name, "the board's name, as in \"qemu-arm64\"");
        let found = self.required("architecture", raw.architecture, "aarch64, armv7 or x86_64");
        let architecture = found.map(architecture);
        let mode = match raw.mode {
            None | Some(raw::Mode::Initial) => Mode::Initial,
            Some(raw::Mode::Root) => Mode::Root,
            Some(raw::Mode::Service) => Mode::Service,
        };
        let handover = match raw.handover {
            None | Some(raw::Handover::Auto) => None,
            Some(raw::Handover::Mounted) => Some(Handover::Mounted),
            Some(raw::Handover::Kernel) => Some(Handover::Kernel),
        };
        let default_init = if mode == Mode::Root { "/sbin/init" } else { "/init" };
        let modules = self.modules(raw.modules);
        let verity = self.verity(&raw.verity);
        let slots = self.slots(raw.slot, verity);
        let overlay = self.overlay(raw.overlay);
        let watchdog = raw.watchdog.map(|watchdog| self.watchdog(watchdog));
        let extras = self.extras(raw.extras);
        let failure = self.failure(raw.failure);
        let image = self.image(raw.image);
        let bootloader = self.bootloader(raw.bootloader, architecture, slots.as_deref());
        let qemu = raw.qemu.map(|qemu| self.qemu(qemu));
        let hardware = raw.hardware.map(|hardware| self.hardware(hardware));
        self.together(slots.as_deref(), overlay.as_ref(), verity, image);
        self.service(mode, slots.as_deref().unwrap_or_default(), overlay.as_ref());
        if let (Some(qemu), Some(slots), Some(overlay)) = (&qemu, &slots, &overlay) {
            self.disk(slots, overlay, qemu.as_ref());
        }
        if let (Some(Some(hardware)), Some(slots), Some(overlay)) = (&hardware, &slots, &overlay) {
            self.on_a_disk(hardware, slots, overlay);
            self.on_the_debug_port(hardware, &bootloader.command_line);
        }
        Some(Board {
            name: name?.0,
            architecture: architecture?,
            mode,
            handover,
            next_init: raw.next_init.map_or_else(|| default_init.to_owned(), |path| path.0),
            modules,
            slots: slots?,
            verity: verity?,
            overlay: overlay?,
            extras,
            watchdog: optional(watchdog)?,
            failure: if mode == Mode::Service { Failure::Reboot } else { failure? },
            image: image?,
            initramfs: compression(raw.initramfs.compression),
            budget: if mode == Mode::Service { Budget::default() } else { budget(raw.budget) },
            bootloader,
            qemu: optional(qemu)?,
            hardware: optional(hardware)?,
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

    fn overlay(&mut self, mut raw: raw::Overlay) -> Option<Overlay> {
        let keys = DeviceKeys::of_overlay(&mut raw);
        if !keys.given().is_empty() {
            let sizes = [("size", raw.size.is_some()), ("inodes", raw.inodes.is_some())];
            let given: Vec<_> = sizes.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
            self.only("overlay", &given, &[], "a device, which is as large as it is");
            return self.upper(keys);
        }
        let bytes = raw.size.map_or(OVERLAY_BYTES, |size| size.0);
        let inodes = raw.inodes.unwrap_or(OVERLAY_INODES);
        if inodes == 0 {
            self.problem("overlay.inodes", "found 0, expected at least 1");
        }
        match u32::try_from(bytes / 1024) {
            Ok(size_kib) if size_kib > 0 && bytes.is_multiple_of(4096) => Some(Overlay::Memory { size_kib, inodes }),
            _ => {
                self.problem("overlay.size", format!("found {bytes} bytes, expected a multiple of 4KiB below 4096GiB"));
                None
            }
        }
    }

    fn upper(&mut self, keys: DeviceKeys) -> Option<Overlay> {
        let holder = self.holder("overlay", keys, "ext4 or f2fs")?;
        if !matches!(holder.kind, FileSystem::Ext4 | FileSystem::F2fs) {
            let found = holder.kind.name();
            self.problem("overlay.filesystem", format!("found {found}, expected ext4 or f2fs"));
        }
        Some(Overlay::Partition(holder))
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
                if raw.leave_used && compression == ImageCompression::None {
                    self.problem("image.leave-used", "nothing of the image is compressed, expected image.compression");
                }
                Some(Image { compression, cluster, leave_used: raw.leave_used })
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

/// A table that may be missing, but not wrong.
fn optional<T>(table: Option<Option<T>>) -> Option<Option<T>> {
    table.map_or(Some(None), |table| table.map(Some))
}

fn budget(raw: raw::Budget) -> Budget {
    Budget {
        initramfs: raw.initramfs.map(|size| size.0),
        switch_root: raw.switch_root.map(|duration| duration.0),
        marks: raw.marks.into_iter().map(|(name, limit)| (name, limit.0)).collect(),
    }
}

const fn architecture(raw: raw::Architecture) -> Architecture {
    match raw {
        raw::Architecture::Aarch64 => Architecture::Aarch64,
        raw::Architecture::Armv7 => Architecture::Armv7,
        raw::Architecture::X86_64 => Architecture::X86_64,
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
