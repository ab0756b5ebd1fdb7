//! A serial line that is only listened to: raw, for this program alone, and as it was before once it is let go. Or the
//! terminal of a program that listens to one far away.

use crate::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::termios::{ControlModes, OptionalActions, QueueSelector, Termios};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u64 = 10;
/// Major device numbers of Unix98 pty slaves (Documentation/admin-guide/devices.txt): they have no speed.
const PTY_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;
const BUSY: &str = "end the other program: `fuser -v` names it (picocom, minicom, screen, a getty, ModemManager)";

/// Lines to put back if the program is interrupted: the open file and its settings.
static OPEN: Mutex<Vec<(File, Termios)>> = Mutex::new(Vec::new());
/// Programs to end then.
static PROGRAMS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// An open serial line; dropping it puts its settings back.
#[derive(Debug)]
pub struct Serial {
    file: File,
    path: PathBuf,
    byte_time: Duration,
    program: Option<Child>,
}

/// How waiting for bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There are bytes.
    Bytes,
    /// What else was waited for has happened.
    Other,
    /// The deadline passed.
    Deadline,
}

impl Serial {
    /// Opens `path` at `baud`, 8 data bits, no parity, 1 stop bit, no flow control.
    ///
    /// # Errors
    /// Bad input if there is no such line, it is no terminal or cannot have this speed; failed work if another program
    /// has it, or this user may not.
    pub fn open(path: &Path, baud: u32) -> Result<Self> {
        // Not blocking: without a carrier open(2) would wait for one.
        let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| cannot_open(path, error))?;
        let saved = rustix::termios::tcgetattr(&file).map_err(|_| {
            let what = format!("{} is not a serial line", path.display());
            Error::bad_input(what, "give a terminal device, such as /dev/ttyUSB0 or /dev/ttyACM0")
        })?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(Error::failed(format!("{} is busy", path.display()), BUSY)),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        // The lock keeps those away who ask for it, this all but root.
        rustix::termios::ioctl_tiocexcl(&file).map_err(|errno| Error::io("reserve", path)(errno.into()))?;
        let major = nix::sys::stat::major(file.metadata().map_err(Error::io("read", path))?.rdev());
        let is_pty = u32::try_from(major).is_ok_and(|major| PTY_MAJORS.contains(&major));
        let byte_time = if is_pty { 0 } else { BITS_PER_BYTE * 1_000_000_000 / u64::from(baud.max(1)) };
        let copy = file.try_clone().map_err(Error::io("open", path))?;
        if let Ok(mut open) = OPEN.lock() {
            open.push((copy, saved.clone()));
        }
        let serial = Serial { file, path: path.to_owned(), byte_time: Duration::from_nanos(byte_time), program: None };
        serial.set(saved, baud)?;
        Ok(serial)
    }

    /// Starts `command` on a terminal of its own; what it writes there is what comes. Errors call it `name`.
    ///
    /// # Errors
    /// Failed work if it does not start.
    pub fn of_program(mut command: Command, name: &str) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot = |error: std::io::Error| {
            let what = format!("cannot start {program}: {error}");
            Error::failed(what, "is it installed, and in PATH?")
        };
        let pair = openpty(None, None).map_err(|errno| cannot(errno.into()))?;
        let mut settings = rustix::termios::tcgetattr(&pair.slave).map_err(|errno| cannot(errno.into()))?;
        settings.make_raw();
        rustix::termios::tcsetattr(&pair.slave, OptionalActions::Now, &settings)
            .map_err(|errno| cannot(errno.into()))?;
        rustix::io::ioctl_fionbio(&pair.master, true).map_err(|errno| cannot(errno.into()))?;
        let [input, output] = [pair.slave.try_clone(), pair.slave.try_clone()].map(|fd| fd.map_err(cannot));
        let (input, output) = (input?, output?);
        // A group of its own: it has children that must end with it, and an interrupt from the keyboard is not its business.
        let started = command.stdin(input).stdout(output).stderr(pair.slave).process_group(0).spawn();
        let program = started.map_err(cannot)?;
        // This process' copies of the terminal, without which its end would not be seen.
        drop(command);
        if let (Ok(mut programs), Ok(id)) = (PROGRAMS.lock(), i32::try_from(program.id())) {
            programs.push(Pid::from_raw(id));
        }
        let file = File::from(pair.master);
        Ok(Serial { file, path: PathBuf::from(name), byte_time: Duration::ZERO, program: Some(program) })
    }

    fn set(&self, mut settings: Termios, baud: u32) -> Result<()> {
        settings.make_raw();
        settings.control_modes.insert(ControlModes::CREAD | ControlModes::CLOCAL | ControlModes::CS8);
        settings.control_modes.remove(ControlModes::CSTOPB | ControlModes::CRTSCTS);
        let refused = |errno: rustix::io::Errno| {
            let what = format!("{} cannot be set to {baud} baud: {errno}", self.path.display());
            Error::bad_input(what, "give --baud as the board's console has it; most have 115200")
        };
        settings.set_speed(baud).map_err(refused)?;
        rustix::termios::tcsetattr(&self.file, OptionalActions::Now, &settings).map_err(refused)?;
        // tcsetattr(3) succeeds if any of the changes could be made.
        let got = rustix::termios::tcgetattr(&self.file).map_err(refused)?.input_speed();
        if got.abs_diff(baud) > baud / 20 { Err(refused(rustix::io::Errno::INVAL)) } else { Ok(()) }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The least time that one byte takes on the line: none on a pty.
    pub const fn byte_time(&self) -> Duration {
        self.byte_time
    }

    /// Forgets what has come and was not read.
    pub fn discard(&self) {
        // What cannot be discarded is read, and then known by its time.
        let _ = rustix::termios::tcflush(&self.file, QueueSelector::IFlush);
    }

    /// Waits for bytes, for `other` to become readable, or for the deadline.
    ///
    /// # Errors
    /// Failed work if the system does not wait.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, deadline: Instant) -> Result<Wait> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::Deadline);
            }
            // Rounded up: a wait of nothing would spin.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            fds.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(0) | Err(Errno::EINTR) => (),
                // Bytes first: they came before whatever else is seen now.
                Ok(_) if fds.first().is_some_and(|fd| fd.any() == Some(true)) => return Ok(Wait::Bytes),
                Ok(_) => return Ok(Wait::Other),
                Err(error) => return Err(Error::io("wait for", &self.path)(error.into())),
            }
        }
    }

    /// Reads what is there, at most as much as `buffer` holds; nothing if nothing is there.
    ///
    /// # Errors
    /// Failed work if the line has gone.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let gone = |why: &str| {
            let what = format!("{} has gone: {why}", self.path.display());
            Error::failed(
                what,
                match self.program {
                    None => "is the adapter plugged in? `dmesg` says what became of it",
                    Some(_) => "the program that listens to it has ended: start it by hand to see why",
                },
            )
        };
        match self.file.read(buffer) {
            // poll(2) said that there is something: it is the end.
            Ok(0) => Err(gone("end of file")),
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(gone(&error.to_string())),
        }
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        if let Some(program) = &mut self.program {
            let id = i32::try_from(program.id()).map(Pid::from_raw);
            if let (Ok(mut programs), Ok(id)) = (PROGRAMS.lock(), id) {
                programs.retain(|other| *other != id);
                // It fails only if all of it has ended.
                let _ = killpg(id, Signal::SIGKILL);
            }
            let _ = program.wait();
            return;
        }
        let Ok(mut open) = OPEN.lock() else { return };
        let own = self.file.metadata().map(|metadata| metadata.rdev()).ok();
        let is_own = |file: &File| file.metadata().map(|metadata| metadata.rdev()).ok() == own;
        if let Some(at) = open.iter().position(|(file, _)| is_own(file)) {
            restore(&open.swap_remove(at));
        }
    }
}

