//! Every way in which an option or a module can be missing, in configurations of a few lines; real kernels are in `tests/`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernel::needs::tests::board;

const BOARD: &str = "architecture = \"aarch64\"\n[[slot]]\nname = \"a\"\nsource = \"partition\"\npartname = \"p\"\n";

/// A configuration that has everything for [`BOARD`], with `option` set to something else, or off.
fn config(change: (&str, Option<&str>)) -> Config {
    let mut text = "# Linux/arm64 6.12.1 Kernel Configuration\n".to_owned();
    for need in needs(&board(BOARD), None) {
        let option = &need.choices[0].option;
        let value = if *option == change.0 { change.1 } else { Some("y") };
        text += &value.map(|value| format!("CONFIG_{option}={value}\n")).unwrap_or_default();
    }
    Config::from_bytes(text.as_bytes()).unwrap()
}

/// `lib/modules/6.12.1`: erofs needs crc, whose file is not there.
fn folder() -> (tempfile::TempDir, Folder) {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules/6.12.1");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::write(modules.join("modules.dep"), "erofs.ko: crc.ko\ncrc.ko:\noverlay.ko:\nlost.ko: gone.ko\n").unwrap();
    std::fs::write(modules.join("modules.builtin"), "kernel/fs/fixed.ko\n").unwrap();
    let folder = Folder::read(root.path()).unwrap();
    (root, folder)
}

fn found(text: &str, config: &Config, folder: Option<&Folder>) -> Vec<(Level, String, String)> {
    let findings = hold(&board(text), config, folder).1;
    findings.into_iter().map(|finding| (finding.level, finding.what, finding.fix)).collect()
}

#[test]
fn a_kernel_with_everything_is_good() {
    assert_eq!(found(BOARD, &config(("", None)), None), []);
    let report = Report { board: "b".into(), kernel: "k".into(), needs: 3, findings: Vec::new() };
    assert_eq!(report.to_string(), "b: k\n3 options looked at, 0 missing, 0 advised\n");
    report.verdict().unwrap();
}

#[test]
fn an_option_that_is_off_or_a_module_has_its_fix() {
    let one = |change, folder: Option<&Folder>, text: &str| {
        let mut all = found(text, &config(change), folder);
        assert_eq!(all.len(), 1, "{all:?}");
        let (level, what, fix) = all.remove(0);
        (level == Level::Required, what, fix)
    };
    let (root, folder) = folder();
    let (required, what, fix) = one(("EROFS_FS", None), None, BOARD);
    assert_eq!((required, what.as_str()), (true, "EROFS_FS is off: step mount: the image"));
    assert_eq!(fix, "set CONFIG_EROFS_FS=y (fs/erofs/Kconfig)");
    let (_, what, fix) = one(("EROFS_FS", Some("m")), None, BOARD);
    assert_eq!(what, "EROFS_FS is a module, and there are none: step mount: the image");
    assert_eq!(fix, "set CONFIG_EROFS_FS=y, or give --modules DIR");
    let (_, what, fix) = one(("OVERLAY_FS", Some("m")), Some(&folder), BOARD);
    assert_eq!(what, "OVERLAY_FS is a module, and nothing loads overlay: step overlay");
    assert!(
        fix.starts_with("add \"overlay\" to modules.load of ") && fix.ends_with("b.toml, or set CONFIG_OVERLAY_FS=y"),
        "{fix}"
    );
    std::fs::write(root.path().join("lib/modules/6.12.1/modules.dep"), "erofs.ko:\n").unwrap();
    let poor = Folder::read(root.path()).unwrap();
    let (_, what, fix) = one(("OVERLAY_FS", Some("m")), Some(&poor), BOARD);
    assert!(what.starts_with("OVERLAY_FS is a module, and /") && what.contains(" has no overlay: "), "{what}");
    assert!(fix.starts_with("install all of the kernel's module packages there and run depmod, or set"), "{fix}");
    let (required, what, _) = one(("PRINTK_TIME", None), None, BOARD);
    assert!(!required && what.starts_with("PRINTK_TIME is off"), "{what}");
    let zstd = format!("{BOARD}[image]\ncompression = \"zstd\"\n");
    let old = Config::from_bytes(b"# Linux/arm64 6.1.9 Kernel Configuration\nCONFIG_EROFS_FS_ZIP=y\n").unwrap();
    let all = found(&zstd, &old, None);
    let row = all.iter().find(|row| row.1.contains("ZSTD")).unwrap();
    assert_eq!(row.1, "Linux 6.1.9 has no EROFS_FS_ZIP_ZSTD: image.compression zstd");
    assert!(row.2.starts_with("take Linux 6.10 or later, or have "), "{}", row.2);
}

