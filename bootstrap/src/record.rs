//! The record: what happened in one boot, a timestamp a step, written once just before the next init starts.

use crate::Step;
use crate::envelope::{self, Kind};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Magic and version of a sealed record.
pub const KIND: Kind = Kind { magic: *b"IOFR", version: 3 };
/// Where the next init finds it; with [`crate::plan::Handover::Kernel`] in the overlay, until something is mounted over
/// `/run`.
pub const PATH: &str = "/run/initoverlayfs/record";
/// The most events a record holds; further ones are counted in [`Record::dropped`].
pub const MAX_EVENTS: usize = 128;
/// The largest sealed record in bytes.
pub const MAX_BYTES: usize = 4096;

/// What happened in one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When `bootstrap` started, in nanoseconds of `CLOCK_MONOTONIC` (as every time here).
    pub started_ns: u64,
    /// The processor's counter right after that, where every program may read it: on arm64.
    pub counter: Option<Counter>,
    /// Index in the plan of the slot that was booted, if any.
    pub slot: Option<u8>,
    /// Free RAM at the end in KiB, from `sysinfo(2)`.
    pub free_ram_kib: u64,
    /// Events in order.
    pub events: Vec<Event, MAX_EVENTS>,
    /// Events that did not fit.
    pub dropped: u16,
}

/// The counter that ran before the kernel did: arm64's `CNTVCT_EL0`. On most boards it starts with the reset, so it tells how
/// long firmware, bootloader and the kernel before its first clock took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What it counted.
    pub ticks: u64,
    /// Ticks a second as the firmware told it, `CNTFRQ_EL0`; 0 from a firmware that told nothing.
    pub hz: u32,
}

impl Counter {
    /// Nanoseconds since it started; none if its rate is unknown or they do not fit.
    pub fn ns(self) -> Option<u64> {
        let ns = (u128::from(self.ticks) * 1_000_000_000).checked_div(u128::from(self.hz))?;
        u64::try_from(ns).ok()
    }
}

/// The end of a step, or of one item of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The step.
    pub step: Step,
    /// Module: its index in the plan. Every other step: the index of the slot it served.
    pub item: u8,
    /// When it ended.
    pub ended_ns: u64,
    /// Linux error number, 0 for success.
    pub errno: u16,
}

impl Record {
    /// An empty record of a boot that started at `started_ns`.
    pub const fn new(started_ns: u64) -> Self {
        Record { started_ns, counter: None, slot: None, free_ram_kib: 0, events: Vec::new(), dropped: 0 }
    }

    /// Adds the end of a step or item.
    pub fn add(&mut self, event: Event) {
        if self.events.push(event).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// Checks the envelope and decodes a record.
///
/// # Errors
/// As [`envelope::open`].
pub fn open(bytes: &[u8]) -> Result<Record, envelope::Error> {
    envelope::open(KIND, bytes)
}

/// Encodes and seals a record into `buffer`.
///
/// # Errors
/// As [`envelope::seal`].
pub fn seal<'b>(record: &Record, buffer: &'b mut [u8]) -> Result<&'b [u8], envelope::Error> {
    envelope::seal(KIND, record, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut record = Record::new(300);
        record.counter = Some(Counter { ticks: 500, hz: 62_500_000 });
        record.slot = Some(1);
        record.free_ram_kib = 7;
        record.add(Event { step: Step::Mount, item: 1, ended_ns: 400, errno: 22 });
        let mut buffer = [0; MAX_BYTES];
        let sealed = seal(&record, &mut buffer).unwrap();
        let payload = [
            0xAC, 2, // started_ns
            1, 0xF4, 3, 0xA0, 0xD9, 0xE6, 0x1D, // counter: there, its ticks, its rate
            1, 1, // slot
            7, // free_ram_kib
            1, 5, 1, 0x90, 3, 22, // one event: step, item, ended_ns, errno
            0,  // dropped
        ];
        assert_eq!(&sealed[..12], [*b"IOFR", [3, 0, 0, 0], [19, 0, 0, 0]].as_flattened());
        assert_eq!(&sealed[16..], payload);
        assert_eq!(open(sealed), Ok(record));
        let mut older = sealed.to_vec();
        older[4] = 2;
        assert_eq!(open(&older), Err(envelope::Error::Version(2)));
    }

    #[test]
    fn a_counter_tells_nanoseconds() {
        assert_eq!(Counter { ticks: 500, hz: 62_500_000 }.ns(), Some(8_000));
        assert_eq!(Counter { ticks: 1, hz: 0 }.ns(), None);
        assert_eq!(Counter { ticks: u64::MAX, hz: 1 }.ns(), None);
        assert_eq!(Counter { ticks: u64::MAX, hz: 1_000_000_000 }.ns(), Some(u64::MAX));
    }
}
