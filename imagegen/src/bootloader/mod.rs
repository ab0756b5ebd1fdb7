//! What a board's bootloader takes of a build: the formats that the board names, each made of the kernel, the mini-initramfs and the
//! device tree of that build, and held against the largest file that the bootloader takes.
//!
//! The same input gives the same bytes: no tool is told the time, and names are those below, whatever the inputs were called.

mod android;
mod kernel;
mod menu;
mod uki;

pub mod fit;
pub mod pe;

pub use android::Android;

use crate::board::{Architecture, Board, Emit};
use crate::manifest::{self, INITRAMFS, KERNEL, Manifest};
use crate::tool::Tool;
use crate::{Error, Result, memory};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The board's device tree.
pub const DTB: &str = "board.dtb";
/// The same with the kernel arguments, for the FIT.
pub const FIT_DTB: &str = "image.dtb";
/// Source of the FIT.
pub const FIT_SOURCE: &str = "image.its";
/// The FIT.
pub const FIT: &str = "image.itb";
/// U-Boot's menu.
pub const EXTLINUX: &str = "extlinux.conf";
/// Source of U-Boot's script.
pub const COMMANDS: &str = "boot.cmd";
/// U-Boot's script.
pub const SCRIPT: &str = "boot.scr";
/// The unified kernel image.
pub const UKI: &str = "linux.efi";
/// GRUB's menu.
pub const GRUB: &str = "grub.cfg";
/// The entry by the Boot Loader Specification.
pub const BLS: &str = "bls.conf";
/// Android's partition boot.
pub const BOOT: &str = "boot.img";
/// Android's partition vendor_boot.
pub const VENDOR_BOOT: &str = "vendor_boot.img";

/// Everything that a bootloader reads.
const BOOT_FILES: [&str; 12] =
    [KERNEL, INITRAMFS, DTB, FIT_DTB, FIT, EXTLINUX, SCRIPT, UKI, GRUB, BLS, BOOT, VENDOR_BOOT];
/// The first bytes of a device tree (Devicetree Specification 0.4, 5.2).
const DTB_MAGIC: [u8; 4] = 0xd00d_feed_u32.to_be_bytes();
/// Where Debian's package systemd-boot-efi has the stubs.
const STUBS: &str = "/usr/lib/systemd/boot/efi";

/// What a user gives for it.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The board's device tree.
    pub dtb: Option<PathBuf>,
    /// Folder of a kernel's device trees, in which the board knows its own.
    pub dtbs: Option<PathBuf>,
    /// The stub of a unified kernel image.
    pub stub: Option<PathBuf>,
    /// The private key that signs the FIT.
    pub fit_key: Option<PathBuf>,
}

/// What the formats are made of, looked at before any work is done.
#[derive(Debug)]
pub struct Sources {
    dtb: Option<PathBuf>,
    stub: Option<PathBuf>,
    key: Option<fit::Key>,
}

/// Refuses a file that is no kernel of the architecture of this name, as QEMU takes one; of a name that is not known none is refused.
///
/// # Errors
/// Bad input with what it is and what is expected.
pub fn check_kernel(architecture: &str, path: &Path) -> Result<()> {
    let known = Architecture::ALL.into_iter().find(|known| known.name() == architecture);
    known.map_or(Ok(()), |known| kernel::check_any(known, path))
}

