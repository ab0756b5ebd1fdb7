//! Images in file systems, on SCSI units and in memory, and what is written kept: booted by every kernel that can.

use super::{Check, content_of, mount_points, mounts, record, writable};
use bootstrap::crc::crc32;
use bootstrap::plan::{Handover, Mode};
use imagegen::board::FileSystem::{self, Btrfs, Ext4, F2fs, Vfat, Xfs};
use imagegen::disk::{self, Partition};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use tests::boot::{Boot, Outcome};
use tests::cpio::Entry;
use tests::image::{PARTNAME, Parts, Place, Spec, make};
use tests::kernel::Kernel;
use tests::place::{LUN, OSTREE};
use tests::report::Report;
use tests::{Result, content, equal};

/// Where an image lies in memory: 768 MiB from its start.
const ADDRESS: u64 = 0x7000_0000;

/// The rows for a kernel.
pub fn rows(kernel: &Kernel) -> Vec<(String, Check)> {
    let mut rows: Vec<(String, Check)> = Vec::new();
    let mut add = |name: &str, check: Check| rows.push((name.to_owned(), check));
    for kind in file_systems(&kernel.name) {
        add(&format!("file::{}", kind.name()), Box::new(move |kernel| file(kernel, Place::File(*kind), "")));
    }
    add("ostree", Box::new(|kernel| file(kernel, Place::Ostree, OSTREE)));
    let slot = "androidboot.slot_suffix=_b ostree=/ostree/boot.0/debian/none/0";
    add("ostree::slot", Box::new(move |kernel| file(kernel, Place::Ostree, slot)));
    for kind in dirty_ones(&kernel.name) {
        add(&format!("dirty::{}", kind.name()), Box::new(move |kernel| dirty(kernel, *kind)));
    }
    if kernel.arch == "aarch64" {
        add("memory", Box::new(memory));
    }
    add("scsi", Box::new(scsi));
    for (name, place) in [("partition", Place::Partition), ("file", Place::File(Ext4)), ("initramfs", Place::Initramfs)]
    {
        add(&format!("left::{name}"), Box::new(move |kernel| left(kernel, &Spec::new(place, Handover::Mounted))));
    }
    add("left::upper", Box::new(|kernel| left(kernel, &Spec { upper: Some(Ext4), ..spec_for(Mode::Initial) })));
    add("upper::ext4", Box::new(|kernel| kept(kernel, Ext4, Mode::Initial)));
    add("root::ext4", Box::new(|kernel| kept(kernel, Ext4, Mode::Root)));
    add("root::memory", Box::new(root));
    if file_systems(&kernel.name).contains(&F2fs) {
        add("upper::f2fs", Box::new(|kernel| kept(kernel, F2fs, Mode::Initial)));
        add("root::f2fs", Box::new(|kernel| kept(kernel, F2fs, Mode::Root)));
    }
    rows
}

/// The ones a kernel's rows hold an image in: ext4 and vfat everywhere, all where Debian's kernel has them.
fn file_systems(kernel: &str) -> &'static [FileSystem] {
    match kernel {
        "arm64-6.12" | "arm64-7" => &[Ext4, Vfat, F2fs, Xfs, Btrfs],
        "arm64-tuned" => &[Ext4, Vfat, F2fs],
        _ => &[Ext4, Vfat],
    }
}

/// The ones with a journal or a log.
fn dirty_ones(kernel: &str) -> &'static [FileSystem] {
    match kernel {
        "arm64-6.12" | "arm64-7" => &[Ext4, F2fs, Xfs, Btrfs],
        "arm64-tuned" => &[Ext4, F2fs],
        _ => &[Ext4],
    }
}

fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(hash.finalize().into())
}

/// Boots an image that is a file.
fn file(kernel: &Kernel, place: Place, append: &str) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(place, Handover::Mounted))?;
    let disk = parts.disk(&[PARTNAME])?;
    from_disk(kernel, &parts, &disk, append)
}

