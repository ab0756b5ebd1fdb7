//! One boot in QEMU: its console, its report, how it ended and how long it took.

use crate::kernel::Kernel;
use crate::report::Report;
use crate::{Failure, Result, equal};
use imagegen::boot::console::{Log, Parser};
use imagegen::boot::qemu::{Clock, Disk, End, Port, Qemu, Transport};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something done to a running machine.
#[derive(Clone)]
pub struct Action(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Action {
    /// Wraps a function.
    pub fn new(run: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Action(Arc::new(run))
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Action")
    }
}

/// A boot to run.
#[derive(Clone, Debug)]
pub struct Boot<'k> {
    /// The kernel.
    pub kernel: &'k Kernel,
    /// Initramfs.
    pub initrd: PathBuf,
    /// Raw disks.
    pub disks: Vec<PathBuf>,
    /// Whether the guest may write to them.
    pub writable: bool,
    /// Appended to the command line.
    pub append: OsString,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// The guest's clock.
    pub clock: Clock,
    /// A boot that is not over by then is killed.
    pub deadline: Duration,
    /// The watcher has seen enough once this text is on the console.
    pub until: Option<String>,
    /// How long the machine is watched after that. If it still runs then it is killed, and the boot has ended with
    /// [`End::Deadline`]; the console has all that it said until then.
    pub stays: Duration,
    /// Done once, when this text is on the console.
    pub on_text: Option<(String, Action)>,
    /// Flash chips with the firmware that boots instead, from the disks.
    pub flash: Vec<Disk>,
    /// A file that lies in memory, and its address.
    pub placed: Option<(PathBuf, u64)>,
    /// Further QEMU arguments.
    pub extra: Vec<OsString>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Everything on the console.
    pub console: String,
    /// The console, read by imagegen.
    pub log: Log,
    /// The guest's report, if it sent a whole one.
    pub report: Option<Report>,
    /// How it ended.
    pub end: End,
    /// Wall-clock time.
    pub took: Duration,
}

impl<'k> Boot<'k> {
    /// A boot of `initrd` with 512 MiB and two minutes.
    pub fn new(kernel: &'k Kernel, initrd: PathBuf) -> Self {
        Boot {
            kernel,
            initrd,
            disks: Vec::new(),
            writable: false,
            append: OsString::new(),
            memory_mib: 512,
            clock: Clock::Host,
            deadline: Duration::from_secs(120),
            until: None,
            stays: Duration::ZERO,
            on_text: None,
            flash: Vec::new(),
            placed: None,
            extra: Vec::new(),
        }
    }

    /// QEMU for it, the report going to `port`.
    fn qemu(&self, port: &Path) -> Qemu {
        let (program, machine, cpu, console) = match self.kernel.arch.as_str() {
            "armv7" => ("qemu-system-arm", "virt", "cortex-a15", "ttyAMA0"),
            // The kernel's test of its timer counts on the host's time, and panics on a busy host (arch/x86/kernel/apic/io_apic.c).
            // After cmpxchg16b, which only SLUB has, TCG of QEMU 7.2 had RAX in the flags and Linux 6.12 a double fault.
            "x86_64" => ("qemu-system-x86_64", "q35", "qemu64,-cx16", "ttyS0 no_timer_check"),
            _ => ("qemu-system-aarch64", "virt", "cortex-a72", "ttyAMA0"),
        };
        // Without it a writer of /dev/kmsg is held to ten lines in five seconds, and step lines would be lost.
        let mut append = OsString::from(format!("console={console} panic=-1 "));
        append.push(&self.append);
        let mmio = crate::content::bus(self.kernel) == "virtio_mmio";
        Qemu {
            program: program.into(),
            machine: machine.into(),
            cpu: cpu.into(),
            cpus: 1,
            memory_mib: self.memory_mib,
            kernel: self.kernel.image.clone(),
            initrd: Some(self.initrd.clone()),
            append,
            transport: if mmio { Transport::Mmio } else { Transport::Pci },
            disks: self.disks.iter().map(|image| Disk { image: image.clone(), writable: self.writable }).collect(),
            clock: self.clock,
            seed: 1,
            port: Some(Port::File(port.to_owned())),
            flash: self.flash.clone(),
            extra: self.extra.clone(),
            keyboard: false,
            files: None,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// If QEMU cannot be started or its console cannot be read. A boot that fails is an outcome.
    pub fn run(&self) -> Result<Outcome> {
        let folder = tempfile::tempdir()?;
        let port = folder.path().join("report");
        let start = Instant::now();
        let (mut bytes, mut parser, mut log) = (Vec::new(), Parser::default(), Log::default());
        let mut qemu = self.qemu(&port);
        if let Some((file, address)) = &self.placed {
            imagegen::memory::attach(&mut qemu, *address, file, folder.path())?;
        }
        let mut running = qemu.start()?;
        let (mut waiting, mut done) = (self.on_text.as_ref(), Ok(()));
        let end = running.watch(Some(start + self.deadline), &mut |new| {
            bytes.extend_from_slice(new);
            parser.feed(new).into_iter().for_each(|line| log.add(line));
            // The watcher's buffer is 4096 bytes: looking at twice as many sees a text cut in two.
            let found =
                |text: &str| bytes.windows(text.len().max(1)).rev().take(8192).any(|part| part == text.as_bytes());
            if let Some((_, action)) = waiting.take_if(|(text, _)| found(text)) {
                done = (action.0)();
            }
            done.is_ok() && !self.until.as_deref().is_some_and(found)
        })?;
        done?;
        let end = if end == End::Stopped && !self.stays.is_zero() {
            let mut see = |new: &[u8]| {
                bytes.extend_from_slice(new);
                parser.feed(new).into_iter().for_each(|line| log.add(line));
                true
            };
            let end = running.watch(Some(Instant::now() + self.stays), &mut see)?;
            if end == End::Deadline {
                running.kill()?;
                running.watch(None, &mut see)?;
            }
            end
        } else {
            end
        };
        let report = std::fs::read(&port).ok().and_then(|bytes| Report::parse(&bytes));
        let console = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Outcome { console, log, report, end, took: start.elapsed() })
    }
}

impl Outcome {
    /// The report of a boot that ended by itself.
    ///
    /// # Errors
    /// If there is none; the error holds the console.
    pub fn reported(&self) -> Result<&Report> {
        match (&self.report, self.end) {
            (Some(report), End::Exited(true)) => Ok(report),
            _ => Err(self.failure("no report")),
        }
    }

    /// That a guest with `guest=leave` has left the image, and nothing of it is in use any more.
    ///
    /// # Errors
    /// If it has not, or something is.
    pub fn left(&self) -> Result<()> {
        let found = self.reported()?;
        equal("started again", &found.lines("argv").join(" "), &"/init left".to_owned())?;
        equal("EROFS mounted", &found.lines("erofs").join(" "), &String::new())?;
        let used = found.lines("block").iter().filter(|line| line.contains(" dio ") || line.starts_with("dm-"));
        equal("loop and mapped devices", &used.cloned().collect::<Vec<_>>(), &Vec::new())
    }

    /// A failure that shows the console.
    pub fn failure(&self, what: &str) -> Failure {
        format!("{what}; ended with {:?} after {:?}; console:\n{}", self.end, self.took, self.console).into()
    }
}
