//! Boot tier: real bootloaders boot what is emitted for them, count tries, choose slots and place an image in memory, with nothing but
//! what `board-configs/` and `imagegen build` give to them.

mod emitted;
mod memory;
mod systemd_boot;
mod u_boot;

use bootstrap::plan::{self, Device, Handover, Image, List, MAX_BYTES, Slot, Source, Wanted};
use imagegen::boot::qemu::Disk;
use imagegen::disk::{self, Partition};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::boot::{Boot, Outcome};
use tests::cpio::Entry;
use tests::image::{IMAGE_PATH, PLAN, Parts, Place, Spec, make};
use tests::kernel::{Kernel, get, program};
use tests::{Result, content};

/// Bytes of a flash chip of the machine (hw/arm/virt.c).
const FLASH: u64 = 64 << 20;

/// A board that boots from its flash chips and its disk. All its files lie in one folder.
struct Board {
    kernel: Kernel,
    folder: tempfile::TempDir,
    memory_mib: u32,
    flash: Vec<Disk>,
}

/// The content of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The tests' guest.
    Good,
    /// A system that restarts the board as soon as it starts: a bootstrap that finds no plan.
    Restarts,
    /// No image.
    Spoiled,
}

impl Board {
    fn new(kernel: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("initoverlayfs-test-").tempdir()?;
        Ok(Board { kernel: get(kernel)?, folder, memory_mib: 512, flash: Vec::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next flash chip holds `image`.
    fn add_flash(&mut self, image: &str, writable: bool) -> Result<()> {
        let chip = self.path(&format!("flash{}", self.flash.len()));
        std::fs::copy(image, &chip).map_err(|error| format!("{image}: {error}\n  run tests/setup/apt.sh test"))?;
        // A PC's chip is as long as its image.
        if self.kernel.arch != "x86_64" {
            File::options().write(true).open(&chip)?.set_len(FLASH)?;
        }
        self.flash.push(Disk { image: chip, writable });
        Ok(())
    }

    /// A mini-initramfs that tries a, b and the image it holds.
    fn parts(&self) -> Result<Parts> {
        let spec = Spec::new(Place::Initramfs, Handover::Kernel);
        // The modules of the partitions too.
        let names = [Place::Partition.modules(&self.kernel), Place::Initramfs.modules(&self.kernel)].concat();
        let names = [names, vec!["erofs", "overlay"]].concat();
        let spec = Spec { modules: Some(content::modules(&self.kernel, &names)?), ..spec };
        let mut parts = make(&self.kernel, &content::guest(&self.kernel)?, &spec)?;
        let bytes = parts.member(PLAN)?;
        let mut plan = plan::open(&bytes)?;
        let slot = |name, words| {
            let device = Wanted { device: Device::PartName(name), words, hint: None, deadline_ms: 2_000, lun: None };
            Slot { name, source: Source::Partition { device, options: "" }, image: Image::Any }
        };
        let rescue = Slot { name: "rescue", source: Source::Initramfs { path: IMAGE_PATH }, image: Image::Any };
        let mut buffer = vec![0; MAX_BYTES];
        plan.slots = List::encode([slot("a", "PARTNAME=a"), slot("b", "PARTNAME=b"), rescue], &mut buffer)?;
        parts.set_plan(&plan)?;
        Ok(parts)
    }

    fn image(&self, name: &str, holds: Content) -> Result<PathBuf> {
        let mut entries = content::guest(&self.kernel)?;
        if holds == Content::Restarts {
            entries.retain(|entry| entry.path != "init");
            entries.push(Entry::file("init", 0o755, std::fs::read(program("bootstrap", &self.kernel.arch)?)?));
        }
        let parts = make(&self.kernel, &entries, &Spec::new(Place::Partition, Handover::Kernel))?;
        let path = self.path(name);
        std::fs::copy(&parts.erofs, &path)?;
        if holds == Content::Spoiled {
            File::options().write(true).open(&path)?.write_all_at(&[0; 4096], 0)?;
        }
        Ok(path)
    }

    /// An empty vfat of `mib` MiB.
    fn vfat(&self, name: &str, mib: u64) -> Result<PathBuf> {
        let path = self.path(name);
        File::create(&path)?.set_len(mib << 20)?;
        self.run("mkfs.vfat", &["-F", "32", "-i", "12345678", name])?;
        Ok(path)
    }

    /// The disk, with these partitions.
    fn disk(&self, partitions: &[(&str, &Path)]) -> Result<()> {
        let named =
            |(name, image): &(&str, &Path)| Partition { name: (*name).into(), uuid: None, image: (*image).into() };
        let partitions: Vec<Partition> = partitions.iter().map(named).collect();
        disk::write(&self.path("disk.img"), &[7; 16], &partitions, &mut |_| ())?;
        Ok(())
    }

    /// Runs a tool in the folder; what it said.
    fn run(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output = Command::new(tool).args(arguments).env("PATH", path).current_dir(self.folder.path()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{tool}: {said}\n  run tests/setup/apt.sh test").into())
    }

    /// Switches it on and watches it until it restarts or the guest switches it off.
    fn start(&self) -> Result<Outcome> {
        self.boot().run()
    }

    /// The same, not yet on.
    fn boot(&self) -> Boot<'_> {
        let mut boot = Boot::new(&self.kernel, PathBuf::new());
        boot.disks = vec![self.path("disk.img")];
        boot.writable = true;
        boot.flash = self.flash.clone();
        boot.memory_mib = self.memory_mib;
        boot
    }
}

/// Writes the device tree of the machine as U-Boot in its first flash chip finds it: with firmware there it has other devices.
fn dump_tree(board: &Board, name: &str) -> Result<()> {
    let machine = format!("virt,dumpdtb={name}");
    let memory = board.memory_mib.to_string();
    let (program, cpu) = match board.kernel.arch.as_str() {
        "armv7" => ("qemu-system-arm", "cortex-a15"),
        _ => ("qemu-system-aarch64", "cortex-a72"),
    };
    let machine = ["-machine", &machine, "-cpu", cpu, "-m", &memory, "-display", "none"];
    let firmware = ["-drive", "if=pflash,format=raw,readonly=on,file=flash0"];
    board.run(program, &[&machine[..], &firmware].concat()).map(drop)
}

/// The device that the image of a boot came from.
fn came_from(outcome: &Outcome) -> Result<String> {
    outcome.reported()?;
    let device =
        |line: &str| Some(line.split_once("initoverlayfs: device ")?.1.split_once(" us ")?.1.trim().to_owned());
    outcome.console.lines().filter_map(device).next_back().ok_or_else(|| outcome.failure("no device step"))
}

/// The image came from `device`, and its content restarted the board.
fn restarted_from(outcome: &Outcome, device: &str) {
    let device = format!(" us {device}");
    let mut lines = outcome.console.lines();
    assert!(lines.any(|line| line.contains("initoverlayfs: device ") && line.contains(&device)), "{}", outcome.console);
    assert!(outcome.console.contains("policy reboot"), "{}", outcome.console);
    assert!(outcome.report.is_none());
}