/// Boots from a disk that could be written to, and is not.
fn from_disk(kernel: &Kernel, parts: &Parts, disk: &Path, append: &str) -> Result<()> {
    let mut boot = Boot::new(kernel, parts.initrd()?);
    boot.disks.push(disk.to_owned());
    boot.writable = true;
    boot.append = format!("{append} guest=reread").into();
    let before = digest(disk)?;
    let ours = boot.run()?;
    let check = || -> Result<()> {
        reached(&ours)?;
        equal("the disk is as it was", &(digest(disk)? == before), &true)?;
        attached(kernel, ours.reported()?)
    };
    check().map_err(|error| ours.failure(&error.to_string()))
}

/// The next init runs in a whole and writable root with the image's content.
fn reached(ours: &Outcome) -> Result<()> {
    let found = ours.reported()?;
    mounts(found, Handover::Mounted)?;
    writable(found)?;
    record(found)?;
    let large: Vec<u8> = (0..25_000_u32).flat_map(u32::to_le_bytes).collect();
    let line = format!("100755 0 0 {} {:08x} /usr/bin/large", large.len(), crc32(&large));
    equal("a file of the image", &content_of(found, &mount_points(found)).contains(&line), &true)?;
    equal("failures on the console", &ours.console.contains(" failed: "), &false)
}

/// How the kernel reads the file: by itself where it can without a cache in between (`directio` of erofs, in 6.12's stable series), else
/// by a loop device without one.
fn attached(kernel: &Kernel, found: &Report) -> Result<()> {
    let loops: Vec<String> = found.lines("block").iter().filter(|line| line.contains(" dio ")).cloned().collect();
    let expected: &[&str] = if kernel.name.ends_with("-6.1") { &["loop0 dio 1"] } else { &[] };
    equal("loop devices", &loops, &expected.iter().map(|line| (*line).to_owned()).collect())
}

/// Boots an image from a file system that was written to when the power failed, and leaves it just so.
fn dirty(kernel: &Kernel, kind: FileSystem) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(Place::File(kind), Handover::Mounted))?;
    let held = disk::list(&parts.disk(&[PARTNAME])?)?;
    // First it is where a boot keeps what it writes: switched off while it is mounted.
    let spec = Spec { upper: Some(kind), ..Spec::new(Place::Initramfs, Handover::Mounted) };
    let mut writer = make(kernel, &content::guest(kernel)?, &spec)?;
    writer.upper = Some(parts.folder.path().join("holder.img"));
    let mut boot = Boot::new(kernel, writer.initrd()?);
    let disk = writer.disk(&[])?;
    boot.disks.push(disk.clone());
    boot.writable = true;
    boot.append = "guest=keep".into();
    let wrote = boot.run()?;
    equal("kept", &wrote.reported()?.lines("kept").join(" "), &String::new())?;
    let image = parts.folder.path().join("dirty.img");
    let partition = held.first().ok_or("no partition on the disk")?;
    copy_part(&disk, partition.start, partition.bytes, &image)?;
    let clean = digest(&parts.folder.path().join("holder.img"))?;
    equal("something was written", &(digest(&image)? != clean), &true)?;
    let disk = parts.disk_of(&[Partition { name: PARTNAME.into(), uuid: None, image }])?;
    from_disk(kernel, &parts, &disk, "")
}

fn copy_part(from: &Path, start: u64, bytes: u64, to: &Path) -> Result<()> {
    let mut file = std::fs::File::open(from)?;
    file.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut file.take(bytes), &mut std::fs::File::create(to)?)?;
    Ok(())
}

/// Boots three times from one disk: what the first has written is there in the second, and gone once it is reset.
fn kept(kernel: &Kernel, kind: FileSystem, mode: Mode) -> Result<()> {
    let parts = make(kernel, &content_for(kernel, mode)?, &Spec { upper: Some(kind), ..spec_for(mode) })?;
    let disk = parts.disk(&[PARTNAME])?;
    let words = ["", "", "initoverlayfs.upper=reset"];
    for (append, expected) in words.into_iter().zip(["", "written by an earlier boot", ""]) {
        let mut boot = Boot::new(kernel, parts.initrd()?);
        boot.disks.push(disk.clone());
        boot.writable = true;
        boot.append = format!("{append} guest=keep").into();
        let ours = boot.run()?;
        let check = || -> Result<()> {
            let found = ours.reported()?;
            equal("kept", &found.lines("kept").join(" "), &expected.to_owned())?;
            // What was removed from the image is gone for the second boot too, and back for the third.
            if expected.is_empty() {
                writable(found)?;
            }
            mounts(found, Handover::Mounted)?;
            record(found)
        };
        check().map_err(|error| ours.failure(&error.to_string()))?;
    }
    Ok(())
}

