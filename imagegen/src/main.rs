//! The program `imagegen`: reads the command line, calls the library, says what went wrong.
#![forbid(unsafe_code)]

mod cli;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Collect, Command, Machine, Source};
use imagegen::progress::Progress;
use imagegen::{
    Error, atomic, board, boot, build, collect, explain, fakeroot, inspect, install, manifest, measure, report, runs,
    sign, verify,
};
use log::LevelFilter;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(&cli).and_then(|()| run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The context is who failed; ours carries its own hint line.
            eprintln!("imagegen: {error:#}");
            ExitCode::from(error.downcast_ref::<Error>().map_or(1, Error::exit_status))
        }
    }
}

/// Logging, and what an interrupt leaves behind: nothing.
fn start(cli: &Cli) -> anyhow::Result<()> {
    let level = match cli.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let config = simplelog::ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .build();
    simplelog::WriteLogger::init(level, config, io::stderr()).context("cannot log")?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // As a shell reports a program that a signal ended.
            atomic::end(128 + signal);
        }
    });
    Ok(())
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check { board } => {
            let board = board::load(&board)?;
            let slots = imagegen::count(board.slots.len(), "slot");
            print(&format!("{}: {}, {slots}: good\n", board.name, board.architecture))?;
        }
        Command::Plan(source) => print(&build::resolve(&request(source, None, None))?.to_string())?,
        Command::Build { source, bootstrap, kernel, out } => {
            fakeroot::ensure()?;
            let manifest = build::run(&request(source, bootstrap, kernel), &out)?;
            for (name, output) in &manifest.outputs {
                print(&format!("{:>12} {}\n", output.bytes, out.join(name).display()))?;
            }
        }
        Command::Inspect { file, cat, json } => {
            inspect::run(&file, &inspect::Options { cat, json }, &mut io::stdout().lock())?;
        }
        Command::Sign { image, key, certificate, provider, engine } => {
            let signed = sign::run(&image, &sign::Signer { key, certificate, provider, engine })?;
            print(&format!("signed root hash {}\n", manifest::hex(&signed.summary.root_hash)))?;
        }
        Command::Verify { image, certificate, root_hash } => {
            verify::run(&image, &verify::Options { certificate, root_hash }, &mut io::stdout().lock())?;
        }
        Command::Install { image, to, raw } => {
            let bytes = install::run(&image, &to, raw)?;
            print(&format!("{bytes:>12} {}\n", to.display()))?;
        }
        Command::Boot { machine, deterministic } => {
            let outcome = boot::run(&machine.dir, &options(&machine, deterministic))?;
            // The console may have stopped in the middle of a line.
            print("\n")?;
            if !outcome.log.rows.is_empty() {
                print(&format!("{}\n", outcome.log))?;
            }
            if machine.explain {
                print(&format!("\n{}", explain::text(&runs::Run::from_log(&outcome.log))))?;
            }
            outcome.verdict()?;
        }
        Command::Measure { machine, runs, json } => measure_into(&machine, runs, &json)?,
        Command::Collect(collect) if collect.print_script => {
            print(&collect::script(&collect.units, !collect.marks.is_empty()))?;
        }
        Command::Collect(collect) => print(&collect_into(collect)?)?,
        Command::Report { runs } => {
            let sets: Result<Vec<_>, Error> = runs.into_iter().map(titled).collect();
            print(&report::markdown(&sets?))?;
        }
        Command::Schema => print(&board::schema())?,
    }
    Ok(())
}

fn request(source: Source, bootstrap: Option<PathBuf>, kernel: Option<PathBuf>) -> build::Request {
    let Source { board, from, rescue, modules } = source;
    build::Request { board, from, rescue, modules, bootstrap, kernel }
}

fn options(machine: &Machine, deterministic: bool) -> boot::Options {
    let mut append = machine.append.clone();
    if machine.explain {
        append.push(if append.is_empty() { "" } else { " " });
        append.push(explain::APPEND);
    }
    boot::Options { kernel: machine.kernel.clone(), deterministic, timeout: machine.timeout, append }
}

fn collect_into(collect: Collect) -> Result<String, Error> {
    let path = collect.json.clone().unwrap_or_default();
    let earlier = if collect.append && path.exists() { Some(runs::read(&path)?) } else { None };
    let output = atomic::Output::at(&path)?;
    collect::run(&collect.request(), earlier, &output)
}

fn measure_into(machine: &Machine, count: u32, json: &Path) -> Result<(), Error> {
    let output = atomic::Output::at(json)?;
    let progress = Progress::counting("booting", count.into());
    let mut measured = measure::run(&machine.dir, &options(machine, true), count, &mut |done| progress.set(done))?;
    drop(progress);
    measured.conditions.explained = machine.explain;
    runs::write(&measured, &output)?;
    // A budget is one for boots that do their work and nothing else.
    if machine.explain { Ok(()) } else { measure::check_budget(&machine.dir, &measured) }
}

fn titled(path: PathBuf) -> Result<(String, runs::Runs), Error> {
    let runs = runs::read(&path)?;
    Ok((path.display().to_string(), runs))
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
