//! File systems that hold an image as a file, or nothing yet: what the target mounts beside the image.
//!
//! Written into a file by each one's own tools, without root. An image lies in as few pieces as the tool can, in whole blocks
//! of 4 KiB: fit for direct I/O and for file-backed EROFS.
//!
//! ext4, vfat and F2FS are the same bytes for the same input. XFS and Btrfs are not: mkfs.xfs (6.1) knows no time but now, and
//! mkfs.btrfs makes up UUIDs of its own.

use crate::board::FileSystem;
use crate::tool::Tool;
use crate::{Error, Result, erofs, manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Bytes of a block of ext4, as mke2fs is told.
const EXT4_BLOCK: u64 = 4096;
/// 1980-01-01, before which FAT has no time.
const FAT_EPOCH: u64 = 315_532_800;
/// The largest file on FAT.
const FAT_FILE: u64 = (4 << 30) - 1;
/// What every ext4 driver since Linux 3.18 can do, whatever this machine's mke2fs.conf says.
const EXT4_FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                             large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// The least size in bytes that surely holds `content` bytes in a few files: the tools' own minima, journals and reserves of
/// e2fsprogs 1.47, dosfstools 4.2, f2fs-tools 1.15, xfsprogs 6.1 and btrfs-progs 6.2.
pub fn least(kind: FileSystem, content: u64) -> u64 {
    let part = |divisor: u64| (content / divisor).saturating_add(content);
    let bytes = match kind {
        FileSystem::Ext4 => part(8).saturating_add(16 * MIB),
        FileSystem::Vfat => part(64).saturating_add(17 * MIB),
        FileSystem::F2fs => part(8).saturating_add(80 * MIB),
        // Two allocation groups, each large enough: mkfs.xfs cuts a file short that does not fit into one.
        FileSystem::Xfs => content.saturating_add(160 * MIB).saturating_mul(2),
        FileSystem::Btrfs => part(8).saturating_add(128 * MIB),
    };
    bytes.div_ceil(MIB).saturating_mul(MIB)
}

/// Writes a file system with `files` (absolute path in it, host file) to `out`, mode 0600, overwriting it: give a temporary name to
/// replace one atomically. Folders are 0755, files 0600, all root's. It has `bytes` bytes, else [`least`]; its UUID comes
/// from its content; time stamps are `SOURCE_DATE_EPOCH`, or the least the file system has.
///
/// # Errors
/// `BadInput` for a path or label it cannot have, or too few `bytes`; `FailedWork` if a tool is missing or fails.
pub fn write(kind: FileSystem, files: &[(String, PathBuf)], label: &str, bytes: Option<u64>, out: &Path) -> Result<()> {
    let image = Image::new(kind, files, label, bytes, out)?;
    image.create()?;
    match kind {
        FileSystem::Ext4 => image.ext4(),
        FileSystem::Vfat => image.vfat(),
        FileSystem::F2fs => image.f2fs(),
        FileSystem::Xfs => image.xfs(),
        FileSystem::Btrfs => image.btrfs(),
    }
}

/// A file system to write.
struct Image<'a> {
    root: Folder<'a>,
    label: &'a str,
    uuid: String,
    seconds: u64,
    bytes: u64,
    out: &'a Path,
    work: tempfile::TempDir,
}

/// What lies in a folder, by name.
#[derive(Default)]
struct Folder<'a>(BTreeMap<&'a str, Entry<'a>>);

