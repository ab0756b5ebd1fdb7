//! What a board with `[qemu]` may ask of the disk that `build` makes: a GPT, images, and file systems. Nothing else can be found
//! on it.

use super::Validator;
use crate::board::value::is_normalised;
use crate::board::{Device, FilePath, Overlay, Qemu, Slot, Source, partitions};

impl Validator {
    /// Refuses what disk.img would not have.
    pub(super) fn disk(&mut self, slots: &[Slot], overlay: &Overlay, qemu: Option<&Qemu>) {
        let partitions = partitions(slots, overlay);
        let number = |device: &Device| partitions.iter().position(|known| known.device == device).map(|at| at + 1);
        let of_slots = slots.iter().enumerate().filter_map(|(index, slot)| match &slot.source {
            Source::Partition(wanted) => Some((format!("slot.{index}"), &wanted.device)),
            Source::File { holder, .. } => Some((format!("slot.{index}"), &holder.device.device)),
            Source::Memory { .. } | Source::Initramfs => None,
        });
        let upper = match overlay {
            Overlay::Partition(holder) => Some(("overlay".to_owned(), &holder.device.device)),
            Overlay::Memory { .. } => None,
        };
        let wanted: Vec<_> = of_slots.chain(upper).collect();
        for (table, device) in wanted {
            let number = number(device).unwrap_or_default();
            let (key, found) = match device {
                Device::PartName(_) | Device::PartUuid(_) => continue,
                Device::Path(name) if *name == format!("vda{number}") => continue,
                Device::Path(name) => ("path", format!("/dev/{name}")),
                Device::MbrPartUuid(..) => ("partuuid", device.to_string()),
                Device::Label(_) => ("label", device.to_string()),
                Device::Uuid(_) => ("uuid", device.to_string()),
            };
            let expected = format!("partname, a GPT partuuid or path = \"vda{number}\" of a board with [qemu]");
            let text = format!("found {found}, which disk.img would not have, expected {expected}");
            self.problem(&format!("{table}.{key}"), text);
        }
        let ostree = |slot: &&Slot| matches!(&slot.source, Source::File { path: FilePath::Ostree, .. });
        if let (Some(slot), Some(qemu)) = (slots.iter().find(ostree), qemu) {
            let deployment = bootstrap::cmdline::ostree(qemu.append.as_bytes()).map(String::from_utf8_lossy);
            if !deployment.is_some_and(|path| is_normalised(&path)) {
                let expected = "expected ostree= with the absolute path of a deployment";
                let text = format!("names no OSTree deployment for slot {}, {expected}", slot.name);
                self.problem("qemu.append", text);
            }
        }
    }
}
