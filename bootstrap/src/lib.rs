//! What host and target agree on: the plan, the record, and the pure logic of the boot.
//!
//! `no_std`, no allocation, no unsafe code, no panic reachable from input: everything here runs as PID 1, and everything
//! here is tested on the host. The program (`main.rs`) is a thin layer over Linux on top of it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![allow(clippy::large_enum_variant, reason = "without allocation nothing can be boxed")]

#[cfg(test)]
extern crate std;

pub mod bytes;
pub mod cmdline;
pub mod crc;
pub mod envelope;
pub mod gpt;
pub mod plan;
pub mod record;
pub mod step;
pub mod superblock;
pub mod trailer;
pub mod uevent;

pub use step::Step;
