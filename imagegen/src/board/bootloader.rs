//! What a board's bootloader takes: the files a build makes for it, where they go in memory, and how large they may be.

/// What the bootloader takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootloader {
    /// What a build makes, each once.
    pub emit: Vec<Emit>,
    /// The board's device tree, as a path below the folder of a kernel's device trees.
    pub dtb: Option<String>,
    /// Physical address the kernel is loaded to.
    pub kernel_address: Option<u64>,
    /// Physical address the mini-initramfs is loaded to.
    pub initramfs_address: Option<u64>,
    /// Physical address the device tree is loaded to.
    pub dtb_address: Option<u64>,
    /// Kernel arguments, one space between them; may be empty. No quotes, and nothing that a boot script would expand.
    pub command_line: String,
    /// Largest boot file in bytes.
    pub limit: Option<u64>,
}

/// What a build makes for a bootloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    /// U-Boot's image of kernel, initramfs and device tree, with hashes.
    Fit,
    /// `extlinux.conf`, which U-Boot reads.
    Extlinux,
    /// `boot.scr`, which U-Boot runs.
    Script,
    /// An EFI program of kernel, initramfs and command line.
    Uki,
    /// GRUB's menu.
    Grub,
    /// An entry by the Boot Loader Specification, for systemd-boot and others.
    Bls,
    /// Android's boot and vendor_boot partitions, version 4.
    Android,
}

impl Emit {
    /// As written in a board file.
    pub const fn name(self) -> &'static str {
        match self {
            Emit::Fit => "fit",
            Emit::Extlinux => "extlinux",
            Emit::Script => "script",
            Emit::Uki => "uki",
            Emit::Grub => "grub",
            Emit::Bls => "bls",
            Emit::Android => "android",
        }
    }
}
