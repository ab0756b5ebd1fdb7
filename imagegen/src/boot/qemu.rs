//! Starts QEMU and reads its console: for `imagegen boot`, `imagegen measure` and every boot test.

use crate::{Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What runs and is to end with this program, by process id.
static RUNNING: Mutex<Vec<(u32, OwnedFd)>> = Mutex::new(Vec::new());

/// Name of the virtio-serial port a guest under test answers on.
pub const TEST_PORT: &str = "org.initoverlayfs.test";

/// How virtio devices are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// On the PCI bus: `virtio-blk-pci`.
    Pci,
    /// Memory mapped: `virtio-blk-device`.
    Mmio,
}

impl Transport {
    const fn suffix(self) -> &'static str {
        match self {
            Transport::Pci => "pci",
            Transport::Mmio => "device",
        }
    }
}

/// What makes the guest's clock go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The host's time.
    #[default]
    Host,
    /// One instruction is one nanosecond, and nothing else takes time: a disk has answered before the guest goes on, a timer that all
    /// wait for comes at once, the random numbers are those of [`Qemu::seed`]. So the same boot takes the same time to the nanosecond.
    /// Only right where every disk is read from memory, by io_uring.
    Instructions,
    /// One instruction is one nanosecond, and while the guest waits its clock follows the host's.
    InstructionsAndWaits,
}

/// The guest's date on [`Clock::Instructions`]: later than anything in an image.
const DATE: &str = "base=2030-01-01,clock=vm";

/// Where the test port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// What the guest writes is collected in this file.
    File(PathBuf),
    /// QEMU listens on this UNIX socket.
    Socket(PathBuf),
}

/// A disk of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Raw image.
    pub image: PathBuf,
    /// Whether the guest may write to it.
    pub writable: bool,
}

/// A QEMU to start.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// Program: `qemu-system-aarch64`.
    pub program: String,
    /// `-machine`.
    pub machine: String,
    /// `-cpu`; QEMU's own choice if empty.
    pub cpu: String,
    /// Processors.
    pub cpus: u32,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initramfs.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub append: OsString,
    /// How disks and ports are attached.
    pub transport: Transport,
    /// Disks, in the order of vda, vdb and so on.
    pub disks: Vec<Disk>,
    /// The guest's clock.
    pub clock: Clock,
    /// Where the virtio-serial port [`TEST_PORT`] leads, if there is to be one.
    pub port: Option<Port>,
    /// Flash chips, the first with the firmware that then starts what it finds, in place of the kernel.
    pub flash: Vec<Disk>,
    /// Which random numbers the guest gets on [`Clock::Instructions`].
    pub seed: u32,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
    /// Whether the terminal's keys go to the guest (Ctrl-A X ends it).
    pub keyboard: bool,
    /// A folder of files that it needs while it runs.
    pub files: Option<Arc<TempDir>>,
}

/// How watching a console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ended, with success or not.
    Exited(bool),
    /// The watcher had seen enough.
    Stopped,
    /// The deadline passed.
    Deadline,
}

impl Qemu {
    /// The arguments in the order given to QEMU.
    pub fn arguments(&self) -> Vec<OsString> {
        self.arguments_with("")
    }

    /// The same with an option for each disk.
    fn arguments_with(&self, disk_option: &str) -> Vec<OsString> {
        let mut list: Vec<OsString> = Vec::new();
        let mut add = |words: &[&OsStr]| list.extend(words.iter().map(|word| (*word).to_owned()));
        let (memory, cpus) = (self.memory_mib.to_string(), self.cpus.to_string());
        add(&["-nodefaults".as_ref(), "-no-user-config".as_ref(), "-no-reboot".as_ref()]);
        add(&["-display".as_ref(), "none".as_ref()]);
        add(&["-machine".as_ref(), self.machine.as_ref()]);
        add(&["-m".as_ref(), memory.as_ref(), "-smp".as_ref(), cpus.as_ref()]);
        if !self.cpu.is_empty() {
            add(&["-cpu".as_ref(), self.cpu.as_ref()]);
        }
        if self.flash.is_empty() {
            add(&["-kernel".as_ref(), self.kernel.as_ref()]);
        }
        if let Some(initrd) = self.initrd.as_ref().filter(|_| self.flash.is_empty()) {
            add(&["-initrd".as_ref(), initrd.as_ref()]);
        }
        if self.flash.is_empty() && !self.append.is_empty() {
            add(&["-append".as_ref(), &self.append]);
        }
        add(&["-chardev".as_ref(), "stdio,id=console,mux=on,signal=off".as_ref()]);
        add(&["-serial".as_ref(), "chardev:console".as_ref(), "-mon".as_ref(), "chardev=console".as_ref()]);
        match self.clock {
            Clock::Host => (),
            Clock::Instructions => {
                add(&["-icount".as_ref(), "shift=0,sleep=off".as_ref(), "-rtc".as_ref(), DATE.as_ref()]);
                add(&["-seed".as_ref(), self.seed.to_string().as_ref()]);
            }
            Clock::InstructionsAndWaits => add(&["-icount".as_ref(), "shift=0".as_ref()]),
        }
        self.add_devices(&mut list, disk_option);
        list.extend(self.extra.iter().cloned());
        list
    }

