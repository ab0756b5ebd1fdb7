//! Boot tier: every kernel, both places of the image, ramfs and tmpfs, both hand-overs, compared as sets with what the
//! same kernel gives the same content as a classic initramfs.

#[path = "boot/labels.rs"]
mod labels;
#[path = "boot/leave.rs"]
mod leave;
#[path = "boot/sources.rs"]
mod sources;

use bootstrap::Step;
use bootstrap::plan::{Free, Handover};
use imagegen::boot::console::{Log, Parser};
use imagegen::boot::qemu::End;
use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::image::{PARTNAME, Parts, Place, Spec, make};
use tests::kernel::{Kernel, Kind, all, checkout, get};
use tests::report::Report;
use tests::{Result, content, equal, tool};

/// Ballast in the initramfs whose memory must come back, in bytes.
const BALLAST: usize = 20 << 20;
/// How much less memory may be free than without ballast, in KiB.
const SLACK_KIB: u64 = 2048;
/// A word in quotes and a plain one: both must arrive as the kernel splits them.
const WORDS: &str = "plain \"quoted word=with spaces\" key=value";

/// A test of one kernel.
type Check = Box<dyn FnOnce(&Kernel) -> Result<()> + Send>;

fn main() {
    let arguments = Arguments::from_args();
    let trials = match all() {
        Ok(kernels) => kernels.iter().flat_map(trials).collect(),
        Err(error) => vec![Trial::test("kernels", move || Err(error.into()))],
    };
    libtest_mimic::run(&arguments, trials).exit();
}

fn trials(kernel: &Kernel) -> Vec<Trial> {
    let mut list = Vec::new();
    let mut add = |name: String, run: Check| {
        let kernel = kernel.clone();
        list.push(Trial::test(format!("{}::{name}", kernel.name), move || run(&kernel).map_err(Into::into)));
    };
    match kernel.kind() {
        Kind::Kernel => {}
        Kind::Installer => {
            add("first_screen".into(), Box::new(installer));
            add("same_bytes".into(), Box::new(same_bytes));
            return list;
        }
        // Of tests/bootloader.
        Kind::Loader => return list,
    }
    for (place, place_name) in [(Place::Partition, "partition"), (Place::Initramfs, "initramfs")] {
        for (root, root_name) in [("", "tmpfs"), ("root=/dev/none", "ramfs")] {
            for (handover, handover_name) in [(Handover::Kernel, "kernel"), (Handover::Mounted, "mounted")] {
                let name = format!("{place_name}::{root_name}::{handover_name}");
                add(name, Box::new(move |kernel| boots(kernel, place, root, handover)));
            }
        }
    }
    if kernel.modules.is_some() {
        add("board".into(), Box::new(board));
        add("board::exec_is_refused".into(), Box::new(exec_is_refused));
    }
    if kernel.name == "arm64-6.1" {
        for format in ["none", "gzip", "zstd", "lz4", "xz"] {
            add(format!("compressed::{format}"), Box::new(move |kernel| compressed(kernel, format)));
        }
    }
    for (name, check) in sources::rows(kernel).into_iter().chain(leave::rows(kernel)).chain(labels::rows(kernel)) {
        add(name, check);
    }
    add("extras".into(), Box::new(extras));
    add("memory_is_freed".into(), Box::new(|kernel| memory_is_freed(kernel, Free::Before)));
    add("memory_is_freed_beside".into(), Box::new(|kernel| memory_is_freed(kernel, Free::Beside)));
    list
}

/// Boots `parts`, the image on a disk where it is not in the initramfs.
fn boot(kernel: &Kernel, parts: &Parts, place: Place, append: &str) -> Result<Outcome> {
    let mut boot = Boot::new(kernel, parts.initrd()?);
    if place != Place::Initramfs {
        boot.disks.push(parts.disk(&[PARTNAME])?);
    }
    boot.append = append.into();
    boot.run()
}

/// Boots the same content as a classic initramfs.
fn classic(kernel: &Kernel, append: &str) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initrd");
    std::fs::write(&initrd, archive(&content::guest(kernel)?))?;
    let mut boot = Boot::new(kernel, initrd);
    boot.append = append.into();
    boot.run()
}

