//! Text of bounded length: log lines, device names, and paths as the kernel takes them.
//!
//! One capacity for all of them, so that the formatting code exists once.

use core::ffi::CStr;
use core::fmt::{Arguments, Write};
use heapless::String;

/// The most bytes; what does not fit is cut.
const BYTES: usize = 192;

/// Bounded text.
pub type Text = String<BYTES>;

/// Formats into bounded text.
pub fn text(arguments: Arguments<'_>) -> Text {
    let mut text = Text::new();
    // What does not fit is cut.
    let _ = text.write_fmt(arguments);
    text
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
