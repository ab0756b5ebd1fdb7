//! Every system call of bootstrap fails, one at a time: out of memory at each step, and whatever else a kernel may say.
//!
//! The saboteur (tests/guest/src/saboteur) traces bootstrap and lets its N-th system call fail without carrying it out. A first
//! boot lists the calls and, by bootstrap's own lines between them, the step that each belongs to. Then either the boot
//! goes on to a whole root, or there is one line that names that step and that error, and the policy: no panic, no hang,
//! no unverified byte.
//!
//! A plain run lets one call of every step fail. With `FAULT_MATRIX=1` it is every call of the steps that a variant is for, with
//! ENOMEM and with EIO, and from the first of each number on all of that number.

use crate::case::{Disk, Expected, On, Rest, Scene, at_rest, said};
use crate::results::{self, Row};
use crate::{extras, holder, verity};
use bootstrap::Step;
use imagegen::board::FileSystem;
use imagegen::boot::console::{Event, parse};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::time::Duration;
use tests::boot::{Boot, Outcome};
use tests::image::{PARTNAME, Place};
use tests::kernel::get;
use tests::{Result, equal};

const ENOMEM: u32 = 12;
const EIO: u32 = 5;
/// A boot takes two or three seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// Numbers of include/uapi/asm-generic/unistd.h: the kernel's own `write`, `reboot` and `clock_gettime` do not fail with
/// these arguments. Without its clock a boot may not wait for its device; without `write` it cannot say so.
const CLOCK_GETTIME: u64 = 113;
const IOCTL: u64 = 29;
const CLOSE: u64 = 57;
const WRITE: u64 = 64;
const REBOOT: u64 = 142;
/// Names for the table of results.
const NAMES: [(u64, &str); 28] = [
    (IOCTL, "ioctl"),
    (34, "mkdirat"),
    (35, "unlinkat"),
    (38, "renameat"),
    (39, "umount2"),
    (40, "mount"),
    (44, "fstatfs"),
    (49, "chdir"),
    (51, "chroot"),
    (53, "fchmodat"),
    (54, "fchownat"),
    (56, "openat"),
    (CLOSE, "close"),
    (61, "getdents64"),
    (62, "lseek"),
    (63, "read"),
    (WRITE, "write"),
    (67, "pread64"),
    (73, "ppoll"),
    (79, "newfstatat"),
    (80, "fstat"),
    (CLOCK_GETTIME, "clock_gettime"),
    (REBOOT, "reboot"),
    (179, "sysinfo"),
    (198, "socket"),
    (221, "execve"),
    (273, "finit_module"),
    (437, "openat2"),
];

/// A boot whose calls fail.
struct Variant {
    name: &'static str,
    kernel: &'static str,
    place: Place,
    /// How the boot is set up, without the fault.
    scene: fn(&On) -> Result<Scene>,
    /// Steps in which a plain run lets a call fail, and the matrix every call; none: in the matrix, all there are.
    steps: &'static [Step],
    listed: OnceLock<std::result::Result<Vec<Call>, String>>,
}

/// A system call of bootstrap.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u64,
    /// None where a failure was said already.
    step: Option<Step>,
}

impl Call {
    fn name(self) -> String {
        let known = NAMES.iter().find(|(number, _)| *number == self.number);
        known.map_or_else(|| format!("call{}", self.number), |(_, name)| (*name).to_owned())
    }
}

const fn variant(
    name: &'static str,
    kernel: &'static str,
    place: Place,
    scene: fn(&On) -> Result<Scene>,
    steps: &'static [Step],
) -> Variant {
    Variant { name, kernel, place, scene, steps, listed: OnceLock::new() }
}

static VARIANTS: [Variant; 7] = [
    variant(
        "partition",
        "arm64-tuned",
        Place::Partition,
        whole,
        &[Step::EarlyMounts, Step::Device, Step::Mount, Step::Overlay, Step::SwitchRoot, Step::Exec],
    ),
    variant("modules", "arm64-6.1", Place::Partition, whole, &[Step::Modules]),
    variant("extras", "arm64-tuned", Place::Partition, extras::allowed, &[Step::Extras]),
    variant("verity", "arm64-tuned", Place::Partition, verity::flipped_in_a_file, &[Step::Verity, Step::Mount]),
    variant("initramfs", "arm64-tuned", Place::Initramfs, whole, &[Step::Mount]),
    variant("file", "arm64-tuned", Place::File(FileSystem::Ext4), whole, &[Step::Device]),
    variant("refusal", "arm64-tuned", Place::File(FileSystem::Ext4), holder::never, &[]),
];

