//! The resolved plan as a person reads it, in the vocabulary's order: board, mode, modules, slots, steps.

use super::{ResolvedPlan, module_path};
use crate::board::{Failure, FilePath, Holder, ImageName, Method, Overlay, Slot, Source, Verity, Wanted, Watchdog};
use bootstrap::Step;
use bootstrap::plan::{Free, Handover, Mode};
use std::fmt::{Display, Formatter, Result};

/// How the words for a slot end that takes any image with a signature.
pub const ANY_SIGNED: &str = ", any signed image";
/// In the words for a slot that holds the rescue image.
pub const RESCUE: &str = "rescue image, ";

impl Display for ResolvedPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "board    {} ({})", self.board, self.architecture)?;
        let mode = match self.mode {
            Mode::Initial => "initial: the image holds an initrd",
            Mode::Root => "root: the image is the final root",
            Mode::Service => "service: the image holds an initrd, mounted at /initoverlayfs by a larger initramfs",
        };
        writeln!(f, "mode     {mode}")?;
        for (leaving, image) in self.leaving.iter().zip(["", " of the rescue image"]) {
            for path in &leaving.replaced {
                writeln!(
                    f,
                    "replaced {path}{image}: ours leaves the overlay for the final root, the content's would not"
                )?;
            }
        }
        let bytes: usize = self.modules.iter().map(|module| module.bytes.len()).sum();
        writeln!(f, "modules  {}, {}", self.modules.len(), kib(bytes))?;
        for module in &self.modules {
            let signed = if module.signed { ", signed" } else { "" };
            let space = if module.parameters.is_empty() { "" } else { " " };
            let size = kib(module.bytes.len());
            writeln!(f, "  {}{space}{}  {size}{signed}", module_path(module), module.parameters)?;
            for firmware in &module.firmware {
                writeln!(f, "    firmware {}  {}", firmware.name, kib(firmware.bytes.len()))?;
            }
        }
        writeln!(f, "slots    {}", self.slots.len())?;
        for slot in &self.slots {
            writeln!(f, "  {}", self.slot(slot))?;
        }
        writeln!(f, "steps")?;
        for step in Step::ALL {
            writeln!(f, "  {:13}{}", step.name(), self.step(step))?;
        }
        let failure = match &self.failure {
            Failure::Reboot => "reboot".to_owned(),
            Failure::PowerOff => "power off".to_owned(),
            Failure::Halt => "halt".to_owned(),
            Failure::Shell(path) => format!("shell {}", path.display()),
        };
        match &self.watchdog {
            _ if self.mode == Mode::Service => return writeln!(f, "failure  next slot, then emergency.target"),
            Some(Watchdog { device, timeout_s }) => writeln!(f, "watchdog /dev/{device}, {timeout_s} s, handed over")?,
            None => writeln!(f, "watchdog left to the kernel")?,
        }
        writeln!(f, "failure  next slot, then {failure}")
    }
}

impl ResolvedPlan {
    /// What a step does in this plan.
    fn step(&self, step: Step) -> String {
        if self.mode == Mode::Service
            && let Some(text) = not_ours(step)
        {
            return text.to_owned();
        }
        match step {
            Step::EarlyMounts => "/dev, /proc, /sys, /run".to_owned(),
            Step::Modules if self.modules.is_empty() => "none: everything is built in".to_owned(),
            Step::Modules => format!("load {} in this order", self.modules.len()),
            Step::Device => "find the slot's device".to_owned(),
            Step::Verity => self.trust(),
            Step::Mount => "EROFS, read-only, superblock checked first".to_owned(),
            Step::Overlay => match &self.overlay {
                Overlay::Memory { size_kib, inodes } => format!("tmpfs, {size_kib} KiB, {inodes} inodes"),
                Overlay::Partition(holder) => format!("kept on {}", HolderWords(holder)),
            },
            Step::Extras if self.extras.is_empty() => "none allowed".to_owned(),
            Step::Extras => self.extras.join(", "),
            Step::SwitchRoot => {
                let mounts = match self.handover {
                    Handover::Mounted => "mounts moved along",
                    Handover::Kernel => "nothing mounted",
                };
                let free = match self.free {
                    Free::Before => "before",
                    Free::Beside => "beside",
                };
                let ahead = self.ahead.as_ref().map_or_else(String::new, |ahead| format!("; {ahead}"));
                format!("{mounts} ({}); initramfs freed {free} the next init{ahead}", self.handover_reason)
            }
            Step::Exec if self.next_init == self.next_init_target => self.next_init.clone(),
            Step::Exec => format!("{} -> {}", self.next_init, self.next_init_target),
        }
    }

