//! Fault tier: whatever is wrong, a line names step, cause and error number, the policy follows, and nothing hangs.

use bootstrap::plan::Handover;
use libtest_mimic::{Arguments, Trial};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tests::boot::{Boot, Outcome};
use tests::cpio::Entry;
use tests::image::{PARTNAME, Parts, Place, Spec, make};
use tests::kernel::{Kernel, get};
use tests::{Result, content, equal};

const EINVAL: u32 = 22;
const ENOENT: u32 = 2;
const EACCES: u32 = 13;
const EBADMSG: u32 = 74;
const ETIMEDOUT: u32 = 110;

/// A fault: from the kernel it is tried on to what must be seen.
type Fault = fn(&Kernel) -> Result<()>;

/// Every fault, by name.
const FAULTS: [(&str, Fault); 34] = [
    ("device_never_comes", device_never_comes),
    ("device_comes_after_5_s", device_comes_late),
    ("two_devices_with_one_partname", two_devices),
    ("two_devices_with_one_partname_and_a_hint", two_devices_and_a_hint),
    ("erofs_cut_at_0_zeros", |kernel| erofs_zeroed(kernel, 0)),
    ("erofs_cut_at_1k_zeros", |kernel| erofs_zeroed(kernel, 1024)),
    ("erofs_cut_at_0", |kernel| erofs_cut(kernel, Some(0))),
    ("erofs_cut_at_1k", |kernel| erofs_cut(kernel, Some(1024))),
    ("erofs_cut_at_4k", |kernel| erofs_cut(kernel, Some(4096))),
    ("erofs_cut_at_half", |kernel| erofs_cut(kernel, None)),
    ("erofs_file_of_zero_length", erofs_empty_file),
    ("superblock_magic_flipped", |kernel| superblock(kernel, 0, "no EROFS superblock")),
    ("superblock_block_size_flipped", |kernel| superblock(kernel, 12, "EROFS superblock is invalid")),
    ("module_missing", module_missing),
    ("module_of_another_kernel", module_of_another_kernel),
    ("module_is_rubbish", module_is_rubbish),
    ("root_on_the_command_line", |kernel| boots_with(kernel, b"root=/dev/sda1 ro")),
    ("memory_64_mib", little_memory),
    ("no_dev_console", no_console),
    ("next_init_missing", |kernel| next_init(kernel, None, ENOENT, "next init is missing")),
    ("next_init_not_executable", |kernel| {
        next_init(kernel, Some(Entry::file("init", 0o644, "#!/bin/sh\n")), EACCES, "not an executable file")
    }),
    ("next_init_dangling", |kernel| {
        next_init(kernel, Some(Entry::link("init", "nowhere")), ENOENT, "next init is missing")
    }),
    ("next_init_is_a_folder", |kernel| {
        next_init(kernel, Some(Entry::folder("init")), EACCES, "not an executable file")
    }),
    ("next_init_leads_to_itself", |kernel| {
        next_init(kernel, Some(Entry::link("init", "init")), 40, "next init is missing")
    }),
    ("next_init_is_no_program", |kernel| exec_fails(kernel)),
    ("command_line_with_quotes", |kernel| boots_with(kernel, b"a=\"b c\" \"d e\" \"unfinished")),
    ("command_line_not_utf8", |kernel| boots_with(kernel, b"word=\xff\xfe\x80 caf\xe9")),
    ("command_line_of_2_kib", long_command_line),
    ("plan_missing", |kernel| plan(kernel, None, ENOENT, "cannot read the plan")),
    ("plan_truncated", |kernel| plan(kernel, Some(|plan| plan.truncate(40)), EBADMSG, "truncated")),
    ("plan_empty", |kernel| plan(kernel, Some(Vec::clear), EBADMSG, "truncated")),
    ("plan_bit_flipped", |kernel| plan(kernel, Some(|plan| flip(plan, 20)), EBADMSG, "wrong CRC-32")),
    ("plan_of_a_wrong_version", |kernel| plan(kernel, Some(|plan| flip(plan, 4)), EBADMSG, "unknown format version")),
    ("plan_with_a_wrong_crc", |kernel| plan(kernel, Some(|plan| flip(plan, 12)), EBADMSG, "wrong CRC-32")),
];

fn main() {
    let arguments = Arguments::from_args();
    let trial = |(name, fault): &(&str, Fault)| {
        let fault = *fault;
        Trial::test(*name, move || get("arm64-6.1").and_then(|kernel| fault(&kernel)).map_err(Into::into))
    };
    libtest_mimic::run(&arguments, FAULTS.iter().map(trial).collect()).exit();
}

