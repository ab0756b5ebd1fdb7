//! The command line of `imagegen measure`.

use super::How;
use clap::{Args, ValueEnum};
use imagegen::measure::{self, Store, Watch, board, folder, labgrid};
use imagegen::progress::Progress;
use imagegen::{Error, Result};
use regex::Regex;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Behind the options.
pub(super) const HELP: &str = "Folders boot in turn, A B A B; of each, one boot more is made first and not counted. \
Afterwards each is held against its board's budget.\n\n\
A board's lines have the time at which their first byte came; where the kernel puts its timestamps in front of them (all but \
printk.time=0) these are the axis, and what came before the kernel is negative. 115200 baud are 87 us a byte: a chatty console \
slows a boot down, `quiet` shows by how much. The power command must end when the board has power.\n\n\
Example: imagegen measure out --runs 10 --json runs.json\n         \
imagegen measure before after --clock wall --end 'login:' --json before.json --json after.json\n         \
imagegen measure --serial /dev/ttyUSB0 --power-cmd 'uhubctl -l 1-1 -p 2 -a cycle' --end 'login:' --json board.json";

/// What makes the clock of a boot in QEMU go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// One instruction is one nanosecond: times that can be compared.
    Instructions,
    /// Real time.
    Wall,
}

/// What to measure, until when, and where to keep it.
#[derive(Args, Clone, Debug)]
pub struct Measurement {
    /// Folders that `build` made, to boot in QEMU.
    #[arg(value_name = "DIR", required_unless_present_any = ["serial", "labgrid"], conflicts_with_all = ["serial", "labgrid"])]
    dirs: Vec<PathBuf>,
    /// How to boot them.
    #[command(flatten)]
    how: How,
    /// How many boots of each.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Where to write the measurements: once for each DIR or PLACE, in their order.
    #[arg(long, value_name = "FILE", required = true)]
    json: Vec<PathBuf>,
    /// What makes the clock go in QEMU.
    #[arg(long, value_enum, default_value_t = Clock::Instructions, conflicts_with_all = ["serial", "labgrid"])]
    clock: Clock,
    /// The line that ends a boot [default: the start of the next init].
    #[arg(long, value_name = "REGEX", value_parser = expression)]
    end: Option<Regex>,
    /// A line whose time is kept under a name; can be given again.
    #[arg(long = "mark", value_name = "NAME=REGEX", value_parser = mark)]
    marks: Vec<(String, Regex)>,
    /// Record a board on this serial line.
    #[arg(long, value_name = "TTY", conflicts_with_all = ["kernel", "append", "explain"])]
    serial: Option<PathBuf>,
    /// Record the boards in these places of a labgrid lab, all at once, through labgrid-client; a --json for each.
    #[arg(long, value_name = "PLACE,...", value_delimiter = ',', conflicts_with_all = ["serial", "kernel", "append", "explain"])]
    labgrid: Vec<String>,
    /// Speed of the serial line.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200, conflicts_with_all = ["dirs", "labgrid"], value_parser = clap::value_parser!(u32).range(1..))]
    baud: u32,
    /// Shell command that cycles the board's power [default: ask somebody to reset it].
    #[arg(long, value_name = "CMD", conflicts_with_all = ["dirs", "labgrid"])]
    power_cmd: Option<OsString>,
    /// The board is restarted without cutting its power.
    #[arg(long, conflicts_with_all = ["dirs", "labgrid"])]
    warm: bool,
    /// The board's name [default: what its kernel calls it].
    #[arg(long, value_name = "NAME", conflicts_with = "dirs")]
    board: Option<String>,
    /// Go on with what FILE holds of the same board.
    #[arg(long, conflicts_with = "dirs")]
    resume: bool,
}

