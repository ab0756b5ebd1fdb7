//! `imagegen collect`: what a machine itself knows of its boot, gathered by one shell script and put on one axis.
//!
//! The script is given to a shell on its standard input: here, over ssh, or by whatever command the user has. So a
//! target needs a shell and busybox' tools, nothing of imagegen.

mod bootstage;
mod summary;
pub mod systemd;
pub mod timeline;
pub mod wire;

use crate::atomic::Output;
use crate::runs::{self, Clock, Conditions, FORMAT, Run, Runs, Start, Zero};
use crate::tool::quoted;
use crate::{Error, Result, explain, manifest};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
pub use summary::text as summary;
use timeline::Timeline;

/// What the machine runs, without what [`script`] sets in front of it.
const SCRIPT: &str = include_str!("collect.sh");
/// The most that a machine may tell, in bytes: a kernel log is a few hundred thousand.
const MAX_BYTES: u64 = 64 << 20;

/// How the machine is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// This is the machine.
    Here,
    /// `ssh HOST sh`.
    Ssh(OsString),
    /// A command for a shell, which must run what it gets on standard input with one of the machine's.
    Via(OsString),
}

impl Way {
    /// What [`Conditions::place`] calls it.
    fn place(&self) -> String {
        match self {
            Way::Here => "this machine".to_owned(),
            Way::Ssh(host) => host.to_string_lossy().into_owned(),
            Way::Via(command) => command.to_string_lossy().into_owned(),
        }
    }

    fn command(&self) -> Command {
        let mut command;
        match self {
            Way::Here => command = Command::new("sh"),
            Way::Ssh(host) => {
                command = Command::new("ssh");
                command.args([OsStr::new("-T"), "--".as_ref(), host, "sh".as_ref()]);
            }
            Way::Via(given) => {
                command = Command::new("sh");
                command.arg("-c").arg(given);
            }
        }
        command
    }
}

/// What to collect, and where it goes.
#[derive(Clone, Debug)]
pub struct Request {
    /// How the machine is reached.
    pub way: Way,
    /// The board's name instead of what the machine calls itself.
    pub board: Option<String>,
    /// Folder that `build` made of what runs there: its digests.
    pub folder: Option<PathBuf>,
    /// How it was started, if the user knows.
    pub start: Option<Start>,
    /// Marks, units, and how small is too small.
    pub options: timeline::Options,
}

/// What the machine's shell is given. `units` are asked for by name; `journal` says whether its lines are wanted.
pub fn script(units: &[String], journal: bool) -> String {
    let names = std::iter::once(runs::mark::MULTI_USER).chain(units.iter().map(String::as_str));
    let units: Vec<String> = names.map(quoted).collect();
    // What is evaluated once more has to survive that.
    format!("units={}\njournal={}\n{SCRIPT}", quoted(&units.join(" ")), u8::from(journal))
}

/// Collects one boot; adds it to what `output` holds if `append`, and writes it. Returns the summary.
///
/// # Errors
/// Bad input if the machine's answer is not the script's, or its boot was made under other conditions than those of the
/// file; failed work if it cannot be reached.
pub fn run(request: &Request, earlier: Option<Runs>, output: &Output) -> Result<String> {
    let script = script(&request.options.units, !request.options.marks.is_empty());
    let found = wire::parse(&ask(&request.way, &script)?)?;
    let timeline = timeline::build(&found, &request.options);
    let conditions = conditions(request, &found)?;
    let summary = summary(&timeline);
    let Timeline { run, .. } = timeline;
    let run = Run { start: request.start, ..run };
    let runs = match earlier {
        None => Runs { format: FORMAT, conditions, runs: vec![run] },
        Some(mut runs) => {
            same(&runs.conditions, &conditions)?;
            runs.runs.push(run);
            runs
        }
    };
    runs::write(&runs, output)?;
    Ok(summary)
}

/// Runs `script` there; returns what it wrote.
fn ask(way: &Way, script: &str) -> Result<Vec<u8>> {
    let mut command = way.command();
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: String| Error::failed(what, "try the command by hand: it must give a shell on the machine");
    let start = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = start.map_err(|error| failed(format!("cannot start {name}: {error}")))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let mut bytes = Vec::new();
    let read = std::thread::scope(|scope| {
        // What does not want the script (`cat FILE`) closes its end: no failure, its answer decides.
        scope.spawn(|| input.map(|mut input| input.write_all(script.as_bytes())));
        output.map_or(Ok(0), |output| output.take(MAX_BYTES).read_to_end(&mut bytes))
    });
    read.map_err(|error| failed(format!("cannot read what {name} says: {error}")))?;
    let status = child.wait().map_err(|error| failed(format!("cannot wait for {name}: {error}")))?;
    // A shell's status is that of the script's last command; ssh's own is 255. A whole answer is one.
    if !status.success() && bytes.is_empty() {
        return Err(failed(format!("{name} told nothing ({status})")));
    }
    Ok(bytes)
}

fn conditions(request: &Request, found: &wire::Found) -> Result<Conditions> {
    let built = request.folder.as_deref().map(manifest::read).transpose()?;
    let image = |manifest: &manifest::Manifest| manifest.outputs.get(manifest::EROFS).map(|file| file.sha256.clone());
    let named = request.board.clone().or_else(|| built.as_ref().map(|manifest| manifest.board.name.clone()));
    Ok(Conditions {
        board: named.or_else(|| found.model.clone()).unwrap_or_else(|| "unknown".to_owned()),
        place: request.way.place(),
        kernel: found.kernel.clone(),
        input_sha256: built.as_ref().map(|manifest| manifest.input.sha256.clone()),
        image_sha256: built.as_ref().and_then(image),
        command_line: found.command_line.clone(),
        clock: Clock::Kernel,
        zero: Zero::Kernel,
        explained: found.command_line.as_deref().is_some_and(explain::is_asked),
    })
}

/// Refuses to mix what is not comparable.
fn same(earlier: &Conditions, now: &Conditions) -> Result<()> {
    let json = |conditions: &Conditions| serde_json::to_value(conditions).unwrap_or_default();
    let (earlier, now) = (json(earlier), json(now));
    let empty = serde_json::Map::new();
    for (name, value) in now.as_object().unwrap_or(&empty) {
        let before = earlier.get(name).unwrap_or(&serde_json::Value::Null);
        if before != value {
            let what = format!("{name} is {value}, and was {before} in the boots of the file");
            return Err(Error::bad_input(what, "write it to a file of its own, and compare the two"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
