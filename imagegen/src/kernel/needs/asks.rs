//! What a board asks of its kernel, in questions that the table of options has for it.

use crate::board::{
    Architecture, Board, Compression, Device, FileSystem, Method, Mode, Overlay, Source, Transport, Wanted,
};

pub(super) fn all(_: &Board) -> bool {
    true
}

/// Whether a larger initramfs with systemd does what bootstrap does elsewhere.
pub(super) fn service(board: &Board) -> bool {
    board.mode == Mode::Service
}

/// Whether bootstrap is PID 1.
pub(super) fn first(board: &Board) -> bool {
    !service(board)
}

pub(super) fn armv7(board: &Board) -> bool {
    board.architecture == Architecture::Armv7
}

pub(super) fn arm64(board: &Board) -> bool {
    board.architecture == Architecture::Aarch64
}

pub(super) fn x86(board: &Board) -> bool {
    board.architecture == Architecture::X86_64
}

pub(super) fn real(board: &Board) -> bool {
    board.hardware.is_some()
}

pub(super) fn packed(board: &Board, compression: Compression) -> bool {
    first(board) && board.initramfs == compression
}

/// Devices of disks, which memory is not.
fn devices(board: &Board) -> impl Iterator<Item = &Wanted> {
    let slots = board.slots.iter().filter(|slot| !matches!(slot.source, Source::Memory { .. }));
    let upper = match &board.overlay {
        Overlay::Partition(holder) => Some(&holder.device),
        Overlay::Memory { .. } => None,
    };
    slots.filter_map(|slot| slot.source.device()).chain(upper)
}

pub(super) fn waits(board: &Board) -> bool {
    memory(board) || devices(board).next().is_some()
}

pub(super) fn gpt(board: &Board) -> bool {
    devices(board).any(|wanted| matches!(wanted.device, Device::PartName(_) | Device::PartUuid(_)))
}

pub(super) fn mbr(board: &Board) -> bool {
    devices(board).any(|wanted| matches!(wanted.device, Device::MbrPartUuid(..)))
}

/// A device that may lie in a table of either kind.
pub(super) fn partitioned(board: &Board) -> bool {
    devices(board).any(|wanted| match wanted.device {
        Device::Label(_) | Device::Uuid(_) => true,
        Device::Path(_) => !is_volume(&wanted.device),
        Device::PartName(_) | Device::PartUuid(_) | Device::MbrPartUuid(..) => false,
    })
}

/// Whether a device is one that device-mapper has put together.
pub(in crate::kernel) fn is_volume(device: &Device) -> bool {
    matches!(device, Device::Path(name) if name.starts_with("mapper/"))
}

pub(in crate::kernel) fn on_volume(board: &Board) -> bool {
    devices(board).any(|wanted| is_volume(&wanted.device))
}

/// Whether something lies on a disk of this kind: by what the device is called, else on the machine's first.
pub(super) fn on(board: &Board, kind: &str) -> bool {
    // `sda`, but not `sd1`; `mmcblk0`.
    let follows = |next: char| if kind == "sd" { next.is_ascii_lowercase() } else { next.is_ascii_digit() };
    let is_kind = |name: &str| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(follows));
    let first = board.hardware.as_ref().and_then(|hardware| hardware.storage.first());
    devices(board).any(|wanted| match (&wanted.device, &wanted.hint) {
        (Device::Path(name), _) | (_, Some(name)) => is_kind(name),
        (_, None) => first.is_some_and(|disk| is_kind(&disk.device)),
    })
}

pub(super) fn virtio(board: &Board) -> bool {
    board.qemu.is_some() && devices(board).next().is_some()
}

pub(super) fn virtio_pci(board: &Board) -> bool {
    virtio(board) && board.qemu.as_ref().is_some_and(|qemu| qemu.transport == Transport::Pci)
}

pub(super) fn virtio_mmio(board: &Board) -> bool {
    virtio(board) && board.qemu.as_ref().is_some_and(|qemu| qemu.transport == Transport::Mmio)
}

/// Whether QEMU's console is one of these terminals.
pub(super) fn console(board: &Board, kind: &str) -> bool {
    let rest = board.qemu.as_ref().and_then(|qemu| qemu.console.strip_prefix(kind));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

pub(super) fn memory(board: &Board) -> bool {
    board.slots.iter().any(|slot| matches!(slot.source, Source::Memory { .. }))
}

pub(super) fn file(board: &Board) -> bool {
    board.slots.iter().any(|slot| matches!(slot.source, Source::File { .. }))
}

pub(super) fn in_initramfs(board: &Board) -> bool {
    board.slots.iter().any(|slot| slot.source == Source::Initramfs)
}

/// Whether an image is read through dm-verity.
pub(super) fn mapped(board: &Board) -> bool {
    board.slots.iter().any(|slot| board.verity.maps(&slot.source))
}

pub(super) fn signed(board: &Board) -> bool {
    mapped(board) && matches!(board.verity.method, Method::Signature { .. })
}

pub(super) fn corrected(board: &Board) -> bool {
    mapped(board) && board.verity.fec_roots != 0
}

/// Whether a file system of this kind holds an image, or what is written.
pub(super) fn holds(board: &Board, kind: FileSystem) -> bool {
    let image =
        board.slots.iter().any(|slot| matches!(&slot.source, Source::File { holder, .. } if holder.kind == kind));
    image || matches!(&board.overlay, Overlay::Partition(holder) if holder.kind == kind)
}

pub(super) fn kept_on_f2fs(board: &Board) -> bool {
    matches!(&board.overlay, Overlay::Partition(holder) if holder.kind == FileSystem::F2fs)
}
