//! Boards from flags and from answers: whatever is answered, a file that is written is a board.

use super::*;
use crate::board::{self, Device, Source};
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

fn named(name: &str) -> Given {
    Given { draft: Draft { name: name.to_owned(), ..Draft::default() }, ..Given::default() }
}

/// Runs it with these answers; the questions come back with the outcome.
fn answered(folder: &TempDir, given: Given, answers: &[u8]) -> (Result<Board>, String) {
    let mut asked = Vec::new();
    let mut conversation = Conversation { input: answers, output: &mut asked };
    let outcome = run(&folder.path().join("kit.toml"), given, false, Some(&mut conversation));
    (outcome, String::from_utf8(asked).unwrap())
}

#[test]
fn defaults_make_a_board_with_a_partition() {
    let folder = tempfile::tempdir().unwrap();
    let (board, asked) = answered(&folder, named("kit"), b"aarch64\n\n\n\n\n\n\n");
    let board = board.unwrap();
    assert_eq!((board.name.as_str(), board.architecture.name()), ("kit", "aarch64"), "{asked}");
    assert_eq!(board.slots[0].source.device().unwrap().device, Device::PartName("initoverlayfs".into()));
    // What was written is what was validated, has comments, and leaves nothing else behind.
    let path = folder.path().join("kit.toml");
    assert_eq!(board::load(path.to_str().unwrap()).unwrap(), board);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with("# Board kit: ") && text.contains("inherit = \"arm64\"") && text.matches("\n#").count() > 6,
        "{text}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_wrong_answer_is_asked_for_again_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let answers = b"pdp11\narmv7\n\nfile\nserial\nlabel\n\nBOOT\nntfs\n\next4\n\nfs-verity\nerofs ../x\nerofs\n";
    let (board, asked) = answered(&folder, named("kit"), answers);
    let board = board.unwrap();
    for wrong in ["pdp11", "neither of these", "ntfs", "../x"] {
        assert!(asked.contains(wrong), "{wrong}: {asked}");
    }
    let Source::File { holder, .. } = &board.slots[0].source else { panic!("{board:?}") };
    assert_eq!(holder.device.device, Device::Label("BOOT".into()));
}

#[test]
fn flags_leave_nothing_to_ask() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = named("kit");
    given.draft.architecture = Some("x86_64".into());
    given.source = Some("memory".into());
    (given.slot.address, given.slot.ram_start) = (Some("0xa0000000".into()), Some("0x40000000".into()));
    let board = run(&folder.path().join("kit.toml"), given, false, None).unwrap();
    assert!(board.modules.load.contains(&"nd_pmem".to_owned()), "{board:?}");
}

#[test]
fn a_service_loads_no_modules() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = named("kit");
    (given.draft.architecture, given.draft.mode) = (Some("aarch64".into()), Some("service".into()));
    given.source = Some("partition".into());
    given.slot.device = Some(("path", "/dev/mapper/vg-image".into()));
    let board = run(&folder.path().join("kit.toml"), given, false, None).unwrap();
    assert!(board.modules.load.is_empty(), "{board:?}");
}

#[test]
fn a_parent_with_a_slot_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = named("kit");
    given.draft.inherit = Some("qemu-arm64".into());
    let board = run(&folder.path().join("kit.toml"), given, false, None).unwrap();
    assert_eq!(board.slots, board::load("qemu-arm64").unwrap().slots);
}

#[test]
fn what_is_asked_of_a_parents_board_brings_its_modules() {
    let folder = tempfile::tempdir().unwrap();
    let parent = board::load("qemu-arm64").unwrap().modules.load;
    let made = |name: &str, change: &dyn Fn(&mut Given)| {
        let mut given = named(name);
        given.draft.inherit = Some("qemu-arm64".into());
        change(&mut given);
        run(&folder.path().join(format!("{name}.toml")), given, false, None).unwrap().modules.load
    };
    let with = |more: &[&str]| [&parent[..], &more.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()].concat();
    let verity = |given: &mut Given| given.draft.verity = Some("root-hash".into());
    assert_eq!(made("verity", &verity), with(&["dm_mod", "dm_verity", "sha256"]));
    assert_eq!(made("initramfs", &|given| given.source = Some("initramfs".into())), with(&["loop"]));
    assert_eq!(made("named", &|given| given.draft.verity = Some("none".into())), parent);
    let own = |given: &mut Given| {
        verity(given);
        given.draft.modules = Some(vec!["erofs".into()]);
    };
    assert_eq!(made("own", &own), ["erofs"]);
}