fn boots(kernel: &Kernel, place: Place, root: &str, handover: Handover) -> Result<()> {
    let append = format!("{root} {WORDS} guest=reread");
    let classic = classic(kernel, &append)?;
    let parts = make(kernel, &content::guest(kernel)?, &Spec::new(place, handover))?;
    let ours = boot(kernel, &parts, place, &append)?;
    let (expected, found) = (classic.reported()?, ours.reported()?);
    let check = || -> Result<()> {
        same_start(found, expected)?;
        mounts(found, handover)?;
        writable(found)?;
        record(found)?;
        equal("next init seen on the console", &ours.log.next_init_ran(), &true)?;
        let mounted = mount_points(found);
        equal("content", &content_of(found, &mounted), &content_of(expected, &mounted))?;
        equal("failures on the console", &ours.console.contains(" failed: "), &false)
    };
    check().map_err(|error| ours.failure(&error.to_string()))
}

/// What a next init is started with is what the kernel gives `/init` of a classic initramfs.
fn same_start(found: &Report, expected: &Report) -> Result<()> {
    for section in ["argv", "environ", "cmdline", "console", "links", "processes"] {
        equal(section, &found.lines(section), &expected.lines(section))?;
    }
    let on_console: BTreeSet<String> = ["0", "1", "2"].map(|fd| format!("{fd} /dev/console")).into();
    equal("fds", &found.set("fds"), &on_console)?;
    for key in [
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "Seccomp",
    ] {
        equal(key, &found.value("status", key)?, &expected.value("status", key)?)?;
    }
    equal("pid", &found.value("start", "pid")?, &"1".to_owned())
}

fn mounts(found: &Report, handover: Handover) -> Result<()> {
    let all = ["/ overlay overlay", "/dev devtmpfs dev", "/proc proc proc", "/sys sysfs sysfs", "/run tmpfs run"];
    let count = if handover == Handover::Kernel { 1 } else { all.len() };
    let expected: BTreeSet<String> = all.iter().take(count).map(|mount| (*mount).to_owned()).collect();
    equal("mounts", &found.mounts(), &expected)
}

fn writable(found: &Report) -> Result<()> {
    for section in ["writable", "changed"] {
        let refused: Vec<&String> = found.lines(section).iter().filter(|line| !line.ends_with(" ok")).collect();
        equal(section, &refused, &Vec::new())?;
        equal("operations", &found.lines(section).is_empty(), &false)?;
    }
    Ok(())
}

/// The record decodes, names all nine steps in order and no failure.
fn record(found: &Report) -> Result<()> {
    let bytes = found.record()?;
    let record = bootstrap::record::open(&bytes)?;
    let mut steps: Vec<Step> = record.events.iter().map(|event| event.step).collect();
    steps.dedup();
    // Nothing to do, nothing to say: no modules, no verity and no extras in the plan.
    let optional = [Step::Modules, Step::Verity, Step::Extras];
    let must: Vec<Step> = Step::ALL.into_iter().filter(|step| !optional.contains(step)).collect();
    steps.retain(|step| !optional.contains(step));
    equal("steps of the record", &steps, &must)?;
    let times: Vec<u64> = record.events.iter().map(|event| event.ended_ns).collect();
    equal("times in order", &times.is_sorted(), &true)?;
    equal("failures in the record", &record.events.iter().any(|event| event.errno != 0), &false)?;
    equal("dropped events", &record.dropped, &0)
}

/// What lies in the root, without the record, what bootstrap has mounted (`mounted`), and `/root`, which every kernel's own
/// built-in initramfs brings (usr/default_cpio_list, Linux 6.12).
fn content_of(report: &Report, mounted: &BTreeSet<String>) -> BTreeSet<String> {
    let hidden = |path: &str| {
        let below =
            |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        path == "/root" || below("/run/initoverlayfs") || mounted.iter().any(|folder| folder != "/" && below(folder))
    };
    let fields = |line: &String| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let keep = |mut fields: Vec<String>| {
        if hidden(fields.last()?) {
            return None;
        }
        // Sizes of directories are the file system's own business.
        if fields.first()?.starts_with('4') {
            fields.remove(3);
        }
        Some(fields.join(" "))
    };
    report.lines("content").iter().map(fields).filter_map(keep).collect()
}

/// Mount points.
fn mount_points(report: &Report) -> BTreeSet<String> {
    report.mounts().iter().filter_map(|mount| Some(mount.split(' ').next()?.to_owned())).collect()
}

