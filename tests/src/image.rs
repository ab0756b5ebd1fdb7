//! Makes what a boot needs from its parts: plan, mini-initramfs, EROFS, disk. Every part can be replaced or broken.

use crate::Result;
use crate::content::modules;
use crate::cpio::{Entry, archive};
use crate::kernel::{Kernel, program};
pub use crate::place::{IMAGE_PATH, PARTNAME, Place};
use crate::place::{UPPER, file_system};
use bootstrap::crc::crc32;
use bootstrap::plan::{
    self, Device, EXTRAS_FOLDER, Extra, Free, Handover, Holder, Image, List, Mode, Module, Plan, Policy, Slot, Tail,
    Upper, Wanted,
};
use bootstrap::superblock::{self, Refusal};
use imagegen::board::FileSystem;
use imagegen::disk::{self, Partition};
use imagegen::filesystem;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the plan among the mini-initramfs' members.
pub const PLAN: &str = "plan";

/// What to make.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where the image lies.
    pub place: Place,
    /// Which mounts the next init finds.
    pub handover: Handover,
    /// What the image holds.
    pub mode: Mode,
    /// Path of the next init.
    pub next_init: String,
    /// File system on partition [`UPPER`] that keeps what is written; without one it goes into memory.
    pub upper: Option<FileSystem>,
    /// Allow-list of extra files.
    pub extras: Vec<String>,
    /// How long the device may take, in milliseconds.
    pub deadline_ms: u32,
    /// When the old rootfs is freed.
    pub free: Free,
    /// Kernel name tried first.
    pub hint: Option<String>,
    /// Whether the plan will ask for what only the full program has.
    pub full: bool,
    /// Modules to load; the ones the place needs if absent.
    pub modules: Option<Vec<(String, Vec<u8>)>>,
}

impl Spec {
    /// An image in `place`, everything else as the qemu boards have it.
    pub fn new(place: Place, handover: Handover) -> Self {
        Spec {
            place,
            handover,
            mode: Mode::Initial,
            next_init: "/init".into(),
            upper: None,
            extras: Vec::new(),
            deadline_ms: 10_000,
            free: Free::Before,
            hint: None,
            full: false,
            modules: None,
        }
    }
}

/// The parts of a boot, on disk in a folder of their own.
#[derive(Debug)]
pub struct Parts {
    /// Holds all files.
    pub folder: tempfile::TempDir,
    /// Members of the mini-initramfs; written by [`Parts::initrd`].
    pub entries: Vec<Entry>,
    /// Archives the bootloader appends.
    pub appended: Vec<Vec<u8>>,
    /// The EROFS image.
    pub erofs: PathBuf,
    /// What partition [`UPPER`] holds.
    pub upper: Option<PathBuf>,
    place: Place,
    kernel: Kernel,
}

