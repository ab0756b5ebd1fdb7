//! System calls that rustix keeps private or does not have, and those of the failure path.

use bootstrap::record::Counter;
use core::arch::asm;
use core::ffi::{CStr, c_char};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

#[cfg(target_arch = "aarch64")]
mod number {
    //! include/uapi/asm-generic/unistd.h
    pub const IOCTL: usize = 29;
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 93;
    pub const CLOCK_GETTIME: usize = 113;
    pub const REBOOT: usize = 142;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const PPOLL: usize = 73;
    #[cfg(feature = "full")]
    pub const RT_SIGPROCMASK: usize = 135;
    #[cfg(feature = "full")]
    pub const RT_SIGPENDING: usize = 136;
    #[cfg(feature = "full")]
    pub const ADD_KEY: usize = 217;
}
#[cfg(target_arch = "arm")]
mod number {
    //! arch/arm/tools/syscall.tbl
    pub const IOCTL: usize = 54;
    pub const CLOSE: usize = 6;
    pub const WRITE: usize = 4;
    pub const EXIT: usize = 1;
    /// `clock_gettime64`, Linux 5.1.
    pub const CLOCK_GETTIME: usize = 403;
    pub const REBOOT: usize = 88;
    pub const CLONE: usize = 120;
    pub const EXECVE: usize = 11;
    pub const PPOLL: usize = 336;
    #[cfg(feature = "full")]
    pub const RT_SIGPROCMASK: usize = 175;
    #[cfg(feature = "full")]
    pub const RT_SIGPENDING: usize = 176;
    #[cfg(feature = "full")]
    pub const ADD_KEY: usize = 309;
}
#[cfg(target_arch = "x86_64")]
mod number {
    //! arch/x86/entry/syscalls/syscall_64.tbl
    pub const IOCTL: usize = 16;
    pub const CLOSE: usize = 3;
    pub const WRITE: usize = 1;
    pub const EXIT: usize = 60;
    pub const CLOCK_GETTIME: usize = 228;
    pub const REBOOT: usize = 169;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const PPOLL: usize = 271;
    #[cfg(feature = "full")]
    pub const RT_SIGPROCMASK: usize = 14;
    #[cfg(feature = "full")]
    pub const RT_SIGPENDING: usize = 127;
    #[cfg(feature = "full")]
    pub const ADD_KEY: usize = 248;
}

/// Makes a system call with up to five arguments.
///
/// # Safety
/// The arguments must be what the call `number` takes.
unsafe fn call(number: usize, arguments: [usize; 5]) -> isize {
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
    result
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0i64; 2];
    // SAFETY: `struct __kernel_timespec` is two 64-bit fields on every architecture here.
    unsafe { call(number::CLOCK_GETTIME, [CLOCK_MONOTONIC, time.as_mut_ptr().expose_provenance(), 0, 0, 0]) };
    let [seconds, nanoseconds] = time;
    (seconds.unsigned_abs() * 1_000_000_000) + nanoseconds.unsigned_abs()
}

/// arm64's virtual counter and its rate. The kernel lets every program read both, and emulates the reading where a processor's
/// fault makes it trap (arch/arm64/kernel/traps.c, since Linux 4.12).
#[cfg(target_arch = "aarch64")]
pub fn counter() -> Option<Counter> {
    let (ticks, rate): (u64, u64);
    // SAFETY: reads two registers. The barrier keeps the counter from being read ahead of what comes before.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) rate,
            options(nomem, nostack, preserves_flags));
    }
    // The rate's upper half is reserved.
    Some(Counter { ticks, hz: rate as u32 })
}

/// armv7's may not be there, or kill who reads it; x86-64's has no rate that it tells.
#[cfg(not(target_arch = "aarch64"))]
pub fn counter() -> Option<Counter> {
    None
}

/// Writes to a descriptor by number; nothing can be done about an error.
pub fn write(descriptor: i32, bytes: &[u8]) {
    // SAFETY: pointer and length are those of a slice. A descriptor of -1 gives EBADF.
    unsafe { call(number::WRITE, [descriptor as usize, bytes.as_ptr().addr(), bytes.len(), 0, 0]) };
}

/// Closes a descriptor by number.
pub fn close(descriptor: i32) {
    // SAFETY: takes no pointer; only `kmsg` owns the descriptor.
    unsafe { call(number::CLOSE, [descriptor as usize, 0, 0, 0, 0]) };
}

/// An ioctl with its result.
///
/// # Safety
/// `argument` must be what `request` takes.
pub unsafe fn ioctl(descriptor: BorrowedFd<'_>, request: usize, argument: usize) -> Result<usize, Errno> {
    // SAFETY: as the caller promises; the descriptor is open.
    let result = unsafe { call(number::IOCTL, [descriptor.as_raw_fd() as usize, request, argument, 0, 0]) };
    usize::try_from(result).map_err(|_| errno(result))
}