fn spec() -> Spec {
    // Short, because here nothing more will come.
    Spec { deadline_ms: 2_000, ..Spec::new(Place::Partition, Handover::Kernel) }
}

fn parts(kernel: &Kernel) -> Result<Parts> {
    make(kernel, &content::guest(kernel)?, &spec())
}

/// Boots `parts` from a disk whose partitions have these names.
fn boot(kernel: &Kernel, parts: &Parts, names: &[&str], change: impl FnOnce(&mut Boot<'_>)) -> Result<Outcome> {
    let mut boot = Boot::new(kernel, parts.initrd()?);
    if !names.is_empty() {
        boot.disks.push(parts.disk(names)?);
    }
    change(&mut boot);
    boot.run()
}

fn flip(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x10;
    }
}

fn device_never_comes(kernel: &Kernel) -> Result<()> {
    boot(kernel, &parts(kernel)?, &["another"], |_| ())?.refused("device", "PARTNAME=initoverlayfs", ETIMEDOUT)
}

fn two_devices(kernel: &Kernel) -> Result<()> {
    boot(kernel, &parts(kernel)?, &[PARTNAME, PARTNAME], |_| ())?.refused("device", "more than one device fits", 76)
}

/// The hint is the board's own choice between the two (D9).
fn two_devices_and_a_hint(kernel: &Kernel) -> Result<()> {
    let parts = make(kernel, &content::guest(kernel)?, &Spec { hint: Some("vda1".into()), ..spec() })?;
    boot(kernel, &parts, &[PARTNAME, PARTNAME], |_| ())?.reported().map(|_| ())
}

/// The image is on a partition exactly as long as what is left of it, rounded up to a block.
fn erofs_cut(kernel: &Kernel, length: Option<u64>) -> Result<()> {
    let parts = parts(kernel)?;
    let file = OpenOptions::new().write(true).open(&parts.erofs)?;
    let length = match length {
        Some(length) => length,
        None => file.metadata()?.len() / 2,
    };
    file.set_len(length)?;
    let cause = if length <= 1024 { "EROFS" } else { "EROFS image is truncated" };
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("mount", cause, EINVAL)
}

/// The image was written only to `length`; the partition is as long as ever.
fn erofs_zeroed(kernel: &Kernel, length: u64) -> Result<()> {
    let parts = parts(kernel)?;
    let file = OpenOptions::new().write(true).open(&parts.erofs)?;
    let whole = file.metadata()?.len();
    file.set_len(length)?;
    file.set_len(whole)?;
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("mount", "no EROFS superblock", EINVAL)
}

fn erofs_empty_file(kernel: &Kernel) -> Result<()> {
    let spec = Spec::new(Place::Initramfs, Handover::Kernel);
    let mut parts = make(kernel, &content::guest(kernel)?, &spec)?;
    parts.replace("image.erofs", 0o644, "");
    boot(kernel, &parts, &[], |_| ())?.refused("mount", "shorter than an EROFS superblock", EINVAL)
}

fn superblock(kernel: &Kernel, at: u64, cause: &str) -> Result<()> {
    let parts = parts(kernel)?;
    let mut file = OpenOptions::new().read(true).write(true).open(&parts.erofs)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(1024 + at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(1024 + at))?;
    file.write_all(&[byte[0] ^ 0x10])?;
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("mount", cause, EINVAL)
}

fn module_missing(kernel: &Kernel) -> Result<()> {
    let mut parts = parts(kernel)?;
    parts.remove("modules/erofs.ko");
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("modules", "/modules/erofs.ko", ENOENT)
}

fn module_of_another_kernel(kernel: &Kernel) -> Result<()> {
    let mut parts = parts(kernel)?;
    let other = content::modules(&get("arm64-6.12")?, &["erofs"])?;
    let erofs = other.into_iter().find(|(name, _)| name == "erofs").ok_or("no module erofs")?;
    parts.replace("modules/erofs.ko", 0o644, erofs.1);
    // ENOEXEC, "version magic ... should be ..."
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("modules", "/modules/erofs.ko", 8)
}

fn module_is_rubbish(kernel: &Kernel) -> Result<()> {
    let mut parts = parts(kernel)?;
    parts.replace("modules/erofs.ko", 0o644, vec![0x55; 4096]);
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("modules", "/modules/erofs.ko", 8)
}

fn boots_with(kernel: &Kernel, words: &[u8]) -> Result<()> {
    let words = OsString::from_vec(words.to_vec());
    let outcome = boot(kernel, &parts(kernel)?, &[PARTNAME], |boot| boot.append = words)?;
    equal("next init seen", &outcome.log.next_init_ran(), &true)
        .map_err(|error| outcome.failure(&error.to_string()))?;
    outcome.reported().map(drop)
}

