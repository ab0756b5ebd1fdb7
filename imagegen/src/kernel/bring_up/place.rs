//! Where a bootloader looks for what a build made, and the partition that a slot wants: what nothing makes but whoever sets up the disk.

use super::super::needs::asks::is_volume;
use crate::board::{Architecture, Board, Device, Emit};
use crate::bootloader as names;
use crate::manifest::{EROFS, INITRAMFS, KERNEL, RESCUE};

/// Where the files of a format go, and who reads them there.
pub(super) fn goes(format: Emit, board: &Board) -> String {
    let tree = board.bootloader.dtb.as_ref().map(|_| format!(", {}", names::DTB)).unwrap_or_default();
    let rest = format!("{KERNEL}, {INITRAMFS}{tree}");
    let program = match board.architecture {
        Architecture::Aarch64 => "BOOTAA64.EFI",
        Architecture::Armv7 => "BOOTARM.EFI",
        Architecture::X86_64 => "BOOTX64.EFI",
    };
    match format {
        Emit::Fit => format!(
            "{} to where U-Boot loads from, for its bootcmd: load mmc 0:1 ${{ramdisk_addr_r}} {} && bootm ${{ramdisk_addr_r}}",
            names::FIT,
            names::FIT
        ),
        Emit::Extlinux => {
            format!("{} to /extlinux/{}; {rest} to / of that partition; U-Boot", names::EXTLINUX, names::EXTLINUX)
        }
        Emit::Script => format!("{} to / or /boot; {rest} beside it; U-Boot", names::SCRIPT),
        Emit::Uki => format!("{} to /EFI/BOOT/{program} of the EFI partition; the firmware", names::UKI),
        Emit::Grub => format!("{} to where GRUB looks, Debian's /EFI/debian; {rest} to /; GRUB", names::GRUB),
        Emit::Bls => format!("{} to /loader/entries/NAME.conf; {rest} to /; systemd-boot", names::BLS),
        Emit::Android => format!("{} and {} to the partitions boot and vendor_boot", names::BOOT, names::VENDOR_BOOT),
    }
}

/// What makes the partition that is known as `device`: none for one that a board's disk has anyhow.
pub(super) fn partition(board: &Board, device: &Device, is_rescue: bool) -> Vec<String> {
    // The disk of a board that is QEMU's alone is made by `build`.
    if board.hardware.is_none() && board.qemu.is_some() {
        return Vec::new();
    }
    let image = if is_rescue { RESCUE } else { EROFS };
    let size = format!("at least as large as {}/{image}, twice that has room for the next", super::folder(board));
    let disk = board.hardware.as_ref().and_then(|hardware| hardware.storage.first());
    let disk = disk.map_or("DISK", |disk| disk.device.as_str());
    match device {
        Device::PartName(name) => vec![
            format!("# once, unless it is there: a GPT partition named {name}, {size}"),
            format!("sgdisk --new=0:0:+SIZE --change-name='0:{}' /dev/{disk}", name.replace('\'', "'\\''")),
        ],
        Device::PartUuid(_) => vec![
            format!("# once, unless it is there: a GPT partition with this GUID, {size}"),
            format!(
                "sgdisk --new=0:0:+SIZE --partition-guid=0:{} /dev/{disk}",
                device.to_string().trim_start_matches("PARTUUID=")
            ),
        ],
        _ if is_volume(device) => vec![format!("# once, unless it is there: that volume (lvcreate), {size}")],
        _ => vec![format!("# once, unless it is there: that partition, {size}")],
    }
}
