//! The plan as the target reads it: a resolved plan and what the finished images are known by become bytes.

use super::known::Known;
use super::{IMAGE_PATH, ResolvedPlan, SHELL_PATH, extras, module_path};
use crate::board::{self, Failure, FilePath, Method, Overlay, Slot, Source};
use crate::error::{Error, Result};
use bootstrap::envelope;
use bootstrap::plan::{self, List, MAX_BYTES, Plan, Policy, Upper};

/// What a finished image is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// UUID of its superblock.
    pub uuid: [u8; 16],
    /// What lies at its end.
    pub tail: plan::Tail,
    /// What vouches for its bytes.
    pub proof: Proof,
    /// Bytes from its start that hold the inodes which a profile puts first.
    pub first_bytes: u64,
}

/// What vouches for an image's bytes, as far as the plan must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// The root hash of the tree behind it.
    RootHash {
        /// Bytes of the image.
        bytes: u64,
        /// The dm-verity target's parameters, `@` for the device.
        parameters: String,
    },
    /// The fs-verity digest of its file.
    Digest([u8; 32]),
}

/// Buffers that the sealed plan's lists lie in.
struct Buffers {
    modules: Vec<u8>,
    slots: Vec<u8>,
    extras: Vec<u8>,
    upper: Vec<u8>,
}

impl ResolvedPlan {
    /// The sealed plan. `images` has one entry a slot: the image built for it. A slot that takes any image needs none.
    ///
    /// # Errors
    /// Failed work if a slot that takes one image alone has none, or not the proof that the board wants; bad input if the plan is
    /// larger than [`MAX_BYTES`].
    pub fn seal(&self, images: &[Option<&Identity>]) -> Result<Vec<u8>> {
        if images.len() != self.slots.len() {
            return Err(fault(format!("{} images for {} slots", images.len(), self.slots.len())));
        }
        let too_large = |error: envelope::Error| {
            let hint = "shorten names and module parameters, or build modules into the kernel";
            Error::bad_input(format!("plan of board {}: {error}", self.board), hint)
        };
        let known: Result<Vec<_>> = self.slots.iter().map(known).collect();
        let known = known?;
        let mut for_probes = vec![vec![0; MAX_BYTES]; known.len()];
        let slots = self.slots.iter().zip(images).zip(known.iter().zip(&mut for_probes));
        let slots: Result<Vec<_>> = slots
            .map(|((slot, image), (known, buffer))| {
                let source = self.source(slot, known.as_ref(), buffer).map_err(too_large)?;
                Ok(plan::Slot { name: &slot.name, source, image: self.image(slot, *image)? })
            })
            .collect();
        let (upper, tmpfs) = match &self.overlay {
            Overlay::Memory { size_kib, inodes } => (None, format!("mode=0700,size={size_kib}k,nr_inodes={inodes}")),
            Overlay::Partition(holder) => (Some(Known::of(&holder.device.device, "overlay")?), String::new()),
        };
        let [modules, for_slots, extras, for_upper] = [(); 4].map(|()| vec![0; MAX_BYTES]);
        let mut buffers = Buffers { modules, slots: for_slots, extras, upper: for_upper };
        let first = images.iter().flatten().map(|image| image.first_bytes).max().unwrap_or(0);
        let ahead = self.ahead.as_ref().map(|ahead| ahead.plan(first));
        self.encode(slots?, upper.as_ref(), &tmpfs, ahead, &mut buffers).map_err(too_large)
    }

