//! The lzo format of an initramfs, the container of `lzop`: a header, then blocks with their sizes and checksums, then a
//! zero size. All numbers are big-endian.

use std::io::{self, BufRead, ErrorKind, Read};

const MAGIC: [u8; 9] = *b"\x89LZO\0\r\n\x1a\n";
/// Largest block of `lzop`, and of the kernel's `unlzo`.
const BLOCK_BYTES: u32 = 64 * 1024 * 1024;

const ADLER32_UNPACKED: u32 = 0x1;
const ADLER32_PACKED: u32 = 0x2;
const EXTRA_FIELD: u32 = 0x40;
const CRC32_UNPACKED: u32 = 0x100;
const CRC32_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;

/// Unpacks one stream.
pub struct Reader<'a> {
    input: &'a mut dyn BufRead,
    flags: u32,
    packed: Vec<u8>,
    block: Vec<u8>,
    used: usize,
    ended: bool,
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn number<const N: usize>(input: &mut dyn BufRead) -> io::Result<u32> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn skip(input: &mut dyn BufRead, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

impl<'a> Reader<'a> {
    /// Reads the header.
    pub fn new(input: &'a mut dyn BufRead) -> io::Result<Self> {
        let mut magic = MAGIC;
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged("not lzop"));
        }
        let version = number::<2>(input)?;
        skip(input, 2)?;
        if version >= 0x940 {
            skip(input, 2)?;
        }
        skip(input, if version >= 0x940 { 2 } else { 1 })?;
        let flags = number::<4>(input)?;
        if flags & FILTER != 0 {
            skip(input, 4)?;
        }
        // Mode and time, the latter with its high half from 0.94 on.
        skip(input, if version >= 0x940 { 12 } else { 8 })?;
        let name = number::<1>(input)?;
        skip(input, u64::from(name) + 4)?;
        if flags & EXTRA_FIELD != 0 {
            let extra = number::<4>(input)?;
            skip(input, u64::from(extra) + 4)?;
        }
        Ok(Reader { input, flags, packed: Vec::new(), block: Vec::new(), used: 0, ended: false })
    }

    fn flagged_number(&mut self, flag: u32) -> io::Result<Option<u32>> {
        if self.flags & flag == 0 { Ok(None) } else { number::<4>(self.input).map(Some) }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let unpacked_bytes = number::<4>(self.input)?;
        if unpacked_bytes == 0 {
            self.ended = true;
            return Ok(());
        }
        let packed_bytes = number::<4>(self.input)?;
        if unpacked_bytes > BLOCK_BYTES || packed_bytes > unpacked_bytes || packed_bytes == 0 {
            return Err(damaged("impossible lzop block size"));
        }
        let adler = self.flagged_number(ADLER32_UNPACKED)?;
        let crc = self.flagged_number(CRC32_UNPACKED)?;
        // A block stored as it is carries no checksums of its packed form.
        if packed_bytes < unpacked_bytes {
            self.flagged_number(ADLER32_PACKED)?;
            self.flagged_number(CRC32_PACKED)?;
        }
        // By reading, not by allocating what is announced: the input may be lying about its size.
        self.packed.clear();
        let read = self.input.take(u64::from(packed_bytes)).read_to_end(&mut self.packed)?;
        if read as u64 != u64::from(packed_bytes) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if packed_bytes == unpacked_bytes {
            std::mem::swap(&mut self.packed, &mut self.block);
        } else {
            self.block.resize(unpacked_bytes as usize, 0);
            match lzo::decompress_into(&self.packed, &mut self.block) {
                Ok(unpacked) if unpacked == self.block.len() => {}
                _ => return Err(damaged("damaged lzo block")),
            }
        }
        self.used = 0;
        let intact = adler.is_none_or(|sum| sum == adler32(&self.block))
            && crc.is_none_or(|sum| sum == bootstrap::crc::crc32(&self.block));
        if intact { Ok(()) } else { Err(damaged("wrong checksum of an lzop block")) }
    }
}

/// Adler-32 (RFC 1950); sums stay below 2^32 for 5552 bytes between reductions.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for piece in bytes.chunks(5552) {
        for byte in piece {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65521;
        b %= 65521;
    }
    b << 16 | a
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used >= self.block.len() && !self.ended {
            self.next_block()?;
        }
        let read = self.block.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}
