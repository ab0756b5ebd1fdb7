//! The device: never there, late, there twice, known by every kind of name, found or not.

use crate::case::{DEADLINE_MS, Disk, Expected, On, Scene, refused};
use crate::image::{change, field, with_checksum};
use bootstrap::Step::{Device as Find, Mount};
use imagegen::board::{self, Architecture, Failure, ImageName, Method, OnCorruption, Overlay};
use imagegen::disk::Partition;
use imagegen::modules::ResolvedModule;
use imagegen::plan::ResolvedPlan;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::boot::Outcome;
use tests::image::{PARTNAME, PLAN, Parts, Spec, make};
use tests::{Result, content};

const ETIMEDOUT: u32 = 110;
/// Label, and the same for vfat, whose labels are upper case.
const LABEL: &str = "DATA";
const UUID: &str = "0123abcd-4567-89ab-cdef-0123456789ab";
/// vfat's.
const SERIAL: &str = "abcd-1234";
pub const GUID: [u8; 16] = *b"partition-guid-a";
const SIGNATURE: u32 = 0x1234_abcd;

/// Nothing fits within the deadline, and the whole deadline was waited.
fn never(on: &On, parts: Parts, words: &str) -> Result<Scene> {
    let cause = format!("device did not appear: {words} within {DEADLINE_MS} ms");
    let scene = Scene::new(on, parts, refused(Find, cause, ETIMEDOUT));
    Ok(scene.and(waited))
}

fn waited(outcome: &Outcome) -> Result<()> {
    let line = |text: &str| {
        let line = outcome.console.lines().find(|line| line.contains(text)).map(imagegen::boot::console::parse);
        line.and_then(|line| line.at_us).ok_or_else(|| format!("no line {text:?} with a time"))
    };
    let (last, failed) = (outcome.log.rows.iter().filter_map(|row| row.ended_us).max(), line("device failed: ")?);
    let waited = failed.saturating_sub(last.unwrap_or(0));
    // The deadline is counted from a moment after the step before was logged.
    if waited >= u64::from(DEADLINE_MS) * 1000 { Ok(()) } else { Err(format!("waited {waited} us only").into()) }
}

pub fn never_comes(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let disk = parts.disk(&["another"])?;
    let scene = never(on, parts, "PARTNAME=initoverlayfs")?;
    Ok(Scene { disk: Disk::File(disk), ..scene })
}

pub fn no_disk(on: &On) -> Result<Scene> {
    Ok(Scene { disk: Disk::None, ..never(on, on.parts()?, "PARTNAME=initoverlayfs")? })
}

/// The whole disk fits no partition name, and a table that is broken twice has no partitions.
pub fn broken_table(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let path = parts.disk(&[PARTNAME])?;
    let disk = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
    for at in [512, disk.metadata()?.len() - 512] {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, at)?;
        disk.write_all_at(&[byte[0] ^ 1], at)?;
    }
    Ok(Scene { disk: Disk::File(path), ..never(on, parts, "PARTNAME=initoverlayfs")? })
}

/// Waiting must not be the only way out: a deadline of none at all.
pub fn no_deadline(on: &On) -> Result<Scene> {
    let parts = make(&on.kernel, &content::guest(&on.kernel)?, &Spec { deadline_ms: 0, ..on.spec() })?;
    let expected = refused(Find, "device did not appear: PARTNAME=initoverlayfs within 0 ms", ETIMEDOUT);
    let disk = parts.disk(&["another"])?;
    Ok(Scene { disk: Disk::File(disk), waits_ms: 0, ..Scene::new(on, parts, expected) })
}

pub fn two(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let disk = parts.disk(&[PARTNAME, PARTNAME])?;
    // ENOTUNIQ
    let expected = refused(Find, "more than one device fits: PARTNAME=initoverlayfs: vda", 76);
    Ok(Scene { disk: Disk::File(disk), ..Scene::new(on, parts, expected) })
}

/// The same two on two disks, as a stick beside the board's own memory.
pub fn two_disks(on: &On) -> Result<Scene> {
    let scene = Scene::new(on, on.parts()?, refused(Find, "more than one device fits: PARTNAME=initoverlayfs", 76));
    let stick = scene.parts.folder.path().join("stick.img");
    std::fs::copy(scene.parts.disk(&[PARTNAME])?, &stick)?;
    Ok(Scene { change: Some(Box::new(move |boot| boot.disks.push(stick))), ..scene })
}

/// With a hint: the board's own choice between the two (D9); a hint that names nothing, or something else, changes nothing.
pub fn hint(on: &On, hint: &str, names: &[&str], found: &'static str) -> Result<Scene> {
    let spec = Spec { hint: Some(hint.into()), ..on.spec() };
    let parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    let disk = parts.disk(names)?;
    let scene = Scene::new(on, parts, Expected::Boots);
    Ok(Scene { disk: Disk::File(disk), ..scene }.and(move |outcome| device_is(outcome, found)))
}

