//! An initramfs file: members one after the other, with zero padding between them, each a cpio archive, plain or
//! compressed. A microcode archive at its start is a member like any other.

use super::builder::Builder;
use super::compression::{Compression, Extent, unpack};
use super::cpio;
use super::source::{Place, Source, Stream};
use super::{ACCEPTED, Result};
use std::io::BufRead;
use std::path::Path;

/// Unpacks all members of the file at `path` into `builder`.
pub fn read(path: &Path, builder: &mut Builder, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut source = Source::open(path)?;
    let place = Place { path: path.to_owned(), member: None };
    let mut members = 0;
    loop {
        let (offset, input) = (source.position(), source.shared_position());
        let mut stream = Stream::new(&mut source, place.clone(), offset, input, progress);
        stream.skip_zeros()?;
        let offset = stream.offset();
        let Some(first) = stream.peek()? else { break };
        // As the kernel: an archive in plain starts on a multiple of four bytes (buffer-format.rst).
        if first == b'0' && offset.is_multiple_of(4) {
            cpio::read(&mut stream, builder)?;
        } else {
            let Some(compression) = Compression::detect(source.fill_buf().unwrap_or_default()) else {
                return Err(unknown_member(&mut source, &place));
            };
            unpack(&mut source, compression, Extent::OneStream, progress, |stream| read_archives(stream, builder))?;
        }
        members += 1;
    }
    if members == 0 {
        return Err(place.error(0, "nothing but zero bytes", ACCEPTED));
    }
    progress(source.position());
    Ok(())
}

/// The archives in one compressed member.
fn read_archives(stream: &mut Stream, builder: &mut Builder) -> Result<()> {
    let mut archives = 0;
    loop {
        stream.skip_zeros()?;
        if stream.peek()?.is_none() {
            break;
        }
        cpio::read(stream, builder)?;
        archives += 1;
    }
    if archives == 0 { Err(stream.error(0, "no cpio archive in this member")) } else { Ok(()) }
}

fn unknown_member(source: &mut Source, place: &Place) -> crate::Error {
    let offset = source.position();
    let start = source.fill_buf().unwrap_or_default();
    if start.starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
        return place.error(offset, "an lz4 frame, which the kernel cannot unpack", "compress it with `lz4 -l`");
    }
    let found: String = start.iter().take(6).map(|byte| format!(" {byte:02x}")).collect();
    let what = match start.first() {
        Some(b'0') => "a cpio archive that does not start on a multiple of four bytes:",
        _ => "neither a cpio archive nor a known compression:",
    };
    place.error(offset, format_args!("{what} found{found}"), ACCEPTED)
}
