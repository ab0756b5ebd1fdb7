//! Reads ahead what a boot was seen to use, before it is asked for: the image's inodes before the mount, contents by a child process
//! beside the next init, which ends with its list.
//!
//! The kernel reads on its own; asking costs no more than making pages. A full queue makes the child wait, and memory that is
//! short makes the kernel read less (`page_cache_ra_unbounded()`, mm/readahead.c).

use crate::program::early::read_file;
use crate::program::folder::IMAGE;
use crate::program::sys::call::in_child;
use crate::program::text::c_path;
use bootstrap::plan::{self, AHEAD_PAGE, Plan};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, Mode, OFlags, fadvise, open, openat};

/// [`plan::AHEAD_PATH`], as the kernel takes it.
const LIST: &CStr = c"/ahead";
/// As `nice`: whoever boots comes first.
const NICE: i32 = 19;
/// [`plan::Ahead::metadata_bytes`], 0 for a plan that has none. Here so that the plain program passes nothing along.
static METADATA_BYTES: AtomicU32 = AtomicU32::new(0);

/// Keeps what the plan says.
pub fn prepare(plan: &Plan<'_>) {
    METADATA_BYTES.store(plan.ahead.map_or(0, |ahead| ahead.metadata_bytes), Ordering::Relaxed);
}

/// Starts reading the inodes from the device or file that begins with the image.
pub fn want_metadata(image: &OwnedFd) {
    want(image, 0, METADATA_BYTES.load(Ordering::Relaxed).into());
}

/// Starts reading contents of the image that is mounted. Before the switch: the child keeps the folder that was opened.
#[inline(never)]
pub fn start(plan: &Plan<'_>) {
    if plan.ahead.is_none() {
        return;
    }
    let mut buffer = [MaybeUninit::uninit(); plan::AHEAD_MAX_BYTES];
    // What cannot be read ahead is read later.
    let Ok(list) = read_file(LIST, &mut buffer) else { return };
    // Here, because the switch unmounts it.
    let Ok(root) = open(IMAGE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return };
    in_child(|| read(&root, list));
}

fn read(root: &OwnedFd, list: &[u8]) {
    let _ = rustix::process::setpriority_process(None, NICE);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = None;
    for piece in plan::pieces(list) {
        if !piece.path.is_empty() {
            // Relative to the image, whatever lies over it.
            file = openat(root, &*c_path![".", piece.path], flags, Mode::empty()).ok();
        }
        if let Some(file) = &file {
            want(file, u64::from(piece.page) * AHEAD_PAGE, u64::from(piece.pages) * AHEAD_PAGE);
        }
    }
}

/// Has the kernel read, and does not wait for it.
fn want(file: &OwnedFd, offset: u64, bytes: u64) {
    if let Some(bytes) = NonZeroU64::new(bytes) {
        let _ = fadvise(file, offset, Some(bytes), Advice::WillNeed);
    }
}
