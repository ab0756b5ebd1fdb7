//! U-Boot places an image in memory by the very script that `imagegen build` writes for a board.

use super::u_boot::U_BOOT;
use super::{Board, came_from};
use bootstrap::crc::crc32;
use tests::image::IMAGE_PATH;
use tests::{Result, tool};

/// The script that a build makes, with those commands in it.
const SCRIPT: &str = "[bootloader]\nemit = [\"script\"]\ncommand-line = \"console=ttyAMA0 panic=-1 guest=reread\"\n";
/// The board, and where its image lies.
const BOARD: &str = "inherit = \"qemu-arm64-memory\"\n";
const ADDRESS: u64 = 0xa000_0000;
/// That board with a second slot, and the module it takes.
const WITH_RESCUE: &str = "inherit = \"qemu-arm64-memory\"\nname = \"with-rescue\"\n\
    [modules]\nload = [\"libnvdimm\", \"nd_btt\", \"nd_pmem\", \"of_pmem\", \"loop\", \"erofs\", \"overlay\"]\n\
    [[slot]]\nname = \"a\"\nsource = \"memory\"\naddress = \"0xa0000000\"\nram-start = \"0x40000000\"\ndeadline = \"1s\"\n\
    [[slot]]\nname = \"rescue\"\nsource = \"initramfs\"\n";

/// A board whose one partition has the kernel and the script that `imagegen build` wrote for `description`, and of the rest these files.
fn board(description: &str, files: &[&str]) -> Result<Board> {
    let mut board = Board::new("arm64-tuned")?;
    board.memory_mib = 2048;
    board.add_flash(U_BOOT, false)?;
    let content = tool::guest(&board.kernel, board.folder.path())?;
    std::fs::write(board.path("board.toml"), description.to_owned() + SCRIPT)?;
    tool::build(&board.path("board.toml").to_string_lossy(), &board.kernel, &content, &board.path("out"))?;
    let boot = board.vfat("boot", 128)?;
    board.run("mcopy", &[&["-i", "boot", "out/boot.scr", "out/kernel"], files, &["::"]].concat())?;
    board.disk(&[("boot", &boot)])?;
    Ok(board)
}

/// Where U-Boot says that it has put `what`: the first byte behind it.
fn loaded_to(console: &str, what: &str) -> Option<u64> {
    let line = console.lines().find_map(|line| line.trim_start().strip_prefix(&format!("Loading {what} to ")))?;
    let end = line.split_once("end ")?.1.split(' ').next()?;
    u64::from_str_radix(end, 16).ok()
}

#[test]
fn the_commands_place_an_image_that_is_used_where_it_lies() {
    let outcome = board(BOARD, &["out/initramfs.img", "out/initoverlayfs.erofs"]).unwrap().start().unwrap();
    assert_eq!(came_from(&outcome).unwrap(), "pmem0");
    let console = &outcome.console;
    for failed in ["DAX unsupported", "EROFS without dax=always", "fdt - flattened", "libfdt"] {
        assert!(!console.contains(failed), "{failed}: {console}");
    }
    // Nothing but the image lies in the image's memory, and in what the kernel is not to have.
    for what in ["Ramdisk", "Device Tree"] {
        let end = loaded_to(console, what);
        assert!(end.is_some_and(|end| end <= ADDRESS), "{what}: {end:x?}: {console}");
    }
    let large: Vec<u8> = (0..25_000_u32).flat_map(u32::to_le_bytes).collect();
    let line = format!("100755 0 0 {} {:08x} /usr/bin/large", large.len(), crc32(&large));
    assert!(outcome.reported().unwrap().lines("content").contains(&line));
}

/// The tree has no memory with an image, and the kernel all memory: what an earlier boot left in RAM is not taken for one.
#[test]
fn where_there_is_no_image_to_load_the_next_slot_boots() {
    let outcome = board(WITH_RESCUE, &["out/initramfs.img"]).unwrap().start().unwrap();
    assert_eq!(came_from(&outcome).unwrap(), IMAGE_PATH);
    let console = &outcome.console;
    assert!(console.contains("device failed: device did not appear: /dev/pmem0"), "{console}");
    assert!(!console.contains("mem="), "{console}");
}
