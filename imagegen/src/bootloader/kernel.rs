//! What a kernel's first bytes say about it, and which format takes what: a kernel that the bootloader refuses is found on the host.

use crate::board::{Architecture, Emit};
use crate::{Error, Result, input};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that are looked at.
const START: u64 = 4096;
/// RFC 1952.
pub(super) const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Of every EFI program (UEFI 2.10, 2.1.1).
const MZ: &[u8] = b"MZ";

/// The first bytes of a file.
///
/// # Errors
/// As reading it.
pub(super) fn start_of(path: &Path) -> Result<Vec<u8>> {
    if input::is_directory(path)? {
        return Err(Error::bad_input(format!("{} is a folder", path.display()), "give a file"));
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(START).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(start)
}

/// Refuses a file that is no kernel of the architecture as any bootloader, or QEMU, takes one.
///
/// # Errors
/// Bad input with what it is and what is expected.
pub(super) fn check_any(architecture: Architecture, path: &Path) -> Result<()> {
    let start = start_of(path)?;
    let fits = |start: &[u8]| is_plain(start, architecture) || is_program(start, architecture);
    let unpacked = unpacked(&start);
    if fits(&start) || unpacked.as_deref().is_some_and(fits) || is_wrapped(&start, architecture) {
        return Ok(());
    }
    let (packed, start) = unpacked.map_or(("", start), |start| ("compressed by gzip, inside ", start));
    let what = format!("{} is {packed}{}, expected a kernel for {architecture}", path.display(), describe(&start));
    Err(Error::bad_input(what, format!("give --kernel {}, or the distribution's vmlinuz", plain(architecture))))
}

/// The first bytes behind gzip's, if there are enough of them to tell a kernel.
fn unpacked(start: &[u8]) -> Option<Vec<u8>> {
    let mut inside = Vec::new();
    // The end is cut off, which is an error behind what was read.
    let _ = start.starts_with(&GZIP).then(|| GzDecoder::new(start).take(START).read_to_end(&mut inside))?;
    Some(inside)
}

/// Whether it is a kernel in a further envelope: U-Boot's image of old (include/image.h), a FIT, or ELF, as `vmlinux` is.
fn is_wrapped(start: &[u8], architecture: Architecture) -> bool {
    let of_u_boot = match architecture {
        Architecture::Aarch64 => 22,
        Architecture::Armv7 => 2,
        Architecture::X86_64 => 24,
    };
    let is_legacy = start.starts_with(&0x2705_1956_u32.to_be_bytes()) && start.get(29) == Some(&of_u_boot);
    let machine = architecture.elf_machine().to_le_bytes();
    let is_elf = start.starts_with(b"\x7fELF") && start.get(18..20) == Some(machine.as_slice());
    is_legacy || is_elf || start.starts_with(&super::DTB_MAGIC)
}

/// Where a kernel's build puts it.
const fn plain(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Aarch64 => "arch/arm64/boot/Image",
        Architecture::Armv7 => "arch/arm/boot/zImage",
        Architecture::X86_64 => "arch/x86/boot/bzImage",
    }
}

/// Refuses a kernel that what reads `format` cannot start.
///
/// # Errors
/// Bad input with what it is and what is expected.
pub(super) fn check(format: Emit, architecture: Architecture, path: &Path) -> Result<()> {
    let start = start_of(path)?;
    let is_efi = matches!(format, Emit::Uki | Emit::Grub | Emit::Bls);
    let is_packed = start.starts_with(&GZIP) && matches!(format, Emit::Fit | Emit::Android);
    let fits = if is_efi { is_program(&start, architecture) } else { is_packed || is_plain(&start, architecture) };
    if fits {
        return Ok(());
    }
    let plain = plain(architecture);
    let (expected, hint) = match is_efi {
        true => ("an EFI program", format!("give --kernel {plain} of a kernel with CONFIG_EFI_STUB")),
        false => (plain.rsplit('/').next().unwrap_or_default(), format!("give --kernel {plain}")),
    };
    let what = format!(
        "{} is {}, emit = {:?} takes {expected} for {architecture}",
        path.display(),
        describe(&start),
        format.name()
    );
    Err(Error::bad_input(what, hint))
}

/// Whether U-Boot's commands for an architecture take it: Documentation/arch/arm64/booting.rst, arch/arm/boot/compressed/head.S,
/// Documentation/arch/x86/boot.rst.
fn is_plain(start: &[u8], architecture: Architecture) -> bool {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    match architecture {
        Architecture::Aarch64 => has(56, b"ARM\x64"),
        Architecture::Armv7 => has(36, &0x016f_2818_u32.to_le_bytes()),
        Architecture::X86_64 => has(0x202, b"HdrS"),
    }
}

/// Whether firmware for an architecture starts it (Microsoft PE Format, Machine Types).
fn is_program(start: &[u8], architecture: Architecture) -> bool {
    let machine = match architecture {
        Architecture::Aarch64 => 0xaa64,
        Architecture::Armv7 => 0x01c2,
        Architecture::X86_64 => 0x8664,
    };
    super::pe::machine(start) == Some(machine)
}

fn describe(start: &[u8]) -> &'static str {
    if start.starts_with(&GZIP) {
        "compressed by gzip"
    } else if start.starts_with(MZ) && start.get(4..8) == Some(b"zimg") {
        // CONFIG_EFI_ZBOOT: include/linux/efi.h, drivers/firmware/efi/libstub/zboot-header.S.
        "a compressed EFI program"
    } else if is_plain(start, Architecture::Aarch64) {
        "an Image for aarch64"
    } else if is_plain(start, Architecture::Armv7) {
        "a zImage for armv7"
    } else if is_plain(start, Architecture::X86_64) {
        "a bzImage for x86_64"
    } else {
        "no kernel that is known"
    }
}

/// The firmware's short name of an architecture (UEFI 2.10, 3.5.1.1).
pub(super) const fn efi_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Aarch64 => "aa64",
        Architecture::Armv7 => "arm",
        Architecture::X86_64 => "x64",
    }
}
