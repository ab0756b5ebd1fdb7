//! Configurations as the original writes and documents them, what it gets wrong about them, and any bytes.

use super::*;
use crate::board::{Board, Device, FilePath, ImageCompression, Source};
use proptest::prelude::*;

/// What the original's programs and documents have as a configuration: where it is from, what it says, where the image then lies
/// (nothing: in the initramfs), how it is compressed, and what the notes say.
type Sample =
    (&'static str, &'static str, Option<(&'static str, &'static str)>, ImageCompression, &'static [&'static str]);
const LZ4HC: ImageCompression = ImageCompression::Lz4hc(Some(11));
const SAMPLES: &[Sample] = &[
    (
        "its installer on Fedora (its README shows the boot with it)",
        "bootfs UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff\nbootfs_hint /dev/vda2\nbootfstype ext4\n\
         initoverlayfs_builder dracut -M -o \"initoverlayfs fcoe\"\ninitrd_builder dracut -M -m \"kernel-modules udev-rules\"\n\
         erofs_compression -zlz4hc,11\n",
        Some(("UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff, ext4", crate::new::FILE)),
        LZ4HC,
        &[
            "line 4: initoverlayfs_builder is not run",
            "line 5: initrd_builder",
            "LVM, RAID and LUKS",
            "drivers of the storage",
        ],
    ),
    (
        "its installer with --initoverlayfs-init: it is PID 1",
        "bootfs LABEL=boot\nbootfs_hint /dev/mmcblk0p1\nbootfstype ext4\ninitrd_builder dracut -M -m \"initoverlayfs\"\n\
         initoverlayfs_init true\nerofs_compression -zlz4hc,11\n",
        Some(("LABEL=boot, ext4", crate::new::FILE)),
        LZ4HC,
        &["line 4: initrd_builder", "drivers of the storage"],
    ),
    (
        "its installer on RHEL 9: no compression",
        "bootfs UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff\nbootfs_hint /dev/sda2\nbootfstype ext4\n\
         initoverlayfs_builder dracut -M -o \"initoverlayfs fcoe\"\n",
        Some(("UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff, ext4", crate::new::FILE)),
        ImageCompression::None,
        &["line 4: initoverlayfs_builder is not run"],
    ),
    (
        "its build script: what mount says of /boot",
        "bootfs /dev/nvme0n1p2\nbootfstype ext4\n\n",
        Some(("/dev/nvme0n1p2, ext4", crate::new::FILE)),
        ImageCompression::None,
        &["line 1: a device's name can change from boot to boot"],
    ),
    (
        "an earlier build script, which names the image",
        "bootfs PARTLABEL=boot_a\nbootfstype ext4\nfs /initoverlayfs-6.5.5-300.fc39.x86_64.img\nfstype erofs\n\n",
        Some(("PARTNAME=boot_a, ext4", "/initoverlayfs-6.5.5-300.fc39.x86_64.img")),
        ImageCompression::None,
        &["line 3: /initoverlayfs-6.5.5-300.fc39.x86_64.img is one file for all kernels"],
    ),
    (
        "its note on UFS: one logical unit is scanned",
        "bootfs PARTLABEL=system_a\nbootfstype ext4\nscsi.addr 0:0:0:49488\n",
        Some(("PARTNAME=system_a, ext4", crate::new::FILE)),
        ImageCompression::None,
        &["drivers of the storage"],
    ),
    (
        "its installer without /boot in fstab, as in an OSTree build: keys without values",
        "bootfs \nbootfs_hint \nbootfstype ext4\ninitoverlayfs_builder dracut -M -o \"initoverlayfs fcoe\"\nerofs_compression -zlz4hc,11\n",
        None,
        LZ4HC,
        &["bootfs names no file system"],
    ),
    (
        "its installer where several lines of fstab and disks fit: values go on in the next line",
        "bootfs UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff\nUUID=2aadcf0d-81dc-4b21-99ef-74b96bb357ad\nbootfs_hint /dev/vda2\n/dev/vdb2\n\
         bootfstype ext4\n",
        Some(("UUID=1a3a6db4-a7c2-43e5-bed5-9385f26c68ff, ext4", crate::new::FILE)),
        ImageCompression::None,
        &[
            "line 2 means nothing to the original: \"UUID=2aadcf0d",
            "line 4 means nothing to the original: \"/dev/vdb2\"",
        ],
    ),
    (
        "a key of its first versions",
        "bootfs LABEL=boot\nbootfstype ext4\nudev_trigger udevadm trigger --type=devices\n",
        Some(("LABEL=boot, ext4", crate::new::FILE)),
        ImageCompression::None,
        &["line 3 means nothing to the original: \"udev_trigger"],
    ),
];