    fn encode(
        &self,
        slots: Vec<plan::Slot<'_>>,
        upper: Option<&Known>,
        tmpfs: &str,
        ahead: Option<plan::Ahead>,
        buffers: &mut Buffers,
    ) -> std::result::Result<Vec<u8>, envelope::Error> {
        let paths: Vec<_> = self.modules.iter().map(module_path).collect();
        let modules = self.modules.iter().zip(&paths);
        let modules = modules.map(|(module, path)| plan::Module { path, parameters: &module.parameters });
        let upper = match (&self.overlay, upper) {
            (Overlay::Partition(holder), Some(known)) => {
                Upper::Partition(plan_holder(holder, "", known, &mut buffers.upper)?)
            }
            (Overlay::Partition(_), None) => return Err(envelope::Error::Payload),
            (Overlay::Memory { .. }, _) => Upper::Memory(tmpfs),
        };
        let plan = Plan {
            board: &self.board,
            mode: self.mode,
            handover: self.handover,
            next_init: &self.next_init,
            modules: List::encode(modules, &mut buffers.modules)?,
            slots: List::encode(slots, &mut buffers.slots)?,
            upper,
            extras: List::encode(self.layer.iter().map(extras::Owned::borrowed), &mut buffers.extras)?,
            free: self.free,
            ahead,
            watchdog: self
                .watchdog
                .as_ref()
                .map(|watchdog| plan::Watchdog { device: &watchdog.device, timeout_s: watchdog.timeout_s }),
            on_failure: match self.failure {
                Failure::Reboot => Policy::Reboot,
                Failure::PowerOff => Policy::PowerOff,
                Failure::Halt => Policy::Halt,
                Failure::Shell(_) => Policy::Shell(SHELL_PATH),
            },
        };
        let mut buffer = vec![0; MAX_BYTES];
        Ok(plan::seal(&plan, &mut buffer)?.to_vec())
    }

    fn source<'a>(
        &self,
        slot: &'a Slot,
        known: Option<&'a Known>,
        buffer: &'a mut [u8],
    ) -> std::result::Result<plan::Source<'a>, envelope::Error> {
        let Some(known) = known else { return Ok(plan::Source::Initramfs { path: IMAGE_PATH }) };
        Ok(match &slot.source {
            Source::Initramfs => plan::Source::Initramfs { path: IMAGE_PATH },
            Source::Partition(wanted) => plan::Source::Partition { device: known.wanted(wanted, buffer)?, options: "" },
            Source::Memory { device, .. } => {
                // dm-verity has no DAX (drivers/md/dm-verity-target.c, Linux 6.12).
                let options = if self.verity.maps(&slot.source) { "" } else { "dax=always" };
                plan::Source::Partition { device: known.wanted(device, buffer)?, options }
            }
            Source::File { holder, path } => plan::Source::File {
                holder: plan_holder(holder, path.options(holder.kind), known, buffer)?,
                path: match path {
                    FilePath::At(path) => plan::FilePath::At(path),
                    FilePath::Ostree => plan::FilePath::Ostree,
                },
            },
        })
    }

    /// What the slot's image must be. Fails closed: where the board wants a proof, no image without it gets into a plan.
    fn image<'a>(&self, slot: &Slot, image: Option<&'a Identity>) -> Result<plan::Image<'a>> {
        let method = if self.verity.covers(&slot.source) { self.verity.method } else { Method::None };
        if let Method::Signature { minimum_version } = method {
            let word = self.verity.on_corruption.word();
            let (options, words) = (word.unwrap_or_default(), u8::from(word.is_some()));
            return Ok(plan::Image::Signed { options, words, minimum_version });
        }
        let image = match image {
            _ if method == Method::None && !slot.pin => return Ok(plan::Image::Any),
            Some(image) => image,
            None => {
                let what = format!("plan: slot {} is pinned but has no image", slot.name);
                return Err(Error::failed(what, "set pin = false"));
            }
        };
        match (method, &image.proof) {
            (Method::None, _) => Ok(plan::Image::Pinned { uuid: &image.uuid, tail: image.tail }),
            (Method::RootHash, Proof::RootHash { bytes, parameters }) => {
                Ok(plan::Image::RootHash { bytes: *bytes, parameters })
            }
            (Method::FsVerity, Proof::Digest(digest)) => Ok(plan::Image::Digest(digest)),
            _ => Err(fault(format!("slot {} has no proof of method {}", slot.name, method.name()))),
        }
    }
}

fn known(slot: &Slot) -> Result<Option<Known>> {
    slot.source.device().map(|wanted| Known::of(&wanted.device, &format!("slot {}", slot.name))).transpose()
}

fn plan_holder<'a>(
    holder: &'a board::Holder,
    options: &'a str,
    known: &'a Known,
    buffer: &'a mut [u8],
) -> std::result::Result<plan::Holder<'a>, envelope::Error> {
    Ok(plan::Holder { device: known.wanted(&holder.device, buffer)?, kind: holder.kind.name(), options })
}

fn fault(what: String) -> Error {
    Error::failed(format!("plan: {what}"), "this is a fault of imagegen: please report it")
}
