//! The program `imagegen`: reads the command line, calls the library, says what went wrong.
#![forbid(unsafe_code)]

mod cli;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Collect, Command, Machine, Source, Tune};
use imagegen::{
    Error, atomic, board, boot, bootloader, build, collect, compare, explain, fakeroot, gate, inspect,
    kernel::bring_up, kernel::doctor, manifest, measure, ostree, profile, report, runs, serial, sign, tune, verify,
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
        let mut signals = signals.forever();
        let Some(signal) = signals.next() else { return };
        // As a shell reports a program that a signal ended.
        let status = 128 + signal;
        std::thread::spawn(move || {
            boot::qemu::kill_all();
            boot::restore_terminal();
            serial::restore_all();
            measure::labgrid::release_all();
            eprint!("{}", measure::kept());
            atomic::end(status);
        });
        // Who asks again waits no longer for a lab that does not answer.
        if signals.next().is_some() {
            std::process::exit(status);
        }
    });
    Ok(())
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check { board } => print(&check(&board)?)?,
        Command::New(new) => print(&new.run()?)?,
        Command::Convert(convert) => print(&convert.run()?)?,
        Command::BringUp { board, json } => print(&checklist(&board, json)?)?,
        Command::Doctor { board, config, modules } => examine(&board, &doctor::Kernel { config, modules })?,
        Command::Plan(source) => print(&build::resolve(&request(source))?.to_string())?,
        Command::Build { source, bootstrap, kernel, bootloader, out } => {
            fakeroot::ensure()?;
            let request = build::Request { bootstrap, kernel, bootloader: bootloader.into(), ..request(source) };
            let manifest = build::run(&request, &out)?;
            for (name, output) in &manifest.outputs {
                let share = bootloader::share(output);
                print(&format!("{:>12} {}{share}\n", output.bytes, out.join(name).display()))?;
            }
        }
        Command::Inspect { file, cat, json } => {
            inspect::run(&file, &inspect::Options { cat, json }, &mut io::stdout().lock())?;
        }
        Command::Sign { image, key, certificate, provider, engine } => {
            for signed in sign::run(&image, &sign::Signer { key, certificate, provider, engine })? {
                let of = signed.name.map_or_else(String::new, |name| format!(" of {name}"));
                print(&format!("signed root hash {}{of}\n", manifest::hex(&signed.attached.summary.root_hash)))?;
            }
        }
        Command::Verify { image, certificate, root_hash } => {
            verify::run(&image, &verify::Options { certificate, root_hash }, &mut io::stdout().lock())?;
        }
        Command::Install(install) => {
            if install.builds() {
                fakeroot::ensure()?;
            }
            print(&install.run()?)?;
        }
        Command::Boot { machine, deterministic } => boot_once(&machine, deterministic)?,
        Command::Ostree(target) => print(&ostree::run(&target.request())?)?,
        Command::Measure(measurement) => measurement.run()?,
        Command::Profile { machine, end, runs, trace, until, out } => {
            let output = atomic::Output::at(&out)?;
            let profile = if trace.is_empty() {
                let watch = measure::Watch { end, marks: Vec::new() };
                profile::record(&machine.dir, &machine.how.options(false), &watch, runs)?
            } else {
                profile::from_traces(&machine.dir, &trace, until)?
            };
            let (files, mib) = (imagegen::count(profile.paths(), "path"), profile.bytes() as f64 / f64::from(1 << 20));
            profile.write(output)?;
            print(&format!("{files}, {mib:.1} MiB of contents: {}\n", out.display()))?;
        }
        Command::Tune(tune) => print(&sweep(*tune)?)?,
        Command::Collect(collect) if collect.print_script => {
            print(&collect::script(&collect.units, !collect.marks.is_empty()))?;
        }
        Command::Collect(collect) => print(&collect_into(collect)?)?,
        Command::Report { runs, html, trace, csv, junit } => {
            report_on(
                runs,
                [
                    (html, report::html::report),
                    (trace, report::trace::trace),
                    (csv, report::csv::csv),
                    (junit, report::junit::report),
                ],
            )?;
        }
        Command::Compare { control, candidate } => compare_two(control, candidate)?,
        Command::Gate { runs, baseline, board, max_regression, junit } => {
            hold(runs, baseline, board.as_deref(), max_regression.unwrap_or_default(), junit.as_deref())?;
        }
        Command::Schema => print(&board::schema())?,
        Command::Documents { dir, date } => cli::documents::write(&dir, &date)?,
    }
    Ok(())
}

/// Boots a folder, its console on ours, and prints the steps.
fn boot_once(machine: &Machine, deterministic: bool) -> anyhow::Result<()> {
    let outcome = boot::run(&machine.dir, &machine.how.options(deterministic))?;
    // The console may have stopped in the middle of a line.
    print("\n")?;
    if !outcome.log.rows.is_empty() {
        print(&format!("{}\n", outcome.log))?;
    }
    if machine.how.explain {
        print(&format!("\n{}", explain::text(&runs::Run::from_log(&outcome.log))))?;
    }
    Ok(outcome.verdict()?)
}

