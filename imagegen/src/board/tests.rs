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

#[test]
fn minimal_board_gets_the_documented_defaults() {
    let board = load_files(&[("b.toml", GOOD.as_bytes())]).unwrap();
    assert_eq!((board.mode, board.handover, board.next_init.as_str()), (Mode::Initial, None, "/init"));
    assert_eq!(board.overlay, Overlay { size_kib: 65536, inodes: 16384 });
    assert_eq!(board.image, Image { compression: ImageCompression::None, cluster: 65536 });
    assert_eq!((board.failure, board.initramfs, board.qemu), (Failure::Reboot, Compression::None, None));
    let device = Device::PartName("p".into());
    let source = Source::Partition { device, hint: None, deadline: Duration::from_secs(10) };
    assert_eq!(board.slots, [Slot { name: "a".into(), source, pin: true }]);
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
b.toml:4: mod: unknown field `mod`, expected one of `inherit`, `name`, `architecture`, `mode`, `handover`, `next-init`, `modules`, `slot`, `overlay`, `extras`, `failure`, `image`, `initramfs`, `budget`, `qemu` (did you mean "mode"?)
b.toml:6: modules.load[1]: found 5, expected a string
b.toml:6: modules.load[2]: found "no/pe", expected a module's name: letters, digits, - and _, without folder and .ko
b.toml:7: modules.strip: found "yes", expected a boolean
b.toml:11: slot[0].deadline: found "ten", expected a duration: a whole number and us, ms or s, as in "500ms"
b.toml:15: slot[1].hint: only for source = "partition", expected no such key
b.toml:17: overlay.size: found 5120 bytes, expected a multiple of 4KiB below 4096GiB
b.toml:18: failure.shell: missing, expected the host path of a static program
b.toml:20: imag: unknown field `imag`, expected one of `inherit`, `name`, `architecture`, `mode`, `handover`, `next-init`, `modules`, `slot`, `overlay`, `extras`, `failure`, `image`, `initramfs`, `budget`, `qemu` (did you mean "image"?)"#;
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
fn slot_needs_exactly_one_device_and_a_unique_name() {
    let two = errors(&format!("{GOOD}label = \"l\"\n"));
    let expected = "found partname and label, expected exactly one of partname, partuuid, label, uuid, path";
    assert_eq!(two, format!("b.toml:7: slot[0].label: {expected}"));
    let twice = errors(&format!("{GOOD}[[slot]]\nname = \"a\"\nsource = \"initramfs\"\n"));
    assert_eq!(twice, "b.toml:8: slot[1].name: \"a\" is taken, expected unique names");
    let none = errors(&GOOD.replace("partname = \"p\"\n", ""));
    assert!(none.starts_with("b.toml:3: slot[0]: no device, expected exactly one"), "{none}");
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
    assert_eq!(board.overlay, Overlay { size_kib: 8, inodes: 5 });
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
            "p.toml:9: overlay.sise: unknown field `sise`, expected `size` or `inodes` (did you mean \"size\"?)"
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
            Ok(board) => assert_eq!(Some(board.name.as_str()), path.file_stem().unwrap().to_str()),
            // A parent may be incomplete, but nothing else.
            Err(error) => assert!(
                !is_board && error.what.lines().all(|line| line.contains("missing") || line.contains("found 0 slots")),
                "{error}"
            ),
        }
        boards += usize::from(is_board);
    }
    assert!(boards >= 3);
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
