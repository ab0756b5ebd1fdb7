//! One call of another program: where it is looked for, what it is told, what it said, and which package brings it.

use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A tool about to be run.
pub(crate) struct Tool {
    command: Command,
    package: &'static str,
    hint: String,
}

impl Tool {
    /// The tool `name`, which is in Debian's `package`.
    pub(crate) fn new(name: &str, package: &'static str) -> Self {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        // Where most of them are, and where a user does not look.
        path.push(":/usr/local/sbin:/usr/sbin:/sbin");
        let mut command = Command::new(name);
        command.env("PATH", path).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        Tool { command, package, hint: "is there space?".to_owned() }
    }

    /// What to do if it fails; where it is missing that is known.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a label, if there is one.
    pub(crate) fn label(self, option: &str, label: &str) -> Self {
        if label.is_empty() { self } else { self.arg(option).arg(label) }
    }

    /// In this folder.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it; returns what it said on standard error.
    ///
    /// # Errors
    /// `FailedWork` if it is missing or fails.
    pub(crate) fn run(self) -> Result<String> {
        self.output().map(|[_, said]| said)
    }

    /// Runs it; returns what it said on standard output and on standard error.
    ///
    /// # Errors
    /// As [`Tool::run`].
    pub(crate) fn output(mut self) -> Result<[String; 2]> {
        let output = self.command.output();
        self.said(output)
    }

    /// Runs it with what `write` writes on its standard input; returns what it said, as [`Tool::output`].
    ///
    /// # Errors
    /// As [`Tool::run`]; failed work if `write` fails.
    pub(crate) fn feed(mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send) -> Result<[String; 2]> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut wrote = Ok(());
        let output = self.command.spawn().and_then(|mut child| {
            let input = child.stdin.take();
            std::thread::scope(|scope| {
                // Closed at its end, so that the tool sees one.
                scope.spawn(|| wrote = input.map_or(Ok(()), |mut input| write(&mut input)));
                child.wait_with_output()
            })
        });
        let name = self.name();
        let said = self.said(output)?;
        // A tool that fails no longer reads: then what it said is the reason.
        wrote.map_err(Error::io("write to", name))?;
        Ok(said)
    }

    fn name(&self) -> String {
        OsString::from(self.command.get_program()).to_string_lossy().into_owned()
    }

    fn said(self, output: io::Result<Output>) -> Result<[String; 2]> {
        let name = self.name();
        let output = output.map_err(|error| {
            let package = self.package;
            let hint = match error.kind() {
                ErrorKind::NotFound => format!("apt-get install {package}"),
                _ => format!("apt-get install --reinstall {package}"),
            };
            Error::failed(format!("cannot run {name}: {error}"), hint)
        })?;
        let [wrote, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if output.status.success() {
            return Ok([wrote, said]);
        }
        let last = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned());
        let why = last(&said).or_else(|| last(&wrote)).unwrap_or_default();
        Err(Error::failed(format!("{name} failed ({}): {why}", output.status), self.hint))
    }
}

/// A word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