fn restore((file, settings): &(File, Termios)) {
    // Nothing better can be done about a line that has gone.
    let _ = rustix::termios::tcsetattr(file, OptionalActions::Now, settings);
    let _ = rustix::termios::ioctl_tiocnxcl(file);
    // Closing is not enough: a program that is being started just now holds a copy until it is.
    let _ = file.unlock();
}

/// Puts back the settings of every line that is open and ends what listens to others, because the program ends now.
pub fn restore_all() {
    if let Ok(programs) = PROGRAMS.lock() {
        for id in programs.iter() {
            // It fails only if all of it has ended.
            let _ = killpg(*id, Signal::SIGKILL);
        }
    }
    if let Ok(open) = OPEN.lock() {
        open.iter().for_each(restore);
    }
}

fn cannot_open(path: &Path, error: std::io::Error) -> Error {
    let what = format!("cannot open {}: {error}", path.display());
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EBUSY => Error::failed(format!("{} is busy", path.display()), BUSY),
        Errno::EACCES | Errno::EPERM => {
            Error::failed(what, "a serial line belongs to a group: `sudo usermod -aG dialout $USER`, then log in again")
        }
        Errno::ENOENT => {
            Error::bad_input(what, "is the adapter plugged in? `ls /dev/serial/by-id` shows those that are")
        }
        Errno::ENXIO | Errno::ENODEV | Errno::EIO => {
            Error::bad_input(what, "there is no hardware behind it; `ls /dev/serial/by-id` shows adapters")
        }
        _ => Error::io("open", path)(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// The master of a pty and the path of its other end. The slave stays open: a master without one says EIO.
    pub(crate) fn pty() -> (File, File, PathBuf) {
        let pair = openpty(None, None).unwrap();
        let path = nix::unistd::ttyname(&pair.slave).unwrap();
        (File::from(pair.master), File::from(pair.slave), path)
    }

    #[test]
    fn bytes_come_as_they_are_and_settings_are_put_back() {
        let (mut master, slave, path) = pty();
        let before = rustix::termios::tcgetattr(&slave).unwrap();
        assert!(before.local_modes.contains(rustix::termios::LocalModes::ECHO), "{before:?}");
        let mut serial = Serial::open(&path, 115_200).unwrap();
        let during = rustix::termios::tcgetattr(&slave).unwrap();
        assert_eq!(during.input_speed(), 115_200);
        assert!(!during.local_modes.contains(rustix::termios::LocalModes::ECHO), "{during:?}");
        master.write_all(b"a\r\n\x03\x04\xff").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let (mut buffer, mut got) = ([0; 64], Vec::new());
        while got.len() < 6 {
            assert_eq!(serial.wait(None, deadline).unwrap(), Wait::Bytes);
            let count = serial.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(got, b"a\r\n\x03\x04\xff");
        assert_eq!(serial.wait(None, Instant::now() + Duration::from_millis(5)).unwrap(), Wait::Deadline);
        drop(serial);
        let after = rustix::termios::tcgetattr(&slave).unwrap();
        // Control modes also say how the speed was set, which is no setting.
        let settings = |of: &Termios| {
            let speeds = (of.input_speed(), of.output_speed());
            let modes = (of.input_modes, of.output_modes, of.local_modes, of.control_modes & ControlModes::CSIZE);
            (modes, speeds, format!("{:?}", of.special_codes))
        };
        assert_eq!(settings(&after), settings(&before));
    }

    #[test]
    fn a_line_in_use_is_busy_and_free_again_after() {
        let (_master, _slave, path) = pty();
        let first = Serial::open(&path, 9600).unwrap();
        let error = Serial::open(&path, 9600).unwrap_err();
        assert!(error.exit_status() == 1 && error.what.ends_with("is busy"), "{error}");
        drop(first);
        Serial::open(&path, 9600).unwrap();
    }

    #[test]
    fn what_is_no_serial_line_is_refused() {
        for (path, what) in [("/dev/null", "is not a serial line"), ("/dev/ttyNONE9", "No such file")] {
            let error = Serial::open(Path::new(path), 115_200).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.contains(what), "{error}");
        }
        let denied = cannot_open(Path::new("/dev/ttyUSB0"), ErrorKind::PermissionDenied.into());
        assert!(denied.exit_status() == 1, "{denied}");
        let denied = cannot_open(Path::new("/dev/ttyUSB0"), std::io::Error::from_raw_os_error(nix::libc::EACCES));
        assert!(denied.hint.contains("dialout"), "{denied}");
    }

    #[test]
    fn what_a_program_says_comes_until_it_ends() {
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'a\\nb'; test -t 0 && echo ' on a terminal'; exec sleep 0.1"]);
        let mut serial = Serial::of_program(command, "place").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let (mut buffer, mut got) = ([0; 64], Vec::new());
        let error = loop {
            assert_eq!(serial.wait(None, deadline).unwrap(), Wait::Bytes);
            match serial.read(&mut buffer) {
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) => break error,
            }
        };
        assert_eq!(String::from_utf8(got).unwrap(), "a\nb on a terminal\n");
        assert!(error.what.contains("place has gone"), "{error}");
        assert!(Serial::of_program(Command::new("/no/such/program"), "place").is_err());
    }

    #[test]
    fn a_line_that_goes_away_is_no_silence() {
        let (master, slave, path) = pty();
        let mut serial = Serial::open(&path, 115_200).unwrap();
        drop((master, slave));
        assert_eq!(serial.wait(None, Instant::now() + Duration::from_secs(10)).unwrap(), Wait::Bytes);
        let error = serial.read(&mut [0; 8]).unwrap_err();
        assert!(error.what.contains("has gone"), "{error}");
    }
}
