//! Disks that come and go while the machine runs, and more kernel events than anybody reads meanwhile.

use crate::case::{Disk, Expected, On, Scene, refused};
use crate::device::{GUID, known_as};
use bootstrap::Step::{Device as Find, SwitchRoot};
use bootstrap::plan::{List, MAX_BYTES};
use imagegen::board;
use imagegen::disk::Partition;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::boot::{Action, Boot};
use tests::image::{PARTNAME, PLAN};
use tests::{Result, equal};

/// How late a late device is.
const LATE: Duration = Duration::from_secs(5);

/// The disk is plugged in five seconds after the last module: the event of its partition ends the waiting.
pub fn late(on: &On, known: Option<board::Device>) -> Result<Scene> {
    let parts = match known {
        Some(device) => known_as(on, device)?,
        None => on.parts()?,
    };
    let mut parts = parts;
    let bytes = parts.member(PLAN)?;
    let mut plan = bootstrap::plan::open(&bytes)?;
    let patient = plan.slots.into_iter().map(|mut slot| {
        if let bootstrap::plan::Source::Partition { device, .. } = &mut slot.source {
            device.deadline_ms = 30_000;
        }
        slot
    });
    let mut buffer = vec![0; MAX_BYTES];
    plan.slots = List::encode(patient, &mut buffer)?;
    parts.set_plan(&plan)?;
    let partition = Partition { name: PARTNAME.into(), uuid: Some(GUID), image: parts.erofs.clone() };
    let disk = parts.disk_of(&[partition])?;
    Ok(plugged(Scene::new(on, parts, Expected::Boots), disk).and(|outcome| {
        outcome.reported()?;
        let half = u64::try_from(LATE.as_micros())? / 2;
        let waited = outcome.log.rows.iter().any(|row| row.name == "device" && row.duration_us > half);
        if waited { Ok(()) } else { Err("the device was there before bootstrap waited for it".into()) }
    }))
}

/// A scene whose disk comes late.
fn plugged(mut scene: Scene, disk: PathBuf) -> Scene {
    let socket = scene.parts.folder.path().join("qmp");
    scene.disk = Disk::None;
    scene.change = Some(Box::new(move |boot| {
        attach(boot, &disk, &socket);
        boot.on_text = Some(("initoverlayfs: module overlay".into(), Action::new(move || plug(&socket))));
    }));
    scene
}

/// Two partitions that fit come at once: the event of the first does not decide between them.
pub fn late_two(on: &On) -> Result<Scene> {
    let scene = late(on, None)?;
    let disk = scene.parts.disk(&[PARTNAME, PARTNAME])?;
    // ENOTUNIQ
    let expected = refused(Find, "more than one device fits: PARTNAME=initoverlayfs: vda", 76);
    Ok(plugged(Scene { expected, waits_ms: 30_000, check: None, ..scene }, disk))
}

/// A late device by its GPT's GUID.
pub fn late_part_uuid(on: &On) -> Result<Scene> {
    late(on, Some(board::Device::PartUuid(GUID)))
}

/// The disk is plugged in while the processor is busy with events that nobody reads in time: bootstrap's socket overflows, and what
/// it lost it finds in sysfs.
pub fn flood(on: &On) -> Result<Scene> {
    let mut scene = late(on, None)?.with(b"sabotage=flood");
    scene.parts.sabotage()?;
    let waited = scene.check.take();
    Ok(scene.and(move |outcome| {
        let said = outcome.console.lines().find_map(|line| line.split_once("saboteur: ")?.1.split_once(" events lost"));
        let lost: u64 = said.ok_or("the saboteur does not say how many events were lost")?.0.parse()?;
        if lost == 0 {
            return Err("no event was lost".into());
        }
        // Not at the last look, at the deadline of 30 s.
        let soon = outcome.log.rows.iter().any(|row| row.name == "device" && row.duration_us < 25_000_000);
        equal("the loss led to a look", &soon, &true)?;
        waited.as_ref().map_or(Ok(()), |waited| waited(outcome))
    }))
}

/// The disk in a port that it can be pulled out of, which `action` does at `text`.
fn pluggable(mut scene: Scene, text: &str) -> Result<Scene> {
    let disk = scene.parts.disk(&[PARTNAME])?;
    let socket = scene.parts.folder.path().join("qmp");
    let text = text.to_owned();
    scene.disk = Disk::None;
    scene.change = Some(Box::new(move |boot| {
        attach(boot, &disk, &socket);
        boot.extra.extend(["-device", "virtio-blk-pci,drive=late,id=pulled,bus=late-port"].map(OsString::from));
        let pull = r#"{"execute":"device_del","arguments":{"id":"pulled"}}"#;
        boot.on_text = Some((text, Action::new(move || command(&socket, pull))));
    }));
    Ok(scene)
}

/// The disk is gone behind the mount, before the switch: the next init cannot be looked up.
pub fn gone_before_the_switch(on: &On) -> Result<Scene> {
    let mut scene = Scene::new(on, on.parts()?, refused(SwitchRoot, "", 5)).with(b"sabotage=pause:mount");
    scene.parts.sabotage()?;
    // The port's light blinks for five seconds first (drivers/pci/hotplug/pciehp_ctrl.c).
    scene.waits_ms = 30_000;
    let scene = pluggable(scene, "saboteur: bootstrap is paused")?;
    Ok(scene.and(|outcome| equal("the disk went", &outcome.console.contains("saboteur: a disk is gone"), &true)))
}

/// The disk is gone when the next init runs: what is not in memory yet cannot be read, and that is all.
pub fn gone_behind_the_switch(on: &On) -> Result<Scene> {
    let scene = Scene::new(on, on.parts()?, Expected::Boots).with(b"guest=removal guest=reread");
    let scene = pluggable(scene, "guest: waits for a disk to go")?;
    Ok(scene.and(|outcome| {
        // Its size or its content: whatever was read first.
        let read = |line: &&String| line.ends_with(" /usr/bin/large") && !line.contains(" 00000000 ");
        equal("large was read", &outcome.reported()?.lines("content").iter().find(read), &None)
    }))
}

/// A drive with the disk, a port for it, and a way to command QEMU.
fn attach(boot: &mut Boot<'_>, disk: &Path, socket: &Path) {
    let drive = format!("if=none,format=raw,readonly=on,id=late,file={}", disk.display());
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    boot.extra =
        ["-drive", &drive, "-qmp", &qmp, "-device", "pcie-root-port,id=late-port,chassis=1"].map(OsString::from).into();
}

/// Adds the disk to a running QEMU, late: the delay is the fault under test.
fn plug(socket: &Path) -> Result<()> {
    std::thread::sleep(LATE);
    let add = r#"{"execute":"device_add","arguments":{"driver":"virtio-blk-pci","drive":"late","bus":"late-port"}}"#;
    command(socket, add)
}

/// Has QEMU carry out a command.
fn command(socket: &Path, wanted: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    for command in [r#"{"execute":"qmp_capabilities"}"#, wanted] {
        writeln!(stream, "{command}")?;
        line.clear();
        while !line.contains("\"return\"") {
            if line.contains("\"error\"") {
                return Err(format!("QEMU refused {command}: {line}").into());
            }
            line.clear();
            reader.read_line(&mut line)?;
        }
    }
    Ok(())
}