impl Measurement {
    /// Does it.
    pub fn run(self) -> Result<()> {
        let sources = self.dirs.len().max(self.labgrid.len()).max(1);
        if self.json.len() != sources {
            let what = format!("{} --json for {sources} series of boots", self.json.len());
            return Err(Error::bad_input(what, "give --json FILE once for each DIR or PLACE, in their order"));
        }
        // The same folder twice is a measure of the noise; of a file or a place there is one.
        once(self.json.iter().map(|path| path.as_os_str()))?;
        once(self.labgrid.iter().map(OsStr::new))?;
        let watch = Watch { end: self.end.clone(), marks: self.marks.clone() };
        match &self.serial {
            Some(tty) => self.record(tty, watch),
            None if !self.labgrid.is_empty() => self.record_places(watch),
            None => self.boot(&watch),
        }
    }

    fn boot(&self, watch: &Watch) -> Result<()> {
        let options = self.how.options(self.clock == Clock::Instructions);
        let folders: Vec<&Path> = self.dirs.iter().map(PathBuf::as_path).collect();
        let begin = |(folder, json): (&&Path, &PathBuf)| Store::new(json, folder::conditions(folder, &options)?);
        let mut stores = folders.iter().zip(&self.json).map(begin).collect::<Result<Vec<_>>>()?;
        let progress = Progress::counting("booting", u64::from(self.runs) * folders.len() as u64);
        measure::folders(&folders, &options, watch, self.runs, &mut stores, &mut |done| progress.set(done))?;
        drop(progress);
        stores.iter().try_for_each(Store::write)?;
        if self.how.explain {
            // A budget is one for boots that do their work and nothing else.
            return Ok(());
        }
        folders.iter().zip(&stores).try_for_each(|(folder, store)| measure::check_budget(folder, store.runs()))
    }

    fn record(&self, tty: &Path, watch: Watch) -> Result<()> {
        let [json] = self.json.as_slice() else { return Ok(()) };
        let options = self.recording(watch);
        let mut board = board::Board::open(tty, options)?;
        let mut store = Store::new(json, board.conditions())?.keep(self.resume)?;
        // Where somebody is asked for a reset that line is all there is to see.
        let progress = self.power_cmd.as_ref().map(|_| Progress::counting("booting", self.runs.into()));
        let mut show = |done| progress.iter().for_each(|progress| progress.set(done));
        measure::board(&mut board, self.runs, &mut store, &mut show)
    }
}

impl Measurement {
    fn recording(&self, watch: Watch) -> board::Options {
        board::Options {
            baud: self.baud,
            power: self.power_cmd.clone(),
            warm: self.warm,
            name: self.board.clone(),
            timeout: self.how.timeout,
            watch,
        }
    }

    fn record_places(&self, watch: Watch) -> Result<()> {
        let options = self.recording(watch);
        let begin = |(place, json): (&String, &PathBuf)| {
            Store::new(json, board::conditions(&labgrid::title(place), &options))?.keep(self.resume)
        };
        let mut stores = self.labgrid.iter().zip(&self.json).map(begin).collect::<Result<Vec<_>>>()?;
        let progress = Progress::counting("booting", u64::from(self.runs) * stores.len() as u64);
        labgrid::places(&self.labgrid, &options, self.runs, &mut stores, &|done| progress.set(done))
    }
}

fn once<'a>(names: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::bad_input(format!("{} is named twice", name.display()), "name it once"));
        }
    }
    Ok(())
}

pub(super) fn expression(text: &str) -> std::result::Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

fn mark(text: &str) -> std::result::Result<(String, Regex), String> {
    match text.split_once('=') {
        Some((name, regex)) if !name.is_empty() => Ok((name.to_owned(), expression(regex)?)),
        _ => Err(format!("{text:?} is not NAME=REGEX")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_have_a_name_and_a_regex() {
        let (name, regex) = mark("app=ready = \\d").unwrap();
        assert_eq!((name.as_str(), regex.as_str()), ("app", "ready = \\d"));
        for wrong in ["app", "=x", "a=("] {
            assert!(mark(wrong).is_err(), "{wrong}");
        }
    }
}
