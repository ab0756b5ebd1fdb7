//! systemd-boot counts tries in the names of the example entries and chooses slots by them, started by EDK2.

use super::{Board, Content, came_from, restarted_from};
use tests::Result;
use tests::image::IMAGE_PATH;
use tests::kernel::{checkout, get};

/// Firmware and its empty variables, of Debian's qemu-efi-aarch64.
const FIRMWARE: [&str; 2] = ["/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"];
/// What a board adds to the options of every entry.
const BOARD_OPTIONS: &str = "options  console=ttyAMA0 panic=-1\n";
/// The EFI system partition in the disk, as mtools name it: it is the first.
const ESP: &str = "disk.img@@1M";

/// A board with the partitions esp, a and b, its first entries with this many tries left.
fn board(a: Content, b: Content, tries: u32) -> Result<Board> {
    // The tuned kernel is no EFI program.
    let mut board = Board::new("arm64-6.12")?;
    for (image, writable) in FIRMWARE.into_iter().zip([false, true]) {
        board.add_flash(image, writable)?;
    }
    let esp = board.vfat("esp", 192)?;
    board.run("mmd", &["-i", "esp", "::EFI", "::EFI/BOOT", "::loader", "::loader/entries", "::a", "::b", "::rescue"])?;
    let copy = |from: &str, to: &str| board.run("mcopy", &["-i", "esp", from, to]);
    copy(&get("systemd-boot")?.image.to_string_lossy(), "::EFI/BOOT/BOOTAA64.EFI")?;
    let examples = checkout().join("board-configs/systemd-boot/loader");
    copy(&examples.join("loader.conf").to_string_lossy(), "::loader/")?;
    std::fs::copy(board.parts()?.initrd()?, board.path("initramfs.img"))?;
    for slot in ["a", "b", "rescue"] {
        let (from, to) = match slot {
            "rescue" => ("rescue.conf".to_owned(), "rescue.conf".to_owned()),
            slot => (format!("{slot}+3.conf"), format!("{slot}+{tries}.conf")),
        };
        let entry = std::fs::read_to_string(examples.join("entries").join(from))? + BOARD_OPTIONS;
        std::fs::write(board.path(&to), entry)?;
        copy(&to, "::loader/entries/")?;
        copy("initramfs.img", &format!("::{slot}/"))?;
        copy(&board.kernel.image.to_string_lossy(), &format!("::{slot}/linux"))?;
    }
    let (a, b) = (board.image("a", a)?, board.image("b", b)?);
    board.disk(&[("esp", &esp), ("a", &a), ("b", &b)])?;
    Ok(board)
}

/// The names of the entries, sorted.
fn entries(board: &Board) -> Result<Vec<String>> {
    let listed = board.run("mdir", &["-b", "-i", ESP, "::loader/entries"])?;
    let mut names: Vec<String> = listed.lines().filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// A try is counted before the kernel starts, and stays counted: whether the boot was a good one is the system's to say.
#[test]
fn a_whole_slot_a_boots_and_is_counted() {
    let board = board(Content::Good, Content::Good, 3).unwrap();
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), "vda2");
    assert_eq!(entries(&board).unwrap(), ["a+2-1.conf", "b+3.conf", "rescue.conf"]);
}

/// Images that are whole and do not come up: a until it has no try left, then b, then the rescue slot.
#[test]
fn tries_are_counted_and_the_rescue_slot_is_the_last() {
    let board = board(Content::Restarts, Content::Restarts, 2).unwrap();
    let boots = [
        ("vda2", ["a+1-1.conf", "b+2.conf", "rescue.conf"]),
        ("vda2", ["a+0-2.conf", "b+2.conf", "rescue.conf"]),
        ("vda3", ["a+0-2.conf", "b+1-1.conf", "rescue.conf"]),
        ("vda3", ["a+0-2.conf", "b+0-2.conf", "rescue.conf"]),
    ];
    for (device, expected) in boots {
        restarted_from(&board.start().unwrap(), device);
        assert_eq!(entries(&board).unwrap(), expected);
    }
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), IMAGE_PATH);
    assert_eq!(entries(&board).unwrap(), ["a+0-2.conf", "b+0-2.conf", "rescue.conf"]);
}

#[test]
fn b_boots_once_a_has_no_try_left() {
    let board = board(Content::Restarts, Content::Good, 1).unwrap();
    restarted_from(&board.start().unwrap(), "vda2");
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), "vda3");
    assert_eq!(entries(&board).unwrap(), ["a+0-1.conf", "b+0-1.conf", "rescue.conf"]);
}
