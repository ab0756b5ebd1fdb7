//! What a bootloader takes, as far as it says of itself: the sections of an EFI program, Android's headers, U-Boot's images.

use super::json_text;
use crate::bootloader::{Android, pe};
use crate::tool::Tool;
use crate::{Error, Result};
use serde_json::json;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How such files begin: EFI programs, Android's partitions, a FIT (a device tree), and U-Boot's older images, scripts among them.
const MAGICS: [&[u8]; 5] = [b"MZ", b"ANDROID!", b"VNDRBOOT", &DEVICE_TREE, &[0x27, 0x05, 0x19, 0x56]];
/// How a device tree begins, a FIT or a board's (Devicetree Specification 0.4, 5.2).
const DEVICE_TREE: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

/// Whether a file that begins like this is one of them.
pub(super) fn is_one(head: &[u8]) -> bool {
    MAGICS.iter().any(|magic| head.starts_with(magic))
}

/// What is in it.
///
/// # Errors
/// Bad input if it is damaged, or of a version that is not read; failed work if U-Boot's `mkimage` is needed and missing.
pub(super) fn show(path: &Path, as_json: bool) -> Result<String> {
    let head = head(path)?;
    if head.starts_with(b"MZ") {
        return show_program(path, as_json);
    }
    if head.starts_with(&DEVICE_TREE) && !is_fit(path)? {
        return show_tree(path, as_json);
    }
    if !head.starts_with(b"ANDROID!") && !head.starts_with(b"VNDRBOOT") {
        if as_json {
            let what = format!("{} is listed by mkimage, which writes no JSON", path.display());
            return Err(Error::bad_input(what, "leave out --json"));
        }
        let listed = Tool::new("mkimage", "u-boot-tools").arg("-l").arg(path).output();
        return listed.map(|[text, _]| text);
    }
    let header =
        Android::parse(&head).ok_or_else(|| refuse(path, "truncated, or a header of another version than 4"))?;
    let value = match &header {
        Android::Boot { kernel, ramdisk } => json!({ "kernel_bytes": kernel, "ramdisk_bytes": ramdisk }),
        Android::VendorBoot { addresses: [kernel, ramdisk, tree], dtb, line } => json!({
            "kernel_address": kernel, "ramdisk_address": ramdisk, "dtb_address": tree, "dtb_bytes": dtb,
            "command_line": line,
        }),
    };
    if as_json {
        return json_text(&value);
    }
    Ok(match header {
        Android::Boot { kernel, ramdisk } => {
            format!("Android boot, version 4\n{kernel:>12} kernel\n{ramdisk:>12} ramdisk\n")
        }
        Android::VendorBoot { addresses: [kernel, ramdisk, tree], dtb, line } => format!(
            "Android vendor_boot, version 4\n{dtb:>12} dtb\nkernel to {kernel:#x}, ramdisk to {ramdisk:#x}, dtb to {tree:#x}\n\
             command line {}\n",
            super::show::printable(line.as_bytes())
        ),
    })
}

/// Writes a section of an EFI program to `out`.
///
/// # Errors
/// Bad input if it has none of that name.
pub(super) fn cat(path: &Path, name: &OsStr, out: &mut dyn Write) -> Result<()> {
    let (mut file, sections) = program(path)?;
    let name = name.to_string_lossy();
    let Some(section) = sections.iter().find(|section| section.name == name) else {
        return Err(Error::bad_input(format!("{}: no section {name:?}", path.display()), "list it without --cat"));
    };
    file.seek(SeekFrom::Start(section.at)).map_err(Error::io("read", path))?;
    io::copy(&mut file.take(section.bytes), out).map(drop).map_err(Error::io("write", "standard output"))
}

fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(pe::MAX_HEADERS as u64).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(head)
}

fn refuse(path: &Path, why: &str) -> Error {
    Error::bad_input(format!("{}: {why}", path.display()), "is this the right file?")
}

/// The sections of an EFI program, all of which are there.
fn program(path: &Path) -> Result<(File, Vec<pe::Section>)> {
    let sections = pe::sections(&head(path)?).ok_or_else(|| refuse(path, "no EFI program, or truncated"))?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("read", path))?.len();
    if let Some(section) = sections.iter().find(|section| section.at + section.bytes > bytes) {
        return Err(refuse(path, &format!("truncated: section {:?} ends behind it", section.name)));
    }
    Ok((file, sections))
}

/// What `fdtget` says with these arguments behind the path.
fn fdtget(path: &Path, options: &[&str], what: &[&str]) -> Result<String> {
    let tool = Tool::new("fdtget", "device-tree-compiler").args(options).arg(path).args(what);
    let said = tool.output().map_err(|error| match error.what.starts_with("cannot run") {
        true => error,
        false => refuse(path, "a damaged device tree"),
    });
    said.map(|[text, _]| text)
}

/// Whether a device tree is a FIT: it has the node of its images (U-Boot: doc/usage/fit/source_file_format.rst).
fn is_fit(path: &Path) -> Result<bool> {
    Ok(fdtget(path, &["-l"], &["/"])?.lines().any(|node| node == "images"))
}

/// Which board a device tree is for.
fn show_tree(path: &Path, as_json: bool) -> Result<String> {
    // A property that is missing is empty.
    let value = |name: &str| fdtget(path, &["-t", "s", "-d", ""], &["/", name]).map(|text| text.trim().to_owned());
    let (model, compatible) = (value("model")?, value("compatible")?);
    if as_json {
        let words: Vec<&str> = compatible.split(' ').filter(|word| !word.is_empty()).collect();
        return json_text(&json!({ "model": model, "compatible": words }));
    }
    let shown = |text: &str| super::show::printable(text.as_bytes());
    Ok(format!("device tree\nmodel {}\ncompatible {}\n", shown(&model), shown(&compatible)))
}

fn show_program(path: &Path, as_json: bool) -> Result<String> {
    let (_, sections) = program(path)?;
    if as_json {
        let section = |section: &pe::Section| json!({ "name": section.name, "at": section.at, "bytes": section.bytes });
        return json_text(&sections.iter().map(section).collect::<Vec<_>>());
    }
    let mut text = String::new();
    for section in &sections {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:>12} {:>12} {}",
            section.at,
            section.bytes,
            super::show::printable(section.name.as_bytes())
        );
    }
    Ok(text)
}