fn check(board: &str) -> Result<String, Error> {
    let board = board::load(board)?;
    let slots = imagegen::count(board.slots.len(), "slot");
    let run = if board.is_unproven() { ", not run on hardware" } else { "" };
    Ok(format!("{}: {}, {slots}: good{run}\n", board.name, board.architecture))
}

/// Prints what a kernel lacks for a board.
fn examine(board: &str, kernel: &doctor::Kernel) -> anyhow::Result<()> {
    let report = doctor::run(board, kernel)?;
    print(&report.to_string())?;
    Ok(report.verdict()?)
}

fn checklist(board: &str, json: bool) -> anyhow::Result<String> {
    let checklist = bring_up::checklist(board)?;
    Ok(if json { serde_json::to_string_pretty(&checklist)? + "\n" } else { checklist.to_string() })
}

fn request(source: Source) -> build::Request {
    let Source { board, from, rescue, modules, profile, record } = source;
    let bootloader = bootloader::Inputs::default();
    build::Request {
        board,
        from,
        rescue,
        modules,
        profile,
        record,
        image: None,
        bootstrap: None,
        kernel: None,
        bootloader,
    }
}

/// Builds and boots every point of a board.
fn sweep(Tune { source, how, bootstrap, end, runs, json }: Tune) -> anyhow::Result<String> {
    fakeroot::ensure()?;
    if how.kernel.is_none() {
        return Err(Error::bad_input("no kernel to boot", "give --kernel FILE").into());
    }
    if source.record || how.explain {
        let what = if source.record { "tune records by itself" } else { "what tells of initcalls takes time itself" };
        return Err(Error::bad_input(what, "leave out --record and --explain").into());
    }
    let build = build::Request { bootstrap, kernel: how.kernel.clone(), ..request(source) };
    let watch = measure::Watch { end, marks: Vec::new() };
    let request = tune::Request { build, options: how.options(true), watch, runs };
    let outcome = tune::run(&request, &mut |point| log::info!("{point}"))?;
    Ok(if json { tune::json(&outcome)? } else { tune::text(&outcome) })
}

fn collect_into(collect: Collect) -> Result<String, Error> {
    let path = collect.json.clone().unwrap_or_default();
    let earlier = if collect.append && path.exists() { Some(runs::read(&path)?) } else { None };
    let output = atomic::Output::at(&path)?;
    collect::run(&collect.request(), earlier, &output)
}

fn titled(path: PathBuf) -> Result<(String, runs::Runs), Error> {
    let runs = runs::read(&path)?;
    Ok((path.display().to_string(), runs))
}

/// Prints a report, and writes the files that are asked for; none of them if one cannot be written where it should.
fn report_on(runs: Vec<PathBuf>, files: [(Option<PathBuf>, report::Format); 4]) -> anyhow::Result<()> {
    let sets: Vec<report::Set> = runs.into_iter().map(titled).collect::<Result<_, Error>>()?;
    let mut outputs = Vec::new();
    for (path, format) in files {
        if let Some(path) = path {
            outputs.push((atomic::Output::at(&path)?, format));
        }
    }
    for (output, format) in outputs {
        output.write(format(&sets).as_bytes())?;
    }
    print(&report::markdown(&sets))
}

/// Prints what two sets of boots differ in.
fn compare_two(control: PathBuf, candidate: PathBuf) -> anyhow::Result<()> {
    runs::distinct(&control, &candidate)?;
    let (control, candidate) = (titled(control)?, titled(candidate)?);
    compare::compare(&control.1, &candidate.1)?;
    print(&report::comparison(&control, &candidate))
}

/// Holds boots against a board's budget and those of before.
fn hold(
    runs: PathBuf,
    baseline: Option<PathBuf>,
    board: Option<&str>,
    tolerance: gate::Tolerance,
    junit: Option<&Path>,
) -> anyhow::Result<()> {
    if let Some(baseline) = &baseline {
        runs::distinct(baseline, &runs)?;
    }
    let (candidate, baseline) = (titled(runs)?, baseline.map(titled).transpose()?);
    let board = board.map(board::load).transpose()?;
    let budget = board.as_ref().map(|board| &board.budget);
    let output = junit.map(atomic::Output::at).transpose()?;
    let outcome = gate::run(&candidate, &gate::Limits { baseline: baseline.as_ref(), budget, tolerance })?;
    if let Some(output) = output {
        output.write(outcome.junit(&candidate).as_bytes())?;
    }
    print(&report::terminal(&outcome.text))?;
    Ok(outcome.verdict()?)
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
