//! U-Boot places an image in memory by the very commands and the overlay that `imagegen build` writes for a board.

use super::{Board, came_from};
use super::u_boot::U_BOOT;
use tests::{Result, tool};

/// What a board's boot script does before those commands, and after them.
const BEFORE: &str = "setenv bootargs console=ttyAMA0 panic=-1 guest=reread\n\
    setenv fdt_addr_r ${fdt_addr}\n\
    load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}kernel\n\
    load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}initramfs.img\n\
    setenv ramdisk_bytes ${filesize}\n";
const AFTER: &str = "booti ${kernel_addr_r} ${ramdisk_addr_r}:${ramdisk_bytes} ${fdt_addr_r}\n";

/// A board whose one partition has all that `imagegen build` wrote.
fn board() -> Result<Board> {
    let mut board = Board::new("arm64-6.12")?;
    board.memory_mib = 2048;
    board.add_flash(U_BOOT, false)?;
    let content = tool::guest(&board.kernel, board.folder.path())?;
    tool::build("qemu-arm64-memory", &board.kernel, &content, &board.path("out"))?;
    let commands = std::fs::read_to_string(board.path("out/memory.cmd"))?;
    std::fs::write(board.path("boot.cmd"), [BEFORE, &commands, AFTER].concat())?;
    board.run("mkimage", &["-A", "arm64", "-T", "script", "-d", "boot.cmd", "boot.scr"])?;
    let boot = board.vfat("boot", 128)?;
    let files = ["boot.scr", "out/initramfs.img", "out/initoverlayfs.erofs", "out/memory.dtbo"];
    board.run("mcopy", &[&["-i", "boot"], &files[..], &["::"]].concat())?;
    board.run("mcopy", &["-i", "boot", &board.kernel.image.to_string_lossy(), "::kernel"])?;
    board.disk(&[("boot", &boot)])?;
    Ok(board)
}

#[test]
fn the_commands_place_an_image_that_is_used_where_it_lies() {
    let outcome = board().unwrap().start().unwrap();
    assert_eq!(came_from(&outcome).unwrap(), "pmem0");
    for without in ["DAX unsupported", "EROFS without dax=always"] {
        assert!(!outcome.console.contains(without), "{}", outcome.console);
    }
}
