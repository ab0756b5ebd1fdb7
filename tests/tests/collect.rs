//! `imagegen collect` from a Debian with systemd that booted through bootstrap: the script that `--via` gives to a shell runs in the
//! guest, and its answer is read as any other. Nothing here holds a time against a number: order and sums alone.

use imagegen::boot::qemu::{Port, Qemu};
use imagegen::boot::{Options, prepare};
use imagegen::collect::systemd::span_us;
use imagegen::collect::{script, wire};
use imagegen::runs::{self, Layer, Run, mark};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::cpio::Entry;
use tests::kernel::{checkout, get};
use tests::{Result, equal, systemd, tool};

/// How long a boot to multi-user.target may take on a busy host.
const DEADLINE: Duration = Duration::from_secs(1200);
/// What a user would call ready.
const APPLICATION: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo camera ready\n";
/// Runs the script once the boot has finished, which `exec` does not keep it from; then the machine ends.
const COLLECT: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=exec\n\
    ExecStart=/bin/sh -c 'systemctl is-system-running --wait; sh /collect.sh > /dev/vport0p1; echo o > /proc/sysrq-trigger'\n";
/// Stages as U-Boot writes them into the device tree, the last first. QEMU's counter starts with the machine, and the kernel needs
/// longer than this before its clock.
const STAGES: &str = "/dts-v1/;\n/plugin/;\n&{/} { bootstage {\n\
    0 { name = \"start_kernel\"; mark = <300>; };\n\
    1 { name = \"dm_f\"; accum = <40>; };\n\
    2 { name = \"board_init_f\"; mark = <100>; };\n\
    3 { name = \"reset\"; mark = <0>; };\n}; };\n";

/// The machine, with U-Boot's stages in its device tree.
fn machine(folder: &Path) -> Result<Qemu> {
    let kernel = get("arm64-tuned")?;
    let (content, out) = (folder.join("content.cpio"), folder.join("out"));
    let script = script(&["app.service".to_owned()], true);
    let mut more = vec![Entry::file("collect.sh", 0o755, script)];
    more.extend(systemd::service("app.service", APPLICATION));
    more.extend(systemd::service("collect.service", COLLECT));
    systemd::write(more, &content)?;
    let board = checkout().join("tests/boards/tuned-root.toml");
    tool::build(board.to_str().ok_or("a path that is not UTF-8")?, &kernel, &content, &out)?;
    let append = format!("{} log_buf_len=4M initcall_debug loglevel=4", systemd::APPEND).into();
    let mut qemu = prepare(&out, &Options { kernel: None, deterministic: false, timeout: DEADLINE, append })?;
    qemu.port = Some(Port::File(folder.join("answer")));
    let [base, source, overlay, tree] =
        ["base.dtb", "stages.dts", "stages.dtbo", "tree.dtb"].map(|name| folder.join(name));
    let mut dump = qemu.clone();
    dump.machine = format!("{},dumpdtb={}", qemu.machine, base.display());
    run(Command::new(&dump.program).args(dump.arguments()))?;
    std::fs::write(&source, STAGES)?;
    // By force: dtc wants a property `name` to be the node's name, U-Boot does not.
    run(Command::new("dtc").args(["-q", "-f", "-@", "-I", "dts", "-O", "dtb", "-o"]).arg(&overlay).arg(&source))?;
    run(Command::new("fdtoverlay").arg("-i").arg(&base).arg("-o").arg(&tree).arg(&overlay))?;
    qemu.extra.extend(["-dtb".into(), tree.into()]);
    Ok(qemu)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", tool::said(&output)).into()) }
}

/// Boots it until it ends; its answer is in the file of the port.
fn boot(qemu: &Qemu) -> Result<()> {
    let mut console = Vec::new();
    let end = qemu.start()?.watch(Some(Instant::now() + DEADLINE), &mut |bytes| {
        console.extend_from_slice(bytes);
        true
    })?;
    let said = String::from_utf8_lossy(&console);
    equal("end", &end, &imagegen::boot::qemu::End::Exited(true)).map_err(|error| format!("{error}\n{said}").into())
}