/// Makes the parts for `content`.
///
/// # Errors
/// If a tool is missing or fails.
pub fn make(kernel: &Kernel, content: &[Entry], spec: &Spec) -> Result<Parts> {
    let folder = tempfile::Builder::new().prefix("initoverlayfs-test-").tempdir()?;
    let erofs = folder.path().join("content.erofs");
    // Nothing that is read may lie beside an inode where it is read where it lies.
    let options = if spec.place == Place::Memory { "-Enoinline_data" } else { "" };
    write_erofs(content, folder.path(), options, &erofs)?;
    let mut names = spec.place.modules(kernel);
    let mounted = spec.place.holder().into_iter().chain(spec.upper);
    // The bus of the disk that the upper directory is on.
    names.extend(spec.upper.iter().flat_map(|_| Place::Partition.modules(kernel)));
    names.extend(mounted.flat_map(|kind| file_system(kind, kernel)));
    names.extend(["erofs", "overlay"]);
    let default = modules(kernel, &names)?;
    let modules = spec.modules.clone().unwrap_or(default);
    let init = std::fs::read(program(bootstrap(kernel, spec), &kernel.arch)?)?;
    let mut entries =
        vec![Entry::file("init", 0o755, init), Entry::folder("dev"), Entry::device("dev/console", 0o600, 5, 1)];
    entries.extend(["proc", "sys", "run", "holder", "image", "upper", "root", "modules"].map(Entry::folder));
    entries.push(Entry::file(PLAN, 0o644, plan_bytes(spec, &modules)?));
    for (name, bytes) in &modules {
        entries.push(Entry::file(&format!("modules/{name}.ko"), 0o644, bytes.clone()));
    }
    if spec.place == Place::Initramfs {
        entries.push(Entry::file(IMAGE_PATH.trim_start_matches('/'), 0o644, std::fs::read(&erofs)?));
    }
    let upper = spec.upper.map(|kind| {
        let path = folder.path().join("upper.img");
        filesystem::write(kind, &[], "UPPER", None, &path).map(|()| path)
    });
    let (place, kernel, upper) = (spec.place, kernel.clone(), upper.transpose()?);
    Ok(Parts { folder, entries, appended: Vec::new(), erofs, upper, place, kernel })
}

/// The program for it: what the plain one can do the full one does alike, on some of the kernels.
fn bootstrap(kernel: &Kernel, spec: &Spec) -> &'static str {
    let full = spec.full
        || spec.place.is_full()
        || spec.upper.is_some()
        || matches!(kernel.name.as_str(), "arm64-6.12" | "x86_64-6.1");
    if full { "bootstrap-full" } else { "bootstrap" }
}

/// An [`Extra`] that owns its paths.
enum Layer {
    Folder(String),
    Move(String, String),
}

impl Layer {
    fn extra(&self) -> Extra<'_> {
        match self {
            Layer::Folder(path) => Extra::Folder { path, mode: 0o755, uid: 0, gid: 0 },
            Layer::Move(from, to) => Extra::Move { from, to },
        }
    }
}

/// What a plan has for an allow-list, over content whose folders are root's.
fn layer(allowed: &[String]) -> Vec<Layer> {
    let mut made = std::collections::BTreeSet::new();
    let mut list = Vec::new();
    for from in allowed {
        for (end, _) in from.match_indices('/') {
            if made.insert(&from[..end]) {
                list.push(Layer::Folder(format!("{EXTRAS_FOLDER}{}", &from[..end])));
            }
        }
        list.push(Layer::Move(from.clone(), format!("{EXTRAS_FOLDER}{from}")));
    }
    list
}

/// Nothing scans a SCSI host but who names a unit.
fn parameters(module: &str) -> &'static str {
    if module.ends_with("/scsi_mod.ko") { "scan=manual" } else { "" }
}

fn plan_bytes(spec: &Spec, modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let paths: Vec<String> = modules.iter().map(|(name, _)| format!("/modules/{name}.ko")).collect();
    let wanted = |name, words, hint| Wanted {
        device: Device::PartName(name),
        words,
        hint,
        deadline_ms: spec.deadline_ms,
        lun: None,
    };
    let source = spec.place.source(wanted(PARTNAME, "PARTNAME=initoverlayfs", spec.hint.as_deref()));
    let slot = Slot { name: "a", source, image: Image::Any };
    let layer = layer(&spec.extras);
    let mut buffers = [(); 3].map(|()| vec![0; plan::MAX_BYTES]);
    let [for_modules, for_slots, for_extras] = &mut buffers;
    let plan = Plan {
        board: "test",
        mode: spec.mode,
        handover: spec.handover,
        next_init: &spec.next_init,
        modules: List::encode(paths.iter().map(|path| Module { path, parameters: parameters(path) }), for_modules)?,
        slots: List::encode([slot], for_slots)?,
        upper: match spec.upper {
            None => Upper::Memory("mode=0700,size=65536k,nr_inodes=16384"),
            Some(kind) => {
                let device = wanted(UPPER, "PARTNAME=upper", None);
                Upper::Partition(Holder { device, kind: kind.name(), options: "" })
            }
        },
        extras: List::encode(layer.iter().map(Layer::extra), for_extras)?,
        free: spec.free,
        ahead: None,
        watchdog: None,
        on_failure: Policy::Reboot,
    };
    let mut buffer = vec![0; plan::MAX_BYTES];
    Ok(plan::seal(&plan, &mut buffer)?.to_vec())
}

