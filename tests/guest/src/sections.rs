//! What the report says: each function adds one section, or a few that need the same source.

use crate::place::Place;
use crate::report::Report;
use crate::start::Strings;
use core::fmt::Write;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};

/// Descriptor numbers looked at.
const FDS: usize = 256;

/// Which descriptors are open. Called before this program opens any.
pub fn open_fds() -> [bool; FDS] {
    core::array::from_fn(|number| {
        // SAFETY: only asks whether the number is open; the borrow does not outlive the call.
        let fd = unsafe { BorrowedFd::borrow_raw(number as i32) };
        rustix::io::fcntl_getfd(fd).is_ok()
    })
}

/// Reads until the end of the file or the buffer; returns the bytes read.
pub fn fill(file: impl AsFd, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..) {
        match rustix::io::read(file.as_fd(), room) {
            Ok(read) if read > 0 => length += read,
            _ => break,
        }
    }
    length
}

/// Adds each string as one escaped line.
pub fn strings(report: &mut Report<'_>, strings: Strings) {
    for string in strings {
        report.escaped(string);
        report.raw(b"\n");
    }
}

/// Calls `each` with every name in a folder but `.` and `..`.
pub fn names(folder: impl AsFd, mut each: impl FnMut(&core::ffi::CStr)) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_name() != c"." && entry.file_name() != c".." {
            each(entry.file_name());
        }
    }
}

