//! The table of options. Names and files are those of Linux 6.12.117; rows that other versions do not have, or have under another
//! name, say so (`since`, `until`), read in the configurations of Debian's 6.1.176 and 7.2.13.

use super::asks::{
    all, arm64, armv7, console, corrected, file, first, gpt, holds, in_initramfs, kept_on_f2fs, mapped, mbr, memory,
    on, on_volume, packed, partitioned, real, service, signed, virtio, virtio_mmio, virtio_pci, waits, x86,
};
use super::{Choice, Level, Need};
use crate::board::{Board, Compression, FileSystem, ImageCompression, Method, Overlay};

/// An option as the table has it.
#[derive(Clone, Copy)]
pub(super) struct Known {
    option: &'static str,
    module: Option<&'static str>,
    kconfig: &'static str,
    since: Option<(u32, u32)>,
    /// First kernel that does not have it any more.
    until: Option<(u32, u32)>,
}

/// A line of the table.
pub(super) struct Row {
    /// The boards it is for.
    pub(super) when: fn(&Board) -> bool,
    level: Level,
    choices: &'static [Known],
    why: &'static str,
}

impl Row {
    /// The need, unless kernels of this release have none of its options any more, or not yet one that would only help.
    pub(super) fn need(&self, release: Option<(u32, u32)>) -> Option<Need> {
        let has = |known: &&Known| !matches!((known.until, release), (Some(until), Some(release)) if release >= until);
        let choices: Vec<_> = self.choices.iter().filter(has).map(Known::choice).collect();
        let is_early =
            |choice: &Choice| matches!((choice.since, release), (Some(since), Some(release)) if release < since);
        let only_later = self.level == Level::Advised && choices.iter().all(is_early);
        (!choices.is_empty() && !only_later).then(|| Need { choices, why: self.why.to_owned(), level: self.level })
    }
}

impl Known {
    fn choice(&self) -> Choice {
        Choice {
            option: self.option.to_owned(),
            module: self.module.map(str::to_owned),
            kconfig: Some(self.kconfig),
            since: self.since,
        }
    }

    const fn since(self, major: u32, minor: u32) -> Self {
        Known { since: Some((major, minor)), ..self }
    }

    const fn until(self, major: u32, minor: u32) -> Self {
        Known { until: Some((major, minor)), ..self }
    }
}

/// An option that is built in or off.
const fn yes(option: &'static str, kconfig: &'static str) -> Known {
    Known { option, module: None, kconfig, since: None, until: None }
}

/// An option that can be a module of this name.
const fn module(option: &'static str, module: &'static str, kconfig: &'static str) -> Known {
    Known { option, module: Some(module), kconfig, since: None, until: None }
}

const fn required(when: fn(&Board) -> bool, choices: &'static [Known], why: &'static str) -> Row {
    Row { when, level: Level::Required, choices, why }
}

const fn advised(when: fn(&Board) -> bool, choices: &'static [Known], why: &'static str) -> Row {
    Row { when, level: Level::Advised, choices, why }
}

const SERIAL: &str = "drivers/tty/serial/Kconfig";
const SERIAL_8250: &str = "drivers/tty/serial/8250/Kconfig";
const PMEM: &str = "drivers/nvdimm/Kconfig";
const EROFS: &str = "fs/erofs/Kconfig";
const MAPPER: &str = "drivers/md/Kconfig";
const SYSTEMD: &str = "systemd in dracut's initramfs";

