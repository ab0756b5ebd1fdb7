//! `imagegen boot`: boots a folder of outputs in QEMU and says what each step took.

pub mod console;
pub mod io_uring;
pub mod qemu;
mod verdict;

pub use verdict::Outcome;

use crate::manifest::{self, Machine, Manifest};
use crate::{Error, Result, bootloader, memory, sign};
use console::{Log, Parser};
use nix::sys::termios::{self, SetArg, Termios};
use qemu::{Clock, Disk, End, Qemu};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How to boot.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kernel instead of the folder's own.
    pub kernel: Option<PathBuf>,
    /// Count instructions instead of time.
    pub deterministic: bool,
    /// How long a boot may take. On a terminal it ends with the start of the next init, which then runs as long as the
    /// user likes.
    pub timeout: Duration,
    /// Further kernel arguments.
    pub append: OsString,
}

/// The QEMU that boots `folder`, as its manifest describes it. Whether it is asked for keys is left to the caller.
///
/// # Errors
/// Bad input if the folder is not ours, its board does not boot in QEMU, there is no kernel, that of `options` is none of the board's
/// processor, or a file is not as long as it was when it was built.
pub fn prepare(folder: &Path, options: &Options) -> Result<Qemu> {
    let manifest = manifest::read(folder)?;
    let machine = machine(&manifest)?;
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => folder.join(manifest::KERNEL),
    };
    if !kernel.is_file() {
        let what = format!("no kernel: {} is not a file", kernel.display());
        return Err(Error::bad_input(what, "give --kernel FILE, here or to `imagegen build`"));
    }
    if options.kernel.is_some() {
        bootloader::check_kernel(&manifest.board.architecture, &kernel)?;
    }
    check_sizes(folder, &manifest, options.kernel.is_some())?;
    let mut append = OsString::from(format!("console={} {}", machine.console, machine.append).trim_end());
    if !options.append.is_empty() {
        append.push(" ");
        append.push(&options.append);
    }
    let disk = disk(folder, &manifest, machine);
    let clock = clock(machine, disk.as_ref(), options);
    let mut qemu = Qemu {
        program: machine.program.clone(),
        machine: machine.machine.clone(),
        cpu: machine.cpu.clone().unwrap_or_default(),
        cpus: machine.cpus,
        memory_mib: machine.memory_mib,
        kernel,
        initrd: Some(folder.join(manifest::INITRAMFS)),
        append,
        transport: machine.transport,
        disks: disk.into_iter().collect(),
        clock,
        seed: 1,
        port: None,
        flash: Vec::new(),
        extra: machine.arguments.iter().map(OsString::from).collect(),
        keyboard: false,
        files: None,
    };
    if let Some(manifest::InMemory { address, file }) = &machine.in_memory {
        let files = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
        memory::attach(&mut qemu, *address, &folder.join(file), files.path())?;
        qemu.files = Some(Arc::new(files));
    }
    Ok(qemu)
}

/// The clock that [`prepare`] gives the QEMU that boots `folder`.
///
/// # Errors
/// Bad input if the board of the folder does not boot in QEMU.
pub fn clock_of(folder: &Path, manifest: &Manifest, options: &Options) -> Result<Clock> {
    let machine = machine(manifest)?;
    Ok(clock(machine, disk(folder, manifest, machine).as_ref(), options))
}

fn disk(folder: &Path, manifest: &Manifest, machine: &Machine) -> Option<Disk> {
    let has_disk = manifest.outputs.contains_key(manifest::DISK);
    has_disk.then(|| Disk { image: folder.join(manifest::DISK), writable: machine.writes })
}

/// Reads can be answered at once only by io_uring, what is written never is, and what a board's own arguments add may be a disk. A guest
/// that waits for its disk while nothing else takes time would find itself at the next timer, which may be minutes away.
fn clock(machine: &Machine, disk: Option<&Disk>, options: &Options) -> Clock {
    let is_read_at_once = |disk: &Disk| !disk.writable && !io_uring::option(&machine.program, &disk.image).is_empty();
    if !options.deterministic {
        Clock::Host
    } else if machine.arguments.is_empty() && disk.is_none_or(is_read_at_once) {
        Clock::Instructions
    } else {
        Clock::InstructionsAndWaits
    }
}

