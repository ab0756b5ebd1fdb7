//! Mode `service`: a program among others in a larger initramfs, whose udev has found the storage. It leaves the overlay mounted at
//! `/initoverlayfs`, writes the record and ends. What becomes of it, and of a failure, its systemd units decide.

use crate::program::device::name_of;
use crate::program::early::{read_file, read_plan};
use crate::program::failure::{Failure, refuse};
use crate::program::full::help;
use crate::program::kmsg;
use crate::program::switch::finish;
use crate::program::sys::call;
use crate::program::sys::start::Arguments;
use crate::program::text::{c_path, text};
use crate::program::{boot, clock, folder, overlay};
use bootstrap::Step;
use bootstrap::plan::{self, Mode, Plan};
use bootstrap::record::Record;
use bootstrap::uevent::BlockDevice;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use log::Level;
use rustix::io::Errno;

/// What asks for it.
const ARGUMENT: &CStr = c"--service";
/// Where the overlay is mounted. `/root` is somebody's home there.
const ROOT: &CStr = c"/initoverlayfs";
/// Whether this is it. Here so that the plain program passes nothing along.
static IS_SERVICE: AtomicBool = AtomicBool::new(false);

/// Runs and ends, if that is asked for. PID 1 gets its arguments from the kernel command line, and must not end.
pub fn run_if_asked(arguments: Arguments) {
    if arguments.is_only(ARGUMENT) && rustix::process::getpid().as_raw_nonzero().get() != 1 {
        IS_SERVICE.store(true, Ordering::Relaxed);
        run(arguments);
    }
}

/// Where the overlay is mounted.
pub fn root() -> &'static CStr {
    if IS_SERVICE.load(Ordering::Relaxed) { ROOT } else { folder::ROOT }
}

/// Ends the process if it may end, for what must not happen.
pub fn leave() {
    if IS_SERVICE.load(Ordering::Relaxed) {
        call::exit(1);
    }
}

/// Refuses a plan that is for the other way: PID 1 would wait for a switch that nobody makes, a service must make none.
pub fn check_mode(plan: &Plan<'_>) -> Result<(), Failure> {
    let why = match (plan.mode, IS_SERVICE.load(Ordering::Relaxed)) {
        (Mode::Initial | Mode::Root, false) | (Mode::Service, true) => return Ok(()),
        (_, true) => "plan is not for bootstrap --service",
        (_, false) => "plan is for bootstrap --service",
    };
    Err(refuse(Step::EarlyMounts, why, plan.board, Errno::INVAL))
}

/// With a slot mounted, ends the process if it is a service: the switch is systemd's.
pub fn end_if_it_is(record: &mut Record) {
    if IS_SERVICE.load(Ordering::Relaxed) {
        overlay::let_go();
        kmsg::say(Level::Info, text!["mounted at /initoverlayfs"]);
        finish(record);
        call::exit(0);
    }
}

/// Whether device-mapper calls a device by the name that `path` has below `mapper/`. Before it has a table it is empty, and the
/// event of its first one comes afterwards (`dm_resume()`, drivers/md/dm-ioctl.c).
#[inline(never)]
pub fn is_mapped(device: &BlockDevice<'_>, path: &str) -> bool {
    let (Some(wanted), Some(name)) = (path.strip_prefix("mapper/"), name_of(device.name)) else { return false };
    let mut buffer = [MaybeUninit::uninit(); plan::MAX_TEXT + 1];
    let is_called = read_file(&c_path!["/sys/class/block/", &name, "/dm/name"], &mut buffer)
        .is_ok_and(|found| found.strip_suffix(b"\n") == Some(wanted.as_bytes()));
    is_called && read_file(&c_path!["/sys/class/block/", &name, "/size"], &mut buffer).is_ok_and(|size| size != b"0\n")
}

/// A boot that ends with the slot that is mounted, or with the failure of the last.
fn run(arguments: Arguments) -> ! {
    // Without a log its lines go to standard error, which is the journal.
    let _ = kmsg::start(kmsg::open_log());
    let mut record = Record::new(clock::now_ns());
    record.counter = clock::counter();
    let mut plan_bytes = [MaybeUninit::uninit(); plan::MAX_BYTES + 1];
    let failure = match read_plan(&mut plan_bytes) {
        Ok(plan) => boot(&plan, arguments, &mut record),
        Err(failure) => failure,
    };
    failure.add_to(&mut record, 0);
    help::say_what_there_is();
    finish(&mut record);
    call::exit(1)
}
