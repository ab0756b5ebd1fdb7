//! PID 1 of the mini-initramfs for plans that ask for more: with what `program/full` has.
//!
//! A thin layer over Linux on top of the library; every decision was made on the host. No libc, no allocation, no
//! unsafe code outside `sys`.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod program;
