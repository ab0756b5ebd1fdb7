//! EFI programs are PE files: reads their sections, and adds sections to one. Only what that takes is looked at, and nothing of what is
//! there is moved.
//!
//! Source: Microsoft PE Format (COFF file header, optional header, section table). The fields used lie at the same place in 32- and
//! 64-bit programs.

use crate::initramfs::Body;
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Write};

/// Bytes of a file that headers can take.
pub const MAX_HEADERS: usize = 1 << 20;
/// Bytes of an entry of the section table.
const ENTRY: usize = 40;
/// Where the optional header begins, behind the signature.
const OPTIONAL: usize = 24;
/// Contains initialized data, and is readable.
const DATA: u32 = 0x4000_0040;
/// Contains code, and is readable: the kernel, which older stubs start where it lies.
const CODE: u32 = 0x4000_0020;
/// New sections begin on a page: a stub may hand them over where they lie.
const PAGE: u64 = 4096;
/// `IMAGE_DLLCHARACTERISTICS_NX_COMPAT`.
const NX_COMPATIBLE: u16 = 0x0100;

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where its bytes lie in the file.
    pub at: u64,
    /// How many there are.
    pub bytes: u64,
    address: u64,
}

/// Where things lie in a program.
struct Layout {
    optional: usize,
    table: usize,
    count: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

fn layout(bytes: &[u8]) -> Option<Layout> {
    let signature =
        usize::try_from(u32_at(bytes, 0x3c)?).ok().filter(|at| bytes.starts_with(b"MZ") && *at < MAX_HEADERS)?;
    if bytes.get(signature..)?.first_chunk() != Some(b"PE\0\0") {
        return None;
    }
    let (count, size) = (u16_at(bytes, signature + 6)?, u16_at(bytes, signature + 20)?);
    let optional = signature + OPTIONAL;
    Some(Layout { optional, table: optional + usize::from(size), count: count.into() })
}

/// What processor a program is for; `None` if it is none.
pub fn machine(bytes: &[u8]) -> Option<u16> {
    let layout = layout(bytes)?;
    u16_at(bytes, layout.optional - OPTIONAL + 4)
}

/// The sections of a program, of whose file `bytes` are the first; `None` if it is none.
pub fn sections(bytes: &[u8]) -> Option<Vec<Section>> {
    let layout = layout(bytes)?;
    let section = |index: usize| {
        let entry = bytes.get(layout.table + index * ENTRY..)?.get(..ENTRY)?;
        let name = entry.get(..8)?.split(|byte| *byte == 0).next()?;
        // What lies in the file is a multiple of its alignment; what the section holds is not.
        let bytes = u32_at(entry, 8)?.min(u32_at(entry, 16)?);
        Some(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            at: u32_at(entry, 20)?.into(),
            bytes: bytes.into(),
            address: u64::from(u32_at(entry, 12)?) + u64::from(u32_at(entry, 8)?),
        })
    };
    (0..layout.count).map(section).collect()
}

/// Whether a program says that it needs no memory that is writable and executable.
fn is_nx_compatible(bytes: &[u8]) -> bool {
    layout(bytes).and_then(|layout| u16_at(bytes, layout.optional + 70)).is_some_and(|flags| flags & NX_COMPATIBLE != 0)
}