fn whole(on: &On) -> Result<Scene> {
    Ok(Scene::new(on, on.parts()?, Expected::Boots).with(b"guest=reread"))
}

/// The rows: a call of each step, or in the matrix every call.
pub fn trials(matrix: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for variant in &VARIANTS {
        if matrix {
            for (errno, name) in [(ENOMEM, "enomem"), (EIO, "eio")] {
                let name = format!("every_call_fails_with_{name} {} {}", variant.kernel, variant.name);
                trials.push(Trial::test(name, move || variant.every(errno).map_err(Into::into)));
            }
            let name = format!("calls_fail_from_one_on {} {}", variant.kernel, variant.name);
            trials.push(Trial::test(name, move || variant.each_number().map_err(Into::into)));
            continue;
        }
        for step in variant.steps {
            let name = format!("call_fails_in_{step} {} {}", variant.kernel, variant.name);
            trials.push(Trial::test(name, move || variant.one_of(*step).map_err(Into::into)));
        }
    }
    trials
}

impl Variant {
    /// The boot without a fault of its own, with the saboteur in it.
    fn set(&self) -> Result<(On, Scene)> {
        let on = On { kernel: get(self.kernel)?, place: self.place };
        let mut scene = (self.scene)(&on)?;
        scene.parts.sabotage()?;
        Ok((on, scene))
    }

    /// The calls of a boot that nothing happens to.
    fn calls(&self) -> Result<&[Call]> {
        let calls = self.listed.get_or_init(|| self.list().map_err(|error| error.to_string()));
        calls.as_deref().map_err(|error| error.clone().into())
    }

    fn list(&self) -> Result<Vec<Call>> {
        let (on, scene) = self.set()?;
        // Without it the list would be held to ten lines in five seconds.
        let outcome = boot(&on, &scene, "printk.devkmsg=on sabotage=list")?;
        scene.judge(&outcome)?;
        let (mut calls, mut open, mut failed) = (Vec::new(), 0, false);
        for line in outcome.console.lines() {
            if let Some((_, number)) =
                line.split_once("saboteur: call ").and_then(|(_, call)| call.split_once(" number "))
            {
                calls.push(Call { number: number.trim().parse()?, step: None });
            }
            let step = match parse(line).event {
                Event::Step { step, .. } | Event::Failed { step, .. } => step,
                Event::Exec { .. } => Step::Exec,
                _ => continue,
            };
            if !failed {
                calls.iter_mut().skip(open).for_each(|call| call.step = Some(step));
            }
            failed |= matches!(parse(line).event, Event::Failed { .. });
            open = calls.len();
        }
        // The last starts the next init.
        if !failed {
            calls.iter_mut().skip(open).for_each(|call| call.step = Some(Step::Exec));
        }
        if calls.len() < 20 { Err(outcome.failure("the calls are not listed")) } else { Ok(calls) }
    }

    /// Lets a call of this step fail whose failure is no matter of taste: the first, or the one that starts the next init.
    fn one_of(&self, step: Step) -> Result<()> {
        let of_step = |(_, call): &(usize, &Call)| {
            // The image's device is opened before there is anything to verify.
            call.step == Some(step)
                && !matches!(call.number, CLOCK_GETTIME | WRITE | CLOSE)
                && (step != Step::Verity || call.number == IOCTL)
        };
        let mut found = self.calls()?.iter().enumerate().filter(of_step);
        let found = if step == Step::Exec { found.next_back() } else { found.next() };
        let (index, call) = found.ok_or_else(|| format!("no call of {step}"))?;
        let (on, scene) = self.set()?;
        self.fail(&on, &scene, index, *call, ENOMEM, false)?;
        Ok(())
    }

    /// Lets every call fail in turn.
    fn every(&self, errno: u32) -> Result<()> {
        let of_interest =
            |call: Call| self.steps.is_empty() || call.step.is_some_and(|step| self.steps.contains(&step));
        let calls = self.calls()?.iter().copied().enumerate();
        self.all(calls.filter(|(_, call)| call.number != REBOOT && of_interest(*call)), errno, false)
    }

    /// Lets all calls of a number fail from the first on.
    fn each_number(&self) -> Result<()> {
        let mut known = BTreeSet::from([REBOOT]);
        let calls = self.calls()?.iter().copied().enumerate();
        self.all(calls.filter(|(_, call)| known.insert(call.number)), ENOMEM, true)
    }

