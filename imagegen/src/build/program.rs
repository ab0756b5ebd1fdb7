//! Finds the bootstrap for an architecture and makes sure that the kernel of that architecture can start it.

use crate::board::Architecture;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where packages install it.
const INSTALLED: &str = "/usr/lib/initoverlayfs";
/// Largest bootstrap taken for one, in bytes; ours is below 32 KiB.
const MAX_BYTES: u64 = 16 << 20;
/// `PT_INTERP` of elf.h.
const PT_INTERP: u32 = 3;

/// The bytes of the bootstrap for `architecture`: from `given`, else from beside this program, else the installed one.
///
/// # Errors
/// Bad input if there is none, or it is not a static ELF program for the architecture.
pub fn read(given: Option<&Path>, architecture: Architecture) -> Result<Vec<u8>> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => find(architecture)?,
    };
    let metadata = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    let refuse = |why: String| {
        Error::bad_input(
            format!("bootstrap {}: {why}", path.display()),
            "run `make bootstrap`, or give --bootstrap FILE",
        )
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(refuse("not a file of at most 16 MiB".to_owned()));
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    check(&bytes, architecture).map_err(refuse)?;
    Ok(bytes)
}

fn find(architecture: Architecture) -> Result<PathBuf> {
    let name = format!("bootstrap-{architecture}");
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(&name)));
    let places: Vec<PathBuf> = beside.into_iter().chain([Path::new(INSTALLED).join(&name)]).collect();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        Error::bad_input(
            format!("no bootstrap for {architecture}: looked for {}", places.join(" and ")),
            "run `make bootstrap`, or give --bootstrap FILE",
        )
    })
}

/// Checks that `bytes` are a little-endian ELF program for `architecture` without an interpreter.
fn check(bytes: &[u8], architecture: Architecture) -> std::result::Result<(), String> {
    let is_64 = architecture != Architecture::Armv7;
    let class = if is_64 { 2 } else { 1 };
    // e_ident of elf.h: magic, class, little-endian, version 1.
    if !bytes.starts_with(&[0x7F, b'E', b'L', b'F', class, 1, 1]) {
        return Err(format!("not an ELF program of {architecture}'s width"));
    }
    let damaged = || "damaged ELF header".to_owned();
    let machine = number(bytes, 18, 2).ok_or_else(damaged)?;
    if machine != u64::from(architecture.elf_machine()) {
        return Err(format!("for ELF machine {machine}, expected {} ({architecture})", architecture.elf_machine()));
    }
    let (table, sizes) = if is_64 { (number(bytes, 32, 8), 54) } else { (number(bytes, 28, 4), 42) };
    let (table, size) = (table.ok_or_else(damaged)?, number(bytes, sizes, 2).ok_or_else(damaged)?);
    for index in 0..number(bytes, sizes + 2, 2).ok_or_else(damaged)? {
        let entry = table.checked_add(index * size).and_then(|offset| usize::try_from(offset).ok());
        let kind = entry.and_then(|entry| number(bytes, entry, 4)).ok_or_else(damaged)?;
        if kind == u64::from(PT_INTERP) {
            return Err("not static: it wants an interpreter".to_owned());
        }
    }
    Ok(())
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF header of `architecture` with one program header of `kind`.
    pub(crate) fn elf(architecture: Architecture, kind: u32) -> Vec<u8> {
        let is_64 = architecture != Architecture::Armv7;
        let mut bytes = vec![0; 64 + 56];
        bytes[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1]);
        bytes[18..20].copy_from_slice(&architecture.elf_machine().to_le_bytes());
        let (table, sizes) = if is_64 { (32, 54) } else { (28, 42) };
        bytes[table] = 64;
        bytes[sizes] = 56;
        bytes[sizes + 2] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn static_programs_of_the_architecture_pass() {
        for architecture in [Architecture::Aarch64, Architecture::Armv7, Architecture::X86_64] {
            assert_eq!(check(&elf(architecture, 1), architecture), Ok(()));
            assert!(check(&elf(architecture, PT_INTERP), architecture).is_err());
        }
        assert!(check(&elf(Architecture::X86_64, 1), Architecture::Aarch64).is_err());
        assert!(check(&elf(Architecture::Armv7, 1), Architecture::Aarch64).is_err());
    }

    #[test]
    fn cut_anywhere_is_refused_and_never_a_panic() {
        let whole = elf(Architecture::Aarch64, 1);
        for length in 0..68 {
            assert!(check(&whole[..length], Architecture::Aarch64).is_err(), "{length}");
        }
        assert!(check(b"#!/bin/sh\n", Architecture::Aarch64).is_err());
    }

    #[test]
    fn a_missing_one_names_the_remedy() {
        let error = read(Some(Path::new("/nonexistent")), Architecture::Aarch64).unwrap_err();
        assert_eq!(error.exit_status(), 2);
    }
}
