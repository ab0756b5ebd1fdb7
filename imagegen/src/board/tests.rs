//! Board files as users get them wrong, and the shipped ones, which must be right.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Kind;
use std::path::Path;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../board-configs")
}

/// Writes files into a folder and loads the first; errors come back without the folder's name.
fn load_files(files: &[(&str, &[u8])]) -> std::result::Result<Board, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join(files[0].0);
    load(path.to_str().unwrap()).map_err(|error| {
        assert_eq!(error.kind, Kind::BadInput, "{error}");
        error.what.replace(&format!("{}/", folder.path().display()), "")
    })
}

fn errors(text: &str) -> String {
    load_files(&[("b.toml", text.as_bytes())]).unwrap_err()
}

const GOOD: &str =
    "name = \"b\"\narchitecture = \"armv7\"\n[[slot]]\nname = \"a\"\nsource = \"partition\"\npartname = \"p\"\n";

/// A device with the documented defaults.
fn wanted(device: Device) -> Wanted {
    Wanted { device, hint: None, deadline: Duration::from_secs(10), lun: None }
}

fn ext4(device: Device) -> Holder {
    Holder { device: wanted(device), kind: FileSystem::Ext4 }
}

#[test]
fn other_words_for_a_processor_suggest_ours() {
    for (word, ours) in
        [("arm64", "aarch64"), ("armhf", "armv7"), ("arm", "armv7"), ("amd64", "x86_64"), ("x86-64", "x86_64")]
    {
        let meant = format!("(did you mean {ours:?}?)");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.toml");
        std::fs::write(&path, format!("architecture = {word:?}\n")).unwrap();
        let text = load(path.to_str().unwrap()).unwrap_err().what;
        assert!(text.contains(&meant), "{text}");
        assert!(draft::refuse("architecture", word).unwrap().ends_with(&meant));
    }
    assert!(suggest("aarch64", ["arm64", "armv7"].into_iter()).contains("\"arm64\""));
}

#[test]
fn minimal_board_gets_the_documented_defaults() {
    let board = load_files(&[("b.toml", GOOD.as_bytes())]).unwrap();
    assert_eq!((board.mode, board.handover, board.next_init.as_str()), (Mode::Initial, None, "/init"));
    assert_eq!(board.overlay, Overlay::Memory { size_kib: 65536, inodes: 16384 });
    let nothing = Verity { method: Method::None, on_corruption: OnCorruption::Error, fec_roots: 0, version: 0 };
    assert_eq!((board.verity, board.watchdog), (nothing, None));
    assert_eq!(board.image, Image { compression: ImageCompression::None, cluster: 65536, leave_used: false });
    assert_eq!((board.failure, board.initramfs, board.qemu), (Failure::Reboot, Compression::None, None));
    let source = Source::Partition(wanted(Device::PartName("p".into())));
    assert_eq!(board.slots, [Slot { name: "a".into(), source, image: ImageName::Main, pin: true }]);
}

#[test]
fn all_errors_of_a_file_at_once() {
    let text = r#"
name = "Not A Name"
architecture = "aarch65"
mod = "initial"
[modules]
load = ["ok", 5, "no/pe"]
strip = "yes"
[[slot]]
name = "a"
source = "partition"
deadline = "ten"
[[slot]]
name = "a"
source = "initramfs"
hint = "vda1"
[overlay]
size = "5KiB"
[failure]
policy = "shell"
[imag]
compression = "zip"
"#;
    let expected = r#"b.toml:2: name: found "Not A Name", expected a name: 1 to 64 of a-z, 0-9, - and _
b.toml:3: architecture: unknown variant `aarch65`, expected one of `aarch64`, `armv7`, `x86_64` (did you mean "aarch64"?)
b.toml:4: mod: unknown field `mod`, expected one of `inherit`, `name`, `architecture`, `mode`, `handover`, `next-init`, `modules`, `slot`, `verity`, `overlay`, `extras`, `watchdog`, `failure`, `image`, `initramfs`, `budget`, `bootloader`, `qemu`, `hardware` (did you mean "mode"?)
b.toml:6: modules.load[1]: found 5, expected a string
b.toml:6: modules.load[2]: found "no/pe", expected a module's name: letters, digits, - and _, without folder and .ko
b.toml:7: modules.strip: found "yes", expected a boolean
b.toml:11: slot[0].deadline: found "ten", expected a duration: a whole number and us, ms or s, as in "500ms"
b.toml:15: slot[1].hint: not with source = "initramfs", expected no such key
b.toml:17: overlay.size: found 5120 bytes, expected a multiple of 4KiB below 4096GiB
b.toml:18: failure.shell: missing, expected the host path of a static program
b.toml:20: imag: unknown field `imag`, expected one of `inherit`, `name`, `architecture`, `mode`, `handover`, `next-init`, `modules`, `slot`, `verity`, `overlay`, `extras`, `watchdog`, `failure`, `image`, `initramfs`, `budget`, `bootloader`, `qemu`, `hardware` (did you mean "image"?)"#;
    assert_eq!(errors(text), expected);
}

#[test]
fn missing_parts_are_named() {
    let text = errors("mode = \"root\"\n");
    assert!(text.contains("b.toml:1: name: missing, expected the board's name"), "{text}");
    assert!(text.contains("b.toml:1: architecture: missing, expected aarch64, armv7 or x86_64"), "{text}");
    assert!(text.contains("b.toml:1: slot: found 0 slots, expected 1 to 4 [[slot]] tables"), "{text}");
}

