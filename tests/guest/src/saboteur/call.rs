//! System calls that rustix keeps private or does not have: processes, tracing, scheduling.

use crate::start::Strings;
use core::arch::asm;
use rustix::io::Errno;

#[cfg(target_arch = "aarch64")]
mod number {
    //! include/uapi/asm-generic/unistd.h
    pub const EXIT: usize = 93;
    pub const UNSHARE: usize = 97;
    pub const PTRACE: usize = 117;
    pub const SCHED_SETSCHEDULER: usize = 119;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
}
#[cfg(target_arch = "arm")]
mod number {
    //! arch/arm/tools/syscall.tbl
    pub const EXIT: usize = 1;
    pub const UNSHARE: usize = 337;
    pub const PTRACE: usize = 26;
    pub const SCHED_SETSCHEDULER: usize = 156;
    pub const CLONE: usize = 120;
    pub const EXECVE: usize = 11;
}
#[cfg(target_arch = "x86_64")]
mod number {
    //! arch/x86/entry/syscalls/syscall_64.tbl
    pub const EXIT: usize = 60;
    pub const UNSHARE: usize = 272;
    pub const PTRACE: usize = 101;
    pub const SCHED_SETSCHEDULER: usize = 144;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
}

/// Makes a system call with up to five arguments.
///
/// # Safety
/// The arguments must be what the call `number` takes.
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: the caller's arguments suit the call; the registers are those of the architecture's system call convention.
    unsafe {
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack));
        // r7 may be the frame pointer, so it is saved by hand.
        #[cfg(target_arch = "arm")]
        asm!("push {{r7}}", "mov r7, {number}", "svc 0", "pop {{r7}}", number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c, in("r3") d, in("r4") e);
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // Errors are between -4095 and -1.
    if result < 0 {
        return Err(Errno::from_raw_os_error(i32::try_from(-result).unwrap_or(0)));
    }
    Ok(result as usize)
}

/// Makes a child with a copy of all memory, as fork(2); says whether this is the child.
pub fn fork() -> bool {
    const SIGCHLD: usize = 17;
    // SAFETY: a new process with a copy of this stack.
    unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) == Ok(0) }
}

/// Ends the process.
pub fn exit() -> ! {
    // SAFETY: takes no pointer.
    let _ = unsafe { call(number::EXIT, [0; 5]) };
    loop {
        rustix::event::pause();
    }
}

/// Becomes the program at `path` with what the kernel gave this one; returns only if that cannot be done.
pub fn execute(path: &core::ffi::CStr, arguments: Strings, environment: Strings) {
    // SAFETY: both are arrays of pointers to strings that end with NULL.
    let _ = unsafe {
        call(
            number::EXECVE,
            [
                path.as_ptr().expose_provenance(),
                arguments.0.expose_provenance(),
                environment.0.expose_provenance(),
                0,
                0,
            ],
        )
    };
}

/// Gives this process mounts of its own.
pub fn own_mounts() -> Result<(), Errno> {
    const CLONE_NEWNS: usize = 0x2_0000;
    // SAFETY: takes no pointer.
    unsafe { call(number::UNSHARE, [CLONE_NEWNS, 0, 0, 0, 0]) }.map(drop)
}

/// From now on this process runs before all ordinary ones.
pub fn in_real_time() -> Result<(), Errno> {
    const SCHED_FIFO: usize = 1;
    let priority = 50_i32;
    // SAFETY: `struct sched_param` is an `int`.
    unsafe { call(number::SCHED_SETSCHEDULER, [0, SCHED_FIFO, (&raw const priority).expose_provenance(), 0, 0]) }
        .map(drop)
}

/// ptrace(2) of PID 1.
///
/// # Safety
/// `address` and `data` must be what `request` takes.
pub unsafe fn ptrace(request: usize, address: usize, data: usize) -> Result<usize, Errno> {
    // SAFETY: as the caller promises.
    unsafe { call(number::PTRACE, [request, 1, address, data, 0]) }
}
