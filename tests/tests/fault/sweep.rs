//! Faults with a place on a scale, each of which is booted: memory that ends a little sooner, a disk that dies a read later.

use crate::case::{Expected, On, Rest, Scene, at_rest, said};
use crate::results::{self, Row};
use imagegen::boot::qemu::End;
use libtest_mimic::Trial;
use std::ffi::OsString;
use std::time::Duration;
use tests::boot::{Boot, Outcome};
use tests::image::{PARTNAME, Place};
use tests::kernel::get;
use tests::{Result, equal};

/// A boot takes two or three seconds.
const DEADLINE: Duration = Duration::from_secs(60);
const KERNEL: &str = "arm64-tuned";
/// How much memory is free when bootstrap starts, in KiB. Near the first the kernel is out of memory for the saboteur already.
const FREE_KIB: [u64; 13] = [1000, 1040, 1080, 1120, 1160, 1200, 1240, 1280, 1320, 1400, 1500, 2048, 4096];
/// Reads that a disk still answers. The kernel's search for partitions takes the first; bootstrap and the mount the next.
const READS: [u32; 24] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 23, 26, 30, 40, 60];

/// The rows.
pub fn trials(matrix: bool) -> Vec<Trial> {
    let step = if matrix { 1 } else { 3 };
    let memory = move || FREE_KIB.iter().step_by(step).try_for_each(|kib| memory_ends(*kib));
    let disk = move || READS.iter().step_by(step).try_for_each(|reads| disk_dies(*reads));
    vec![
        Trial::test(format!("memory_ends {KERNEL} partition"), move || memory().map_err(Into::into)),
        Trial::test(format!("disk_dies {KERNEL} partition"), move || disk().map_err(Into::into)),
    ]
}

/// Memory ends at whatever bootstrap does next.
///
/// The kernel does not let a small request of PID 1 fail: it looks for a process to kill, finds none but init, and panics
/// (`out_of_memory()`, mm/oom_kill.c: "System is deadlocked on memory"). No program can keep it from that; with `panic=` on the
/// command line, as here, the machine restarts all the same. What must not be is a hang, or a half boot.
fn memory_ends(kib: u64) -> Result<()> {
    let on = On { kernel: get(KERNEL)?, place: Place::Partition };
    let mut scene = Scene::new(&on, on.parts()?, Expected::Boots);
    scene.parts.sabotage()?;
    let mut boot = Boot::new(&on.kernel, scene.parts.initrd()?);
    boot.disks.push(scene.parts.disk(&[PARTNAME])?);
    boot.append = format!("sabotage=fill:{kib}").into();
    boot.memory_mib = 64;
    boot.deadline = DEADLINE;
    let outcome = boot.run()?;
    let filled = kib < 2048 || outcome.console.contains("saboteur: ");
    let result = equal("memory was filled", &filled, &true).and_then(|()| well(&outcome, kib < 2048));
    note(&on, format!("memory_ends_after_{kib:04}_kib"), &outcome, result)
}

/// The disk answers `reads` times and never again.
fn disk_dies(reads: u32) -> Result<()> {
    let on = On { kernel: get(KERNEL)?, place: Place::Partition };
    let scene = Scene::new(&on, on.parts()?, Expected::Boots);
    let disk = scene.parts.disk(&[PARTNAME])?;
    let mut boot = Boot::new(&on.kernel, scene.parts.initrd()?);
    let rules = scene.parts.folder.path().join("rules");
    std::fs::write(&rules, dying(reads))?;
    let drive = format!(
        "if=none,id=bad,readonly=on,driver=raw,file.driver=blkdebug,file.config={},file.image.filename={}",
        rules.display(),
        disk.display()
    );
    boot.extra.extend(["-drive", &drive, "-device", "virtio-blk-device,drive=bad"].map(OsString::from));
    boot.deadline = DEADLINE;
    let outcome = boot.run()?;
    let result = well(&outcome, false);
    note(&on, format!("disk_dies_after_{reads:02}_reads"), &outcome, result)
}

/// Rules of QEMU's blkdebug: every read of the disk leads to the next state, and in the last every read fails.
fn dying(reads: u32) -> String {
    let mut rules = String::new();
    for state in 1..=reads {
        rules += &format!("[set-state]\nevent = \"read_aio\"\nstate = \"{state}\"\nnew_state = \"{}\"\n", state + 1);
    }
    rules + &format!("[inject-error]\nevent = \"read_aio\"\nstate = \"{}\"\nerrno = \"5\"\n", reads + 1)
}

/// Whether the next init was started, or a step has failed by name and the policy followed; or, where memory may be out, the
/// kernel said so and restarted.
fn well(outcome: &Outcome, may_be_out: bool) -> Result<()> {
    let log = said(outcome);
    if log.next_init_ran() {
        // What becomes of it then is its own matter: of a disk that dies under its first page, too, the kernel only learns
        // once execve has done away with bootstrap.
        return Ok(());
    }
    if outcome.end != End::Exited(true) {
        return Err("it hangs".into());
    }
    if may_be_out && outcome.console.contains("System is deadlocked on memory") {
        return Ok(());
    }
    match log.failures.as_slice() {
        [(step, _, errno)] if *errno != 0 => at_rest(outcome, &log, *step, Rest::Reboot).map_err(Into::into),
        failures => Err(format!("{} failures", failures.len()).into()),
    }
}

fn note(on: &On, name: String, outcome: &Outcome, result: Result<()>) -> Result<()> {
    results::note(Row {
        name: name.clone(),
        source: on.place.name(),
        kernel: on.kernel.name.clone(),
        arch: on.kernel.arch.clone(),
        expected: "boots, or a step is named".into(),
        seen: results::seen(outcome),
        ms: outcome.took.as_millis().try_into().unwrap_or(u64::MAX),
        ok: result.is_ok(),
    });
    result.map_err(|error| outcome.failure(&format!("{name}: {error}")))
}