#[test]
fn text_that_the_target_has_no_room_for_or_never_sees_is_refused() {
    let with = |parameters: &str| format!("{GOOD}[modules]\nload = [\"m\"]\nparameters = {{ m = \"{parameters}\" }}\n");
    let longest = "p".repeat(bootstrap::plan::MAX_TEXT);
    assert_eq!(good(&with(&longest)).modules.parameters["m"], longest);
    let expected = "expected module parameters: name=value separated by spaces, at most 255 bytes";
    assert!(errors(&with(&format!("{longest}p"))).contains(expected), "{}", errors(&with(&format!("{longest}p"))));
    for name in ["system_ä", &"n".repeat(37)] {
        let found = errors(&GOOD.replace("\"p\"", &format!("\"{name}\"")));
        assert!(found.contains("expected a partition name: 1 to 36 printable ASCII characters"), "{found}");
    }
}

#[test]
fn slot_needs_exactly_one_device_and_a_unique_name() {
    let two = errors(&format!("{GOOD}label = \"l\"\n"));
    let expected = "found partname and label, expected exactly one of partname, partuuid, label, uuid, path";
    assert_eq!(two, format!("b.toml:7: slot[0].label: {expected}"));
    let twice = errors(&format!("{GOOD}[[slot]]\nname = \"a\"\nsource = \"initramfs\"\n"));
    assert_eq!(twice, "b.toml:8: slot[1].name: \"a\" is taken, expected unique names");
    let none = errors(&GOOD.replace("partname = \"p\"\n", ""));
    assert!(none.starts_with("b.toml:3: slot[0]: no device, expected exactly one"), "{none}");
}

/// A board of these slots, and what follows them.
fn with_slots(slots: &str) -> String {
    format!("name = \"b\"\narchitecture = \"aarch64\"\n{slots}")
}

const FILE: &str =
    "[[slot]]\nname = \"f\"\nsource = \"file\"\npartname = \"d\"\nfilesystem = \"ext4\"\nfile = \"/a.erofs\"\n";
const MEMORY: &str =
    "[[slot]]\nname = \"m\"\nsource = \"memory\"\naddress = \"0xa0000000\"\nram-start = \"0x40000000\"\n";
const OSTREE: &str = "[[slot]]\nname = \"o\"\nsource = \"ostree\"\npartname = \"d\"\nfilesystem = \"btrfs\"\n";
const INITRAMFS: &str = "[[slot]]\nname = \"i\"\nsource = \"initramfs\"\n";

