//! The next init of the tests: says when it started, reports over virtio-serial what it was started with, switches off.
//!
//! Works the same as the `/init` of a classic cpio, so that a boot through bootstrap can be compared with the kernel's
//! own. Looks before it touches: what it mounts for itself goes to `/.guest-*` and is left out of the report. Also the
//! demo's probe: its first two lines in the kernel's log say when it started and how much memory was free.
//!
//! Words on the kernel command line: `guest=reread` reads every file and reports its CRC; `guest=keep` leaves a file for the
//! next boot; `guest=protect` turns fs-verity on and ends; `guest=work` runs the shell script `/work` first, which ends by starting
//! this program with the argument `done`; `guest=hang` never ends; `guest=silent` sends no report;
//! `guest=leave` goes to another root first, and reports from there;
//! `guest=removal` waits until a disk has gone, then goes on; `guest=pass` marks the start and becomes systemd. With the arguments
//! `mark NAME` it marks the moment and ends.
#![no_std]
#![no_main]

mod content;
mod leave;
mod line;
mod mark;
mod place;
mod port;
mod protect;
mod report;
mod sections;
mod start;

use core::fmt::Write;
use report::Report;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use start::Strings;

/// The whole program; called by `start` with the time of the first instruction.
fn run(first_ns: u64, arguments: Strings, environment: Strings) -> ! {
    let fds = sections::open_fds();
    let memory = rustix::system::sysinfo();
    let free_kib = u64::from(memory.freeram) * u64::from(memory.mem_unit) / 1024;
    let is_done = has(arguments, b"done");
    if has(arguments, b"mark") {
        let name = arguments.last().and_then(|name| core::str::from_utf8(name).ok());
        mark::write(first_ns, name.unwrap_or("without-name"));
        start::exit();
    }
    if has(environment, b"guest=pass") {
        mark::write(first_ns, "pid1");
        start::execute(c"/usr/lib/systemd/systemd", c"--system");
        end("no systemd");
    }
    if has(environment, b"guest=leave") {
        match leave::leave() {
            Ok(()) => start::execute(c"/init", c"left"),
            Err(errno) => say(format_args!("guest: cannot leave: {errno}")),
        }
        end("not left");
    }
    announce(first_ns, format_args!("{}", if is_done { "content done" } else { "first instruction" }));
    // A word that the kernel does not know is a variable of the environment: no proc has to be mounted to see it.
    if !is_done && has(environment, b"guest=work") {
        start::execute(c"/bin/sh", c"/work");
        end("no /bin/sh");
    }
    say(format_args!("guest: {free_kib} KiB free"));
    let mut report = Report::new();
    report.section("start");
    report.line(format_args!("first_ns {first_ns}"));
    report.line(format_args!("pid {}", rustix::process::getpid().as_raw_nonzero()));
    report.line(format_args!("free_ram_kib {free_kib}"));
    report.section("argv");
    sections::strings(&mut report, arguments);
    report.section("environ");
    sections::strings(&mut report, environment);
    sections::console(&mut report);
    sections::listing(&mut report);
    sections::record(&mut report);
    if let Ok(log) = kmsg(OFlags::RDONLY | OFlags::NONBLOCK) {
        sections::log(&mut report, &log);
    }
    let proc = place::Place::proc();
    sections::proc(&mut report, &proc, &fds);
    sections::memory_at_end(&mut report, &proc);
    sections::writable(&mut report);
    sections::devices(&mut report, &place::Place::sysfs());
    if sections::asked(&proc, b"guest=keep") {
        sections::kept(&mut report);
    }
    if sections::asked(&proc, b"guest=protect") {
        match protect::protect() {
            Ok(()) => end("protected"),
            Err(errno) => say(format_args!("guest: not protected: {errno}")),
        }
    }
    if sections::asked(&proc, b"guest=silent") {
        end("no report wanted");
    }
    let Some(port) = port::open() else { end("no port org.initoverlayfs.test appeared") };
    report.set_port(rustix::fd::AsFd::as_fd(&port));
    if sections::asked(&proc, b"guest=removal") {
        port::wait_for_removal();
    }
    if sections::asked(&proc, b"guest=reread") {
        content::reread(&mut report);
    }
    report.section("end");
    report.flush();
    if sections::asked(&proc, b"guest=hang") {
        loop {
            rustix::event::pause();
        }
    }
    end("report sent")
}

fn has(mut strings: Strings, wanted: &[u8]) -> bool {
    strings.any(|string| string == wanted)
}

/// Writes the first line of all to the kernel's log: when this program's first instruction ran, what that was, and how long ago. The
/// log is opened before the clock is read again, so that the line's own stamp less that time is the first instruction.
fn announce(first_ns: u64, what: core::fmt::Arguments<'_>) {
    let kmsg = kmsg(OFlags::WRONLY);
    let now_ns = start::monotonic_ns();
    let ago_ns = now_ns.saturating_sub(first_ns);
    write(kmsg, format_args!("guest: {what} {ago_ns} ns ago at {first_ns}"));
}

/// Writes one line to the kernel's log.
fn say(line: core::fmt::Arguments<'_>) {
    write(kmsg(OFlags::WRONLY), line);
}

fn write(kmsg: rustix::io::Result<OwnedFd>, line: core::fmt::Arguments<'_>) {
    let mut text = line::Line::default();
    // A record that does not end in a newline stays off the console until the next one (vprintk_store()).
    let _ = text.write_fmt(format_args!("{line}\n"));
    if let Ok(kmsg) = kmsg {
        let _ = rustix::io::write(kmsg, text.bytes());
    }
}

/// Opens the kernel's log, through a device node of its own where there is none.
fn kmsg(flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = |path: &core::ffi::CStr| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    open(c"/dev/kmsg").or_else(|_| {
        let node = c"/.guest-kmsg";
        let (mode, device) = (Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 11));
        rustix::fs::mknodat(CWD, node, FileType::CharacterDevice, mode, device)?;
        let kmsg = open(node);
        rustix::fs::unlink(node)?;
        kmsg
    })
}

/// Says why and switches the machine off.
fn end(why: &str) -> ! {
    say(format_args!("guest: {why}"));
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    loop {
        rustix::event::pause();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(format_args!("guest: panic: {info}"));
    end("panic")
}
