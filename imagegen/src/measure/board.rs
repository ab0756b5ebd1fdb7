//! A real board on a serial line: its power is cycled by the user's command, its console recorded.

use super::recorder::{PAUSE, Recorder, Watch};
use super::store::UNKNOWN;
use super::timeline::{self, Arrivals, Boot};
use super::{microseconds, unseen};
use crate::runs::{Clock, Conditions, Start, Zero};
use crate::serial::{Serial, Wait};
use crate::{Error, Result};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// While the power command runs the old system still speaks, and then the new one. A silence this long parts them.
const POWER_OFF: Duration = Duration::from_millis(500);
/// A board to be reset by hand is asked for when it has been silent for this long: its first byte tells the reset.
const SILENCE: Duration = Duration::from_secs(1);
/// How many of the console's last lines are shown when a boot has failed.
const LAST_LINES: usize = 10;

/// How to record a board.
#[derive(Clone, Debug)]
pub struct Options {
    /// Speed of the line in baud.
    pub baud: u32,
    /// Shell command that cycles the board's power; none where somebody resets it by hand.
    pub power: Option<OsString>,
    /// Whether that restarts the board without cutting its power.
    pub warm: bool,
    /// The board's name; by default what its kernel calls it.
    pub name: Option<String>,
    /// How long a boot may take, its power command included.
    pub timeout: Duration,
    /// What is looked for.
    pub watch: Watch,
}

/// A board on a serial line.
#[derive(Debug)]
pub struct Board {
    serial: Serial,
    options: Options,
}

/// The clock of one boot and what came.
struct Session<'a> {
    start: Instant,
    deadline: Instant,
    /// When bytes came last, on that clock.
    last_us: Option<i64>,
    recorder: Recorder<'a>,
}

impl Board {
    /// Opens the serial line.
    ///
    /// # Errors
    /// As [`Serial::open`].
    pub fn open(tty: &Path, options: Options) -> Result<Self> {
        Ok(Board { serial: Serial::open(tty, options.baud)?, options })
    }

    /// What is known of its boots before the first of them.
    pub fn conditions(&self) -> Conditions {
        Conditions {
            board: self.options.name.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            place: self.serial.path().display().to_string(),
            kernel: UNKNOWN.to_owned(),
            input_sha256: None,
            image_sha256: None,
            command_line: None,
            clock: Clock::Kernel,
            zero: Zero::Kernel,
            explained: false,
        }
    }

    /// Records one boot. `what` names it where somebody has to reset the board.
    ///
    /// # Errors
    /// Failed work if the power command fails, the line goes away or the boot does not come to its end.
    pub fn boot(&mut self, what: &str) -> Result<Boot> {
        let options = self.options.clone();
        let mut session = Session::new(&options, &self.serial);
        let power_on_us = match &options.power {
            Some(command) => Some(self.cycle_power(command, &mut session, &options)?),
            None => {
                self.wait_for_reset(what, &mut session, &options)?;
                None
            }
        };
        while !session.recorder.is_over() && Instant::now() < session.deadline {
            match self.serial.wait(None, session.deadline.min(Instant::now() + PAUSE))? {
                Wait::Bytes => self.take(&mut session)?,
                Wait::Other | Wait::Deadline => session.recorder.pause(),
            }
        }
        let mut recorder = session.recorder;
        recorder.finish();
        if !recorder.is_complete() {
            return Err(self.failure(&recorder));
        }
        let mut boot = timeline::read(&recorder.lines, &options.watch, Arrivals::Known(power_on_us))?;
        boot.run.start = match (options.warm, &options.power) {
            (true, _) => Some(Start::Warm),
            (false, Some(_)) => Some(Start::Cold),
            (false, None) => None,
        };
        Ok(boot)
    }

    /// Reads what has come.
    fn take(&mut self, session: &mut Session<'_>) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = self.serial.read(&mut buffer)?;
        if count > 0 {
            let now = session.now();
            session.recorder.feed(now, buffer.get(..count).unwrap_or_default());
            session.last_us = Some(now);
        }
        Ok(())
    }

