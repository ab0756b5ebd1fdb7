//! What the installed `mkfs.erofs` can do: asked, not concluded from its version.

use crate::{Error, Result};
use std::process::Command;

/// Compressors of any release.
const ALGORITHMS: [&str; 6] = ["lz4", "lz4hc", "lzma", "deflate", "libdeflate", "zstd"];

/// The installed `mkfs.erofs`.
#[derive(Debug)]
pub struct Tool {
    /// Its version, as it says itself.
    pub version: String,
    help: String,
}

impl Tool {
    /// Asks `mkfs.erofs` for its version and options.
    ///
    /// # Errors
    /// `FailedWork` if it is missing.
    pub fn probe() -> Result<Self> {
        let missing = |error: std::io::Error| {
            Error::failed(format!("cannot run mkfs.erofs: {error}"), "apt-get install erofs-utils (1.5 or newer)")
        };
        let mut help = String::new();
        // 1.5 takes no -V; its help names the version.
        for option in ["-V", "--help"] {
            let output = Command::new("mkfs.erofs").arg(option).output().map_err(missing)?;
            help += &String::from_utf8_lossy(&output.stdout);
            help += &String::from_utf8_lossy(&output.stderr);
        }
        let version = help.lines().find_map(|line| {
            let version = line.strip_prefix("mkfs.erofs ")?.trim_start_matches("(erofs-utils)").trim();
            version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
        });
        Ok(Tool { version: version.unwrap_or_else(|| "unknown".to_owned()), help })
    }

    /// Whether its help mentions `option`.
    pub fn has(&self, option: &str) -> bool {
        self.help.contains(option)
    }

    /// The compressors it was built with.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let (_, listed) = self.help.split_once("ompressors ").unwrap_or_default();
        let words: Vec<&str> = listed.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        ALGORITHMS.into_iter().filter(|name| words.contains(name)).collect()
    }

    /// # Errors
    /// `BadInput` if it cannot do `compression` (`lz4hc,12`).
    pub fn require_compression(&self, compression: &str) -> Result<()> {
        let algorithms = self.algorithms();
        let wanted = compression.split(',').next().unwrap_or_default();
        if algorithms.contains(&wanted) {
            return Ok(());
        }
        let what = format!("mkfs.erofs {} cannot compress with `{wanted}`", self.version);
        Err(Error::bad_input(what, format!("it has {}; or install a newer erofs-utils", algorithms.join(", "))))
    }
}
