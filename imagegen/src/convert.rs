//! `imagegen convert`: from the configuration of the original initoverlayfs to a board. What it says is a line KEY VALUE; what
//! none of ours corresponds to is said in a note, and never dropped in silence.

mod device;

use crate::board::draft::{self, Draft, Slot};
use crate::{Error, Result};
use device::device;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where the original has its configuration.
pub const CONF: &str = "/etc/initoverlayfs.conf";
/// What a converted board is called, if nobody says otherwise.
pub const NAME: &str = "converted";
/// Largest configuration read, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Keys of the original: those its program reads, then those its installer reads.
const KEYS: [&str; 10] = [
    "bootfs",
    "bootfs_hint",
    "bootfstype",
    "fs",
    "fstype",
    "scsi.addr",
    "erofs_compression",
    "initoverlayfs_builder",
    "initrd_builder",
    "initoverlayfs_init",
];

/// A converted configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The board.
    pub draft: Draft,
    /// What differs, a line each, for whoever converts.
    pub notes: Vec<String>,
}

/// What this machine's processor is called in a board file.
///
/// # Errors
/// Bad input if no board has such a processor.
pub fn host_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "aarch64" => Ok("aarch64"),
        "arm" => Ok("armv7"),
        "x86_64" => Ok("x86_64"),
        other => {
            Err(Error::bad_input(format!("no board has this machine's processor, {other}"), "give --architecture ARCH"))
        }
    }
}

/// Converts the file `conf` to a board.
///
/// # Errors
/// As it cannot be read, and as [`convert`].
pub fn file(conf: &Path, name: &str, architecture: &str) -> Result<Converted> {
    let mut bytes = Vec::new();
    let file = File::open(conf).map_err(Error::io("open", conf))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", conf))?;
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("{}: larger than {MAX_BYTES} bytes", conf.display());
        return Err(Error::bad_input(what, "it is a short text; is this one?"));
    }
    convert(&bytes, name, architecture)
        .map_err(|error| Error { what: format!("{}: {}", conf.display(), error.what), ..error })
}

/// Converts a configuration to the board `name`.
///
/// # Errors
/// Bad input if a value is none, or says what no board can do.
pub fn convert(bytes: &[u8], name: &str, architecture: &str) -> Result<Converted> {
    for (key, value) in [("name", name), ("architecture", architecture)] {
        if let Some(why) = draft::refuse(key, value) {
            return Err(Error::bad_input(format!("{key}: {why}"), "give another"));
        }
    }
    let mut conf = Conf::read(bytes)?;
    // So far these are lines that mean nothing; an empty file has none.
    if conf.values.is_empty() && !conf.notes.is_empty() {
        let hint = format!("give the original's configuration, lines KEY VALUE, of which it has: {}", KEYS.join(", "));
        return Err(Error::bad_input("no line with a key of the original", hint));
    }
    let mut draft = Draft {
        name: name.to_owned(),
        reason: Some("converted from the configuration of the original initoverlayfs".to_owned()),
        architecture: Some(architecture.to_owned()),
        ..Draft::default()
    };
    let slot = conf.slot()?;
    draft.modules = Some(modules(&slot));
    draft.slot = Some(slot);
    conf.image(&mut draft)?;
    conf.builders();
    conf.note(
        "add the drivers of the storage to modules.load: what the original had udev load in its mini-initramfs, \
         bootstrap loads itself",
    );
    draft.notes = conf.notes.iter().map(|note| format!("Converted: {note}.")).collect();
    Ok(Converted { draft, notes: conf.notes })
}

/// What the original's dracut module installs, and the file system it mounts.
fn modules(slot: &Slot) -> Vec<String> {
    let holder: &[&str] = match slot.filesystem.as_deref() {
        Some("vfat") => &["vfat", "nls_cp437", "nls_ascii"],
        Some("f2fs") => &["f2fs"],
        Some("xfs") => &["xfs"],
        Some("btrfs") => &["btrfs"],
        Some(_) => &["ext4"],
        None => &[],
    };
    holder.iter().chain(&["loop", "erofs", "overlay"]).map(|name| (*name).to_owned()).collect()
}

/// The configuration, and what there is to say about it.
struct Conf {
    /// Key to its line and value.
    values: BTreeMap<&'static str, (usize, String)>,
    notes: Vec<String>,
}

