//! The `log` crate's output: one line an event to `/dev/kmsg`, prefix `initoverlayfs:`.

use super::sys;
use super::text::{self, Text};
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use heapless::String;
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fd::{IntoRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

struct Kmsg;

static KMSG: Kmsg = Kmsg;
/// Until there is a log it is standard error: the console, where the initramfs has one.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(2);
static LINES: AtomicU32 = AtomicU32::new(0);

/// Lines after which the log is opened anew: the kernel drops what one open file writes beyond ten lines in five seconds
/// (`devkmsg_write()`, kernel/printk/printk.c, Linux 6.12), and behind the switch, where `/dev` may not be there, the
/// lines of a failure must still fit.
const LINES_A_FILE: u32 = 4;

/// A text, the prefix and the newline.
const LINE_BYTES: usize = text::BYTES + 32;

/// Opens `/dev/kmsg`.
pub fn open_log() -> Result<OwnedFd, Errno> {
    open(c"/dev/kmsg", OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// Sends log lines to `kmsg`, which stays open until exec closes it; without it, to the console.
pub fn start(kmsg: Result<OwnedFd, Errno>) -> Result<(), Errno> {
    // Fails only where a logger is set already.
    let _ = log::set_logger(&KMSG);
    log::set_max_level(LevelFilter::Info);
    DESCRIPTOR.store(kmsg?.into_raw_fd(), Ordering::Relaxed);
    Ok(())
}

/// Puts a line into the log.
#[inline(never)]
pub fn say(level: Level, line: Text) {
    log::log!(level, "{line}");
}

/// Opens the log anew where it can be.
fn renew() {
    if let Ok(log) = open_log() {
        sys::call::close(DESCRIPTOR.swap(log.into_raw_fd(), Ordering::Relaxed));
        LINES.store(0, Ordering::Relaxed);
    }
}

impl Log for Kmsg {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = String::<LINE_BYTES>::new();
        // Levels of include/linux/kern_levels.h. Prefix, any text and the newline fit.
        let _ = line.push_str(match record.level() {
            Level::Error => "<3>initoverlayfs: ",
            Level::Warn => "<4>initoverlayfs: ",
            Level::Info | Level::Debug | Level::Trace => "<6>initoverlayfs: ",
        });
        let _ = line.write_fmt(*record.args());
        // A record that does not end in a newline stays open, and off the console, until the next (vprintk_store()).
        let _ = line.push('\n');
        if LINES.fetch_add(1, Ordering::Relaxed) >= LINES_A_FILE {
            renew();
        }
        sys::call::write(DESCRIPTOR.load(Ordering::Relaxed), line.as_bytes());
    }

    fn flush(&self) {}
}