    /// What vouches for images, and what it does not cover.
    fn trust(&self) -> String {
        let Verity { method, on_corruption, fec_roots, version } = self.verity;
        let mut text = match method {
            Method::None => return "none configured".to_owned(),
            Method::RootHash => "dm-verity, root hash in this plan".to_owned(),
            Method::Signature { minimum_version } => format!(
                "dm-verity, root hash signed by a key of the kernel's keyring, image version at least {minimum_version}"
            ),
            Method::FsVerity => "fs-verity, digest in this plan".to_owned(),
        };
        if let Some(word) = on_corruption.word() {
            text += &format!(", {word}");
        }
        if fec_roots != 0 {
            text += &format!(", error correction by {fec_roots} roots");
        }
        if version != 0 {
            text += &format!(", image version {version}");
        }
        let in_initramfs = self.slots.iter().any(|slot| slot.source == Source::Initramfs);
        let open = [
            (in_initramfs, "the image in the initramfs"),
            (!self.extras.is_empty(), "extra files"),
            (matches!(self.overlay, Overlay::Partition(_)), "what the upper directory keeps"),
            (self.shell().is_some(), "a shell on the console after a failure"),
        ];
        let open: Vec<_> = open.iter().filter(|(open, _)| *open).map(|(_, what)| *what).collect();
        if !open.is_empty() {
            text += &format!("; not covered: {}", open.join(", "));
        }
        text
    }

    /// A slot: where its image is, and what it must be.
    fn slot(&self, slot: &Slot) -> String {
        let mut text = format!("{}: ", slot.name);
        if slot.image == ImageName::Rescue {
            text += RESCUE;
        }
        text += &match &slot.source {
            Source::Initramfs => format!("{} in the initramfs", super::IMAGE_PATH),
            Source::Partition(wanted) => format!("partition {}", DeviceWords(wanted)),
            Source::File { holder, path: FilePath::At(path) } => format!("file {path} on {}", HolderWords(holder)),
            Source::File { holder, path: FilePath::Ostree } => {
                format!("file of the OSTree deployment on {}", HolderWords(holder))
            }
            Source::Memory { device, address, .. } => {
                let dax =
                    if self.verity.maps(&slot.source) { "through dm-verity, without DAX" } else { "mapped by DAX" };
                format!("memory at {address:#x}, {dax}, {}", DeviceWords(device))
            }
        };
        let method = if self.verity.covers(&slot.source) { self.verity.method } else { Method::None };
        text += match (method, slot.pin) {
            (Method::Signature { .. }, _) => ANY_SIGNED,
            (_, true) => ", exactly this image",
            (_, false) => ", any image",
        };
        text
    }
}

/// What the larger initramfs does in mode `service`.
const fn not_ours(step: Step) -> Option<&'static str> {
    match step {
        Step::EarlyMounts | Step::Modules => Some("done by the larger initramfs"),
        Step::SwitchRoot => Some("left to initoverlayfs-switch.service"),
        Step::Extras | Step::Device | Step::Verity | Step::Mount | Step::Overlay | Step::Exec => None,
    }
}

struct DeviceWords<'a>(&'a Wanted);

impl Display for DeviceWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Wanted { device, hint, deadline, lun } = self.0;
        write!(f, "{device}")?;
        if let Some(hint) = hint {
            write!(f, ", tried first: {hint}")?;
        }
        if let Some(lun) = lun {
            write!(f, ", logical unit {lun}")?;
        }
        write!(f, ", deadline {deadline:?}")
    }
}

struct HolderWords<'a>(&'a Holder);

impl Display for HolderWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.0.kind.name(), DeviceWords(&self.0.device))
    }
}

/// Bytes as KiB, one decimal.
fn kib(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
