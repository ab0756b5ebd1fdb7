//! Device nodes and owners without privilege: the whole command runs again under `fakeroot`, unless it can make them
//! already, as root or inside of `fakeroot` or `pseudo` (a Yocto build).

use crate::{Error, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set by `fakeroot` in what it runs.
const INSIDE: &str = "FAKEROOTKEY";

/// Returns if device nodes can be made and owners changed; otherwise replaces this process by the same command under
/// `fakeroot`. To be called first thing in a command that builds an image.
///
/// # Errors
/// `FailedWork` if `fakeroot` is missing or does not help.
pub fn ensure() -> Result<()> {
    if is_able()? {
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_some() {
        return Err(Error::failed(
            "fakeroot does not give this program the right to make device nodes",
            "is imagegen linked statically? build it against the system's libc, or run it as root",
        ));
    }
    let program = std::env::current_exe().map_err(Error::io("find", "the running program"))?;
    // In a user namespace an owner it does not map is EINVAL, which fakeroot would pass on.
    let error = Command::new("fakeroot")
        .env("FAKEROOTDONTTRYCHOWN", "1")
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Error::failed(
            "fakeroot is missing: without it only root can build an image with its owners and device nodes",
            "apt-get install fakeroot",
        ),
        _ => Error::failed(format!("cannot run fakeroot: {error}"), "apt-get install --reinstall fakeroot"),
    })
}

/// Whether a device node can be made and given away. Tried, not asked for: capabilities do not tell, in a user namespace.
fn is_able() -> Result<bool> {
    let folder = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let path = folder.path().join("null");
    let made = mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).is_ok();
    Ok(made && lchown(&path, Some(1), Some(1)).is_ok())
}
