//! `imagegen collect` on the command line.

use clap::{Args, ValueEnum};
use imagegen::collect::timeline::{Options, Wanted};
use imagegen::collect::{Request, Way};
use imagegen::runs::Start;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Which machine, and what of it.
#[derive(Args, Clone, Debug)]
pub struct Collect {
    /// Machine to ask over ssh, as a user that may read the kernel log [default: this one].
    pub host: Option<OsString>,
    /// Command that runs what it gets on standard input with a shell of the machine: `adb shell`, `docker exec -i kit sh`.
    #[arg(long, value_name = "CMD", conflicts_with = "host")]
    pub via: Option<OsString>,
    /// Where to write the boot.
    #[arg(long, value_name = "FILE", required_unless_present = "print_script")]
    pub json: Option<PathBuf>,
    /// Add the boot to those of the file, if there are any.
    #[arg(long)]
    pub append: bool,
    /// Board's name [default: what `--dir` or the machine says].
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,
    /// Folder that `build` made of what the machine runs: notes its digests.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How the machine was started.
    #[arg(long, value_name = "HOW")]
    pub start: Option<HowStarted>,
    /// Mark the first line of kernel log or journal that fits a regular expression; may come more than once.
    #[arg(long = "mark", value_name = "NAME=REGEX", value_parser = wanted)]
    pub marks: Vec<Wanted>,
    /// Mark when a systemd unit became active; may come more than once.
    #[arg(long = "unit", value_name = "NAME")]
    pub units: Vec<String>,
    /// Leave out initcalls and units that took less.
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = super::duration)]
    pub threshold: Duration,
    /// Print what the machine runs, and do nothing: for one that only a memory stick reaches. `--via 'cat ANSWER'` reads its answer.
    #[arg(long)]
    pub print_script: bool,
}

/// How a machine was started.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HowStarted {
    /// It had no power before.
    Cold,
    /// It was restarted.
    Warm,
}

impl Collect {
    /// What the library takes.
    pub fn request(self) -> Request {
        let way = match (self.host, self.via) {
            (Some(host), _) => Way::Ssh(host),
            (None, Some(command)) => Way::Via(command),
            (None, None) => Way::Here,
        };
        let start = self.start.map(|how| match how {
            HowStarted::Cold => Start::Cold,
            HowStarted::Warm => Start::Warm,
        });
        let least_us = u64::try_from(self.threshold.as_micros()).unwrap_or(u64::MAX);
        let options = Options { marks: self.marks, units: self.units, least_us };
        Request { way, board: self.board, folder: self.dir, start, options }
    }
}

/// A name and what its line looks like.
fn wanted(text: &str) -> Result<Wanted, String> {
    let (name, line) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("give NAME=REGEX")?;
    let line = regex::Regex::new(line).map_err(|error| error.to_string())?;
    Ok(Wanted { name: name.to_owned(), line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_have_a_name_and_an_expression() {
        let mark = wanted("ready=up in [0-9]+=ok").unwrap();
        assert_eq!((mark.name.as_str(), mark.line.as_str()), ("ready", "up in [0-9]+=ok"));
        for wrong in ["ready", "=x", "ready=("] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