/// Of what the bootloader appends, exactly what is allowed reaches the new root.
fn extras(kernel: &Kernel) -> Result<()> {
    let mut spec = Spec::new(Place::Partition, Handover::Kernel);
    spec.extras = vec!["/etc/allowed".into(), "/etc/absent".into(), "/credentials".into()];
    let mut parts = make(kernel, &content::guest(kernel)?, &spec)?;
    parts.appended.push(archive(&[
        Entry::folder("etc"),
        Entry::file("etc/allowed", 0o600, "allowed"),
        Entry::file("etc/forbidden", 0o600, "forbidden"),
        Entry::folder("credentials"),
        Entry::file("credentials/key", 0o400, "key"),
        Entry::file("forbidden", 0o600, "forbidden"),
    ]));
    let ours = boot(kernel, &parts, Place::Partition, "guest=reread")?;
    let report = ours.reported()?;
    let has = |path: &str| report.lines("content").iter().any(|line| line.ends_with(&format!(" {path}")));
    let found = ["/etc/allowed", "/credentials/key", "/etc/forbidden", "/forbidden", "/etc/absent"].map(has);
    equal("files laid over the image", &found, &[true, true, false, false, false])
        .map_err(|error| ours.failure(&error.to_string()))
}

/// The memory of the initramfs comes back: a boot with ballast in it has as much free as one without.
fn memory_is_freed(kernel: &Kernel, free: Free) -> Result<()> {
    let mut spec = Spec::new(Place::Partition, Handover::Kernel);
    spec.free = free;
    let (mut available, mut last) = (Vec::new(), None);
    for ballast in [0, BALLAST] {
        let mut parts = make(kernel, &content::guest(kernel)?, &spec)?;
        let entry = Entry::file("ballast", 0o600, vec![b'b'; ballast]);
        parts.appended.push(archive(&[entry]));
        let ours = boot(kernel, &parts, Place::Partition, "")?;
        available.push(ours.reported()?.free_kib()?);
        last = Some(ours);
    }
    match (available.as_slice(), last) {
        ([without, with], _) if with + SLACK_KIB >= *without => Ok(()),
        (other, Some(ours)) => {
            let meminfo = ours.reported()?.lines("meminfo-end").join("\n");
            Err(ours.failure(&format!("free KiB without and with 20 MiB of ballast: {other:?}\n{meminfo}")))
        }
        (other, None) => Err(format!("no boot: {other:?}").into()),
    }
}

/// The board of this architecture, from its file to the next init, by the program as a user runs it; and its exit status.
fn board(kernel: &Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    tool::build(tool::board(kernel), kernel, &tool::guest(kernel, folder.path())?, &out)?;
    reaches_next_init(&out)?;
    // An image that was not written: the same machine must say no.
    let disk = std::fs::OpenOptions::new().write(true).open(out.join("disk.img"))?;
    disk.write_all_at(&[0; 4096], 1 << 20)?;
    let output = tool::boot(&out)?;
    let said = tool::said(&output);
    let refused =
        said.contains("initoverlayfs: mount failed: no EROFS superblock") && said.contains("\npolicy reboot\n");
    if output.status.code() == Some(1) && refused && !said.contains("guest: ") { Ok(()) } else { Err(said.into()) }
}

/// Boots `out` by `imagegen boot`: exit status 0, the next init's own line, and every step in the table.
fn reaches_next_init(out: &Path) -> Result<()> {
    let output = tool::boot(out)?;
    let said = tool::said(&output);
    let steps = ["early-mounts", "module erofs", "device", "mount", "overlay", "switch-root", "exec"];
    let in_table = |step: &&str| said.lines().any(|line| line.starts_with(&format!("{step} ")));
    let ran = said.contains("guest: first instruction") && steps.iter().all(in_table);
    if output.status.success() && ran { Ok(()) } else { Err(said.into()) }
}

/// Started, and refused by `execve` only: exit status 1.
fn exec_is_refused(kernel: &Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (content, out) = (folder.path().join("content"), folder.path().join("out"));
    let mut entries = content::guest(kernel)?;
    for entry in entries.iter_mut().filter(|entry| entry.path == "init") {
        // An ELF header without program headers: e_phnum of elf.h is 0.
        let count = if kernel.arch == "armv7" { 44 } else { 56 };
        entry.data.get_mut(count..count + 2).ok_or("no ELF header")?.fill(0);
    }
    std::fs::write(&content, archive(&entries))?;
    tool::build(tool::board(kernel), kernel, &content, &out)?;
    let output = tool::boot(&out)?;
    let said = tool::said(&output);
    let refused = said.contains("exec failed: ") && said.contains("\npolicy reboot\n");
    if output.status.code() == Some(1) && refused { Ok(()) } else { Err(said.into()) }
}

