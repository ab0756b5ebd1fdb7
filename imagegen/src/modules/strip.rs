//! Debug information out of a module. The modules a board strips are for another processor, so no `strip` of the host can
//! be relied on; and a module is a relocatable file, in which sections may move but symbols and relocations refer to
//! them by index. So the debug sections become empty ones, which the kernel skips (kernel/module/main.c,
//! `elf_validity_cache_sechdrs`), and the others move together. Nothing is interpreted, so nothing can be lost.

use object::{Object, ObjectSection};

const SHT_NULL: u32 = 0;
const SHT_NOBITS: u32 = 8;

/// Where one class of little-endian ELF files keeps what is needed here (elf.h): byte offsets.
struct Layout {
    /// Bytes of an address, offset or size.
    word: usize,
    header: usize,
    e_shoff: usize,
    e_shnum: usize,
    /// Bytes of a section header, and the fields in it.
    section: usize,
    sh_offset: usize,
    sh_size: usize,
    sh_addralign: usize,
}

const SH_TYPE: usize = 4;
const ELF32: Layout =
    Layout { word: 4, header: 52, e_shoff: 32, e_shnum: 48, section: 40, sh_offset: 16, sh_size: 20, sh_addralign: 32 };
const ELF64: Layout =
    Layout { word: 8, header: 64, e_shoff: 40, e_shnum: 60, section: 64, sh_offset: 24, sh_size: 32, sh_addralign: 48 };

impl Layout {
    fn get(&self, bytes: &[u8], at: usize) -> Option<usize> {
        number(bytes, at, self.word)
    }

    fn set(&self, bytes: &mut [u8], at: usize, value: usize) -> Option<()> {
        let value = (value as u64).to_le_bytes();
        bytes.get_mut(at..at.checked_add(self.word)?)?.copy_from_slice(value.get(..self.word)?);
        Some(())
    }
}

/// The little-endian number in `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

/// The unsigned module without its debug sections.
///
/// # Errors
/// A reason, if the module is damaged.
pub(super) fn without_debug(module: &[u8]) -> Result<Vec<u8>, String> {
    let file = object::File::parse(module).map_err(|error| format!("not an ELF file: {error}"))?;
    let layout = match file.is_64() {
        _ if !file.is_little_endian() => return Err("a big-endian ELF file".to_owned()),
        true => ELF64,
        false => ELF32,
    };
    let is_debug =
        |name: &str| [".debug", ".rel.debug", ".rela.debug", ".zdebug"].iter().any(|prefix| name.starts_with(prefix));
    let sections = file.sections().filter(|section| section.name().is_ok_and(is_debug));
    let dropped: Vec<usize> = sections.map(|section| section.index().0).collect();
    if dropped.is_empty() {
        return Ok(module.to_vec());
    }
    rewrite(module, &layout, &dropped).ok_or_else(|| "damaged ELF file: a section outside it".to_owned())
}

/// Empties the sections with the indexes `dropped` and moves the others together. `None` if a header points outside.
fn rewrite(module: &[u8], layout: &Layout, dropped: &[usize]) -> Option<Vec<u8>> {
    let start = layout.get(module, layout.e_shoff)?;
    let count = number(module, layout.e_shnum, 2)?;
    // More sections than this field can count are counted elsewhere: no module has so many.
    dropped.iter().all(|index| *index < count).then_some(())?;
    let headers = module.get(start..start.checked_add(count.checked_mul(layout.section)?)?)?;
    let mut output = module.get(..layout.header)?.to_vec();
    let mut table = Vec::with_capacity(headers.len());
    for (index, header) in headers.chunks_exact(layout.section).enumerate() {
        let mut header = header.to_vec();
        let kind = number(&header, SH_TYPE, 4)? as u32;
        if dropped.contains(&index) {
            header.get_mut(SH_TYPE..)?.fill(0);
        } else if kind != SHT_NULL {
            let align = layout.get(&header, layout.sh_addralign)?.max(1);
            // A section's alignment is at most a page; anything else would only blow up the file.
            output.resize(output.len().checked_next_multiple_of(align).filter(|_| align <= 1 << 16)?, 0);
            let (offset, size) = (layout.get(&header, layout.sh_offset)?, layout.get(&header, layout.sh_size)?);
            layout.set(&mut header, layout.sh_offset, output.len())?;
            if kind != SHT_NOBITS {
                output.extend_from_slice(module.get(offset..offset.checked_add(size)?)?);
            }
        }
        table.extend(header);
    }
    output.resize(output.len().checked_next_multiple_of(8)?, 0);
    let end = output.len();
    layout.set(&mut output, layout.e_shoff, end)?;
    output.extend(table);
    // Sections that overlap would be copied once each: no module has them.
    (output.len() <= module.len().checked_add(1 << 20)?).then_some(output)
}
