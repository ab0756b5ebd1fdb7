//! systemd-boot counts tries in the names of the example entries and chooses slots by them, started by EDK2.

use super::{Board, Content, came_from, restarted_from};
use tests::Result;
use tests::image::IMAGE_PATH;
use tests::kernel::{checkout, get};

/// What is different between the architectures.
pub struct Machine {
    /// An EFI program, which the tuned kernel is not.
    pub kernel: &'static str,
    pub loader: &'static str,
    /// Where the firmware looks for it.
    pub name: &'static str,
    /// Firmware, and its empty variables.
    pub firmware: [&'static str; 2],
    /// What a board adds to every entry.
    options: &'static str,
}

/// With Debian's qemu-efi-aarch64.
pub const ARM64: Machine = Machine {
    kernel: "arm64-6.12",
    loader: "systemd-boot-aarch64",
    name: "BOOTAA64.EFI",
    firmware: ["/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"],
    options: "options  console=ttyAMA0 panic=-1\n",
};
/// With Debian's ovmf.
pub const X86_64: Machine = Machine {
    kernel: "x86_64-6.1",
    loader: "systemd-boot-x86_64",
    name: "BOOTX64.EFI",
    firmware: ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    options: "options  console=ttyS0 panic=-1 no_timer_check\n",
};
/// The EFI system partition in the disk, as mtools name it: it is the first.
const ESP: &str = "disk.img@@1M";

/// A board with the partitions esp, a and b, its first entries with this many tries left.
fn board(machine: &Machine, a: Content, b: Content, tries: u32) -> Result<Board> {
    let mut board = Board::new(machine.kernel)?;
    for (image, writable) in machine.firmware.into_iter().zip([false, true]) {
        board.add_flash(image, writable)?;
    }
    let esp = board.vfat("esp", 192)?;
    board
        .run("mmd", &["-i", "esp", "::EFI", "::EFI/BOOT", "::loader", "::loader/entries", "::a", "::b", "::rescue"])?;
    let copy = |from: &str, to: &str| board.run("mcopy", &["-i", "esp", from, to]);
    copy(&get(machine.loader)?.image.to_string_lossy(), &format!("::EFI/BOOT/{}", machine.name))?;
    let examples = checkout().join("board-configs/systemd-boot/loader");
    copy(&examples.join("loader.conf").to_string_lossy(), "::loader/")?;
    std::fs::copy(board.parts()?.initrd()?, board.path("initramfs.img"))?;
    for slot in ["a", "b", "rescue"] {
        let (from, to) = match slot {
            "rescue" => ("rescue.conf".to_owned(), "rescue.conf".to_owned()),
            slot => (format!("{slot}+3.conf"), format!("{slot}+{tries}.conf")),
        };
        let entry = std::fs::read_to_string(examples.join("entries").join(from))? + machine.options;
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

/// Boots from `device`; the slot's image is whole, and its entry is counted down before the kernel starts and stays so: whether a boot
/// was a good one is for the system to say.
fn boots(board: &Board, device: &str, left: [&str; 2]) {
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), device);
    assert_eq!(entries(board).unwrap(), [left[0], left[1], "rescue.conf"]);
}

/// Boots from `device`, whose content restarts the board.
fn restarts(board: &Board, device: &str, left: [&str; 2]) {
    restarted_from(&board.start().unwrap(), device);
    assert_eq!(entries(board).unwrap(), [left[0], left[1], "rescue.conf"]);
}

#[test]
fn a_whole_slot_a_boots_and_is_counted() {
    let board = board(&ARM64, Content::Good, Content::Good, 3).unwrap();
    boots(&board, "vda2", ["a+2-1.conf", "b+3.conf"]);
}

#[test]
fn a_whole_slot_a_boots_on_a_pc_and_is_counted() {
    let board = board(&X86_64, Content::Good, Content::Good, 3).unwrap();
    boots(&board, "vda2", ["a+2-1.conf", "b+3.conf"]);
}

#[test]
fn b_boots_once_a_has_no_try_left() {
    let board = board(&ARM64, Content::Restarts, Content::Good, 2).unwrap();
    restarts(&board, "vda2", ["a+1-1.conf", "b+2.conf"]);
    restarts(&board, "vda2", ["a+0-2.conf", "b+2.conf"]);
    boots(&board, "vda3", ["a+0-2.conf", "b+1-1.conf"]);
}

#[test]
fn the_rescue_slot_boots_once_a_and_b_have_no_try_left() {
    let board = board(&ARM64, Content::Restarts, Content::Restarts, 1).unwrap();
    restarts(&board, "vda2", ["a+0-1.conf", "b+1.conf"]);
    restarts(&board, "vda3", ["a+0-1.conf", "b+0-1.conf"]);
    boots(&board, IMAGE_PATH, ["a+0-1.conf", "b+0-1.conf"]);
}
