//! The plan, decided: a board and the content it boots become the exact list of what the target does. What would lock a
//! target out is refused here, while somebody is still watching.

mod content;
mod extras;
mod known;
mod show;

pub use extras::Owned as LayerStep;

use crate::board::{Architecture, Board, Failure, Source};
use crate::error::{Error, Result};
use crate::modules::ResolvedModule;
use crate::tree::{NodeKind, Tree};
use bootstrap::envelope;
use bootstrap::plan::{self, Free, Handover, List, Mode, Plan, Policy};
use std::path::PathBuf;

/// Where the image lies in the mini-initramfs, for a slot with source initramfs.
pub const IMAGE_PATH: &str = "/image.erofs";
/// Where the shell of failure policy `shell` lies in the mini-initramfs.
pub const SHELL_PATH: &str = "/shell";
/// From this size of the mini-initramfs on, in bytes, freeing it takes long enough to be worth a process of its own.
const FREE_BESIDE: u64 = 8 << 20;

/// Path of a module in the mini-initramfs.
pub fn module_path(module: &ResolvedModule) -> String {
    format!("/modules/{}.ko", module.name)
}

/// What a finished image is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// UUID of its superblock.
    pub uuid: [u8; 16],
    /// What lies at its end.
    pub tail: plan::Tail,
}

/// A board's plan for one content, complete but for the identity of the images.
#[derive(Clone, Debug)]
pub struct ResolvedPlan {
    /// The board's name.
    pub board: String,
    /// Processor architecture.
    pub architecture: Architecture,
    /// What the image holds.
    pub mode: Mode,
    /// Which mounts the next init finds.
    pub handover: Handover,
    /// Why: `the board says so`, or what was seen in the content.
    pub handover_reason: &'static str,
    /// Path of the next init inside the image, as the board names it.
    pub next_init: String,
    /// The program behind it, symbolic links followed.
    pub next_init_target: String,
    /// Modules to load, in order.
    pub modules: Vec<ResolvedModule>,
    /// Candidates for the image, tried in order.
    pub slots: Vec<crate::board::Slot>,
    /// Limits of the overlay's writable layer.
    pub overlay: crate::board::Overlay,
    /// Paths the bootloader may add.
    pub extras: Vec<String>,
    /// What the target does for them.
    pub layer: Vec<LayerStep>,
    /// When the initramfs' memory is given back.
    pub free: Free,
    /// What happens when no slot boots; with the host's path of the shell.
    pub failure: Failure,
}

/// Resolves a board's plan for the content in `tree`.
///
/// # Errors
/// Bad input if the content cannot start (no next init, not executable, for another processor, no interpreter, no mount
/// points), or a module or the shell is for another processor.
pub fn resolve(board: &Board, tree: &Tree, modules: Vec<ResolvedModule>) -> Result<ResolvedPlan> {
    let init = content::next_init(tree, &board.next_init, board.architecture)?;
    let (handover, handover_reason) = match board.handover {
        Some(handover) => (handover, "the board says so"),
        None => content::handover(tree, &init),
    };
    if handover == Handover::Mounted {
        content::check_mount_points(tree)?;
    }
    for module in &modules {
        content::check_module(module, board.architecture)?;
    }
    let shell_bytes = match &board.failure {
        Failure::Shell(path) => content::check_shell(path, board.architecture)?,
        Failure::Reboot | Failure::PowerOff | Failure::Halt => 0,
    };
    let firmware = modules.iter().flat_map(|module| &module.firmware).map(|file| file.bytes.len());
    let members: usize = modules.iter().map(|module| module.bytes.len()).chain(firmware).sum();
    let image = if board.slots.iter().any(|slot| slot.source == Source::Initramfs) { tree_bytes(tree) } else { 0 };
    let initramfs = (members as u64).saturating_add(shell_bytes).saturating_add(image);
    Ok(ResolvedPlan {
        board: board.name.clone(),
        architecture: board.architecture,
        mode: board.mode,
        handover,
        handover_reason,
        next_init: board.next_init.clone(),
        next_init_target: init,
        modules,
        slots: board.slots.clone(),
        overlay: board.overlay,
        extras: board.extras.clone(),
        layer: extras::resolve(tree, &board.extras)?,
        free: if initramfs < FREE_BESIDE { Free::Before } else { Free::Beside },
        failure: board.failure.clone(),
    })
}

