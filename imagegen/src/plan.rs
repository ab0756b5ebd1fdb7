//! The plan, decided: a board and the content it boots become the exact list of what the target does. What would lock a
//! target out is refused here, while somebody is still watching.

mod content;
mod extras;
mod known;
mod leave;
mod seal;
mod show;

pub use extras::Owned as LayerStep;
pub use leave::Leaving;
pub use seal::{Identity, Proof};
pub use show::{ANY_SIGNED, RESCUE};

use crate::board::{Architecture, Board, Failure, ImageName, Overlay, Slot, Source, Verity, Watchdog};
use crate::error::{Error, Result};
use crate::modules::ResolvedModule;
use crate::profile::Ahead;
use crate::tree::{NodeKind, Tree};
use bootstrap::plan::{Free, Handover, Mode};
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
    /// How the content leaves for its final root, and how that of the rescue image does.
    pub leaving: [Leaving; 2],
    /// Modules to load, in order.
    pub modules: Vec<ResolvedModule>,
    /// Candidates for the image, tried in order.
    pub slots: Vec<Slot>,
    /// What vouches for their images.
    pub verity: Verity,
    /// The overlay's writable layer.
    pub overlay: Overlay,
    /// Paths the bootloader may add.
    pub extras: Vec<String>,
    /// What the target does for them.
    pub layer: Vec<LayerStep>,
    /// When the initramfs' memory is given back.
    pub free: Free,
    /// Paths that lie first in the image, by a profile.
    pub first: Vec<Vec<u8>>,
    /// Paths of contents that stay uncompressed in a compressed image.
    pub left: Vec<Vec<u8>>,
    /// What is read before it is asked for, by a profile.
    pub ahead: Option<Ahead>,
    /// The watchdog to start.
    pub watchdog: Option<Watchdog>,
    /// What happens when no slot boots; with the host's path of the shell.
    pub failure: Failure,
}

/// Resolves a board's plan for the content in `tree`, and in `rescue` if a slot holds the rescue image: one plan boots both.
///
/// # Errors
/// Bad input if a content cannot start (no next init, not executable, for another processor, no interpreter, no mount
/// points), a module or the shell is for another processor, or the rescue content is missing, superfluous, or has other folders
/// where extra files go.
pub fn resolve(
    board: &Board,
    tree: &Tree,
    rescue: Option<&Tree>,
    modules: Vec<ResolvedModule>,
) -> Result<ResolvedPlan> {
    check_rescue(board, rescue)?;
    let init = content::next_init(tree, &board.next_init, board.architecture)?;
    let rescue_init =
        rescue.map(|tree| content::next_init(tree, &board.next_init, board.architecture).map_err(in_rescue));
    let rescue_init = rescue_init.transpose()?;
    let seen = |tree, init: &str| content::handover(tree, init);
    let (handover, handover_reason) = match (board.handover, rescue.zip(rescue_init)) {
        // Nothing is moved before systemd does it.
        _ if board.mode == Mode::Service => (Handover::Kernel, "systemd hands over"),
        (Some(handover), _) => (handover, "the board says so"),
        (None, None) => seen(tree, &init),
        (None, Some((rescue, its_init))) => match (seen(tree, &init), seen(rescue, &its_init)) {
            // What is started with nothing mounted can mount it; not every next init accepts what is there.
            ((Handover::Mounted, _), (Handover::Kernel, _)) => (Handover::Kernel, "the rescue image's is not systemd"),
            (seen, _) => seen,
        },
    };
    let leaving = |tree| match board.mode {
        Mode::Initial | Mode::Service => leave::find(tree, &board.next_init, board.architecture),
        Mode::Root => Leaving::default(),
    };
    let leaving = [leaving(tree), rescue.map(leaving).unwrap_or_default()];
    leaving.iter().for_each(Leaving::warn);
    if handover == Handover::Mounted {
        content::check_mount_points(tree)?;
        rescue.map_or(Ok(()), content::check_mount_points).map_err(in_rescue)?;
    }
    for module in &modules {
        content::check_module(module, board.architecture)?;
    }
    let shell_bytes = match &board.failure {
        Failure::Shell(path) => content::check_shell(path, board.architecture)?,
        Failure::Reboot | Failure::PowerOff | Failure::Halt => 0,
    };
    Ok(ResolvedPlan {
        board: board.name.clone(),
        architecture: board.architecture,
        mode: board.mode,
        handover,
        handover_reason,
        next_init: board.next_init.clone(),
        leaving,
        slots: board.slots.clone(),
        verity: board.verity,
        overlay: board.overlay.clone(),
        extras: board.extras.clone(),
        layer: layer(tree, rescue, &board.extras)?,
        free: free(board, tree, rescue, &modules, shell_bytes),
        first: Vec::new(),
        left: Vec::new(),
        ahead: None,
        watchdog: board.watchdog.clone(),
        failure: board.failure.clone(),
        next_init_target: init,
        modules,
    })
}

/// A rescue content is given exactly where a slot holds it.
fn check_rescue(board: &Board, rescue: Option<&Tree>) -> Result<()> {
    let slot = board.slots.iter().find(|slot| slot.image == ImageName::Rescue);
    match (slot, rescue) {
        (Some(slot), None) => {
            let what = format!("slot {} of board {} holds the rescue image, and there is none", slot.name, board.name);
            Err(Error::bad_input(what, "give what it is made of: --rescue INPUT"))
        }
        (None, Some(_)) => {
            let what = format!("--rescue: no slot of board {} holds the rescue image", board.name);
            Err(Error::bad_input(what, "drop it, or set image = \"rescue\" in a [[slot]] of the board file"))
        }
        _ => Ok(()),
    }
}

fn in_rescue(error: Error) -> Error {
    Error { what: format!("rescue image: {}", error.what), ..error }
}

/// The steps for the extra files, which are the same over every image.
fn layer(tree: &Tree, rescue: Option<&Tree>, allowed: &[String]) -> Result<Vec<LayerStep>> {
    let steps = extras::resolve(tree, allowed)?;
    let Some(rescue) = rescue else { return Ok(steps) };
    let others = extras::resolve(rescue, allowed).map_err(in_rescue)?;
    match steps.iter().zip(&others).find(|(step, other)| step != other) {
        None => Ok(steps),
        Some((step, _)) => {
            let what = format!("extras.allow: {} is not the same folder in the rescue image", step.path());
            Err(Error::bad_input(what, "give both images the same folders, modes and owners there"))
        }
    }
}

/// How the initramfs is freed, by how much there is of it.
fn free(board: &Board, tree: &Tree, rescue: Option<&Tree>, modules: &[ResolvedModule], shell_bytes: u64) -> Free {
    let firmware = modules.iter().flat_map(|module| &module.firmware).map(|file| file.bytes.len());
    let members: usize = modules.iter().map(|module| module.bytes.len()).chain(firmware).sum();
    let image = board.slots.iter().find(|slot| slot.source == Source::Initramfs).and_then(|slot| match slot.image {
        ImageName::Main => Some(tree),
        ImageName::Rescue => rescue,
    });
    let initramfs = (members as u64).saturating_add(shell_bytes).saturating_add(image.map_or(0, tree_bytes));
    if initramfs < FREE_BESIDE { Free::Before } else { Free::Beside }
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
    /// The host's file for [`SHELL_PATH`], if the board has a shell.
    pub fn shell(&self) -> Option<&PathBuf> {
        match &self.failure {
            Failure::Shell(path) => Some(path),
            Failure::Reboot | Failure::PowerOff | Failure::Halt => None,
        }
    }
}

#[cfg(test)]
mod tests;
