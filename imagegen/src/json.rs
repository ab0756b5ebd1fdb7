//! Files of our own in JSON: read whole and bounded, and told by what they say of themselves before their keys are looked at, so that
//! a file of another version is called that.

use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Version of its format; a reader accepts exactly its own.
    pub format: u32,
    /// What it says it is made by, if it does.
    pub made_by: Option<&'static str>,
    /// The largest that is read, in bytes.
    pub max_bytes: u64,
    /// What to do about a file that is none.
    pub hint: &'static str,
}

/// What to do about a file of an older version.
const AGAIN: &str = "make it again with this imagegen";

/// What a file says of itself, whatever its version.
#[derive(Deserialize)]
struct Head {
    made_by: Option<String>,
    format: u32,
}

impl Kind {
    /// Why `path` is none.
    pub fn refuse(&self, path: &Path, why: &str) -> Error {
        Error::bad_input(format!("{}: {why}", path.display()), self.hint)
    }

    /// Reads a file, or a pipe: what another program writes there comes to its end, and a device that has none is too large.
    ///
    /// # Errors
    /// Bad input if it is a folder, too large, not JSON, of another program or version, or has other keys.
    pub fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<T> {
        let refuse = |why: String| self.refuse(path, &why);
        if std::fs::metadata(path).map_err(Error::io("read", path))?.is_dir() {
            return Err(refuse("is a folder".to_owned()));
        }
        let mut text = Vec::new();
        let file = File::open(path).map_err(Error::io("open", path))?;
        file.take(self.max_bytes + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
        if text.len() as u64 > self.max_bytes {
            return Err(refuse(format!("larger than {} bytes", self.max_bytes)));
        }
        if text.is_empty() {
            return Err(refuse("is empty".to_owned()));
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        if self.made_by.is_some() && head.made_by.as_deref() != self.made_by {
            let whose = head.made_by.map_or("nobody who says so".to_owned(), |name| format!("{name:?}"));
            return Err(refuse(format!("made by {whose}")));
        }
        if head.format != self.format {
            let age = if head.format > self.format { "a newer" } else { "an older" };
            let what =
                format!("{}: {age} format, {}: this imagegen reads {}", path.display(), head.format, self.format);
            let hint = if head.format > self.format { "use the imagegen that wrote it, or a newer one" } else { AGAIN };
            return Err(Error::bad_input(what, hint));
        }
        serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const KIND: Kind = Kind { format: 2, made_by: Some("us"), max_bytes: 100, hint: "give another" };

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        value: u32,
    }

    #[test]
    fn what_a_file_says_of_itself_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = |kind: Kind, text: &str| {
            std::fs::write(&path, text).unwrap();
            kind.read::<Sample>(&path)
        };
        let good = "{\"made_by\": \"us\", \"format\": 2, \"value\": 7}";
        assert_eq!(read(KIND, good).unwrap(), Sample { value: 7 });
        assert_eq!(read(Kind { made_by: None, ..KIND }, &good.replace("us", "them")).unwrap(), Sample { value: 7 });
        for (text, why) in [
            ("", "is empty"),
            ("[]", "expected"),
            ("{}", "missing field `format`"),
            ("{\"format\": 2, \"value\": 7}", "made by nobody who says so"),
            ("{\"made_by\": \"them\", \"format\": 9}", "made by \"them\""),
            ("{\"made_by\": \"us\", \"format\": 9, \"new\": {}}", "a newer format, 9: this imagegen reads 2"),
            ("{\"made_by\": \"us\", \"format\": 1}", "an older format, 1: this imagegen reads 2"),
            ("{\"made_by\": \"us\", \"format\": 2}", "missing field `value`"),
            (&" ".repeat(101), "larger than 100 bytes"),
        ] {
            let error = read(KIND, text).unwrap_err();
            let is_of_another_version = why.contains("format, ");
            assert!(error.exit_status() == 2 && error.what.contains(why), "{error}");
            assert_eq!(error.hint == "give another", !is_of_another_version, "{error}");
        }
        assert!(KIND.read::<Sample>(folder.path()).unwrap_err().what.ends_with("is a folder"));
        assert!(KIND.read::<Sample>(Path::new("/dev/zero")).unwrap_err().what.contains("larger than"));
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let to = pipe.clone();
        let writer = std::thread::spawn(move || {
            let mut pipe = std::fs::File::options().write(true).open(to).unwrap();
            pipe.write_all(b"{\"made_by\": \"us\", \"format\": 2, ").unwrap();
            pipe.write_all(b"\"value\": 7}").unwrap();
        });
        assert_eq!(KIND.read::<Sample>(&pipe).unwrap(), Sample { value: 7 });
        writer.join().unwrap();
    }
}
