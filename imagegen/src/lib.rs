//! Host side of initoverlayfs: board + initramfs -> plan -> image -> boot -> report. `main.rs` is the command line.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
#![forbid(unsafe_code)]

pub mod atomic;
pub mod board;
pub mod boot;
pub mod bootloader;
pub mod build;
mod bytes;
pub mod collect;
pub mod compare;
pub mod convert;
pub mod copy;
pub mod disk;
pub mod elf;
pub mod erofs;
pub mod error;
pub mod explain;
pub mod extract;
pub mod fakeroot;
pub mod filesystem;
pub mod gate;
pub mod initramfs;
pub mod input;
pub mod inspect;
pub mod install;
pub mod json;
pub mod kernel;
pub mod manifest;
pub mod measure;
pub mod memory;
pub mod modules;
pub mod new;
pub mod ostree;
pub mod plan;
pub mod profile;
pub mod progress;
pub mod report;
pub mod runs;
pub mod serial;
pub mod sign;
pub mod stats;
pub mod table;
pub(crate) mod tool;
pub mod tree;
pub mod tune;
pub mod verify;
pub mod verity;

pub use error::{Error, Kind, Result};

/// `1 slot`, `2 slots`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
