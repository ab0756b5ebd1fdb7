//! A board file about to be written: values as somebody gave them, in the order and with the comments that a reader needs.
//! `imagegen new` fills one from answers, `imagegen convert` from the original's configuration.

use super::document::{Document, Node, Value, with_suggestion};
use super::{Board, raw, validate, value};
use crate::Result;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What to do in the first line of a new file.
const REASON: &str = "say here why it exists";

/// A board file about to be written. What is absent is left to the parent or to the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The board's name.
    pub name: String,
    /// Why the board exists, for its first line.
    pub reason: Option<String>,
    /// Further comments below it.
    pub notes: Vec<String>,
    /// Parent, without `.toml`.
    pub inherit: Option<String>,
    /// Processor architecture.
    pub architecture: Option<String>,
    /// What the image holds.
    pub mode: Option<String>,
    /// Kernel modules to load.
    pub modules: Option<Vec<String>>,
    /// The parents' modules that this list replaces.
    pub replaced: Vec<String>,
    /// The first candidate for the image.
    pub slot: Option<Slot>,
    /// What vouches for images.
    pub verity: Option<String>,
    /// Compression of the EROFS image.
    pub compression: Option<String>,
    /// Bytes of a compressed cluster.
    pub cluster: Option<String>,
}

/// A candidate for the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Where the image is.
    pub source: String,
    /// Key and value that name its device.
    pub device: Option<(&'static str, String)>,
    /// Kernel name of the device tried first.
    pub hint: Option<String>,
    /// The one logical unit to scan.
    pub lun: Option<String>,
    /// Kind of the file system that holds the image.
    pub filesystem: Option<String>,
    /// The image's path in it.
    pub file: Option<String>,
    /// Physical address of an image in memory.
    pub address: Option<String>,
    /// Physical address of the first RAM.
    pub ram_start: Option<String>,
}

/// What a board's parents say.
#[derive(Debug)]
pub struct Inherited(Document);

impl Inherited {
    /// Reads the parents of a board file that says `inherit = PARENT`.
    ///
    /// # Errors
    /// Bad input if there is no such parent, or something is wrong with one.
    pub fn read(file: &Path, parent: Option<&str>) -> Result<Self> {
        let text = parent.map(|parent| format!("inherit = {}\n", quoted(parent))).unwrap_or_default();
        let document = Document::of(file, &text);
        Document::of(file, &text).verdict()?;
        Ok(Inherited(document))
    }

    /// Whether they say something at `path`, as in `verity.method`.
    pub fn says(&self, path: &str) -> bool {
        self.0.root.find(path).is_some()
    }

    /// The modules that they load.
    pub fn modules(&self) -> Vec<String> {
        let Some(Value::Array(items)) = self.0.root.find("modules.load").map(|node| &node.value) else {
            return Vec::new();
        };
        let word = |node: &Node| match &node.value {
            Value::Leaf(toml::Value::String(word)) => Some(word.clone()),
            _ => None,
        };
        items.iter().filter_map(word).collect()
    }

    /// What they say in one word at `path`.
    pub fn word(&self, path: &str) -> Option<&str> {
        match &self.0.root.find(path)?.value {
            Value::Leaf(toml::Value::String(word)) => Some(word),
            _ => None,
        }
    }
}

/// Validates `text` as the board file `file`, which need not be there.
///
/// # Errors
/// As [`super::load`].
pub fn check(file: &Path, text: &str) -> Result<Board> {
    validate::board(Document::of(file, text))
}

/// Why `text` is no value of `key`; `None` if it is one, and for keys that are not words.
pub fn refuse(key: &str, text: &str) -> Option<String> {
    match key {
        "name" => refused::<value::Name>(text),
        "architecture" => refused::<raw::Architecture>(text),
        "mode" => refused::<raw::Mode>(text),
        "module" => refused::<value::ModuleName>(text),
        "source" => refused::<raw::Source>(text),
        "partname" => refused::<value::PartName>(text),
        "partuuid" => refused::<value::PartUuid>(text),
        "label" => refused::<value::Label>(text),
        "uuid" => refused::<value::Uuid>(text),
        "path" | "hint" => refused::<value::DeviceName>(text),
        "lun" => refused::<value::Lun>(text),
        "filesystem" => refused::<raw::FileSystem>(text),
        "file" => refused::<value::AbsolutePath>(text),
        "address" | "ram-start" => refused::<value::Address>(text),
        "verity" => refused::<raw::Method>(text),
        "compression" => refused::<value::ImageCompression>(text),
        _ => None,
    }
}

