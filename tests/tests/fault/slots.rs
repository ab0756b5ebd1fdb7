//! Two slots, the first bad in every way: the second boots, from a clean start, and the record says so.

use crate::case::{Disk, Expected, On, Scene, refused};
use crate::image::{field, with_checksum};
use bootstrap::Step::{self, Device as Find, Exec, Mount, SwitchRoot};
use bootstrap::plan::{self, Device, Handover, Image, List, Slot, Source, Wanted};
use imagegen::disk::Partition;
use tests::boot::Outcome;
use tests::cpio::Entry;
use tests::image::{Identity, PARTNAME, PLAN, Place, Spec, make};
use tests::{Result, content, equal};

/// Partition of the bad image, and file of it.
const BAD: &str = "bad";
const BAD_PATH: &str = "/bad.erofs";
/// As long as the bad slot's device may take.
const WAIT_MS: u32 = 500;

/// How the first slot is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// No device, no file.
    Missing,
    /// Two partitions have its name.
    Twice,
    /// No superblock.
    Zeros,
    /// Half of it is there.
    Cut,
    /// Written to the half.
    Unfinished,
    /// Another image than the plan's.
    Another,
    /// Refused by the kernel.
    Checksum,
    /// Nothing to start.
    NoInit,
    /// Nothing executable to start.
    NotExecutable,
    /// Nowhere to move /run to.
    NoMountPoint,
}

impl Bad {
    /// The failure of the first slot.
    fn failure(self, place: Place) -> (Step, &'static str, u32) {
        match (self, place) {
            (Bad::Missing, Place::Initramfs) => (Find, "cannot open: /bad.erofs", 2),
            (Bad::Missing, _) => (Find, "device did not appear: PARTNAME=bad", 110),
            (Bad::Twice, _) => (Find, "more than one device fits: PARTNAME=bad", 76),
            (Bad::Zeros, _) => (Mount, "no EROFS superblock", 22),
            (Bad::Cut, _) => (Mount, "EROFS image is truncated", 22),
            (Bad::Unfinished, _) => (Mount, "end of the EROFS image is wrong", 22),
            (Bad::Another, _) => (Mount, "not the image of this plan", 22),
            (Bad::Checksum, _) => (Mount, "cannot mount EROFS", 74),
            (Bad::NoInit, _) => (SwitchRoot, "next init is missing", 2),
            (Bad::NotExecutable, _) => (SwitchRoot, "next init is not an executable file", 13),
            (Bad::NoMountPoint, _) => (SwitchRoot, "cannot move /dev, /proc, /sys or /run", 2),
        }
    }

    /// The content of the bad slot's image.
    fn content(self, on: &On) -> Result<Vec<Entry>> {
        let mut content = content::guest(&on.kernel)?;
        match self {
            Bad::NoInit => content.retain(|entry| entry.path != "init"),
            Bad::NotExecutable => {
                content.retain(|entry| entry.path != "init");
                content.push(Entry::file("init", 0o644, "no program"));
            }
            Bad::NoMountPoint => content.retain(|entry| entry.path != "run"),
            _ => (),
        }
        // It must never be what boots.
        content.push(Entry::file("etc/of-the-bad-slot", 0o600, "x"));
        Ok(content)
    }

    /// What the next init of either slot finds: that there is no place for it is only seen where it is put there.
    fn handover(self) -> Handover {
        if self == Bad::NoMountPoint { Handover::Mounted } else { Handover::Kernel }
    }

    /// What is wrong with its bytes.
    fn spoil(self, image: &mut Vec<u8>) -> Result<()> {
        match self {
            Bad::Zeros => image.fill(0),
            Bad::Cut => image.truncate((image.len() / 2) & !4095),
            Bad::Unfinished => {
                let half = image.len() / 2;
                image[half..].fill(0);
            }
            Bad::Another => with_checksum(image, |superblock| superblock[field::UUID] ^= 1)?,
            Bad::Checksum => image[1024 + field::CHECKSUM] ^= 1,
            _ => (),
        }
        Ok(())
    }
}

/// A scene with a bad slot `a` and a good slot `b`; `both` makes the second the same bad one.
fn scene(on: &On, bad: Bad, both: bool, expected: Expected) -> Result<Scene> {
    scene_of(on, on.spec(), bad, both, expected)
}

/// The same of this spec.
fn scene_of(on: &On, mut spec: Spec, bad: Bad, both: bool, expected: Expected) -> Result<Scene> {
    spec.extras = vec!["/etc/allowed".into()];
    spec.handover = bad.handover();
    let mut parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    let mut image = std::fs::read(make(&on.kernel, &bad.content(on)?, &spec)?.erofs)?;
    let identity = Identity::of(&image)?;
    bad.spoil(&mut image)?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let source = match on.place {
        Place::Initramfs => Source::Initramfs { path: BAD_PATH },
        _ => {
            let (device, words) = (Device::PartName(BAD), "PARTNAME=bad");
            let device = Wanted { device, words, hint: None, deadline_ms: WAIT_MS, lun: None };
            Source::Partition { device, options: "" }
        }
    };
    let pin = matches!(bad, Bad::Unfinished | Bad::Another);
    let first = Slot { name: "a", source, image: if pin { identity.pin() } else { Image::Any } };
    let good = plan.slots.into_iter().next().ok_or("a plan without a slot")?;
    let second = Slot { name: "b", ..if both { first.clone() } else { good } };
    let mut buffer = vec![0; plan::MAX_BYTES];
    plan.slots = List::encode([first, second], &mut buffer)?;
    parts.set_plan(&plan)?;
    let file = parts.folder.path().join("bad.erofs");
    std::fs::write(&file, &image)?;
    if on.place == Place::Initramfs && bad != Bad::Missing {
        parts.replace(BAD_PATH.trim_start_matches('/'), 0o644, image);
    }
    let named = |name: &str, image| Partition { name: name.into(), uuid: None, image };
    let mut partitions = match bad {
        Bad::Missing => Vec::new(),
        Bad::Twice => vec![named(BAD, file.clone()), named(BAD, file)],
        _ => vec![named(BAD, file)],
    };
    partitions.push(named(PARTNAME, parts.erofs.clone()));
    let mut scene = Scene::new(on, parts, expected).with(b"guest=reread");
    if on.place == Place::Partition {
        scene.disk = Disk::File(scene.parts.disk_of(&partitions)?);
    }
    Ok(scene)
}

