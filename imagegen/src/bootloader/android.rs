//! Android's partitions boot and vendor_boot, header version 4: the kernel and the mini-initramfs in the first, the device tree, the
//! command line and the load addresses in the second. Our mini-initramfs is whole, so there is no vendor ramdisk to lay it upon.
//!
//! Layout: AOSP, system/tools/mkbootimg, include/bootimg/bootimg.h, `boot_img_hdr_v4` and `vendor_boot_img_hdr_v4`. Written here because
//! the mkbootimg of Debian 12 ends with version 3; that of Debian 13 makes the same bytes (a test).

use super::{BOOT, DTB, VENDOR_BOOT};
use crate::board::Board;
use crate::manifest::{INITRAMFS, KERNEL};
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Parts begin at multiples of this in boot, and in a vendor_boot that says so.
const PAGE: u64 = 4096;
const VERSION: u32 = 4;
const BOOT_MAGIC: &[u8; 8] = b"ANDROID!";
const VENDOR_MAGIC: &[u8; 8] = b"VNDRBOOT";
const BOOT_HEADER: u32 = 1584;
const VENDOR_HEADER: u32 = 2128;
/// Bytes of a command line in boot, and in vendor_boot.
const BOOT_LINE: usize = 512 + 1024;
const VENDOR_LINE: usize = 2048;
/// Bytes of a board's name, with the zero at its end.
const NAME: usize = 16;
/// Bytes of an entry of the vendor ramdisk table (`vendor_ramdisk_table_entry_v4`).
const TABLE_ENTRY: u32 = 108;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Android {
    /// Of boot.
    Boot {
        /// Bytes of the kernel.
        kernel: u32,
        /// Bytes of the ramdisk.
        ramdisk: u32,
    },
    /// Of vendor_boot.
    VendorBoot {
        /// Physical addresses of kernel, ramdisk and device tree.
        addresses: [u64; 3],
        /// Bytes of the device tree.
        dtb: u32,
        /// Kernel command line.
        line: String,
    },
}

impl Android {
    /// Reads the header that a file begins with; `None` if it is none of version 4.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if bytes.starts_with(BOOT_MAGIC) && u32_at(40)? == VERSION {
            return Some(Android::Boot { kernel: u32_at(8)?, ramdisk: u32_at(12)? });
        }
        if !bytes.starts_with(VENDOR_MAGIC) || u32_at(8)? != VERSION {
            return None;
        }
        let line = bytes.get(28..28 + VENDOR_LINE)?.split(|byte| *byte == 0).next()?;
        let dtb_at = u64::from_le_bytes(*bytes.get(2104..)?.first_chunk()?);
        Some(Android::VendorBoot {
            addresses: [u32_at(16)?.into(), u32_at(20)?.into(), dtb_at],
            dtb: u32_at(2100)?,
            line: String::from_utf8_lossy(line).into_owned(),
        })
    }
}

/// Writes both into `folder`.
///
/// # Errors
/// Failed work if writing fails or a part has 4 GiB or more.
pub(super) fn write(board: &Board, folder: &Path) -> Result<()> {
    let (kernel, ramdisk, dtb) = (size(folder, KERNEL)?, size(folder, INITRAMFS)?, size(folder, DTB)?);
    let header = boot_header(kernel, ramdisk);
    write_parts(folder, BOOT, &header, &[KERNEL, INITRAMFS])?;
    write_parts(folder, VENDOR_BOOT, &vendor_header(board, dtb), &[DTB])
}

fn size(folder: &Path, name: &str) -> Result<u32> {
    let path = folder.join(name);
    let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    let hint = "Android's headers have 32 bits for it: put less into it";
    u32::try_from(bytes).map_err(|_| Error::failed(format!("{name} has {bytes} bytes"), hint))
}

fn boot_header(kernel: u32, ramdisk: u32) -> Vec<u8> {
    let mut header = BOOT_MAGIC.to_vec();
    // Sizes, version of the system, size of the header, four reserved words, version of the header.
    for word in [kernel, ramdisk, 0, BOOT_HEADER, 0, 0, 0, 0, VERSION] {
        header.extend(word.to_le_bytes());
    }
    header.resize(header.len() + BOOT_LINE, 0);
    // Bytes of a signature, which ours has not: vbmeta covers the partition.
    header.extend(0_u32.to_le_bytes());
    header
}

fn vendor_header(board: &Board, dtb: u32) -> Vec<u8> {
    let take = &board.bootloader;
    // Validated to have 32 bits.
    let address = |address: Option<u64>| u32::try_from(address.unwrap_or_default()).unwrap_or_default();
    let mut header = VENDOR_MAGIC.to_vec();
    let page = PAGE as u32;
    let (kernel, initramfs, tree) =
        (address(take.kernel_address), address(take.initramfs_address), address(take.dtb_address));
    // Its vendor ramdisk has no bytes.
    for word in [VERSION, page, kernel, initramfs, 0] {
        header.extend(word.to_le_bytes());
    }
    extend_text(&mut header, &take.command_line, VENDOR_LINE);
    // Where a kernel without a device tree would find its tags.
    header.extend(tree.to_le_bytes());
    extend_text(&mut header, &board.name, NAME);
    for word in [VENDOR_HEADER, dtb] {
        header.extend(word.to_le_bytes());
    }
    header.extend(u64::from(tree).to_le_bytes());
    // The table of vendor ramdisks: bytes, entries, bytes of an entry; then the bytes of a bootconfig.
    for word in [0, 0, TABLE_ENTRY, 0] {
        header.extend(word.to_le_bytes());
    }
    header
}

/// Text, and zeros up to `bytes`, one at least.
fn extend_text(header: &mut Vec<u8>, text: &str, bytes: usize) {
    let end = header.len() + bytes;
    header.extend(text.bytes().take(bytes - 1));
    header.resize(end, 0);
}

fn write_parts(folder: &Path, name: &str, header: &[u8], parts: &[&str]) -> Result<()> {
    let path = folder.join(name);
    let mut out = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
    let mut add = |from: &mut dyn Read| -> io::Result<()> {
        let bytes = io::copy(from, &mut out)?;
        let padding = bytes.next_multiple_of(PAGE) - bytes;
        io::copy(&mut io::repeat(0).take(padding), &mut out).map(drop)
    };
    add(&mut &*header).map_err(Error::io("write", &path))?;
    for part in parts {
        let from = folder.join(part);
        let mut file = File::open(&from).map_err(Error::io("open", &from))?;
        add(&mut file).map_err(Error::io("write", &path))?;
    }
    out.flush().map_err(Error::io("write", &path))
}
