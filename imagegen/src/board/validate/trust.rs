//! What vouches for images, and the watchdog: the tables `[verity]` and `[watchdog]`, and what the first asks of slots.

use super::Validator;
use crate::board::{
    FileSystem, Image, ImageCompression, ImageName, Method, OnCorruption, Overlay, Slot, Source, Verity, Watchdog, raw,
};
use std::time::Duration;

const WATCHDOG: &str = "watchdog0";
/// The kernel takes a timeout as a signed number (include/uapi/linux/watchdog.h, `WDIOC_SETTIMEOUT`).
const LONGEST_TIMEOUT_S: u32 = i32::MAX as u32;

impl Validator {
    pub(super) fn verity(&mut self, raw: &raw::Verity) -> Option<Verity> {
        let method = match raw.method {
            // Wrong, which was said, and is not "none".
            None if self.document.is_refused("verity.method") => return None,
            None | Some(raw::Method::None) => Method::None,
            Some(raw::Method::RootHash) => Method::RootHash,
            Some(raw::Method::Signature) => {
                Method::Signature { minimum_version: raw.minimum_version.unwrap_or_default() }
            }
            Some(raw::Method::FsVerity) => Method::FsVerity,
        };
        let given = [
            ("on-corruption", raw.on_corruption.is_some()),
            ("fec-roots", raw.fec_roots.is_some()),
            ("minimum-version", raw.minimum_version.is_some()),
        ];
        let given: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
        let allowed: &[&str] = match method {
            Method::None | Method::FsVerity => &[],
            Method::RootHash => &["on-corruption", "fec-roots"],
            Method::Signature { .. } => &["on-corruption", "fec-roots", "minimum-version"],
        };
        self.only("verity", &given, allowed, &format!("method = {:?}", method.name()));
        let fec_roots = raw.fec_roots.unwrap_or_default();
        if fec_roots != 0 && !(2..=24).contains(&fec_roots) {
            self.problem("verity.fec-roots", format!("found {fec_roots}, expected 0 or 2 to 24"));
        }
        let version = raw.version.unwrap_or_default();
        if let Method::Signature { minimum_version } = method
            && minimum_version > version
        {
            let text =
                format!("found {minimum_version}, expected at most version, {version}: no slot would take the image");
            self.problem("verity.minimum-version", text);
        }
        let on_corruption = match raw.on_corruption {
            None | Some(raw::OnCorruption::Error) => OnCorruption::Error,
            Some(raw::OnCorruption::Restart) => OnCorruption::Restart,
            Some(raw::OnCorruption::Panic) => OnCorruption::Panic,
        };
        Some(Verity { method, on_corruption, fec_roots, version })
    }

    /// What slots, overlay, trust and the way the image is written must be together.
    pub(super) fn together(
        &mut self,
        slots: Option<&[Slot]>,
        overlay: Option<&Overlay>,
        verity: Option<Verity>,
        image: Option<Image>,
    ) {
        let Some(slots) = slots.filter(|slots| !slots.is_empty()) else { return };
        if slots.iter().all(|slot| slot.image == ImageName::Rescue) {
            self.problem("slot", "every slot has image = \"rescue\", expected one with \"main\"");
        }
        self.devices(slots, overlay);
        let Some(verity) = verity else { return };
        if verity.method != Method::None && slots.iter().all(|slot| !verity.covers(&slot.source)) {
            let expected = "expected a slot outside the initramfs, or none";
            self.problem(
                "verity.method",
                format!("found {:?} but nothing to verify, {expected}", verity.method.name()),
            );
        }
        for (index, slot) in slots.iter().enumerate() {
            if verity.method == Method::FsVerity {
                self.fs_verity(index, &slot.source);
            }
            let compression = image.map_or(ImageCompression::None, |image| image.compression);
            if matches!(slot.source, Source::Memory { .. })
                && !verity.maps(&slot.source)
                && compression != ImageCompression::None
            {
                let text = format!("found {compression}, which slot {} cannot map, expected none", slot.name);
                self.problem("image.compression", text);
            }
        }
    }

    /// Only a file has an fs-verity digest, and only in some file systems (Documentation/filesystems/fsverity.rst).
    fn fs_verity(&mut self, index: usize, source: &Source) {
        match source {
            Source::Initramfs => {}
            Source::File { holder, .. } => {
                if matches!(holder.kind, FileSystem::Vfat | FileSystem::Xfs) {
                    let text =
                        format!("found {}, which has no fs-verity, expected ext4, f2fs or btrfs", holder.kind.name());
                    self.problem(&format!("slot.{index}.filesystem"), text);
                }
            }
            Source::Partition(_) | Source::Memory { .. } => {
                let text = "no file, and verity.method is \"fs-verity\", expected file, ostree or initramfs";
                self.problem(&format!("slot.{index}.source"), text);
            }
        }
    }

    /// One device holds one thing: an image, files at different paths, or the upper directory.
    fn devices(&mut self, slots: &[Slot], overlay: Option<&Overlay>) {
        for (index, slot) in slots.iter().enumerate() {
            let other = slots.iter().take(index).find(|other| !agree(slot, other));
            if let (Some(other), Some(wanted)) = (other, slot.source.device()) {
                let text =
                    format!("{} is otherwise used by slot {}, expected another place", wanted.device, other.name);
                self.problem(&format!("slot.{index}"), text);
            }
        }
        if let Some(Overlay::Partition(holder)) = overlay {
            let is_used = |slot: &&Slot| slot.source.device().is_some_and(|used| used.device == holder.device.device);
            if let Some(slot) = slots.iter().find(is_used) {
                let text = format!("{} is used by slot {}, expected another device", holder.device.device, slot.name);
                self.problem("overlay", text);
            }
        }
    }

    pub(super) fn watchdog(&mut self, raw: raw::Watchdog) -> Option<Watchdog> {
        let timeout = self.required("watchdog.timeout", raw.timeout, "whole seconds, as in \"30s\"")?.0;
        let whole = timeout == Duration::from_secs(timeout.as_secs());
        match u32::try_from(timeout.as_secs()) {
            Ok(timeout_s @ 1..=LONGEST_TIMEOUT_S) if whole => {
                Some(Watchdog { device: raw.device.map_or_else(|| WATCHDOG.to_owned(), |name| name.0), timeout_s })
            }
            _ => {
                let text = format!("found {timeout:?}, expected whole seconds, at least 1, fewer than 2^31");
                self.problem("watchdog.timeout", text);
                None
            }
        }
    }
}

/// Whether both slots can be as they are.
fn agree(one: &Slot, other: &Slot) -> bool {
    let same_image = one.image == other.image;
    let device = |slot: &Slot| slot.source.device().map(|wanted| wanted.device.clone());
    let same_device = device(one).is_some() && device(one) == device(other);
    match (&one.source, &other.source) {
        (Source::Memory { address, .. }, Source::Memory { address: second, .. }) => {
            same_device == (address == second) && (!same_device || same_image)
        }
        _ if !same_device => true,
        (Source::Partition(_), Source::Partition(_)) => same_image,
        (Source::File { holder, path }, Source::File { holder: second, path: elsewhere }) => {
            holder.kind == second.kind && (path != elsewhere || same_image)
        }
        _ => false,
    }
}
