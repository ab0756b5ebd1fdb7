//! What the measured images hold: Debian's files, or generated ones of any size, and the guest as their `/init`.

use crate::cpio::{self, Entry};
use crate::kernel::{checkout, program};
use crate::{Failure, Result};
use bootstrap::crc::crc32;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::BufWriter;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every measured system does before it is done, from shell to shell the same: starts a large program, looks at every name,
/// reads every library.
const WORK: &str = "\
/usr/lib/systemd/systemd --version > /dev/null
/usr/bin/find /usr > /dev/null
/usr/bin/find /usr -type f -name '*.so*' -exec /usr/bin/cat {} + > /dev/null
exec /init done
";

/// A file of the content, read when it is written.
enum Part {
    Made(Entry),
    Host(PathBuf, Metadata),
    /// Seed and size.
    Generated(u64, u64),
}

/// A file tree with the guest as `/init`, whose log works without a mount.
pub struct Content {
    parts: BTreeMap<String, Part>,
}

impl Content {
    /// The guest alone.
    ///
    /// # Errors
    /// If it does not build.
    pub fn nothing() -> Result<Self> {
        let made = Self::least()?;
        Ok(Content { parts: made.into_iter().map(|entry| (entry.path.clone(), Part::Made(entry))).collect() })
    }

    /// What that is, member by member.
    ///
    /// # Errors
    /// If the guest does not build.
    pub fn least() -> Result<Vec<Entry>> {
        let init = std::fs::read(program("guest", "aarch64")?)?;
        let mut made = vec![
            Entry::file("init", 0o755, init),
            Entry::device("dev/console", 0o600, 5, 1),
            Entry::device("dev/kmsg", 0o600, 1, 11),
        ];
        made.extend(["dev", "proc", "run", "sys", "tmp"].map(Entry::folder));
        Ok(made)
    }

    /// Debian's tree, or about `limit` bytes of it: files picked by the checksum of their paths, so that a part is the
    /// same mixture as the whole.
    ///
    /// # Errors
    /// If the tree cannot be had.
    pub fn debian(limit: Option<u64>) -> Result<Self> {
        let output = Command::new(checkout().join("tests/setup/rootfs.sh")).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err("no Debian tree\n  run tests/setup/rootfs.sh".into());
        }
        let root = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        let mut found = BTreeMap::new();
        list(&root, "", &mut found, &mut BTreeSet::new())?;
        let mut content = Self::nothing()?;
        let mut order: Vec<&String> =
            found.iter().filter(|(_, (_, meta))| !meta.is_dir()).map(|(path, _)| path).collect();
        order.sort_by_key(|path| crc32(path.as_bytes()));
        for path in order {
            if limit.is_some_and(|limit| content.bytes() >= limit) {
                break;
            }
            let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
            for path in parents.chain([path.as_str()]) {
                if let Some((host, meta)) = found.get(path) {
                    content.parts.entry(path.to_owned()).or_insert_with(|| Part::Host(host.clone(), meta.clone()));
                }
            }
        }
        Ok(content)
    }

    /// The same with the work that it does where the kernel's command line says `guest=work`.
    pub fn with_work(self) -> Self {
        self.with_script(WORK)
    }

    /// The same with work of one's own, which ends with `exec /init done`.
    pub fn with_script(self, work: &str) -> Self {
        self.with([Entry::file("work", 0o755, work.as_bytes()), Entry::device("dev/null", 0o666, 1, 3)])
    }

    /// The same with further files, or others in their place.
    pub fn with(mut self, made: impl IntoIterator<Item = Entry>) -> Self {
        self.parts.extend(made.into_iter().map(|entry| (entry.path.clone(), Part::Made(entry))));
        self
    }

    /// The same without the file `path`, which lies at `to` instead if that is given.
    ///
    /// # Errors
    /// If there is none.
    pub fn without(mut self, path: &str, to: Option<&str>) -> Result<Self> {
        let part = self.parts.remove(path).ok_or_else(|| format!("the content has no {path}"))?;
        self.parts.extend(to.map(|to| (to.to_owned(), part)));
        Ok(self)
    }

    /// `files` generated files of `bytes` each that no compressor gains on; the same on every run.
    ///
    /// # Errors
    /// If the guest does not build.
    pub fn generated(files: u64, bytes: u64) -> Result<Self> {
        let mut content = Self::nothing()?;
        content.parts.insert("usr".into(), Part::Made(Entry::folder("usr")));
        content.parts.extend((0..files).map(|index| (format!("usr/{index:04}"), Part::Generated(index, bytes))));
        Ok(content)
    }

    /// Bytes in regular files.
    pub fn bytes(&self) -> u64 {
        let bytes = |part: &Part| match part {
            Part::Made(entry) => entry.data.len() as u64,
            Part::Host(_, meta) if meta.is_file() => meta.len(),
            Part::Host(..) => 0,
            Part::Generated(_, bytes) => *bytes,
        };
        self.parts.values().map(bytes).sum()
    }

    /// Writes it as an uncompressed initramfs.
    ///
    /// # Errors
    /// If reading or writing fails.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        cpio::write(&mut out, &mut self.parts.iter().map(|(path, part)| entry(path, part)))?;
        out.into_inner().map_err(|error| Failure::from(error.into_error()))?;
        Ok(())
    }
}

