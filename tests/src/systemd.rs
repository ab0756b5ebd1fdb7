//! The Debian tree of tests/setup/rootfs.sh as a system that boots to multi-user.target: packages that are only unpacked lack what
//! their installation makes.

use crate::cpio::{Entry, archive};
use crate::kernel::checkout;
use crate::{Failure, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Users that the tree's packages would have made.
const USERS: &str = "root:x:0:0:root:/root:/bin/bash\n\
    messagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n\
    systemd-network:x:998:998::/:/usr/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUPS: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nmessagebus:x:100:\nsystemd-network:x:998:\nsystemd-journal:x:999:\nnogroup:x:65534:\n";
/// Kernel arguments for it: hwdb, journal catalogue and the linker's cache would be made anew in every boot, since nothing is kept.
pub const APPEND: &str = "systemd.condition_needs_update=0 systemd.mask=ldconfig.service";

/// A service that multi-user.target wants.
pub fn service(name: &str, unit: &str) -> Vec<Entry> {
    let folder = "etc/systemd/system";
    vec![
        Entry::file(&format!("{folder}/{name}"), 0o644, unit),
        Entry::link(&format!("{folder}/multi-user.target.wants/{name}"), &format!("../{name}")),
    ]
}

/// Writes the tree and `more` as an initramfs to `path`.
///
/// # Errors
/// If the tree cannot be had, or not be written.
pub fn write(more: Vec<Entry>, path: &Path) -> Result<()> {
    let output = Command::new(checkout().join("tests/setup/rootfs.sh")).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("no Debian tree\n  run tests/setup/rootfs.sh".into());
    }
    let tree = String::from_utf8(output.stdout)?;
    let mut out = File::create(path)?;
    let find = "cd \"$0\" && find . -path ./dev -prune -o -print | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0";
    let status = Command::new("sh").args(["-c", find, tree.trim_end()]).stdout(out.try_clone()?).status()?;
    if !status.success() {
        return Err(Failure::from("cpio failed\n  run tests/setup/apt.sh test"));
    }
    let mut entries = vec![
        Entry::folder("dev"),
        Entry::device("dev/console", 0o600, 5, 1),
        Entry::file("etc/passwd", 0o644, USERS),
        Entry::file("etc/group", 0o644, GROUPS),
        Entry::file("etc/hostname", 0o644, "tests\n"),
        // Empty: made in the boot, and no first boot with questions.
        Entry::file("etc/machine-id", 0o644, ""),
        Entry::folder("etc/systemd/system"),
        Entry::folder("etc/systemd/system/multi-user.target.wants"),
        Entry::link("etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target"),
    ];
    entries.extend(more);
    out.write_all(&archive(&entries))?;
    Ok(())
}