/// The first is bad, the second boots.
pub fn first_bad(on: &On, bad: Bad) -> Result<Scene> {
    let (step, cause, errno) = bad.failure(on.place);
    let check = move |outcome: &Outcome| {
        let failures = &crate::case::said(outcome).failures;
        let right = matches!(failures.as_slice(), [(s, c, e)] if *s == step && c.contains(cause) && *e == errno);
        equal(&format!("{failures:?} is {step} failed: {cause} (errno {errno})"), &right, &true)?;
        let said = outcome.console.contains("initoverlayfs: slot a refused");
        equal("slot a refused on the console", &said, &true)?;
        booted(outcome, 1, bad.handover(), &[(step, 0, errno)])
    };
    Ok(scene(on, bad, false, Expected::Boots)?.and(check))
}

/// What booted is slot `index`, mounted once, and the record holds these failures.
fn booted(outcome: &Outcome, index: u8, handover: Handover, failures: &[(Step, u8, u32)]) -> Result<()> {
    let report = outcome.reported()?;
    let record = bootstrap::record::open(&report.record()?)?;
    equal("slot of the record", &record.slot, &Some(index))?;
    let failed = record.events.iter().filter(|event| event.errno != 0);
    let failed: Vec<_> = failed.map(|event| (event.step, event.item, u32::from(event.errno))).collect();
    equal("failures of the record", &failed, &failures.to_vec())?;
    let moved = ["/dev devtmpfs dev", "/proc proc proc", "/run tmpfs run", "/sys sysfs sysfs"];
    let moved = if handover == Handover::Mounted { &moved[..] } else { &[] };
    let mounts: Vec<String> = report.mounts().into_iter().collect();
    equal("mounts", &mounts, &["/ overlay overlay"].iter().chain(moved).map(|mount| (*mount).to_owned()).collect())?;
    let of_bad = report.lines("content").iter().any(|line| line.ends_with("/etc/of-the-bad-slot"));
    equal("a file of the bad slot", &of_bad, &false)
}

/// Both are bad: the last failure, then the policy.
pub fn both_bad(on: &On, bad: Bad) -> Result<Scene> {
    let (step, cause, errno) = bad.failure(on.place);
    let check = |outcome: &Outcome| {
        let refused = ["slot a refused", "slot b refused"].map(|line| outcome.console.contains(line));
        equal("both slots were tried", &refused, &[true, true])
    };
    Ok(scene(on, bad, true, refused(step, cause, errno))?.and(check))
}

/// The bootloader names the second: the first is not even looked at.
pub fn named(on: &On) -> Result<Scene> {
    let check = |outcome: &Outcome| booted(outcome, 1, Handover::Kernel, &[]);
    Ok(scene(on, Bad::NoInit, false, Expected::Boots)?.with(b"guest=reread initoverlayfs.slot=b").and(check))
}

/// The bootloader names one that is not there: the plan's order counts, and the full program says so.
pub fn named_unknown(on: &On, full: bool) -> Result<Scene> {
    let check = move |outcome: &Outcome| {
        let said = outcome.console.contains("initoverlayfs: no slot c d in the plan");
        // Some kernels have the full program in any case.
        equal("the unknown slot is said", &(said || !full), &true)?;
        booted(outcome, 1, Handover::Kernel, &[(SwitchRoot, 0, 2)])
    };
    let spec = Spec { full, ..on.spec() };
    Ok(scene_of(on, spec, Bad::NoInit, false, Expected::Boots)?
        .with(b"guest=reread initoverlayfs.slot=\"c d\"")
        .and(check))
}

/// Execve refuses the first's next init after the switch, where there is no way back: the policy follows.
pub fn no_way_back(on: &On) -> Result<Scene> {
    let mut scene = scene(on, Bad::Zeros, false, refused(Exec, "cannot start the next init", 8))?;
    let mut content = content::guest(&on.kernel)?;
    content.retain(|entry| entry.path != "init");
    content.push(Entry::file("init", 0o755, "no program"));
    let other = make(&on.kernel, &content, &on.spec())?;
    match on.place {
        Place::Initramfs => scene.parts.replace(BAD_PATH.trim_start_matches('/'), 0o644, std::fs::read(&other.erofs)?),
        _ => {
            let good = scene.parts.erofs.clone();
            let named = |name: &str, image| Partition { name: name.into(), uuid: None, image };
            scene.disk = Disk::File(scene.parts.disk_of(&[named(BAD, other.erofs), named(PARTNAME, good)])?);
        }
    }
    Ok(scene)
}