fn refused<T: DeserializeOwned>(text: &str) -> Option<String> {
    toml::Value::String(text.to_owned()).try_into::<T>().err().map(|error| with_suggestion(error.message()))
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Draft {
    /// The board file.
    pub fn text(&self) -> String {
        let mut out = Writer(String::new());
        out.comment(&format!("Board {}: {}.", self.name, self.reason.as_deref().unwrap_or(REASON)));
        out.comment(
            "Every key and its values: board-configs/README.md; `imagegen check` finds what is wrong with this file.",
        );
        self.notes.iter().for_each(|note| out.comment(note));
        if let Some(parent) = &self.inherit {
            out.comment("What this file does not say, that one does.");
            out.key("inherit", parent);
        }
        out.key("name", &self.name);
        out.optional("architecture", self.architecture.as_ref());
        if let Some(mode) = &self.mode {
            out.comment("\"initial\": the image holds an initrd, which goes on to the root that it knows; \"root\": it is the root.");
            out.key("mode", mode);
        }
        if let Some(modules) = &self.modules {
            out.table("[modules]");
            out.comment("Loaded before the image is looked for; what they need is added, what is built into the kernel left out.");
            out.comment(
                "The drivers of the storage belong here, as in \"nvme\", \"ahci\", \"virtio_blk\" or \"mmc_block\".",
            );
            if !self.replaced.is_empty() {
                let (modules, names) = (crate::count(self.replaced.len(), "module"), self.replaced.join(", "));
                out.comment(&format!("This list replaces the parent's, which has {modules}: {names}."));
            }
            let names: Vec<String> = modules.iter().map(|name| quoted(name)).collect();
            out.0.push_str(&format!("load = [{}]\n", names.join(", ")));
        }
        if let Some(slot) = &self.slot {
            slot.write(&mut out);
        }
        if let Some(method) = &self.verity {
            out.table("[verity]");
            out.comment("What vouches for the image: \"none\", \"root-hash\", \"signature\" or \"fs-verity\".");
            out.key("method", method);
        }
        if self.compression.is_some() || self.cluster.is_some() {
            out.table("[image]");
            out.optional("compression", self.compression.as_ref());
            out.optional("cluster", self.cluster.as_ref());
        }
        out.0
    }
}

impl Slot {
    fn write(&self, out: &mut Writer) {
        out.table("[[slot]]");
        out.comment("Where the image lies. More [[slot]] tables, up to four, are tried in their order.");
        out.key("name", "a");
        out.key("source", &self.source);
        if let Some((key, value)) = &self.device {
            out.key(key, value);
        }
        if let Some(hint) = &self.hint {
            out.comment("Looked at first; taken only if it is the one.");
            out.key("hint", hint);
        }
        if let Some(lun) = &self.lun {
            out.comment("The one logical unit that is scanned, with scsi_mod.scan=manual on the kernel command line.");
            out.key("lun", lun);
        }
        out.optional("filesystem", self.filesystem.as_ref());
        if let Some(file) = &self.file {
            out.comment("In that file system. {release} is the kernel's release; {build} differs from build to build.");
            out.key("file", file);
        }
        out.optional("address", self.address.as_ref());
        out.optional("ram-start", self.ram_start.as_ref());
        if self.device.is_some() {
            out.comment("How long to wait for the device.");
            out.key("deadline", "10s");
        }
    }
}

/// Writes lines of TOML.
struct Writer(String);

impl Writer {
    fn comment(&mut self, text: &str) {
        // A control character would end the comment, or is refused in one.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.push_str(&format!("# {}\n", line.trim()));
    }

    fn table(&mut self, header: &str) {
        self.0.push_str(&format!("\n{header}\n"));
    }

    fn key(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!("{key} = {}\n", quoted(value)));
    }

    fn optional(&mut self, key: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }
}