/// Writes `program` with further sections to `out`. It says of itself that it is NX-compatible if it did and `runs`, the start of what
/// it will start, does: firmware holds the whole to what the program says.
///
/// # Errors
/// Bad input if it is no program, is signed, or has no room for them; failed work if writing fails.
pub fn add(program: &[u8], runs: &[u8], sections: &[(&str, Body)], out: &mut dyn Write) -> Result<()> {
    let refuse = |why: &str| Error::bad_input(format!("the stub {why}"), "give the stub of systemd, linux*.efi.stub");
    let known = self::sections(program).ok_or_else(|| refuse("is no EFI program"))?;
    let place = plan(program, &known, sections.len())
        .ok_or_else(|| refuse("has no room for further sections, or is signed"))?;
    let mut head = program.to_vec();
    let (mut at, mut address) = (place.at, place.address);
    let too_large = || {
        Error::failed("a unified kernel image of 4 GiB or more", "PE files are smaller: put less into the initramfs")
    };
    for (index, (name, body)) in sections.iter().enumerate() {
        let bytes = size(body)?;
        let entry = entry(name, bytes, at, address, place.file_alignment).ok_or_else(too_large)?;
        put(&mut head, place.table_end + index * ENTRY, &entry).ok_or_else(too_large)?;
        at += bytes.next_multiple_of(place.file_alignment);
        address = (address + bytes).next_multiple_of(place.alignment);
    }
    let end = u32::try_from(address).map_err(|_| too_large())?;
    finish(&mut head, known.len() + sections.len(), end, is_nx_compatible(runs)).ok_or_else(too_large)?;
    let write = |result: io::Result<()>| result.map_err(Error::io("write", super::UKI));
    write(out.write_all(&head))?;
    let padding = place.at - head.len() as u64;
    write(io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(drop))?;
    for (_, body) in sections {
        let bytes = match body {
            Body::Bytes(bytes) => out.write_all(bytes).map(|()| bytes.len() as u64),
            Body::Path(path) => File::open(path).and_then(|mut file| io::copy(&mut file, out)),
        };
        let bytes = bytes.map_err(Error::io("write", super::UKI))?;
        let padding = bytes.next_multiple_of(place.file_alignment) - bytes;
        write(io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(drop))?;
    }
    Ok(())
}

fn size(body: &Body) -> Result<u64> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.len() as u64),
        Body::Path(path) => Ok(std::fs::metadata(path).map_err(Error::io("read", path))?.len()),
    }
}

/// Where new sections go.
struct Place {
    table_end: usize,
    at: u64,
    address: u64,
    alignment: u64,
    file_alignment: u64,
}

/// `None` if there is no room, or a signature that would no longer hold.
fn plan(program: &[u8], known: &[Section], more: usize) -> Option<Place> {
    let layout = layout(program)?;
    let field = |at| u32_at(program, layout.optional + at).map(u64::from);
    let (alignment, file_alignment) = (field(32)?, field(36)?);
    if !alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
        return None;
    }
    let is_64 = u16_at(program, layout.optional)? == 0x20b;
    // The fifth data directory: certificates.
    if field(if is_64 { 112 + 32 } else { 96 + 32 })? != 0 {
        return None;
    }
    let table_end = layout.table + layout.count * ENTRY;
    // Headers end where they say, and before the first byte of a section.
    let first = known.iter().filter(|section| section.bytes > 0).map(|section| section.at).min()?;
    if (table_end + more * ENTRY) as u64 > field(60)?.min(first) {
        return None;
    }
    let alignment = alignment.max(PAGE);
    let address = known.iter().map(|section| section.address).max()?.next_multiple_of(alignment);
    let at = (program.len() as u64).next_multiple_of(file_alignment);
    Some(Place { table_end, at, address, alignment, file_alignment })
}

/// An entry of the section table.
fn entry(name: &str, bytes: u64, at: u64, address: u64, file_alignment: u64) -> Option<[u8; ENTRY]> {
    let mut entry = [0; ENTRY];
    put(&mut entry[..8], 0, name.as_bytes())?;
    let raw = bytes.next_multiple_of(file_alignment);
    let flags = if name == ".linux" { CODE } else { DATA };
    for (place, value) in [(8, bytes), (12, address), (16, raw), (20, at), (36, flags.into())] {
        put(&mut entry, place, &u32::try_from(value).ok()?.to_le_bytes())?;
    }
    Some(entry)
}

/// Says in the headers what there is now.
fn finish(head: &mut [u8], count: usize, end: u32, keeps_nx: bool) -> Option<()> {
    let layout = layout(head)?;
    put(head, layout.optional - OPTIONAL + 6, &u16::try_from(count).ok()?.to_le_bytes())?;
    // SizeOfImage; CheckSum, which no firmware looks at.
    put(head, layout.optional + 56, &end.to_le_bytes())?;
    put(head, layout.optional + 64, &[0; 4])?;
    if !keeps_nx {
        let flags = u16_at(head, layout.optional + 70)? & !NX_COMPATIBLE;
        put(head, layout.optional + 70, &flags.to_le_bytes())?;
    }
    Some(())
}