/// Bytes of all file contents, hard links once: what an image in the initramfs takes, before compression.
fn tree_bytes(tree: &Tree) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let size = |node: &crate::tree::Node| match &node.kind {
        NodeKind::File(content) if seen.insert(content.id) => content.size,
        _ => 0,
    };
    tree.nodes.values().map(size).fold(0, u64::saturating_add)
}

impl ResolvedPlan {
    /// The sealed plan. `images` has one entry a slot: the image built for it. A slot that is not pinned takes any image.
    ///
    /// # Errors
    /// Failed work if a pinned slot has no image; bad input if the plan is larger than [`plan::MAX_BYTES`].
    pub fn seal(&self, images: &[Option<Identity>]) -> Result<Vec<u8>> {
        if images.len() != self.slots.len() {
            let what = format!("plan: {} images for {} slots", images.len(), self.slots.len());
            return Err(Error::failed(what, "this is a fault of imagegen: please report it"));
        }
        let too_large = |error: envelope::Error| {
            let hint = "shorten names and module parameters, or build modules into the kernel";
            Error::bad_input(format!("plan of board {}: {error}", self.board), hint)
        };
        let paths: Vec<_> = self.modules.iter().map(module_path).collect();
        let modules = self.modules.iter().zip(&paths);
        let modules = modules.map(|(module, path)| plan::Module { path, parameters: &module.parameters });
        let known: Result<Vec<_>> = self.slots.iter().map(known::Known::of).collect();
        let known = known?;
        let mut for_probes = vec![vec![0; plan::MAX_BYTES]; known.len()];
        let slots = self.slots.iter().zip(images).zip(known.iter().zip(&mut for_probes));
        let slots: Result<Vec<_>> = slots
            .map(|((slot, image), (known, buffer))| {
                let source = sealed_source(slot, known, buffer).map_err(too_large)?;
                Ok(plan::Slot { name: &slot.name, source, image: sealed_image(slot, image.as_ref())? })
            })
            .collect();
        let upper = format!("mode=0700,size={}k,nr_inodes={}", self.overlay.size_kib, self.overlay.inodes);
        let mut buffers = [(); 3].map(|()| vec![0; plan::MAX_BYTES]);
        let [for_modules, for_slots, for_extras] = &mut buffers;
        let plan = Plan {
            board: &self.board,
            mode: self.mode,
            handover: self.handover,
            next_init: &self.next_init,
            modules: List::encode(modules, for_modules).map_err(too_large)?,
            slots: List::encode(slots?, for_slots).map_err(too_large)?,
            upper: plan::Upper::Memory(&upper),
            extras: List::encode(self.layer.iter().map(extras::Owned::borrowed), for_extras).map_err(too_large)?,
            free: self.free,
            watchdog: None,
            on_failure: match self.failure {
                Failure::Reboot => Policy::Reboot,
                Failure::PowerOff => Policy::PowerOff,
                Failure::Halt => Policy::Halt,
                Failure::Shell(_) => Policy::Shell(SHELL_PATH),
            },
        };
        let mut buffer = vec![0; plan::MAX_BYTES];
        let sealed = plan::seal(&plan, &mut buffer).map_err(too_large)?;
        Ok(sealed.to_vec())
    }

    /// The host's file for [`SHELL_PATH`], if the board has a shell.
    pub fn shell(&self) -> Option<&PathBuf> {
        match &self.failure {
            Failure::Shell(path) => Some(path),
            Failure::Reboot | Failure::PowerOff | Failure::Halt => None,
        }
    }
}

fn sealed_image<'a>(slot: &crate::board::Slot, image: Option<&'a Identity>) -> Result<plan::Image<'a>> {
    match (slot.pin, image) {
        (false, _) => Ok(plan::Image::Any),
        (true, Some(image)) => Ok(plan::Image::Pinned { uuid: &image.uuid, tail: image.tail }),
        (true, None) => {
            let what = format!("plan: slot {} is pinned but has no image", slot.name);
            Err(Error::failed(what, "set pin = false"))
        }
    }
}

fn sealed_source<'a>(
    slot: &'a crate::board::Slot,
    known: &'a known::Known,
    buffer: &'a mut [u8],
) -> std::result::Result<plan::Source<'a>, envelope::Error> {
    Ok(match &slot.source {
        Source::Initramfs => plan::Source::Initramfs { path: IMAGE_PATH },
        Source::Partition { device, hint, deadline } => plan::Source::Partition {
            device: plan::Wanted {
                device: known.device(device, buffer)?,
                words: &known.words,
                hint: hint.as_deref(),
                deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
                lun: None,
            },
            options: "",
        },
    })
}

#[cfg(test)]
mod tests;
