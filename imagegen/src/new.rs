//! `imagegen new`: writes a commented board file from what the command line says and, at a terminal, from answers.

mod ask;

pub use ask::{Ask, Conversation};

use crate::atomic::StagedFile;
use crate::board::Board;
use crate::board::draft::{self, Draft, Inherited, Slot};
use crate::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where an image lies in its file system, if nobody says otherwise.
pub const FILE: &str = "/initoverlayfs-{release}-{build}.erofs";
/// Architectures and the parents of their boards.
const PARENTS: [(&str, &str); 3] = [("aarch64", "arm64"), ("armv7", "armv7"), ("x86_64", "x86_64")];
/// What is asked about the mode.
const MODE: &str =
    "The image holds an initrd (initial), the final root (root) or an initrd that a larger initramfs mounts (service)";
/// How a device can be known.
const DEVICES: [&str; 5] = ["partname", "partuuid", "label", "uuid", "path"];

/// What is known of a board before anybody is asked.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// All but its slot.
    pub draft: Draft,
    /// Where the image lies.
    pub source: Option<String>,
    /// What else is known of that place.
    pub slot: Slot,
}

/// Path and name of a new board that is called `board` on the command line: a path, or a name, which makes a file here.
pub fn place(board: &str) -> (PathBuf, String) {
    let is_path = board.contains('/') || board.ends_with(".toml");
    let path = if is_path { PathBuf::from(board) } else { PathBuf::from(format!("{board}.toml")) };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (path, name)
}

/// Writes the board file `file`: what is missing is asked for, or refused where there is nobody to ask.
///
/// # Errors
/// Bad input if a value is wrong or missing, or the file is there already and `force` does not say to replace it.
pub fn run(file: &Path, given: Given, force: bool, ask: Option<&mut dyn Ask>) -> Result<Board> {
    absent(file, force)?;
    let draft = complete(file, given, ask)?;
    write(file, &draft.text(), force)
}

/// Writes a board file, if it is one.
///
/// # Errors
/// As [`draft::check`]; bad input if the file is there already and `force` does not say to replace it.
pub fn write(file: &Path, text: &str, force: bool) -> Result<Board> {
    absent(file, force)?;
    let board = draft::check(file, text)?;
    let staged = StagedFile::beside(file)?;
    staged.file().write_all(text.as_bytes()).map_err(Error::io("write", file))?;
    if force {
        staged.publish()?
    } else {
        staged.publish_new()?
    }
    Ok(board)
}

fn absent(file: &Path, force: bool) -> Result<()> {
    if force || std::fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    Err(Error::bad_input(
        format!("{} is there already", file.display()),
        "name another file, or say --force to replace it",
    ))
}

/// The whole draft of the board file `file`.
///
/// # Errors
/// Bad input as a value is wrong, or missing with nobody to ask.
pub fn complete(file: &Path, given: Given, ask: Option<&mut dyn Ask>) -> Result<Draft> {
    let Given { mut draft, source, mut slot } = given;
    refuse_wrong(&draft, source.as_deref(), &slot)?;
    let mut form = Form { ask, missing: Vec::new() };
    if draft.inherit.is_none() {
        let host = PARENTS.iter().map(|(architecture, _)| *architecture).find(|name| *name == std::env::consts::ARCH);
        let architecture =
            form.value("architecture", draft.architecture.take(), "Processor: aarch64, armv7 or x86_64", host)?;
        let parent = PARENTS.iter().find(|(name, _)| Some(*name) == architecture.as_deref()).map(|(_, parent)| *parent);
        // Without the folder of boards the file stands for itself.
        match parent.filter(|parent| Inherited::read(file, Some(parent)).is_ok()) {
            Some(parent) => draft.inherit = Some(parent.to_owned()),
            None => draft.architecture = architecture,
        }
    }
    let inherited = Inherited::read(file, draft.inherit.as_deref())?;
    agree(&draft, &inherited)?;
    if draft.modules.is_some() {
        draft.replaced = inherited.modules();
    }
    if draft.mode.is_none() && form.asks() && !inherited.says("mode") {
        draft.mode = form.value("mode", None, MODE, Some("initial"))?;
    }
    let wants_slot = source.is_some() || slot != Slot::default() || !inherited.says("slot");
    if wants_slot {
        form.slot(source, &mut slot)?;
    }
    let source = if wants_slot { Some(slot.source.as_str()) } else { inherited.word("slot.0.source") };
    let verifiable = source.is_some_and(|source| source != "initramfs");
    if draft.verity.is_none() && form.asks() && verifiable && !inherited.says("verity.method") {
        let question = "What vouches for the image: none, root-hash, signature or fs-verity";
        draft.verity = form.checked("verity", None, question, Some("none"), &|text| method(text, &slot))?;
    }
    // What a service needs dracut brings.
    let loads = draft.mode.as_deref().or(inherited.word("mode")) != Some("service");
    if draft.modules.is_none() && loads && !inherited.says("modules.load") {
        let question = "Kernel modules, also the storage's driver, separated by spaces";
        draft.modules = Some(form.modules(question, &modules(&slot, draft.verity.as_deref()))?);
    }
    let is_other = wants_slot || draft.verity.is_some();
    if draft.modules.is_none() && loads && is_other {
        draft.modules = inherited_and_more(&inherited, &modules(&slot, draft.verity.as_deref()));
    }
    form.verdict()?;
    draft.slot = wants_slot.then_some(slot);
    Ok(draft)
}