    /// Runs the power command; returns when the board got power: when it ended, or the board spoke, if that was earlier.
    fn cycle_power<'a>(&mut self, command: &OsString, session: &mut Session<'a>, options: &'a Options) -> Result<i64> {
        self.serial.discard();
        *session = Session::new(options, &self.serial);
        let running = Power::start(command)?;
        let mut first_us = None;
        loop {
            match self.serial.wait(Some(running.ended.as_fd()), session.deadline)? {
                Wait::Bytes => {
                    if session.silent_for() >= POWER_OFF {
                        (session.recorder, first_us) = (Recorder::new(&options.watch, self.serial.byte_time()), None);
                    }
                    self.take(session)?;
                    first_us = first_us.or(session.last_us);
                }
                Wait::Other => break,
                Wait::Deadline => return Err(running.late(options.timeout)),
            }
        }
        running.finish()?;
        if session.silent_for() >= POWER_OFF {
            (session.recorder, first_us) = (Recorder::new(&options.watch, self.serial.byte_time()), None);
        }
        let now = session.now();
        Ok(first_us.map_or(now, |first| first.min(now)))
    }

    /// Waits until the board is silent, asks for the reset, and waits for the first byte, with which the boot begins.
    fn wait_for_reset<'a>(&mut self, what: &str, session: &mut Session<'a>, options: &'a Options) -> Result<()> {
        while self.serial.wait(None, session.deadline.min(Instant::now() + SILENCE))? == Wait::Bytes
            && Instant::now() < session.deadline
        {
            self.take(session)?;
        }
        eprintln!("imagegen: reset the board now: {what}");
        let deadline = Instant::now() + options.timeout;
        let came = self.serial.wait(None, deadline)?;
        *session = Session::new(options, &self.serial);
        if came != Wait::Bytes {
            session.deadline = session.start;
        }
        Ok(())
    }

    /// Why a boot did not come to its end.
    fn failure(&self, recorder: &Recorder<'_>) -> Error {
        let (tty, Options { baud, timeout, .. }) = (self.serial.path().display(), &self.options);
        let seconds = timeout.as_secs_f64();
        if recorder.bytes() == 0 {
            let what = format!("nothing came from {tty} within {seconds} s");
            let hint = "is it the board's console, its TX on the adapter's RX and both on one ground, and did the board get power?";
            return Error::failed(what, hint);
        }
        if let Some(odd) = recorder.garbage() {
            let what = format!("what comes from {tty} is no text: {odd} of {} bytes", recorder.bytes());
            return Error::failed(what, format!("has the board's console another speed than --baud {baud}?"));
        }
        for line in recorder.lines.iter().rev().take(LAST_LINES).rev() {
            log::warn!("{}", line.text);
        }
        unseen(recorder, &self.options.watch, self.options.timeout)
    }
}

impl<'a> Session<'a> {
    fn new(options: &'a Options, serial: &Serial) -> Self {
        let start = Instant::now();
        let recorder = Recorder::new(&options.watch, serial.byte_time());
        Session { start, deadline: start + options.timeout, last_us: None, recorder }
    }

    fn now(&self) -> i64 {
        microseconds(self.start.elapsed())
    }

    fn silent_for(&self) -> Duration {
        let last = u64::try_from(self.last_us.unwrap_or(0)).unwrap_or(0);
        self.start.elapsed().saturating_sub(Duration::from_micros(last))
    }
}

/// A power command that runs; killed when dropped.
struct Power {
    child: Child,
    ended: OwnedFd,
    said: File,
    command: String,
}

impl Power {
    fn start(command: &OsString) -> Result<Self> {
        let cannot =
            |error: std::io::Error| Error::failed(format!("cannot run the power command: {error}"), "try again");
        // A file, no pipe: what the command leaves running in the background would keep a pipe open.
        let said = tempfile::tempfile().map_err(cannot)?;
        let (out, error) = (said.try_clone().map_err(cannot)?, said.try_clone().map_err(cannot)?);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(out).stderr(error);
        let child = shell.spawn().map_err(cannot)?;
        let id = Pid::from_child(&child);
        // Without it the command would have to be polled. Linux has it since 5.3.
        let ended = pidfd_open(id, PidfdFlags::empty()).map_err(|errno| cannot(errno.into()))?;
        Ok(Power { child, ended, said, command: command.to_string_lossy().into_owned() })
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(Error::io("wait for", "the power command"))?;
        let mut said = Vec::new();
        if self.said.rewind().is_ok() {
            // Without its words the status must do.
            let _ = (&self.said).take(1 << 16).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        if status.success() {
            said.lines().for_each(|line| log::info!("power command: {line}"));
            return Ok(());
        }
        let what = format!("the power command failed ({status}): {}", last.trim());
        Err(Error::failed(what, format!("try it by hand: sh -c '{}'", self.command)))
    }

    fn late(self, timeout: Duration) -> Error {
        let what = format!("the power command did not end within {} s", timeout.as_secs_f64());
        Error::failed(what, "it must end when the board has power; what goes on runs in the background: COMMAND &")
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
