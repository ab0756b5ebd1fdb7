//! A content that goes on to its final root by busybox' `switch_root`, which leaves nothing but a ramfs: `imagegen build` puts ours in
//! its place, and behind it nothing is left of image and overlay.

use super::Check;
use imagegen::boot::qemu::End;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::kernel::{Kernel, checkout};
use tests::{Result, equal, tool};

/// The content's: makes a final root and goes there, by a path because Debian's busybox prefers its applets. Each line is written by
/// an open file of its own: the kernel drops what one writes beyond ten.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t tmpfs run /run
$b mount -t tmpfs new /new
$b mkdir -p /new/bin /new/dev /new/proc /new/sys /new/run /new/sbin
$b cp $b /new/bin/
$b cp /final /new/sbin/init
/sbin/switch_root -n /new /sbin/init && echo "left: dry run" > /dev/kmsg
/sbin/switch_root -n /new /sbin/none || echo "left: no such init" > /dev/kmsg
/sbin/switch_root -n /new /bin || echo "left: no program" > /dev/kmsg
(exec /sbin/switch_root /new /sbin/init) || echo "left: not PID 1" > /dev/kmsg
for folder in dev run sys proc; do $b mount --move /$folder /new/$folder; done
exec /sbin/switch_root -c /dev/console /new /sbin/init one "two words"
"#;
/// That of the final root.
const FINAL: &str = r#"#!/bin/busybox sh
b=/bin/busybox
echo "left: $# arguments, $2, pid $$" > /dev/kmsg
while read -r line; do echo "left: mount $line" > /dev/kmsg; done < /proc/self/mountinfo
for image in $($b ls /sys/fs/erofs); do echo "left: erofs $image" > /dev/kmsg; done
$b test -s /run/initoverlayfs/record && echo "left: record" > /dev/kmsg
$b poweroff -f
"#;

/// The rows for a kernel.
pub fn rows(kernel: &Kernel) -> Vec<(String, Check)> {
    // One for each architecture, and the newest, where a rootfs can be left.
    let ones = ["arm64-6.1", "arm64-7", "armv7-6.1", "x86_64-6.1"];
    let row = ones.contains(&kernel.name.as_str()).then(|| ("leave".to_owned(), Box::new(leaves) as Check));
    row.into_iter().collect()
}

/// Debian's busybox for the kernel's processor.
pub fn busybox(kernel: &Kernel) -> Result<PathBuf> {
    let arch = match kernel.arch.as_str() {
        "armv7" => "armhf",
        "x86_64" => "amd64",
        _ => "arm64",
    };
    let mut command = Command::new(checkout().join("tests/setup/debian.sh"));
    let output = command.args(["bookworm", arch, "busybox-static"]).stderr(Stdio::inherit()).output()?;
    Ok(Path::new(String::from_utf8(output.stdout)?.trim_end()).join("bin/busybox"))
}

fn leaves(kernel: &Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (content, out) = (folder.path().join("content"), folder.path().join("out"));
    let mut entries: Vec<Entry> = ["bin", "sbin", "dev", "proc", "sys", "run", "new"].map(Entry::folder).into();
    entries.push(Entry::file("bin/busybox", 0o755, std::fs::read(busybox(kernel)?)?));
    entries.push(Entry::link("sbin/switch_root", "/bin/busybox"));
    entries.push(Entry::file("init", 0o755, INIT));
    entries.push(Entry::file("final", 0o755, FINAL));
    std::fs::write(&content, archive(&entries))?;
    let said = tool::build_with(tool::board(kernel), kernel, &content, &out, &[])?;
    let mut boot = Boot::new(kernel, out.join("initramfs.img"));
    boot.disks = vec![out.join("disk.img")];
    let outcome = boot.run()?;
    check(&outcome).map_err(|error| outcome.failure(&format!("{error}; {said}")))
}

fn check(outcome: &Outcome) -> Result<()> {
    equal("end", &outcome.end, &End::Exited(true))?;
    let said: Vec<&str> =
        outcome.console.lines().filter_map(|line| Some(line.split_once("left: ")?.1.trim_end())).collect();
    let mount = |line: &&str| {
        let (place, source) = line.strip_prefix("mount ")?.split_once(" - ")?;
        Some(format!("{} {}", place.split(' ').nth(4)?, source.split(' ').next()?))
    };
    let mounts: BTreeSet<String> = said.iter().filter_map(mount).collect();
    let expected = ["/ tmpfs", "/dev devtmpfs", "/proc proc", "/run tmpfs", "/sys sysfs"];
    equal("mounts", &mounts, &expected.map(str::to_owned).into())?;
    let others: Vec<&str> = said.into_iter().filter(|line| !line.starts_with("mount ")).collect();
    let first = ["dry run", "no such init", "no program", "not PID 1", "2 arguments, two words, pid 1"];
    // What sysfs has of EROFS without an image.
    equal("what was said", &others, &[&first[..], &["erofs features", "record"]].concat())
}
