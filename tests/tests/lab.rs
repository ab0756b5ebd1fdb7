//! The lab: `imagegen measure` as a user runs it, with a real machine behind a pty, with one that somebody resets by hand,
//! and with two in a labgrid lab.

#[path = "lab/labgrid.rs"]
mod labgrid;
#[path = "lab/machine.rs"]
mod machine;

use imagegen::runs::{self, Clock, Layer, Zero, mark};
use machine::Machine;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::kernel::get;
use tests::{Result, equal, tool};

/// What U-Boot, Debian's kernel 6.12 and bootstrap say on a serial line.
const CONSOLE: &[u8] = include_bytes!("../../imagegen/src/measure/u-boot.console");

/// A pty: the side of the board, the side of the adapter, and the path of that.
fn pty() -> Result<(File, File, PathBuf)> {
    let pair = openpty(None, None)?;
    let path = nix::unistd::ttyname(&pair.slave)?;
    Ok((File::from(pair.master), File::from(pair.slave), path))
}

#[test]
fn a_real_machine_is_measured_over_its_serial_line() -> Result<()> {
    let kernel = get("arm64-6.12")?;
    let folder = tempfile::tempdir()?;
    let (out, json) = (folder.path().join("out"), folder.path().join("runs.json"));
    tool::build("qemu-arm64", &kernel, &tool::guest(&kernel, folder.path())?, &out)?;
    let (board, _adapter, tty) = pty()?;
    let machine = Machine::new(&out, &folder.path().join("board"), board)?;
    let power = format!("sh {}", machine.switch().display());
    let mut arguments: Vec<&str> = vec!["measure", "--runs", "2", "--power-cmd", &power, "--board", "bench"];
    arguments.extend(["--end", "guest: .* KiB free", "--mark", "erofs=erofs: .* mounted", "--timeout", "300s"]);
    let paths = ["--serial".as_ref(), tty.as_os_str(), "--json".as_ref(), json.as_os_str()];
    let output = tool::run(arguments.iter().map(AsRef::as_ref).chain(paths))?;
    let said = tool::said(&output);
    equal(&said, &output.status.code(), &Some(0))?;
    let runs = runs::read(&json)?;
    let conditions = &runs.conditions;
    equal("board", &conditions.board.as_str(), &"bench")?;
    equal("kernel", &conditions.kernel, &kernel.release()?)?;
    equal("command line", &conditions.command_line.as_deref(), &Some("console=ttyAMA0 guest=hang panic=-1"))?;
    equal("clock and axis", &(conditions.clock, conditions.zero), &(Clock::Kernel, Zero::Kernel))?;
    equal("boots", &runs.runs.len(), &2)?;
    for run in &runs.runs {
        let order = [mark::POWER_ON, mark::RUN_INIT, "erofs", mark::SWITCH_ROOT, mark::NEXT_INIT, mark::END];
        let times: Vec<i64> = order.iter().filter_map(|name| run.at(name)).collect();
        equal("marks there", &times.len(), &order.len())?;
        equal(&format!("in their order: {times:?}"), &times.is_sorted(), &true)?;
        // QEMU takes its time before the kernel's clock begins.
        equal(&format!("power-on before the kernel: {times:?}"), &(times[0] < 0), &true)?;
        equal("step mount", &run.took(Layer::Step, "mount").is_some(), &true)?;
    }
    Ok(())
}

/// The program, measuring the board behind `tty` until it has `count` boots.
fn measure(tty: &Path, json: &Path, count: &str) -> Result<(Child, BufReader<std::process::ChildStderr>)> {
    let mut command = Command::new(tool::program()?);
    command.args(["measure", "--end", "guest: no report", "--resume", "--runs", count, "--serial"]).arg(tty);
    let mut child = command.arg("--json").arg(json).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take().ok_or("no standard error")?;
    Ok((child, BufReader::new(said)))
}

