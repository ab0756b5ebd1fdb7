//! U-Boot counts tries and chooses slots by the example script, kernel and mini-initramfs in one FIT as imagegen emits it.

use super::{Board, Content, came_from, dump_tree, restarted_from};
use imagegen::board::Architecture;
use imagegen::bootloader::{DTB, FIT, FIT_SOURCE, fit};
use std::path::PathBuf;
use tests::Result;
use tests::boot::Outcome;
use tests::image::IMAGE_PATH;
use tests::kernel::checkout;

/// Debian's u-boot-qemu.
pub const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
const SCRIPT_ARGS: &str = "setenv board_args console=ttyAMA0 panic=-1\n";

/// A board with the partitions boot, a, b and tries.
fn board(a: Content, b: Content) -> Result<Board> {
    let mut board = Board::new("arm64-tuned")?;
    board.add_flash(U_BOOT, false)?;
    let boot = boot_partition(&board)?;
    let (a, b, tries) = (board.image("a", a)?, board.image("b", b)?, board.path("tries"));
    std::fs::write(&tries, [0; 512])?;
    board.disk(&[("boot", &boot), ("a", &a), ("b", &b), ("tries", &tries)])?;
    Ok(board)
}

/// The partition that U-Boot boots from: the example script, and a FIT.
fn boot_partition(board: &Board) -> Result<PathBuf> {
    let examples = checkout().join("board-configs/u-boot");
    std::fs::copy(&board.kernel.image, board.path("kernel"))?;
    std::fs::copy(board.parts()?.initrd()?, board.path("initramfs.img"))?;
    let image = fit::Image {
        name: "slots",
        architecture: Architecture::Aarch64,
        load: 0x4040_0000,
        is_compressed: false,
        dtb: DTB,
        dtb_load: None,
        key: None,
    };
    std::fs::write(board.path(FIT_SOURCE), image.source())?;
    let script = SCRIPT_ARGS.to_owned() + &std::fs::read_to_string(examples.join("ab.cmd"))?;
    std::fs::write(board.path("ab.cmd"), script)?;
    dump_tree(board, DTB)?;
    board.run("mkimage", &["-A", "arm64", "-T", "script", "-d", "ab.cmd", "boot.scr"])?;
    board.run("mkimage", &["-f", FIT_SOURCE, FIT])?;
    let path = board.vfat("boot", 128)?;
    board.run("mcopy", &["-i", "boot", "boot.scr", FIT, "::"])?;
    Ok(path)
}

fn refused(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.console.lines().filter_map(|line| line.trim_end().strip_suffix(" refused"));
    lines.filter_map(|line| Some(line.split_once("initoverlayfs: slot ")?.1)).collect()
}

#[test]
fn a_whole_slot_a_boots() {
    let outcome = board(Content::Good, Content::Good).unwrap().start().unwrap();
    assert_eq!(came_from(&outcome).unwrap(), "vda2");
    assert!(refused(&outcome).is_empty(), "{}", outcome.console);
}

#[test]
fn with_a_spoiled_b_boots_and_with_both_the_rescue_slot() {
    let outcome = board(Content::Spoiled, Content::Good).unwrap().start().unwrap();
    assert_eq!((came_from(&outcome).unwrap().as_str(), refused(&outcome)), ("vda3", vec!["a"]));
    let outcome = board(Content::Spoiled, Content::Spoiled).unwrap().start().unwrap();
    assert_eq!((came_from(&outcome).unwrap().as_str(), refused(&outcome)), (IMAGE_PATH, vec!["a", "b"]));
}

/// Images that are whole and do not come up: three tries each, counted on the disk, then the rescue slot.
#[test]
fn tries_are_counted_and_the_rescue_slot_is_the_last() {
    let board = board(Content::Restarts, Content::Restarts).unwrap();
    for expected in ["vda2", "vda2", "vda2", "vda3", "vda3", "vda3"] {
        restarted_from(&board.start().unwrap(), expected);
    }
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), IMAGE_PATH);
}
