//! Boot tier: a real U-Boot counts tries and chooses slots by the example script, the kernel and the mini-initramfs in one FIT.

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
use tests::kernel::{Kernel, checkout, get, program};
use tests::{Result, content};

/// Debian's u-boot-qemu.
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
/// Bytes of a flash chip of the machine (hw/arm/virt.c).
const FLASH: u64 = 64 << 20;
const SCRIPT_ARGS: &str = "setenv board_args console=ttyAMA0 panic=-1\n";

/// A board: its flash chip and its disk, with the partitions boot, a, b and tries.
struct Board {
    kernel: Kernel,
    folder: tempfile::TempDir,
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
    fn new(a: Content, b: Content) -> Result<Self> {
        let kernel = get("arm64-tuned")?;
        let folder = tempfile::Builder::new().prefix("initoverlayfs-test-").tempdir()?;
        let board = Board { kernel, folder };
        std::fs::copy(U_BOOT, board.path("firmware"))?;
        File::options().write(true).open(board.path("firmware"))?.set_len(FLASH)?;
        let parts = board.parts()?;
        let slots = [board.image("a", a)?, board.image("b", b)?];
        let boot = board.boot_partition(&parts)?;
        let named = |name: &str, image: &Path| Partition { name: name.into(), uuid: None, image: image.into() };
        let tries = board.path("tries");
        std::fs::write(&tries, [0; 512])?;
        let partitions = [named("boot", &boot), named("a", &slots[0]), named("b", &slots[1]), named("tries", &tries)];
        disk::write(&board.path("disk.img"), &[7; 16], &partitions, &mut |_| ())?;
        Ok(board)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A mini-initramfs that tries a, b and the image it holds.
    fn parts(&self) -> Result<Parts> {
        let spec = Spec::new(Place::Initramfs, Handover::Kernel);
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

    /// The partition that U-Boot boots from: the example script, and the FIT made of the example source.
    fn boot_partition(&self, parts: &Parts) -> Result<PathBuf> {
        let examples = checkout().join("board-configs/u-boot");
        std::fs::copy(&self.kernel.image, self.path("kernel"))?;
        std::fs::copy(parts.initrd()?, self.path("initramfs.img"))?;
        std::fs::copy(examples.join("fit.its"), self.path("fit.its"))?;
        let script = SCRIPT_ARGS.to_owned() + &std::fs::read_to_string(examples.join("ab.cmd"))?;
        std::fs::write(self.path("ab.cmd"), script)?;
        // With firmware in its flash the machine has other devices.
        let firmware = format!("if=pflash,format=raw,readonly=on,file={}", self.path("firmware").display());
        let machine = ["-machine", "virt,dumpdtb=board.dtb", "-cpu", "cortex-a72", "-m", "512", "-display", "none"];
        self.run("qemu-system-aarch64", &[&machine[..], &["-drive", &firmware]].concat())?;
        self.run("mkimage", &["-A", "arm64", "-T", "script", "-d", "ab.cmd", "boot.scr"])?;
        self.run("mkimage", &["-f", "fit.its", "fit.itb"])?;
        let path = self.path("boot");
        File::create(&path)?.set_len(128 << 20)?;
        self.run("mkfs.vfat", &["-i", "12345678", "boot"])?;
        self.run("mcopy", &["-i", "boot", "boot.scr", "fit.itb", "::"])?;
        Ok(path)
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Result<()> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output = Command::new(tool).args(arguments).env("PATH", path).current_dir(self.folder.path()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{tool}: {said}\n  run tests/setup/apt.sh test").into())
    }

    /// Switches it on and watches it until it restarts or the guest switches it off.
    fn start(&self) -> Result<Outcome> {
        let mut boot = Boot::new(&self.kernel, PathBuf::new());
        boot.disks = vec![self.path("disk.img")];
        boot.writable = true;
        boot.flash = vec![Disk { image: self.path("firmware"), writable: false }];
        boot.run()
    }
}

/// The device that the image of a boot came from.
fn came_from(outcome: &Outcome) -> Result<String> {
    outcome.reported()?;
    let device =
        |line: &str| Some(line.split_once("initoverlayfs: device ")?.1.split_once(" us ")?.1.trim().to_owned());
    outcome.console.lines().filter_map(device).next_back().ok_or_else(|| outcome.failure("no device step"))
}

fn refused(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.console.lines().filter_map(|line| line.trim_end().strip_suffix(" refused"));
    lines.filter_map(|line| Some(line.split_once("initoverlayfs: slot ")?.1)).collect()
}

#[test]
fn a_whole_slot_a_boots() {
    let outcome = Board::new(Content::Good, Content::Good).unwrap().start().unwrap();
    assert_eq!(came_from(&outcome).unwrap(), "vda2");
    assert!(refused(&outcome).is_empty(), "{}", outcome.console);
}

#[test]
fn with_a_spoiled_b_boots_and_with_both_the_rescue_slot() {
    let outcome = Board::new(Content::Spoiled, Content::Good).unwrap().start().unwrap();
    assert_eq!((came_from(&outcome).unwrap().as_str(), refused(&outcome)), ("vda3", vec!["a"]));
    let outcome = Board::new(Content::Spoiled, Content::Spoiled).unwrap().start().unwrap();
    assert_eq!((came_from(&outcome).unwrap().as_str(), refused(&outcome)), (IMAGE_PATH, vec!["a", "b"]));
}

/// Images that are whole and do not come up: three tries each, counted on the disk, then the rescue slot.
#[test]
fn tries_are_counted_and_the_rescue_slot_is_the_last() {
    let board = Board::new(Content::Restarts, Content::Restarts).unwrap();
    for expected in ["vda2", "vda2", "vda2", "vda3", "vda3", "vda3"] {
        let outcome = board.start().unwrap();
        let device = format!(" us {expected}");
        assert!(outcome.console.lines().any(|line| line.contains("initoverlayfs: device ") && line.contains(&device)));
        assert!(outcome.console.contains("policy reboot"), "{}", outcome.console);
        assert!(outcome.report.is_none());
    }
    assert_eq!(came_from(&board.start().unwrap()).unwrap(), IMAGE_PATH);
}
