//! Where input bytes come from: the file, with its position, and the stream a parser reads, which knows how to name a
//! place in it.

use crate::{Error, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What to do about an input that is not what it should be.
pub const DAMAGED: &str = "the file is damaged, or made by a faulty tool: copy or build it again";

const BUFFER_BYTES: usize = 256 * 1024;

/// The input file. Its position is shared, so that progress can be shown while another thread reads.
pub struct Source {
    path: PathBuf,
    reader: BufReader<File>,
    position: Arc<AtomicU64>,
}

impl Source {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Source { path: path.to_owned(), reader, position: Arc::default() })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes consumed so far.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// The position, for another thread.
    pub fn shared_position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.position)
    }

    /// Gives the last `bytes` back.
    pub fn unread(&mut self, bytes: usize) -> io::Result<()> {
        self.reader.seek_relative(-i64::try_from(bytes).unwrap_or(i64::MAX))?;
        self.position.fetch_sub(bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
        self.position.fetch_add(amount as u64, Ordering::Relaxed);
    }
}

/// Names places in an input: the file itself, or what is unpacked from one compressed member of it.
#[derive(Clone)]
pub struct Place {
    /// The input file.
    pub path: PathBuf,
    /// Start and name of the compressed member, if the bytes are unpacked from one.
    pub member: Option<(u64, &'static str)>,
}

impl Place {
    /// `BadInput`: `what` is wrong at `offset`.
    pub fn error(&self, offset: u64, what: impl std::fmt::Display, hint: impl Into<String>) -> Error {
        let path = self.path.display();
        Error::bad_input(
            match self.member {
                None => format!("{path}: byte {offset}: {what}"),
                Some((start, name)) => format!("{path}: {name} member at byte {start}, unpacked byte {offset}: {what}"),
            },
            hint,
        )
    }

    /// `BadInput`: the input ends at `offset`, or cannot be read further, inside of `within`.
    pub fn read_error(&self, offset: u64, error: &io::Error, within: &str) -> Error {
        if error.kind() == ErrorKind::UnexpectedEof {
            let hint = "the file is truncated: copy or build it again";
            self.error(offset, format_args!("ends in the middle of {within}"), hint)
        } else {
            self.error(offset, format_args!("cannot be read inside of {within}: {error}"), DAMAGED)
        }
    }
}

/// What a parser reads: bytes of the input, unpacked, with their offset.
pub struct Stream<'a> {
    inner: &'a mut dyn BufRead,
    place: Place,
    offset: u64,
    input: Arc<AtomicU64>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Stream<'a> {
    /// A stream over `inner`, whose first byte is at `offset` of `place`. `input` is the position to report as progress.
    pub fn new(
        inner: &'a mut dyn BufRead,
        place: Place,
        offset: u64,
        input: Arc<AtomicU64>,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Stream { inner, place, offset, input, progress }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// `BadInput` at `offset`.
    pub fn error(&self, offset: u64, what: impl std::fmt::Display) -> Error {
        self.place.error(offset, what, DAMAGED)
    }

    /// As [`Place::read_error`], at the next byte.
    pub fn read_error(&self, error: &io::Error, within: &str) -> Error {
        self.place.read_error(self.offset, error, within)
    }

    /// What the stream reads.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The next byte, left in place; `None` at the end.
    pub fn peek(&mut self) -> Result<Option<u8>> {
        match self.inner.fill_buf() {
            Ok(bytes) => Ok(bytes.first().copied()),
            Err(error) => Err(self.read_error(&error, "the archive")),
        }
    }

    /// The bytes at hand, at least one unless at the end, left in place.
    pub fn buffered(&mut self) -> Result<&[u8]> {
        if let Err(error) = self.inner.fill_buf() {
            return Err(self.read_error(&error, "the archive"));
        }
        self.inner.fill_buf().map_err(|error| self.place.read_error(self.offset, &error, "the archive"))
    }

    /// Passes over zero bytes.
    pub fn skip_zeros(&mut self) -> Result<()> {
        loop {
            let bytes = self.buffered()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let all = zeros == bytes.len();
            if zeros == 0 {
                return Ok(());
            }
            self.inner.consume(zeros);
            self.offset += zeros as u64;
            if !all {
                return Ok(());
            }
        }
    }

    /// Fills `buffer`; an error says that the input ends inside of `within`.
    pub fn read_exact(&mut self, buffer: &mut [u8], within: &str) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => return Err(self.read_error(&ErrorKind::UnexpectedEof.into(), within)),
                Ok(read) => done += read,
                Err(error) => return Err(self.read_error(&error, within)),
            }
        }
        Ok(())
    }

    /// Reads to the end, so that the last checksum of a compressed member is verified.
    pub fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(self.read_error(&error, "the archive")),
            }
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.offset += read as u64;
                    (self.progress)(self.input.load(Ordering::Relaxed));
                    return Ok(read);
                }
            }
        }
    }
}
