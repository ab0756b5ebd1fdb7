//! The one error of the tool: what went wrong, what to do about it, and whose turn it is.

use std::fmt;
use std::io::ErrorKind;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What to do about a file that ends too early.
pub(crate) const TRUNCATED: &str = "the file is truncated: copy or build it again";

/// Whose turn it is after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input is wrong: a board file, an initramfs, a command line. Exit status 2.
    BadInput,
    /// The input may be right but the work failed: no space, a missing tool, a budget exceeded. Exit status 1.
    FailedWork,
}

/// What went wrong (one line, naming file and key or offset) and what to do (one line).
#[derive(Debug)]
pub struct Error {
    /// Whose turn it is.
    pub kind: Kind,
    /// One line: what is wrong, where.
    pub what: String,
    /// One line: what to do about it.
    pub hint: String,
}

impl Error {
    /// Wrong input: exit status 2.
    pub fn bad_input(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::new(Kind::BadInput, what, hint)
    }

    /// Failed work: exit status 1.
    pub fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::new(Kind::FailedWork, what, hint)
    }

    /// Failed work on `path`, for `map_err` over file operations: `cannot VERB PATH: REASON`, and what helps against that.
    pub fn io(verb: &'static str, path: impl AsRef<std::path::Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            let (kind, hint) = match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                    (Kind::BadInput, "is the path right?")
                }
                ErrorKind::UnexpectedEof => (Kind::BadInput, TRUNCATED),
                ErrorKind::InvalidData => (Kind::BadInput, "is this the right file?"),
                ErrorKind::PermissionDenied => {
                    (Kind::FailedWork, "change its permissions, or run it as a user who may")
                }
                ErrorKind::ReadOnlyFilesystem => (Kind::FailedWork, "give a place that can be written"),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    (Kind::FailedWork, "make room, or give a place with more of it")
                }
                _ => (Kind::FailedWork, "the system refused it: its log (dmesg) may say more"),
            };
            let text = match error.kind() {
                ErrorKind::UnexpectedEof => "truncated".to_owned(),
                _ => error.to_string(),
            };
            // The crate `tempfile` adds a name that nobody knows.
            let text = text.split(" at path \"").next().unwrap_or_default();
            Error::new(kind, format!("cannot {verb} {}: {text}", path.as_ref().display()), hint)
        }
    }

    fn new(kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error { kind, what: what.into(), hint: hint.into() }
    }

    /// The exit status of the command.
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::BadInput => 2,
            Kind::FailedWork => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.hint) }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_and_the_librarys_words_are_left_out() {
        let error = tempfile::tempdir_in("/no/such/folder").unwrap_err();
        let error = Error::io("make a folder in", "/no/such/folder")(error);
        assert_eq!(error.what, "cannot make a folder in /no/such/folder: No such file or directory (os error 2)");
        let mut buffer = [0];
        let error = std::io::Read::read_exact(&mut std::io::empty(), &mut buffer).unwrap_err();
        assert_eq!(Error::io("read", "x")(error).what, "cannot read x: truncated");
    }
}
