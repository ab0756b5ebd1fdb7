//! Folders of modules of a few lines: what is a module and not loaded is named, and nothing else is.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernel::needs::tests::board;

const PARTITION: &str = "[[slot]]\nname = \"a\"\nsource = \"partition\"\npartname = \"p\"\n";
const IN_INITRAMFS: &str = "[[slot]]\nname = \"b\"\nsource = \"initramfs\"\n";
const VERITY: &str = "[verity]\nmethod = \"root-hash\"\n";

/// `lib/modules/VERSION` with these modules, and this configuration beside it if there is any.
fn folder(version: &str, names: &[&str], config: Option<&str>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules").join(version);
    std::fs::create_dir_all(&modules).unwrap();
    let lines: String = names.iter().map(|name| format!("{name}.ko:\n")).collect();
    std::fs::write(modules.join("modules.dep"), lines).unwrap();
    std::fs::write(modules.join("modules.builtin"), "kernel/fs/overlayfs/overlay.ko\n").unwrap();
    std::fs::write(modules.join("modules.alias"), "alias sha256 sha256_generic\nalias sha256 sha2_ce\n").unwrap();
    if let Some(config) = config {
        std::fs::write(modules.join("config"), config).unwrap();
    }
    root
}

fn checked(text: &str, root: &tempfile::TempDir, loaded: &[&str]) -> Result<()> {
    let board = board(&format!("architecture = \"aarch64\"\n{text}"));
    check(&board, root.path(), &loaded.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn what_is_a_module_and_not_loaded_is_refused_with_its_slots() {
    let root = folder("6.12.1", &["erofs", "loop", "dm_mod", "dm-verity", "sha256_generic", "sha2_ce"], None);
    let text = format!("{PARTITION}{IN_INITRAMFS}[modules]\nload = [\"erofs\"]\n{VERITY}");
    let error = checked(&text, &root, &["erofs"]).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert_eq!(
        error.what,
        "board b does not load what it needs: dm_mod (slot a: verity.method: device-mapper); \
         dm_verity (slot a: verity.method: dm-verity); sha256_generic (slot a: verity.method: the hash); \
         loop (slot b: source initramfs: an image that is a file in tmpfs)"
    );
    let load = "load = [\"erofs\", \"dm_mod\", \"dm_verity\", \"sha256_generic\", \"loop\"]";
    assert!(error.hint.starts_with("in [modules] of ") && error.hint.contains(load), "{error}");
    // Any of several that do it is enough.
    checked(&text, &root, &["erofs", "dm_mod", "dm_verity", "sha2_ce", "loop"]).unwrap();
    let both = checked(&format!("{PARTITION}{IN_INITRAMFS}"), &root, &["loop"]).unwrap_err();
    assert_eq!(both.what, "board b does not load what it needs: erofs (slots a, b: step mount: the image)");
}

#[test]
fn what_the_folder_does_not_show_is_taken_as_built_in() {
    checked(&format!("{PARTITION}{VERITY}"), &folder("6.12.1", &[], None), &[]).unwrap();
    let file = "[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"p\"\nfile = \"/i\"\nfilesystem = \"ext4\"\n";
    // Before 6.15 no kernel does without a loop device; from then on only its configuration says whether it does.
    let error = checked(file, &folder("6.12.1", &["loop"], None), &[]).unwrap_err();
    assert!(error.what.contains("loop (slot a: an image that is a file)"), "{error}");
    checked(file, &folder("7.2.1", &["loop"], None), &[]).unwrap();
    let config = |backed: &str| format!("CONFIG_BLK_DEV_LOOP=m\nCONFIG_EXT4_FS=y\n{backed}");
    checked(file, &folder("7.2.1", &["loop"], Some(&config("CONFIG_EROFS_FS_BACKED_BY_FILE=y\n"))), &[]).unwrap();
    assert!(checked(file, &folder("7.2.1", &["loop"], Some(&config(""))), &[]).is_err());
}

#[test]
fn a_service_loads_nothing_itself() {
    let root = folder("6.12.1", &["erofs", "loop", "ext4"], None);
    let file = "mode = \"service\"\n[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"p\"\nfile = \"/i\"\nfilesystem = \"ext4\"\n";
    checked(file, &root, &[]).unwrap();
    assert!(checked(&file.replace("service", "initial"), &root, &[]).is_err());
}

#[test]
fn drivers_and_holders_count_too() {
    let hardware = "[hardware]\nsoc = \"X\"\nserial = \"ttyS2,115200n8\"\nstorage = [\"mmcblk0: eMMC\"]\n\
                    drivers = [{ option = \"SDHCI_X\", module = \"sdhci-x\", why = \"its eMMC\" }]\n";
    let root = folder("6.12.1", &["sdhci-x", "mmc_block", "f2fs"], None);
    let text = format!("{PARTITION}[overlay]\npartname = \"u\"\nfilesystem = \"f2fs\"\n{hardware}");
    let error = checked(&text, &root, &["mmc_block"]).unwrap_err();
    assert_eq!(
        error.what,
        "board b does not load what it needs: f2fs (slot a: f2fs, which holds something); sdhci_x (slot a: its eMMC)"
    );
}

#[test]
fn character_sets_of_vfat_are_asked_for_only_where_they_are_known() {
    let file = "[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"p\"\nfile = \"/i\"\nfilesystem = \"vfat\"\n";
    let names = ["vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii"];
    let loaded = ["vfat", "nls_cp437", "nls_ascii", "loop"];
    checked(file, &folder("6.12.1", &names, None), &loaded).unwrap();
    let config = |set: &str| {
        format!(
            "CONFIG_VFAT_FS=m\nCONFIG_NLS_CODEPAGE_437=m\nCONFIG_NLS_ISO8859_1=m\nCONFIG_NLS_ASCII=m\n\
             CONFIG_FAT_DEFAULT_CODEPAGE=437\nCONFIG_FAT_DEFAULT_IOCHARSET=\"{set}\"\n"
        )
    };
    checked(file, &folder("6.12.1", &names, Some(&config("ascii"))), &loaded).unwrap();
    let error = checked(file, &folder("6.12.1", &names, Some(&config("iso8859-1"))), &loaded).unwrap_err();
    assert!(error.what.contains("nls_iso8859_1 (slot a: long names on vfat"), "{error}");
}
