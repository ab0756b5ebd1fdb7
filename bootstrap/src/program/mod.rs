//! The boot sequence: nine steps, one failure path.
//!
//! Each step is kept out of line: inlined into one function their buffers would share one stack frame of 60 KiB, which
//! costs code size and page faults.

mod clock;
mod device;
mod early;
mod extras;
mod failure;
#[cfg_attr(not(feature = "full"), path = "plain.rs")]
mod full;
mod image;
mod kmsg;
mod modules;
mod overlay;
#[cfg(feature = "planted")]
mod planted;
mod switch;
mod sys;
mod text;

use bootstrap::Step;
use bootstrap::plan::{self, Plan, Slot, Watchdog};
use bootstrap::record::{Event, Record};
use core::mem::MaybeUninit;
use failure::{Failure, refuse};
use log::Level;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::start::Arguments;
use text::{c_path, text};

/// Folders of the mini-initramfs, made by imagegen so that no boot has to.
mod folder {
    use core::ffi::CStr;

    /// Where the file system that holds the image as a file is mounted.
    pub const HOLDER: &CStr = c"/holder";
    /// Where the EROFS image is mounted.
    pub const IMAGE: &CStr = c"/image";
    /// Where the file system of the overlay's upper and work directories is mounted.
    pub const UPPER: &CStr = c"/upper";
    /// Where the overlay is mounted, the root to be.
    pub const ROOT: &CStr = c"/root";
}

/// Runs one boot; called once, by `_start`.
pub fn main(arguments: Arguments) -> ! {
    full::service::run_if_asked(arguments);
    let mut record = Record::new(clock::now_ns());
    record.counter = clock::counter();
    // One more: only where a byte would still have room it is known that none follows.
    let mut plan_bytes = [MaybeUninit::uninit(); plan::MAX_BYTES + 1];
    let (plan, failure) = match early::run(&mut plan_bytes) {
        Ok(plan) => {
            let failure = boot(&plan, arguments, &mut record);
            (Some(plan), failure)
        }
        Err(failure) => (None, failure),
    };
    failure.add_to(&mut record, 0);
    failure::die(plan.as_ref().map(|plan| plan.on_failure), failure)
}

/// Everything after the plan is known; returns only with the failure that no slot is left to make good.
#[inline(never)]
fn boot(plan: &Plan<'_>, arguments: Arguments, record: &mut Record) -> Failure {
    if let Err(failure) = full::service::check_mode(plan) {
        return failure;
    }
    done(record, Step::EarlyMounts, 0, plan.board);
    if let Err(failure) = modules::load(plan.modules, record) {
        return failure;
    }
    if let Some(watchdog) = plan.watchdog {
        start(watchdog);
    }
    let mut extra_files = 0;
    if !plan.extras.is_empty() {
        extra_files = match extras::gather(plan.extras) {
            Ok(files) => files,
            Err(failure) => return failure,
        };
        done(record, Step::Extras, 0, &text![extra_files, " files"]);
    }
    full::ahead::prepare(plan);
    let mut last = None;
    let mut line = [MaybeUninit::uninit(); 4096];
    let named = named_slot(plan, &mut line);
    // The slot that the bootloader named first, then the others in the plan's order.
    for first in [true, false] {
        for (index, slot) in (0..).zip(plan.slots) {
            if (named == Some(slot.name)) != first {
                continue;
            }
            let failure = match try_slot(plan, &slot, extra_files > 0, index, record) {
                Ok(image) => return switch::run(plan, index, image, arguments, record),
                Err(failure) => failure,
            };
            failure.add_to(record, index);
            kmsg::say(Level::Warn, text!["slot ", slot.name, " refused"]);
            overlay::undo();
            last = Some(failure);
        }
    }
    // `plan::open` refuses a plan without a slot.
    last.unwrap_or_else(|| refuse(Step::Device, "the plan has no slot", "", Errno::INVAL))
}

/// Finds, checks and mounts one slot's image and lays the overlay over it, up to the point of no return.
#[inline(never)]
fn try_slot(
    plan: &Plan<'_>,
    slot: &Slot<'_>,
    has_extras: bool,
    index: u8,
    record: &mut Record,
) -> Result<full::ahead::Image, Failure> {
    let image = image::mount(slot, index, record)?;
    overlay::mount(&plan.upper, has_extras)?;
    done(record, Step::Overlay, index, "");
    switch::check_next_init(plan.next_init)?;
    switch::move_mounts(plan.handover)?;
    Ok(image)
}

/// The slot that `initoverlayfs.slot=` names. With one slot there is nothing to choose and no reason to read the command
/// line, which goes into `line`.
#[inline(never)]
fn named_slot<'l>(plan: &Plan<'_>, line: &'l mut [MaybeUninit<u8>]) -> Option<&'l str> {
    plan.slots.into_iter().nth(1)?;
    let name = early::argument(b"initoverlayfs.slot", line)?;
    full::help::say_if_unknown(plan, name);
    Some(name)
}

/// Starts a watchdog. Closed without the magic letter it runs on (Documentation/watchdog/watchdog-api.rst): the next init takes
/// it over, or the board restarts. A board without it still boots.
#[inline(never)]
fn start(watchdog: Watchdog<'_>) {
    let open = rustix::fs::open(&*c_path!["/dev/", watchdog.device], OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let started = open.and_then(|open| sys::block::set_watchdog(&open, watchdog.timeout_s));
    // Whatever comes of it is in the log; only a failed boot goes no further.
    let _ = failure::check_on(Step::Modules, "cannot start the watchdog", watchdog.device, started);
}

/// Records the success of a step and says so in the kernel log, with the time since the event before it.
#[inline(never)]
fn done(record: &mut Record, step: Step, item: u8, detail: &str) {
    #[cfg(feature = "planted")]
    planted::spin(step);
    let ended_ns = clock::now_ns();
    let before = record.events.last().map_or(record.started_ns, |event| event.ended_ns);
    record.add(Event { step, item, ended_ns, errno: 0 });
    let spent_us = ended_ns.saturating_sub(before) / 1000;
    let space = if detail.is_empty() { "" } else { " " };
    let line = match step {
        Step::Modules => text!["module ", detail, " ", spent_us, " us"],
        _ => text![step, " ", spent_us, " us", space, detail],
    };
    kmsg::say(Level::Info, line);
}
