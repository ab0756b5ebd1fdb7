//! Mode `service`: dracut is told what elsewhere a bootloader is, and the storage is udev's to find.

use super::super::needs::{Level, asks, needs};
use crate::board::{Board, Method};

/// Where dracut's module looks for what `build` made, and what it brings along of the kernel's modules
/// (imagegen/distribution/dracut/90initoverlayfs/module-setup.sh).
pub(super) const FOLDER: &str = "/var/lib/initoverlayfs/service";
const BROUGHT: [&str; 5] = ["erofs", "overlay", "loop", "dm_mod", "dm_verity"];
/// What dracut is to write: not in the place of the classic initramfs.
const INITRAMFS: &str = "/boot/initrd-service.img";

/// Commands that make the image, and the initramfs that mounts it.
pub(super) fn build(board: &Board, name: &str, rescue: &str) -> Vec<String> {
    let mut commands = vec![
        format!("imagegen doctor {name} --config .config --modules /lib/modules/VERSION"),
        format!("imagegen build {name} --from INITRAMFS{rescue} --out {FOLDER}"),
    ];
    if matches!(board.verity.method, Method::Signature { .. }) {
        commands.push(format!("imagegen sign {FOLDER} --key KEY --certificate CERTIFICATE"));
    }
    // Storage that dracut finds by itself where the root file system lies on such, too; here it may not.
    let storage = if asks::on_volume(board) { "crypt lvm " } else { "" };
    let drivers = drivers(board).join(" ");
    let drivers = if drivers.is_empty() { drivers } else { format!(" --add-drivers \"{drivers}\"") };
    commands.push(format!("dracut --add \"{storage}initoverlayfs\"{drivers} {INITRAMFS} VERSION"));
    commands
}

/// File systems and hashes that a slot needs and neither dracut nor its module of ours is sure to bring.
fn drivers(board: &Board) -> Vec<String> {
    let needs = needs(board, None).into_iter().filter(|need| need.level == Level::Required);
    let choices = needs.filter_map(|need| need.choices.into_iter().next());
    let is_soft = |place: &&str| place.starts_with("fs/") || place.starts_with("crypto/");
    let names =
        choices.filter(|choice| choice.kconfig.as_ref().is_some_and(is_soft)).filter_map(|choice| choice.module);
    names.filter(|name| !BROUGHT.contains(&name.as_str())).collect()
}

/// What the bootloader and the first systemd are told.
pub(super) fn bootloader() -> Vec<(&'static str, String)> {
    [
        ("initramfs", format!("{INITRAMFS}, by an entry of its own beside the classic one")),
        (
            "kernel arguments",
            "the classic entry's, root= among them, and what dracut needs for the storage: rd.luks.uuid=, rd.lvm.lv=".to_owned(),
        ),
        (
            "units in it",
            "initoverlayfs.service mounts image and overlay, initoverlayfs-switch.service switches; emergency.target comes where \
             no slot is good"
                .to_owned(),
        ),
    ]
    .into()
}

/// What to measure on a machine that is no board of the bench: why, and the command.
pub(super) const fn measure() -> [(&'static str, &'static str); 2] {
    [
        ("the classic entry, from a machine that has booted by it", "imagegen collect root@HOST --json classic.json"),
        ("the new entry: its steps come from the record", "imagegen collect root@HOST --json service.json"),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernel::needs::tests::board;
    use std::path::Path;

    #[test]
    fn the_module_of_dracut_is_the_one_that_is_spoken_of() {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("distribution/dracut/90initoverlayfs/module-setup.sh");
        let text = std::fs::read_to_string(module).unwrap();
        assert!(text.contains(&format!("initoverlayfs_default={FOLDER}\n")));
        assert!(text.contains(&format!("instmods {}\n", BROUGHT.join(" "))));
    }

    #[test]
    fn dracut_gets_what_the_slots_need() {
        let slot =
            |more: &str| format!("architecture = \"x86_64\"\nmode = \"service\"\n[[slot]]\nname = \"a\"\n{more}");
        let volume = "source = \"partition\"\npath = \"/dev/mapper/vg-image\"\n";
        let file = "source = \"file\"\nlabel = \"l\"\nfilesystem = \"vfat\"\nfile = \"/i\"\n[verity]\nmethod = \"root-hash\"\n";
        for (text, expected) in [
            (slot(volume), "dracut --add \"crypt lvm initoverlayfs\" /boot/initrd-service.img VERSION"),
            (
                slot(file),
                "dracut --add \"initoverlayfs\" --add-drivers \"sha256 vfat nls_cp437 nls_iso8859-1\" \
                 /boot/initrd-service.img VERSION",
            ),
        ] {
            assert_eq!(build(&board(&text), "b", "").pop().unwrap(), expected);
        }
    }
}