/// Compares sizes alone: reading every byte would take longer than the boot.
fn check_sizes(folder: &Path, manifest: &Manifest, other_kernel: bool) -> Result<()> {
    for name in [manifest::INITRAMFS, manifest::DISK, manifest::KERNEL] {
        let Some(output) = manifest.outputs.get(name).filter(|_| name != manifest::KERNEL || !other_kernel) else {
            continue;
        };
        let path = folder.join(name);
        let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if bytes != output.bytes {
            let how = if bytes < output.bytes { "truncated" } else { "too long" };
            let what = format!("{}: {how}: {bytes} bytes, built with {}", path.display(), output.bytes);
            return Err(Error::bad_input(what, "build the folder again"));
        }
    }
    Ok(())
}

fn machine(manifest: &Manifest) -> Result<&Machine> {
    manifest.qemu.as_ref().ok_or_else(|| {
        let what = format!("board {} does not boot in QEMU", manifest.board.name);
        Error::bad_input(what, "add a [qemu] table to the board, and build again")
    })
}

/// Boots `folder` with its console on the terminal, until QEMU ends or the deadline has passed.
///
/// # Errors
/// As [`prepare`]; failed work if QEMU does not start.
pub fn run(folder: &Path, options: &Options) -> Result<Outcome> {
    let mut qemu = prepare(folder, options)?;
    if let Err(unsigned) = sign::check_is_signed(folder, &manifest::read(folder)?, &manifest::IMAGES) {
        // Another slot may boot, and the boot itself says it too.
        log::warn!("{}", unsigned.what);
    }
    qemu.keyboard = io::stdin().is_terminal();
    let terminal = Terminal::save(qemu.keyboard);
    let mut running = qemu.start()?;
    let mut console = Watcher::default();
    let deadline = Instant::now() + options.timeout;
    let interactive = qemu.keyboard;
    let mut end = running.watch(Some(deadline), &mut |bytes| {
        console.see(bytes);
        !(interactive && console.log.next_init_ran())
    })?;
    if end == End::Stopped {
        end = running.watch(None, &mut |bytes| {
            console.see(bytes);
            true
        })?;
    }
    drop(running);
    drop(terminal);
    let outcome = console.outcome(end, qemu, options);
    if end == End::Deadline && outcome.log.next_init_ran() {
        log::warn!("stopped after {} s", options.timeout.as_secs_f64());
    }
    Ok(outcome)
}

/// Shows what a console says, and keeps it.
#[derive(Default)]
struct Watcher {
    parser: Parser,
    log: Log,
    lines: u64,
}

impl Watcher {
    fn outcome(self, end: End, qemu: Qemu, options: &Options) -> Outcome {
        Outcome { log: self.log, end, lines: self.lines, timeout: options.timeout, qemu }
    }

    fn see(&mut self, bytes: &[u8]) {
        // A closed pipe does not end the boot: its result is the exit status.
        let mut out = io::stdout();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
        for line in self.parser.feed(bytes) {
            self.lines += 1;
            self.log.add(line);
        }
    }
}

/// What a guest may have left behind, put right: the whole screen scrolls and the cursor is below everything on it; no
/// colours, no line-drawing characters, no insert mode; the cursor is seen (ECMA-48, and VT100 for the first and last).
const NORMAL: &str = "\x1b[r\x1b[999B\x1b[0m\x1b(B\x1b[4l\x1b[?25h\n";

/// The settings of the terminal while a boot has it.
static SETTINGS: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal's settings, which QEMU changes and cannot put back when it is killed, and its state, which the guest
/// changes.
struct Terminal;

