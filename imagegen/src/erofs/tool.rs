//! What the installed `mkfs.erofs` can do: asked, not concluded from its version.

use crate::tree::Tree;
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

/// The longest name Linux knows, in bytes (`NAME_MAX` in include/uapi/linux/limits.h), and the longest that every release
/// of erofs-utils takes.
const NAME_BYTES_MAX: usize = 255;
const NAME_BYTES_SAFE: usize = 254;

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
        let mut help = String::new();
        // 1.5 takes no -V; its help names the version.
        for option in ["-V", "--help"] {
            let output = Command::new("mkfs.erofs").arg(option).output().map_err(unusable("mkfs.erofs"))?;
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

    /// Tries the longest name of `tree`, in the empty `folder`: 1.5 cuts one of 255 bytes.
    ///
    /// # Errors
    /// `BadInput`, naming the file, if it is too long; `FailedWork` if it cannot be tried.
    pub fn require_names(&self, tree: &Tree, folder: &Path) -> Result<()> {
        let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map_or(0, <[u8]>::len);
        let Some(path) = tree.nodes.keys().find(|path| name(path) > NAME_BYTES_SAFE) else { return Ok(()) };
        let takes = |bytes: &usize| -> Result<bool> {
            let (root, image) = (folder.join("names"), folder.join("names.erofs"));
            let file = root.join("n".repeat(*bytes));
            fs::create_dir(&root).map_err(Error::io("make", &root))?;
            File::create(&file).map_err(Error::io("create", &file))?;
            let mut command = Command::new("mkfs.erofs");
            command.arg("--quiet").args([&image, &root]).stdin(Stdio::null()).stdout(Stdio::null());
            let made = command.stderr(Stdio::null()).status().map_err(unusable("mkfs.erofs"))?;
            fs::remove_dir_all(&root).map_err(Error::io("remove", &root))?;
            // There may be none.
            let _ = fs::remove_file(&image);
            Ok(made.success())
        };
        let mut limit = NAME_BYTES_MAX;
        while limit > 0 && !takes(&limit)? {
            limit -= 1;
        }
        let bytes = name(path);
        if bytes <= limit {
            return Ok(());
        }
        let what = format!(
            "`{}`: a name of {bytes} bytes, mkfs.erofs {} takes at most {limit}",
            path.escape_ascii(),
            self.version
        );
        Err(Error::bad_input(what, "shorten it, or install a newer erofs-utils"))
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

/// For `map_err` over starting a program of erofs-utils.
pub fn unusable(program: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => {
                "it may not be executed: apt-get install --reinstall erofs-utils, or chmod +x"
            }
            _ => "apt-get install erofs-utils (1.5 or newer)",
        };
        Error::failed(format!("cannot run {program}: {error}"), hint)
    }
}

/// The errors among what a program of erofs-utils said, in one line.
pub fn errors(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let errors = text.lines().filter_map(|line| line.trim().strip_prefix("<E> "));
    let errors: Vec<String> = errors.map(|error| error.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    if errors.is_empty() { text.lines().last().unwrap_or_default().trim().to_owned() } else { errors.join("; ") }
}
