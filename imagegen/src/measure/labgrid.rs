//! Boards in a labgrid lab, through `labgrid-client`: each place is reserved, acquired, its power cycled and its console
//! recorded as a serial line is; all places at once.

use super::Store;
use super::board::{Board, Options};
use crate::serial::{Serial, Wait};
use crate::tool::{Tool, quoted};
use crate::{Error, Result};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CLIENT: &str = "labgrid-client";
const HINT: &str = "labgrid-client must be in PATH (pip install labgrid) and LG_COORDINATOR name the lab's coordinator; \
                    `labgrid-client places` lists what there is";
/// What microcom, and telnet where there is none, say when the console is there.
const CONNECTED: [&str; 2] = ["connected to ", "Escape character is "];

/// Places to release and reservations to cancel if the program is interrupted.
static HELD: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// What a place is called in measurements.
pub fn title(place: &str) -> String {
    format!("labgrid {place}")
}

/// Records the board of every place until the store beside it holds `count` boots, all at once; `progress` is called with
/// the number of all boots.
///
/// # Errors
/// Failed work if labgrid refuses a place, or a board does not come to its end; the other places are recorded to the end
/// and every boot is kept.
pub fn places(
    places: &[String],
    options: &Options,
    count: u32,
    stores: &mut [Store],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let done = AtomicU64::new(stores.iter().map(|store| store.count() as u64).sum());
    let mut results: Vec<Result<()>> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (place, store) in places.iter().zip(stores) {
            let done = &done;
            threads.push(scope.spawn(move || {
                let one = &mut |_| progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                let result = record(place, options, count, store, one);
                result.map_err(|error| Error { what: format!("{place}: {}", error.what), ..error })
            }));
        }
        let lost = || Err(Error::failed("a place's thread ended", "this is a fault of imagegen: please report it"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    let first = results.iter().position(Result::is_err);
    let first = first.map(|at| results.swap_remove(at));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        log::error!("{error}");
    }
    first.unwrap_or(Ok(()))
}

fn record(place: &str, options: &Options, count: u32, store: &mut Store, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let held = Place::acquire(place)?;
    let mut options = options.clone();
    options.power = Some(format!("{CLIENT} -p {} power cycle", quoted(place)).into());
    let deadline = Instant::now() + options.timeout;
    let result = held.console(deadline).and_then(|serial| {
        let mut board = Board::on(serial, options);
        super::board(&mut board, count, store, progress)
    });
    drop(held);
    result
}

/// A place that is ours; released when dropped.
struct Place {
    name: String,
}

impl Place {
    /// Waits in labgrid's queue until the place is free, and takes it.
    fn acquire(name: &str) -> Result<Self> {
        // A reservation of a place that does not exist would wait for ever.
        client(&["-p", name, "show"])?;
        log::info!("waiting for place {name}");
        let said = client(&["reserve", "--wait", "--shell", &format!("name={name}")])?;
        let token = said.split_once("LG_TOKEN=").map_or("", |(_, rest)| rest);
        let token = token.split_whitespace().next().unwrap_or_default().to_owned();
        if let Ok(mut held) = HELD.lock() {
            held.push((name.to_owned(), token));
        }
        let place = Place { name: name.to_owned() };
        client(&["-p", name, "acquire"])?;
        Ok(place)
    }

    /// Its console, once it is connected.
    fn console(&self, deadline: Instant) -> Result<Serial> {
        let mut command = Command::new(CLIENT);
        command.args(["-p", &self.name, "console", "--listenonly"]);
        let mut serial = Serial::of_program(command, &title(&self.name))?;
        let (mut said, mut buffer) = (String::new(), [0; 1024]);
        while serial.wait(None, deadline)? == Wait::Bytes {
            let read = serial.read(&mut buffer);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
            let count = read.map_err(|error| Error::failed(format!("no console: {last}"), error.hint))?;
            said += &String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
            if CONNECTED.iter().any(|words| said.lines().any(|line| line.starts_with(words))) {
                return Ok(serial);
            }
        }
        Err(Error::failed("the console is not connected in time", format!("try it: {CLIENT} -p {} console", self.name)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An interrupt holds the lock: it releases the place itself, and ends.
        let Ok(mut held) = HELD.lock() else { return };
        if let Some(at) = held.iter().position(|(name, _)| *name == self.name) {
            release(&held.swap_remove(at));
        }
    }
}

fn release((name, token): &(String, String)) {
    for arguments in [&["-p", name, "release"][..], &["cancel-reservation", token]] {
        if let Err(error) = client(arguments) {
            // It was not acquired, or the lab has gone.
            log::info!("{name}: {}", error.what);
        }
    }
}

/// Releases every place, because the program ends now: what it does meanwhile waits for ever.
pub fn release_all() {
    if let Ok(held) = HELD.lock() {
        held.iter().for_each(release);
        std::mem::forget(held);
    }
}

/// Runs labgrid's client; returns what it wrote.
fn client(arguments: &[&str]) -> Result<String> {
    let output = Tool::new(CLIENT, "pipx").args(arguments).output();
    let [wrote, _] = output.map_err(|error| Error { hint: HINT.to_owned(), ..error })?;
    Ok(wrote)
}
