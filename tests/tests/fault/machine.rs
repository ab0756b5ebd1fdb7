//! What the machine does beside the plan: disks that fail or crawl, more events than anybody reads, a clock that lost its
//! battery, a watchdog, memory that outlives a restart.

use crate::case::{Disk, Expected, On, Scene, refused};
use crate::verity::unreadable;
use bootstrap::Step::{Device, Mount};
use bootstrap::plan::{self, Watchdog};
use imagegen::boot::qemu::End;
use imagegen::disk::Partition;
use std::ffi::OsString;
use std::path::Path;
use tests::boot::{Boot, Outcome};
use tests::image::{PARTNAME, PLAN, make};
use tests::{Result, content, equal};

const EIO: u32 = 5;
/// Where the first partition of a disk of ours starts, in bytes.
const PARTITION: u64 = 1 << 20;

/// Attaches the disk by QEMU's block layer, with `options` of a drive.
fn drive(on: &On, boot: &mut Boot<'_>, options: &str) {
    let bus = if content::bus(&on.kernel) == "virtio_mmio" { "device" } else { "pci" };
    let device = format!("virtio-blk-{bus},drive=bad");
    boot.extra
        .extend(["-drive", &format!("if=none,id=bad,readonly=on,{options}"), "-device", &device].map(OsString::from));
}

/// Reading the sector that holds byte `at` of the image fails.
fn unreadable_sector(on: &On, at: u64, expected: Expected) -> Result<Scene> {
    let parts = on.parts()?;
    let disk = parts.disk(&[PARTNAME])?;
    let sector = (PARTITION + at) / 512;
    let mut scene = Scene::new(on, parts, expected);
    scene.disk = Disk::None;
    let on = on.clone();
    scene.change = Some(Box::new(move |boot| {
        let fails = format!(
            "file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector={sector}"
        );
        let file = format!("file.driver=blkdebug,file.image.filename={}", disk.display());
        drive(&on, boot, &format!("driver=raw,{file},{fails},file.inject-error.0.errno=5"));
    }));
    Ok(scene)
}

/// The superblock cannot be read.
pub fn superblock_unreadable(on: &On) -> Result<Scene> {
    unreadable_sector(on, 1024, refused(Mount, "cannot read the image", EIO))
}

/// A file cannot be read: the boot goes on without it.
pub fn file_unreadable(on: &On) -> Result<Scene> {
    let image = std::fs::read(on.parts()?.erofs)?;
    let words: Vec<u8> = (24_000..24_016_u32).flat_map(u32::to_le_bytes).collect();
    let at = image.windows(words.len()).position(|window| window == words).ok_or("large is not in the image")?;
    let scene = unreadable_sector(on, at as u64, Expected::Boots)?.with(b"guest=reread");
    Ok(scene
        .and(|outcome| equal("files that cannot be read", &unreadable(outcome)?, &vec!["/usr/bin/large".to_owned()])))
}

/// Twenty requests a second.
pub fn slow_disk(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let disk = parts.disk(&[PARTNAME])?;
    let mut scene = Scene::new(on, parts, Expected::Boots);
    scene.disk = Disk::None;
    let on = on.clone();
    scene.change = Some(Box::new(move |boot| {
        drive(&on, boot, &format!("format=raw,file={},throttling.iops-total=20", disk.display()));
    }));
    Ok(scene)
}

/// Six hundred partitions come up while bootstrap looks for the last of them.
pub fn flood(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let folder = parts.folder.path();
    let small = folder.join("small");
    std::fs::write(&small, [0; 512])?;
    let named = |name: String, image: &Path| Partition { name, uuid: None, image: image.into() };
    for number in 0..5 {
        let mut partitions: Vec<_> = (0..120).map(|index| named(format!("{number}-{index}"), &small)).collect();
        if number == 4 {
            partitions.push(named(PARTNAME.into(), &parts.erofs));
        }
        imagegen::disk::write(&folder.join(format!("disk{number}")), &[number; 16], &partitions, &mut |_| ())?;
    }
    let disks: Vec<_> = (0..5).map(|number| folder.join(format!("disk{number}"))).collect();
    let mut scene = Scene::new(on, parts, Expected::Boots);
    scene.disk = Disk::None;
    scene.change = Some(Box::new(move |boot| boot.disks = disks));
    Ok(scene)
}

