//! The lz4 format of an initramfs, `lz4 -l`: magic, then blocks, each a 32-bit length and that many bytes for at most
//! 8 MiB. It has no end mark: it ends with the file or at a zero length. So, as for the kernel (`lib/decompress_unlz4.c`),
//! only zero padding or more of the same can follow it directly.

use std::io::{self, BufRead, ErrorKind, Read};

const MAGIC: u32 = 0x184c_2102;
const BLOCK_BYTES: usize = 8 * 1024 * 1024;
/// What a block of incompressible bytes grows to (`LZ4_compressBound`).
const PACKED_BLOCK_BYTES: u32 = (BLOCK_BYTES + BLOCK_BYTES / 255 + 16) as u32;

/// Unpacks one stream.
pub struct Reader<'a> {
    input: &'a mut dyn BufRead,
    packed: Vec<u8>,
    block: Vec<u8>,
    used: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Reads the magic.
    pub fn new(input: &'a mut dyn BufRead) -> io::Result<Self> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        if u32::from_le_bytes(magic) != MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "not lz4 -l"));
        }
        Ok(Reader { input, packed: Vec::new(), block: Vec::new(), used: 0, ended: false })
    }

    /// The length of the next block, or `None` at the end.
    fn next_length(&mut self) -> io::Result<Option<u32>> {
        loop {
            let mut bytes = Vec::with_capacity(4);
            self.input.take(4).read_to_end(&mut bytes)?;
            match *bytes.as_slice() {
                [a, b, c, d] => match u32::from_le_bytes([a, b, c, d]) {
                    0 => return Ok(None),
                    MAGIC => {}
                    length @ 1..=PACKED_BLOCK_BYTES => return Ok(Some(length)),
                    _ => return Err(io::Error::new(ErrorKind::InvalidData, "impossible lz4 block length")),
                },
                ref rest if rest.iter().all(|byte| *byte == 0) => return Ok(None),
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used >= self.block.len() && !self.ended {
            let Some(length) = self.next_length()? else {
                self.ended = true;
                break;
            };
            self.packed.resize(length as usize, 0);
            self.input.read_exact(&mut self.packed)?;
            self.block.resize(BLOCK_BYTES, 0);
            let unpacked = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.block.truncate(unpacked);
            self.used = 0;
        }
        let read = self.block.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}
