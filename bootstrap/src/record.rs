//! The record: what happened in one boot, a timestamp a step, written once just before the next init starts.

use crate::Step;
use crate::envelope::{self, Kind};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Magic and version of a sealed record.
pub const KIND: Kind = Kind { magic: *b"IOFR", version: 2 };
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
    /// Index in the plan of the slot that was booted, if any.
    pub slot: Option<u8>,
    /// Free RAM at the end in KiB, from `sysinfo(2)`.
    pub free_ram_kib: u64,
    /// Events in order.
    pub events: Vec<Event, MAX_EVENTS>,
    /// Events that did not fit.
    pub dropped: u16,
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
        Record { started_ns, slot: None, free_ram_kib: 0, events: Vec::new(), dropped: 0 }
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
