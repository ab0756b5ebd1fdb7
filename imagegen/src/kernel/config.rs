//! A kernel's configuration: the text `.config` (Documentation/kbuild/kconfig.rst), also as /proc/config.gz has it, or inside a kernel
//! image that was built with CONFIG_IKCONFIG.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file read in bytes: a kernel image may hold the configuration.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The largest configuration in bytes, decompressed; the largest known has 300,000.
const MAX_BYTES: u64 = 16 << 20;
/// What a gzip stream begins with (RFC 1952).
const GZIP: &[u8] = &[0x1F, 0x8B];
/// What a kernel image has in front of its configuration, which is a gzip stream (kernel/configs.c).
const IN_IMAGE: &[u8] = b"IKCFG_ST";
/// What to give.
const HINT: &str =
    "give a kernel's .config, its /boot/config-VERSION or /proc/config.gz, or an image with CONFIG_IKCONFIG";

/// What an option is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not set, or a text without characters.
    Off,
    /// A module.
    Module,
    /// Built in, or a text or number.
    On,
}

/// A kernel's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Folder below `arch/` in the kernel's source, if the file says it.
    pub architecture: Option<String>,
    /// The kernel's version, `6.12.117`, if the file says it.
    pub version: Option<String>,
    options: BTreeMap<String, String>,
}

impl Config {
    /// Of a kernel of which no more than the version is known.
    pub fn of_version(version: &str) -> Self {
        Config { version: Some(version.to_owned()), ..Config::default() }
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Bad input if there is none in the file, or a line is none of one; failed work if the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |reason: String| Error::bad_input(format!("{}: {reason}", path.display()), HINT);
        let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(refused(format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Self::from_bytes(&bytes).map_err(refused)
    }

    /// Reads a configuration, compressed or in a kernel image, or its text.
    ///
    /// # Errors
    /// Why there is none.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, String> {
        let in_image = bytes.windows(IN_IMAGE.len()).position(|window| window == IN_IMAGE);
        let inside = in_image.and_then(|at| bytes.get(at + IN_IMAGE.len()..)).filter(|rest| rest.starts_with(GZIP));
        let Some(compressed) = inside.or_else(|| Some(bytes).filter(|bytes| bytes.starts_with(GZIP))) else {
            return Self::from_text(&String::from_utf8_lossy(bytes));
        };
        let mut text = Vec::new();
        // In an image other bytes follow: one stream alone.
        let result = flate2::read::GzDecoder::new(compressed).take(MAX_BYTES + 1).read_to_end(&mut text);
        result.map_err(|error| format!("cannot be decompressed: {error}"))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes, decompressed"));
        }
        Self::from_text(&String::from_utf8_lossy(&text))
    }

    fn from_text(text: &str) -> std::result::Result<Self, String> {
        let mut config = Config::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if let Some(comment) = line.strip_prefix('#') {
                config.add_title(comment);
            } else if !line.is_empty() {
                let option = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='));
                let is_name =
                    |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let (name, value) = option
                    .filter(|(name, _)| is_name(name))
                    .ok_or_else(|| format!("line {} is neither CONFIG_NAME=VALUE nor a comment", number + 1))?;
                // As Kconfig reads it: the last one counts.
                config.options.insert(name.to_owned(), value.to_owned());
            }
        }
        if config.options.is_empty() { Err("no option in it".to_owned()) } else { Ok(config) }
    }

    /// `Linux/arm64 6.12.117 Kernel Configuration`: the third line (scripts/kconfig/confdata.c).
    fn add_title(&mut self, comment: &str) {
        let title = comment.trim().strip_suffix(" Kernel Configuration").and_then(|title| title.strip_prefix("Linux/"));
        if let Some((architecture, version)) = title.and_then(|title| title.split_once(' ')) {
            let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
            if is_plain(architecture) && is_plain(version) && self.version.is_none() {
                (self.architecture, self.version) = (Some(architecture.to_owned()), Some(version.to_owned()));
            }
        }
    }

    /// What an option, without `CONFIG_`, is set to.
    pub fn state(&self, option: &str) -> State {
        match self.options.get(option).map(String::as_str) {
            None | Some("" | "\"\"" | "n") => State::Off,
            Some("m") => State::Module,
            Some(_) => State::On,
        }
    }

    /// The text of an option, without quotes, if it has one.
    pub fn text(&self, option: &str) -> Option<&str> {
        let value = self.options.get(option)?;
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some(inner.unwrap_or(value)).filter(|text| !text.is_empty())
    }

    /// Major and minor number of the kernel's version, if the file says it.
    pub fn release(&self) -> Option<(u32, u32)> {
        release(self.version.as_deref()?)
    }
}

/// Major and minor number of a version: 6 and 12 of `6.12.117+deb13-arm64`.
pub fn release(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..end)?.parse().ok()?))
}

