//! Start-up without libc: the kernel's stack to [`crate::run`], and the first thing it does, reading the clock.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {entry}", "brk #1", entry = sym entry);
#[cfg(target_arch = "arm")]
global_asm!(".globl _start", ".arm", ".type _start, %function", "_start:", "mov r0, sp", "bic sp, sp, #7", "bl {entry}", "udf #0", entry = sym entry);
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {entry}", "ud2", entry = sym entry);

/// Reads the clock, then takes the stack apart.
unsafe extern "C" fn entry(stack: *const usize) -> ! {
    let first_ns = monotonic_ns();
    // SAFETY: `stack` is the initial stack pointer, where the kernel put argc, argv, NULL, envp, NULL.
    let (arguments, environment) = unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const core::ffi::c_char>();
        (Strings(argv), Strings(argv.add(argc + 1)))
    };
    crate::run(first_ns, arguments, environment)
}

/// A NULL-terminated array of C strings on the initial stack.
#[derive(Clone, Copy)]
pub struct Strings(pub *const *const core::ffi::c_char);

impl Iterator for Strings {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<&'static [u8]> {
        // SAFETY: made by `entry` from the kernel's arrays only, which live as long as the process; the last element is
        // NULL and is never passed.
        unsafe {
            let string = *self.0;
            if string.is_null() {
                return None;
            }
            self.0 = self.0.add(1);
            Some(core::ffi::CStr::from_ptr(string).to_bytes())
        }
    }
}

/// `CLOCK_MONOTONIC` by system call: no vDSO to find, so the first reading costs nothing it would then report.
pub fn monotonic_ns() -> u64 {
    let mut time = [0_i64; 2];
    let pointer = time.as_mut_ptr();
    // SAFETY: the kernel writes two 64-bit values to `time` (clock_gettime64 on 32-bit ARM), nothing else.
    unsafe {
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", in("x8") 113, inlateout("x0") 1_usize => _, in("x1") pointer, options(nostack));
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") 228_usize => _, in("rdi") 1, in("rsi") pointer, out("rcx") _, out("r11") _, options(nostack));
        // r7 may be the frame pointer and cannot be an operand.
        #[cfg(target_arch = "arm")]
        asm!("mov {save}, r7", "mov r7, #403", "svc #0", "mov r7, {save}", save = out(reg) _,
            inlateout("r0") 1_usize => _, in("r1") pointer, options(nostack));
    }
    (time[0] as u64).wrapping_mul(1_000_000_000).wrapping_add(time[1] as u64)
}

/// Starts `path` in place of this program, with one argument and no environment; returns only if it cannot.
pub fn execute(path: &core::ffi::CStr, argument: &core::ffi::CStr) {
    let arguments = [path.as_ptr(), argument.as_ptr(), core::ptr::null()];
    let environment = [core::ptr::null::<core::ffi::c_char>()];
    let (path, arguments, environment) = (path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    // SAFETY: execve(2) reads a C string and two NULL-terminated arrays of C strings; all live until it has returned.
    unsafe {
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", in("x8") 221, inlateout("x0") path => _, in("x1") arguments, in("x2") environment, options(nostack));
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") 59_usize => _, in("rdi") path, in("rsi") arguments, in("rdx") environment,
            out("rcx") _, out("r11") _, options(nostack));
        // r7 may be the frame pointer and cannot be an operand.
        #[cfg(target_arch = "arm")]
        asm!("mov {save}, r7", "mov r7, #11", "svc #0", "mov r7, {save}", save = out(reg) _,
            inlateout("r0") path => _, in("r1") arguments, in("r2") environment, options(nostack));
    }
}

/// Ends this program with success.
pub fn exit() -> ! {
    // SAFETY: exit_group(2) takes a number and does not return.
    unsafe {
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", in("x8") 94, in("x0") 0, options(noreturn, nostack));
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", in("rax") 231, in("rdi") 0, options(noreturn, nostack));
        // r7 may be the frame pointer and cannot be an operand; it is not needed any more.
        #[cfg(target_arch = "arm")]
        asm!("mov r7, #248", "svc #0", in("r0") 0, options(noreturn, nostack));
    }
}
