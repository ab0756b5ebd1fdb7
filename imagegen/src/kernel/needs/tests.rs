//! What boards ask for, and what a configuration changes about it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::board;
use std::collections::BTreeSet;

/// The board of this text.
pub(in crate::kernel) fn board(text: &str) -> Board {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.toml");
    std::fs::write(&path, format!("name = \"b\"\n{text}")).unwrap();
    board::load(path.to_str().unwrap()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const PARTITION: &str = "[[slot]]\nname = \"a\"\nsource = \"partition\"\npartname = \"p\"\n";

fn of(text: &str) -> BTreeSet<String> {
    needs(&board(text), None).into_iter().flat_map(|need| need.choices).map(|choice| choice.option).collect()
}

/// What `text` asks for above a board with an image on a partition.
fn more(text: &str) -> Vec<String> {
    let plain = of(&format!("architecture = \"aarch64\"\n{PARTITION}"));
    of(text).difference(&plain).cloned().collect()
}

#[test]
fn each_key_asks_for_its_options() {
    let arm64 = |text: &str| format!("architecture = \"aarch64\"\n{PARTITION}{text}");
    let file =
        "architecture = \"aarch64\"\n[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"p\"\nfile = \"/i\"\n";
    let memory = "[[slot]]\nname = \"a\"\nsource = \"memory\"\naddress = \"0xa0000000\"\nram-start = \"0x40000000\"\n";
    let mapped = ["BLK_DEV_DM", "CRYPTO_SHA256", "CRYPTO_SHA2_ARM64_CE", "DM_VERITY"];
    let rows: &[(String, &[&str])] = &[
        (arm64("[initramfs]\ncompression = \"xz\"\n"), &["RD_XZ"]),
        (arm64("[image]\ncompression = \"lz4hc\"\n"), &["EROFS_FS_ZIP"]),
        (arm64("[image]\ncompression = \"zstd\"\n"), &["EROFS_FS_ZIP", "EROFS_FS_ZIP_ZSTD"]),
        (arm64("[image]\ncompression = \"lzma\"\n"), &["EROFS_FS_ZIP", "EROFS_FS_ZIP_LZMA"]),
        (arm64("[image]\ncompression = \"deflate\"\n"), &["EROFS_FS_ZIP", "EROFS_FS_ZIP_DEFLATE"]),
        (arm64("[verity]\nmethod = \"root-hash\"\n"), &mapped),
        (arm64("[overlay]\npartname = \"u\"\nfilesystem = \"f2fs\"\n"), &["CRYPTO_CRC32", "F2FS_FS", "F2FS_FS_XATTR"]),
        (arm64("[watchdog]\ntimeout = \"30s\"\n"), &["WATCHDOG"]),
        (arm64("hint = \"mmcblk0p2\"\n"), &["MMC", "MMC_BLOCK"]),
        (arm64("hint = \"sda4\"\n"), &["BLK_DEV_SD", "SCSI"]),
        (arm64("hint = \"nvme0n1p1\"\n"), &["BLK_DEV_NVME"]),
        (
            format!("{file}filesystem = \"vfat\"\n"),
            &["BLK_DEV_LOOP", "EROFS_FS_BACKED_BY_FILE", "NLS_CODEPAGE_437", "NLS_ISO8859_1", "VFAT_FS"],
        ),
        (
            format!("{file}filesystem = \"ext4\"\n[verity]\nmethod = \"fs-verity\"\n"),
            &["BLK_DEV_LOOP", "EROFS_FS_BACKED_BY_FILE", "EXT4_FS", "FS_VERITY"],
        ),
        (
            format!("architecture = \"aarch64\"\n{memory}"),
            &["ARM64_PMEM", "BLK_DEV_PMEM", "FS_DAX", "LIBNVDIMM", "OF_PMEM"],
        ),
        (
            format!("architecture = \"armv7\"\n{memory}"),
            &["AEABI", "ARM_LPAE", "BLK_DEV_PMEM", "FS_DAX", "LIBNVDIMM", "OF_PMEM", "VFP"],
        ),
        ("architecture = \"aarch64\"\n[[slot]]\nname = \"a\"\nsource = \"initramfs\"\n".to_owned(), &["BLK_DEV_LOOP"]),
    ];
    for (text, expected) in rows {
        assert_eq!(more(text), *expected, "{text}");
    }
    let signed = more(&arm64("[verity]\nmethod = \"signature\"\nfec-roots = 2\n"));
    for option in mapped.iter().chain(&["DM_VERITY_FEC", "DM_VERITY_VERIFY_ROOTHASH_SIG", "SYSTEM_TRUSTED_KEYS"]) {
        assert!(signed.iter().any(|found| found == option), "{option}: {signed:?}");
    }
}

#[test]
fn drivers_of_the_board_come_last_in_their_order() {
    let hardware = "[hardware]\nsoc = \"X\"\nserial = \"ttyS2,115200n8\"\nstorage = [\"mmcblk0: eMMC\"]\n\
                    drivers = [{ option = \"B\", module = \"b\", why = \"first\" }, { option = \"A\", why = \"then\" }]\n";
    let needs = needs(&board(&format!("architecture = \"aarch64\"\n{PARTITION}{hardware}")), None);
    let last: Vec<_> =
        needs.iter().rev().take(2).rev().map(|need| (need.choices[0].option.as_str(), need.why.as_str())).collect();
    assert_eq!(last, [("B", "first"), ("A", "then")]);
    // Without a hint the image lies on the machine's first disk.
    assert!(needs.iter().any(|need| need.choices[0].option == "MMC_BLOCK"));
}

#[test]
fn a_configuration_decides_what_there_is_to_need() {
    let config = |text: &str| Config::from_bytes(text.as_bytes()).unwrap();
    let options = |board: &Board, config: &Config| -> Vec<String> {
        needs(board, Some(config)).into_iter().map(|need| need.choices[0].option.clone()).collect()
    };
    let verity = board(&format!("architecture = \"aarch64\"\n{PARTITION}[verity]\nmethod = \"root-hash\"\n"));
    let title = |version: &str| format!("# Linux/arm64 {version} Kernel Configuration\nCONFIG_A=y\n");
    let sha2 = "CRYPTO_SHA2_ARM64_CE".to_owned();
    assert!(options(&verity, &config(&title("6.12.117"))).contains(&sha2));
    assert!(!options(&verity, &config(&title("7.2.13"))).contains(&sha2), "it is a library by then");
    let vfat = board(
        "architecture = \"aarch64\"\n[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"p\"\nfile = \"/i\"\nfilesystem = \"vfat\"\n",
    );
    let found = options(&vfat, &config("CONFIG_FAT_DEFAULT_CODEPAGE=850\nCONFIG_FAT_DEFAULT_IOCHARSET=\"ascii\"\n"));
    assert!(found.contains(&"NLS_CODEPAGE_850".to_owned()) && found.contains(&"NLS_ASCII".to_owned()), "{found:?}");
    let old = options(&vfat, &config(&title("6.1.176")));
    assert!(!old.contains(&"EROFS_FS_BACKED_BY_FILE".to_owned()));
    // Each kind of attribute has an option of its own (fs/erofs/xattr.c).
    for kind in ["XATTR", "SECURITY", "POSIX_ACL"] {
        assert!(old.contains(&format!("EROFS_FS_{kind}")), "{kind}: {old:?}");
    }
}