/// Where the kernel's configuration lies: beside a folder of modules, or that of the running kernel.
///
/// # Errors
/// Bad input if it lies nowhere there.
pub fn find(modules: Option<&Path>) -> Result<PathBuf> {
    let (places, whose) = match modules {
        Some(folder) => (beside(folder), format!("of the kernel of {}", folder.display())),
        None => {
            let version = running()?;
            let of_version = [format!("/boot/config-{version}"), format!("/lib/modules/{version}/config")];
            let places = std::iter::once("/proc/config.gz".into()).chain(of_version).map(PathBuf::from).collect();
            (places, "of the running kernel".to_owned())
        }
    };
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        Error::bad_input(format!("no configuration {whose}: looked at {}", looked.join(", ")), "give it: --config FILE")
    })
}

/// Version of the running kernel, as uname(2) says it.
///
/// # Errors
/// Failed work without /proc.
pub fn running() -> Result<String> {
    let path = "/proc/sys/kernel/osrelease";
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.trim_end().to_owned())
}

/// `config` in the folder (Debian from 7.0 on, Fedora), or `boot/config-VERSION` of the root it lies in.
fn beside(folder: &Path) -> Vec<PathBuf> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let boot = |root: &Path| root.join("boot").join(format!("config-{name}"));
    // ROOT/lib/modules/VERSION or ROOT/usr/lib/modules/VERSION.
    std::iter::once(folder.join("config")).chain(folder.ancestors().skip(3).take(2).map(boot)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    const TEXT: &str = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm64 6.12.117 Kernel Configuration\n#\n\
                        CONFIG_EROFS_FS=m\r\nCONFIG_BLOCK=y\n# CONFIG_NET is not set\nCONFIG_FAT_DEFAULT_CODEPAGE=437\n\
                        CONFIG_FAT_DEFAULT_IOCHARSET=\"ascii\"\nCONFIG_SYSTEM_TRUSTED_KEYS=\"\"\nCONFIG_NET=n\n\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn options_have_a_state() {
        let config = Config::from_bytes(TEXT.as_bytes()).unwrap();
        assert_eq!((config.architecture.as_deref(), config.version.as_deref()), (Some("arm64"), Some("6.12.117")));
        assert_eq!(config.release(), Some((6, 12)));
        for (option, state) in [
            ("EROFS_FS", State::Module),
            ("BLOCK", State::On),
            ("NET", State::Off),
            ("FAT_DEFAULT_CODEPAGE", State::On),
            ("SYSTEM_TRUSTED_KEYS", State::Off),
            ("ABSENT", State::Off),
        ] {
            assert_eq!(config.state(option), state, "{option}");
        }
        assert_eq!(
            (config.text("FAT_DEFAULT_IOCHARSET"), config.text("FAT_DEFAULT_CODEPAGE")),
            (Some("ascii"), Some("437"))
        );
        assert_eq!(config.text("SYSTEM_TRUSTED_KEYS"), None);
    }

    #[test]
    fn compressed_and_in_an_image_it_is_the_same() {
        let plain = Config::from_bytes(TEXT.as_bytes()).unwrap();
        let compressed = gzip(TEXT.as_bytes());
        assert_eq!(Config::from_bytes(&compressed).unwrap(), plain);
        let image = [b"MZ\0IKCFG_ST..".as_slice(), IN_IMAGE, &compressed, b"IKCFG_ED\0rest"].concat();
        assert!(Config::from_bytes(&image).is_err(), "the marker's own text is not followed by gzip");
        let image = [b"MZ\0".as_slice(), IN_IMAGE, &compressed, b"IKCFG_ED\0rest"].concat();
        assert_eq!(Config::from_bytes(&image).unwrap(), plain);
        for length in [2, 20, compressed.len() - 9] {
            let said = Config::from_bytes(&compressed[..length]).unwrap_err();
            assert!(said.starts_with("cannot be decompressed"), "{said}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, said) in [
            ("", "no option in it"),
            ("# CONFIG_X is not set\n", "no option in it"),
            ("CONFIG_X=y\nCONFIG_X\n", "line 2 is neither"),
            ("CONFIG_=y\n", "line 1 is neither"),
            ("CONFIG_A B=y\n", "line 1 is neither"),
            ("<html>\n", "line 1 is neither"),
        ] {
            let found = Config::from_bytes(text.as_bytes()).unwrap_err();
            assert!(found.starts_with(said), "{found}");
        }
        let bomb = gzip(&vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 2]);
        assert!(Config::from_bytes(&bomb).unwrap_err().contains("more than"));
    }

    #[test]
    fn versions() {
        assert_eq!(release("6.12.117+deb13-arm64"), Some((6, 12)));
        assert_eq!(release("7.2-rc1"), Some((7, 2)));
        for wrong in ["", "6", "6.", ".12", "x.y", "6.x"] {
            assert_eq!(release(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Config::from_bytes(&bytes);
            let _ = Config::from_bytes(&[IN_IMAGE, GZIP, &bytes].concat());
        }

        #[test]
        fn no_text_makes_it_panic(text in "(CONFIG_[A-Z=\"]{0,6}|# Linux/[a-z ]{0,9} Kernel Configuration|\\PC{0,9}|\n){0,20}") {
            if let Ok(config) = Config::from_bytes(text.as_bytes()) {
                let _ = (config.release(), config.text("A"), config.state("A"));
            }
        }
    }
}
