//! The only module with unsafe code: the program's first instructions, the memory functions the compiler calls, and the
//! system calls that rustix does not offer.
#![allow(unsafe_code)]

pub mod block;
pub mod call;
#[cfg(feature = "full")]
pub mod mapper;
pub mod memory;
pub mod start;
