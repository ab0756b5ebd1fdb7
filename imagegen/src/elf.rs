//! Whether the kernel of an architecture can start an ELF program, and by which interpreter: asked of the next init, of
//! modules, of the failure shell and of the bootstrap.

use crate::board::Architecture;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endian, Endianness, FileKind, ReadRef};
use std::fmt;

/// Why the kernel cannot start a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, to be completed with the program's name.
    pub text: String,
    /// Whether nothing is wrong but the processor that it is for.
    pub is_foreign: bool,
}

impl Refusal {
    /// The same with whose fault it is in front.
    pub fn of(self, name: &str) -> Self {
        Refusal { text: format!("{name}: {}", self.text), ..self }
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal { text, is_foreign: false }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Checks that an ELF file is for `architecture`; returns its interpreter, if it is not static.
///
/// # Errors
/// What is wrong with it.
pub fn interpreter<'d>(data: impl ReadRef<'d>, architecture: Architecture) -> Result<Option<Vec<u8>>, Refusal> {
    let no_program = || "neither a script nor an ELF program".to_owned();
    let kind = FileKind::parse(data).map_err(|_| no_program())?;
    let (machine, interpreter) = match kind {
        FileKind::Elf64 => header::<FileHeader64<Endianness>, _>(data),
        FileKind::Elf32 => header::<FileHeader32<Endianness>, _>(data),
        _ => return Err(no_program().into()),
    }
    .map_err(|error| format!("damaged ELF file: {error}"))?;
    let is_64 = architecture != Architecture::Armv7;
    let found = match machine {
        None => "a big-endian processor".to_owned(),
        Some(machine) if machine != architecture.elf_machine() => processor(machine),
        // As x32 on x86-64.
        Some(_) if is_64 != (kind == FileKind::Elf64) => "the same processor with words of another width".to_owned(),
        Some(_) => return Ok(interpreter),
    };
    Err(Refusal { text: format!("for {found}, expected {architecture}"), is_foreign: true })
}

/// A processor in words (include/uapi/linux/elf-em.h).
fn processor(machine: u16) -> String {
    match machine {
        3 => "32-bit x86",
        8 => "MIPS",
        20 | 21 => "PowerPC",
        22 => "s390",
        40 => "armv7, or another 32-bit ARM",
        62 => "x86_64",
        183 => "aarch64",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("ELF machine {other}"),
    }
    .to_owned()
}

/// Machine (none if big-endian) and interpreter.
fn header<'d, H, R>(data: R) -> object::Result<(Option<u16>, Option<Vec<u8>>)>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'d>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut interpreter = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(path.to_vec());
        }
    }
    Ok((endian.is_little_endian().then(|| header.e_machine(endian).0), interpreter))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PT_LOAD: u32 = 1;
    const PT_INTERP: u32 = 3;

    /// An ELF header of `architecture` with one program header of `kind`, whose content is `/ld`.
    pub(crate) fn elf(architecture: Architecture, kind: u32) -> Vec<u8> {
        let is_64 = architecture != Architecture::Armv7;
        let (table, sizes, entry, at, length) = if is_64 { (32, 54, 56, 8, 32) } else { (28, 42, 32, 4, 16) };
        let mut bytes = vec![0; 64 + entry];
        bytes[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1]);
        bytes[18..20].copy_from_slice(&architecture.elf_machine().to_le_bytes());
        bytes[table] = 64;
        bytes[sizes] = entry as u8;
        bytes[sizes + 2] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes[64 + at] = (64 + entry) as u8;
        bytes[64 + length] = 4;
        bytes.extend(b"/ld\0");
        bytes
    }

    #[test]
    fn programs_of_the_architecture_pass() {
        for architecture in [Architecture::Aarch64, Architecture::Armv7, Architecture::X86_64] {
            let of = |kind| elf(architecture, kind);
            assert_eq!(interpreter(of(PT_LOAD).as_slice(), architecture), Ok(None));
            assert_eq!(interpreter(of(PT_INTERP).as_slice(), architecture), Ok(Some(b"/ld".to_vec())));
        }
        for (found, wanted) in [
            (Architecture::X86_64, Architecture::Aarch64),
            (Architecture::Armv7, Architecture::Aarch64),
            (Architecture::Aarch64, Architecture::Armv7),
        ] {
            assert!(interpreter(elf(found, PT_LOAD).as_slice(), wanted).is_err());
        }
        let mut big = elf(Architecture::Aarch64, PT_LOAD);
        big[5] = 2;
        big[16..64].chunks_mut(2).for_each(|pair| pair.reverse());
        assert!(interpreter(big.as_slice(), Architecture::Aarch64).is_err());
    }

    #[test]
    fn cut_anywhere_is_refused_and_never_a_panic() {
        let whole = elf(Architecture::Aarch64, PT_INTERP);
        for length in 0..whole.len() {
            assert!(interpreter(&whole[..length], Architecture::Aarch64).is_err(), "{length}");
        }
        assert!(interpreter(&b"#!/bin/sh\n"[..], Architecture::Aarch64).is_err());
    }
}