fn good(text: &str) -> Board {
    load_files(&[("b.toml", text.as_bytes())]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_source_is_taken_with_its_keys() {
    let sources = |text: &str| good(&with_slots(text)).slots.into_iter().map(|slot| slot.source).collect::<Vec<_>>();
    let path = FilePath::At("/a.erofs".into());
    assert_eq!(sources(FILE), [Source::File { holder: ext4(Device::PartName("d".into())), path }]);
    let memory = |name: &str| Source::Memory {
        device: wanted(Device::Path(name.into())),
        address: 0xa000_0000,
        ram_start: 1 << 30,
    };
    assert_eq!(sources(MEMORY), [memory("pmem0")]);
    assert_eq!(sources(&format!("{MEMORY}path = \"pmem3\"\n")), [memory("pmem3")]);
    let holder = Holder { kind: FileSystem::Btrfs, ..ext4(Device::PartName("d".into())) };
    assert_eq!(sources(OSTREE), [Source::File { holder, path: FilePath::Ostree }]);
    let lun = good(&format!("{GOOD}lun = \"0:0:0:1\"\n")).slots.remove(0).source;
    assert_eq!(lun.device().unwrap().lun.as_deref(), Some("0:0:0:1"));
    let rescue = good(&with_slots(&format!("{FILE}{INITRAMFS}image = \"rescue\"\n"))).slots;
    assert_eq!(rescue.iter().map(|slot| slot.image).collect::<Vec<_>>(), [ImageName::Main, ImageName::Rescue]);
}

#[test]
fn a_key_of_another_source_is_refused() {
    let rows = [
        (INITRAMFS, "file = \"/a\"", "slot[0].file: not with source = \"initramfs\", expected no such key"),
        (INITRAMFS, "lun = \"0:0:0:0\"", "slot[0].lun: not with source = \"initramfs\", expected no such key"),
        (MEMORY, "partname = \"p\"", "slot[0].partname: not with source = \"memory\", expected no such key"),
        (MEMORY, "lun = \"0:0:0:0\"", "slot[0].lun: not with source = \"memory\", expected no such key"),
        (MEMORY, "filesystem = \"xfs\"", "slot[0].filesystem: not with source = \"memory\", expected no such key"),
        (OSTREE, "file = \"/a\"", "slot[0].file: not with source = \"ostree\", expected no such key"),
        (FILE, "address = \"0x0\"", "slot[0].address: not with source = \"file\", expected no such key"),
        (FILE, "lun = \"0:0:0\"", "slot[0].lun: found \"0:0:0\", expected a logical unit as host:channel:target:lun,"),
        (FILE, "image = \"spare\"", "slot[0].image: unknown variant `spare`, expected `main` or `rescue`"),
        (FILE, "label = \"l\"", "slot[0].label: found partname and label, expected exactly one of partname,"),
        (FILE, "deadline = \"1us\"", "slot[0].deadline: found 1µs, expected whole milliseconds,"),
    ];
    for (slot, key, expected) in rows {
        let text = errors(&with_slots(&format!("{slot}{key}\n")));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    let partition = errors(&format!("{GOOD}filesystem = \"ext4\"\nfile = \"/a\"\n"));
    assert_eq!(partition.matches("not with source = \"partition\"").count(), 2, "{partition}");
}

#[test]
fn a_source_without_its_keys_is_refused() {
    let rows = [
        (FILE, "file = \"/a.erofs\"\n", "slot[0].file: missing, expected the image's path in the file system"),
        (FILE, "filesystem = \"ext4\"\n", "slot[0].filesystem: missing, expected ext4, vfat, f2fs, xfs or btrfs"),
        (FILE, "partname = \"d\"\n", "slot[0]: no device, expected exactly one of partname,"),
        (OSTREE, "filesystem = \"btrfs\"\n", "slot[0].filesystem: missing, expected ext4,"),
        (OSTREE, "partname = \"d\"\n", "slot[0]: no device, expected exactly one of partname,"),
        (MEMORY, "address = \"0xa0000000\"\n", "slot[0].address: missing, expected a physical address, as in"),
    ];
    for (slot, key, expected) in rows {
        let text = errors(&with_slots(&slot.replace(key, "")));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    let text = errors(&with_slots(&MEMORY.replace("0xa0000000", "0xa0001000")));
    assert_eq!(text, "b.toml:6: slot[0].address: found 0xa0001000, expected a multiple of 2MiB");
    let none = errors(&with_slots("[[slot]]\nname = \"a\"\n"));
    assert!(none.ends_with("slot[0].source: missing, expected partition, file, initramfs, memory or ostree"), "{none}");
}

#[test]
fn one_place_holds_one_thing() {
    let again = |slot: &str| slot.replacen("name = \"", "name = \"z", 1);
    let rescue = |slot: &str| again(slot) + "image = \"rescue\"\n";
    let partition = "[[slot]]\nname = \"p\"\nsource = \"partition\"\npartname = \"d\"\n";
    for fine in [
        format!("{partition}{}", again(partition)),
        format!("{FILE}{}", rescue(FILE).replace("/a", "/b")),
        format!("{FILE}{}", rescue(FILE).replace("\"d\"", "\"e\"")),
        format!("{OSTREE}{}", FILE.replace("ext4", "btrfs")),
        format!("{MEMORY}path = \"pmem1\"\n{}", rescue(MEMORY).replace("0xa", "0xb")),
    ] {
        good(&with_slots(&fine));
    }
    for (slots, device, user) in [
        (format!("{partition}{}", rescue(partition)), "PARTNAME=d", "p"),
        (format!("{partition}{FILE}"), "PARTNAME=d", "p"),
        (format!("{FILE}{OSTREE}"), "PARTNAME=d", "f"),
        (format!("{FILE}{}", rescue(FILE)), "PARTNAME=d", "f"),
        (format!("{MEMORY}{}", rescue(MEMORY)), "/dev/pmem0", "m"),
        (format!("{MEMORY}{}", again(MEMORY).replace("0xa", "0xb")), "/dev/pmem0", "m"),
        (format!("{MEMORY}{}path = \"pmem1\"\n", again(MEMORY)), "/dev/pmem1", "m"),
    ] {
        let text = errors(&with_slots(&slots));
        let expected = format!("slot[1]: {device} is otherwise used by slot {user}, expected another place");
        assert!(text.ends_with(&expected), "{text}");
    }
    let upper = "[overlay]\npartname = \"d\"\nfilesystem = \"ext4\"\n";
    let text = errors(&with_slots(&format!("{FILE}{upper}")));
    assert!(text.ends_with("overlay: PARTNAME=d is used by slot f, expected another device"), "{text}");
    let text = errors(&with_slots(&format!("{INITRAMFS}image = \"rescue\"\n")));
    assert!(text.ends_with("slot: every slot has image = \"rescue\", expected one with \"main\""), "{text}");
}

#[test]
fn verity_is_taken_where_it_can_be_had() {
    let verity = |slots: &str, table: &str| good(&with_slots(&format!("{slots}[verity]\n{table}\n"))).verity;
    let keys = "method = \"root-hash\"\non-corruption = \"panic\"\nfec-roots = 2\nversion = 7";
    let expected = Verity { method: Method::RootHash, on_corruption: OnCorruption::Panic, fec_roots: 2, version: 7 };
    assert_eq!(verity(MEMORY, keys), expected);
    let signed = verity(FILE, "method = \"signature\"\nversion = 7\nminimum-version = 6");
    assert_eq!(signed.method, Method::Signature { minimum_version: 6 });
    let digest = verity(&format!("{FILE}{INITRAMFS}"), "method = \"fs-verity\"");
    assert!(!digest.covers(&Source::Initramfs));
    let slots = good(&with_slots(&format!("{FILE}{INITRAMFS}[verity]\nmethod = \"signature\"\n"))).slots;
    assert_eq!(slots.iter().map(|slot| slot.pin).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn verity_that_cannot_be_is_refused() {
    let root_hash = "method = \"root-hash\"";
    let rows = [
        (FILE, "method = \"sha1\"", "verity.method: unknown variant `sha1`, expected one of `none`, `root-hash`,"),
        (FILE, "fec-roots = 2", "verity.fec-roots: not with method = \"none\", expected no such key"),
        (FILE, "on-corruption = \"panic\"", "verity.on-corruption: not with method = \"none\", expected no such key"),
        (FILE, "minimum-version = 0", "verity.minimum-version: not with method = \"none\", expected no such key"),
        (FILE, &format!("{root_hash}\nfec-roots = 25"), "verity.fec-roots: found 25, expected 0 or 2 to 24"),
        (FILE, &format!("{root_hash}\nfec-roots = 1"), "verity.fec-roots: found 1, expected 0 or 2 to 24"),
        (
            FILE,
            &format!("{root_hash}\nminimum-version = 1"),
            "verity.minimum-version: not with method = \"root-hash\",",
        ),
        (
            FILE,
            &format!("{root_hash}\non-corruption = \"ignore\""),
            "unknown variant `ignore`, expected one of `error`,",
        ),
        (FILE, &format!("{root_hash}\nversion = -1"), "verity.version: found -1, expected a whole number from 0"),
        (FILE, "method = \"fs-verity\"\nfec-roots = 2", "verity.fec-roots: not with method = \"fs-verity\","),
        (
            FILE,
            "method = \"signature\"\nminimum-version = 1",
            "verity.minimum-version: found 1, expected at most version, 0",
        ),
        (
            MEMORY,
            "method = \"fs-verity\"",
            "slot[0].source: no file, and verity.method is \"fs-verity\", expected file,",
        ),
        (INITRAMFS, root_hash, "verity.method: found \"root-hash\" but nothing to verify, expected a slot outside"),
    ];
    for (slots, table, expected) in rows {
        let text = errors(&with_slots(&format!("{slots}[verity]\n{table}\n")));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    for kind in ["vfat", "xfs"] {
        let slots = FILE.replace("ext4", kind);
        let text = errors(&with_slots(&format!("{slots}[verity]\nmethod = \"fs-verity\"\n")));
        assert!(
            text.contains(&format!("slot[0].filesystem: found {kind}, which has no fs-verity, expected")),
            "{text}"
        );
    }
}

#[test]
fn a_pin_cannot_say_other_than_verity() {
    let board = |pin: bool, method: &str| with_slots(&format!("{FILE}pin = {pin}\n[verity]\nmethod = \"{method}\"\n"));
    for (pin, method) in [(true, "root-hash"), (true, "fs-verity"), (false, "signature"), (false, "none")] {
        assert_eq!(good(&board(pin, method)).slots[0].pin, pin, "{method}");
    }
    for (pin, method) in [(false, "root-hash"), (false, "fs-verity"), (true, "signature")] {
        let text = errors(&board(pin, method));
        assert!(text.starts_with(&format!("b.toml:9: slot[0].pin: found {pin}, but verity.method")), "{text}");
    }
}

#[test]
fn memory_is_mapped_uncompressed() {
    let compressed = format!("{MEMORY}[image]\ncompression = \"lz4\"\n");
    let text = errors(&with_slots(&compressed));
    assert!(text.ends_with("image.compression: found lz4, which slot m cannot map, expected none"), "{text}");
    good(&with_slots(&format!("{compressed}[verity]\nmethod = \"root-hash\"\n")));
}

#[test]
fn the_upper_directory_can_be_kept() {
    let upper = |keys: &str| with_slots(&format!("{INITRAMFS}[overlay]\n{keys}\n"));
    let kept = good(&upper("partname = \"u\"\nfilesystem = \"ext4\"")).overlay;
    assert_eq!(kept, Overlay::Partition(ext4(Device::PartName("u".into()))));
    let rows = [
        ("partname = \"u\"", "overlay.filesystem: missing, expected ext4 or f2fs"),
        ("partname = \"u\"\nfilesystem = \"vfat\"", "overlay.filesystem: found vfat, expected ext4 or f2fs"),
        ("filesystem = \"f2fs\"", "overlay: no device, expected exactly one of partname,"),
        ("uuid = \"abcd-1234\"\nlabel = \"l\"\nfilesystem = \"f2fs\"", "overlay.uuid: found label and uuid, expected"),
        ("path = \"vda2\"\nfilesystem = \"f2fs\"\nsize = 4096", "overlay.size: not with a device,"),
        ("path = \"vda2\"\nfilesystem = \"f2fs\"\ninodes = 5", "overlay.inodes: not with a device,"),
        (
            "path = \"vda2\"\nfilesystem = \"ext3\"",
            "overlay.filesystem: unknown variant `ext3`, expected one of `ext4`,",
        ),
    ];
    for (keys, expected) in rows {
        let text = errors(&upper(keys));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_watchdog_has_whole_seconds() {
    let watchdog = |keys: &str| format!("{GOOD}[watchdog]\n{keys}\n");
    let expected = |device: &str| Some(Watchdog { device: device.into(), timeout_s: 30 });
    assert_eq!(good(&watchdog("timeout = \"30s\"")).watchdog, expected("watchdog0"));
    assert_eq!(good(&watchdog("device = \"watchdog1\"\ntimeout = \"30000ms\"")).watchdog, expected("watchdog1"));
    let rows = [
        ("device = \"watchdog0\"", "watchdog.timeout: missing, expected whole seconds, as in \"30s\""),
        ("timeout = \"1500ms\"", "watchdog.timeout: found 1.5s, expected whole seconds, at least 1,"),
        ("timeout = \"0s\"", "watchdog.timeout: found 0ns, expected whole seconds, at least 1,"),
        ("timeout = \"2147483648s\"", "watchdog.timeout: found 2147483648s, expected whole seconds,"),
        (
            "device = \"vda1\"\ntimeout = \"1s\"",
            "watchdog.device: found \"vda1\", expected a kernel name of a watchdog,",
        ),
    ];
    for (keys, expected) in rows {
        let text = errors(&watchdog(keys));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
}

/// A board of `architecture` whose bootloader takes this.
fn with_bootloader(architecture: &str, keys: &str) -> String {
    format!("{}[bootloader]\n{keys}\n", GOOD.replace("armv7", architecture))
}

const ADDRESSES: &str =
    "kernel-address = \"0x80080000\"\ninitramfs-address = \"0x88000000\"\ndtb-address = \"0x87000000\"";

#[test]
fn a_bootloader_is_taken_with_its_keys() {
    assert_eq!(good(GOOD).bootloader, Bootloader::default());
    let all = "emit = [\"fit\", \"extlinux\", \"script\", \"uki\", \"grub\", \"bls\", \"android\"]";
    let more = "dtb = \"ti/k3.dtb\"\ncommand-line = \" console=ttyS2,115200n8  quiet \"\nlimit = \"64MiB\"";
    let found = good(&with_bootloader("aarch64", &format!("{all}\n{ADDRESSES}\n{more}"))).bootloader;
    let emit = vec![Emit::Fit, Emit::Extlinux, Emit::Script, Emit::Uki, Emit::Grub, Emit::Bls, Emit::Android];
    let expected = Bootloader {
        emit,
        dtb: Some("ti/k3.dtb".into()),
        kernel_address: Some(0x8008_0000),
        initramfs_address: Some(0x8800_0000),
        dtb_address: Some(0x8700_0000),
        command_line: "console=ttyS2,115200n8 quiet".into(),
        limit: Some(64 << 20),
    };
    assert_eq!(found, expected);
    let pc = good(&with_bootloader("x86_64", "emit = [\"uki\", \"grub\", \"bls\", \"extlinux\"]")).bootloader;
    assert_eq!(pc.emit, [Emit::Uki, Emit::Grub, Emit::Bls, Emit::Extlinux]);
}

#[test]
fn a_bootloader_that_cannot_be_is_refused() {
    let without = |key: &str| {
        let rest: Vec<&str> = ADDRESSES.lines().filter(|line| !line.starts_with(key)).collect();
        format!("emit = [\"android\"]\n{}", rest.join("\n"))
    };
    let high = format!("emit = [\"fit\"]\n{}", ADDRESSES.replace("0x80080000", "0x100000000"));
    let rows = [
        ("aarch64", "emit = [\"lilo\"]", "bootloader.emit[0]: unknown variant `lilo`, expected one of `fit`,"),
        ("aarch64", "emit = [\"uki\", \"uki\"]", "bootloader.emit[1]: \"uki\" is there twice, expected each once"),
        (
            "x86_64",
            "emit = [\"script\"]",
            "bootloader.emit: found \"script\" for x86_64, expected extlinux, uki, grub or",
        ),
        ("x86_64", "dtb = \"a.dtb\"", "bootloader.dtb: not with architecture = \"x86_64\", expected no such key"),
        ("armv7", "emit = [\"fit\"]", "bootloader.kernel-address: missing, expected an address for emit = \"fit\","),
        (
            "armv7",
            &without("kernel"),
            "bootloader.kernel-address: missing, expected an address for emit = \"android\",",
        ),
        ("armv7", &without("initramfs"), "bootloader.initramfs-address: missing, expected an address for emit"),
        ("armv7", &without("dtb"), "bootloader.dtb-address: missing, expected an address for emit = \"android\","),
        (
            "aarch64",
            &high,
            "bootloader.kernel-address: found 0x100000000, expected below 0x100000000 for emit = \"fit\"",
        ),
        ("aarch64", "dtb-address = \"87000000\"", "bootloader.dtb-address: found \"87000000\", expected an address in"),
        ("aarch64", "dtb = \"../a.dtb\"", "bootloader.dtb: found \"../a.dtb\", expected a relative path to a .dtb,"),
        ("aarch64", "dtb = \"a.dts\"", "bootloader.dtb: found \"a.dts\", expected a relative path to a .dtb,"),
        ("aarch64", "limit = 0", "bootloader.limit: found 0 bytes, expected the size of a boot file,"),
        ("aarch64", "command-line = \"a=$b\"", "bootloader.command-line: found \"a=$b\", expected 1 to 1024 bytes of"),
    ];
    for (architecture, keys, expected) in rows {
        let text = errors(&with_bootloader(architecture, keys));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    let text = errors(&with_slots(&format!("{MEMORY}[bootloader]\nemit = [\"script\", \"uki\"]\n")));
    let expected = "bootloader.emit: found \"uki\", which puts no image of slot m into memory, expected script";
    assert!(text.ends_with(expected), "{text}");
    good(&with_slots(&format!("{MEMORY}[bootloader]\nemit = [\"script\"]\n")));
}

const HARDWARE: &str = "[hardware]\nsoc = \"Texas Instruments AM625\"\nserial = \"ttyS2,115200n8\"\n\
                        storage = [\"mmcblk0: eMMC\", \"sda: USB\"]\n";

#[test]
fn hardware_is_taken_with_its_keys() {
    let drivers = "drivers = [{ option = \"MMC_SDHCI_AM654\", module = \"sdhci-am654\", why = \"eMMC\" }, \
                   { option = \"SERIAL_8250_CONSOLE\", why = \"console\" }]\nrun-on = \"never\"\n";
    let board = good(&format!("{GOOD}hint = \"mmcblk0p2\"\n{HARDWARE}{drivers}"));
    assert!(board.is_unproven());
    let hardware = board.hardware.unwrap();
    assert_eq!((hardware.soc.as_str(), hardware.serial.baud), ("Texas Instruments AM625", 115_200));
    let driver = |option: &str, module: Option<&str>, why: &str| Driver {
        option: option.into(),
        module: module.map(str::to_owned),
        why: why.into(),
    };
    let expected =
        [driver("MMC_SDHCI_AM654", Some("sdhci-am654"), "eMMC"), driver("SERIAL_8250_CONSOLE", None, "console")];
    assert_eq!((hardware.drivers.as_slice(), hardware.run_on), (expected.as_slice(), None));
    let proven = good(&format!("{GOOD}{HARDWARE}run-on = \"2026-12-01, eMMC\"\n"));
    assert!(!proven.is_unproven() && !good(GOOD).is_unproven());
}

#[test]
fn hardware_that_cannot_be_is_refused() {
    let missing = errors(&format!("{GOOD}[hardware]\n"));
    for key in ["soc", "serial", "storage"] {
        assert!(missing.contains(&format!("b.toml:7: hardware.{key}: missing, expected ")), "{missing}");
    }
    let rows = [
        (
            "drivers = [{ option = \"CONFIG_MMC\", why = \"x\" }]",
            "hardware.drivers[0].option: found \"CONFIG_MMC\", expected a",
        ),
        ("drivers = [{ option = \"MMC\" }]", "hardware.drivers[0].why: missing, expected what it is needed for"),
        ("drivers = [{ why = \"x\" }]", "hardware.drivers[0].option: missing, expected a kernel option"),
        ("drivers = [\"MMC\"]", "hardware.drivers[0]: found \"MMC\", expected a table"),
        ("run-on = 5", "hardware.run-on: found 5, expected a string"),
        ("drivers = [{ option = \"MMC\", why = \"x\", modul = \"y\" }]", "(did you mean \"module\"?)"),
    ];
    for (key, expected) in rows {
        let text = errors(&format!("{GOOD}{HARDWARE}{key}\n"));
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    for (key, place) in [("hint = \"mmcblk1p1\"", "slot[0].hint"), ("hint = \"mmcblk0boot0\"", "slot[0].hint")] {
        let text = errors(&format!("{GOOD}{key}\n{HARDWARE}"));
        assert!(
            text.contains(place) && text.ends_with("expected a partition of hardware.storage: mmcblk0, sda"),
            "{text}"
        );
    }
    let upper = format!("{GOOD}{HARDWARE}[overlay]\npath = \"sdb1\"\nfilesystem = \"ext4\"\n");
    let text = errors(&upper);
    assert!(text.contains("overlay.path: found sdb1, expected a partition of hardware.storage"), "{text}");
    let with_console =
        |console: &str| format!("{GOOD}{HARDWARE}[bootloader]\ncommand-line = \"quiet console={console}\"\n");
    good(&with_console("ttyS2,115200n8"));
    good(&with_console("tty0 console=ttyS2"));
    let text = errors(&with_console("ttyS20,115200n8"));
    let expected = "bootloader.command-line: names no console=ttyS2,115200n8, expected that of hardware.serial";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_qemu_board_wants_what_its_disk_has() {
    let qemu = "[qemu]\nmachine = \"virt\"\nconsole = \"ttyAMA0\"\n";
    let upper = |keys: &str| format!("[overlay]\nfilesystem = \"f2fs\"\n{keys}\n");
    let numbered = FILE.replace("partname = \"d\"", "path = \"vda1\"");
    let all = format!("{numbered}{MEMORY}{}{qemu}", upper("path = \"vda2\""));
    let board = good(&with_slots(&all));
    let [first, second] = &partitions(&board.slots, &board.overlay)[..] else { panic!("two partitions") };
    let path = FilePath::At("/a.erofs".into());
    assert_eq!(first.holds, Holds::Files(FileSystem::Ext4, vec![(&path, ImageName::Main)]));
    assert_eq!((second.device, &second.holds), (&Device::Path("vda2".into()), &Holds::Upper(FileSystem::F2fs)));
    let ostree = format!("{OSTREE}{qemu}append = \"ostree=/ostree/boot.1/x/0\"\n");
    good(&with_slots(&ostree));
    let rows = [
        (all.replace("vda2", "vda3"), "overlay.path: found /dev/vda3, which disk.img would not have, expected"),
        (all.replace("vda1", "vda2"), "slot[0].path: found /dev/vda2, which disk.img would not have, expected"),
        (format!("{}{qemu}", FILE.replace("partname", "label")), "slot[0].label: found LABEL=d, which disk.img would"),
        (
            format!("{FILE}{}{qemu}", upper("uuid = \"abcd-1234\"")),
            "overlay.uuid: found UUID=abcd-1234, which disk.img",
        ),
        (ostree.replace("/ostree/", "ostree/"), "qemu.append: names no OSTree deployment for slot o, expected ostree="),
        (format!("{OSTREE}{qemu}"), "qemu.append: names no OSTree deployment for slot o, expected ostree="),
    ];
    for (text, expected) in rows {
        let text = errors(&with_slots(&text));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn files_of_one_file_system_are_one_partition() {
    let rescue = FILE.replace("\"f\"", "\"r\"").replace("/a", "/r") + "image = \"rescue\"\n";
    let again = FILE.replace("\"f\"", "\"g\"");
    let board = good(&with_slots(&format!("{FILE}{rescue}{again}{INITRAMFS}")));
    let [only] = &partitions(&board.slots, &board.overlay)[..] else { panic!("one partition") };
    let [main, spare] = ["/a.erofs", "/r.erofs"].map(|path| FilePath::At(path.into()));
    let files = vec![(&main, ImageName::Main), (&spare, ImageName::Rescue)];
    assert_eq!(only.holds, Holds::Files(FileSystem::Ext4, files));
}

#[test]
fn wrong_types_are_said_in_the_words_of_toml() {
    let says = |text: &str, expected: &str| {
        let said = errors(&format!("{text}\n{GOOD}"));
        assert!(said.lines().any(|line| line == format!("b.toml:1: {expected}")), "{said}");
    };
    says("overlay.inodes = -1", "overlay.inodes: found -1, expected a whole number from 0 to 4294967295");
    says("qemu.cpus = \"2\"", "qemu.cpus: found \"2\", expected a whole number from 0 to 4294967295");
    says("extras.allow = \", expected u32\"", "extras.allow: found \", expected u32\", expected an array");
    says("modules.load = { a = 1 }", "modules.load: found a table, expected an array");
    says("next-init = [1]", "next-init: found an array, expected a string");
    says("modules = 1979-05-27", "modules: found 1979-05-27, expected a table");
    says("failure.policy = 3", "failure.policy: found 3, expected a word in quotes");
    says("mode = { a = 1 }", "mode: found a table, expected a word in quotes");
}

#[test]
fn arrays_are_no_tables_and_tables_no_values() {
    assert_eq!(
        errors(&format!("overlay = [\"64MiB\"]\n{GOOD}")),
        "b.toml:1: overlay: found an array, expected a table"
    );
    assert_eq!(errors(&format!("mode = {{ a = 1 }}\n{GOOD}")).lines().count(), 1);
    assert_eq!(
        errors("name = \"b\"\narchitecture = \"armv7\"\nslot = [[\"a\"]]\n"),
        "b.toml:3: slot[0]: found an array, expected a table"
    );
}

#[test]
fn syntax_errors_do_not_hide_others() {
    let text = errors(&format!("mode = \n{}", GOOD.replace("armv7", "armv8")));
    assert!(text.contains("b.toml:1: not TOML: "), "{text}");
    assert!(text.contains("b.toml:3: architecture: unknown variant `armv8`"), "{text}");
}

#[test]
fn tables_are_merged_key_by_key_and_arrays_replaced() {
    let parent = format!(
        "{GOOD}[overlay]\nsize = \"4KiB\"\ninodes = 5\n[modules]\nload = [\"x\", \"y\"]\n[failure]\npolicy = \"halt\"\n"
    );
    let child = "inherit = \"p\"\nname = \"c\"\n[overlay]\nsize = \"8KiB\"\n[modules]\nload = [\"z\"]\n";
    let board = load_files(&[("c.toml", child.as_bytes()), ("p.toml", parent.as_bytes())]).unwrap();
    assert_eq!(board.name, "c");
    assert_eq!(board.overlay, Overlay::Memory { size_kib: 8, inodes: 5 });
    assert_eq!(board.modules.load, ["z"]);
    assert_eq!(board.failure, Failure::Halt);
    assert_eq!(board.files.len(), 2);
}

#[test]
fn errors_of_a_parent_name_the_parent() {
    let parent = format!("{GOOD}[overlay]\nsize = \"1KiB\"\nsise = 1\n");
    let text = load_files(&[("c.toml", b"inherit = \"p\"\n"), ("p.toml", parent.as_bytes())]).unwrap_err();
    assert!(text.contains("p.toml:8: overlay.size: found 1024 bytes"), "{text}");
    assert!(
        text.contains(
            "p.toml:9: overlay.sise: unknown field `sise`, expected one of `size`, `inodes`, `partname`, `partuuid`, `label`, `uuid`, `path`, `hint`, `deadline`, `lun`, `filesystem` (did you mean \"size\"?)"
        ),
        "{text}"
    );
}

#[test]
fn unknown_parent_and_cycle() {
    let text = load_files(&[("c.toml", b"inherit = \"arm46\"\n"), ("arm64.toml", GOOD.as_bytes())]).unwrap_err();
    assert!(text.contains("c.toml:1: inherit: unknown parent \"arm46\" (did you mean \"arm64\"?)"), "{text}");
    let text = load_files(&[("a.toml", b"inherit = \"b\"\n"), ("b.toml", b"inherit = \"a\"\n")]).unwrap_err();
    assert!(text.contains("b.toml:1: inherit: a cycle: a.toml -> b.toml -> a.toml"), "{text}");
}

#[test]
fn a_board_of_your_own_inherits_from_a_shipped_one() {
    let board = load_files(&[("qemu-arm64.toml", b"inherit = \"qemu-arm64\"\nname = \"mine\"\n")]).unwrap();
    assert_eq!((board.name.as_str(), board.slots.len()), ("mine", 1));
    let text = load_files(&[("b.toml", b"inherit = \"nobody\"\n")]).unwrap_err();
    assert!(text.contains("b.toml:1: inherit: unknown parent \"nobody\": no nobody.toml beside this file"), "{text}");
    assert!(!text.contains("missing"), "{text}");
}

#[test]
fn shell_lies_beside_the_file_that_names_it() {
    let text = format!("{GOOD}[failure]\npolicy = \"shell\"\nshell = \"busybox\"\n");
    let board = load_files(&[("b.toml", text.as_bytes()), ("busybox", b"")]);
    let Failure::Shell(path) = board.unwrap().failure else { panic!("no shell") };
    assert!(path.is_absolute() && path.ends_with("busybox"), "{}", path.display());
    let missing = errors(&text);
    assert_eq!(missing, "b.toml:9: failure.shell: found busybox, expected a file beside this one or an absolute path");
    let text = errors(&format!("{GOOD}[failure]\nshell = \"busybox\"\n"));
    assert_eq!(text, "b.toml:8: failure.shell: only for policy = \"shell\", expected no such key");
}

#[test]
fn hostile_text_stays_on_one_line() {
    let text = errors(&format!("{GOOD}[overlay]\n\"a\\n\\u001b[31m\" = 1\n"));
    assert_eq!(text.lines().count(), 1);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn deep_nesting_and_huge_files_are_refused() {
    for text in ["a.".repeat(30_000) + "a = 1", "a = ".to_owned() + &"[".repeat(60_000), "[".repeat(60_000)] {
        load_files(&[("b.toml", text.as_bytes())]).unwrap_err();
    }
    assert!(errors(&"#".repeat(70_000)).contains("larger than 65536 bytes"));
    assert!(load_files(&[("b.toml", b"name = \"\xff\"")]).unwrap_err().contains("byte 8 is not UTF-8"));
}

/// A real board says that nobody ran it, and loads every driver of its that can be a module, in their order.
fn real_board(board: &Board, text: &str) {
    let Some(hardware) = &board.hardware else { return };
    let says = text.lines().next().is_some_and(|line| line.contains("Not run on hardware"));
    assert_eq!((board.is_unproven(), text.contains("run-on = ")), (says, true), "{}", board.name);
    let modules = hardware.drivers.iter().filter_map(|driver| driver.module.as_ref());
    let places = modules.map(|name| (name, board.modules.load.iter().position(|loaded| loaded == name)));
    let places: Vec<_> = places.collect();
    assert!(places.iter().all(|(_, place)| place.is_some()), "{}: {places:?}", board.name);
    assert!(places.is_sorted_by_key(|(_, place)| *place), "{}: {places:?}", board.name);
    assert!(hardware.drivers.iter().any(|driver| driver.option.ends_with("_CONSOLE")), "{}: no console", board.name);
    let readme = std::fs::read_to_string(shipped().join("README.md")).unwrap();
    let disk = hardware.storage.first().map(|disk| format!("{}: {}", disk.device, disk.what)).unwrap_or_default();
    let row = format!("| `{}` | {} | {disk} | partition | {} |", board.name, hardware.soc, hardware.serial.text);
    assert!(readme.contains(&row), "board-configs/README.md has no row {row}");
    assert!(board.bootloader.dtb.is_some() && !board.bootloader.command_line.is_empty(), "{}", board.name);
}

#[test]
fn every_shipped_file_is_valid() {
    let mut boards = 0;
    for entry in std::fs::read_dir(shipped()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        assert!(text.starts_with("# ") && text.lines().nth(1) == Some("#:schema board.schema.json"), "{name}");
        let is_board = text.parse::<toml::Table>().unwrap().contains_key("name");
        match load(path.to_str().unwrap()) {
            Ok(board) => {
                assert_eq!(Some(board.name.as_str()), path.file_stem().unwrap().to_str());
                real_board(&board, &text);
            }
            // A parent may be incomplete, but nothing else.
            Err(error) => assert!(
                !is_board && error.what.lines().all(|line| line.contains("missing") || line.contains("found 0 slots")),
                "{error}"
            ),
        }
        boards += usize::from(is_board);
    }
    assert!(boards >= 20);
}

#[test]
fn nothing_is_left_of_an_image_that_is_not_compressed() {
    let found = errors(&format!("{GOOD}[image]\nleave-used = true\n"));
    assert!(found.contains("image.leave-used: nothing of the image is compressed"), "{found}");
    assert!(good(&format!("{GOOD}[image]\ncompression = \"lz4\"\nleave-used = true\n")).image.leave_used);
}

#[test]
fn a_service_has_no_keys_for_what_others_do() {
    let board = |slot: &str, more: &str| {
        format!("name = \"b\"\narchitecture = \"aarch64\"\nmode = \"service\"\n{more}[[slot]]\nname = \"a\"\n{slot}\n")
    };
    let lvm = "source = \"partition\"\npath = \"/dev/mapper/vg-image\"";
    let good = good(&board(lvm, ""));
    assert_eq!((good.mode, good.next_init.as_str()), (Mode::Service, "/init"));
    assert_eq!(good.slots[0].source, Source::Partition(wanted(Device::Path("mapper/vg-image".into()))));

    let keys = [
        ("handover = \"kernel\"\n", "handover: not with mode = \"service\", where systemd hands over"),
        ("next-init = \"/init\"\n", "next-init: not with mode = \"service\", where initoverlayfs-switch.service"),
        ("modules.load = [\"erofs\"]\n", "modules: not with mode = \"service\", where dracut brings and udev loads"),
        ("extras.allow = [\"/a\"]\n", "extras: not with mode"),
        ("watchdog.timeout = \"30s\"\n", "watchdog: not with mode"),
        ("failure.policy = \"halt\"\n", "failure: not with mode = \"service\", where emergency.target decides"),
        ("initramfs.compression = \"zstd\"\n", "initramfs: not with mode"),
        ("budget.initramfs = \"1MiB\"\n", "budget: not with mode"),
        ("bootloader.emit = [\"extlinux\"]\n", "bootloader: not with mode"),
        ("qemu.machine = \"virt\"\nqemu.console = \"ttyAMA0\"\n", "qemu: not with mode"),
    ];
    for (key, expected) in keys {
        let found = errors(&board(lvm, key));
        assert!(found.contains(&format!("b.toml:4: {expected}")), "{found}");
    }
    for (slot, expected) in [
        (
            "source = \"initramfs\"",
            "slot[0].source: found \"initramfs\" with mode = \"service\", expected partition or file",
        ),
        ("source = \"partition\"\nlabel = \"l\"\nhint = \"/dev/mapper/a\"", "slot[0].hint: expected a kernel name"),
        (
            "source = \"partition\"\npath = \"/dev/vg/image\"",
            "slot[0].path: found /dev/vg/image, a link of udev or LVM",
        ),
    ] {
        assert!(errors(&board(slot, "")).contains(expected), "{}", errors(&board(slot, "")));
    }
    let other = errors(&board(lvm, "").replace("mode = \"service\"", "mode = \"initial\""));
    assert!(other.contains("slot[0].path: found /dev/mapper/vg-image, which nobody makes"), "{other}");
}

#[test]
fn a_service_may_inherit_what_a_parent_says_for_others() {
    let parent = "architecture = \"aarch64\"\n[failure]\npolicy = \"halt\"\n[budget]\ninitramfs = \"1KiB\"\n";
    let slot = "[[slot]]\nname = \"a\"\nsource = \"partition\"\nlabel = \"l\"\n";
    let child = format!("inherit = \"parent\"\nname = \"b\"\nmode = \"service\"\n{slot}");
    let board = load_files(&[("b.toml", child.as_bytes()), ("parent.toml", parent.as_bytes())]).unwrap();
    assert_eq!((board.failure, board.budget), (Failure::Reboot, Budget::default()));
    let parent = format!("{parent}[modules]\nload = [\"erofs\"]\n");
    let text = load_files(&[("b.toml", child.as_bytes()), ("parent.toml", parent.as_bytes())]).unwrap_err();
    assert!(text.contains("parent.toml:6: modules: not with mode"), "{text}");
}

#[test]
fn schema_is_current() {
    let path = shipped().join("board.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, schema()).unwrap();
    }
    let current = std::fs::read_to_string(&path).unwrap();
    assert!(current == schema(), "run: UPDATE_SCHEMA=1 cargo test -p imagegen schema_is_current");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = load_files(&[("b.toml", &bytes)]);
    }

    #[test]
    fn no_edit_makes_it_panic(at in 0usize..4096, text in "\\PC{0,8}") {
        let path = shipped().join("qemu-arm64.toml");
        let mut board = std::fs::read_to_string(path).unwrap();
        let at = at % board.len();
        if board.is_char_boundary(at) {
            board.insert_str(at, &text);
        }
        let _ = load_files(&[("b.toml", board.as_bytes())]);
    }
}
