//! Looking for a word in bytes that are not parsed: a program, a script, the start of a file.

/// Whether `part`, which is not empty, stands anywhere in `bytes`.
pub(crate) fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