#[test]
fn a_module_that_is_not_whole_is_named() {
    let (_root, folder) = folder();
    let with = |load: &str| {
        found(&format!("{BOARD}[modules]\nload = {load}\n"), &config(("EROFS_FS", Some("m"))), Some(&folder))
    };
    let all = with("[\"erofs\"]");
    let what: Vec<&str> = all.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(what.len(), 2, "{what:?}");
    assert!(
        what[0].starts_with("modules.load: module crc has no file /") && what[0].ends_with("crc.ko, which erofs needs"),
        "{what:?}"
    );
    assert!(
        what[1].starts_with("modules.load: module erofs has no file ") && what[1].ends_with("erofs.ko"),
        "{what:?}"
    );
    let all = with("[\"erofs\", \"lost\", \"overlai\", \"fixed\"]");
    assert!(
        all.iter().any(|row| row.1.starts_with("modules.load: lost: ") && row.1.contains("no line for gone")),
        "{all:?}"
    );
    assert!(all.iter().any(|row| row.1.contains("unknown module \"overlai\" (did you mean \"overlay\"?)")), "{all:?}");
    assert!(!all.iter().any(|row| row.1.contains("fixed")), "{all:?}");
}

#[test]
fn a_service_has_its_modules_from_dracut() {
    let service = "architecture = \"aarch64\"\nmode = \"service\"\n[[slot]]\nname = \"a\"\nsource = \"partition\"\n\
                   path = \"/dev/mapper/vg-image\"\n";
    let config = |value: &str| {
        let mut text = "# Linux/arm64 6.12.1 Kernel Configuration\n".to_owned();
        for need in needs(&board(service), None) {
            let choice = &need.choices[0];
            text += &format!("CONFIG_{}={}\n", choice.option, if choice.module.is_some() { value } else { "y" });
        }
        Config::from_bytes(text.as_bytes()).unwrap()
    };
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules/6.12.1");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::write(modules.join("modules.dep"), "erofs.ko:\ndm-mod.ko:\ndm-crypt.ko:\nbinfmt_script.ko:\n").unwrap();
    std::fs::write(modules.join("modules.builtin"), "kernel/fs/overlayfs/overlay.ko\n").unwrap();
    let folder = Folder::read(root.path()).unwrap();
    assert_eq!(found(service, &config("y"), None), []);
    assert_eq!(found(service, &config("m"), Some(&folder)), [], "what dracut brings nobody lists");
    std::fs::write(modules.join("modules.dep"), "dm-mod.ko:\ndm-crypt.ko:\nbinfmt_script.ko:\n").unwrap();
    let all = found(service, &config("m"), Some(&Folder::read(root.path()).unwrap()));
    assert!(all.len() == 1 && all[0].1.contains("has no erofs"), "{all:?}");
    // systemd's own needs are the board's.
    let without = Config::from_bytes(b"CONFIG_NET=y\n").unwrap();
    let all = found(service, &without, None);
    for option in ["FHANDLE", "BLK_DEV_DM", "CGROUPS"] {
        assert!(all.iter().any(|row| row.1.starts_with(&format!("{option} is off"))), "{option}: {all:?}");
    }
    for other in ["RD_GZIP", "MSDOS_PARTITION", "step early-mounts"] {
        assert!(!all.iter().any(|row| row.1.contains(other)), "{other}: {all:?}");
    }
}

#[test]
fn one_of_several_is_enough() {
    let signed = format!("{BOARD}[verity]\nmethod = \"signature\"\n");
    let keys = |more: &str| {
        let text = format!("# Linux/arm64 6.12.1 Kernel Configuration\nCONFIG_DM_VERITY=y\n{more}");
        let all = found(&signed, &Config::from_bytes(text.as_bytes()).unwrap(), None);
        all.into_iter().find(|row| row.1.contains("certificate"))
    };
    let (_, what, fix) = keys("CONFIG_SYSTEM_TRUSTED_KEYS=\"\"\n").unwrap();
    assert!(what.starts_with("SYSTEM_TRUSTED_KEYS is off: "), "{what}");
    assert_eq!(fix, "set CONFIG_SYSTEM_TRUSTED_KEYS to the file of that certificate, in PEM (certs/Kconfig)");
    assert_eq!(keys("CONFIG_SYSTEM_TRUSTED_KEYS=\"images.pem\"\n"), None);
    assert_eq!(keys("CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG_SECONDARY_KEYRING=y\n"), None);
}

#[test]
fn a_kernel_that_enforces_signatures_and_stripped_modules_do_not_go_together() {
    let strip = format!("{BOARD}[modules]\nstrip = true\n");
    let mut text = String::from("CONFIG_MODULE_SIG_FORCE=y\n");
    for need in needs(&board(BOARD), None) {
        text += &format!("CONFIG_{}=y\n", need.choices[0].option);
    }
    let forced = Config::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(found(BOARD, &forced, None), []);
    let all = found(&strip, &forced, None);
    assert!(all.len() == 1 && all[0].1.starts_with("MODULE_SIG_FORCE is on"), "{all:?}");
}

#[test]
fn another_kernels_files_are_refused() {
    let (_root, folder) = folder();
    let path = Path::new("config");
    let config = |title: &str| {
        Config::from_bytes(format!("# Linux/{title} Kernel Configuration\nCONFIG_A=y\n").as_bytes()).unwrap()
    };
    let refused = |title: &str| fits(&board(BOARD), &config(title), path, Some(&folder)).unwrap_err().what;
    assert_eq!(refused("arm 6.12.1"), "config: of a kernel for arm, and b wants arm64");
    assert!(refused("arm64 6.1.9").starts_with("config: of Linux 6.1.9, and /"));
    fits(&board(BOARD), &config("arm64 6.12.117"), path, Some(&folder)).unwrap();
}
