//! A unified kernel image: systemd's stub with the kernel, the mini-initramfs and the command line as sections, one EFI program that one
//! signature covers (uapi-group.org, Unified Kernel Image).
//!
//! Not by ukify, which Debian 12 does not have, nor by objcopy, whose version there knows no EFI program for arm64; and either would
//! make other bytes on another host.

use super::{DTB, UKI, kernel, pe};
use crate::board::Board;
use crate::initramfs::Body;
use crate::manifest::{INITRAMFS, KERNEL};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Largest stub taken for one, in bytes; systemd's have some 100 KiB.
const MAX_STUB: u64 = 4 << 20;

/// Writes it into `folder`.
///
/// # Errors
/// Bad input if the stub is none for the board; failed work if writing fails.
pub(super) fn write(board: &Board, stub: Option<&Path>, has_dtb: bool, folder: &Path) -> Result<()> {
    let stub = stub.unwrap_or(Path::new(""));
    if std::fs::metadata(stub).map_err(Error::io("read", stub))?.len() > MAX_STUB {
        let what = format!("{} is larger than {MAX_STUB} bytes", stub.display());
        return Err(Error::bad_input(what, "give the stub of systemd, linux*.efi.stub"));
    }
    let program = std::fs::read(stub).map_err(Error::io("read", stub))?;
    let start = kernel::start_of(&folder.join(KERNEL))?;
    if pe::machine(&program) != pe::machine(&start) {
        let what = format!("{} is no EFI program for {}", stub.display(), board.architecture);
        let name = kernel::efi_name(board.architecture);
        return Err(Error::bad_input(what, format!("give --stub linux{name}.efi.stub of Debian's systemd-boot-efi")));
    }
    let release = format!("ID=initoverlayfs\nNAME=initoverlayfs\nPRETTY_NAME=\"{}\"\n", board.name);
    let mut sections = vec![
        (".osrel", Body::Bytes(release.into_bytes())),
        (".cmdline", Body::Bytes(board.bootloader.command_line.clone().into_bytes())),
    ];
    if has_dtb {
        sections.push((".dtb", Body::Path(folder.join(DTB))));
    }
    sections.push((".initrd", Body::Path(folder.join(INITRAMFS))));
    sections.push((".linux", Body::Path(folder.join(KERNEL))));
    let path = folder.join(UKI);
    let mut out = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
    pe::add(&program, &start, &sections, &mut out)?;
    out.flush().map_err(Error::io("write", &path))
}
