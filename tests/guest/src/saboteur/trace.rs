//! Traces PID 1: counts its system calls, makes one fail, stops it.
//!
//! init may be traced since Linux 2.6.26, also by its own child, which is allowed everything here.

use crate::{call, say};
use core::mem::size_of;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
use rustix::process::{Pid, WaitOptions, waitpid};

/// What is to be done to bootstrap's system calls.
#[derive(Clone, Copy)]
pub enum Order<'o> {
    /// They are listed.
    List,
    /// One fails, or `ever`y one of its number from there on.
    Fail { call: u64, errno: u64, ever: bool },
    /// Behind the line about this step nothing goes on until a block device is removed.
    Pause { step: &'o [u8] },
}

// include/uapi/linux/ptrace.h
const PTRACE_PEEKDATA: usize = 2;
const PTRACE_DETACH: usize = 17;
const PTRACE_SYSCALL: usize = 24;
const PTRACE_GETREGSET: usize = 0x4204;
const PTRACE_SETREGSET: usize = 0x4205;
const PTRACE_SEIZE: usize = 0x4206;
const PTRACE_INTERRUPT: usize = 0x4207;
/// Linux 5.3.
const PTRACE_GET_SYSCALL_INFO: usize = 0x420e;
const PTRACE_O_TRACESYSGOOD: usize = 1;
const PTRACE_O_TRACEEXEC: usize = 0x10;
const PTRACE_EVENT_EXEC: i32 = 4;
const PTRACE_EVENT_STOP: i32 = 128;
const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;
const SYSCALL_STOP: i32 = 5 | 0x80;
const NT_PRSTATUS: usize = 1;

/// `struct ptrace_syscall_info` on entry.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    padding: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 6],
}

/// `struct iovec`.
#[repr(C)]
struct Vector {
    base: usize,
    length: usize,
}

/// Traces PID 1 from its next execve to the one after that, which starts the next init; `tell` is closed once it may go on.
pub fn trace(kmsg: &OwnedFd, order: Order<'_>, tell: OwnedFd) -> Result<(), Errno> {
    let events = subscribe()?;
    // SAFETY: no address; options in place of a pointer.
    unsafe {
        call::ptrace(PTRACE_SEIZE, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)?;
        call::ptrace(PTRACE_INTERRUPT, 0, 0)?;
    }
    let mut tell = Some(tell);
    let mut tracer = Tracer { kmsg, order, count: 0, failing: None, fails: false, pauses: false };
    let mut programs = 0;
    loop {
        let Some((_, status)) = waitpid(Some(Pid::INIT), WaitOptions::empty())? else { continue };
        let Some(signal) = status.stopping_signal() else { return Ok(()) };
        let mut deliver = 0;
        match (status.as_raw() >> 16, signal) {
            (PTRACE_EVENT_EXEC, _) => programs += 1,
            (PTRACE_EVENT_STOP, _) => {}
            (_, SYSCALL_STOP) if programs > 0 => tracer.stopped(&events)?,
            (_, SYSCALL_STOP) => {}
            (_, signal) => deliver = signal as usize,
        }
        if programs == 2 {
            say(kmsg, format_args!("{} calls", tracer.count));
            // SAFETY: no address; a signal in place of a pointer.
            return unsafe { call::ptrace(PTRACE_DETACH, 0, 0) }.map(drop);
        }
        // SAFETY: as above.
        unsafe { call::ptrace(PTRACE_SYSCALL, 0, deliver) }?;
        drop(tell.take());
    }
}

/// A socket that receives the kernel's uevents from now on.
fn subscribe() -> Result<OwnedFd, Errno> {
    let protocol = Some(netlink::KOBJECT_UEVENT);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

struct Tracer<'t> {
    kmsg: &'t OwnedFd,
    order: Order<'t>,
    /// System calls so far.
    count: u64,
    /// Number of the calls that fail from now on.
    failing: Option<u64>,
    /// Whether the call that has been entered fails.
    fails: bool,
    /// Whether it is the one to pause behind.
    pauses: bool,
}