/// Refuses values of the command line that are none.
fn refuse_wrong(draft: &Draft, source: Option<&str>, slot: &Slot) -> Result<()> {
    let mut values = vec![("name", Some(draft.name.as_str())), ("source", source)];
    values.extend([("architecture", &draft.architecture), ("mode", &draft.mode), ("verity", &draft.verity)].map(word));
    values.extend(
        [("hint", &slot.hint), ("filesystem", &slot.filesystem), ("file", &slot.file), ("lun", &slot.lun)].map(word),
    );
    values.extend([("address", &slot.address), ("ram-start", &slot.ram_start)].map(word));
    values.extend(slot.device.as_ref().map(|(key, value)| (*key, Some(value.as_str()))));
    values.extend(draft.modules.iter().flatten().map(|name| ("module", Some(name.as_str()))));
    for (key, value) in values {
        if let Some(why) = value.and_then(|value| draft::refuse(key, value)) {
            return Err(Error::bad_input(format!("{key}: {why}"), "give another, or leave it out to be asked"));
        }
    }
    Ok(())
}

/// Refuses a processor that is not the parents': all that they say is for theirs.
fn agree(draft: &Draft, inherited: &Inherited) -> Result<()> {
    match (&draft.inherit, &draft.architecture, inherited.word("architecture")) {
        (Some(parent), Some(own), Some(theirs)) if own != theirs => {
            let what = format!("architecture: {own} is given, and {parent} is for {theirs}");
            Err(Error::bad_input(what, "leave out --architecture, or name a parent of that processor"))
        }
        _ => Ok(()),
    }
}

fn word<'a>((key, value): (&'static str, &'a Option<String>)) -> (&'static str, Option<&'a str>) {
    (key, value.as_deref())
}

/// Why an image there cannot be vouched for by this method.
fn method(text: &str, slot: &Slot) -> Option<String> {
    let is_file = matches!(slot.source.as_str(), "file" | "ostree");
    let has_digests = is_file && matches!(slot.filesystem.as_deref(), Some("ext4" | "f2fs" | "btrfs"));
    let why = "fs-verity is for a file on ext4, f2fs or btrfs".to_owned();
    draft::refuse("verity", text).or_else(|| (text == "fs-verity" && !has_digests).then_some(why))
}

/// The modules that a boot from there takes, but for the storage's driver.
fn modules(slot: &Slot, verity: Option<&str>) -> Vec<&'static str> {
    let mut names = Vec::new();
    match slot.filesystem.as_deref() {
        Some("ext4") => names.extend(["ext4", "loop"]),
        Some("vfat") => names.extend(["vfat", "nls_cp437", "nls_ascii", "loop"]),
        Some("f2fs") => names.extend(["f2fs", "loop"]),
        Some("xfs") => names.extend(["xfs", "loop"]),
        Some("btrfs") => names.extend(["btrfs", "loop"]),
        _ if slot.source == "memory" => names.extend(["libnvdimm", "nd_btt", "nd_pmem", "of_pmem"]),
        _ if slot.source == "initramfs" => names.push("loop"),
        _ => {}
    }
    if matches!(verity, Some("root-hash" | "signature")) {
        names.extend(["dm_mod", "dm_verity", "sha256"]);
    }
    names.extend(["erofs", "overlay"]);
    names
}