impl Conf {
    /// Reads lines as the original does, without what it gets wrong: a last line without its end is whole, a carriage return
    /// is no part of a value, and the last of several lines with one key holds.
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut conf = Conf { values: BTreeMap::new(), notes: Vec::new() };
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
            let key = line.split(is_space).next().unwrap_or_default();
            let Some(key) = KEYS.iter().find(|known| known.as_bytes() == key) else {
                conf.stray(number, line);
                continue;
            };
            let value = line.get(key.len()..).unwrap_or_default();
            let refused = |why: &str| {
                Err(Error::bad_input(
                    format!("line {number}: {key}: {why}"),
                    "correct it, or write the board with imagegen new",
                ))
            };
            let Ok(value) = std::str::from_utf8(value) else { return refused("not UTF-8") };
            let value = value.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
            if value.contains(char::is_control) {
                return refused("has a control character");
            }
            if let Some((earlier, _)) = conf.values.insert(key, (number, value.to_owned())) {
                conf.note(&format!("{key} is given again on line {number}: line {earlier} does not hold"));
            }
        }
        Ok(conf)
    }

    /// A line that the original passes over.
    fn stray(&mut self, number: usize, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let shown: String = text.chars().take(40).collect();
            self.note(&format!("line {number} means nothing to the original: {:?}", shown));
        }
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Line and value of a key that is there and not empty.
    fn take(&mut self, key: &str) -> Option<(usize, String)> {
        self.values.remove(key).filter(|(_, value)| !value.is_empty())
    }

    /// A value of a key of ours, or what is wrong with it.
    fn valid(key: &str, line: usize, value: String) -> Result<String> {
        match draft::refuse(key, &value) {
            None => Ok(value),
            Some(why) => {
                Err(Error::bad_input(format!("line {line}: {why}"), "correct it, or write the board with imagegen new"))
            }
        }
    }

    /// Where the image lies.
    fn slot(&mut self) -> Result<Slot> {
        if let Some((line, kind)) = self.take("fstype").filter(|(_, kind)| kind != "erofs") {
            self.note(&format!("line {line}: the image is EROFS, not {kind}"));
        }
        let (bootfs, hint, kind, file) =
            (self.take("bootfs"), self.take("bootfs_hint"), self.take("bootfstype"), self.take("fs"));
        let lun = self.take("scsi.addr");
        let Some((line, bootfs)) = bootfs else {
            if hint.or(kind).or(lun).is_some() {
                self.note("without bootfs, bootfs_hint, bootfstype and scsi.addr mean nothing");
            }
            self.note("bootfs names no file system: the image goes into the initramfs, where it is found without one");
            return Ok(Slot { source: "initramfs".to_owned(), ..Slot::default() });
        };
        let found = device(&bootfs).map_err(|why| {
            Error::bad_input(
                format!("line {line}: bootfs {bootfs:?}: {why}"),
                "name the file system by UUID=, LABEL=, PARTUUID= or PARTLABEL=",
            )
        })?;
        if found.0 == "path" {
            self.note(&format!("line {line}: a device's name can change from boot to boot: UUID= is safer (the original stops at a name)"));
        }
        let mut slot = Slot { source: "file".to_owned(), ..Slot::default() };
        slot.device = Some((found.0, Self::valid(found.0, line, found.1)?));
        slot.hint = self.hint(hint);
        slot.filesystem = Some(self.kind(kind)?);
        slot.file = Some(self.file(file)?);
        if let Some((line, lun)) = lun {
            slot.lun = Some(Self::valid("lun", line, lun)?);
        }
        Ok(slot)
    }

    fn hint(&mut self, hint: Option<(usize, String)>) -> Option<String> {
        let (line, hint) = hint?;
        if draft::refuse("hint", &hint).is_none() && device(&hint).is_ok_and(|(key, _)| key == "path") {
            return Some(hint);
        }
        self.note(&format!(
            "line {line}: bootfs_hint {hint:?} is no device that the kernel names: left out, it only saves time"
        ));
        None
    }

    fn kind(&mut self, kind: Option<(usize, String)>) -> Result<String> {
        let Some((line, kind)) = kind else {
            self.note("bootfstype is missing: ext4 is taken for it");
            return Ok("ext4".to_owned());
        };
        let ours = match kind.as_str() {
            "ext2" | "ext3" => {
                self.note(&format!("line {line}: {kind} is mounted by the kernel's ext4"));
                "ext4".to_owned()
            }
            "msdos" | "fat" => "vfat".to_owned(),
            _ => kind,
        };
        Self::valid("filesystem", line, ours)
    }

    fn file(&mut self, file: Option<(usize, String)>) -> Result<String> {
        let Some((line, file)) = file else {
            self.note("the image is /initoverlayfs-RELEASE-BUILD.erofs beside the original's initoverlayfs-RELEASE.img, which can go");
            return Ok(crate::new::FILE.to_owned());
        };
        let path = format!("/{}", file.trim_start_matches('/'));
        if path != file {
            self.note(&format!("line {line}: fs {file:?} is taken for {path:?}"));
        }
        self.note(&format!(
            "line {line}: {path} is one file for all kernels: {{release}} and {{build}} in its name keep them apart"
        ));
        Self::valid("file", line, path)
    }

    /// How the image is written: the original has the options of mkfs.erofs here.
    fn image(&mut self, draft: &mut Draft) -> Result<()> {
        let Some((line, options)) = self.take("erofs_compression") else { return Ok(()) };
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let (option, mut value) = word.split_at_checked(2).unwrap_or((word, ""));
            if matches!(option, "-z" | "-C") && value.is_empty() {
                value = words.next().unwrap_or_default();
            }
            match option {
                "-z" => {
                    let first = value.split(':').next().unwrap_or_default();
                    if first != value {
                        self.note(&format!("line {line}: of the algorithms {value:?} only {first} is used"));
                    }
                    let plain = if first.starts_with("lz4,") { "lz4" } else { first };
                    draft.compression = Some(Self::valid("compression", line, plain.to_owned())?);
                }
                "-C" if is_cluster(value) => draft.cluster = Some(value.to_owned()),
                _ => self.note(&format!("line {line}: {word:?} of mkfs.erofs has no key in a board: left out")),
            }
        }
        Ok(())
    }

    /// What built the original's two initramfs.
    fn builders(&mut self) {
        for key in ["initoverlayfs_builder", "initrd_builder"] {
            if let Some((line, _)) = self.take(key) {
                self.note(&format!(
                    "line {line}: {key} is not run: the content is the initramfs that is there, the mini-initramfs is \
                     imagegen's"
                ));
            }
        }
        let init = self.take("initoverlayfs_init");
        if init.is_none_or(|(_, value)| value != "true") {
            self.note("the original let systemd find the storage (no \"initoverlayfs_init true\"): bootstrap is PID 1 and does without, \
                 so LVM, RAID and LUKS below the image cannot be found");
        }
    }
}

/// Whether a cluster of these bytes can be written.
fn is_cluster(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|bytes| bytes.is_power_of_two() && (4 << 10..=1 << 20).contains(&bytes))
}

#[cfg(test)]
mod tests;
