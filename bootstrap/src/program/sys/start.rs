//! `_start`, and `execve` with what the kernel gave.

use super::call;
use crate::program::full::service;
use crate::program::kmsg;
use crate::program::text::{c_path, text};
use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use log::Level;
use rustix::io::Errno;

// The kernel enters with the stack pointer at argc; then argv, NULL, envp, NULL (Documentation and ABI of each
// architecture: fs/binfmt_elf.c create_elf_tables(), Linux 6.12).
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "mov x0, sp", "bl {}", "brk #1", sym begin);
#[cfg(target_arch = "arm")]
global_asm!(
    ".arm", ".globl _start", ".type _start, %function", "_start:",
    "mov fp, #0", "mov lr, #0", "mov r0, sp", "bic sp, sp, #7", "bl {}", "udf #0",
    sym begin
);
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", "ud2", sym begin);

/// What the kernel gave PID 1: pointers into the stack's top, which outlive everything.
#[derive(Clone, Copy)]
pub struct Arguments {
    argv: *mut *const c_char,
    envp: *const *const c_char,
}

/// For a service and for `run-init`, which are started with words of their own.
#[allow(dead_code, reason = "not for PID 1")]
impl Arguments {
    /// The argument at `index`, if there are that many.
    pub fn nth(self, index: usize) -> Option<&'static CStr> {
        for at in 0..=index {
            // SAFETY: the vector ends with NULL, behind which nothing is read.
            if unsafe { (*self.argv.add(at)).is_null() } {
                return None;
            }
        }
        // SAFETY: what is not NULL is a string of the kernel's.
        Some(unsafe { CStr::from_ptr((*self.argv.add(index)).cast()) })
    }

    /// Whether there is one argument, and it is `word`.
    pub fn is_only(self, word: &CStr) -> bool {
        self.nth(1) == Some(word) && self.nth(2).is_none()
    }

    /// Becomes the program that the argument at `index` names, with it and what follows as its own. Returns only the error.
    pub fn execute_from(self, index: usize) -> Errno {
        let Some(path) = self.nth(index) else { return Errno::INVAL };
        // SAFETY: the end of a vector that ends with NULL is one itself.
        unsafe { call::execute(path, self.argv.add(index).cast_const(), self.envp) }
    }
}

extern "C" fn begin(stack: *mut usize) -> ! {
    // SAFETY: `_start` passes the initial stack pointer, where the kernel put argc, argv, NULL and envp.
    let arguments = unsafe {
        let argv = stack.add(1);
        Arguments { argv: argv.cast(), envp: argv.add(*stack + 1).cast() }
    };
    crate::program::main(arguments)
}

/// Becomes the program at `path` with the kernel's arguments and environment; `argv[0]` becomes `path`, as the kernel
/// itself does it. Returns only the error.
pub fn execute(path: &str, arguments: Arguments) -> Errno {
    let path = c_path![path];
    // SAFETY: argv has room for its first element (the kernel always sets one for init) and both vectors end with NULL.
    unsafe {
        *arguments.argv = path.as_ptr();
        call::execute(&path, arguments.argv.cast_const(), arguments.envp)
    }
}

/// Becomes the program at `path` without further arguments or environment. Returns only the error.
pub fn execute_alone(path: &str) -> Errno {
    let path = c_path![path];
    let argv = [path.as_ptr(), core::ptr::null()];
    let envp = [core::ptr::null()];
    // SAFETY: both vectors end with NULL.
    unsafe { call::execute(&path, argv.as_ptr(), envp.as_ptr()) }
}

/// Unreachable from any input; should it be reached, the bootloader's next try is better than a kernel panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kmsg::say(Level::Error, text!["internal error"]);
    service::leave();
    call::restart(c"initoverlayfs-internal");
    call::wait_forever()
}