/// Whether the device step found this one.
fn device_is(outcome: &Outcome, name: &str) -> Result<()> {
    let found: Vec<&str> =
        outcome.log.rows.iter().filter(|row| row.name == "device").map(|row| row.note.as_str()).collect();
    tests::equal("devices found", &found, &vec![name])
}

/// The plan as imagegen makes it for a board that names its device so.
pub fn known_as(on: &On, device: board::Device) -> Result<Parts> {
    let mut parts = on.parts()?;
    let bytes = parts.member(PLAN)?;
    let old = bootstrap::plan::open(&bytes)?;
    let module = |path: &str| ResolvedModule {
        name: path.trim_start_matches("/modules/").trim_end_matches(".ko").into(),
        source: PathBuf::new(),
        bytes: Vec::new(),
        parameters: String::new(),
        firmware: Vec::new(),
        signed: false,
    };
    let deadline = Duration::from_millis(DEADLINE_MS.into());
    let source = board::Source::Partition(board::Wanted { device, hint: None, deadline, lun: None });
    let verity = board::Verity { method: Method::None, on_corruption: OnCorruption::Error, fec_roots: 0, version: 0 };
    let plan = ResolvedPlan {
        board: old.board.into(),
        architecture: Architecture::Aarch64,
        mode: old.mode,
        handover: old.handover,
        handover_reason: "",
        next_init: old.next_init.into(),
        next_init_target: old.next_init.into(),
        modules: old.modules.into_iter().map(|known| module(known.path)).collect(),
        slots: vec![board::Slot { name: "a".into(), source, image: ImageName::Main, pin: false }],
        verity,
        overlay: Overlay::Memory { size_kib: 65_536, inodes: 16_384 },
        extras: Vec::new(),
        layer: Vec::new(),
        leaving: Default::default(),
        free: old.free,
        first: Vec::new(),
        left: Vec::new(),
        ahead: None,
        watchdog: None,
        failure: Failure::Reboot,
    };
    let sealed = plan.seal(&[None])?;
    parts.replace(PLAN, 0o644, sealed);
    Ok(parts)
}

/// A file system made by its own mkfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Fat16,
    Fat32,
    F2fs,
    Xfs,
    Btrfs,
    Erofs,
}

use FileSystem::{Btrfs, Erofs, Ext4, F2fs, Fat16, Fat32, Xfs};

impl FileSystem {
    const ALL: [FileSystem; 7] = [Ext4, Fat16, Fat32, F2fs, Xfs, Btrfs, Erofs];

    /// Makes it in `folder` with a label and UUID of its own, from those wanted or others, and keeps its first megabyte: all
    /// superblocks lie there.
    fn make(self, folder: &Path, label: &str, uuid: &str) -> Result<PathBuf> {
        let path = folder.join(format!("{self:?}.img"));
        let serial = uuid.replace('-', "").get(..8).unwrap_or_default().to_owned();
        // Sparse; the least each mkfs takes.
        let mib = match self {
            Ext4 => 8,
            Fat16 => 16,
            Fat32 => 64,
            F2fs => 64,
            Xfs => 320,
            Btrfs => 128,
            Erofs => return Err("made from the content".into()),
        };
        std::fs::File::create(&path)?.set_len(mib << 20)?;
        let words = match self {
            Ext4 => format!("mkfs.ext4 -q -L {label} -U {uuid}"),
            Fat16 => format!("mkfs.vfat -F 16 -n {label} -i {serial}"),
            Fat32 => format!("mkfs.vfat -F 32 -n {label} -i {serial}"),
            F2fs => format!("mkfs.f2fs -q -l {label} -U {uuid}"),
            Xfs => format!("mkfs.xfs -q -L {label} -m uuid={uuid}"),
            Btrfs => format!("mkfs.btrfs -q -L {label} -U {uuid}"),
            Erofs => String::new(),
        };
        let script = format!("PATH=$PATH:/usr/sbin:/sbin; exec {words} '{}'", path.display());
        let output = Command::new("sh").args(["-c", &script]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{words}: {said}\n  run tests/setup/apt.sh test").into());
        }
        std::fs::OpenOptions::new().write(true).open(&path)?.set_len(1 << 20)?;
        Ok(path)
    }
}

/// A disk with every file system, of which `wanted` has the label and UUID looked for.
fn file_systems(on: &On, parts: &mut Parts, wanted: Option<FileSystem>) -> Result<PathBuf> {
    let mut partitions = Vec::new();
    for kind in FileSystem::ALL {
        // One letter more, one less: what only starts alike must not fit.
        let label = if wanted == Some(kind) { LABEL } else { "DATAS" };
        let uuid = if wanted != Some(kind) {
            "0123abcd-4567-89ab-cdef-0123456789ac".to_owned()
        } else if matches!(kind, Fat16 | Fat32) {
            SERIAL.to_owned()
        } else {
            UUID.to_owned()
        };
        let uuid = if wanted != Some(kind) && matches!(kind, Fat16 | Fat32) { "abcd-1235".to_owned() } else { uuid };
        let image = if kind == Erofs {
            change(on, parts, |image| {
                let digits = uuid.replace('-', "");
                with_checksum(image, |superblock| {
                    let bytes = (0..16).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or(0));
                    superblock[field::UUID..].iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                    superblock[field::LABEL..field::LABEL + label.len()].copy_from_slice(label.as_bytes());
                })
            })?;
            parts.erofs.clone()
        } else {
            kind.make(parts.folder.path(), label, &uuid)?
        };
        partitions.push(Partition { name: format!("{kind:?}"), uuid: None, image });
    }
    parts.disk_of(&partitions)
}

