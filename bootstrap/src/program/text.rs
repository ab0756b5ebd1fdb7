//! Text of bounded length: log lines, device names, and paths as the kernel takes them.
//!
//! One capacity for all of them, so that the formatting code exists once.

use core::ffi::CStr;
use core::fmt::{Arguments, Write};
use heapless::String;

/// The most bytes; a piece that does not fit is left out.
const BYTES: usize = 192;

/// Bounded text.
pub type Text = String<BYTES>;

/// Text that leaves out a piece that does not fit and takes those behind it: the error number ends a line.
struct Fitting(Text);

impl Write for Fitting {
    fn write_str(&mut self, piece: &str) -> core::fmt::Result {
        let _ = self.0.push_str(piece);
        Ok(())
    }
}

/// Formats into bounded text.
pub fn text(arguments: Arguments<'_>) -> Text {
    let mut text = Fitting(Text::new());
    let _ = text.write_fmt(arguments);
    text.0
}

/// A path, or another string for a system call.
pub struct Path(Text);

/// Formats a path. One that does not fit becomes the empty path, which no file has.
pub fn path(arguments: Arguments<'_>) -> Path {
    let mut path = Path(Text::new());
    if path.0.write_fmt(arguments).and_then(|()| path.0.write_str("\0")).is_err() {
        path.0.clear();
    }
    path
}

impl Path {
    /// As the kernel takes it.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(self.0.as_bytes()).unwrap_or_default()
    }
}
