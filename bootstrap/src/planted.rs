//! PID 1 with a regression: the step that PLANTED_STEP names at build time takes 200 us more than it must. `imagegen gate` has
//! to find it.
//!
//! A thin layer over Linux on top of the library; every decision was made on the host. No libc, no allocation, no
//! unsafe code outside `sys`.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod program;