/// The content goes on to another root: the image is not mounted any more, its devices are free, its memory too.
fn left(kernel: &Kernel, spec: &Spec) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, spec)?;
    let mut boot = Boot::new(kernel, parts.initrd()?);
    if !matches!(spec.place, Place::Initramfs) {
        boot.disks.push(parts.disk(&[PARTNAME])?);
        boot.writable = true;
    }
    boot.append = "guest=leave".into();
    let ours = boot.run()?;
    ours.left().map_err(|error| ours.failure(&error.to_string()))
}

/// The image is the final root, what is written to it in memory.
fn root(kernel: &Kernel) -> Result<()> {
    let parts = make(kernel, &content_for(kernel, Mode::Root)?, &spec_for(Mode::Root))?;
    let ours = super::boot(kernel, &parts, Place::Partition, "guest=reread")?;
    reached(&ours).map_err(|error| ours.failure(&error.to_string()))
}

fn spec_for(mode: Mode) -> Spec {
    let next_init = if mode == Mode::Root { "/sbin/init" } else { "/init" };
    Spec { mode, next_init: next_init.into(), ..Spec::new(Place::Partition, Handover::Mounted) }
}

/// The guest, in mode root where a distribution has its init.
fn content_for(kernel: &Kernel, mode: Mode) -> Result<Vec<Entry>> {
    let mut content = content::guest(kernel)?;
    if mode == Mode::Root {
        content.iter_mut().filter(|entry| entry.path == "init").for_each(|entry| entry.path = "usr/sbin/init".into());
        content.extend([Entry::folder("usr/sbin"), Entry::link("sbin", "usr/sbin")]);
        content.sort_by(|one, other| one.path.cmp(&other.path));
    }
    Ok(content)
}

/// Boots an image that lies in memory, without a disk.
fn memory(kernel: &Kernel) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(Place::Memory, Handover::Mounted))?;
    let mut boot = Boot::new(kernel, parts.initrd()?);
    boot.memory_mib = 1024;
    boot.placed = Some((parts.erofs.clone(), ADDRESS));
    boot.append = "guest=reread".into();
    let ours = boot.run()?;
    let check = || -> Result<()> {
        reached(&ours)?;
        // Said by a kernel that could, if it does not.
        equal("DAX unsupported", &ours.console.contains("DAX unsupported"), &false)?;
        // Debian's 6.1 has no CONFIG_FS_DAX: the memory is read as a disk.
        let without = ours.console.contains("initoverlayfs: EROFS without dax=always");
        equal("without DAX", &without, &(kernel.name == "arm64-6.1"))
    };
    check().map_err(|error| ours.failure(&error.to_string()))
}

/// Boots from the one logical unit that is named; another with the same partition is never looked at.
fn scsi(kernel: &Kernel) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(Place::Scsi, Handover::Mounted))?;
    let mut boot = Boot::new(kernel, parts.initrd()?);
    let disk = parts.disk(&[PARTNAME])?;
    let bus = if content::bus(kernel) == "virtio_pci" { "pci" } else { "device" };
    boot.extra = vec!["-device".into(), format!("virtio-scsi-{bus},id=scsi").into()];
    for (id, lun) in [(0, 1), (0, 2), (1, 0)] {
        let unit = format!("unit{id}{lun}");
        let drive = format!("if=none,format=raw,readonly=on,file.locking=off,id={unit},file={}", disk.display());
        let device = format!("scsi-hd,bus=scsi.0,channel=0,scsi-id={id},lun={lun},drive={unit}");
        boot.extra.extend(["-drive".into(), drive.into(), "-device".into(), device.into()]);
    }
    let append = if kernel.modules.is_none() { "scsi_mod.scan=manual" } else { "" };
    boot.append = format!("{append} guest=reread").into();
    let ours = boot.run()?;
    let check = || -> Result<()> {
        reached(&ours)?;
        equal("logical units", &ours.reported()?.lines("scsi").join(" "), &LUN.to_owned())
    };
    check().map_err(|error| ours.failure(&error.to_string()))
}
