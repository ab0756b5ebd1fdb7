//! SELinux: the labels of a tar are those of the booted files, under a policy that the content loads; what is written keeps them
//! or takes its folder's, and nothing is relabelled.

use super::Check;
use super::leave::busybox;
use imagegen::boot::qemu::End;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use tests::boot::{Boot, Outcome};
use tests::kernel::Kernel;
use tests::{Result, equal, tool};

/// A policy of two types of files, one of which nobody may read. What classes it has not, the kernel allows.
const POLICY: &str = r#"(handleunknown allow)
(mls false)
(class file (ioctl read write create getattr setattr lock relabelfrom relabelto append map unlink link rename execute
    quotaon mounton audit_access open execmod watch watch_mount watch_sb watch_with_perm watch_reads execute_no_trans
    entrypoint))
(class process (transition dyntransition))
(classorder (file process))
(sensitivity s0)
(sensitivityorder (s0))
(category c0)
(categoryorder (c0))
(sensitivitycategory s0 (c0))
(level low (s0))
(levelrange lows (low low))
(type kernel_t)
(type public_t)
(type secret_t)
(role r)
(role object_r)
(roletype r kernel_t)
(roletype object_r public_t)
(roletype object_r secret_t)
(user u)
(userrole u r)
(userrole u object_r)
(userlevel u low)
(userrange u lows)
(context process (u r kernel_t lows))
(context public (u object_r public_t lows))
(sid kernel)
(sid security)
(sid unlabeled)
(sid fs)
(sid file)
(sidorder (kernel security unlabeled fs file))
(sidcontext kernel process)
(sidcontext security public)
(sidcontext unlabeled public)
(sidcontext fs public)
(sidcontext file public)
(fsuse xattr erofs public)
(fsuse xattr overlay public)
(fsuse trans tmpfs public)
(fsuse trans devtmpfs public)
(genfscon proc "/" public)
(genfscon sysfs "/" public)
(genfscon selinuxfs "/" public)
(allow kernel_t self (process (all)))
(allow kernel_t self (file (all)))
(allow kernel_t public_t (file (all)))
(allow kernel_t secret_t (file (not (read))))
"#;
/// The content's: loads the policy in one write, as libselinux does. /changed is copied up before the policy bites.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
say() { echo "labels: $*" > /dev/kmsg; }
reads() { if $b cat "$1" > /dev/null 2>&1; then say "$1 read"; else say "$1 denied"; fi; }
$b mount -t selinuxfs selinux /sys/fs/selinux
reads /secret
$b dd if=/policy of=/sys/fs/selinux/load bs=1M 2> /dev/null && say policy loaded
$b chmod 640 /changed
echo 1 > /sys/fs/selinux/enforce
say enforcing $($b cat /sys/fs/selinux/enforce)
echo more >> /public
echo new > /open/new
echo new > /closed/new
for file in /public /secret /changed /open/old /open/new /closed/old /closed/new; do reads $file; done
$b poweroff -f
"#;
/// Whose files nobody may read, and the label they have. A label has its end in it (`security_context_to_sid()` takes it with and
/// without; setfiles writes it with).
const SECRET: ([&str; 4], &str) = (["secret", "changed", "closed", "closed/old"], "u:object_r:secret_t\0");
/// That of all others.
const PUBLIC: &str = "u:object_r:public_t\0";

/// The rows for a kernel.
pub fn rows(kernel: &Kernel) -> Vec<(String, Check)> {
    // The oldest and the newest.
    let ones = ["arm64-6.1", "arm64-7"];
    let row = ones.contains(&kernel.name.as_str()).then(|| ("labels".to_owned(), Box::new(labels) as Check));
    row.into_iter().collect()
}

/// Appends a file, or a folder if there is no content, with its label.
fn put(archive: &mut tar::Builder<File>, path: &str, mode: u32, data: Option<&[u8]>) -> Result<()> {
    let (paths, label) = SECRET;
    let label = if paths.contains(&path) { label } else { PUBLIC };
    archive.append_pax_extensions([("SCHILY.xattr.security.selinux", label.as_bytes())])?;
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(if data.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
    let data = data.unwrap_or_default();
    header.set_mode(mode);
    header.set_size(data.len().try_into()?);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    Ok(archive.append_data(&mut header, path, data)?)
}

/// Writes the labelled content.
fn write(to: &Path, busybox: &[u8], policy: &[u8]) -> Result<()> {
    let mut archive = tar::Builder::new(File::create(to)?);
    for folder in [".", "bin", "closed", "dev", "open", "proc", "run", "sys", "tmp"] {
        put(&mut archive, folder, 0o755, None)?;
    }
    for (path, data) in [("bin/busybox", busybox), ("init", INIT.as_bytes()), ("policy", policy)] {
        put(&mut archive, path, 0o755, Some(data))?;
    }
    for path in ["public", "secret", "changed", "open/old", "closed/old"] {
        put(&mut archive, path, 0o644, Some(b"old\n"))?;
    }
    Ok(archive.finish()?)
}

fn labels(kernel: &Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [source, policy, content, out] =
        ["policy.cil", "policy", "content", "out"].map(|name| folder.path().join(name));
    fs::write(&source, POLICY)?;
    let mut compiler = Command::new("secilc");
    // The version is that of kernels since 4.19.
    compiler.args(["-c", "31", "-f", "/dev/null", "-o"]).arg(&policy).arg(&source);
    let output = compiler.output().map_err(|error| format!("secilc: {error}\n  run tests/setup/apt.sh test"))?;
    if !output.status.success() {
        return Err(tool::said(&output).into());
    }
    write(&content, &fs::read(busybox(kernel)?)?, &fs::read(&policy)?)?;
    tool::build(tool::board(kernel), kernel, &content, &out)?;
    let mut boot = Boot::new(kernel, out.join("initramfs.img"));
    boot.disks = vec![out.join("disk.img")];
    boot.append = "security=selinux".into();
    let outcome = boot.run()?;
    check(&outcome).map_err(|error| outcome.failure(&error.to_string()))
}

fn check(outcome: &Outcome) -> Result<()> {
    equal("end", &outcome.end, &End::Exited(true))?;
    let said: Vec<&str> =
        outcome.console.lines().filter_map(|line| Some(line.split_once("labels: ")?.1.trim_end())).collect();
    let expected = [
        "/secret read",
        "policy loaded",
        "enforcing 1",
        "/public read",
        "/secret denied",
        "/changed denied",
        "/open/old read",
        "/open/new read",
        "/closed/old denied",
        "/closed/new denied",
    ];
    equal("what was said", &said, &expected.into())
}
