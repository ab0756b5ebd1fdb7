//! A QEMU with a power switch and a serial line: a board, but for the soldering.

use imagegen::boot::{Options, prepare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::Result;

/// A machine that is off.
pub struct Machine {
    switch: PathBuf,
    process: PathBuf,
}

impl Machine {
    /// Of the folder `out`; its files go into `folder`, and what it says to `line`, however often it is switched on.
    pub fn new(out: &Path, folder: &Path, mut line: impl Write + Send + 'static) -> Result<Self> {
        std::fs::create_dir(folder)?;
        let socket = folder.join("serial");
        let listener = UnixListener::bind(&socket)?;
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                // A machine that loses its power ends its connection in the middle of it.
                let _ = connection.and_then(|mut connection| std::io::copy(&mut connection, &mut line));
            }
        });
        let timeout = Duration::from_secs(60);
        let options = Options { kernel: None, deterministic: false, timeout, append: "guest=hang panic=-1".into() };
        let qemu = prepare(out, &options)?;
        let quoted = |word: &OsString| {
            let word = word.to_string_lossy();
            let is_console = word.starts_with("stdio,id=console");
            let console = format!("socket,id=console,mux=on,path={}", socket.display());
            format!(" '{}'", if is_console { &console } else { &*word })
        };
        let command: String = qemu.arguments().iter().map(quoted).collect();
        let (switch, process) = (folder.join("switch"), folder.join("process"));
        let text = format!(
            "[ ! -e {id} ] || kill $(cat {id})\n{}{command} > /dev/null 2>&1 &\necho $! > {id}\n",
            qemu.program,
            id = process.display()
        );
        std::fs::write(&switch, text)?;
        Ok(Machine { switch, process })
    }

    /// The shell script that cycles its power.
    pub fn switch(&self) -> &Path {
        &self.switch
    }

    /// Switches it on.
    pub fn on(&self) -> Result<()> {
        let status = Command::new("sh").arg(&self.switch).status()?;
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", self.switch.display()).into()) }
    }

    /// Switches it off, if it is on.
    pub fn off(&self) {
        let Ok(id) = std::fs::read_to_string(&self.process) else { return };
        // The switch would end it a second time.
        let _ = std::fs::remove_file(&self.process);
        if let Ok(id) = id.trim().parse() {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.off();
    }
}