    fn all(&self, calls: impl Iterator<Item = (usize, Call)>, errno: u32, ever: bool) -> Result<()> {
        let (on, scene) = self.set()?;
        let mut wrong = Vec::new();
        for (index, call) in calls {
            if let Err(error) = self.fail(&on, &scene, index, call, errno, ever) {
                eprintln!("{} call {}: {error}", self.name, index + 1);
                wrong.push(format!("{} {}", index + 1, call.name()));
            }
        }
        equal("calls whose failure went wrong", &wrong, &Vec::new())
    }

    fn fail(&self, on: &On, scene: &Scene, index: usize, call: Call, errno: u32, ever: bool) -> Result<()> {
        let number = index + 1;
        let from = if ever { "-from" } else { "" };
        let outcome = boot(on, scene, &format!("sabotage=fail{from}:{number}:{errno}"))?;
        let result = judge(scene, &outcome, call, errno, ever);
        results::note(Row {
            name: format!("call_{number}_{}{} ({errno})", call.name(), from.replace('-', "_")),
            source: self.name,
            kernel: on.kernel.name.clone(),
            arch: on.kernel.arch.clone(),
            expected: "boots whole, or the step and the error are named".into(),
            seen: results::seen(&outcome),
            ms: outcome.took.as_millis().try_into().unwrap_or(u64::MAX),
            ok: result.is_ok(),
        });
        result.map_err(|error| outcome.failure(&format!("call {number}, {}, of {:?}: {error}", call.name(), call.step)))
    }
}

fn boot(on: &On, scene: &Scene, words: &str) -> Result<Outcome> {
    let mut boot = Boot::new(&on.kernel, scene.parts.initrd()?);
    match &scene.disk {
        Disk::None => (),
        Disk::Image => boot.disks.push(scene.parts.disk(&[PARTNAME])?),
        Disk::File(path) => boot.disks.push(path.clone()),
    }
    boot.append = OsString::from_vec([words.as_bytes(), b" ", &scene.append].concat());
    boot.deadline = DEADLINE;
    boot.run()
}

/// Whether the boot ended as it may when `call` fails with `errno`.
fn judge(scene: &Scene, outcome: &Outcome, call: Call, errno: u32, ever: bool) -> Result<()> {
    if !outcome.console.contains("saboteur: call ") {
        return Err("the call was not made".into());
    }
    if outcome.console.contains("Kernel panic") || outcome.console.contains("Attempted to kill init") {
        return Err("the kernel panicked".into());
    }
    let log = said(outcome);
    if log.failures.is_empty() && matches!(scene.expected, Expected::Boots) && outcome.report.is_some() {
        whole_root(outcome)?;
        // Without its last line the log does not say that the next init was started; the report does.
        return if call.number == WRITE {
            scene.check.as_ref().map_or(Ok(()), |check| check(outcome))
        } else {
            scene.judge(outcome)
        };
    }
    // What says so is what failed: the kernel itself still gives the step as the reason.
    let mute = call.number == WRITE && outcome.console.contains("Restarting system with command 'initoverlayfs-");
    let [(step, _, found)] = log.failures.as_slice() else {
        return if mute { Ok(()) } else { Err(format!("{} failures", log.failures.len()).into()) };
    };
    // What is to be verified is opened by the step mount, before the line of the step verity.
    let opened = (call.step, *step) == (Some(Step::Verity), Step::Mount);
    let step_is_right = call.step.is_none_or(|right| right == *step) || opened || ever;
    // Where the boot is refused anyway, and nobody needs the call.
    let anyway = matches!(&scene.expected, Expected::Refused { step: own, errno, .. } if (own, errno) == (step, found));
    let error_is_right = *found == errno || call.number == CLOCK_GETTIME;
    if !(anyway || step_is_right && error_is_right) {
        return Err("another step or error is named".into());
    }
    match at_rest(outcome, &log, *step, Rest::Reboot) {
        Err(_) if mute => Ok(()),
        result => result.map_err(Into::into),
    }
}

/// The next init can read, write, rename and remove wherever it must.
fn whole_root(outcome: &Outcome) -> Result<()> {
    let report = outcome.reported()?;
    equal("the process", &report.value("start", "pid")?.as_str(), &"1")?;
    let failed: Vec<_> = ["writable", "changed"]
        .into_iter()
        .flat_map(|name| report.lines(name))
        .filter(|line| !line.ends_with(" ok"))
        .collect();
    equal("what cannot be done in the new root", &failed, &Vec::new())?;
    for path in ["/init", "/usr/bin/large", "/etc"] {
        let listed = report.lines("content").iter().any(|line| line.ends_with(&format!(" {path}")));
        equal(&format!("{path} is in the new root"), &listed, &true)?;
    }
    Ok(())
}