/// Section `root`: what lies in `/`, as `OCTAL-MODE UID GID NAME`.
pub fn listing(report: &mut Report<'_>) {
    report.section("root");
    let Ok(root) = rustix::fs::open(c"/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return };
    names(&root, |name| {
        if let Ok(stat) = rustix::fs::statat(&root, name, AtFlags::SYMLINK_NOFOLLOW) {
            let _ = write!(report, "{:o} {} {} ", stat.st_mode, stat.st_uid, stat.st_gid);
            report.escaped(name.to_bytes());
            report.raw(b"\n");
        }
    });
}

/// Section `record`: the bytes of bootstrap's record in hex on one line; empty where there is none.
pub fn record(report: &mut Report<'_>) {
    report.section("record");
    let mut buffer = [0; 8192];
    let path = c"/run/initoverlayfs/record";
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let length = fill(file, &mut buffer);
    for byte in buffer.get(..length).unwrap_or_default() {
        let _ = write!(report, "{byte:02x}");
    }
    report.raw(b"\n");
}

/// Section `log`: bootstrap's lines in the kernel's log, whatever the console was told to leave out.
///
/// Each read of /dev/kmsg gives one record, `LEVEL,SEQUENCE,TIME,FLAGS;TEXT` (Documentation/ABI/testing/dev-kmsg).
pub fn log(report: &mut Report<'_>, kmsg: impl AsFd) {
    report.section("log");
    let mut buffer = [0; 8192];
    while let Ok(length) = rustix::io::read(&kmsg, &mut buffer[..]) {
        let line = buffer.get(..length).and_then(|record| record.split(|byte| *byte == b'\n').next());
        let line = line.unwrap_or_default();
        if length == 0 {
            break;
        }
        if line.windows(14).any(|part| part == b"initoverlayfs:") {
            report.escaped(line);
            report.raw(b"\n");
        }
    }
}

/// Everything proc knows: `cmdline`, `version`, `status`, `meminfo`, `fds`, `links`, `mountinfo`, `processes`.
pub fn proc(report: &mut Report<'_>, proc: &Place, fds: &[bool]) {
    let mut buffer = [0; 16 * 1024];
    report.section("cmdline");
    report.escaped(proc.read(c"cmdline", &mut buffer).trim_ascii_end());
    report.raw(b"\n");
    for (name, path) in [("version", c"version"), ("status", c"self/status"), ("meminfo", c"meminfo")] {
        report.section(name);
        report.raw(proc.read(path, &mut buffer));
    }
    report.section("fds");
    for (number, _) in fds.iter().enumerate().filter(|(_, open)| **open) {
        let _ = write!(report, "{number} ");
        let mut path = rustix::path::DecInt::new(number);
        link(report, proc, c"self/fd", path_of(&mut path));
    }
    report.section("links");
    for name in [c"cwd", c"root", c"exe"] {
        report.escaped(name.to_bytes());
        report.raw(b" ");
        link(report, proc, c"self", name);
    }
    report.section("mountinfo");
    for line in proc.read(c"self/mountinfo", &mut buffer).split(|byte| *byte == b'\n') {
        if !line.is_empty() && !line.windows(9).any(|part| part == b" /.guest-") {
            report.raw(line);
            report.raw(b"\n");
        }
    }
    report.section("processes");
    processes(report, proc);
}

/// Section `console`: whether descriptors 0 to 2 are this root's `/dev/console`; the link in proc says the same of the console of
/// a root that was left.
pub fn console(report: &mut Report<'_>) {
    report.section("console");
    let console = rustix::fs::stat(c"/dev/console").map(|stat| (stat.st_dev, stat.st_ino)).ok();
    for number in 0..3 {
        // SAFETY: only asks what is open under the number; the borrow does not outlive the call.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let open = rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        report.line(format_args!("{number} {}", if open.is_some() && open == console { "same" } else { "other" }));
    }
}

fn path_of(number: &mut rustix::path::DecInt) -> &core::ffi::CStr {
    number.as_c_str()
}

/// Adds the target of a symbolic link of proc as the rest of the line.
fn link(report: &mut Report<'_>, proc: &Place, folder: &core::ffi::CStr, name: &core::ffi::CStr) {
    let mut target = [0_u8; 512];
    let length = proc.open(folder).and_then(|folder| rustix::fs::readlinkat_raw(&folder, name, &mut target).ok());
    report.escaped(target.get(..length.unwrap_or(0)).unwrap_or_default());
    report.raw(b"\n");
}

/// User processes but this one: the line of `/proc/PID/stat` up to its parent's id.
fn processes(report: &mut Report<'_>, proc: &Place) {
    let Some(root) = proc.open(c".") else { return };
    names(&root, |name| {
        if !name.to_bytes().iter().all(u8::is_ascii_digit) || name == c"1" {
            return;
        }
        let Ok(folder) = rustix::fs::openat(&root, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
            return;
        };
        let Ok(file) = rustix::fs::openat(&folder, c"stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return;
        };
        let mut buffer = [0; 512];
        let length = fill(file, &mut buffer);
        let stat = buffer.get(..length).unwrap_or_default();
        // PID (COMM) STATE PPID: kthreadd is 2, its children are kernel threads.
        let after = stat.iter().rposition(|byte| *byte == b')').map_or(stat.len(), |at| at + 1);
        let mut fields =
            stat.get(after..).unwrap_or_default().split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let (state, parent) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if parent != b"2" && name != c"2" {
            report.escaped(stat.get(..after).unwrap_or_default());
            report.raw(b" ");
            report.raw(state);
            report.raw(b" ");
            report.raw(parent);
            report.raw(b"\n");
        }
    });
}

/// Sections `meminfo-end` and `zoneinfo-end`, once no child is left that could still be freeing the initramfs.
///
/// Freed pages go to a list of the processor that frees them, and MemFree leaves those lists out. Up to Linux 6.6 a list holds
/// about the zone's low watermark; from 6.7 it grows while pages are freed in a row, to an eighth of the zone's pages shared
/// by the node's processors (commit 90b41691b988; mm/page_alloc.c of Linux 6.12, `nr_pcp_high()` and `zone_highsize()`
/// with MIN_PERCPU_PAGELIST_HIGH_FRACTION). `count:` of zoneinfo is a list's length in pages.
pub fn memory_at_end(report: &mut Report<'_>, proc: &Place) {
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    let mut buffer = [0; 32 * 1024];
    for (name, path) in [("meminfo-end", c"meminfo"), ("zoneinfo-end", c"zoneinfo")] {
        report.section(name);
        report.raw(proc.read(path, &mut buffer));
    }
}

/// Section `writable`: `FOLDER OPERATION ok` or the error number, for each operation in each folder that must be writable.
pub fn writable(report: &mut Report<'_>) {
    report.section("writable");
    for folder in ["/", "/etc", "/var", "/usr", "/run", "/tmp"] {
        let Ok(fd) = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { continue };
        let mode = Mode::from_raw_mode(0o644);
        let mut say = |what: &str, result: rustix::io::Result<()>| match result {
            Ok(()) => report.line(format_args!("{folder} {what} ok")),
            Err(error) => report.line(format_args!("{folder} {what} errno {}", error.raw_os_error())),
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        say(
            "create",
            rustix::fs::openat(&fd, c".guest-file", flags, mode)
                .and_then(|file| rustix::io::write(file, b"guest"))
                .map(drop),
        );
        say("rename", rustix::fs::renameat(&fd, c".guest-file", &fd, c".guest-renamed"));
        say("link", rustix::fs::linkat(&fd, c".guest-renamed", &fd, c".guest-link", AtFlags::empty()));
        say("symlink", rustix::fs::symlinkat(c"target", &fd, c".guest-symlink"));
        say("mkdir", rustix::fs::mkdirat(&fd, c".guest-dir", Mode::from_raw_mode(0o755)));
        say("rmdir", rustix::fs::unlinkat(&fd, c".guest-dir", AtFlags::REMOVEDIR));
        for name in [c".guest-renamed", c".guest-link", c".guest-symlink"] {
            say("unlink", rustix::fs::unlinkat(&fd, name, AtFlags::empty()));
        }
    }
    report.section("changed");
    changed(report);
}

/// Section `changed`: a file of the image is appended to, renamed and removed, which needs copy-up and whiteouts.
fn changed(report: &mut Report<'_>) {
    let mut say = |what: &str, result: rustix::io::Result<()>| match result {
        Ok(()) => report.line(format_args!("{what} ok")),
        Err(error) => report.line(format_args!("{what} errno {}", error.raw_os_error())),
    };
    let file = c"/etc/guest-content";
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    say(
        "append",
        rustix::fs::open(file, append, Mode::empty()).and_then(|file| rustix::io::write(file, b"!")).map(drop),
    );
    say("rename", rustix::fs::renameat(CWD, file, CWD, c"/etc/guest-moved"));
    say("gone", if rustix::fs::stat(file).is_err() { Ok(()) } else { Err(rustix::io::Errno::EXIST) });
    say("unlink", rustix::fs::unlink(c"/etc/guest-moved"));
}

/// Section `block`: the block devices; behind a loop device that has a file whether it reads it directly, `loop0 dio 1`. Section
/// `scsi`: the logical units the kernel knows.
pub fn devices(report: &mut Report<'_>, sysfs: &Place) {
    report.section("block");
    if let Some(class) = sysfs.open(c"class/block") {
        names(&class, |name| {
            report.escaped(name.to_bytes());
            let mut buffer = [0; 16];
            let device = rustix::fs::openat(&class, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let dio = device.and_then(|device| rustix::fs::openat(device, c"loop/dio", OFlags::CLOEXEC, Mode::empty()));
            if let Ok(dio) = dio {
                let length = fill(dio, &mut buffer);
                report.raw(b" dio ");
                report.escaped(buffer.get(..length).unwrap_or_default().trim_ascii());
            }
            report.raw(b"\n");
        });
    }
    report.section("erofs");
    if let Some(mounted) = sysfs.open(c"fs/erofs") {
        // Beside the file systems that are mounted it has `features`.
        names(mounted, |name| {
            if name != c"features" {
                report.escaped(name.to_bytes());
                report.raw(b"\n");
            }
        });
    }
    report.section("scsi");
    if let Some(class) = sysfs.open(c"class/scsi_device") {
        names(class, |name| {
            report.escaped(name.to_bytes());
            report.raw(b"\n");
        });
    }
}

/// Section `kept`: what an earlier boot has left in `/etc/guest-kept`. A file is put there, half of it with all else that is to be
/// written, the other by itself: what a journal or log is for.
pub fn kept(report: &mut Report<'_>) {
    report.section("kept");
    let path = c"/etc/guest-kept";
    let mut buffer = [0; 64];
    let length = rustix::fs::open(path, OFlags::CLOEXEC, Mode::empty()).map_or(0, |file| fill(file, &mut buffer));
    report.escaped(buffer.get(..length).unwrap_or_default());
    report.raw(b"\n");
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let written = || {
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
        rustix::io::write(&file, b"written by ")?;
        rustix::fs::sync();
        rustix::io::write(&file, b"an earlier boot")?;
        rustix::fs::fsync(&file)
    };
    if let Err(error) = written() {
        report.line(format_args!("errno {}", error.raw_os_error()));
    }
}

/// Whether a word is on the kernel's command line.
pub fn asked(proc: &Place, word: &[u8]) -> bool {
    let mut buffer = [0; 8192];
    proc.read(c"cmdline", &mut buffer).split(|byte| byte.is_ascii_whitespace()).any(|found| found == word)
}
