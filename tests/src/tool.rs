//! The `imagegen` program itself, as a user runs it.

use crate::cpio::archive;
use crate::kernel::{Kernel, checkout};
use crate::{Result, content};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program, beside the tests; `bootstrap-ARCH` lies there too.
///
/// # Errors
/// If it is not built.
pub fn program() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let program = test.parent().and_then(Path::parent).unwrap_or(Path::new("")).join("imagegen");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("no {}\n  run make bootstrap imagegen", program.display()).into())
    }
}

/// Runs `imagegen` with `arguments`; a failure is an outcome.
///
/// # Errors
/// If it cannot be started.
pub fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output> {
    let mut command = Command::new(program()?);
    command.args(arguments).env("INITOVERLAYFS_BOARDS", checkout().join("board-configs")).stdin(Stdio::null());
    Ok(command.output()?)
}

/// The board in board-configs/ for a kernel.
pub fn board(kernel: &Kernel) -> &'static str {
    match kernel.arch.as_str() {
        "armv7" => "qemu-armv7",
        "x86_64" => "qemu-x86_64",
        _ => "qemu-arm64",
    }
}

/// Builds `board` for `kernel` from `from` into `out`.
///
/// # Errors
/// With what the program said, if it fails.
pub fn build(board: &str, kernel: &Kernel, from: &Path, out: &Path) -> Result<()> {
    build_with(board, kernel, from, out, &[]).map(drop)
}

/// The same with further options; what the program wrote.
///
/// # Errors
/// As [`build`].
pub fn build_with(board: &str, kernel: &Kernel, from: &Path, out: &Path, options: &[&str]) -> Result<String> {
    let mut arguments: Vec<&OsStr> = vec!["build".as_ref(), board.as_ref(), "--from".as_ref(), from.as_ref()];
    arguments.extend([OsStr::new("--kernel"), kernel.image.as_ref(), "--out".as_ref(), out.as_ref()]);
    if let Some(modules) = &kernel.modules {
        arguments.extend([OsStr::new("--modules"), modules.as_ref()]);
    }
    arguments.extend(options.iter().map(OsStr::new));
    let output = run(arguments)?;
    if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(said(&output).into()) }
}

/// Writes the small system of [`content::guest`] as an initramfs into `folder`.
///
/// # Errors
/// As [`content::guest`], or if it cannot be written.
pub fn guest(kernel: &Kernel, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("content");
    std::fs::write(&path, archive(&content::guest(kernel)?))?;
    Ok(path)
}

/// Boots `out` until the guest, which is told to send no report, switches off.
///
/// # Errors
/// If the program cannot be started.
pub fn boot(out: &Path) -> Result<Output> {
    let append = ["--append", "guest=silent panic=-1", "--timeout", "300s"].map(OsStr::new);
    run([OsStr::new("boot"), out.as_ref()].into_iter().chain(append))
}

/// Everything a program said, and how it ended.
pub fn said(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{error}", output.status)
}