/// Found by label: it boots if it is EROFS, and is refused as none if it is another file system.
pub fn label(on: &On, kind: FileSystem) -> Result<Scene> {
    found(on, kind, board::Device::Label(LABEL.into()))
}

/// Found by UUID.
pub fn uuid(on: &On, kind: FileSystem) -> Result<Scene> {
    let uuid = if matches!(kind, Fat16 | Fat32) { SERIAL } else { UUID };
    found(on, kind, board::Device::Uuid(uuid.into()))
}

fn found(on: &On, kind: FileSystem, device: board::Device) -> Result<Scene> {
    let mut parts = known_as(on, device)?;
    let disk = file_systems(on, &mut parts, Some(kind))?;
    let number = 1 + FileSystem::ALL.iter().position(|other| *other == kind).unwrap_or(0);
    let expected = if kind == Erofs { Expected::Boots } else { refused(Mount, "no EROFS superblock", 22) };
    let scene = Scene { disk: Disk::File(disk), ..Scene::new(on, parts, expected) };
    Ok(scene.and(move |outcome| device_is(outcome, &format!("vda{number}"))))
}

/// Every file system is there and none has the label.
pub fn no_label(on: &On) -> Result<Scene> {
    no_such(on, board::Device::Label(LABEL.into()))
}

pub fn no_uuid(on: &On) -> Result<Scene> {
    no_such(on, board::Device::Uuid(UUID.into()))
}

pub fn no_serial(on: &On) -> Result<Scene> {
    no_such(on, board::Device::Uuid(SERIAL.into()))
}

fn no_such(on: &On, device: board::Device) -> Result<Scene> {
    let words = device.to_string();
    let mut parts = known_as(on, device)?;
    let disk = file_systems(on, &mut parts, None)?;
    Ok(Scene { disk: Disk::File(disk), ..never(on, parts, &words)? })
}

/// Two partitions with the GUIDs of a pair; the second is wanted.
pub fn part_uuid(on: &On, there: bool) -> Result<Scene> {
    let mut last = GUID;
    last[15] ^= u8::from(!there);
    let device = board::Device::PartUuid(last);
    let words = device.to_string();
    let parts = known_as(on, device)?;
    let partition = |name: &str, guid| Partition { name: name.into(), uuid: Some(guid), image: parts.erofs.clone() };
    let disk = parts.disk_of(&[partition("one", *b"partition-guid-0"), partition("two", GUID)])?;
    let scene = if there {
        Scene::new(on, parts, Expected::Boots).and(|outcome| device_is(outcome, "vda2"))
    } else {
        never(on, parts, &words)?
    };
    Ok(Scene { disk: Disk::File(disk), ..scene })
}

/// A disk with an MBR, its second partition wanted.
pub fn mbr(on: &On, there: bool) -> Result<Scene> {
    let device = board::Device::MbrPartUuid(SIGNATURE ^ u32::from(!there), 2);
    let words = device.to_string();
    let parts = known_as(on, device)?;
    let image = std::fs::read(&parts.erofs)?;
    let sectors = u32::try_from(image.len().div_ceil(512))?;
    let (first, length) = (2048_u32, sectors.next_multiple_of(2048));
    let mut disk = vec![0; 512 * (first + 2 * length) as usize];
    disk[440..444].copy_from_slice(&SIGNATURE.to_le_bytes());
    for (index, start) in [first, first + length].into_iter().enumerate() {
        let at = 446 + 16 * index;
        disk[at + 4] = 0x83;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        let start = 512 * start as usize;
        disk[start..start + image.len()].copy_from_slice(&image);
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let path = parts.folder.path().join("mbr.img");
    std::fs::write(&path, disk)?;
    let scene = if there {
        Scene::new(on, parts, Expected::Boots).and(|outcome| device_is(outcome, "vda2"))
    } else {
        never(on, parts, &words)?
    };
    Ok(Scene { disk: Disk::File(path), ..scene })
}

/// By its kernel name.
pub fn path(on: &On, name: &'static str, there: bool) -> Result<Scene> {
    let device = board::Device::Path(name.into());
    let words = device.to_string();
    let parts = known_as(on, device)?;
    if there {
        return Ok(Scene::new(on, parts, Expected::Boots).and(move |outcome| device_is(outcome, name)));
    }
    never(on, parts, &words)
}