enum Entry<'a> {
    Folder(Folder<'a>),
    File(&'a Path),
}

impl<'a> Folder<'a> {
    /// Adds a file with its parents; false if something else has its path or a parent's.
    fn add(&mut self, path: &'a str, file: &'a Path) -> bool {
        let Some((first, rest)) = path.split_once('/') else {
            return self.0.insert(path, Entry::File(file)).is_none();
        };
        match self.0.entry(first).or_insert_with(|| Entry::Folder(Folder::default())) {
            Entry::Folder(folder) => folder.add(rest, file),
            Entry::File(_) => false,
        }
    }

    /// Everything below, parents first, with its path below `above`.
    fn all(&self, above: &str) -> Vec<(String, Option<&'a Path>)> {
        let mut list = Vec::new();
        for (name, entry) in &self.0 {
            let path = format!("{above}/{name}");
            match entry {
                Entry::File(file) => list.push((path, Some(*file))),
                Entry::Folder(folder) => {
                    list.push((path.clone(), None));
                    list.extend(folder.all(&path));
                }
            }
        }
        list
    }
}

impl<'a> Image<'a> {
    fn new(
        kind: FileSystem,
        files: &'a [(String, PathBuf)],
        label: &'a str,
        bytes: Option<u64>,
        out: &'a Path,
    ) -> Result<Self> {
        check_label(kind, label)?;
        let (mut root, mut content) = (Folder::default(), 0_u64);
        let mut hash = Sha256::new().chain_update(kind.name()).chain_update([0]).chain_update(label);
        for (path, file) in files {
            check_path(kind, path)?;
            let (size, sha256) = manifest::digest_file(file)?;
            if kind == FileSystem::Vfat && size > FAT_FILE {
                let what = format!("{}: {size} bytes, and a file on vfat has at most {FAT_FILE}", file.display());
                return Err(Error::bad_input(what, "compress the image, or take another file system"));
            }
            if !root.add(path.trim_start_matches('/'), file) {
                let what = format!("{path}: something else lies there, or where its folder is to be");
                return Err(Error::bad_input(what, "give each file a path of its own"));
            }
            content = content.saturating_add(size);
            hash.update([0]);
            hash.update(path);
            hash.update(sha256);
        }
        let least = least(kind, content);
        let bytes = bytes.unwrap_or(least);
        if bytes < least {
            let what = format!("{bytes} bytes are too few for {} with {content} bytes in it", kind.name());
            return Err(Error::bad_input(what, format!("give it {least}")));
        }
        let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let work = tempfile::tempdir_in(folder).map_err(Error::io("make a folder in", folder))?;
        let (uuid, seconds) = (uuid(&hash.finalize().into()), erofs::source_date()?);
        Ok(Image { root, label, uuid, seconds, bytes, out, work })
    }

    /// A file of the right size, all of it a hole.
    fn create(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.out).map_err(Error::io("create", self.out))?;
        file.set_len(self.bytes).map_err(Error::io("resize", self.out))
    }

    /// With mke2fs and debugfs: `mke2fs -d` takes owners and change times from the host.
    fn ext4(&self) -> Result<()> {
        let hashed = format!("hash_seed={},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.uuid);
        // 0 would be taken for now.
        let tool = |name| {
            let tool = Tool::new(name, "e2fsprogs").env("MKE2FS_CONFIG", "/dev/null");
            tool.env("E2FSPROGS_FAKE_TIME", self.seconds.max(1).to_string())
        };
        let mke2fs = tool("mke2fs").args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", EXT4_FEATURES]);
        mke2fs.args(["-U", &self.uuid, "-E", &hashed]).label("-L", self.label).arg(self.out).run()?;
        let mut script = String::new();
        for (number, (path, file)) in self.root.all("").into_iter().enumerate() {
            let path = path.replace('"', "\"\"");
            let _ = match file {
                None => writeln!(script, "mkdir \"{path}\""),
                Some(file) => {
                    fill(file, &self.work.path().join(number.to_string()))?;
                    writeln!(
                        script,
                        "write {number} \"{path}\"\nset_inode_field \"{path}\" mode 0100600\ndump_extents -l \"{path}\""
                    )
                }
            };
        }
        let commands = self.work.path().join("commands");
        std::fs::write(&commands, script).map_err(Error::io("write", &commands))?;
        let out = std::path::absolute(self.out).map_err(Error::io("find", self.out))?;
        let debugfs = tool("debugfs").args(["-w", "-f", "commands"]).arg(out).folder(self.work.path());
        let [wrote, said] = debugfs.output()?;
        // Its exit status does not say whether a command failed; on standard error it says its version in any case.
        match said.lines().find(|line| !line.trim().is_empty() && !line.starts_with("debugfs ")) {
            Some(line) => {
                Err(Error::failed(format!("debugfs failed on {}: {line}", self.out.display()), "is there space?"))
            }
            None => self.put_content(&wrote),
        }
    }

    /// Writes each file over the blocks that debugfs gave its filler, by `dump_extents`: debugfs itself leaves a hole for every block
    /// of zeros, and the kernel takes in all the pieces of a file (`ext4_cache_extents()`, Linux 6.12) before the first is read.
    fn put_content(&self, wrote: &str) -> Result<()> {
        let out = OpenOptions::new().write(true).open(self.out).map_err(Error::io("open", self.out))?;
        let mut lists = wrote.split("debugfs: dump_extents ").skip(1);
        for path in self.root.all("").into_iter().filter_map(|(_, file)| file) {
            let (list, mut file) =
                (lists.next().unwrap_or_default(), File::open(path).map_err(Error::io("open", path))?);
            let mut left = file.metadata().map_err(Error::io("read", path))?.len();
            for piece in list.lines().filter_map(Piece::parse) {
                let bytes = left.min(piece.blocks * EXT4_BLOCK);
                let mut to = &out;
                to.seek(SeekFrom::Start(piece.start * EXT4_BLOCK)).map_err(Error::io("write", self.out))?;
                let copied =
                    std::io::copy(&mut file.by_ref().take(bytes), &mut to).map_err(Error::io("write", self.out))?;
                left -= copied;
            }
            if left > 0 {
                let what = format!("{}: {left} bytes found no place in {}", path.display(), self.out.display());
                return Err(Error::failed(what, "did the file change meanwhile? try again"));
            }
        }
        Ok(())
    }

    fn vfat(&self) -> Result<()> {
        let serial = self.uuid.get(..8).unwrap_or_default();
        let mkfs = Tool::new("mkfs.vfat", "dosfstools").args(["--invariant", "-i", serial]);
        mkfs.label("-n", self.label).arg(self.out).run()?;
        let mtools = |name| {
            let tool = Tool::new(name, "mtools").env("TZ", "UTC").env("MTOOLSRC", "/dev/null");
            let tool = tool.env("SOURCE_DATE_EPOCH", self.seconds.max(FAT_EPOCH).to_string());
            tool.arg("-i").arg(self.out)
        };
        for (path, file) in self.root.all("::") {
            match file {
                None => mtools("mmd").arg(&path).run()?,
                Some(file) => mtools("mcopy").arg(file).arg(&path).run()?,
            };
        }
        Ok(())
    }

    fn f2fs(&self) -> Result<()> {
        let seconds = self.seconds.to_string();
        let mkfs = Tool::new("mkfs.f2fs", "f2fs-tools").args(["-q", "-f", "-r", "-T", &seconds, "-U", &self.uuid]);
        mkfs.label("-l", self.label).arg(self.out).run()?;
        if self.root.0.is_empty() {
            return Ok(());
        }
        let tree = self.copy()?;
        let sload = Tool::new("sload.f2fs", "f2fs-tools").args(["-t", "/", "-T", &seconds, "-f"]);
        sload.arg(&tree).arg(self.out).run().map(drop)
    }

    /// mkfs.xfs reads a list of files (mkfs.xfs(8), "protofile"), in which nothing can be quoted.
    fn xfs(&self) -> Result<()> {
        let mut list = "/\n0 0\nd--755 0 0\n".to_owned();
        self.xfs_folder(&self.root, &mut list, &mut 0)?;
        list.push_str("$\n");
        let proto = self.work.path().join("files");
        std::fs::write(&proto, list).map_err(Error::io("write", &proto))?;
        let mkfs = Tool::new("mkfs.xfs", "xfsprogs").args(["-q", "-f", "-b", "size=4096", "-d", "agcount=2"]);
        let mkfs = mkfs.arg("-m").arg(format!("uuid={}", self.uuid)).label("-L", self.label);
        let mkfs = mkfs.env("SOURCE_DATE_EPOCH", self.seconds.to_string()).env("DETERMINISTIC_SEED", "1");
        let out = std::path::absolute(self.out).map_err(Error::io("find", self.out))?;
        mkfs.args(["-p", "files"]).arg(out).folder(self.work.path()).run().map(drop)
    }

    fn xfs_folder(&self, folder: &Folder<'_>, list: &mut String, count: &mut u32) -> Result<()> {
        for (name, entry) in &folder.0 {
            let _ = match entry {
                Entry::Folder(folder) => {
                    let _ = writeln!(list, "{name} d--755 0 0");
                    self.xfs_folder(folder, list, count)?;
                    writeln!(list, "$")
                }
                Entry::File(file) => {
                    *count += 1;
                    self.link(file, &count.to_string())?;
                    writeln!(list, "{name} ---600 0 0 {count}")
                }
            };
        }
        Ok(())
    }

    fn btrfs(&self) -> Result<()> {
        let tree = self.copy()?;
        let mkfs = Tool::new("mkfs.btrfs", "btrfs-progs").args(["-q", "-f", "-s", "4096", "-n", "16384", "-m", "dup"]);
        let mkfs = mkfs.args(["-d", "single", "-U", &self.uuid]).label("-L", self.label).arg("--rootdir").arg(&tree);
        mkfs.arg(self.out).run()?;
        // A file that is too small is made larger.
        let bytes = std::fs::metadata(self.out).map_err(Error::io("read", self.out))?.len();
        if bytes == self.bytes {
            return Ok(());
        }
        let what = format!("{}: mkfs.btrfs made {bytes} bytes of {}", self.out.display(), self.bytes);
        Err(Error::failed(what, "give the file system a larger size"))
    }

    /// Gives `file` a name in the work folder that every tool takes.
    fn link(&self, file: &Path, name: &str) -> Result<()> {
        let file = std::path::absolute(file).map_err(Error::io("find", file))?;
        symlink(&file, self.work.path().join(name)).map_err(Error::io("link to", &file))
    }

    /// All files in folders on the host, for tools that take a folder, with their permissions; root's where this process may say so.
    fn copy(&self) -> Result<PathBuf> {
        let tree = self.work.path().join("tree");
        let folders = std::iter::once((String::new(), None));
        for (path, file) in folders.chain(self.root.all("")) {
            let to = tree.join(path.trim_start_matches('/'));
            let mode = match file {
                None => std::fs::create_dir(&to).map(|()| 0o755).map_err(Error::io("make", &to))?,
                Some(file) => std::fs::copy(file, &to).map(|_| 0o600).map_err(Error::io("copy", file))?,
            };
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&to, permissions).map_err(Error::io("change", &to))?;
            let _ = std::os::unix::fs::chown(&to, Some(0), Some(0));
        }
        Ok(tree)
    }
}