/// Reads until the program says `text`.
fn wait_for(text: &str, said: &mut impl BufRead) -> Result<()> {
    let mut all = String::new();
    while said.read_line(&mut all)? > 0 {
        if all.contains(text) {
            return Ok(());
        }
    }
    Err(format!("ended without {text:?}:\n{all}").into())
}

/// What of a terminal's settings can be compared.
fn settings(tty: &File) -> Result<String> {
    let Termios { input_flags, output_flags, local_flags, control_chars, .. } = tcgetattr(tty)?;
    Ok(format!("{input_flags:?} {output_flags:?} {local_flags:?} {control_chars:?}"))
}

#[test]
fn an_interrupt_keeps_every_boot_and_puts_the_line_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("runs.json");
    let (mut board, adapter, tty) = pty()?;
    let before = settings(&adapter)?;
    let (mut child, mut said) = measure(&tty, &json, "3")?;
    wait_for("reset the board now: boot 1 of 3", &mut said)?;
    equal("another one may not", &said_busy(&tty)?, &true)?;
    board.write_all(CONSOLE)?;
    wait_for("reset the board now: boot 2 of 3", &mut said)?;
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    equal(&rest, &child.wait()?.code(), &Some(130))?;
    equal(&rest, &rest.contains("holds 1 boot; --resume goes on"), &true)?;
    equal("settings of the line", &settings(&adapter)?, &before)?;
    let first = runs::read(&json)?;
    equal("boots", &first.runs.len(), &1)?;
    let run = &first.runs[0];
    equal("power-on", &run.at(mark::POWER_ON), &None)?;
    equal("next init", &run.at(mark::NEXT_INIT), &Some(3_304_611))?;

    let (mut child, mut said) = measure(&tty, &json, "2")?;
    wait_for("reset the board now: boot 2 of 2", &mut said)?;
    board.write_all(CONSOLE)?;
    equal("exit status", &child.wait()?.code(), &Some(0))?;
    let both = runs::read(&json)?;
    equal("boots", &both.runs.len(), &2)?;
    equal("the first boot", &both.runs[0], &first.runs[0])
}

/// A lab whose client answers no more once it has the place: the first interrupt waits for the release, the second does not.
#[test]
fn a_second_interrupt_waits_for_no_lab() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let (events, never, client) = (at("events"), at("never"), at("labgrid-client"));
    for pipe in [&events, &never] {
        nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU)?;
    }
    let (said, hangs) = (events.display(), never.display());
    let hang = |event: &str| format!("*{event}*) echo {event} > '{said}'; exec cat '{hangs}' ;;");
    let cases =
        format!("case \"$*\" in *show*) ;; *reserve*) echo LG_TOKEN=t ;; {} {} esac", hang("acquire"), hang("release"));
    std::fs::write(&client, format!("#!/bin/sh\n{cases}\n"))?;
    std::fs::set_permissions(&client, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    // Open for writing until the end: as long the client hangs.
    let _hanging = File::options().read(true).write(true).open(&never)?;
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
    let mut command = Command::new(tool::program()?);
    command.args(["measure", "--labgrid", "kit", "--runs", "1", "--json"]).arg(at("runs.json")).env("PATH", path);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let id = Pid::from_raw(i32::try_from(child.id())?);
    for event in ["acquire\n", "release\n"] {
        equal("what the client is asked", &std::fs::read_to_string(&events)?.as_str(), &event)?;
        kill(id, Signal::SIGINT)?;
    }
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait().map(|status| status.code())));
    let code = ended.recv_timeout(Duration::from_secs(60));
    if code.is_err() {
        kill(id, Signal::SIGKILL)?;
    }
    equal("exit status", &code??, &Some(130))
}

/// Whether a second program is refused.
fn said_busy(tty: &Path) -> Result<bool> {
    let output =
        tool::run(["measure".as_ref(), "--json".as_ref(), "/dev/null".as_ref(), "--serial".as_ref(), tty.as_os_str()])?;
    Ok(output.status.code() == Some(1) && tool::said(&output).contains("is busy"))
}