#[test]
fn a_list_of_modules_says_what_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kit.toml");
    let parent = board::load("qemu-arm64").unwrap().modules.load;
    let mut given = named("kit");
    (given.draft.inherit, given.draft.modules) = (Some("qemu-arm64".into()), Some(vec!["erofs".into()]));
    run(&path, given, false, None).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let said =
        format!("replaces the parent's, which has {}: {}.\n", crate::count(parent.len(), "module"), parent.join(", "));
    assert!(text.contains(&said), "{text}");
}

#[test]
fn a_processor_that_is_not_the_parents_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = |architecture: &str| {
        let mut given = named("kit");
        (given.draft.inherit, given.draft.architecture) = (Some("qemu-arm64".into()), Some(architecture.into()));
        run(&folder.path().join("kit.toml"), given, true, None)
    };
    let error = made("x86_64").unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("qemu-arm64 is for aarch64"), "{error}");
    made("aarch64").unwrap();
}

#[test]
fn without_anybody_to_ask_all_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kit.toml");
    let error = run(&path, named("kit"), false, None).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.ends_with("missing: --architecture, --source"), "{error}");
    let mut given = named("kit");
    (given.draft.architecture, given.source) = (Some("armv7".into()), Some("file".into()));
    let error = run(&path, given, false, None).unwrap_err();
    assert!(error.what.contains("one of --partname") && error.what.contains("--filesystem, --file"), "{error}");
    assert!(!path.exists());
}

#[test]
fn what_is_there_stays_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kit.toml");
    let given = || {
        let mut given = named("kit");
        given.draft.inherit = Some("qemu-armv7".into());
        given
    };
    fs::write(&path, "precious").unwrap();
    let error = run(&path, given(), false, None).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.ends_with("is there already"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    run(&path, given(), true, None).unwrap();
    // Also one that has appeared since nobody saw it.
    let staged = StagedFile::beside(&path).unwrap();
    assert_eq!(staged.publish_new().unwrap_err().exit_status(), 2);
    assert!(fs::read_to_string(&path).unwrap().contains("qemu-armv7"));
}

#[test]
fn values_that_are_none_are_refused_before_any_question() {
    let folder = tempfile::tempdir().unwrap();
    for (key, spoil) in [
        ("name", (|given| given.draft.name = "Kit!".into()) as fn(&mut Given)),
        ("uuid", |given| given.slot.device = Some(("uuid", "xyz".into()))),
        ("module", |given| given.draft.modules = Some(vec!["a/b".into()])),
        ("file", |given| given.slot.file = Some("boot".into())),
        ("source", |given| given.source = Some("floppy".into())),
    ] {
        let mut given = named("kit");
        spoil(&mut given);
        let (outcome, asked) = answered(&folder, given, b"");
        let error = outcome.unwrap_err();
        assert!(error.exit_status() == 2 && error.what.starts_with(key) && asked.is_empty(), "{error}");
    }
}

#[test]
fn names_and_paths() {
    assert_eq!(place("kit"), (PathBuf::from("kit.toml"), "kit".to_owned()));
    assert_eq!(place("boards/kit.toml"), (PathBuf::from("boards/kit.toml"), "kit".to_owned()));
}

/// Words that lead somewhere, so that random answers get past the first questions.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "aarch64",
        "armv7",
        "root",
        "initial",
        "partition",
        "file",
        "ostree",
        "memory",
        "initramfs",
        "uuid",
        "label",
        "path",
        "partuuid",
        "ext4",
        "vfat",
        "xfs",
        "0x40000000",
        "0xa0000000",
        "abcd-1234",
        "vda1",
        "/x/y",
        "/{build}",
        "fs-verity",
        "root-hash",
        "signature",
        "none",
        "",
        "a b c",
    ]);
    prop_oneof![4 => word.prop_map(|word| word.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..12)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_answers_make_a_board_or_bad_input(answers in prop::collection::vec(answer(), 0..24)) {
        let folder = tempfile::tempdir().unwrap();
        let (outcome, _) = answered(&folder, named("kit"), &answers.join(&b'\n'));
        let path = folder.path().join("kit.toml");
        match outcome {
            Ok(board) => prop_assert_eq!(board::load(path.to_str().unwrap()).unwrap(), board),
            Err(error) => prop_assert!(error.exit_status() == 2 && !path.exists(), "{}", error),
        }
    }
}
