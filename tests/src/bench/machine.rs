//! The measured machine: a boot on the instruction clock, from the kernel's "Run /init" to the guest's first instruction,
//! read off the console.

use super::sample::Sample;
use crate::kernel::{Kernel, checkout};
use crate::report::Report;
use crate::{Failure, Result};
use imagegen::boot::console::{self, Log};
use imagegen::boot::qemu::{Disk, End, Port, Qemu};
use imagegen::boot::{Options, prepare};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A boot that is not over by then has failed. No figure depends on it.
const DEADLINE: Duration = Duration::from_secs(600);
/// What the guest's first line says before the nanoseconds since its first instruction.
const FIRST: &str = "guest: first instruction ";
/// The same of its first line after the content's work.
const DONE: &str = "guest: content done ";

/// What one boot's console told; all times are of the kernel's log.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The steps, and the kernel's "Run /init".
    pub log: Log,
    /// The guest's first instruction, in milliseconds.
    pub first_ms: f64,
    /// When the content's work was done, in milliseconds, if it had any.
    pub done_ms: Option<f64>,
}

impl Boot {
    fn parse(text: &str) -> Option<Self> {
        let mut log = Log::default();
        let (mut first_ms, mut done_ms) = (None, None);
        for line in text.lines() {
            let parsed = console::parse(line);
            for (text, ms) in [(FIRST, &mut first_ms), (DONE, &mut done_ms)] {
                if let (Some(at_us), Some((_, rest))) = (parsed.at_us, line.split_once(text)) {
                    let ago_ns: f64 = rest.split(' ').next()?.parse().ok()?;
                    *ms = ms.or(Some(at_us as f64 / 1e3 - ago_ns / 1e6));
                }
            }
            log.add(parsed);
        }
        log.run_init_us?;
        Some(Boot { log, first_ms: first_ms?, done_ms })
    }

    /// From the kernel's "Run /init" to the guest's first instruction, in milliseconds.
    pub fn exec_ms(&self) -> f64 {
        self.first_ms - self.log.run_init_us.unwrap_or(0) as f64 / 1e3
    }

    /// From the kernel's "Run /init" to the end of step switch-root, in milliseconds; not a number without that step.
    pub fn switch_root_ms(&self) -> f64 {
        let ended_us = self.log.rows.iter().find(|row| row.name == "switch-root").and_then(|row| row.ended_us);
        ended_us.zip(self.log.run_init_us).map_or(f64::NAN, |(ended, base)| (ended as f64 - base as f64) / 1e3)
    }
}

/// Boots once, until the guest has told when it started.
///
/// # Errors
/// If it did not; the error shows the console.
pub fn boot(qemu: &Qemu) -> Result<Boot> {
    let mut bytes: Vec<u8> = Vec::new();
    let end = qemu.start()?.watch(Some(Instant::now() + DEADLINE), &mut |new| {
        bytes.extend_from_slice(new);
        let line = bytes.windows(FIRST.len()).position(|part| part == FIRST.as_bytes());
        !line.is_some_and(|start| bytes.iter().skip(start).any(|byte| *byte == b'\n'))
    })?;
    let text = String::from_utf8_lossy(&bytes);
    match (end, Boot::parse(&text)) {
        (End::Stopped, Some(boot)) => Ok(boot),
        _ => Err(format!("the guest did not start ({end:?}); console:\n{text}").into()),
    }
}

/// Boots `count` times, each with random numbers of its own and the same in every call, after one boot that is not counted: it brings
/// kernel, initramfs and disk into the host's memory.
///
/// # Errors
/// As [`boot`].
pub fn repeat(qemu: &Qemu, count: usize) -> Result<Vec<Boot>> {
    boot(qemu)?;
    (1..).take(count).map(|seed| boot(&Qemu { seed, ..qemu.clone() })).collect()
}

/// Boots once, until the guest has switched off; returns its report too, which goes into a file.
///
/// # Errors
/// If it did not start, or sent no report; the error shows the console.
pub fn reported(qemu: &Qemu) -> Result<(Boot, Report)> {
    let Some(Port::File(port)) = &qemu.port else { return Err("the machine has no port for a report".into()) };
    let mut bytes: Vec<u8> = Vec::new();
    let end = qemu.start()?.watch(Some(Instant::now() + DEADLINE), &mut |new| {
        bytes.extend_from_slice(new);
        true
    })?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("DAX unsupported") {
        return Err(format!("an image in memory is not used where it lies; console:\n{text}").into());
    }
    let report = std::fs::read(port).ok().and_then(|bytes| Report::parse(&bytes));
    match (end, Boot::parse(&text), report) {
        (End::Exited(true), Some(boot), Some(report)) => Ok((boot, report)),
        _ => Err(format!("the guest sent no report ({end:?}); console:\n{text}").into()),
    }
}

