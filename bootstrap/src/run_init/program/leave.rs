//! The way from the overlay to the final root.
//!
//! Usage is what klibc's `run-init` and busybox' `run-init` and `switch_root` have in common:
//! `[-n] [-p] [-c CONSOLE] [-d CAPABILITIES] NEW-ROOT INIT [ARGUMENT...]`.

use super::kmsg;
use super::sys::call;
use super::sys::start::Arguments;
use super::text::text;
use bootstrap::record;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::stdio;

const USAGE: &str = "[-n] [-p] [-c CONSOLE] NEW-ROOT INIT [ARGUMENT...]";
/// [`record::PATH`] without its first slash, and its folder: below the old root and below the new one.
const RECORD: &CStr = c"run/initoverlayfs/record";
const RECORD_FOLDER: &CStr = c"run/initoverlayfs";

/// What the command line asks for.
struct Request {
    /// Only checks.
    dry_run: bool,
    /// The old root stays mounted below the new one.
    keep: bool,
    console: Option<&'static CStr>,
    new_root: &'static CStr,
    init: &'static CStr,
    /// Which argument `init` is.
    init_index: usize,
}

/// What cannot be done, and why.
struct Refusal(&'static str, Errno);

/// Called once, by `_start`.
pub fn main(arguments: Arguments) -> ! {
    let status = match parse(arguments) {
        None => {
            say(&["usage: run-init ", USAGE]);
            1
        }
        Some(request) => match run(&request, arguments) {
            Ok(()) => 0,
            Err(Refusal(what, errno)) => {
                let number = text![errno.raw_os_error().unsigned_abs()];
                say(&[what, " (errno ", &number, ")"]);
                1
            }
        },
    };
    call::exit(status)
}

/// Says a line on standard error, and to the kernel log: the console may be gone by then.
fn say(parts: &[&str]) {
    let mut line = text!["run-init: "];
    parts.iter().for_each(|part| line.put(*part));
    line.put("\n");
    call::write(2, line.as_bytes());
    if let Ok(log) = kmsg::open_log() {
        let _ = rustix::io::write(&log, line.as_bytes());
    }
}

/// Reads options up to the first word that is none.
fn parse(arguments: Arguments) -> Option<Request> {
    let (mut dry_run, mut keep, mut console) = (false, false, None);
    let mut index = 1;
    'options: while let Some(option) = arguments.nth(index).and_then(|word| word.to_bytes().strip_prefix(b"-")) {
        index += 1;
        if option == b"-" {
            break;
        }
        for (at, letter) in option.iter().enumerate() {
            match letter {
                b'n' => dry_run = true,
                b'p' => keep = true,
                b'c' => {
                    // Its value is the rest of the word, or the next one.
                    let rest = arguments.nth(index - 1)?;
                    console = match at + 1 == option.len() {
                        true => arguments.nth(index),
                        false => CStr::from_bytes_with_nul(rest.to_bytes_with_nul().get(at + 2..)?).ok(),
                    };
                    index += usize::from(at + 1 == option.len());
                    continue 'options;
                }
                b'd' => {
                    say(&[
                        "-d: capabilities cannot be dropped here, the final root's systemd can (CapabilityBoundingSet=)",
                    ]);
                    return None;
                }
                _ => return None,
            }
        }
    }
    let (new_root, init) = (arguments.nth(index)?, arguments.nth(index + 1)?);
    Some(Request { dry_run, keep, console, new_root, init, init_index: index + 1 })
}

/// Checks everything, then leaves. Returns only from a dry run, or before anything has changed, but for an init that does not start.
fn run(request: &Request, arguments: Arguments) -> Result<(), Refusal> {
    let refused = |what| move |errno| Refusal(what, errno);
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let new_root = open(request.new_root, folder, Mode::empty()).map_err(refused("cannot open the new root"))?;
    check_init(&new_root, request.init).map_err(refused("the new root has no such init that can be executed"))?;
    if request.dry_run {
        return Ok(());
    }
    if !rustix::process::getpid().is_init() {
        return Err(Refusal("PID 1 has to exec this", Errno::PERM));
    }
    // Whoever runs in the final root reads it; where the content has mounted a /run of its own it lies below that.
    let _ = carry_record(&new_root);
    rustix::process::fchdir(&new_root).map_err(refused("cannot enter the new root"))?;
    if request.keep {
        cover().map_err(refused("cannot move the new root over /"))?;
    } else {
        match rustix::process::pivot_root(c".", c".") {
            Ok(()) => {
                rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(refused("cannot unmount the old root"))?
            }
            // A rootfs cannot be left (before Linux 7.0), nor can a new root that is no mount.
            Err(errno) => {
                cover().map_err(|_| Refusal("cannot leave the old root", errno))?;
                say(&["the old root is a rootfs: what it holds stays in memory"]);
            }
        }
    }
    rustix::process::chdir(c"/").map_err(refused("cannot enter the new root"))?;
    if let Err(errno) = open_console(request.console.unwrap_or(c"/dev/console"))
        && request.console.is_some()
    {
        say(&["cannot open the console (errno ", &text![errno.raw_os_error().unsigned_abs()], ")"]);
    }
    Err(Refusal("cannot start init", arguments.execute_from(request.init_index)))
}

/// Moves the working directory's mount over `/`, which stays below it.
fn cover() -> Result<(), Errno> {
    rustix::mount::mount_move(c".", c"/")?;
    rustix::process::chroot(c".")
}

/// Links of the new root lead where they will once it is `/`.
fn check_init(new_root: &OwnedFd, init: &CStr) -> Result<(), Errno> {
    let file = openat2(new_root, init, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let stat = rustix::fs::fstat(&file)?;
    let executable = Mode::XUSR | Mode::XGRP | Mode::XOTH;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && Mode::from_raw_mode(stat.st_mode).intersects(executable) { Ok(()) } else { Err(Errno::ACCESS) }
}

/// Copies bootstrap's record into the new root's /run, where that is a file system of its own.
fn carry_record(new_root: &OwnedFd) -> Result<(), Errno> {
    let old = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let read = openat(&old, RECORD, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); record::MAX_BYTES];
    let (bytes, _) = rustix::io::read(&read, &mut buffer)?;
    let device =
        |path: &CStr| openat(new_root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).and_then(rustix::fs::fstat);
    if device(c"run")?.st_dev == device(c".")?.st_dev {
        return Ok(());
    }
    match rustix::fs::mkdirat(new_root, RECORD_FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(new_root.as_fd(), RECORD, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, bytes).map(drop)
}

/// Puts descriptors 0 to 2 on the new root's console. Without one they stay where they are.
fn open_console(path: &CStr) -> Result<(), Errno> {
    let console = openat(CWD, path, OFlags::RDWR, Mode::empty())?;
    stdio::dup2_stdin(&console)?;
    stdio::dup2_stdout(&console)?;
    stdio::dup2_stderr(&console)?;
    if rustix::fd::AsRawFd::as_raw_fd(&console) <= 2 {
        // It is one of the three itself and stays open.
        core::mem::forget(console);
    }
    Ok(())
}
