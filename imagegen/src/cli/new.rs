//! `imagegen new` and `imagegen convert` on the command line.

use clap::{ArgGroup, Args};
use imagegen::board::draft::{Draft, Slot};
use imagegen::new::{self, Ask, Conversation, Given};
use imagegen::{Result, convert};
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// What a new board is.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("device").multiple(false))]
pub struct New {
    /// Board: a name, which makes NAME.toml in this folder, or the path of a file.
    board: String,
    /// The board's name [default: that of the file].
    #[arg(long)]
    name: Option<String>,
    /// Why the board exists, for its first line.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Parent: a board whose values hold where this one says nothing [default: the architecture's].
    #[arg(long, value_name = "BOARD", visible_alias = "parent")]
    inherit: Option<String>,
    /// Processor: aarch64, armv7 or x86_64, also as `uname -m` says it.
    #[arg(long, value_name = "ARCH")]
    architecture: Option<String>,
    /// What the image holds: initial (an initrd), root (the final root) or service (an initrd that a larger initramfs mounts).
    #[arg(long)]
    mode: Option<String>,
    /// Where the image lies: partition, file, initramfs, memory or ostree.
    #[arg(long)]
    source: Option<String>,
    /// The partition's name in the GPT.
    #[arg(long, value_name = "NAME", group = "device")]
    partname: Option<String>,
    /// The partition's GUID, or MBR signature and number.
    #[arg(long, value_name = "ID", group = "device")]
    partuuid: Option<String>,
    /// Label of the file system on it.
    #[arg(long, group = "device")]
    label: Option<String>,
    /// UUID of the file system on it.
    #[arg(long, group = "device")]
    uuid: Option<String>,
    /// Kernel name of the device, as in mmcblk0p2; mode service: also /dev/mapper/NAME.
    #[arg(long, value_name = "DEVICE", group = "device")]
    path: Option<String>,
    /// Device to look at first.
    #[arg(long, value_name = "DEVICE")]
    hint: Option<String>,
    /// File system that holds the image: ext4, vfat, f2fs, xfs or btrfs.
    #[arg(long, value_name = "KIND")]
    filesystem: Option<String>,
    /// Path of the image in that file system.
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// Physical address of an image in memory.
    #[arg(long)]
    address: Option<String>,
    /// Physical address of the first RAM.
    #[arg(long, value_name = "ADDRESS")]
    ram_start: Option<String>,
    /// Kernel modules to load, also the storage's driver [default: what such a boot takes but for that driver].
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    modules: Option<Vec<String>>,
    /// What vouches for the image: none, root-hash, signature or fs-verity.
    #[arg(long, value_name = "METHOD")]
    verity: Option<String>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

impl New {
    /// Writes the board; at a terminal what is missing is asked for.
    pub fn run(self) -> Result<String> {
        let (path, name) = new::place(&self.board);
        let force = self.force;
        let given = self.given(name);
        let mut terminal = Conversation { input: io::stdin().lock(), output: io::stderr() };
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        let ask: Option<&mut dyn Ask> = if is_terminal { Some(&mut terminal) } else { None };
        let board = new::run(&path, given, force, ask)?;
        Ok(format!("{}: board {}, {}\n", path.display(), board.name, board.architecture))
    }

    fn given(self, name: String) -> Given {
        let devices = [
            ("partname", self.partname),
            ("partuuid", self.partuuid),
            ("label", self.label),
            ("uuid", self.uuid),
            ("path", self.path),
        ];
        let device = devices.into_iter().find_map(|(key, value)| Some((key, value?)));
        Given {
            draft: Draft {
                name: self.name.unwrap_or(name),
                reason: self.reason,
                inherit: self.inherit,
                // As a 32-bit ARM calls itself.
                architecture: self.architecture.map(|name| if name == "armv7l" { "armv7".to_owned() } else { name }),
                mode: self.mode,
                modules: self.modules,
                verity: self.verity,
                ..Draft::default()
            },
            source: self.source,
            slot: Slot {
                device,
                hint: self.hint,
                filesystem: self.filesystem,
                file: self.file,
                address: self.address,
                ram_start: self.ram_start,
                ..Slot::default()
            },
        }
    }
}

/// What to convert, and where to.
#[derive(Args, Clone, Debug)]
pub struct Convert {
    /// Configuration of the original initoverlayfs.
    #[arg(value_name = "CONF", default_value = convert::CONF)]
    conf: PathBuf,
    /// Board file to write, or a name [default: standard output].
    #[arg(long, value_name = "BOARD")]
    to: Option<String>,
    /// Processor: aarch64, armv7 or x86_64 [default: this machine's].
    #[arg(long, value_name = "ARCH")]
    architecture: Option<String>,
    /// Replace a file that is there.
    #[arg(long, requires = "to")]
    force: bool,
}

impl Convert {
    /// Returns the board file, or what became of it; what could not be converted goes to standard error.
    pub fn run(self) -> Result<String> {
        let (path, name) = match &self.to {
            Some(board) => new::place(board),
            None => (PathBuf::from(convert::NAME), convert::NAME.to_owned()),
        };
        let architecture = match &self.architecture {
            Some(architecture) => architecture.clone(),
            None => convert::host_architecture()?.to_owned(),
        };
        let converted = convert::file(&self.conf, &name, &architecture)?;
        for note in &converted.notes {
            eprintln!("imagegen: {}: {note}", self.conf.display());
        }
        let text = converted.draft.text();
        if self.to.is_none() {
            imagegen::board::draft::check(&path, &text)?;
            return Ok(text);
        }
        let board = new::write(&path, &text, self.force)?;
        Ok(format!("{}: board {}, {}\n", path.display(), board.name, board.architecture))
    }
}
