//! manifest.json: what a folder of outputs holds, what it was made of and by what, and how QEMU boots it. The same
//! input gives the same bytes: no dates, no paths of the host.

use crate::atomic::MARKER;
use crate::boot::qemu::Transport;
use crate::{Error, Result, input, json, plan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path};

/// The mini-initramfs.
pub const INITRAMFS: &str = "initramfs.img";
/// The EROFS image.
pub const EROFS: &str = "initoverlayfs.erofs";
/// The rescue image.
pub const RESCUE: &str = "rescue.erofs";
/// The images of a folder; the second is there if a slot holds it.
pub const IMAGES: [&str; 2] = [EROFS, RESCUE];
/// The GPT disk for QEMU.
pub const DISK: &str = "disk.img";
/// Mode `service`: the plan, for dracut's module.
pub const PLAN: &str = "plan";
/// Mode `service`: the program, for dracut's module.
pub const BOOTSTRAP: &str = "bootstrap";
/// The kernel, if it was given.
pub const KERNEL: &str = "kernel";
/// Version of the manifest's format; a reader accepts exactly its own.
pub const FORMAT: u32 = 3;
/// Who made it: a reader accepts exactly this.
const MADE_BY: &str = "initoverlayfs";
/// How a manifest is told.
const KIND: json::Kind = json::Kind {
    format: FORMAT,
    made_by: Some(MADE_BY),
    max_bytes: 4 << 20,
    hint: "build the folder again with this version of imagegen",
};

/// Everything that is known about a folder of outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `initoverlayfs`.
    pub made_by: String,
    /// [`FORMAT`].
    pub format: u32,
    /// The board.
    pub board: Board,
    /// The file tree the image was made of.
    pub input: Input,
    /// The file tree the rescue image was made of, if there is one.
    pub rescue: Option<Input>,
    /// Program to version.
    pub tools: BTreeMap<String, String>,
    /// Kernel modules, in loading order.
    pub modules: Vec<Module>,
    /// The resolved plan as `imagegen plan` prints it, a line each.
    pub plan: Vec<String>,
    /// File name to what it is.
    pub outputs: BTreeMap<String, Output>,
    /// Limit of a measurement: microseconds from the start of `bootstrap` to the end of step switch-root.
    pub budget_switch_root_us: Option<u64>,
    /// How QEMU boots it, for boards that boot there.
    pub qemu: Option<Machine>,
}

/// The board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name.
    pub name: String,
    /// Its processor architecture.
    pub architecture: String,
    /// File name to SHA-256 of the board file and its parents.
    pub files: BTreeMap<String, String>,
}

/// The file tree the image was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// SHA-256 over all paths, metadata and contents; independent of how the input was packed.
    pub sha256: String,
    /// Files of every type.
    pub files: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
}

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Bytes in the mini-initramfs.
    pub bytes: u64,
    /// Whether it still has its signature.
    pub signed: bool,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: String,
    /// What the board's bootloader takes at most, in bytes.
    pub limit: Option<u64>,
}

/// How QEMU boots it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Program.
    pub program: String,
    /// `-machine`.
    pub machine: String,
    /// `-cpu`, if not the machine's own.
    pub cpu: Option<String>,
    /// Processors.
    pub cpus: u32,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// How virtio devices are attached.
    pub transport: Transport,
    /// The kernel's console.
    pub console: String,
    /// Further kernel arguments.
    pub append: String,
    /// Further arguments of QEMU.
    pub arguments: Vec<String>,
    /// Whether the machine writes to its disk: what it keeps there.
    pub writes: bool,
    /// What lies in its memory from the start.
    pub in_memory: Option<InMemory>,
}

/// A file of the folder in the machine's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InMemory {
    /// Physical address of its first byte.
    pub address: u64,
    /// Its name.
    pub file: String,
}