/// The parents' modules and those of `wanted` that they lack, if they lack one: a list replaces theirs. A parent without EROFS and
/// overlay has a kernel with both built in.
fn inherited_and_more(inherited: &Inherited, wanted: &[&str]) -> Option<Vec<String>> {
    let mut all = inherited.modules();
    let has = |all: &[String], name: &str| all.iter().any(|known| known.replace('-', "_") == name);
    let more: Vec<_> = wanted.iter().filter(|name| !["erofs", "overlay"].contains(name) && !has(&all, name)).collect();
    let is_more = !more.is_empty();
    all.extend(more.into_iter().map(|name| (*name).to_owned()));
    is_more.then_some(all)
}

/// Gets values, and notes which are missing where nobody can be asked.
struct Form<'a> {
    ask: Option<&'a mut dyn Ask>,
    missing: Vec<String>,
}

impl Form<'_> {
    fn asks(&self) -> bool {
        self.ask.is_some()
    }

    /// A value that must be there.
    fn value(
        &mut self,
        key: &str,
        given: Option<String>,
        question: &str,
        default: Option<&str>,
    ) -> Result<Option<String>> {
        self.checked(key, given, question, default, &|text| draft::refuse(key, text))
    }

    fn checked(
        &mut self,
        key: &str,
        given: Option<String>,
        question: &str,
        default: Option<&str>,
        refuse: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>> {
        if given.is_some() {
            return Ok(given);
        }
        match &mut self.ask {
            Some(ask) => ask.ask(question, default, refuse).map(Some),
            None => {
                self.missing.push(format!("--{key}"));
                Ok(None)
            }
        }
    }

    /// Where the image lies, and what has to be known of that place.
    fn slot(&mut self, source: Option<String>, slot: &mut Slot) -> Result<()> {
        let question = "The image lies in a partition, a file, the initramfs, memory, or an ostree deployment";
        slot.source = self.value("source", source, question, Some("partition"))?.unwrap_or_default();
        match slot.source.as_str() {
            "partition" => self.device(slot, "partname", "initoverlayfs"),
            "file" => {
                self.device(slot, "uuid", "")?;
                self.filesystem(slot)?;
                let question = "Path of the image in that file system";
                slot.file = self.value("file", slot.file.take(), question, Some(FILE))?;
                Ok(())
            }
            "ostree" => {
                self.device(slot, "uuid", "")?;
                self.filesystem(slot)
            }
            "memory" => {
                let question = "Physical address of the image, as in 0xa0000000";
                slot.address = self.value("address", slot.address.take(), question, None)?;
                let question = "Physical address of the first RAM, as in 0x40000000";
                slot.ram_start = self.value("ram-start", slot.ram_start.take(), question, None)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn filesystem(&mut self, slot: &mut Slot) -> Result<()> {
        let question = "Its file system: ext4, vfat, f2fs, xfs or btrfs";
        slot.filesystem = self.value("filesystem", slot.filesystem.take(), question, Some("ext4"))?;
        Ok(())
    }

    /// How the device is known. `usual` is the value of `key` that most boards have, if there is one.
    fn device(&mut self, slot: &mut Slot, key: &str, usual: &str) -> Result<()> {
        if slot.device.is_some() {
            return Ok(());
        }
        let Some(ask) = &mut self.ask else {
            self.missing.push(format!("one of --{}", DEVICES.join(" --")));
            return Ok(());
        };
        let none_of_them = "found neither of these, expected partname, partuuid, label, uuid or path";
        let refuse = |text: &str| (!DEVICES.contains(&text)).then(|| none_of_them.to_owned());
        let answer = ask.ask("The device is known by partname, partuuid, label, uuid or path", Some(key), &refuse)?;
        let Some(chosen) = DEVICES.into_iter().find(|device| *device == answer) else { return Ok(()) };
        let default = Some(usual).filter(|usual| chosen == key && !usual.is_empty());
        let value = ask.ask(&format!("Its {chosen}"), default, &|text| draft::refuse(chosen, text))?;
        slot.device = Some((chosen, value));
        Ok(())
    }

    fn modules(&mut self, question: &str, usual: &[&str]) -> Result<Vec<String>> {
        let usual = usual.join(" ");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let refuse = |text: &str| words(text).iter().find_map(|name| draft::refuse("module", name));
        let answer = match &mut self.ask {
            Some(ask) => ask.ask(question, Some(&usual), &refuse)?,
            None => usual,
        };
        Ok(words(&answer))
    }

    fn verdict(self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let what = format!("missing: {}", self.missing.join(", "));
        Err(Error::bad_input(what, "give them, or run it at a terminal, which asks for them"))
    }
}

#[cfg(test)]
mod tests;
