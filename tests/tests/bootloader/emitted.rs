//! Real bootloaders boot what `imagegen build` emits for them, each from a partition that has nothing but that.

use super::systemd_boot::{ARM64, Machine, X86_64};
use super::u_boot::U_BOOT;
use super::{Board, came_from, dump_tree};
use std::process::Command;
use tests::kernel::{checkout, get};
use tests::{Result, tool};

/// Where QEMU's machine has room, as its U-Boot has it.
const ADDRESSES: &str =
    "kernel-address = \"0x40400000\"\ninitramfs-address = \"0x44000000\"\ndtb-address = \"0x43f00000\"\n";
/// U-Boot has to be told to boot a FIT. Kernel arguments are in it.
const BOOT_FIT: &str =
    "load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} image.itb && bootm ${ramdisk_addr_r}\n";

/// Builds for a board that inherits `parent` and takes `keys`; what the build said.
fn build(board: &Board, parent: &str, keys: &str, options: &[&str]) -> Result<String> {
    let description = format!("inherit = \"{parent}\"\nname = \"emits\"\n[bootloader]\nlimit = \"128MiB\"\n{keys}");
    std::fs::write(board.path("board.toml"), description)?;
    let content = tool::guest(&board.kernel, board.folder.path())?;
    let at = board.path("board.toml");
    tool::build_with(&at.to_string_lossy(), &board.kernel, &content, &board.path("out"), options)
}

/// A boot partition with these files of the folder, each with the place it goes to; then the image.
fn disk(board: &Board, files: &[(&str, &str)]) -> Result<()> {
    let boot = board.vfat("boot", 192)?;
    let folders = ["::extlinux", "::EFI", "::EFI/BOOT", "::EFI/debian", "::loader", "::loader/entries"];
    board.run("mmd", &[&["-i", "boot"], &folders[..]].concat())?;
    for (from, to) in files {
        board.run("mcopy", &["-i", "boot", from, &format!("::{to}")])?;
    }
    board.disk(&[("boot", &boot), ("initoverlayfs", &board.path("out/initoverlayfs.erofs"))])
}

/// The image came from its partition, and its init ran.
fn boots(board: &Board, files: &[(&str, &str)]) {
    disk(board, files).unwrap();
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), "vda2", "{files:?}");
}

#[test]
fn u_boot_boots_a_fit_a_menu_and_a_script() {
    u_boot_boots("arm64-tuned", U_BOOT, "qemu-arm64");
}

#[test]
fn u_boot_boots_the_same_with_32_bits() {
    u_boot_boots("armv7-6.1", "/usr/lib/u-boot/qemu_arm/u-boot.bin", "qemu-armv7");
}

fn u_boot_boots(kernel: &str, u_boot: &str, parent: &str) {
    let mut board = Board::new(kernel).unwrap();
    board.add_flash(u_boot, false).unwrap();
    dump_tree(&board, "tree").unwrap();
    let line = "command-line = \"console=ttyAMA0 panic=-1\"\n";
    let keys = format!("emit = [\"fit\", \"extlinux\", \"script\"]\n{line}{ADDRESSES}");
    let tree = board.path("tree");
    let said = build(&board, parent, &keys, &["--dtb", &tree.to_string_lossy()]).unwrap();
    assert!(said.lines().any(|line| line.contains("/image.itb (") && line.ends_with(" % of 134217728)")), "{said}");
    std::fs::write(board.path("fit.cmd"), BOOT_FIT).unwrap();
    board.run("mkimage", &["-A", "arm", "-T", "script", "-d", "fit.cmd", "fit.scr"]).unwrap();
    boots(&board, &[("fit.scr", "boot.scr"), ("out/image.itb", "")]);
    let parts = [("out/kernel", ""), ("out/initramfs.img", ""), ("out/board.dtb", "")];
    boots(&board, &[&parts[..], &[("out/extlinux.conf", "extlinux/")]].concat());
    boots(&board, &[&parts[..], &[("out/boot.scr", "")]].concat());
}