/// Writes `content` as an EROFS image; device nodes need root or fakeroot.
fn write_erofs(content: &[Entry], folder: &Path, options: &str, out: &Path) -> Result<()> {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree)?;
    let mut script = String::from("set -e\n");
    for entry in content {
        let path = tree.join(&entry.path);
        match entry.mode & 0o170_000 {
            0o040_000 => std::fs::create_dir_all(&path)?,
            0o120_000 => symlink(String::from_utf8(entry.data.clone())?, &path)?,
            0o100_000 => std::fs::write(&path, &entry.data)?,
            _ => {
                let (mode, (major, minor)) = (entry.mode & 0o7777, entry.device);
                script += &format!("mknod -m {mode:o} '{}' c {major} {minor}\n", path.display());
            }
        }
        if matches!(entry.mode & 0o170_000, 0o040_000 | 0o100_000) {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode & 0o7777))?;
        }
    }
    script +=
        &format!("chmod 0755 '{0}'\nmkfs.erofs --quiet -T0 {2} '{1}' '{0}'\n", tree.display(), out.display(), options);
    let mut command = if nix::unistd::geteuid().is_root() { Command::new("sh") } else { Command::new("fakeroot") };
    let arguments: &[&str] = if nix::unistd::geteuid().is_root() { &["-c"] } else { &["sh", "-c"] };
    let output = command.args(arguments).arg(script).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("no EROFS image: {said}\n  run tests/setup/apt.sh test").into());
    }
    std::fs::remove_dir_all(&tree)?;
    Ok(())
}

/// What a plan can pin an image by.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// UUID of its superblock.
    pub uuid: [u8; 16],
    /// What lies at its end.
    pub tail: Tail,
}

impl Identity {
    /// That of a whole image, for [`Slot::image`].
    ///
    /// # Errors
    /// If it is no EROFS image.
    pub fn of(image: &[u8]) -> Result<Self> {
        let start = image.get(..superblock::START_BYTES).ok_or("the image is too short")?;
        let found = superblock::erofs(start, image.len() as u64).map_err(Refusal::name)?;
        let end = usize::try_from(found.bytes)?;
        let mut sectors = image.get(..end).ok_or("the image is too short")?.chunks_exact(plan::TAIL_BYTES).enumerate();
        let written = |(_, sector): &(usize, &[u8])| sector.iter().any(|byte| *byte != 0);
        let (index, sector) = sectors.rfind(written).ok_or("the image is empty")?;
        let offset = u64::try_from(index * plan::TAIL_BYTES)?;
        Ok(Identity { uuid: found.uuid, tail: Tail { offset, crc: crc32(sector) } })
    }

    /// As a plan has it.
    pub fn pin(&self) -> Image<'_> {
        Image::Pinned { uuid: &self.uuid, tail: self.tail }
    }
}