    fn add_devices(&self, list: &mut Vec<OsString>, disk_option: &str) {
        let suffix = self.transport.suffix();
        if self.clock == Clock::Instructions {
            // Without ioeventfd the thread that runs the guest serves its requests itself, before the guest goes on.
            let drivers: &[&str] = match self.transport {
                Transport::Pci => &["virtio-blk-pci", "virtio-serial-pci"],
                Transport::Mmio => &["virtio-mmio"],
            };
            let globals = drivers.iter().map(|driver| format!("{driver}.ioeventfd=off").into());
            list.extend(globals.flat_map(|global: OsString| ["-global".into(), global]));
        }
        for chip in &self.flash {
            let access = if chip.writable { "" } else { ",readonly=on" };
            let mut drive = OsString::from(format!("if=pflash,format=raw{access},file="));
            drive.push(option_value(chip.image.as_os_str()));
            list.extend(["-drive".into(), drive]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            let access = if disk.writable { "" } else { ",readonly=on" };
            let mut drive = OsString::from(format!("if=none,format=raw,id=disk{index}{access}{disk_option},file="));
            drive.push(option_value(disk.image.as_os_str()));
            list.extend(["-drive".into(), drive, "-device".into()]);
            list.push(format!("virtio-blk-{suffix},drive=disk{index}").into());
        }
        let Some(port) = &self.port else { return };
        let (mut chardev, path, end) = match port {
            Port::File(path) => (OsString::from("file,id=test,path="), path, ""),
            Port::Socket(path) => (OsString::from("socket,id=test,path="), path, ",server=on,wait=off"),
        };
        chardev.push(option_value(path.as_os_str()));
        chardev.push(end);
        list.extend(["-chardev".into(), chardev, "-device".into(), format!("virtio-serial-{suffix}").into()]);
        list.extend(["-device".into(), format!("virtserialport,chardev=test,name={TEST_PORT}").into()]);
    }

    /// Starts it. Dropping the result kills it.
    ///
    /// # Errors
    /// Failed work if the program cannot be started.
    pub fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.program);
        let timed = self.disks.first().filter(|_| self.clock != Clock::Host);
        let disk_option = timed.map_or("", |disk| super::io_uring::option(&self.program, &disk.image));
        if self.clock == Clock::Instructions {
            self.disks.iter().for_each(|disk| super::io_uring::bring_in(&disk.image));
        }
        command.args(self.arguments_with(disk_option));
        command.stdin(if self.keyboard { Stdio::inherit() } else { Stdio::null() });
        log::debug!("{command:?}");
        Running::start(command).map_err(|error| {
            Error::failed(
                format!("cannot start {}: {error}", self.program),
                "install QEMU: apt-get install qemu-system-arm qemu-system-x86",
            )
        })
    }
}

/// A value inside a QEMU option, where a comma is written twice.
pub(crate) fn option_value(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = value.as_bytes();
    let doubled = bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
    OsString::from_vec(doubled.collect())
}

/// A QEMU that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    console: ChildStdout,
}