/// U-Boot's own device tree holds the key, and demands it: what was signed with it boots, what nobody signed does not.
#[test]
fn u_boot_takes_a_signed_fit_and_no_other() {
    let mut board = Board::new("arm64-tuned").unwrap();
    board.add_flash(U_BOOT, false).unwrap();
    dump_tree(&board, "tree").unwrap();
    let subject = ["-subj", "/CN=kit", "-keyout", "kit.key", "-out", "kit.crt"];
    board.run("openssl", &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes"], &subject[..]].concat()).unwrap();
    let keys = format!("emit = [\"fit\"]\ncommand-line = \"console=ttyAMA0 panic=-1\"\n{ADDRESSES}");
    let (tree, key) = (board.path("tree"), board.path("kit.key"));
    let (tree, key) = (tree.to_string_lossy(), key.to_string_lossy());
    std::fs::write(board.path("fit.cmd"), BOOT_FIT).unwrap();
    board.run("mkimage", &["-A", "arm64", "-T", "script", "-d", "fit.cmd", "fit.scr"]).unwrap();
    let refused = "Failed to verify required signature";
    for is_signed in [true, false] {
        let options = ["--dtb", &tree, "--fit-key", &key];
        build(&board, "qemu-arm64", &keys, if is_signed { &options } else { &options[..2] }).unwrap();
        if is_signed {
            // As a board's maker puts the key into U-Boot.
            std::fs::copy(board.path("out/image.itb"), board.path("copy.itb")).unwrap();
            std::fs::copy(board.path("tree"), board.path("control")).unwrap();
            board.run("mkimage", &["-F", "-k", ".", "-K", "control", "-r", "copy.itb"]).unwrap();
        }
        disk(&board, &[("fit.scr", "boot.scr"), ("out/image.itb", "")]).unwrap();
        let mut boot = board.boot();
        boot.extra = vec!["-dtb".into(), board.path("control").into()];
        boot.until = Some(refused.to_owned());
        let outcome = boot.run().unwrap();
        if is_signed {
            assert_eq!(came_from(&outcome).unwrap(), "vda2");
            assert!(outcome.console.contains("sha256,rsa2048:kit+"), "{}", outcome.console);
        } else {
            assert!(
                outcome.console.contains(refused) && !outcome.console.contains("Linux version"),
                "{}",
                outcome.console
            );
        }
    }
}

/// The folder of a Debian package.
fn package(suite: &str, arch: &str, name: &str) -> Result<String> {
    let output = Command::new(checkout().join("tests/setup/debian.sh")).args([suite, arch, name]).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?.trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// Firmware starts a unified kernel image, GRUB and systemd-boot, each with what was emitted for it.
fn firmware_boots(machine: &Machine, parent: &str, console: &str, grub: &str) {
    let mut board = Board::new(machine.kernel).unwrap();
    for (image, writable) in machine.firmware.into_iter().zip([false, true]) {
        board.add_flash(image, writable).unwrap();
    }
    let keys = format!("emit = [\"uki\", \"grub\", \"bls\"]\ncommand-line = \"console={console} panic=-1\"\n");
    let loader = get(machine.loader).unwrap().image;
    let stub = loader.to_string_lossy().replace("efi/systemd-boot", "efi/linux") + ".stub";
    build(&board, parent, &keys, &["--stub", &stub]).unwrap();
    let program = format!("EFI/BOOT/{}", machine.name);
    boots(&board, &[("out/linux.efi", &program)]);
    let parts = [("out/kernel", ""), ("out/initramfs.img", "")];
    boots(&board, &[&parts[..], &[(grub, program.as_str()), ("out/grub.cfg", "EFI/debian/")]].concat());
    let loader = loader.to_string_lossy();
    boots(
        &board,
        &[&parts[..], &[(&*loader, program.as_str()), ("out/bls.conf", "loader/entries/emits.conf")]].concat(),
    );
}

#[test]
fn firmware_for_arm64_boots_a_uki_grub_and_an_entry() {
    let grub = package("bookworm", "arm64", "grub-efi-arm64-bin").unwrap();
    let grub = format!("{grub}/usr/lib/grub/arm64-efi/monolithic/grubaa64.efi");
    firmware_boots(&ARM64, "qemu-arm64", "ttyAMA0", &grub);
}

#[test]
fn a_pc_boots_a_uki_grub_and_an_entry() {
    let grub = package("bookworm", "amd64", "grub-efi-amd64-bin").unwrap();
    let grub = format!("{grub}/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi");
    firmware_boots(&X86_64, "qemu-x86_64", "ttyS0 no_timer_check", &grub);
}

/// No bootloader in Debian boots these: they are byte for byte what Android's own tool makes of the same, and its reader takes them.
#[test]
fn android_images_are_those_of_its_own_tool() {
    let mut board = Board::new("arm64-tuned").unwrap();
    board.add_flash(U_BOOT, false).unwrap();
    dump_tree(&board, "tree").unwrap();
    let keys = format!("emit = [\"android\"]\ncommand-line = \"console=ttyAMA0 panic=-1\"\n{ADDRESSES}");
    build(&board, "qemu-arm64", &keys, &["--dtb", &board.path("tree").to_string_lossy()]).unwrap();
    let tools = package("trixie", "arm64", "mkbootimg").unwrap() + "/usr/bin";
    let common = "--header_version 4 --pagesize 4096 --base 0 --kernel_offset 0x40400000 --ramdisk_offset 0x44000000 \
                  --dtb_offset 0x43f00000 --tags_offset 0x43f00000 --board emits";
    let boot = "--kernel out/kernel --ramdisk out/initramfs.img --output boot.ref";
    let vendor = "--dtb out/board.dtb --vendor_boot vendor_boot.ref";
    let line = ["--vendor_cmdline", "console=ttyAMA0 panic=-1"];
    let mkbootimg = format!("{tools}/mkbootimg");
    let words = |text: &'static str| text.split_whitespace();
    let made: Vec<&str> = [mkbootimg.as_str()].into_iter().chain(words(common)).chain(words(boot)).collect();
    board.run("python3", &made).unwrap();
    let made: Vec<&str> =
        [mkbootimg.as_str()].into_iter().chain(words(common)).chain(words(vendor)).chain(line).collect();
    board.run("python3", &made).unwrap();
    let same = |ours: &str, reference: &str| {
        let [ours, reference] = [ours, reference].map(|name| std::fs::read(board.path(name)).unwrap());
        ours == reference
    };
    assert!(same("out/boot.img", "boot.ref"));
    let unpacked = |image: &str, folder: &str| {
        let reader = format!("{tools}/unpack_bootimg");
        board.run("python3", &[&reader, "--boot_img", image, "--out", folder]).unwrap()
    };
    unpacked("out/boot.img", "boot-parts");
    assert!(same("boot-parts/kernel", "out/kernel") && same("boot-parts/ramdisk", "out/initramfs.img"));
    let said = unpacked("out/vendor_boot.img", "vendor-parts");
    assert!(said.contains("vendor command line args: console=ttyAMA0 panic=-1\n"), "{said}");
    assert!(same("vendor-parts/dtb", "out/board.dtb"));
    assert!(same("out/vendor_boot.img", "vendor_boot.ref"));
}