/// The kernel cuts it at `COMMAND_LINE_SIZE`, 2048 on arm64: the boot goes on with what is left.
fn long_command_line(kernel: &Kernel) -> Result<()> {
    boots_with(kernel, format!("word={}", "x".repeat(1900)).as_bytes())
}

/// Boots, or ends with a line and the policy; never a panic, never a hang.
fn little_memory(kernel: &Kernel) -> Result<()> {
    let outcome = boot(kernel, &parts(kernel)?, &[PARTNAME], |boot| boot.memory_mib = 64)?;
    let clean = outcome.console.contains("initoverlayfs: policy reboot") && !outcome.console.contains("Kernel panic");
    if outcome.report.is_some() || clean { Ok(()) } else { Err(outcome.failure("neither booted nor refused")) }
}

/// Without it the kernel opens no descriptors; the next init must still have all three.
fn no_console(kernel: &Kernel) -> Result<()> {
    let mut parts = parts(kernel)?;
    parts.remove("dev/console");
    let outcome = boot(kernel, &parts, &[PARTNAME], |_| ())?;
    let fds = outcome.reported()?.lines("fds").join(", ");
    equal("fds", &fds.as_str(), &"0 /dev/console, 1 /dev/console, 2 /dev/console")
        .map_err(|error| outcome.failure(&error.to_string()))
}

fn next_init(kernel: &Kernel, init: Option<Entry>, errno: u32, cause: &str) -> Result<()> {
    let mut content = content::guest(kernel)?;
    content.retain(|entry| entry.path != "init");
    content.extend(init);
    let parts = make(kernel, &content, &spec())?;
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("switch-root", cause, errno)
}

/// Executable but no program: seen only by execve, after the switch.
fn exec_fails(kernel: &Kernel) -> Result<()> {
    let mut content = content::guest(kernel)?;
    content.retain(|entry| entry.path != "init");
    content.push(Entry::file("init", 0o755, "no program"));
    let parts = make(kernel, &content, &spec())?;
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("exec", "cannot start the next init", 8)
}

fn plan(kernel: &Kernel, change: Option<fn(&mut Vec<u8>)>, errno: u32, cause: &str) -> Result<()> {
    let mut parts = parts(kernel)?;
    let mut bytes = parts.member("plan")?;
    parts.remove("plan");
    if let Some(change) = change {
        change(&mut bytes);
        parts.replace("plan", 0o644, bytes);
    }
    boot(kernel, &parts, &[PARTNAME], |_| ())?.refused("early-mounts", cause, errno)
}

/// The disk is plugged in while the last modules are loaded; the hot-plug port then takes longer than they do.
fn device_comes_late(kernel: &Kernel) -> Result<()> {
    let spec = Spec { deadline_ms: 30_000, ..spec() };
    let parts = make(kernel, &content::guest(kernel)?, &spec)?;
    let disk = parts.disk(&[PARTNAME])?;
    let socket = parts.folder.path().join("qmp");
    let outcome = boot(kernel, &parts, &[], |boot| {
        let drive = format!("if=none,format=raw,readonly=on,id=late,file={}", disk.display());
        let qmp = format!("unix:{},server=on,wait=off", socket.display());
        boot.extra = ["-drive", &drive, "-qmp", &qmp, "-device", "pcie-root-port,id=late-port,chassis=1"]
            .map(OsString::from)
            .into();
        boot.on_text = Some(("initoverlayfs: module overlay".into(), tests::boot::Action::new(move || plug(&socket))));
    })?;
    outcome.reported()?;
    let late_us = u64::try_from(LATE.as_micros())?;
    let waited = outcome.log.rows.iter().any(|row| row.name == "device" && row.duration_us > late_us / 2);
    if waited { Ok(()) } else { Err(outcome.failure("the device was there before bootstrap waited for it")) }
}

/// How late a late device is.
const LATE: Duration = Duration::from_secs(5);

/// Adds the disk to a running QEMU, late: the delay is the fault under test.
fn plug(socket: &Path) -> Result<()> {
    std::thread::sleep(LATE);
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    let mut reader = std::io::BufReader::new(stream.try_clone()?);
    let add = r#"{"execute":"device_add","arguments":{"driver":"virtio-blk-pci","drive":"late","bus":"late-port"}}"#;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line)?;
    for command in [r#"{"execute":"qmp_capabilities"}"#, add] {
        writeln!(stream, "{command}")?;
        line.clear();
        while !line.contains("\"return\"") {
            if line.contains("\"error\"") {
                return Err(format!("QEMU refused {command}: {line}").into());
            }
            line.clear();
            std::io::BufRead::read_line(&mut reader, &mut line)?;
        }
    }
    Ok(())
}