pub(super) const TABLE: &[Row] = &[
    // What starts bootstrap.
    required(first, &[yes("BLK_DEV_INITRD", "init/Kconfig")], "the mini-initramfs"),
    required(service, &[yes("BLK_DEV_INITRD", "init/Kconfig")], "dracut's initramfs"),
    required(|board| packed(board, Compression::Gzip), &[yes("RD_GZIP", "usr/Kconfig")], "initramfs.compression"),
    required(|board| packed(board, Compression::Zstd), &[yes("RD_ZSTD", "usr/Kconfig")], "initramfs.compression"),
    required(|board| packed(board, Compression::Lz4), &[yes("RD_LZ4", "usr/Kconfig")], "initramfs.compression"),
    required(|board| packed(board, Compression::Xz), &[yes("RD_XZ", "usr/Kconfig")], "initramfs.compression"),
    required(all, &[yes("BINFMT_ELF", "fs/Kconfig.binfmt")], "bootstrap is an ELF program"),
    required(armv7, &[yes("AEABI", "arch/arm/Kconfig")], "bootstrap's system calls are EABI's"),
    required(armv7, &[yes("VFP", "arch/arm/Kconfig")], "programs for hard float"),
    advised(all, &[module("BINFMT_SCRIPT", "binfmt_script", "fs/Kconfig.binfmt")], "a next init that is a script"),
    // Step early-mounts.
    required(first, &[yes("DEVTMPFS", "drivers/base/Kconfig")], "step early-mounts: /dev"),
    required(first, &[yes("PROC_FS", "fs/proc/Kconfig")], "step early-mounts: /proc"),
    required(first, &[yes("SYSFS", "fs/sysfs/Kconfig")], "step early-mounts: /sys, in which devices are found"),
    required(first, &[yes("TMPFS", "fs/Kconfig")], "step early-mounts: /run; the overlay's writable layer in RAM"),
    // What systemd's README asks for, in whose initramfs the service runs.
    required(service, &[yes("DEVTMPFS", "drivers/base/Kconfig")], SYSTEMD),
    required(service, &[yes("PROC_FS", "fs/proc/Kconfig")], SYSTEMD),
    required(service, &[yes("SYSFS", "fs/sysfs/Kconfig")], "systemd and udev; step device: devices are found there"),
    required(service, &[yes("TMPFS", "fs/Kconfig")], "systemd's /run; the overlay's writable layer in RAM"),
    required(service, &[yes("CGROUPS", "init/Kconfig")], SYSTEMD),
    required(service, &[yes("INOTIFY_USER", "fs/notify/inotify/Kconfig")], SYSTEMD),
    required(service, &[yes("SIGNALFD", "init/Kconfig")], SYSTEMD),
    required(service, &[yes("TIMERFD", "init/Kconfig")], SYSTEMD),
    required(service, &[yes("EPOLL", "init/Kconfig")], SYSTEMD),
    required(service, &[yes("UNIX", "net/unix/Kconfig")], SYSTEMD),
    required(service, &[yes("FHANDLE", "init/Kconfig")], SYSTEMD),
    advised(all, &[yes("PRINTK", "init/Kconfig")], "the kernel log has every step, and why a boot failed"),
    advised(
        all,
        &[yes("PRINTK_TIME", "lib/Kconfig.debug")],
        "times in the kernel log, the axis of `imagegen measure --serial`",
    ),
    // Step device.
    required(waits, &[yes("NET", "net/Kconfig")], "step device: kernel events, of disks that appear late"),
    required(all, &[yes("BLOCK", "block/Kconfig")], "block devices"),
    required(gpt, &[yes("EFI_PARTITION", "block/partitions/Kconfig")], "partitions of a GPT"),
    required(mbr, &[yes("MSDOS_PARTITION", "block/partitions/Kconfig")], "partitions of an MBR"),
    required(
        partitioned,
        &[yes("EFI_PARTITION", "block/partitions/Kconfig"), yes("MSDOS_PARTITION", "block/partitions/Kconfig")],
        "partitions of a disk",
    ),
    required(|board| on(board, "mmcblk"), &[module("MMC", "mmc_core", "drivers/mmc/Kconfig")], "eMMC and SD cards"),
    required(
        |board| on(board, "mmcblk"),
        &[module("MMC_BLOCK", "mmc_block", "drivers/mmc/core/Kconfig")],
        "eMMC and SD cards as disks",
    ),
    required(
        |board| on(board, "sd"),
        &[module("SCSI", "scsi_mod", "drivers/scsi/Kconfig")],
        "SCSI, as which UFS, SATA and USB show their disks",
    ),
    required(|board| on(board, "sd"), &[module("BLK_DEV_SD", "sd_mod", "drivers/scsi/Kconfig")], "SCSI disks"),
    required(|board| on(board, "nvme"), &[module("BLK_DEV_NVME", "nvme", "drivers/nvme/host/Kconfig")], "NVMe disks"),
    required(virtio_pci, &[yes("PCI", "drivers/pci/Kconfig")], "QEMU's virtio on PCI"),
    required(
        |board| virtio_pci(board) && !x86(board),
        &[module("PCI_HOST_GENERIC", "pci_host_generic", "drivers/pci/controller/Kconfig")],
        "the PCI bus of QEMU's virt",
    ),
    required(virtio_pci, &[module("VIRTIO_PCI", "virtio_pci", "drivers/virtio/Kconfig")], "QEMU's virtio on PCI"),
    required(virtio_mmio, &[module("VIRTIO_MMIO", "virtio_mmio", "drivers/virtio/Kconfig")], "QEMU's virtio in memory"),
    required(virtio, &[module("VIRTIO_BLK", "virtio_blk", "drivers/block/Kconfig")], "QEMU's disk"),
    required(|board| console(board, "ttyAMA"), &[yes("SERIAL_AMBA_PL011", SERIAL)], "QEMU's console"),
    required(|board| console(board, "ttyAMA"), &[yes("SERIAL_AMBA_PL011_CONSOLE", SERIAL)], "QEMU's console"),
    required(|board| console(board, "ttyS"), &[yes("SERIAL_8250", SERIAL_8250)], "QEMU's console"),
    required(|board| console(board, "ttyS"), &[yes("SERIAL_8250_CONSOLE", SERIAL_8250)], "QEMU's console"),
    // An image in memory.
    required(
        |board| memory(board) && armv7(board),
        &[yes("ARM_LPAE", "arch/arm/mm/Kconfig")],
        "source memory: 64-bit physical addresses, which libnvdimm wants",
    ),
    required(memory, &[module("LIBNVDIMM", "libnvdimm", PMEM)], "source memory"),
    required(memory, &[module("BLK_DEV_PMEM", "nd_pmem", PMEM)], "source memory: the device"),
    required(memory, &[module("OF_PMEM", "of_pmem", PMEM)], "source memory: the region in the device tree"),
    advised(
        memory,
        &[yes("FS_DAX", "fs/Kconfig")],
        "source memory without a copy; without it the image is read as a disk is",
    ),
    advised(
        |board| memory(board) && arm64(board),
        &[yes("ARM64_PMEM", "arch/arm64/Kconfig")],
        "source memory without a copy: pages to map",
    ),
    // What udev's initramfs puts together.
    required(on_volume, &[module("BLK_DEV_DM", "dm_mod", MAPPER)], "a volume: device-mapper, which LVM and LUKS are"),
    advised(on_volume, &[module("DM_CRYPT", "dm_crypt", MAPPER)], "a volume that is LUKS, or lies in it"),
    // Step verity.
    required(mapped, &[module("BLK_DEV_DM", "dm_mod", MAPPER)], "verity.method: device-mapper"),
    required(mapped, &[module("DM_VERITY", "dm_verity", MAPPER)], "verity.method: dm-verity"),
    required(mapped, &[module("CRYPTO_SHA256", "sha256", "crypto/Kconfig")], "verity.method: the hash"),
    advised(
        |board| mapped(board) && arm64(board),
        &[module("CRYPTO_SHA2_ARM64_CE", "sha2_ce", "arch/arm64/crypto/Kconfig").until(6, 16)],
        "verity.method: the processor's SHA-256, several times faster",
    ),
    advised(
        |board| mapped(board) && armv7(board),
        &[module("CRYPTO_SHA256_ARM", "sha256_arm", "arch/arm/crypto/Kconfig").until(6, 16)],
        "verity.method: SHA-256 with NEON",
    ),
    advised(
        |board| mapped(board) && x86(board),
        &[module("CRYPTO_SHA256_SSSE3", "sha256_ssse3", "arch/x86/crypto/Kconfig").until(6, 16)],
        "verity.method: the processor's SHA-256, several times faster",
    ),
    required(signed, &[yes("DM_VERITY_VERIFY_ROOTHASH_SIG", MAPPER)], "verity.method signature"),
    required(
        signed,
        &[
            yes("SYSTEM_TRUSTED_KEYS", "certs/Kconfig"),
            yes("DM_VERITY_VERIFY_ROOTHASH_SIG_SECONDARY_KEYRING", MAPPER),
            yes("DM_VERITY_VERIFY_ROOTHASH_SIG_PLATFORM_KEYRING", MAPPER).since(6, 12),
        ],
        "verity.method signature: the images' certificate, in a file of this name, or in a keyring that the firmware fills",
    ),
    required(corrected, &[yes("DM_VERITY_FEC", MAPPER)], "verity.fec-roots"),
    required(
        |board| board.verity.method == Method::FsVerity,
        &[yes("FS_VERITY", "fs/verity/Kconfig")],
        "verity.method fs-verity",
    ),
    // Step mount.
    required(
        |board| holds(board, FileSystem::Ext4),
        &[module("EXT4_FS", "ext4", "fs/ext4/Kconfig")],
        "ext4, which holds something",
    ),
    required(
        |board| holds(board, FileSystem::Vfat),
        &[module("VFAT_FS", "vfat", "fs/fat/Kconfig")],
        "vfat, which holds the image",
    ),
    required(
        |board| holds(board, FileSystem::F2fs),
        &[module("F2FS_FS", "f2fs", "fs/f2fs/Kconfig")],
        "f2fs, which holds something",
    ),
    // Asked for by name, so that no module needs it (fs/f2fs/super.c); a library since 6.15.
    required(
        |board| holds(board, FileSystem::F2fs),
        &[module("CRYPTO_CRC32", "crc32_generic", "crypto/Kconfig").until(6, 15)],
        "f2fs' checksum",
    ),
    required(
        |board| holds(board, FileSystem::Xfs),
        &[module("XFS_FS", "xfs", "fs/xfs/Kconfig")],
        "xfs, which holds the image",
    ),
    required(
        |board| holds(board, FileSystem::Btrfs),
        &[module("BTRFS_FS", "btrfs", "fs/btrfs/Kconfig")],
        "btrfs, which holds the image",
    ),
    required(
        file,
        // Direct I/O came with 6.15, and without it bootstrap takes a loop device.
        &[module("BLK_DEV_LOOP", "loop", "drivers/block/Kconfig"), yes("EROFS_FS_BACKED_BY_FILE", EROFS).since(6, 15)],
        "an image that is a file",
    ),
    // Rootfs is a tmpfs, of which EROFS mounts no file.
    required(
        in_initramfs,
        &[module("BLK_DEV_LOOP", "loop", "drivers/block/Kconfig")],
        "source initramfs: an image that is a file in tmpfs",
    ),
    advised(
        file,
        &[yes("EROFS_FS_BACKED_BY_FILE", EROFS).since(6, 15)],
        "an image that is a file, without a loop device",
    ),
    required(all, &[module("EROFS_FS", "erofs", EROFS)], "step mount: the image"),
    advised(all, &[yes("EROFS_FS_XATTR", EROFS)], "the image's capabilities, ACLs and labels"),
    advised(all, &[yes("EROFS_FS_SECURITY", EROFS)], "the image's capabilities and labels"),
    advised(all, &[yes("EROFS_FS_POSIX_ACL", EROFS)], "the image's ACLs"),
    required(
        |board| board.image.compression != ImageCompression::None,
        &[yes("EROFS_FS_ZIP", EROFS)],
        "image.compression",
    ),
    required(
        |board| matches!(board.image.compression, ImageCompression::Lzma(_)),
        &[yes("EROFS_FS_ZIP_LZMA", EROFS).since(5, 16)],
        "image.compression lzma",
    ),
    required(
        |board| matches!(board.image.compression, ImageCompression::Deflate(_)),
        &[yes("EROFS_FS_ZIP_DEFLATE", EROFS).since(6, 6)],
        "image.compression deflate",
    ),
    required(
        |board| matches!(board.image.compression, ImageCompression::Zstd(_)),
        &[yes("EROFS_FS_ZIP_ZSTD", EROFS).since(6, 10)],
        "image.compression zstd",
    ),
    // Step overlay.
    required(all, &[module("OVERLAY_FS", "overlay", "fs/overlayfs/Kconfig")], "step overlay"),
    required(
        |board| matches!(board.overlay, Overlay::Memory { .. }),
        &[yes("TMPFS_XATTR", "fs/Kconfig")],
        "overlay: marks of replaced folders, in tmpfs",
    ),
    required(kept_on_f2fs, &[yes("F2FS_FS_XATTR", "fs/f2fs/Kconfig")], "overlay: marks of replaced folders, in f2fs"),
    // What goes wrong.
    required(
        |board| board.watchdog.is_some(),
        &[yes("WATCHDOG", "drivers/watchdog/Kconfig")],
        "[watchdog]; its driver must be built in or loaded too",
    ),
    advised(
        |board| board.watchdog.is_none(),
        &[yes("WATCHDOG_HANDLE_BOOT_ENABLED", "drivers/watchdog/Kconfig")],
        "a watchdog that the bootloader started is kept alive",
    ),
    advised(real, &[yes("PSTORE", "fs/pstore/Kconfig")], "why a boot failed, after the restart"),
    advised(
        real,
        &[module("PSTORE_RAM", "ramoops", "fs/pstore/Kconfig")],
        "why a boot failed, in RAM that a restart keeps (a node ramoops in the device tree)",
    ),
];
