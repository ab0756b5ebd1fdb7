//! What bootloaders read as text: U-Boot's menu and script, GRUB's menu, and the entry of the Boot Loader Specification. Files lie in the
//! root of the boot partition; nothing here lets anybody at the console edit the kernel command line.

use super::DTB;
use crate::board::{Architecture, Board};
use crate::manifest::{INITRAMFS, KERNEL};

/// `extlinux.conf`, which goes into the folder `extlinux` (U-Boot: doc/develop/distro.rst).
pub(super) fn extlinux(board: &Board, has_dtb: bool) -> String {
    let mut text = format!(
        "default initoverlayfs\n\nlabel initoverlayfs\n\tmenu label {}\n\tlinux /{KERNEL}\n\tinitrd /{INITRAMFS}\n",
        board.name
    );
    if has_dtb {
        text += &format!("\tfdt /{DTB}\n");
    }
    text + &with("\tappend ", &board.bootloader.command_line)
}

/// A line, unless there is nothing to say.
fn with(start: &str, line: &str) -> String {
    if line.is_empty() { String::new() } else { format!("{start}{line}\n") }
}

/// `boot.cmd`, which mkimage makes U-Boot's script of. `placing` are the commands that put an image into memory, if there are any.
///
/// The variables are those of U-Boot's distro boot and of its bootmeth `script` (doc/develop/bootstd/script.rst).
pub(super) fn script(board: &Board, has_dtb: bool, placing: &str) -> String {
    let take = &board.bootloader;
    let at = |address: Option<u64>, variable: &str| address.map_or(format!("${{{variable}}}"), |at| format!("{at:#x}"));
    let (kernel, initramfs) = (at(take.kernel_address, "kernel_addr_r"), at(take.initramfs_address, "ramdisk_addr_r"));
    let load = |address: &str, file: &str| {
        format!("load ${{devtype}} ${{devnum}}:${{distro_bootpart}} {address} ${{prefix}}{file}")
    };
    let mut text =
        format!("# Boots {}. What cannot be loaded is not booted: the script ends, and U-Boot goes on.\n", board.name);
    text += &format!("setenv bootargs \"{}\"\n", take.command_line);
    let mut loads = vec![load(&kernel, KERNEL)];
    if has_dtb {
        let dtb = at(take.dtb_address, "fdt_addr_r");
        text += &format!("setenv fdt_addr_r {dtb}\n");
        loads.push(load(&dtb, DTB));
    } else {
        // The tree that came with U-Boot: from the firmware before it, else its own.
        text += "if test -n \"${fdt_addr}\"; then setenv fdt_addr_r ${fdt_addr}; else setenv fdt_addr_r ${fdtcontroladdr}; fi\n";
    }
    loads.push(load(&initramfs, INITRAMFS));
    let command = if board.architecture == Architecture::Aarch64 { "booti" } else { "bootz" };
    text += &format!("if {}; then\n", loads.join(" && "));
    for line in placing.lines().filter(|line| !line.starts_with('#')) {
        text += &format!("\t{line}\n");
    }
    text + &format!("\t{command} {kernel} {initramfs}:${{filesize}} ${{fdt_addr_r}}\nfi\n")
}

/// `grub.cfg`. Without a superuser nobody may edit an entry or have a command line (GRUB's manual, Security).
pub(super) fn grub(board: &Board, has_dtb: bool) -> String {
    let words = board.bootloader.command_line.split(' ').filter(|word| !word.is_empty());
    let words: String = words.map(|word| format!(" '{word}'")).collect();
    let mut text = format!(
        "set default=0\nset timeout=0\nset superusers=\"\"\nexport superusers\n\nmenuentry '{}' --unrestricted {{\n\
         \tlinux /{KERNEL}{words}\n\tinitrd /{INITRAMFS}\n",
        board.name
    );
    if has_dtb {
        text += &format!("\tdevicetree /{DTB}\n");
    }
    text + "}\n"
}

/// The entry, which goes into the folder `loader/entries` (uapi-group.org, Boot Loader Specification).
pub(super) fn bls(board: &Board, has_dtb: bool) -> String {
    let mut text = format!("title    {}\nlinux    /{KERNEL}\ninitrd   /{INITRAMFS}\n", board.name);
    if has_dtb {
        text += &format!("devicetree /{DTB}\n");
    }
    text + &with("options  ", &board.bootloader.command_line)
}