impl Terminal {
    fn save(wanted: bool) -> Self {
        *SETTINGS.lock().unwrap_or_else(PoisonError::into_inner) =
            if wanted { termios::tcgetattr(io::stdin()).ok() } else { None };
        Terminal
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Puts the terminal back as it was before a boot, if one has it: also where the program ends because of a signal.
pub fn restore_terminal() {
    if let Some(settings) = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing better can be done about a terminal that has gone.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &settings);
        if io::stdout().is_terminal() {
            let _ = io::stdout().write_all(NORMAL.as_bytes());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn options() -> Options {
        Options { kernel: None, deterministic: true, timeout: Duration::from_secs(20), append: "quiet".into() }
    }

    /// A folder of ours whose QEMU is `script`.
    pub(crate) fn folder(script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("qemu");
        crate::boot::qemu::tests::install(script, &program);
        std::fs::write(folder.path().join(manifest::KERNEL), "").unwrap();
        let mut manifest = Manifest::example();
        manifest.qemu = Some(Machine {
            program: program.to_str().unwrap().into(),
            machine: "virt".into(),
            cpu: None,
            cpus: 1,
            memory_mib: 64,
            transport: qemu::Transport::Pci,
            console: "ttyAMA0".into(),
            append: String::new(),
            arguments: Vec::new(),
            writes: false,
            in_memory: None,
        });
        manifest.write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn the_manifest_alone_says_how_to_boot() {
        let folder = folder("");
        let qemu = prepare(folder.path(), &options()).unwrap();
        assert_eq!((qemu.append, qemu.clock), ("console=ttyAMA0 quiet".into(), Clock::Instructions));
        std::fs::remove_file(folder.path().join(manifest::KERNEL)).unwrap();
        assert_eq!(prepare(folder.path(), &options()).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused_before_the_boot() {
        let folder = folder("#!/bin/sh\nexit 1\n");
        let other = Options { kernel: Some(folder.path().join("qemu")), ..options() };
        let error = prepare(folder.path(), &other).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("no kernel that is known"), "{error}");
        assert!(error.what.contains("for aarch64") && error.hint.contains("--kernel"), "{error}");
    }

    #[test]
    fn every_boot_that_fails_says_why() {
        let says = |script: &str, append: &str, timeout: u64, cause: &str, remedy: &str| {
            let folder = folder(&format!("#!/bin/sh\n{script}\n"));
            let timeout = Duration::from_millis(timeout);
            let options = Options { append: append.into(), timeout, ..options() };
            let unseen = crate::measure::folder::boot(folder.path(), &options, &crate::measure::Watch::default(), 1);
            let outcome = run(folder.path(), &options).unwrap();
            assert!(!outcome.log.next_init_ran());
            for error in [unseen.unwrap_err(), outcome.verdict().unwrap_err()] {
                assert!(error.exit_status() == 1 && error.what.contains(cause), "{error}");
                assert!(error.hint.contains(remedy), "{error}");
            }
        };
        says("exit 1", "", 20_000, "qemu failed", "-machine virt");
        says("echo hello; exit 0", "", 20_000, "qemu ended before", "last lines");
        says("exit 0", "quiet", 20_000, "`quiet` hides", "without `quiet`");
        says("exec sleep 60", "loglevel=6", 300, "`loglevel=6` hides", "without `loglevel=6`");
        says("exec sleep 60", "loglevel=7", 300, "nothing on the console within 0.3 s", "-machine virt");
        says("echo booting; exec sleep 60", "", 300, "stopped after 0.3 s", "--timeout");
        says("echo '[    1.200000] Kernel panic - not syncing: no init'", "", 20_000, "panicked: no init", "unpack");
        let failed = "echo 'initoverlayfs: mount failed: no EROFS (errno 22)'; echo 'initoverlayfs: policy halt'";
        says(failed, "quiet", 20_000, "mount failed: no EROFS (errno 22)", "inspect");
        let failed = "echo 'initoverlayfs: device failed: not found (errno 110)'; echo 'initoverlayfs: policy halt'";
        says(failed, "quiet", 20_000, "device failed: not found (errno 110)", "qemu.transport is pci");
    }

    #[test]
    fn a_file_of_another_size_is_refused_before_the_boot() {
        let folder = folder("#!/bin/sh\nexit 1\n");
        let mut manifest = manifest::read(folder.path()).unwrap();
        for name in [manifest::KERNEL, manifest::INITRAMFS, manifest::DISK] {
            std::fs::write(folder.path().join(name), "four").unwrap();
            manifest.note_file(folder.path(), name).unwrap();
        }
        manifest.write(folder.path()).unwrap();
        prepare(folder.path(), &options()).unwrap();
        let kernel = folder.path().join("Image");
        std::fs::write(&kernel, [&[0; 56][..], b"ARM\x64"].concat()).unwrap();
        for name in [manifest::INITRAMFS, manifest::DISK, manifest::KERNEL] {
            for (content, how) in [("fou", "truncated: 3 bytes, built with 4"), ("fours", "too long: 5 bytes")] {
                std::fs::write(folder.path().join(name), content).unwrap();
                let error = prepare(folder.path(), &options()).unwrap_err();
                assert!(error.exit_status() == 2 && error.what.contains(&format!("{name}: {how}")), "{error}");
            }
            let other = Options { kernel: Some(kernel.clone()), ..options() };
            assert_eq!(prepare(folder.path(), &other).is_ok(), name == manifest::KERNEL);
            std::fs::write(folder.path().join(name), "four").unwrap();
        }
        std::fs::remove_file(folder.path().join(manifest::INITRAMFS)).unwrap();
        assert_eq!(prepare(folder.path(), &options()).unwrap_err().exit_status(), 2);
    }
}
