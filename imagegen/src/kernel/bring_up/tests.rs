//! Checklists of the shipped boards: each says what its file says.
#![allow(clippy::unwrap_used)]

use super::*;
use std::path::Path;

/// Checklists of all shipped boards, with the board.
fn all() -> Vec<(Board, Checklist)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../board-configs");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let boards = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let lists = boards.filter_map(|path| {
        let path = path.to_str().unwrap();
        // A parent is no board.
        board::load(path).ok().map(|board| (board, checklist(path).unwrap()))
    });
    lists.collect()
}

#[test]
fn what_the_file_says_is_in_the_list() {
    for (board, list) in all() {
        let text = list.to_string();
        let says = |part: &str| assert!(text.contains(part), "{}: no {part:?} in\n{text}", board.name);
        says("| EROFS_FS ");
        for slot in &board.slots {
            says(&format!("\nSlot {}: ", slot.name));
        }
        for format in &board.bootloader.emit {
            says(&format!("\n- {}: ", format.name()));
        }
        let Some(hardware) = &board.hardware else { continue };
        says(&hardware.soc);
        says(&format!("console={}", hardware.serial.text));
        says(&format!("imagegen measure --serial /dev/ttyUSB0 --baud {} --board {}", hardware.serial.baud, board.name));
        for driver in &hardware.drivers {
            says(&format!("| {} ", driver.option));
        }
        for disk in &hardware.storage {
            says(&format!("- {}: {}\n", disk.device, disk.what));
        }
        if hardware.run_on.is_none() {
            says("not run on hardware");
        }
        says(&board.bootloader.command_line);
    }
}

#[test]
fn json_has_the_same() {
    for (board, list) in all() {
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&list).unwrap()).unwrap();
        assert_eq!(json["board"], board.name.as_str());
        assert_eq!(json["slots"].as_array().map(Vec::len), Some(board.slots.len()));
        assert_eq!(json["options"].as_array().map(Vec::len), Some(list.options.len()));
    }
}

#[test]
fn devices_have_the_names_udev_gives_them() {
    let names = [
        (Device::PartName("initoverlayfs".into()), Some("/dev/disk/by-partlabel/initoverlayfs")),
        (Device::PartName("a b".into()), None),
        (Device::Label("boot".into()), Some("/dev/disk/by-label/boot")),
        (Device::MbrPartUuid(0x1234_abcd, 2), Some("/dev/disk/by-partuuid/1234abcd-02")),
        (Device::Uuid("abcd-1234".into()), Some("/dev/disk/by-uuid/abcd-1234")),
        (Device::Path("mmcblk0p2".into()), Some("/dev/mmcblk0p2")),
    ];
    for (device, expected) in names {
        assert_eq!(link(&device).as_deref(), expected, "{device}");
    }
}

#[test]
fn the_partition_is_made_and_the_boot_files_have_a_place() {
    let text = checklist("raspberrypi-4").unwrap().to_string();
    for part in [
        "a GPT partition named initoverlayfs, at least as large as out/initoverlayfs.erofs",
        "sgdisk --new=0:0:+SIZE --change-name='0:initoverlayfs' /dev/mmcblk0\n",
        "extlinux.conf to /extlinux/extlinux.conf; kernel, initramfs.img, board.dtb to /",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // The disk of QEMU is made by `build`.
    assert!(!checklist("qemu-arm64").unwrap().to_string().contains("sgdisk"));
}

#[test]
fn a_service_is_dracuts_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.toml");
    let text = "name = \"b\"\narchitecture = \"x86_64\"\nmode = \"service\"\n[[slot]]\nname = \"a\"\nsource = \"partition\"\n\
                path = \"/dev/mapper/vg-image\"\n";
    std::fs::write(&path, text).unwrap();
    let said = checklist(path.to_str().unwrap()).unwrap().to_string();
    for part in [
        "--from INITRAMFS --out /var/lib/initoverlayfs/service\n",
        "dracut --add \"crypt lvm initoverlayfs\" /boot/initrd-service.img VERSION\n",
        "- units in it: initoverlayfs.service mounts",
        "that volume (lvcreate), at least as large as /var/lib/initoverlayfs/service/initoverlayfs.erofs",
        "imagegen install /var/lib/initoverlayfs/service --to /dev/mapper/vg-image\n",
        "| DM_CRYPT ",
        "imagegen collect root@HOST",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    // What is bootstrap's as PID 1 alone.
    for part in
        ["mini-initramfs", "step early-mounts", "RD_GZIP", "imagegen boot", " out", "/out", "partitions of a disk"]
    {
        assert!(!said.contains(part), "{part:?} in\n{said}");
    }
}