/// Finds what the board's formats need and `inputs` do not say.
///
/// # Errors
/// Bad input if something is missing, or the kernel is none that a format takes.
pub fn find(board: &Board, kernel: Option<&Path>, inputs: &Inputs) -> Result<Sources> {
    let emit = &board.bootloader.emit;
    let (any, uki, fit) = (!emit.is_empty(), emit.contains(&Emit::Uki), emit.contains(&Emit::Fit));
    let given = [
        ("--dtb", &inputs.dtb, any),
        ("--dtbs", &inputs.dtbs, any),
        ("--stub", &inputs.stub, uki),
        ("--fit-key", &inputs.fit_key, fit),
    ];
    if let Some((option, ..)) = given.iter().find(|(_, path, is_used)| path.is_some() && !is_used) {
        let what = format!("{option}: board {} makes nothing that takes it", board.name);
        return Err(Error::bad_input(what, "leave it out, or name the format in the board's bootloader.emit"));
    }
    if let Some(kernel) = kernel {
        for format in emit {
            kernel::check(*format, board.architecture, kernel)?;
        }
        kernel::check_any(board.architecture, kernel)?;
    }
    let Some(first) = emit.first() else { return Ok(Sources { dtb: None, stub: None, key: None }) };
    if kernel.is_none() {
        let what = format!("board {}: emit = {:?} is made of the kernel, which is not given", board.name, first.name());
        return Err(Error::bad_input(what, "give --kernel FILE, or set bootloader.emit = [] in a board of your own"));
    }
    let dtb = find_dtb(board, inputs)?;
    let needing = emit.iter().find(|format| matches!(format, Emit::Fit | Emit::Android));
    if let (None, Some(format)) = (&dtb, needing) {
        let what = format!("board {}: emit = {:?} holds a device tree, which is not given", board.name, format.name());
        return Err(Error::bad_input(what, "give --dtb FILE"));
    }
    let stub = if uki { Some(find_stub(board, inputs)?) } else { None };
    let key = inputs.fit_key.as_deref().map(fit::Key::read).transpose()?;
    Ok(Sources { dtb, stub, key })
}

fn find_dtb(board: &Board, inputs: &Inputs) -> Result<Option<PathBuf>> {
    let path = match (&inputs.dtb, &inputs.dtbs, &board.bootloader.dtb) {
        (Some(path), _, _) => path.clone(),
        (None, Some(folder), Some(name)) => folder.join(name),
        (None, Some(_), None) => {
            let what = format!("--dtbs: board {} does not say which device tree is its own", board.name);
            return Err(Error::bad_input(what, "give --dtb FILE, or name it in the board's bootloader.dtb"));
        }
        (None, None, Some(name)) => {
            let what = format!("board {} boots with the device tree {name}, which is not given", board.name);
            return Err(Error::bad_input(what, "give --dtbs FOLDER of the kernel's device trees, or --dtb FILE"));
        }
        (None, None, None) => return Ok(None),
    };
    let start = kernel::start_of(&path)?;
    if start.starts_with(&DTB_MAGIC) {
        return Ok(Some(path));
    }
    Err(Error::bad_input(
        format!("{} is no device tree", path.display()),
        "give a .dtb, as the kernel's build makes it",
    ))
}

fn find_stub(board: &Board, inputs: &Inputs) -> Result<PathBuf> {
    let name = format!("linux{}.efi.stub", kernel::efi_name(board.architecture));
    let path = inputs.stub.clone().unwrap_or_else(|| Path::new(STUBS).join(&name));
    if path.is_file() {
        return Ok(path);
    }
    let what = format!("no stub for emit = \"uki\": {} is no file", path.display());
    Err(Error::bad_input(
        what,
        format!("apt-get install systemd-boot-efi, or give --stub {name} of its package for {}", board.architecture),
    ))
}

/// Writes the board's formats into `folder`, where kernel and mini-initramfs lie already, and notes them in the manifest.
///
/// # Errors
/// Failed work if a tool is missing or fails, or a file is larger than the bootloader takes.
pub fn write(board: &Board, sources: &Sources, folder: &Path, manifest: &mut Manifest) -> Result<()> {
    if let Some(dtb) = &sources.dtb {
        fs::copy(dtb, folder.join(DTB)).map_err(Error::io("copy", dtb))?;
        manifest.note_file(folder, DTB)?;
    }
    let maker = Maker { board, has_dtb: sources.dtb.is_some(), folder, manifest };
    maker.make(sources)?;
    limit(board, manifest)
}

/// Makes one format after the other.
struct Maker<'a> {
    board: &'a Board,
    has_dtb: bool,
    folder: &'a Path,
    manifest: &'a mut Manifest,
}