#[cfg(feature = "full")]
/// Puts `payload` as a key of type `user` into this process' own keyring, which ends with the program. EINVAL if it is empty.
pub fn add_key(description: &CStr, payload: &[u8]) -> Result<(), Errno> {
    const KEY_SPEC_PROCESS_KEYRING: isize = -2;
    let kind = c"user".as_ptr().addr();
    let (bytes, length) = (payload.as_ptr().addr(), payload.len());
    let arguments = [kind, description.as_ptr().addr(), bytes, length, KEY_SPEC_PROCESS_KEYRING as usize];
    // SAFETY: two strings that end with NUL; pointer and length are those of a slice.
    let result = unsafe { call(number::ADD_KEY, arguments) };
    if result < 0 { Err(errno(result)) } else { Ok(()) }
}

/// Replaces the program; returns only the error.
///
/// # Safety
/// Both vectors must be arrays of pointers to strings that end with NULL.
pub unsafe fn execute(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    // SAFETY: as the caller promises.
    let result = unsafe { call(number::EXECVE, [path.as_ptr().addr(), argv.addr(), envp.addr(), 0, 0]) };
    errno(result)
}

/// A system call's error, which is between -4095 and -1.
fn errno(result: isize) -> Errno {
    Errno::from_raw_os_error(i32::try_from(-result).unwrap_or(0))
}

/// Runs `work` in a child process beside the caller. If there is no room for one, it comes back.
pub fn in_child<Work: FnOnce()>(work: Work) -> Option<Work> {
    const SIGCHLD: usize = 17;
    // SAFETY: a new process with a copy of this stack, as fork(2).
    match unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) } {
        0 => {
            work();
            // SAFETY: ends the child.
            unsafe { call(number::EXIT, [0, 0, 0, 0, 0]) };
            None
        }
        negative if negative < 0 => Some(work),
        _ => None,
    }
}

/// Runs `work` in a child process, or here if there is no room for one.
pub fn in_child_or_here<Work: FnOnce()>(work: Work) {
    if let Some(work) = in_child(work) {
        work();
    }
}

/// A mask with SIGTERM alone, and its size in bytes: a word or two, 64 bits in all.
#[cfg(feature = "full")]
static SIGTERM: u64 = 1 << 14;
#[cfg(feature = "full")]
const MASK_BYTES: usize = size_of::<u64>();

/// From now on SIGTERM waits, for [`is_told_to_end`].
#[cfg(feature = "full")]
pub fn hold_sigterm() {
    const SIG_BLOCK: usize = 0;
    // SAFETY: reads a mask of the size that it is told.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_BLOCK, (&raw const SIGTERM).addr(), 0, MASK_BYTES, 0]) };
}

/// Whether SIGTERM has come.
#[cfg(feature = "full")]
pub fn is_told_to_end() -> bool {
    let mut pending = 0_u64;
    // SAFETY: writes a mask of the size that it is told.
    unsafe { call(number::RT_SIGPENDING, [(&raw mut pending).expose_provenance(), MASK_BYTES, 0, 0, 0]) };
    pending & SIGTERM != 0
}

/// Ends this process.
#[allow(dead_code, reason = "PID 1 never does; a service and run-init do")]
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: takes a number and does not return.
        unsafe { call(number::EXIT, [status.into(), 0, 0, 0, 0]) };
    }
}

const MAGIC1: usize = 0xfee1_dead;
const MAGIC2: usize = 0x2812_1969;

/// Restarts the machine and gives the kernel `reason` (`LINUX_REBOOT_CMD_RESTART2`).
pub fn restart(reason: &CStr) {
    // SAFETY: `reason` ends with NUL; the kernel reads at most 256 bytes of it.
    unsafe { call(number::REBOOT, [MAGIC1, MAGIC2, 0xA1B2_C3D4, reason.as_ptr().addr(), 0]) };
}

/// Switches the machine off (`LINUX_REBOOT_CMD_POWER_OFF`).
pub fn power_off() {
    // SAFETY: takes no pointer.
    unsafe { call(number::REBOOT, [MAGIC1, MAGIC2, 0x4321_FEDC, 0, 0]) };
}

/// Sleeps for ever: PID 1 must not return.
pub fn wait_forever() -> ! {
    loop {
        // SAFETY: no descriptors, no timeout, no signal mask.
        unsafe { call(number::PPOLL, [0, 0, 0, 0, 0]) };
    }
}
