//! How QEMU reads disks where times are compared: by io_uring if it can.
//!
//! On the instruction clock the guest goes on when its read is answered, and by io_uring what is in the host's memory is answered in the
//! call that asks for it ([`Clock::Instructions`](super::qemu::Clock::Instructions)). Where waits take the host's time, a pool of threads, QEMU's own
//! choice, is two changes of threads for each read: at switch-root of the tuned kernel (n = 30, host with a load of 10) the slowest boot
//! was 14.9 ms behind the fastest, by io_uring 0.016 ms.

use super::qemu::{End, Running, option_value};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long QEMU may take to start and end without a guest.
const DEADLINE: Duration = Duration::from_secs(20);

/// What stands behind a drive of this QEMU: the option, or nothing where QEMU or the kernel lacks it.
pub fn option(program: &str, image: &Path) -> &'static str {
    static KNOWN: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let works = *known.entry(program.to_owned()).or_insert_with(|| {
        let mut drive = OsString::from("if=none,format=raw,readonly=on,aio=io_uring,file=");
        drive.push(option_value(image.as_os_str()));
        let works = starts(program, &["-drive".into(), drive]);
        // What does not start at all says so itself.
        if !works && starts(program, &[]) {
            log::warn!("{program} cannot read disks by io_uring here: waits for a disk take the host's time");
        }
        works
    });
    if works { ",aio=io_uring" } else { "" }
}

/// Has a file in the host's memory, holes too, so that each read of it is answered at once: read through, once for each file.
pub fn bring_in(image: &Path) {
    static KNOWN: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());
    // QEMU says what is wrong with it.
    let Ok(mut file) = File::open(image) else { return };
    let Ok(metadata) = file.metadata() else { return };
    if KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert((metadata.dev(), metadata.ino())) {
        let _ = io::copy(&mut file, &mut io::sink());
    }
}

/// Starts QEMU without a machine, and ends it; whether it ended well.
fn starts(program: &str, arguments: &[OsString]) -> bool {
    let mut command = Command::new(program);
    command.args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"]);
    command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut running) = Running::start(command) else { return false };
    // A program that has ended already did not start.
    let asked = running.keys().map(|mut keys| keys.write_all(b"quit\n"));
    let end = running.watch(Some(Instant::now() + DEADLINE), &mut |_| true);
    matches!((asked, end), (Some(Ok(())), Ok(End::Exited(true))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::qemu::tests::install;

    #[test]
    fn a_program_that_refuses_or_is_missing_gets_no_option() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            install(text, &path);
            path.to_str().unwrap().to_owned()
        };
        let takes = script("takes", "#!/bin/sh\nread word\n[ \"$word\" = quit ] || exit 1\n");
        assert_eq!(option(&takes, Path::new("a,b")), ",aio=io_uring");
        let refuses = script("refuses", "#!/bin/sh\nread word\nexit 1\n");
        assert_eq!([option(&refuses, Path::new("a")), option("/nonexistent/qemu", Path::new("a"))], ["", ""]);
    }
}
