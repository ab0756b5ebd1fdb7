//! Text of bounded length: log lines, device names, and paths as the kernel takes them.
//!
//! Put together part by part, not by `core::fmt`: its padding, alignment and signs would be a tenth of this program.

use super::sys::memory;
use bootstrap::Step;
use core::ffi::CStr;
use core::fmt;
use core::ops::Deref;
use heapless::String;

/// One more than the most bytes of a text: the last is kept for the NUL of a path.
pub const BYTES: usize = 192;

/// Bounded text. A part that does not fit is left out and those behind it are taken: the error number ends a line.
pub struct Text {
    text: String<BYTES>,
    cut: bool,
}

/// What a text is put together from.
pub trait Part {
    /// Adds this to the end of `text`.
    fn put(self, text: &mut Text);
}

impl Text {
    /// An empty text.
    pub const fn new() -> Self {
        Text { text: String::new(), cut: false }
    }

    /// Adds `part` to the end.
    pub fn put(&mut self, part: impl Part) {
        part.put(self);
    }

    /// A path. One that does not fit becomes the empty path, which no file has.
    pub fn into_path(mut self) -> Path {
        if self.cut {
            self.text.clear();
        }
        // Always fits.
        let _ = self.text.push('\0');
        Path(self)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
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
        // The last byte stays free.
        text.cut |= text.text.len() + self.len() >= BYTES || text.text.push_str(self).is_err();
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
    ($($part:expr),+ $(,)?) => {
        $crate::program::text::text![$($part),+].into_path()
    };
}

pub(crate) use {c_path, text};

/// A path, or another string for a system call.
pub struct Path(Text);

impl Deref for Path {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        memory::c_str(self.0.as_bytes())
    }
}