impl Maker<'_> {
    fn make(mut self, sources: &Sources) -> Result<()> {
        for format in &self.board.bootloader.emit {
            match format {
                Emit::Fit => self.fit(sources.key.as_ref())?,
                Emit::Extlinux => self.text(EXTLINUX, &menu::extlinux(self.board, self.has_dtb))?,
                Emit::Script => self.script()?,
                Emit::Uki => {
                    uki::write(self.board, sources.stub.as_deref(), self.has_dtb, self.folder)?;
                    self.manifest.note_file(self.folder, UKI)?;
                }
                Emit::Grub => self.text(GRUB, &menu::grub(self.board, self.has_dtb))?,
                Emit::Bls => self.text(BLS, &menu::bls(self.board, self.has_dtb))?,
                Emit::Android => {
                    android::write(self.board, self.folder)?;
                    self.manifest.note_file(self.folder, BOOT)?;
                    self.manifest.note_file(self.folder, VENDOR_BOOT)?;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        self.manifest.note_file(self.folder, name)
    }

    fn fit(&mut self, key: Option<&fit::Key>) -> Result<()> {
        let line = &self.board.bootloader.command_line;
        let dtb = if line.is_empty() { DTB } else { FIT_DTB };
        if dtb == FIT_DTB {
            fit::write_dtb(&self.folder.join(DTB), line, &self.folder.join(FIT_DTB))?;
            self.manifest.note_file(self.folder, FIT_DTB)?;
        }
        let is_compressed = kernel::start_of(&self.folder.join(KERNEL))?.starts_with(&kernel::GZIP);
        let load = self.board.bootloader.kernel_address.unwrap_or_default();
        let (name, architecture) = (self.board.name.as_str(), self.board.architecture);
        let dtb_load = self.board.bootloader.dtb_address;
        let image = fit::Image { name, architecture, load, is_compressed, dtb, dtb_load, key };
        self.text(FIT_SOURCE, &image.source())?;
        let keys = key.map(|key| key.folder.as_os_str());
        let keys = keys.iter().flat_map(|folder| [OsStr::new("-k"), folder]);
        mkimage(["-f", FIT_SOURCE].map(OsStr::new).into_iter().chain(keys).chain([OsStr::new(FIT)]), self.folder)?;
        self.manifest.note_file(self.folder, FIT)
    }

    fn script(&mut self) -> Result<()> {
        let path = self.folder.join(memory::COMMANDS);
        let placing = match self.manifest.outputs.contains_key(memory::COMMANDS) {
            true => fs::read_to_string(&path).map_err(Error::io("read", &path))?,
            false => String::new(),
        };
        self.text(COMMANDS, &menu::script(self.board, self.has_dtb, &placing))?;
        let architecture = fit::architecture(self.board.architecture);
        mkimage(
            ["-A", architecture, "-T", "script", "-C", "none", "-n", &self.board.name, "-d", COMMANDS, SCRIPT],
            self.folder,
        )?;
        self.manifest.note_file(self.folder, SCRIPT)
    }
}

/// Runs mkimage in `folder`, in 1970.
fn mkimage(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, folder: &Path) -> Result<()> {
    let tool = Tool::new("mkimage", "u-boot-tools").env("SOURCE_DATE_EPOCH", "0").folder(folder);
    tool.args(arguments).run().map(drop)
}

/// Notes what the bootloader takes at most, and refuses what is larger.
fn limit(board: &Board, manifest: &mut Manifest) -> Result<()> {
    let Some(limit) = board.bootloader.limit else { return Ok(()) };
    let mut larger = Vec::new();
    for (name, output) in manifest.outputs.iter_mut().filter(|(name, _)| BOOT_FILES.contains(&name.as_str())) {
        output.limit = Some(limit);
        if output.bytes > limit {
            larger.push(format!("{name} has {} bytes", output.bytes));
        }
    }
    if larger.is_empty() {
        return Ok(());
    }
    let what = format!("{}: {}, bootloader.limit is {limit}", board.name, larger.join(", "));
    Err(Error::failed(what, "take a smaller kernel, fewer modules or initramfs.compression, or raise bootloader.limit"))
}

/// How much of its limit a file takes, for the list that a build prints: ` (12.5 % of 67108864)`.
pub fn share(output: &manifest::Output) -> String {
    let Some(limit) = output.limit.filter(|limit| *limit > 0) else { return String::new() };
    let tenths = u128::from(output.bytes) * 1000 / u128::from(limit);
    format!(" ({}.{} % of {limit})", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
