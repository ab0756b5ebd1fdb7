//! The resolved plan as a person reads it, in the vocabulary's order: board, mode, modules, slots, steps.

use super::{ResolvedPlan, module_path};
use crate::board::{Failure, Slot, Source};
use bootstrap::Step;
use bootstrap::plan::{Free, Handover, Mode};
use std::fmt::{Display, Formatter, Result};

impl Display for ResolvedPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "board    {} ({})", self.board, self.architecture)?;
        let mode = match self.mode {
            Mode::Initial => "initial: the image holds an initrd",
            Mode::Root => "root: the image is the final root",
        };
        writeln!(f, "mode     {mode}")?;
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
            writeln!(f, "  {}", SlotLine(slot))?;
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
        writeln!(f, "failure  next slot, then {failure}")
    }
}

impl ResolvedPlan {
    /// What a step does in this plan.
    fn step(&self, step: Step) -> String {
        match step {
            Step::EarlyMounts => "/dev, /proc, /sys, /run".to_owned(),
            Step::Modules if self.modules.is_empty() => "none: everything is built in".to_owned(),
            Step::Modules => format!("load {} in this order", self.modules.len()),
            Step::Device => "find the slot's device".to_owned(),
            Step::Verity => "none configured".to_owned(),
            Step::Mount => "EROFS, read-only, superblock checked first".to_owned(),
            Step::Overlay => format!("tmpfs, {} KiB, {} inodes", self.overlay.size_kib, self.overlay.inodes),
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
                format!("{mounts} ({}); initramfs freed {free} the next init", self.handover_reason)
            }
            Step::Exec if self.next_init == self.next_init_target => self.next_init.clone(),
            Step::Exec => format!("{} -> {}", self.next_init, self.next_init_target),
        }
    }
}

struct SlotLine<'a>(&'a Slot);

impl Display for SlotLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Slot { name, source, pin } = self.0;
        match source {
            Source::Initramfs => write!(f, "{name}: {} in the initramfs", super::IMAGE_PATH)?,
            Source::Partition { device, hint, deadline } => {
                write!(f, "{name}: partition {device}")?;
                if let Some(hint) = hint {
                    write!(f, ", tried first: {hint}")?;
                }
                write!(f, ", deadline {deadline:?}")?;
            }
        }
        f.write_str(if *pin { ", exactly this image" } else { ", any image" })
    }
}

/// Bytes as KiB, one decimal.
fn kib(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