/// A mini-initramfs in every compression the board format offers.
fn compressed(kernel: &Kernel, format: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["arm64.toml", "qemu-arm64.toml"] {
        std::fs::copy(checkout().join("board-configs").join(name), folder.path().join(name))?;
    }
    let (board, out) = (folder.path().join("board.toml"), folder.path().join("out"));
    std::fs::write(
        &board,
        format!("inherit = \"qemu-arm64\"\nname = \"compressed\"\n[initramfs]\ncompression = \"{format}\"\n"),
    )?;
    let board = board.to_str().ok_or("a path that is not UTF-8")?;
    tool::build(board, kernel, &tool::guest(kernel, folder.path())?, &out)?;
    let start = std::fs::read(out.join("initramfs.img"))?;
    equal("cpio in plain", &start.starts_with(b"070701"), &(format == "none"))?;
    reaches_next_init(&out)
}

/// Debian's installer, its initramfs as it came, reaches its language screen through `imagegen build`.
fn installer(initramfs: &Kernel) -> Result<()> {
    let kernel = get(if initramfs.arch == "armv7" { "armv7-6.1" } else { "arm64-6.1" })?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    tool::build(tool::board(&kernel), &kernel, &initramfs.image, &out)?;
    let options = imagegen::boot::Options {
        kernel: None,
        deterministic: false,
        timeout: Duration::from_secs(300),
        append: "DEBIAN_FRONTEND=text".into(),
    };
    let (mut console, mut log, mut parser) = (String::new(), Log::default(), Parser::default());
    let mut running = imagegen::boot::prepare(&out, &options)?.start()?;
    let end = running.watch(Some(Instant::now() + options.timeout), &mut |bytes| {
        console += &String::from_utf8_lossy(bytes);
        parser.feed(bytes).into_iter().for_each(|line| log.add(line));
        !console.contains("Select a language")
    })?;
    if end == End::Stopped && log.next_init_ran() { Ok(()) } else { Err(format!("{end:?}, {log}\n{console}").into()) }
}

/// Built twice, and by a user without rights: the same bytes.
fn same_bytes(initramfs: &Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
    let program = tool::program()?;
    let bootstrap = format!("bootstrap-{}", initramfs.arch);
    std::fs::copy(&program, at("imagegen"))?;
    std::fs::copy(program.with_file_name(&bootstrap), at(&bootstrap))?;
    std::fs::copy(&initramfs.image, at("initrd"))?;
    std::fs::create_dir(at("boards"))?;
    for entry in std::fs::read_dir(checkout().join("board-configs"))? {
        let path = entry?.path();
        if path.is_dir() {
            continue;
        }
        std::fs::copy(&path, at("boards").join(path.file_name().unwrap_or_default()))?;
    }
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let users: &[&[&str]] =
        if nix::unistd::geteuid().is_root() { &[&["env"], &["env"], &as_nobody] } else { &[&["env"], &["env"]] };
    let mut first = None;
    for (index, user) in users.iter().enumerate() {
        let output = Command::new(user.first().unwrap_or(&"env"))
            .args(user.get(1..).unwrap_or_default())
            .arg(at("imagegen"))
            .args(["build", tool::board(initramfs), "--from", "initrd", "--out", &format!("out{index}")])
            .env("INITOVERLAYFS_BOARDS", at("boards"))
            .current_dir(folder.path())
            .output()?;
        equal("status", &output.status.code(), &Some(0)).map_err(|_| tool::said(&output))?;
        let names = ["disk.img", "initoverlayfs.erofs", "initramfs.img", "manifest.json"];
        let files = names.map(|name| std::fs::read(at(&format!("out{index}")).join(name)).unwrap_or_default());
        for (name, (new, old)) in names.iter().zip(files.iter().zip(first.get_or_insert(files.clone()))) {
            equal(&format!("{name} of build {index}"), &(!new.is_empty() && *new == *old), &true)?;
        }
    }
    Ok(())
}