impl Running {
    /// Starts a program whose standard output is the console.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        // Locked until it is known: nothing is started behind the back of [`kill_all`].
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        // Without a descriptor (before Linux 5.3) it ends only with an interrupt from the keyboard, which it gets too.
        if let Ok(process) = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            running.push((child.id(), process));
        }
        drop(running);
        let console = child.stdout.take().ok_or_else(|| io::Error::other("no console"))?;
        Ok(Running { child, console })
    }

    /// Its standard input, if that is a pipe that nobody has yet.
    pub(super) fn keys(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it; what its console has said can still be read.
    ///
    /// # Errors
    /// Failed work if it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().map_err(Error::io("kill", "QEMU"))
    }

    /// Gives the console's bytes to `see` until it returns false, QEMU ends or `deadline` passes; none waits for ever.
    /// Can be called again to go on.
    ///
    /// # Errors
    /// Failed work if the console cannot be read.
    pub fn watch(&mut self, deadline: Option<Instant>, see: &mut dyn FnMut(&[u8]) -> bool) -> Result<End> {
        let mut buffer = [0; 4096];
        loop {
            if !self.readable(deadline)? {
                return Ok(End::Deadline);
            }
            let count = self.console.read(&mut buffer).map_err(Error::io("read", "QEMU's console"))?;
            if count == 0 {
                return self.wait();
            }
            if !see(buffer.get(..count).unwrap_or_default()) {
                return Ok(End::Stopped);
            }
        }
    }

    /// Waits until the console has bytes or has ended; false once the deadline has passed.
    fn readable(&self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let timeout = match left {
                None => PollTimeout::NONE,
                Some(left) => PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            };
            match poll(&mut [PollFd::new(self.console.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => (),
                Ok(_) => return Ok(true),
                Err(error) => {
                    return Err(Error::failed(format!("cannot wait for QEMU's console: {error}"), "try again"));
                }
            }
        }
    }

    fn wait(&mut self) -> Result<End> {
        let status = self.child.wait().map_err(Error::io("wait for", "QEMU"))?;
        Ok(End::Exited(status.success()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|(id, _)| *id != self.child.id());
        }
    }
}

/// Kills every QEMU that runs, because the program ends now: who sees that one has ended waits for ever.
pub fn kill_all() {
    if let Ok(running) = RUNNING.lock() {
        for (_, process) in running.iter() {
            // It fails only if it has ended.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        std::mem::forget(running);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a program of `script`. Another process writes it: a test that forks beside this one would otherwise inherit
    /// the open file and the kernel refuse to start it (ETXTBSY).
    pub(crate) fn install(script: &str, program: &std::path::Path) {
        let text = program.with_extension("text");
        std::fs::write(&text, script).unwrap();
        assert!(Command::new("install").args(["-m", "700"]).args([&text, program]).status().unwrap().success());
    }

    fn qemu(program: &str) -> Qemu {
        Qemu {
            program: program.into(),
            machine: "virt".into(),
            cpu: "cortex-a72".into(),
            cpus: 1,
            memory_mib: 512,
            kernel: "Image".into(),
            initrd: Some("initramfs.img".into()),
            append: "console=ttyAMA0".into(),
            transport: Transport::Mmio,
            disks: vec![Disk { image: "a,b.img".into(), writable: false }],
            clock: Clock::Instructions,
            seed: 3,
            port: Some(Port::Socket("port".into())),
            flash: Vec::new(),
            extra: vec!["-semihosting".into()],
            keyboard: false,
            files: None,
        }
    }

    #[test]
    fn arguments_say_all_of_it() {
        let arguments = qemu("qemu").arguments().join(OsStr::new(" "));
        assert_eq!(
            arguments.to_str().unwrap(),
            "-nodefaults -no-user-config -no-reboot -display none -machine virt -m 512 -smp 1 -cpu cortex-a72 \
             -kernel Image -initrd initramfs.img -append console=ttyAMA0 -chardev stdio,id=console,mux=on,signal=off \
             -serial chardev:console -mon chardev=console -icount shift=0,sleep=off \
             -rtc base=2030-01-01,clock=vm -seed 3 -global virtio-mmio.ioeventfd=off \
             -drive if=none,format=raw,id=disk0,readonly=on,file=a,,b.img -device virtio-blk-device,drive=disk0 \
             -chardev socket,id=test,path=port,server=on,wait=off -device virtio-serial-device \
             -device virtserialport,chardev=test,name=org.initoverlayfs.test -semihosting"
        );
    }

    #[test]
    fn the_console_of_a_program_that_ends_is_read_to_its_end() {
        let mut running = qemu("echo").start().unwrap();
        let mut seen = Vec::new();
        let end = running
            .watch(None, &mut |bytes| {
                seen.extend_from_slice(bytes);
                true
            })
            .unwrap();
        assert_eq!(end, End::Exited(true));
        assert!(seen.starts_with(b"-nodefaults"));
    }

    #[test]
    fn a_program_that_says_nothing_meets_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("qemu");
        install("#!/bin/sh\nexec sleep 600\n", &script);
        let mut running = qemu(script.to_str().unwrap()).start().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(running.watch(Some(deadline), &mut |_| true).unwrap(), End::Deadline);
    }

    #[test]
    fn a_missing_program_is_failed_work_with_a_hint() {
        let error = qemu("/nonexistent/qemu").start().unwrap_err();
        assert_eq!(error.exit_status(), 1);
        assert!(error.hint.contains("apt-get"), "{error}");
    }
}
