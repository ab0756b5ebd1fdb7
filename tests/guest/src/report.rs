//! The report: sections of text lines in one buffer, sent to the port once there is one.
//!
//! `== NAME` opens a section; every following line belongs to it. Bytes outside printable ASCII, and the backslash, are
//! written as `\xNN`, so a line is always one item.

use core::fmt::Write;
use rustix::fd::BorrowedFd;

/// Bytes kept until the port is open.
const ROOM: usize = 128 * 1024;

/// The report so far.
pub struct Report<'fd> {
    bytes: [u8; ROOM],
    length: usize,
    port: Option<BorrowedFd<'fd>>,
}

impl<'fd> Report<'fd> {
    /// An empty report without a port.
    pub const fn new() -> Self {
        Report { bytes: [0; ROOM], length: 0, port: None }
    }

    /// Gives the report its port; what was collected goes out with the next flush.
    pub fn set_port(&mut self, port: BorrowedFd<'fd>) {
        self.port = Some(port);
    }

    /// Opens a section.
    pub fn section(&mut self, name: &str) {
        self.line(format_args!("== {name}"));
    }

    /// Adds a formatted line.
    pub fn line(&mut self, line: core::fmt::Arguments<'_>) {
        let _ = self.write_fmt(line);
        self.raw(b"\n");
    }

    /// Adds `bytes`, escaped, without ending the line.
    pub fn escaped(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if (b' '..=b'~').contains(&byte) && byte != b'\\' {
                self.raw(&[byte]);
            } else {
                let _ = write!(self, "\\x{byte:02x}");
            }
        }
    }

    /// Adds bytes as they are: text of the kernel that already consists of lines.
    pub fn raw(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.length == ROOM {
                self.flush();
            }
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
    }

    /// Sends what is in the buffer, if there is a port.
    pub fn flush(&mut self) {
        let Some(port) = self.port else { return };
        let mut rest = self.bytes.get(..self.length).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(port, rest) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                _ => break,
            }
        }
        self.length = 0;
    }
}

impl Write for Report<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.raw(text.as_bytes());
        Ok(())
    }
}
