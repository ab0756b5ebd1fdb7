//! Mode `service`: keys for what somebody else does there, and devices that only udev's initramfs has.

use super::Validator;
use crate::board::{Device, Mode, Overlay, Slot, Source, Wanted};

/// Those that a parent may have: it has them for other boards.
const OF_PARENTS: [&str; 2] = ["failure", "budget"];
/// Keys that make no sense with mode `service`, and who does what they would say.
const OTHERS: [(&str, &str); 10] = [
    ("handover", "systemd hands over"),
    ("next-init", "initoverlayfs-switch.service starts /init"),
    ("modules", "dracut brings and udev loads them"),
    ("extras", "the bootloader's files are the larger initramfs'"),
    ("watchdog", "systemd has its own"),
    ("failure", "emergency.target decides"),
    ("initramfs", "dracut writes it"),
    ("budget", "the larger initramfs is in no budget"),
    ("bootloader", "the bootloader loads dracut's initramfs"),
    ("qemu", "dracut's initramfs boots there"),
];

impl Validator {
    /// What only goes with mode `service`, or not with it.
    pub(super) fn service(&mut self, mode: Mode, slots: &[Slot], overlay: Option<&Overlay>) {
        let is_service = mode == Mode::Service;
        if is_service {
            for (key, who) in OTHERS {
                let is_own = self.document.root.find(key).is_some_and(|_| self.document.place(key).file == 0);
                if is_own || (self.document.root.find(key).is_some() && !OF_PARENTS.contains(&key)) {
                    self.problem(key, format!("not with mode = \"service\", where {who}, expected no such key"));
                }
            }
        }
        for (index, slot) in slots.iter().enumerate() {
            if let (true, Some(word)) = (is_service, not_served(&slot.source)) {
                let text = format!("found {word:?} with mode = \"service\", expected partition or file");
                self.problem(&format!("slot.{index}.source"), text);
            }
            if let Some(wanted) = slot.source.device() {
                self.mapped(&format!("slot.{index}"), is_service, wanted);
            }
        }
        if let Some(Overlay::Partition(holder)) = overlay {
            self.mapped("overlay", is_service, &holder.device);
        }
    }

    fn mapped(&mut self, path: &str, is_service: bool, wanted: &Wanted) {
        let hint = wanted.hint.as_deref().filter(|name| name.starts_with("mapper/"));
        if hint.is_some() {
            let text = "expected a kernel name: what /dev/mapper has is found by path, label or uuid";
            self.problem(&format!("{path}.hint"), text);
        }
        let Device::Path(name) = &wanted.device else { return };
        let is_mapped = name.starts_with("mapper/");
        if is_mapped && !is_service {
            let text = format!("found /dev/{name}, which nobody makes before the image, expected mode = \"service\"");
            self.problem(&format!("{path}.path"), text);
        } else if is_service && !is_mapped && name.contains('/') {
            let text = format!("found /dev/{name}, a link of udev or LVM, expected /dev/mapper/NAME or a kernel name");
            self.problem(&format!("{path}.path"), text);
        }
    }
}

/// The word of a source that a service has no use for.
const fn not_served(source: &Source) -> Option<&'static str> {
    use crate::board::FilePath;
    match source {
        Source::Partition(_) | Source::File { path: FilePath::At(_), .. } => None,
        Source::File { path: FilePath::Ostree, .. } => Some("ostree"),
        Source::Memory { .. } => Some("memory"),
        Source::Initramfs => Some("initramfs"),
    }
}
