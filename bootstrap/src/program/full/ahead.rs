//! Reads ahead what a boot was seen to use, before it is asked for: the first inodes before the mount, which needs them, all else by a
//! child process beside the next init, which ends with its list or by SIGTERM: systemd sends it to all when it leaves an initramfs.
//!
//! The kernel reads on its own; asking costs no more than making pages. The child lets go of everything when it ends. As long as it waits
//! for the disk, somebody else has the processor.

use crate::program::clock;
use crate::program::early::read_whole;
use crate::program::folder::IMAGE;
use crate::program::sys::block::set_read_ahead;
use crate::program::sys::call::{hold_sigterm, in_child, is_told_to_end};
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
/// As `nice`: whoever boots comes first. Where the disk takes no time, the processor is all there is.
const NICE: i32 = 19;
/// A request that is waited for no longer was there already.
const AT_ONCE_NS: u64 = 100_000;
/// Bytes of a request of the child. A kernel without preemption makes its pages in one go and is held up no longer than that takes; an
/// SD card (20 MB/s, 500 requests a second) takes three times as long for its bytes as for a request.
const REQUEST_BYTES: u64 = 128 * 1024;
/// Requests under way at a time: what somebody else wants of a slow disk waits for no more than these.
const QUEUE: usize = 2;
/// The part of memory that stays free, as a power of two: where there is no more, what is read would drive out what is used.
const FREE_PART: u32 = 5;
/// [`plan::Ahead::metadata_bytes`], 0 for a plan that has none. Here so that the plain program passes nothing along.
static METADATA_BYTES: AtomicU32 = AtomicU32::new(0);

/// The device or file that begins with the image that is mounted.
pub struct Image(OwnedFd);

/// Keeps what the plan says.
pub fn prepare(plan: &Plan<'_>) {
    METADATA_BYTES.store(plan.ahead.map_or(0, |ahead| ahead.metadata_bytes), Ordering::Relaxed);
}

/// Starts reading the first inodes from the device or file that begins with the image.
pub fn want_metadata(image: &OwnedFd) {
    want(image, 0, METADATA_BYTES.load(Ordering::Relaxed).into());
}

/// Keeps it for [`open_all`].
pub const fn kept(image: OwnedFd) -> Image {
    Image(image)
}

/// What the child goes through, and what it reads of.
pub struct Wanted {
    list: OwnedFd,
    root: OwnedFd,
    image: Image,
}

/// Opens list and image, before the one is deleted and the other unmounted.
#[inline(never)]
pub fn open_all(plan: &Plan<'_>, image: Image) -> Option<Wanted> {
    if plan.ahead?.page_by_page {
        // A file has no such setting.
        let _ = set_read_ahead(&image.0, 0);
        return None;
    }
    // What cannot be read ahead is read later.
    let list = open(LIST, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let root = open(IMAGE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(Wanted { list, root, image })
}

/// Starts reading further inodes and contents of the image. Not before the last call that waits for all processors to have passed a
/// quiescent state, as umount(2) does: a kernel without preemption passes none while the child reads.
#[inline(never)]
pub fn start(wanted: Option<Wanted>) {
    let Some(wanted) = wanted else { return };
    // Without a child nothing is read ahead.
    let _ = in_child(|| {
        hold_sigterm();
        let _ = rustix::process::setpriority_process(None, NICE);
        read(&wanted.list, &wanted.root, &wanted.image.0);
    });
}

#[inline(never)]
fn read(list: &OwnedFd, root: &OwnedFd, image: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); plan::AHEAD_MAX_BYTES];
    let Ok(list) = read_whole(list, &mut buffer) else { return };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut queue = Queue::of(image);
    let mut is_open = false;
    for piece in plan::pieces(list) {
        if piece.path == "/" {
            queue.current = None;
            is_open = true;
        } else if !piece.path.is_empty() {
            // Relative to the image, whatever lies over it.
            let file = openat(root, &*c_path![".", piece.path], flags, Mode::empty());
            is_open = file.map(|file| queue.open(file)).is_ok();
        }
        if is_open && !queue.want(u64::from(piece.page) * AHEAD_PAGE, u64::from(piece.pages) * AHEAD_PAGE) {
            return;
        }
    }
}

/// Requests under way, of the image and of as many files at most.
struct Queue<'i> {
    image: &'i OwnedFd,
    /// One more than requests, so that none of these is of a file that is replaced.
    files: [Option<OwnedFd>; QUEUE + 1],
    /// Where the last file was opened.
    opened: usize,
    /// Which file is wanted; none: the image.
    current: Option<usize>,
    /// Of which file, and where its last page begins.
    requests: [(Option<usize>, u64); QUEUE],
    made: usize,
}

impl<'i> Queue<'i> {
    fn of(image: &'i OwnedFd) -> Self {
        let files = [const { None }; QUEUE + 1];
        Queue { image, files, opened: 0, current: None, requests: [(None, 0); QUEUE], made: 0 }
    }

    fn file(&self, place: Option<usize>) -> Option<&OwnedFd> {
        place.map_or(Some(self.image), |place| self.files.get(place)?.as_ref())
    }

    /// What is wanted from now on is of this file.
    fn open(&mut self, file: OwnedFd) {
        self.opened = (self.opened + 1) % self.files.len();
        self.current = Some(self.opened);
        if let Some(place) = self.files.get_mut(self.opened) {
            *place = Some(file);
        }
    }

    /// Makes requests, each in the place of the oldest, which is waited for; false once memory is short, the list is wrong, or nothing more
    /// is wanted.
    fn want(&mut self, offset: u64, bytes: u64) -> bool {
        let end = offset.saturating_add(bytes);
        let mut start = offset;
        while start < end {
            let length = request_bytes(self.made).min(end - start);
            let place = self.made % QUEUE;
            if let Some((file, last)) = self.requests.get(place).filter(|_| self.made >= QUEUE)
                && let Some(file) = self.file(*file)
            {
                let before = clock::now_ns();
                // Returns when the page is there; what was dropped in the meantime is read once more. Behind an end lies nothing that a
                // list of this image has.
                if rustix::io::pread(file, &mut [0; 1], *last) == Ok(0) {
                    return false;
                }
                // The disk is no slower than the processor, which is everybody's. Low rank alone is not enough: Linux 6.12 lets the one who
                // runs go on to the next tick, whoever wakes.
                if clock::now_ns().saturating_sub(before) < AT_ONCE_NS {
                    rustix::thread::sched_yield();
                }
                if place == 0 && is_memory_short() {
                    return false;
                }
            }
            if is_told_to_end() {
                return false;
            }
            if let Some(file) = self.file(self.current) {
                want(file, start, length);
            }
            start += length;
            if let Some(request) = self.requests.get_mut(place) {
                *request = (self.current, start - AHEAD_PAGE.min(length));
            }
            self.made += 1;
        }
        true
    }
}

/// Bytes of a request, by how many were made before: the start of the next init, of which there is little, is not to wait for what comes
/// behind it.
fn request_bytes(made: usize) -> u64 {
    REQUEST_BYTES >> 3_usize.saturating_sub(made / 4)
}

fn is_memory_short() -> bool {
    let info = rustix::system::sysinfo();
    info.freeram < info.totalram >> FREE_PART
}

/// Has the kernel read, and does not wait for it.
fn want(file: &OwnedFd, offset: u64, bytes: u64) {
    if let Some(bytes) = NonZeroU64::new(bytes) {
        let _ = fadvise(file, offset, Some(bytes), Advice::WillNeed);
    }
}
