//! Text of bounded length: log lines, device names, and paths as the kernel takes them.
//!
//! Put together part by part, not by `core::fmt`: its padding, alignment and signs would be a tenth of this program.

use super::sys::memory;
use bootstrap::{Step, plan};
use core::ffi::CStr;
use core::fmt;
use core::ops::Deref;

/// One more than the most bytes of a text: the last stays a NUL.
pub const BYTES: usize = plan::MAX_TEXT + 1;

/// Bounded text. A part that does not fit is left out and those behind it are taken: the error number ends a line.
pub struct Text {
    /// Whole strings, then zeros.
    bytes: [u8; BYTES],
    length: usize,
    cut: bool,
}

/// What a text is put together from.
pub trait Part {
    /// Adds this to the end of `text`.
    fn put(self, text: &mut Text);
}

impl Text {
    /// An empty text.
    #[inline(never)]
    pub const fn new() -> Self {
        Text { bytes: [0; BYTES], length: 0, cut: false }
    }

    /// Adds `part` to the end.
    pub fn put(&mut self, part: impl Part) {
        part.put(self);
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        memory::text(self.bytes.get(..self.length).unwrap_or_default())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Part for &str {
    #[inline(never)]
    fn put(self, text: &mut Text) {
        let end = text.length + self.len();
        // The last byte stays a NUL.
        match text.bytes.get_mut(text.length..end) {
            Some(room) if end < BYTES => {
                room.copy_from_slice(self.as_bytes());
                text.length = end;
            }
            _ => text.cut = true,
        }
    }
}

impl Part for &Text {
    fn put(self, text: &mut Text) {
        text.put(&**self);
    }
}

impl Part for Step {
    fn put(self, text: &mut Text) {
        text.put(self.name());
    }
}

impl Part for u64 {
    #[inline(never)]
    fn put(self, text: &mut Text) {
        if self >= 10 {
            text.put(self / 10);
        }
        let digit = (self % 10) as usize;
        text.put("0123456789".get(digit..=digit).unwrap_or_default());
    }
}

impl Part for u32 {
    fn put(self, text: &mut Text) {
        text.put(u64::from(self));
    }
}

/// Puts parts together: `text!["vda", 1, " found"]`.
macro_rules! text {
    ($($part:expr),+ $(,)?) => {{
        let mut text = $crate::program::text::Text::new();
        $(text.put($part);)+
        text
    }};
}

/// Puts the parts of a path together.
macro_rules! c_path {
    ($($part:expr),+ $(,)?) => {{
        let mut path = $crate::program::text::Path::new();
        $(path.put($part);)+
        path
    }};
}

pub(crate) use {c_path, text};

/// A path, or another string for a system call. One that does not fit is the empty path, which no file has; of a plan all fit
/// ([`plan::MAX_TEXT`]).
pub struct Path(Text);

impl Path {
    /// An empty path.
    pub const fn new() -> Self {
        Path(Text::new())
    }

    /// Adds `part` to the end.
    pub fn put(&mut self, part: impl Part) {
        part.put(&mut self.0);
    }
}

impl Deref for Path {
    type Target = CStr;

    #[inline(never)]
    fn deref(&self) -> &CStr {
        if self.0.cut { c"" } else { memory::c_str(&self.0.bytes) }
    }
}
