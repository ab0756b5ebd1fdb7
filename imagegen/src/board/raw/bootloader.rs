//! The table `[bootloader]` as it is written.

use crate::board::value::{Address, CommandLine, DtbPath, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the board's bootloader takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Bootloader {
    /// What a build makes for it; needs build's --kernel.
    pub(crate) emit: Option<Vec<Emit>>,
    /// The board's device tree, as a path below the folder of a kernel's device trees.
    pub(crate) dtb: Option<DtbPath>,
    /// Where the kernel is loaded to (fit, android: required; script: default ${kernel_addr_r}).
    pub(crate) kernel_address: Option<Address>,
    /// Where the mini-initramfs is loaded to (android: required; script: default ${ramdisk_addr_r}).
    pub(crate) initramfs_address: Option<Address>,
    /// Where the device tree is loaded to (android: required; script: default ${fdt_addr_r}).
    pub(crate) dtb_address: Option<Address>,
    /// Kernel arguments, the console among them.
    pub(crate) command_line: Option<CommandLine>,
    /// Largest file that the bootloader or its partition takes; a build with a larger one fails.
    pub(crate) limit: Option<Size>,
}

/// What a build makes for a bootloader.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Emit {
    /// U-Boot's image of kernel, initramfs and device tree: image.itb.
    Fit,
    /// U-Boot's menu: extlinux.conf.
    Extlinux,
    /// U-Boot's script: boot.scr.
    Script,
    /// Unified kernel image, an EFI program: linux.efi.
    Uki,
    /// GRUB's menu: grub.cfg.
    Grub,
    /// Entry by the Boot Loader Specification: bls.conf.
    Bls,
    /// Android's boot.img and vendor_boot.img, version 4.
    Android,
}