/// No battery: it is 1970, and nothing here cares.
pub fn clock_at_1970(on: &On) -> Result<Scene> {
    let mut scene = Scene::new(on, on.parts()?, Expected::Boots);
    scene.change = Some(Box::new(|boot| boot.extra.extend(["-rtc", "base=1970-01-01"].map(OsString::from))));
    Ok(scene)
}

/// Parts whose plan starts a watchdog.
fn watched(on: &On, device: &str) -> Result<tests::image::Parts> {
    let mut spec = on.spec();
    let mut wanted = vec!["i6300esb", "virtio_pci", "erofs", "overlay"];
    wanted.extend(on.place.modules(&on.kernel));
    spec.modules = Some(content::modules(&on.kernel, &wanted)?);
    let mut parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    plan.watchdog = Some(Watchdog { device, timeout_s: 4 });
    parts.set_plan(&plan)?;
    Ok(parts)
}

/// The next init hangs: the watchdog that bootstrap started restarts the board.
pub fn watchdog_ends_a_hang(on: &On) -> Result<Scene> {
    let mut scene = Scene::new(on, watched(on, "watchdog0")?, Expected::Hangs).with(b"guest=hang");
    scene.change = Some(Box::new(|boot| boot.extra.extend(["-device", "i6300esb"].map(OsString::from))));
    Ok(scene.and(|outcome| {
        // QEMU is told not to restart: it ends.
        let reset = outcome.end == End::Exited(true) && !outcome.console.contains("reboot: ");
        if reset { Ok(()) } else { Err("nothing has restarted the board".into()) }
    }))
}

/// The board has no such watchdog: it boots, and says so.
pub fn watchdog_missing(on: &On) -> Result<Scene> {
    let scene = Scene::new(on, watched(on, "watchdog7")?, Expected::Boots);
    Ok(scene.and(|outcome| {
        let said = outcome.console.contains("modules failed: cannot start the watchdog: watchdog7 (errno 2)");
        equal("the log says that there is no watchdog", &said, &true)
    }))
}

/// The failure is found again in memory that outlives the restart, as pstore's next boot would find it.
pub fn kept_in_pstore(on: &On) -> Result<Scene> {
    let mut spec = on.spec();
    spec.full = true;
    let parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    let memory = parts.folder.path().join("memory");
    let mut scene = Scene::new(on, parts, refused(Device, "device did not appear", 110));
    scene.disk = Disk::None;
    // RAM starts at 1 GiB (hw/arm/virt.c); the kernel gets all but the last MiB.
    let line = "mem=511M ramoops.mem_address=0x5ff00000 ramoops.mem_size=0x100000 ramoops.pmsg_size=0x10000";
    scene.append = line.into();
    let file = memory.clone();
    scene.change = Some(Box::new(move |boot| {
        let backend = format!("memory-backend-file,id=ram,size=512M,share=on,mem-path={}", file.display());
        boot.extra.extend(["-object", &backend, "-machine", "memory-backend=ram"].map(OsString::from));
    }));
    Ok(scene.and(move |_| {
        let bytes = std::fs::read(&memory)?;
        let kept = bytes.get(511 << 20..).unwrap_or_default();
        let line = b"initoverlayfs: device failed (errno 110)";
        let found = kept.windows(line.len()).any(|window| window == line);
        equal("the failure is in the memory behind the kernel's", &found, &true)
    }))
}

/// What a developer needs to know stands in the log: devices, file systems, what was looked for.
pub fn helpful_log(on: &On) -> Result<Scene> {
    let mut spec = on.spec();
    spec.full = true;
    let parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    let disk = parts.disk(&["another"])?;
    let mut scene = Scene::new(on, parts, refused(Device, "device did not appear: PARTNAME=initoverlayfs", 110));
    scene.disk = Disk::File(disk);
    Ok(scene.and(|outcome: &Outcome| {
        let said = |text: &str| outcome.console.lines().any(|line| line.trim_end().contains(text));
        let all = said("initoverlayfs: device vda1 PARTNAME=another") && said("initoverlayfs: file systems ");
        equal("devices and file systems are said", &all, &true)
    }))
}
