//! xz and lzma (alone) streams, pulled from the input without taking a byte beyond their end.

use super::source::Source;
use lzma_rust2::{Action, LzmaStream, Status, XzStream};
use std::io::{self, BufRead, ErrorKind, Read};

/// Largest dictionary a stream may ask for, in KiB: that of `xz -9` is 64 MiB.
const MEMORY_LIMIT_KIB: u32 = 512 * 1024;

/// Unpacks one stream.
pub struct Reader<'a> {
    input: &'a mut Source,
    decoder: Decoder,
    ended: bool,
}

enum Decoder {
    Xz(Box<XzStream>),
    Lzma(Box<LzmaStream>),
}

impl<'a> Reader<'a> {
    /// An xz stream.
    pub fn xz(input: &'a mut Source) -> Self {
        let decoder = Decoder::Xz(Box::new(XzStream::new_mem_limit(false, MEMORY_LIMIT_KIB)));
        Reader { input, decoder, ended: false }
    }

    /// An lzma stream with its 13 byte header.
    pub fn lzma(input: &'a mut Source) -> Self {
        let decoder = Decoder::Lzma(Box::new(LzmaStream::new_mem_limit(MEMORY_LIMIT_KIB, None)));
        Reader { input, decoder, ended: false }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let available = self.input.fill_buf()?;
            let at_end = available.is_empty();
            let action = if at_end { Action::Finish } else { Action::Run };
            let step = match &mut self.decoder {
                Decoder::Xz(decoder) => decoder.process(available, buffer, action)?,
                Decoder::Lzma(decoder) => decoder.process(available, buffer, action)?,
            };
            self.input.consume(step.bytes_consumed);
            self.ended = step.status == Status::StreamEnd;
            // The lzma decoder reads ahead, and has then taken what belongs to the next member.
            if let Decoder::Lzma(decoder) = &self.decoder {
                self.input.unread(decoder.unused_input().len())?;
            }
            if step.bytes_produced > 0 {
                return Ok(step.bytes_produced);
            }
            if at_end && !self.ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}