#[test]
fn a_debian_with_systemd() -> Result<()> {
    let folder = tempfile::tempdir()?;
    boot(&machine(folder.path())?)?;
    let answer = folder.path().join("answer");
    if let Some(keep) = std::env::var_os("COLLECT_KEEP") {
        std::fs::copy(&answer, keep)?;
    }
    let (via, json) = (format!("cat '{}'", answer.display()), folder.path().join("runs.json"));
    let arguments =
        ["collect", "--board", "kit", "--start", "cold", "--unit", "app.service", "--mark", "camera=camera ready"];
    let arguments = arguments.map(OsStr::new).into_iter();
    let out = folder.path().join("out");
    let more = ["--via".as_ref(), via.as_ref(), "--json".as_ref(), json.as_os_str(), "--dir".as_ref(), out.as_os_str()];
    let output = tool::run(arguments.chain(more))?;
    let said = tool::said(&output);
    equal("status", &output.status.code(), &Some(0)).map_err(|error| format!("{error}\n{said}"))?;
    let runs = runs::read(&json)?;
    let [boot] = runs.runs.as_slice() else { return Err("one boot".into()) };
    in_order(boot).map_err(|error| format!("{error}\n{said}"))?;
    parts(boot)?;
    let conditions = &runs.conditions;
    equal("explained", &conditions.explained, &true)?;
    equal("board", &conditions.board, &"kit".to_owned())?;
    equal("image known", &conditions.image_sha256.is_some(), &true)?;
    as_systemd_says(&wire::parse(&std::fs::read(&answer)?)?, &said)
}

/// Marks come in the order in which a boot reaches them.
fn in_order(run: &Run) -> Result<()> {
    let names = [
        mark::COUNTER_START,
        "bootstage board_init_f",
        "bootstage start_kernel",
        mark::RUN_INIT,
        mark::SWITCH_ROOT,
        mark::NEXT_INIT,
        "app.service",
        mark::MULTI_USER,
        mark::FINISHED,
    ];
    let mut before = i64::MIN;
    for name in names {
        let at = run.at(name).ok_or(format!("no mark {name}"))?;
        if at < before {
            return Err(format!("{name} at {at} us comes before what it should follow, at {before} us").into());
        }
        before = at;
    }
    let start = run.at("bootstage start_kernel").ok_or("no start_kernel")?;
    equal("U-Boot ends before the kernel's clock starts", &(start < 0), &true)?;
    // What a program says gets its time when the journal reads it: late, on a busy machine.
    equal("camera after systemd's start", &(run.at("camera") > run.at(mark::NEXT_INIT)), &true)?;
    equal("initrd", &run.at(mark::INITRD_DONE), &None)
}

/// Every layer is there, and lies where its mark says.
fn parts(run: &Run) -> Result<()> {
    for step in ["early-mounts", "device", "mount", "overlay", "switch-root", "exec"] {
        equal(step, &run.took(Layer::Step, step).is_some(), &true)?;
    }
    equal("U-Boot's stage", &run.took(Layer::Bootloader, "board_init_f"), &Some(200))?;
    equal("U-Boot's sum", &run.took(Layer::Bootloader, "dm_f (in parts)"), &Some(40))?;
    equal("firmware", &run.took(Layer::Firmware, "until U-Boot's first stage"), &Some(100))?;
    equal("initcalls", &run.spans.iter().any(|span| span.layer == Layer::Initcall), &true)?;
    equal("units", &run.took(Layer::Userspace, "systemd-journald.service").is_some(), &true)?;
    let until = run.took(Layer::Kernel, "until /init").and_then(|us| i64::try_from(us).ok());
    equal("kernel", &until, &run.at(mark::RUN_INIT))?;
    let inside = |span: &runs::Span| span.start_us.is_none_or(|at| at >= run.at(mark::COUNTER_START).unwrap_or(0));
    equal("nothing before the counter", &run.spans.iter().all(inside), &true)
}

/// Our arithmetic is systemd's own, to the millisecond that it prints.
fn as_systemd_says(found: &wire::Found, said: &str) -> Result<()> {
    let line = found.analyze.first().ok_or("systemd-analyze said nothing")?;
    let line = line.strip_prefix("Startup finished in ").ok_or(format!("another line: {line}"))?;
    let (phases, total) = line.split_once(" = ").ok_or("no sum")?;
    let total = span_us(total).ok_or(format!("no time: {total}"))?;
    let mut times = Vec::from([("all", total)]);
    for phase in phases.split(" + ") {
        let (time, name) = phase.split_once(" (").ok_or("no phase")?;
        let row = if name == "kernel)" { "kernel, until /init" } else { name.trim_end_matches(')') };
        times.push((row, span_us(time).ok_or(format!("no time: {time}"))?));
    }
    for (row, us) in times {
        let cells =
            said.lines().find(|line| line.starts_with(&format!("| {row} "))).ok_or(format!("no {row} in\n{said}"))?;
        let shown = cells.split('|').nth(3).and_then(|cell| span_us(&format!("{}ms", cell.trim())));
        let shown = shown.ok_or(format!("no time for {row} in\n{said}"))?;
        if shown.abs_diff(us) > 1_000 {
            return Err(format!("{row}: {shown} us here, {us} us in {line}\n{said}").into());
        }
    }
    Ok(())
}
