//! The clock of the record and of every deadline: `CLOCK_MONOTONIC`, which runs from the kernel's start and does not care
//! that the wall clock says 1970.

/// Nanoseconds since the kernel started.
pub fn now_ns() -> u64 {
    super::sys::call::monotonic_ns()
}

/// The processor's counter, where every program may read it.
pub fn counter() -> Option<bootstrap::record::Counter> {
    super::sys::call::counter()
}