/// A value of every boot.
pub fn sample(boots: &[Boot], value: impl Fn(&Boot) -> f64) -> Sample {
    Sample::new(boots.iter().map(value).collect())
}

/// The same machine with another initramfs and no disk.
pub fn classic(ours: &Qemu, initrd: &Path) -> Qemu {
    Qemu { initrd: Some(initrd.to_owned()), disks: Vec::new(), ..ours.clone() }
}

/// The same machine without initramfs: the kernel itself mounts the image `erofs` as its root.
pub fn kernel_root(ours: &Qemu, erofs: &Path) -> Qemu {
    let mut append = ours.append.clone();
    append.push(" root=/dev/vda rootfstype=erofs ro init=/init");
    Qemu { initrd: None, append, disks: vec![Disk { image: erofs.to_owned(), writable: false }], ..ours.clone() }
}

/// A board file of the benchmarks.
pub fn board(name: &str) -> PathBuf {
    checkout().join("tests/boards").join(name).with_extension("toml")
}

/// The program that is measured.
pub fn imagegen() -> PathBuf {
    checkout().join("target/release/imagegen")
}

/// Builds `out` from `from` with `imagegen build`; returns the machine that boots it.
///
/// # Errors
/// If it fails.
pub fn build(board_name: &str, kernel: &Kernel, from: &Path, out: &Path) -> Result<Qemu> {
    build_with(board_name, kernel, from, out, &[])
}

/// The same with further arguments.
///
/// # Errors
/// If it fails.
pub fn build_with(board_name: &str, kernel: &Kernel, from: &Path, out: &Path, arguments: &[&OsStr]) -> Result<Qemu> {
    build_parts(board_name, kernel, from, out, arguments)?;
    let kernel = Some(kernel.image.clone());
    Ok(prepare(out, &Options { kernel, deterministic: true, timeout: DEADLINE, append: "".into() })?)
}

/// The same for a board that says nothing of a machine, with further arguments.
///
/// # Errors
/// If it fails.
pub fn build_parts(board_name: &str, kernel: &Kernel, from: &Path, out: &Path, arguments: &[&OsStr]) -> Result<()> {
    let mut command = Command::new(imagegen());
    command.arg("build").arg(board(board_name)).arg("--from").arg(from).arg("--out").arg(out).args(arguments);
    if let Some(modules) = &kernel.modules {
        command.arg("--modules").arg(modules);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(Failure::from(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.039400] Run /init as init process\r\n\
        [    0.039512] initoverlayfs: early-mounts 85 us\r\n\
        [    0.041000] guest: first instruction 250000 ns ago at 31000000\r\n";

    #[test]
    fn the_first_instruction_is_the_stamp_less_the_time_since() {
        let boot = Boot::parse(CONSOLE).unwrap();
        assert!((boot.first_ms - 40.75).abs() < 1e-9 && (boot.exec_ms() - 1.35).abs() < 1e-9, "{boot:?}");
    }

    #[test]
    fn work_that_is_done_and_the_switch_have_times() {
        let steps = "[    0.040400] initoverlayfs: switch-root 200 us\r\n\
            [    0.141000] guest: content done 500000 ns ago at 1\r\n";
        let boot = Boot::parse(&format!("{CONSOLE}{steps}")).unwrap();
        assert!((boot.done_ms.unwrap() - 140.5).abs() < 1e-9 && (boot.switch_root_ms() - 1.0).abs() < 1e-9, "{boot:?}");
        let boot = Boot::parse(CONSOLE).unwrap();
        assert!(boot.done_ms.is_none() && boot.switch_root_ms().is_nan());
    }

    #[test]
    fn a_boot_without_the_line_is_none() {
        let cut = CONSOLE.rfind('[').unwrap();
        assert!(Boot::parse(&CONSOLE[..cut]).is_none() && Boot::parse("").is_none());
    }
}
