//! What a bootloader takes: the table `[bootloader]`, and what its formats ask of architecture, addresses and slots.

use super::Validator;
use crate::board::{Architecture, Bootloader, Emit, Slot, Source, raw};

impl Validator {
    pub(super) fn bootloader(
        &mut self,
        raw: raw::Bootloader,
        architecture: Option<Architecture>,
        slots: Option<&[Slot]>,
    ) -> Bootloader {
        let mut emit = Vec::new();
        for (index, format) in raw.emit.unwrap_or_default().into_iter().map(format).enumerate() {
            if emit.contains(&format) {
                let text = format!("{:?} is there twice, expected each once", format.name());
                self.problem(&format!("bootloader.emit.{index}"), text);
            } else {
                emit.push(format);
            }
        }
        let board = Bootloader {
            emit,
            dtb: raw.dtb.map(|path| path.0),
            kernel_address: raw.kernel_address.map(|address| address.0),
            initramfs_address: raw.initramfs_address.map(|address| address.0),
            dtb_address: raw.dtb_address.map(|address| address.0),
            command_line: raw.command_line.map(|line| line.0).unwrap_or_default(),
            limit: raw.limit.map(|size| size.0),
        };
        if board.limit == Some(0) {
            self.problem("bootloader.limit", "found 0 bytes, expected the size of a boot file, as in \"64MiB\"");
        }
        self.formats(&board, architecture);
        self.placed_in_memory(&board, slots.unwrap_or_default());
        board
    }

    /// What formats ask for.
    fn formats(&mut self, board: &Bootloader, architecture: Option<Architecture>) {
        if architecture == Some(Architecture::X86_64) {
            let is_for_arm = |format: &&Emit| matches!(format, Emit::Fit | Emit::Script | Emit::Android);
            if let Some(format) = board.emit.iter().find(is_for_arm) {
                let text = format!("found {:?} for x86_64, expected extlinux, uki, grub or bls", format.name());
                self.problem("bootloader.emit", text);
            }
            if board.dtb.is_some() {
                self.problem("bootloader.dtb", "not with architecture = \"x86_64\", expected no such key");
            }
        }
        let addresses = [
            ("kernel-address", board.kernel_address, [Emit::Fit, Emit::Android].as_slice()),
            ("initramfs-address", board.initramfs_address, &[Emit::Android]),
            ("dtb-address", board.dtb_address, &[Emit::Android]),
        ];
        for (key, address, formats) in addresses {
            let key = format!("bootloader.{key}");
            let Some(format) = formats.iter().find(|format| board.emit.contains(format)) else { continue };
            let expected = format!("an address for emit = {:?}, as in \"0x80080000\"", format.name());
            self.required(&key, address, &expected);
            // Android's header and a FIT of `#address-cells = <1>` have 32 bits.
            if let Some(address) = address.filter(|address| u32::try_from(*address).is_err()) {
                let text = format!("found {address:#x}, expected below 0x100000000 for emit = {:?}", format.name());
                self.problem(&key, text);
            }
        }
    }

    /// Only a script can put an image into memory and tell the device tree of it.
    fn placed_in_memory(&mut self, board: &Bootloader, slots: &[Slot]) {
        let slot = slots.iter().find(|slot| matches!(slot.source, Source::Memory { .. }));
        let format = board.emit.iter().find(|format| **format != Emit::Script);
        if let (Some(slot), Some(format)) = (slot, format) {
            let found = format.name();
            let text =
                format!("found {found:?}, which puts no image of slot {} into memory, expected script", slot.name);
            self.problem("bootloader.emit", text);
        }
    }
}

const fn format(raw: raw::Emit) -> Emit {
    match raw {
        raw::Emit::Fit => Emit::Fit,
        raw::Emit::Extlinux => Emit::Extlinux,
        raw::Emit::Script => Emit::Script,
        raw::Emit::Uki => Emit::Uki,
        raw::Emit::Grub => Emit::Grub,
        raw::Emit::Bls => Emit::Bls,
        raw::Emit::Android => Emit::Android,
    }
}
