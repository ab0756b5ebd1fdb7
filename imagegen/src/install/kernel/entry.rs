//! Boot entries of the Boot Loader Specification (type 1): the classic entry of the kernel stays, ours is a copy of it that names
//! the mini-initramfs. GRUB as Debian configures it reads no such entries: there /etc/grub.d/09_initoverlayfs lists ours.

use super::StagedFile;
use super::system::System;
use crate::{Error, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the specification has entries, in the folder that the bootloader reads.
const ENTRIES: &str = "loader/entries";
/// What the names of our entries end with: behind the classic one's name, so that a bootloader that sorts by names takes ours
/// (systemd-boot: the higher name of equal versions first).
const OURS: &str = "-initoverlayfs.conf";
/// Largest entry read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// A boot entry of ours.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Entry {
    pub(super) fn write(&self) -> Result<()> {
        let staged = StagedFile::beside(&self.path)?;
        staged.file().write_all(self.text.as_bytes()).map_err(Error::io("write", &self.path))?;
        staged.publish()
    }
}

/// Our entries for the kernel: one for each classic one. None where the bootloader has no such entries.
///
/// # Errors
/// As reading them fails.
pub(super) fn entries(system: &System, boot: &Path, initramfs: &Path) -> Result<Vec<Entry>> {
    let folder = boot.join(ENTRIES);
    let Ok(found) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mount = system.mount_point(boot)?;
    let initramfs = Path::new("/").join(initramfs.strip_prefix(&mount).unwrap_or(initramfs));
    let mut paths: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut entries = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".conf").filter(|_| !name.ends_with(OURS)) else { continue };
        let length = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if length > MAX_BYTES {
            continue;
        }
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let Some(text) = ours(&String::from_utf8_lossy(&text), &system.release, &initramfs.to_string_lossy()) else {
            continue;
        };
        // Tries that are left, `+3-0`, are counted for each entry alone.
        let stem = stem
            .split_once('+')
            .filter(|(_, tries)| tries.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
            .map_or(stem, |(stem, _)| stem);
        entries.push(Entry { path: folder.join(format!("{stem}{OURS}")), text });
    }
    Ok(entries)
}

/// The classic entry `text` with the mini-initramfs in place of what it loads; nothing if it is of another kernel, or of none.
fn ours(text: &str, release: &str, initramfs: &str) -> Option<String> {
    let field = |line: &str| {
        line.split_once(|c: char| c.is_ascii_whitespace()).map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
    };
    let is_this = text.lines().filter_map(field).any(|(key, value)| key == "version" && value == release);
    let mut out = String::new();
    let mut has_initrd = false;
    for line in text.lines() {
        match field(line) {
            Some((key, value)) if key == "title" => out.push_str(&format!("title      {value} (initoverlayfs)\n")),
            Some((key, _)) if key == "initrd" => {
                // Several are one after the other for the kernel; ours replaces all.
                if !has_initrd {
                    out.push_str(&format!("initrd     {initramfs}\n"));
                }
                has_initrd = true;
            }
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    (is_this && has_initrd).then_some(out)
}

/// What is left to do for a bootloader that does not see the new files by itself.
pub(super) fn advise(system: &System, boot: &Path, entries: &[Entry], is_new: bool, notes: &mut dyn FnMut(&str)) {
    if !entries.is_empty() || !is_new {
        return;
    }
    if boot.join("grub").is_dir() && system.at("etc/grub.d/09_initoverlayfs").is_file() {
        notes("run update-grub: its menu then begins with the new entry");
    } else {
        notes(&format!(
            "no boot entry was made: have the bootloader load initoverlayfs-{}.img as the initramfs",
            system.release
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: &str = "# Boot Loader Specification type#1 entry\ntitle      Debian GNU/Linux 13 (trixie)\nversion    6.12.1\n\
        machine-id 0123\nsort-key   debian\noptions    root=UUID=x ro quiet\nlinux      /t/6.12.1/linux\n\
        initrd     /t/6.12.1/microcode\ninitrd     /t/6.12.1/initrd.img-6.12.1\n";

    #[test]
    fn ours_is_the_classic_entry_with_another_initramfs() {
        let text = ours(CLASSIC, "6.12.1", "/initoverlayfs-6.12.1.img").unwrap();
        assert_eq!(text.matches("initrd ").count(), 1, "{text}");
        for line in [
            "title      Debian GNU/Linux 13 (trixie) (initoverlayfs)",
            "initrd     /initoverlayfs-6.12.1.img",
            "options    root=UUID=x ro quiet",
            "sort-key   debian",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(ours(CLASSIC, "6.12", "/x"), None);
        assert_eq!(ours("title x\nversion 6.12.1\nlinux /x\n", "6.12.1", "/x"), None);
        assert_eq!(ours("version", "6.12.1", "/x"), None);
    }
}