impl Tracer<'_> {
    /// At a call's entry or exit.
    fn stopped(&mut self, events: &OwnedFd) -> Result<(), Errno> {
        let mut info = Info::default();
        // SAFETY: the size and the place of a `struct ptrace_syscall_info`, whose part for the entry is the largest but for
        // one that is not asked for.
        unsafe { call::ptrace(PTRACE_GET_SYSCALL_INFO, size_of::<Info>(), (&raw mut info).expose_provenance()) }?;
        if info.op == PTRACE_SYSCALL_INFO_ENTRY {
            return self.entered(&info);
        }
        if let (true, Order::Fail { errno, .. }) = (core::mem::take(&mut self.fails), self.order) {
            set_result(errno)?;
        }
        if core::mem::take(&mut self.pauses) {
            say(self.kmsg, format_args!("bootstrap is paused"));
            wait_for_removal(events)?;
            say(self.kmsg, format_args!("a disk is gone"));
        }
        Ok(())
    }

    fn entered(&mut self, info: &Info) -> Result<(), Errno> {
        self.count += 1;
        match self.order {
            Order::List => say(self.kmsg, format_args!("call {} number {}", self.count, info.number)),
            Order::Fail { call, errno, ever } => {
                let again = self.failing == Some(info.number);
                if self.count == call || again {
                    self.fails = true;
                    self.failing = Some(info.number).filter(|_| ever);
                    if !again {
                        say(self.kmsg, format_args!("call {call} number {} fails with {errno}", info.number));
                    }
                    skip(errno)?;
                }
            }
            Order::Pause { step } => self.pauses = is_line_about(info, step),
        }
        Ok(())
    }
}

/// Whether the call writes bootstrap's line about `step` to the kernel's log.
fn is_line_about(info: &Info, step: &[u8]) -> bool {
    const PREFIX: &[u8] = b"<6>initoverlayfs: ";
    let mut words = [0_usize; 8];
    for (index, word) in words.iter_mut().enumerate() {
        let at = info.arguments[1] as usize + index * size_of::<usize>();
        // SAFETY: an address in the other process, and the place of a word here. A wrong one gives EIO.
        if unsafe { call::ptrace(PTRACE_PEEKDATA, at, (&raw mut *word).expose_provenance()) }.is_err() {
            return false;
        }
    }
    let bytes = words.map(usize::to_ne_bytes);
    let rest = bytes.as_flattened().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(step));
    rest.is_some_and(|rest| rest.starts_with(b" "))
}

/// Waits for the event of a block device that goes.
fn wait_for_removal(events: &OwnedFd) -> Result<(), Errno> {
    let mut message = [0_u8; 4096];
    loop {
        let length = match rustix::io::read(events, &mut message) {
            Ok(length) => length,
            Err(Errno::NOBUFS | Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        let head = message.get(..length).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        if head.starts_with(b"remove@") && head.windows(7).any(|part| part == b"/block/") {
            return Ok(());
        }
    }
}

/// Lets the call that PID 1 has entered be none.
fn skip(errno: u64) -> Result<(), Errno> {
    #[cfg(target_arch = "aarch64")]
    {
        const NT_ARM_SYSTEM_CALL: usize = 0x404;
        let mut number = -1_i32;
        let mut vector = Vector { base: (&raw mut number).expose_provenance(), length: size_of::<i32>() };
        // SAFETY: a `struct iovec` over an `int`.
        unsafe { call::ptrace(PTRACE_SETREGSET, NT_ARM_SYSTEM_CALL, (&raw mut vector).expose_provenance()) }?;
    }
    #[cfg(target_arch = "arm")]
    {
        const PTRACE_SET_SYSCALL: usize = 23;
        // SAFETY: a number in place of a pointer.
        unsafe { call::ptrace(PTRACE_SET_SYSCALL, 0, usize::MAX) }?;
    }
    #[cfg(target_arch = "x86_64")]
    {
        /// `orig_rax` of `struct user_regs_struct`.
        const NUMBER: usize = 15;
        change_register(NUMBER, usize::MAX)?;
    }
    // Some architectures keep what is set here, some what is set at the exit.
    set_result(errno)
}

/// What the call returns.
fn set_result(errno: u64) -> Result<(), Errno> {
    // The first register, but `rax` of `struct user_regs_struct`.
    const RESULT: usize = if cfg!(target_arch = "x86_64") { 10 } else { 0 };
    change_register(RESULT, (errno as usize).wrapping_neg())
}

fn change_register(index: usize, value: usize) -> Result<(), Errno> {
    // No architecture here has more.
    let mut registers = [0_usize; 40];
    let first = registers.as_mut_ptr();
    let mut vector = Vector { base: first.expose_provenance(), length: size_of_val(&registers) };
    // SAFETY: a `struct iovec` over the array, of which the kernel fills and reads what there is; `index` is inside.
    unsafe {
        call::ptrace(PTRACE_GETREGSET, NT_PRSTATUS, (&raw mut vector).expose_provenance())?;
        first.add(index).write(value);
        call::ptrace(PTRACE_SETREGSET, NT_PRSTATUS, (&raw mut vector).expose_provenance()).map(drop)
    }
}
