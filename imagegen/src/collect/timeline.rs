//! One axis for what four clocks told: the kernel log's, which [`crate::runs`] counts from; `CLOCK_MONOTONIC`, which is the
//! record's and systemd's; the processor's counter, which ran before both; U-Boot's.
//!
//! Kernel log and `CLOCK_MONOTONIC` do not start together: on arm64 the log's clock is the counter from time_init() on, while
//! `CLOCK_MONOTONIC` counts timer ticks until its clocksource is chosen (init/main.c, kernel/time/, Linux 6.12). How far they are
//! apart is read off bootstrap's steps, which are in the log and in the record; the nearest pair of all, because a
//! line is written after its time was taken.

use super::bootstage;
use super::systemd::Systemd;
use super::wire::{Found, Properties};
use crate::boot::console::{self, Log};
use crate::runs::{Layer, Mark, Run, Span, mark};
use bootstrap::record::{Counter, Record};
use bootstrap::{Step, record};
use regex::Regex;

/// What there is until the kernel's clock where nothing divides it: firmware, bootloader, kernel.
pub const UNDIVIDED: &str = "and all until the kernel's clock";

/// A mark that the user wants: the first line that fits.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What to call it.
    pub name: String,
    /// What the line says, behind its timestamp.
    pub line: Regex,
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Marks in the kernel log or the journal.
    pub marks: Vec<Wanted>,
    /// Units whose activation is a mark.
    pub units: Vec<String>,
    /// Initcalls and units that took less are left out, in microseconds.
    pub least_us: u64,
}

/// One boot on one axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The boot.
    pub run: Run,
    /// Where `CLOCK_MONOTONIC` starts, in microseconds on the axis, if known.
    pub monotonic_us: Option<i64>,
    /// Where the processor's counter started, in microseconds on the axis, if known.
    pub counter_us: Option<i64>,
    /// systemd's own times.
    pub systemd: Option<Systemd>,
    /// What is missing and what that means, in words.
    pub notes: Vec<String>,
}

/// Puts everything found on one axis.
pub fn build(found: &Found, options: &Options) -> Timeline {
    let mut log = Log::default();
    found.log.iter().for_each(|line| log.add(console::parse(line)));
    let mut timeline = Timeline { run: Run::from_log(&log), notes: found.lacks.clone(), ..Timeline::default() };
    timeline.run.spans.retain(|span| span.layer != Layer::Initcall || span.duration_us >= options.least_us);
    if !found.log.is_empty() && log.kernel.is_none() {
        let note = "the kernel log lacks its first lines: others took their place (log_buf_len= makes room)";
        timeline.notes.push(note.to_owned());
    }
    if let Some(record) = &found.record {
        timeline.add_record(record, &log);
    }
    if let Some(at_us) = timeline.run.at(mark::RUN_INIT).and_then(|at| u64::try_from(at).ok()) {
        timeline.span(Layer::Kernel, "until /init", Some(0), at_us);
    }
    timeline.systemd = found.systemd.as_ref().and_then(Systemd::new);
    timeline.add_before_kernel(found);
    timeline.add_systemd(found, options);
    for wanted in &options.marks {
        timeline.add_mark(wanted, found);
    }
    timeline
}

impl Timeline {
    fn span(&mut self, layer: Layer, name: &str, start_us: Option<i64>, duration_us: u64) {
        self.run.spans.push(Span { layer, name: name.to_owned(), start_us, duration_us });
    }

    fn mark(&mut self, name: &str, at_us: i64) {
        self.run.marks.push(Mark { name: name.to_owned(), at_us });
    }

    /// A time of `CLOCK_MONOTONIC` on the axis; as the same as the kernel log's where nothing tells how far they are apart.
    pub fn on_axis(&self, monotonic_us: u64) -> i64 {
        i64::try_from(monotonic_us).unwrap_or(i64::MAX).saturating_add(self.monotonic_us.unwrap_or(0))
    }

    /// What the record knows and the log does not: the clocks, and steps whose lines are gone.
    fn add_record(&mut self, record: &Record, log: &Log) {
        self.monotonic_us = distance(record, log);
        if self.monotonic_us.is_none() {
            let note =
                "CLOCK_MONOTONIC is taken for the kernel log's clock: no step is both in the record and in the log";
            self.notes.push(note.to_owned());
        }
        match record.counter.map(Counter::ns) {
            Some(Some(ns)) => {
                let counted = i64::try_from(ns / 1000).unwrap_or(i64::MAX);
                let zero = self.on_axis(record.started_ns / 1000).saturating_sub(counted);
                self.counter_us = Some(zero);
                self.mark(mark::COUNTER_START, zero);
            }
            Some(None) => self.notes.push("the firmware set no CNTFRQ: the counter's rate is unknown".to_owned()),
            None => {}
        }
        self.run.free_ram_kib = self.run.free_ram_kib.or(Some(record.free_ram_kib));
        if log.rows.is_empty() {
            self.notes.push("the kernel log lacks bootstrap's lines: modules have their numbers only".to_owned());
            self.add_steps(record);
        }
    }

    fn add_steps(&mut self, record: &Record) {
        let mut before = record.started_ns;
        for event in &record.events {
            let spent_us = event.ended_ns.saturating_sub(before) / 1000;
            let start = self.on_axis(before / 1000);
            match event.step {
                Step::Modules => self.span(Layer::Module, &format!("number {}", event.item), Some(start), spent_us),
                step => self.span(Layer::Step, step.name(), Some(start), spent_us),
            }
            let name = match event.step {
                Step::SwitchRoot => mark::SWITCH_ROOT,
                Step::Exec => mark::NEXT_INIT,
                _ => "",
            };
            if !name.is_empty() && event.errno == 0 {
                self.mark(name, self.on_axis(event.ended_ns / 1000));
            }
            before = event.ended_ns;
        }
    }