impl Manifest {
    /// An empty manifest of a board and its input.
    pub fn new(board: Board, input: Input) -> Self {
        Manifest {
            made_by: MADE_BY.to_owned(),
            format: FORMAT,
            board,
            input,
            rescue: None,
            tools: BTreeMap::from([("imagegen".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
            modules: Vec::new(),
            plan: Vec::new(),
            outputs: BTreeMap::new(),
            budget_switch_root_us: None,
            qemu: None,
        }
    }

    /// Writes it into `folder`.
    ///
    /// # Errors
    /// Failed work if writing fails.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MARKER);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::io("write", &path)(error.into()))?;
        text.push('\n');
        std::fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// Notes a file of `folder`, reading it for its digest.
    ///
    /// # Errors
    /// Failed work if reading fails.
    pub fn note_file(&mut self, folder: &Path, name: &str) -> Result<()> {
        let (bytes, sha256) = digest_file(&folder.join(name))?;
        self.note(name, bytes, sha256);
        Ok(())
    }

    /// Notes a file whose digest is known.
    pub fn note(&mut self, name: &str, bytes: u64, sha256: [u8; 32]) {
        self.outputs.insert(name.to_owned(), Output { bytes, sha256: hex(&sha256), limit: None });
    }

    /// Whether a slot takes the image `name`, one of [`IMAGES`], only if it is signed: what the plan says in words.
    pub fn wants_signature(&self, name: &str) -> bool {
        self.plan.iter().any(|line| line.ends_with(plan::ANY_SIGNED) && line.contains(plan::RESCUE) == (name == RESCUE))
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let board = Board { name: "example".into(), architecture: "aarch64".into(), files: BTreeMap::new() };
        Manifest::new(board, Input { sha256: hex(&[0; 32]), files: 1, bytes: 0 })
    }
}

/// Reads the manifest of a folder, or the file itself.
///
/// # Errors
/// Bad input if it is not a manifest of this format.
pub fn read(path: &Path) -> Result<Manifest> {
    let is_folder = input::is_directory(path)?;
    let path = if is_folder { path.join(MARKER) } else { path.to_owned() };
    let is_none = |error: Error| match is_folder && !path.exists() {
        true => Error { hint: "give a folder that `build` made".to_owned(), ..error },
        false => error,
    };
    if input::is_directory(&path).map_err(is_none)? {
        return Err(Error::bad_input(format!("{} is a folder", path.display()), "is the path right?"));
    }
    let manifest: Manifest = KIND.read(&path)?;
    let in_memory = manifest.qemu.iter().flat_map(|machine| &machine.in_memory).map(|in_memory| &in_memory.file);
    // Names are joined to the folder's, and what they lead to is copied: none may lead out of it.
    match manifest.outputs.keys().chain(in_memory).find(|name| !is_file_name(name)) {
        Some(name) => Err(KIND.refuse(&path, &format!("{name:?} is no name of a file in this folder"))),
        None => Ok(manifest),
    }
}

fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
}

/// Length and SHA-256 of a file.
///
/// # Errors
/// As reading the file.
pub fn digest_file(path: &Path) -> Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = io::copy(&mut file, &mut hash).map_err(Error::io("read", path))?;
    Ok((bytes, hash.finalize().into()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_one_is_none_of_ours() {
        let error = read(tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(error.exit_status() == 2 && error.hint == "give a folder that `build` made", "{error}");
    }

    #[test]
    fn written_twice_alike_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(INITRAMFS), b"abc").unwrap();
        let mut manifest = Manifest::example();
        manifest.note_file(folder.path(), INITRAMFS).unwrap();
        manifest.write(folder.path()).unwrap();
        let first = std::fs::read(folder.path().join(MARKER)).unwrap();
        manifest.write(folder.path()).unwrap();
        assert_eq!(first, std::fs::read(folder.path().join(MARKER)).unwrap());
        assert_eq!(read(folder.path()).unwrap(), manifest);
        let output = &manifest.outputs[INITRAMFS];
        assert!(output.bytes == 3 && output.sha256.starts_with("ba7816bf"));
    }

    #[test]
    fn others_and_other_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MARKER);
        let mut other = Manifest::example();
        other.format = FORMAT + 1;
        other.write(folder.path()).unwrap();
        assert!(read(&path).unwrap_err().what.contains("a newer format, "));
        // With keys of which nothing is known yet.
        std::fs::write(&path, format!("{{\"made_by\": \"{MADE_BY}\", \"format\": 99, \"new\": 1}}")).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("a newer format, 99"), "{error}");
        for text in ["", "{}", "[]", "{\"made_by\":\"webpack\"}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().exit_status(), 2, "{text}");
        }
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../notes", "/etc/passwd", "a/b", "..", ".", "", "notes/"] {
            let mut other = Manifest::example();
            other.note(name, 0, [0; 32]);
            other.write(folder.path()).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.contains("is no name of a file"), "{error}");
        }
    }
}