impl Parts {
    /// Seals another plan in place of the one that is there; start from `plan::open` of its bytes.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn set_plan(&mut self, plan: &Plan<'_>) -> Result<()> {
        let mut buffer = vec![0; plan::MAX_BYTES];
        let sealed = plan::seal(plan, &mut buffer)?.to_vec();
        self.replace(PLAN, 0o644, sealed);
        Ok(())
    }

    /// Replaces the content of a member, or adds it.
    pub fn replace(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.remove(path);
        self.entries.push(Entry::file(path, mode, data));
    }

    /// Removes a member.
    pub fn remove(&mut self, path: &str) {
        self.entries.retain(|entry| entry.path != path);
    }

    /// Content of a member.
    ///
    /// # Errors
    /// If there is none.
    pub fn member(&self, path: &str) -> Result<Vec<u8>> {
        let found = self.entries.iter().find(|entry| entry.path == path);
        found.map(|entry| entry.data.clone()).ok_or_else(|| format!("no {path} in the mini-initramfs").into())
    }

    /// Puts the saboteur in bootstrap's place; `sabotage=` on the command line says what it does (tests/guest/src/saboteur).
    ///
    /// # Errors
    /// If it does not build.
    pub fn sabotage(&mut self) -> Result<()> {
        let saboteur = std::fs::read(program("saboteur", &self.kernel.arch)?)?;
        self.entries.iter_mut().filter(|entry| entry.path == "init").for_each(|entry| entry.path = "bootstrap".into());
        self.entries.insert(0, Entry::file("init", 0o755, saboteur));
        self.entries.extend(["saboteur-sys", "saboteur-proc"].map(Entry::folder));
        self.entries.push(Entry::device("saboteur-kmsg", 0o600, 1, 11));
        Ok(())
    }

    /// Writes the initramfs as the bootloader loads it.
    ///
    /// # Errors
    /// If writing fails.
    pub fn initrd(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("initrd");
        let mut bytes = archive(&self.entries);
        self.appended.iter().for_each(|appended| bytes.extend_from_slice(appended));
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Writes a disk with a partition for each of `names`, each holding the image, and the one that keeps what is written.
    ///
    /// # Errors
    /// If writing fails.
    pub fn disk(&self, names: &[&str]) -> Result<PathBuf> {
        let image = self.place.stored(&self.kernel, &self.erofs, self.folder.path())?;
        let partition = |name: &str, image: &Path| Partition { name: name.into(), uuid: None, image: image.into() };
        let mut partitions: Vec<Partition> = names.iter().map(|name| partition(name, &image)).collect();
        partitions.extend(self.upper.iter().map(|image| partition(UPPER, image)));
        self.disk_of(&partitions)
    }

    /// Writes a disk with these partitions.
    ///
    /// # Errors
    /// If writing fails.
    pub fn disk_of(&self, partitions: &[Partition]) -> Result<PathBuf> {
        let path = self.folder.path().join("disk.img");
        disk::write(&path, &[7; 16], partitions, &mut |_| ())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootstrap::envelope::{Error, HEADER_BYTES};

    fn sealed() -> Vec<u8> {
        let spec = Spec { extras: vec!["/etc/extra".into()], ..Spec::new(Place::Partition, Handover::Kernel) };
        plan_bytes(&spec, &[("erofs".into(), Vec::new())]).unwrap()
    }

    #[test]
    fn a_plan_cut_anywhere_is_refused() {
        let sealed = sealed();
        assert!(plan::open(&sealed).is_ok());
        for length in 0..sealed.len() {
            let expected = Error::Truncated(length, if length < HEADER_BYTES { HEADER_BYTES } else { sealed.len() });
            assert_eq!(plan::open(&sealed[..length]).unwrap_err(), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_plan_with_any_bit_flipped_is_refused() {
        let sealed = sealed();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(plan::open(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_whole_image_and_nothing_else_has_an_identity() {
        let mut image = vec![0; 8192];
        image[1024..1028].copy_from_slice(&[0xE2, 0xE1, 0xF5, 0xE0]);
        image[1024 + 12] = 12;
        image[1024 + 36] = 2;
        image[1024 + 48] = 7;
        image[5000] = 1;
        let identity = Identity::of(&image).unwrap();
        let tail = Tail { offset: 4608, crc: crc32(&image[4608..5120]) };
        assert_eq!((identity.uuid[0], identity.tail), (7, tail));
        assert!(Identity::of(&image[..8191]).is_err());
        assert!(Identity::of(&[]).is_err());
    }
}