    /// Firmware, bootloader, and the kernel before its clock.
    fn add_before_kernel(&mut self, found: &Found) {
        let note = bootstage::add(&found.stages, self.counter_us, &mut self.run);
        self.notes.extend(note.map(str::to_owned));
        let placed = note.is_none() && !found.stages.is_empty();
        let efi = self.systemd.filter(|systemd| systemd.firmware_us > 0);
        let length = self.counter_us.and_then(|zero| u64::try_from(zero.saturating_neg()).ok());
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        match (self.counter_us.zip(length), efi) {
            _ if placed => {}
            // On arm64 an EFI bootloader reads that counter too: its times count from the same instant.
            (Some((zero, length)), Some(efi)) if efi.firmware_us <= length => {
                let firmware = efi.firmware_us.saturating_sub(efi.loader_us);
                let at = |us: u64| Some(zero.saturating_add(signed(us)));
                self.span(Layer::Firmware, "EFI", Some(zero), firmware);
                self.span(Layer::Bootloader, "EFI's", at(firmware), efi.loader_us);
                self.span(Layer::Kernel, "before its clock", at(efi.firmware_us), length - efi.firmware_us);
            }
            (Some((zero, length)), _) => self.span(Layer::Firmware, UNDIVIDED, Some(zero), length),
            (None, Some(efi)) => {
                let before = |us: u64| Some(signed(us).saturating_neg());
                let firmware = efi.firmware_us.saturating_sub(efi.loader_us);
                self.span(Layer::Firmware, "EFI", before(efi.firmware_us), firmware);
                self.span(Layer::Bootloader, "EFI's", before(efi.loader_us), efi.loader_us);
            }
            (None, None) => {}
        }
    }

    /// systemd's phases, the units that took long, and those that are marks.
    fn add_systemd(&mut self, found: &Found, options: &Options) {
        let Some(systemd) = self.systemd else { return };
        let since = |later: u64, earlier: u64| later.saturating_sub(earlier);
        if systemd.initrd_us > 0 {
            self.mark(mark::INITRD_DONE, self.on_axis(systemd.userspace_us));
            let start = self.on_axis(systemd.initrd_us);
            self.span(Layer::Initrd, "systemd", Some(start), since(systemd.userspace_us, systemd.initrd_us));
        }
        if systemd.finish_us > 0 {
            self.mark(mark::FINISHED, self.on_axis(systemd.finish_us));
            let start = self.on_axis(systemd.userspace_us);
            self.span(Layer::Userspace, "systemd", Some(start), since(systemd.finish_us, systemd.userspace_us));
        } else {
            self.notes.push("systemd had not finished: its userspace has no end".to_owned());
        }
        let at = |unit: &Properties, name: &str| unit.get(name).copied().filter(|us| *us > 0);
        for (name, unit) in &found.units {
            let (begun, active) =
                (at(unit, "InactiveExitTimestampMonotonic"), at(unit, "ActiveEnterTimestampMonotonic"));
            if let (Some(begun), Some(active)) = (begun, active)
                && since(active, begun) >= options.least_us.max(1)
            {
                let layer = if begun < systemd.userspace_us { Layer::Initrd } else { Layer::Userspace };
                self.span(layer, name, Some(self.on_axis(begun)), since(active, begun));
            }
        }
        let multi_user = mark::MULTI_USER.to_owned();
        for name in std::iter::once(&multi_user).chain(options.units.iter().filter(|name| **name != multi_user)) {
            match found.units.get(name).and_then(|unit| at(unit, "ActiveEnterTimestampMonotonic")) {
                Some(active) => self.mark(name, self.on_axis(active)),
                None => self.notes.push(format!("{name} has not been active")),
            }
        }
    }

    fn add_mark(&mut self, wanted: &Wanted, found: &Found) {
        let first = |lines: &[String]| {
            let fits = |line: &String| stamped(line).filter(|(_, text)| wanted.line.is_match(text)).map(|(at, _)| at);
            lines.iter().find_map(fits)
        };
        let in_log = first(&found.log).and_then(|at| i64::try_from(at).ok());
        let in_journal = first(&found.journal).map(|at| self.on_axis(at));
        match in_log.into_iter().chain(in_journal).min() {
            Some(at_us) => self.mark(&wanted.name, at_us),
            None => self.notes.push(format!("no line fits mark {}: {}", wanted.name, wanted.line)),
        }
    }
}

/// Where `CLOCK_MONOTONIC` starts on the kernel log's axis: the last steps of both, as far as they are the same.
fn distance(record: &Record, log: &Log) -> Option<i64> {
    let steps = record.events.iter().filter(|event| event.errno == 0 && event.step != Step::Exec).rev();
    let rows = log.rows.iter().filter(|row| row.name != Step::Exec.name()).rev();
    let same = |row: &console::Row, event: &record::Event| match event.step {
        Step::Modules => row.name.starts_with("module "),
        step => row.name == step.name(),
    };
    let pairs = rows.zip(steps).take_while(|(row, event)| same(row, event));
    let signed = |us: u64| i64::try_from(us).ok();
    pairs.filter_map(|(row, event)| signed(row.ended_us?)?.checked_sub(signed(event.ended_ns / 1000)?)).min()
}

/// The timestamp of a line in microseconds, and what stands behind it: `[    0.039512] text`.
fn stamped(line: &str) -> Option<(u64, &str)> {
    let (_, text) = line.split_once("] ")?;
    Some((console::parse(line).at_us?, text))
}