fn converted(text: &str) -> (Board, Vec<String>) {
    let converted = convert(text.as_bytes(), "kit", "aarch64").unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let text = converted.draft.text();
    let board = draft::check(Path::new("kit.toml"), &text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (board, converted.notes)
}

fn refused(text: &[u8]) -> String {
    let error = convert(text, "kit", "aarch64").unwrap_err();
    assert_eq!(error.exit_status(), 2, "{error}");
    error.what
}

/// Device, kind of file system and path of the board's image.
fn place(board: &Board) -> (Device, &'static str, &str) {
    match &board.slots[0].source {
        Source::File { holder, path: FilePath::At(path) } => (holder.device.device.clone(), holder.kind.name(), path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_sample_boots_the_same_image() {
    for (from, text, expected, compression, notes) in SAMPLES {
        let (board, said) = converted(text);
        let found = match &board.slots[0].source {
            Source::Initramfs => None,
            _ => Some(place(&board)),
        };
        let found = found.as_ref().map(|(device, kind, path)| (format!("{device}, {kind}"), *path));
        assert_eq!(found, expected.map(|(device, path)| (device.to_owned(), path)), "{from}");
        assert_eq!(board.image.compression, *compression, "{from}");
        let all = said.join("\n");
        for note in *notes {
            assert!(all.contains(note), "{from}: {note}: {all}");
        }
        // Only where systemd found the storage is there a word on what bootstrap cannot find.
        assert_eq!(all.contains("LUKS"), !text.contains("initoverlayfs_init true"), "{from}: {all}");
    }
    assert_eq!(converted(SAMPLES[0].1).0.slots[0].source.device().unwrap().hint.as_deref(), Some("vda2"));
}

#[test]
fn a_file_of_which_nothing_is_understood_is_refused() {
    for text in ["root:x:0:0\n", "[Unit]\nDescription=bootfs\n", "BOOTFS LABEL=boot\n"] {
        let error = convert(text.as_bytes(), "kit", "aarch64").unwrap_err();
        assert_eq!((error.exit_status(), error.what.as_str()), (2, "no line with a key of the original"), "{text:?}");
        assert!(error.hint.contains("bootfs, bootfs_hint,") && error.hint.ends_with("initoverlayfs_init"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    std::fs::write(&path, "root:x:0:0\n").unwrap();
    let what = file(&path, "kit", "aarch64").unwrap_err().what;
    assert_eq!(what, format!("{}: no line with a key of the original", path.display()));
}

/// Every key that the original documents: what it says, and what the board then has.
#[test]
fn every_key() {
    for (text, device, kind) in [
        ("bootfs UUID=ABCD-12EF\nbootfstype vfat", Device::Uuid("abcd-12ef".into()), "vfat"),
        ("bootfs UUID=\"ABCD-12EF\"\nbootfstype msdos", Device::Uuid("abcd-12ef".into()), "vfat"),
        ("bootfs LABEL=a=b\nbootfstype xfs", Device::Label("a=b".into()), "xfs"),
        ("bootfs PARTUUID=1234abcd-02\nbootfstype btrfs", Device::MbrPartUuid(0x1234_abcd, 2), "btrfs"),
        ("bootfs PARTLABEL=boot\nbootfstype f2fs", Device::PartName("boot".into()), "f2fs"),
        ("bootfs PARTLABEL=boot\nbootfstype ext3", Device::PartName("boot".into()), "ext4"),
        ("bootfs /dev/sda1\nbootfstype ext4", Device::Path("sda1".into()), "ext4"),
        ("bootfs /dev/disk/by-label/my\\x20boot\nbootfstype ext4", Device::Label("my boot".into()), "ext4"),
        ("bootfs /dev/disk/by-partlabel/boot", Device::PartName("boot".into()), "ext4"),
    ] {
        let (board, _) = converted(text);
        assert_eq!(place(&board), (device, kind, crate::new::FILE), "{text}");
    }
    let with = |line: &str| converted(&format!("bootfs LABEL=boot\n{line}\n"));
    assert_eq!(place(&with("fs /images/a.img").0).2, "/images/a.img");
    assert_eq!(place(&with("fs a.img").0).2, "/a.img");
    assert!(with("fs a.img").1.iter().any(|note| note.contains("taken for \"/a.img\"")));
    let (board, _) = with("scsi.addr 0:0:0:49488");
    assert_eq!(board.slots[0].source.device().unwrap().lun.as_deref(), Some("0:0:0:49488"));
    assert!(with("fstype ext4").1.iter().any(|note| note.contains("EROFS, not ext4")));
    assert!(!with("fstype erofs").1.iter().any(|note| note.contains("EROFS, not")));
    for (options, compression, cluster) in [
        ("-zlz4", ImageCompression::Lz4, 65536),
        ("-z lz4hc,9 -C 16384", ImageCompression::Lz4hc(Some(9)), 16384),
        ("-zzstd,3:lz4 -C65536 -T0", ImageCompression::Zstd(Some(3)), 65536),
        ("-zlz4,1", ImageCompression::Lz4, 65536),
        ("-Efragments -C7", ImageCompression::None, 65536),
    ] {
        let (board, _) = with(&format!("erofs_compression {options}"));
        assert_eq!((board.image.compression, board.image.cluster), (compression, cluster), "{options}");
    }
    assert!(with("erofs_compression -T0").1.iter().any(|note| note.contains("\"-T0\" of mkfs.erofs")));
}

/// What the original gets wrong (facts.md, 4 and 5), with the configuration that makes it.
#[test]
fn what_the_original_gets_wrong() {
    // The last line without its end loses a character there.
    assert_eq!(place(&converted("bootfs LABEL=boot").0).0, Device::Label("boot".into()));
    // A carriage return is part of the value there.
    let (board, _) = converted("bootfs LABEL=boot\r\nbootfs_hint /dev/sda1\r\nbootfstype ext4\r\n");
    assert_eq!((place(&board).0, place(&board).1), (Device::Label("boot".into()), "ext4"));
    assert_eq!(board.slots[0].source.device().unwrap().hint.as_deref(), Some("sda1"));
    // The same key again overflows its heap.
    let (board, notes) = converted("bootfs LABEL=one\nbootfs LABEL=two\nbootfs\tLABEL=three\n");
    assert_eq!(place(&board).0, Device::Label("three".into()));
    assert_eq!(notes.iter().filter(|note| note.contains("is given again")).count(), 2, "{notes:?}");
    // A plain device path is a null pointer there; and a hint without a device, which ours tries first and no more.
    assert_eq!(place(&converted("bootfs /dev/nvme0n1p1\n").0).0, Device::Path("nvme0n1p1".into()));
    let (board, notes) = converted("bootfs LABEL=b\nbootfs_hint /dev/mapper/x\n");
    assert_eq!(board.slots[0].source.device().unwrap().hint, None);
    assert!(notes.iter().any(|note| note.contains("bootfs_hint")), "{notes:?}");
    // Without /boot in fstab its installer writes keys without values, and the boot ends in a panic.
    for text in ["bootfs \nbootfs_hint \nbootfstype ext4\n", "", "\n\n", "bootfstype ext4\n"] {
        assert_eq!(converted(text).0.slots[0].source, Source::Initramfs, "{text:?}");
    }
    // A key counts at the beginning of a line, in full, with a space behind it; there is no other comment.
    let (board, notes) = converted("# bootfs\n bootfs LABEL=a\nbootfsx LABEL=b\nbootfs=LABEL=c\nbootfstype ext4\n");
    assert_eq!(board.slots[0].source, Source::Initramfs);
    assert_eq!(notes.iter().filter(|note| note.contains("means nothing")).count(), 3, "{notes:?}");
}

#[test]
fn what_no_board_can_do_is_refused_with_its_line() {
    for (text, said) in [
        (&b"\nbootfs UUID=xyz\n"[..], "line 2: found \"xyz\""),
        (b"bootfs ID=1\n", "line 1: bootfs \"ID=1\": no device is known by ID="),
        (b"bootfs /dev/mapper/vg-boot\n", "a volume"),
        (b"bootfs /dev/vg/boot\n", "a volume"),
        (b"bootfs /dev/md0\n", "a volume"),
        (b"bootfs /dev/disk/by-path/x\n", "no name that the kernel gives"),
        (b"bootfs boot\n", "neither a tag nor a device"),
        (b"bootfs LABEL=b\nbootfstype ntfs\n", "line 2: unknown variant `ntfs`"),
        (b"bootfs LABEL=b\nfs /a/../b\n", "line 2: found \"/a/../b\""),
        (b"bootfs LABEL=b\nscsi.addr 1:2\n", "line 2: found \"1:2\""),
        (b"bootfs LABEL=b\nerofs_compression -zzip\n", "line 2: found \"zip\""),
        (b"bootfs LABEL=\xff\n", "line 1: bootfs: not UTF-8"),
        (b"bootfs LABEL=a\0b\n", "line 1: bootfs: has a control character"),
    ] {
        let what = refused(text);
        assert!(what.contains(said), "{what}");
    }
}

#[test]
fn files_are_named_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initoverlayfs.conf");
    assert_eq!(file(&path, "kit", "aarch64").unwrap_err().exit_status(), 2);
    std::fs::write(&path, "bootfs boot").unwrap();
    assert!(file(&path, "kit", "aarch64").unwrap_err().what.contains("initoverlayfs.conf: line 1"));
    std::fs::write(&path, vec![b'\n'; MAX_BYTES as usize + 1]).unwrap();
    assert!(file(&path, "kit", "aarch64").unwrap_err().what.contains("larger than"));
}

/// Lines that get somewhere.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(KEYS.to_vec());
    let value = prop::sample::select(vec![
        "UUID=ABCD-12EF",
        "LABEL=boot",
        "/dev/sda1",
        "/dev/disk/by-label/a\\x2",
        "ext4",
        "vfat",
        "/a.img",
        "0:0:0:1",
        "-zlz4hc",
        "-z -C",
        "true",
        "",
        "\"",
        "=",
        "dracut -M",
    ]);
    prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} {value}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..24),
    ]
}

proptest! {
    #[test]
    fn any_lines_make_a_board_or_bad_input(lines in prop::collection::vec(line(), 0..12)) {
        match convert(&lines.join(&b'\n'), "kit", "armv7") {
            Ok(converted) => {
                let text = converted.draft.text();
                prop_assert!(draft::check(Path::new("kit.toml"), &text).is_ok(), "{}", text);
                prop_assert!(converted.notes.iter().all(|note| !note.contains(char::is_control)));
            }
            Err(error) => prop_assert!(error.exit_status() == 2 && !error.what.contains(char::is_control), "{}", error),
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = convert(&bytes, "kit", "armv7");
    }
}