/// A file's next blocks.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    blocks: u64,
}

impl Piece {
    /// A line of debugfs' `dump_extents -l`: level and depth, entry and entries, first and last block in the file and in the file
    /// system, length.
    fn parse(line: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> =
            line.split([' ', '/', '-']).filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect();
        match numbers?.as_slice() {
            [_, _, _, _, _, _, start, _, blocks] => Some(Piece { start: *start, blocks: *blocks }),
            _ => None,
        }
    }
}

/// Writes to `to` as many bytes as `file` has, none of them 0.
fn fill(file: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::metadata(file).map_err(Error::io("read", file))?.len();
    let write = || std::io::copy(&mut std::io::repeat(0xff).take(bytes), &mut File::create(to)?);
    write().map(drop).map_err(Error::io("write", to))
}

/// A UUID of version 8 (RFC 9562) in its text form.
fn uuid(digest: &[u8; 32]) -> String {
    let mut bytes = *digest;
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| manifest::hex(bytes.get(range).unwrap_or_default()));
    groups.join("-")
}

fn check_label(kind: FileSystem, label: &str) -> Result<()> {
    let most = match kind {
        FileSystem::Vfat => 11,
        FileSystem::Xfs => 12,
        FileSystem::Ext4 => 16,
        FileSystem::F2fs => 63,
        FileSystem::Btrfs => 127,
    };
    let refused = |c: char| match kind {
        FileSystem::Vfat => c.is_ascii_lowercase() || !c.is_ascii() || "\"*+,./:;<=>?[\\]|".contains(c),
        FileSystem::Btrfs => c == '/',
        _ => false,
    };
    if label.len() <= most && !label.chars().any(|c| c.is_control() || refused(c)) {
        return Ok(());
    }
    let what = format!("{label:?} cannot be the label of {}", kind.name());
    Err(Error::bad_input(what, format!("at most {most} bytes; vfat: ASCII in upper case, no punctuation but - and _")))
}

fn check_path(kind: FileSystem, path: &str) -> Result<()> {
    let refused = |c: char| match kind {
        FileSystem::Vfat => "\"*:<>?\\|".contains(c),
        FileSystem::Xfs => c.is_whitespace() || c == '$',
        _ => false,
    };
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.chars().any(|c| c.is_control() || refused(c))
    };
    if path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_name)) {
        return Ok(());
    }
    let what = format!("{path:?} cannot be the path of a file on {}", kind.name());
    Err(Error::bad_input(
        what,
        "give an absolute path without `..`; on xfs no spaces and no $, on vfat none of \"*:<>?\\|",
    ))
}

#[cfg(test)]
mod tests;
