//! What the boot tests share: kernels, programs, content, images made step by step, a boot and its report.
//!
//! Images are made here from their parts, not by `imagegen build`, because the fault tests must break each part.

pub mod bench;
pub mod boot;
pub mod content;
pub mod cpio;
pub mod demo;
pub mod image;
pub mod kernel;
pub mod peers;
pub mod place;
pub mod report;
pub mod systemd;
pub mod tool;

/// Why a test fails: text for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Shorthand.
pub type Result<T> = std::result::Result<T, Failure>;

/// Fails with `what` and both values unless they are equal.
///
/// # Errors
/// If they differ.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:#?}, expected {expected:#?}").into()) }
}
