//! `/init` of a spoilt boot: does what it is told, then becomes `/bootstrap` in its place as PID 1, with the kernel's
//! arguments and environment.
//!
//! The word `sabotage=` on the kernel command line tells what; the kernel does not know it and makes it a variable of the
//! environment, so nothing has to be mounted to see it:
//!
//! | word | what is done |
//! |---|---|
//! | `list` | every system call of bootstrap is listed in the kernel's log, up to the start of the next init |
//! | `fail:N:ERRNO` | the N-th of them fails with ERRNO and is not carried out |
//! | `fail-from:N:ERRNO` | so do all later ones of the same number |
//! | `pause:STEP` | bootstrap stands still behind its line about STEP until a block device is removed |
//! | `flood` | more kernel events than anybody reads, until the next init runs |
//! | `fill:KIB` | memory is filled up until this much is free |
//!
//! Its own lines begin with `saboteur: `.
#![no_std]
#![no_main]

mod call;
mod fill;
mod flood;
#[path = "../line.rs"]
mod line;
#[path = "../start.rs"]
#[allow(dead_code, reason = "the guest's, which also starts other programs")]
mod start;
mod trace;

use core::fmt::Write;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use start::Strings;

/// What this program becomes.
const BOOTSTRAP: &core::ffi::CStr = c"/bootstrap";
/// Its device node for the kernel's log, a member of the mini-initramfs: bootstrap's may fail.
const KMSG: &core::ffi::CStr = c"/saboteur-kmsg";

/// The whole program; called by `start`.
fn run(_: u64, arguments: Strings, mut environment: Strings) -> ! {
    let kmsg = rustix::fs::open(KMSG, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    if let Ok(kmsg) = &kmsg {
        let variables = environment;
        let order = environment.find_map(|variable| variable.strip_prefix(b"sabotage="));
        match order.and_then(Order::parse) {
            Some(order) => order.carry_out(kmsg),
            None => say(kmsg, format_args!("no such order")),
        }
        environment = variables;
    }
    drop(kmsg);
    call::execute(BOOTSTRAP, arguments, environment);
    rustix::system::reboot(rustix::system::RebootCommand::PowerOff).ok();
    loop {
        rustix::event::pause();
    }
}

/// What is to be done.
pub enum Order<'o> {
    /// About system calls; done by a child that traces bootstrap.
    Trace(trace::Order<'o>),
    /// Done by a child beside bootstrap.
    Flood,
    /// Done before bootstrap starts.
    Fill { kib: u64 },
}

impl<'o> Order<'o> {
    fn parse(word: &'o [u8]) -> Option<Self> {
        let mut words = core::str::from_utf8(word).ok()?.split(':');
        let what = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match what {
            "list" => Order::Trace(trace::Order::List),
            "fail" | "fail-from" => {
                let (call, errno, ever) = (number()?, number()?, what == "fail-from");
                Order::Trace(trace::Order::Fail { call, errno, ever })
            }
            "pause" => Order::Trace(trace::Order::Pause { step: words.next()?.as_bytes() }),
            "flood" => Order::Flood,
            "fill" => Order::Fill { kib: number()? },
            _ => return None,
        })
    }

    /// Returns in PID 1, once all is ready.
    fn carry_out(self, kmsg: &OwnedFd) {
        if let Order::Fill { kib } = self {
            return fill::fill(kmsg, kib);
        }
        let Ok((ready, tell)) = pipe_with(PipeFlags::CLOEXEC) else { return say(kmsg, format_args!("no pipe")) };
        let in_child = call::fork();
        if !in_child {
            drop(tell);
            // Ends with the pipe's other end too.
            let _ = rustix::io::read(&ready, &mut [0_u8; 1]);
            return;
        }
        let done = match self {
            Order::Trace(order) => trace::trace(kmsg, order, tell),
            Order::Flood => flood::flood(kmsg, tell),
            Order::Fill { .. } => Ok(()),
        };
        if let Err(errno) = done {
            say(kmsg, format_args!("errno {}", errno.raw_os_error()));
        }
        call::exit()
    }
}

/// Writes one line to the kernel's log.
pub fn say(kmsg: impl AsFd, line: core::fmt::Arguments<'_>) {
    let mut text = line::Line::default();
    // A record that does not end in a newline stays off the console until the next one (vprintk_store()).
    let _ = text.write_fmt(format_args!("saboteur: {line}\n"));
    let _ = rustix::io::write(kmsg, text.bytes());
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    loop {
        rustix::event::pause();
    }
}