fn entry(path: &str, part: &Part) -> Result<Entry> {
    Ok(match part {
        Part::Made(entry) => entry.clone(),
        Part::Generated(seed, bytes) => Entry::file(path, 0o644, noise(*seed, *bytes)),
        Part::Host(_, meta) if meta.is_dir() => Entry { mode: meta.permissions().mode(), ..Entry::folder(path) },
        Part::Host(host, meta) if meta.is_symlink() => {
            let data = std::fs::read_link(host)?.into_os_string().into_vec();
            Entry { data, ..Entry::link(path, "") }
        }
        Part::Host(host, meta) => Entry::file(path, meta.permissions().mode() & 0o7777, std::fs::read(host)?),
    })
}

/// Everything below `folder` of `root` by its path, a file with several names once.
fn list(
    root: &Path,
    folder: &str,
    found: &mut BTreeMap<String, (PathBuf, Metadata)>,
    seen: &mut BTreeSet<u64>,
) -> Result<()> {
    let mut entries = std::fs::read_dir(root.join(folder))?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?;
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let meta = std::fs::symlink_metadata(entry.path())?;
        if meta.is_dir() {
            list(root, &path, found, seen)?;
        } else if meta.nlink() > 1 && !seen.insert(meta.ino()) {
            continue;
        }
        found.insert(path, (entry.path(), meta));
    }
    Ok(())
}

/// A generated file: xorshift64 (Marsaglia 2003), which never reaches 0 from a seed that is not.
fn noise(seed: u64, bytes: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| word()).collect()
}

/// How a classic initramfs is compressed: with what Debian's initramfs-tools call their compressors with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// `lz4 -9 -l`.
    Lz4,
    /// `zstd -9`.
    Zstd,
    /// `gzip -9`.
    Gzip,
}

impl Compression {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "uncompressed",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        }
    }

    /// Compresses the file `plain` into one beside it, or leaves it at that; returns which holds the result.
    ///
    /// # Errors
    /// If the compressor is missing or fails.
    pub fn apply(self, plain: &Path) -> Result<PathBuf> {
        let arguments: &[&str] = match self {
            Compression::None => return Ok(plain.to_owned()),
            Compression::Lz4 => &["-9", "-l", "-q", "-c"],
            Compression::Zstd => &["-9", "-q", "-T0", "-c"],
            Compression::Gzip => &["-9", "-n", "-c"],
        };
        let packed = plain.with_extension(self.name());
        let status = Command::new(self.name()).args(arguments).arg(plain).stdout(File::create(&packed)?).status();
        match status {
            Ok(status) if status.success() => Ok(packed),
            other => Err(format!("{} failed: {other:?}\n  run tests/setup/apt.sh test", self.name()).into()),
        }
    }
}
