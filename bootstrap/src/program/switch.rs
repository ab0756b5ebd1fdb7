//! Steps switch-root and exec: the overlay becomes the root, the initramfs' memory is freed, the next init starts.

use super::failure::{Failure, check, check_on, refuse};
use super::full::{ahead, service};
use super::kmsg::say;
use super::overlay;
use super::sys::{self, start::Arguments};
use super::text::{c_path, text};
use super::{clock, done, folder};
use bootstrap::Step;
use bootstrap::plan::{Free, Handover, Plan};
use bootstrap::record::{self, Event, Record};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use log::Level;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, open, openat2};
use rustix::io::Errno;
use rustix::stdio;

/// How deep folders are emptied; the mini-initramfs has four levels, what a reset takes away may have more.
const MAX_DEPTH: u32 = 256;
/// [`plan::EXTRAS_FOLDER`] there.
const EXTRAS: &CStr = c"extras";

/// What [`Handover::Mounted`] moves.
const MOVED: [(&CStr, &CStr); 4] =
    [(c"/dev", c"/root/dev"), (c"/proc", c"/root/proc"), (c"/sys", c"/root/sys"), (c"/run", c"/root/run")];
/// The folder of [`record::PATH`], and it as the kernel takes it.
const RECORD_FOLDER: &CStr = c"/run/initoverlayfs";
const RECORD: &CStr = c"/run/initoverlayfs/record";

/// Checks before anything is switched that there is something to start: a regular, executable file inside the new root.
#[inline(never)]
pub fn check_next_init(path: &str) -> Result<(), Failure> {
    let find = || {
        let root = open(service::root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let init =
            openat2(&root, &*c_path![path], OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
        rustix::fs::fstat(&init)
    };
    let stat = check_on(Step::SwitchRoot, "next init is missing", path, find())?;
    let executable = Mode::XUSR | Mode::XGRP | Mode::XOTH;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || !Mode::from_raw_mode(stat.st_mode).intersects(executable)
    {
        let refused = Err(Errno::ACCESS);
        return check_on(Step::SwitchRoot, "next init is not an executable file", path, refused);
    }
    Ok(())
}

/// Moves into the new root what the next init is to find there: all of it or, where the image lacks a mount point, nothing, and
/// another slot may have one.
#[inline(never)]
pub fn move_mounts(handover: Handover) -> Result<(), Failure> {
    if handover == Handover::Kernel {
        return Ok(());
    }
    for (index, (from, to)) in MOVED.iter().enumerate() {
        if let Err(errno) = rustix::mount::mount_move(*from, *to) {
            for (from, to) in MOVED.iter().take(index) {
                // They came from there.
                let _ = rustix::mount::mount_move(*to, *from);
            }
            return Err(refuse(Step::SwitchRoot, "cannot move /dev, /proc, /sys or /run", "", errno));
        }
    }
    Ok(())
}

/// Switches and starts the next init; returns only with a failure, which no further slot can make good.
#[inline(never)]
pub fn run(plan: &Plan<'_>, slot: u8, image: ahead::Image, arguments: Arguments, record: &mut Record) -> Failure {
    record.slot = Some(slot);
    service::end_if_it_is(record);
    let wanted = ahead::open_all(plan, image);
    match switch_root(plan, slot, record) {
        Ok(()) => {}
        Err(failure) => return failure,
    }
    let before = record.events.last().map_or(record.started_ns, |event| event.ended_ns);
    record.add(Event { step: Step::Exec, item: slot, ended_ns: clock::now_ns(), errno: 0 });
    finish(record);
    // With the writing of the record, which the record itself cannot count.
    let spent_us = clock::now_ns().saturating_sub(before) / 1000;
    say(Level::Info, text!["exec ", spent_us, " us ", plan.next_init, " with ", record.free_ram_kib, " KiB free"]);
    ahead::start(wanted);
    let errno = sys::start::execute(plan.next_init, arguments);
    refuse(Step::Exec, "cannot start the next init", plan.next_init, errno)
}

#[inline(never)]
fn switch_root(plan: &Plan<'_>, slot: u8, record: &mut Record) -> Result<(), Failure> {
    let old_root = open(c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let old_root = check(Step::SwitchRoot, "cannot open the old root", old_root)?;
    overlay::let_go();
    // pivot_root(2) works on a rootfs only from Linux 7.0; moving the mount over / works on all.
    let switch = || {
        rustix::process::chdir(folder::ROOT)?;
        rustix::mount::mount_move(c".", c"/")?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")
    };
    check(Step::SwitchRoot, "cannot move the overlay over /", switch())?;
    open_console();
    match plan.free {
        Free::Before => free(&old_root),
        Free::Beside => sys::call::in_child_or_here(|| free(&old_root)),
    }
    done(record, Step::SwitchRoot, slot, "");
    Ok(())
}

/// Puts descriptors 0 to 2 on the new root's console, as the kernel does for a classic initramfs. Without one there they
/// stay on the old.
fn open_console() {
    let Ok(console) = open(c"/dev/console", OFlags::RDWR, Mode::empty()) else { return };
    // Fails only for descriptors out of range.
    let _ = stdio::dup2_stdin(&console);
    let _ = stdio::dup2_stdout(&console);
    let _ = stdio::dup2_stderr(&console);
}

/// Gives the initramfs' memory back. Only on tmpfs or ramfs, where removing a file frees memory and loses nothing, and
/// never across a mount: the image, the upper directory and /dev are mounted below.
fn free(old_root: &OwnedFd) {
    /// `RAMFS_MAGIC` and `TMPFS_MAGIC` of include/uapi/linux/magic.h.
    const IN_MEMORY: [u32; 2] = [0x8584_58f6, 0x0102_1994];
    // The magic is 32 bits wide in a field of the architecture's word.
    if rustix::fs::fstatfs(old_root).is_ok_and(|stat| IN_MEMORY.contains(&(stat.f_type as u32))) {
        remove_entries(old_root.as_fd(), 0);
    }
}

/// Empties a folder, as far as that can be done; at depth 0 it is the mini-initramfs.
pub fn remove_entries(folder: BorrowedFd<'_>, depth: u32) {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        // The extra files are a layer of the live overlay.
        if matches!(name.to_bytes(), b"." | b"..") || (depth == 0 && name == EXTRAS) {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            // What cannot be removed stays: it costs memory, not correctness.
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        if depth < MAX_DEPTH
            && let Ok(below) = openat2(folder, name, flags, Mode::empty(), inside)
        {
            remove_entries(below.as_fd(), depth + 1);
        }
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
    }
}

/// Completes the record and writes it.
pub fn finish(record: &mut Record) {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "32 bits wide on armv7")]
    let free_units = u64::from(info.freeram);
    record.free_ram_kib = free_units * u64::from(info.mem_unit) / 1024;
    if let Err(errno) = write_record(record) {
        say(Level::Warn, text!["record not written (errno ", errno.raw_os_error().unsigned_abs(), ")"]);
    }
}

#[inline(never)]
fn write_record(record: &Record) -> Result<(), Errno> {
    let mut buffer = [0; record::MAX_BYTES];
    let bytes = record::seal(record, &mut buffer).map_err(|_| Errno::TOOBIG)?;
    match rustix::fs::mkdir(RECORD_FOLDER, Mode::from_raw_mode(0o755)) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdir(c"/run", Mode::from_raw_mode(0o755))?;
            rustix::fs::mkdir(RECORD_FOLDER, Mode::from_raw_mode(0o755))?;
        }
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, RECORD, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, bytes).map(|_| ())
}
