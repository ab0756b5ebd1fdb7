//! Images in file systems, on SCSI units and in memory, and what is written kept: booted by every kernel that can.

use super::{Check, content_of, mount_points, mounts, record, writable};
use bootstrap::crc::crc32;
use bootstrap::plan::{Handover, Mode};
use imagegen::board::FileSystem::{self, Btrfs, Ext4, F2fs, Vfat, Xfs};
use sha2::{Digest, Sha256};
use std::path::Path;
use tests::boot::{Boot, Outcome};
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
    if kernel.arch == "aarch64" {
        add("memory", Box::new(memory));
    }
    add("scsi", Box::new(scsi));
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

fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(hash.finalize().into())
}

/// Boots an image that is a file, from a disk that could be written to, and was not.
fn file(kernel: &Kernel, place: Place, append: &str) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(place, Handover::Mounted))?;
    let mut boot = Boot::new(kernel, parts.initrd()?);
    let disk = parts.disk(&[PARTNAME])?;
    boot.disks.push(disk.clone());
    boot.writable = true;
    boot.append = format!("{append} guest=reread").into();
    let before = digest(&disk)?;
    let ours = boot.run()?;
    let check = || -> Result<()> {
        reached(&ours)?;
        equal("the disk is as it was", &(digest(&disk)? == before), &true)?;
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
        // Read where it lies, where the kernel can: no page of it is cached.
        let dax = !ours.console.contains("DAX unsupported");
        equal("DAX", &dax, &(kernel.name != "arm64-6.1"))
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
