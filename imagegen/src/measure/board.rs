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

/// What is known of the boots of a board in `place` before the first of them.
pub fn conditions(place: &str, options: &Options) -> Conditions {
    Conditions {
        board: options.name.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
        place: place.to_owned(),
        kernel: UNKNOWN.to_owned(),
        input_sha256: None,
        image_sha256: None,
        command_line: None,
        clock: Clock::Kernel,
        zero: Zero::Kernel,
        explained: false,
    }
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
        Ok(Self::on(Serial::open(tty, options.baud)?, options))
    }

    /// The board on this line.
    pub const fn on(serial: Serial, options: Options) -> Self {
        Board { serial, options }
    }

    /// What is known of its boots before the first of them.
    pub fn conditions(&self) -> Conditions {
        conditions(&self.serial.path().display().to_string(), &self.options)
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

#[cfg(test)]
mod tests {
    use super::super::{Store, board as measure};
    use super::*;
    use crate::runs::{Layer, mark, read};
    use crate::serial::tests::pty;
    use regex::Regex;
    use std::io::Write;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    /// The console of QEMU's virt machine from U-Boot 2023.01 through Debian's kernel 6.12 and bootstrap to power-off.
    const CONSOLE: &[u8] = include_bytes!("u-boot.console");

    /// A board behind a pty: whenever a line is written to its switch it says what it has to say.
    struct Emulated {
        folder: tempfile::TempDir,
        tty: PathBuf,
        player: Option<JoinHandle<usize>>,
        /// Both ends stay open: otherwise the line has gone.
        _ends: [File; 2],
    }

    impl Emulated {
        fn new(says: Vec<Vec<u8>>) -> Self {
            let (mut master, slave, tty) = pty();
            let ends = [master.try_clone().unwrap(), slave];
            let folder = tempfile::tempdir().unwrap();
            let switch = folder.path().join("switch");
            nix::unistd::mkfifo(&switch, nix::sys::stat::Mode::S_IRWXU).unwrap();
            // Every opening waits for the other side: a cycle of power is one writer.
            let player = std::thread::spawn(move || {
                for text in &says {
                    std::fs::read(&switch).unwrap();
                    master.write_all(text).unwrap();
                }
                says.len()
            });
            Emulated { folder, tty, player: Some(player), _ends: ends }
        }

        fn options(&self, end: Option<&str>) -> Options {
            let end = end.map(|end| Regex::new(end).unwrap());
            let marks = vec![("erofs".to_owned(), Regex::new("erofs: .*mounted").unwrap())];
            Options {
                baud: 115_200,
                power: Some(format!("echo on > {}", self.folder.path().join("switch").display()).into()),
                warm: false,
                name: None,
                timeout: Duration::from_secs(60),
                watch: Watch { end, marks },
            }
        }

        fn store(&self, board: &Board, resume: bool) -> Store {
            Store::new(&self.json(), board.conditions()).unwrap().keep(resume).unwrap()
        }

        fn json(&self) -> PathBuf {
            self.folder.path().join("runs.json")
        }

        /// How often its power was cycled, once no more is to come.
        fn cycles(mut self) -> usize {
            self.player.take().unwrap().join().unwrap()
        }
    }

    #[test]
    fn a_board_is_recorded_and_gone_on_with() {
        let emulated = Emulated::new(vec![CONSOLE.to_vec(); 3]);
        for count in [2, 3, 3] {
            let mut board = Board::open(&emulated.tty, emulated.options(Some("guest: no report"))).unwrap();
            let mut store = emulated.store(&board, true);
            measure(&mut board, count, &mut store, &mut |_| ()).unwrap();
        }
        let runs = read(&emulated.json()).unwrap();
        let Conditions { board, place, kernel, command_line, clock, zero, .. } = &runs.conditions;
        assert_eq!((board.as_str(), kernel.as_str()), ("linux,dummy-virt", "6.12.117+deb13-arm64"));
        assert_eq!(command_line.as_deref(), Some("console=ttyAMA0 guest=silent panic=-1"));
        assert_eq!((Path::new(place), *clock, *zero), (emulated.tty.as_path(), Clock::Kernel, Zero::Kernel));
        assert_eq!(runs.runs.len(), 3);
        for run in &runs.runs {
            assert_eq!((run.at(mark::RUN_INIT), run.at(mark::NEXT_INIT)), (Some(2_608_177), Some(3_304_611)));
            assert_eq!((run.at("erofs"), run.at(mark::END)), (Some(3_224_936), Some(3_408_613)));
            assert!(run.at(mark::POWER_ON).unwrap() <= run.at(mark::FIRST_BYTE).unwrap(), "{run:?}");
            assert!(run.at("u-boot").unwrap() <= run.at("starting-kernel").unwrap(), "{run:?}");
            assert_eq!((run.took(Layer::Module, "erofs"), run.start), (Some(78_396), Some(Start::Cold)));
        }
        assert_eq!(emulated.cycles(), 3);
    }

    #[test]
    fn what_was_measured_is_kept_when_a_boot_fails() {
        let cut = CONSOLE.len() - 100;
        let emulated = Emulated::new(vec![CONSOLE.to_vec(), CONSOLE[..cut].to_vec()]);
        let options = Options { timeout: Duration::from_secs(5), ..emulated.options(Some("reboot: Power down")) };
        let mut board = Board::open(&emulated.tty, options).unwrap();
        let mut store = emulated.store(&board, false);
        let error = measure(&mut board, 2, &mut store, &mut |_| ()).unwrap_err();
        assert!(
            error.exit_status() == 1 && error.what.contains("boot 2 of 2: no line matches `reboot: Power down`"),
            "{error}"
        );
        assert!(error.hint.contains("1 boot kept"), "{error}");
        assert_eq!(read(&emulated.json()).unwrap().runs.len(), 1);
    }

    #[test]
    fn every_silence_and_noise_has_its_name() {
        let restarts = [CONSOLE, b"[    0.000000] Booting Linux\ninitoverlayfs: exec /init\n"].concat();
        let bytes: Vec<u8> = (0..4000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let refused = b"initoverlayfs: mount failed: no EROFS (errno 22)\ninitoverlayfs: policy reboot\n";
        let says: [(Vec<u8>, &str); 5] = [
            (refused.to_vec(), "did not run: mount failed: no EROFS (errno 22), policy reboot"),
            (Vec::new(), "nothing came from"),
            (bytes, "is no text"),
            (b"[    1.000000] Kernel panic - not syncing: no init\n".to_vec(), "the kernel panicked: no init"),
            (restarts.clone(), "the board restarted"),
        ];
        for (text, what) in says {
            let emulated = Emulated::new(vec![text]);
            let end = if what.contains("restarted") { "Booting Linux$" } else { "never" };
            let timeout = Duration::from_millis(1500);
            let mut board = Board::open(&emulated.tty, Options { timeout, ..emulated.options(Some(end)) }).unwrap();
            let error = board.boot("boot 1 of 1").unwrap_err();
            assert!(error.exit_status() == 1 && error.what.contains(what), "{error}");
        }
    }

    #[test]
    fn what_the_old_system_says_last_is_not_of_the_boot() {
        let emulated = Emulated::new(vec![b"old: going down\r\n".to_vec(), [b"U-Boot 2026.07\n", CONSOLE].concat()]);
        let switch = emulated.folder.path().join("switch").display().to_string();
        // Off, a pause, on; and then the command takes its time to end.
        let power = format!("echo off > {switch}; sleep 0.7; echo on > {switch}; sleep 0.1");
        let mut options = Options { power: Some(power.into()), ..emulated.options(Some("guest: no report")) };
        options.watch.marks.push(("old".into(), Regex::new("old").unwrap()));
        let run = Board::open(&emulated.tty, options).unwrap().boot("boot 1 of 1").unwrap().run;
        assert_eq!((run.at("old"), run.at(mark::NEXT_INIT)), (None, Some(3_304_611)));
        let [power_on, first] = [mark::POWER_ON, mark::FIRST_BYTE].map(|name| run.at(name).unwrap());
        assert_eq!((power_on, Some(first)), (first, run.at("u-boot")), "the board spoke before the command ended");
    }

    #[test]
    fn a_power_command_that_fails_or_stays_is_named() {
        let emulated = Emulated::new(Vec::new());
        for (command, what) in [
            ("echo the relay is gone >&2; exit 3", "the power command failed (exit status: 3): the relay is gone"),
            ("exec sleep 600", "the power command did not end within 0.3 s"),
        ] {
            let timeout = Duration::from_millis(300);
            let options = Options { power: Some(command.into()), timeout, ..emulated.options(None) };
            let error = Board::open(&emulated.tty, options).unwrap().boot("boot 1 of 1").unwrap_err();
            assert!(error.exit_status() == 1 && error.what == what, "{error}");
        }
    }
}
