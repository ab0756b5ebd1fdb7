//! The compressions of an initramfs, told by their magic, and unpacking beside the parser: one thread unpacks while the
//! other parses, hashes and spools.

use super::source::{DAMAGED, Place, Source, Stream};
use super::{lz4_legacy, lzop, xz};
use crate::Result;
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Unpacked bytes handed over at once, and how many such pieces may wait: together the memory in use.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_WAITING: usize = 8;

/// A compression the kernel can unpack an initramfs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lzo,
    Lz4Legacy,
    Zstd,
}

impl Compression {
    const ALL: [(Compression, &'static str, &'static [u8]); 7] = [
        (Compression::Gzip, "gzip", &[0x1f, 0x8b]),
        (Compression::Bzip2, "bzip2", b"BZh"),
        (Compression::Lzma, "lzma", &[0x5d, 0x00, 0x00]),
        (Compression::Xz, "xz", b"\xfd7zXZ\0"),
        (Compression::Lzo, "lzo", b"\x89LZO\0"),
        (Compression::Lz4Legacy, "lz4", &[0x02, 0x21, 0x4c, 0x18]),
        (Compression::Zstd, "zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
    ];

    /// The compression whose magic `start` begins with.
    pub fn detect(start: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, magic)| start.starts_with(magic)).map(|(compression, _, _)| *compression)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(compression, _, _)| *compression == self).map_or("", |(_, name, _)| name)
    }

    /// Unpacks exactly one stream; `input` is left behind its last byte once the reader has returned 0.
    pub fn reader<'a>(self, input: &'a mut Source) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
            Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
            Compression::Lzma => Box::new(xz::Reader::lzma(input)),
            Compression::Xz => Box::new(xz::Reader::xz(input)),
            Compression::Lzo => Box::new(lzop::Reader::new(input)?),
            Compression::Lz4Legacy => Box::new(lz4_legacy::Reader::new(input)?),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?.single_frame()),
        })
    }
}

/// How much of the input belongs together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One compressed stream; more may follow, of any kind. What the kernel does.
    OneStream,
    /// Streams of one kind to the end of the file, as `pigz`, `pbzip2` or `cat` leave them.
    ToTheEnd,
}

/// Unpacks `compression` from `source` on a thread of its own while `parse` reads the result.
pub fn unpack<T>(
    source: &mut Source,
    compression: Compression,
    extent: Extent,
    progress: &mut dyn FnMut(u64),
    parse: impl FnOnce(&mut Stream) -> Result<T>,
) -> Result<T> {
    let start = source.position();
    let input = source.shared_position();
    let path = source.path().to_owned();
    let place = Place { path: path.clone(), member: Some((start, compression.name())) };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PIECES_WAITING);
        let worker = scope.spawn(move || {
            if let Err(error) = pump(source, compression, extent, &sender) {
                let at = source.position();
                let error = match error.kind() {
                    ErrorKind::UnexpectedEof => error,
                    kind => io::Error::new(kind, format!("{error} (near byte {at} of the file)")),
                };
                // The parser may have gone already, with an error of its own.
                let _ = sender.send(Err(error));
            }
        });
        let mut pieces = Pieces { receiver, piece: Vec::new(), used: 0 };
        let result = parse(&mut Stream::new(&mut pieces, place, 0, input, progress));
        drop(pieces);
        // A panic of a decompressor is a damaged input to us; the parser has seen the stream end early.
        match worker.join() {
            Ok(()) => result,
            Err(_) => Err(result.err().unwrap_or_else(|| {
                crate::Error::bad_input(
                    format!("{}: byte {start}: damaged {}", path.display(), compression.name()),
                    DAMAGED,
                )
            })),
        }
    })
}

type Piece = io::Result<Vec<u8>>;

fn pump(source: &mut Source, compression: Compression, extent: Extent, sender: &SyncSender<Piece>) -> io::Result<()> {
    loop {
        let mut reader = compression.reader(source)?;
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let result = reader.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
            let ended = piece.len() < PIECE_BYTES;
            // The parser gave up: nothing is left to do. Otherwise what was unpacked before an error is still good.
            if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
                return Ok(());
            }
            result?;
            if ended {
                break;
            }
        }
        drop(reader);
        if extent == Extent::OneStream || Compression::detect(source.fill_buf()?) != Some(compression) {
            return Ok(());
        }
    }
}

/// The pieces as one stream.
struct Pieces {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used >= self.piece.len() {
            self.used = 0;
            // A closed channel is the end of the stream.
            self.piece = self.receiver.recv().unwrap_or(Ok(Vec::new()))?;
        }
        Ok(self.piece.get(self.used..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}
