//! Step verity: nothing of an image is read but what its root hash vouches for.
//!
//! Fails closed: a plan that wants verification and cannot have it, for whatever reason, refuses the slot.

use super::device::{Name, open_device, read_at};
use super::failure::{Failure, check, check_on, refuse};
use super::image::check_start;
use super::sys;
use super::text::text;
use bootstrap::Step;
use bootstrap::plan::Trust;
use bootstrap::trailer::{self, BLOCK_BYTES};
use core::ffi::CStr;
use heapless::String;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Name of the key that holds a root hash's signature, in a keyring that ends with this process.
const KEY: &CStr = c"initoverlayfs";

/// Parameters of a dm-verity target.
type Table = String<{ sys::mapper::PARAMETER_BYTES }>;

/// Puts dm-verity over the block device `name`, which `disk` is; returns the verified device's name.
#[inline(never)]
pub fn open(trust: Trust<'_>, name: &Name, disk: &OwnedFd) -> Result<Name, Failure> {
    let mut table = Table::new();
    let bytes = match trust {
        Trust::RootHash { bytes, parameters } => {
            add(&mut table, parameters, name);
            bytes
        }
        Trust::Signature { options, words, .. } => signed(&mut table, options, words, name, disk)?,
        Trust::Nothing | Trust::Digest(_) => {
            return Err(refuse(Step::Verity, "nothing to verify by", "", Errno::INVAL));
        }
    };
    let verified = sys::mapper::create_verity(bytes, &table);
    let verified = text!["dm-", check(Step::Verity, "cannot set up dm-verity", verified)?];
    // The tree is checked on reading: this reads what every mount reads first, through every level of it.
    let first = open_device(&verified).and_then(|disk| read_at(&disk, &mut [0; 512], 0));
    check_on(Step::Verity, "image does not match its root hash", name, first)?;
    Ok(verified)
}

/// Reads the trailer behind the image, gives its signature to the kernel, and puts the parameters together. Nothing in the trailer
/// is believed: the root hash is the kernel's to check, and all else decides only which bytes that hash is held against.
#[inline(never)]
fn signed(table: &mut Table, options: &str, words: u8, name: &Name, disk: &OwnedFd) -> Result<u64, Failure> {
    let image = check_start(disk, Step::Verity)?;
    let mut block = [0; BLOCK_BYTES];
    check(Step::Verity, "cannot read the trailer", read_at(disk, &mut block, image.bytes))?;
    let trailer = trailer::open(&block);
    let trailer = trailer.map_err(|error| refuse(Step::Verity, "trailer is invalid", error.name(), Errno::BADMSG))?;
    // The kernel takes a table without a signature where it has none to check.
    check(Step::Verity, "cannot hand over the signature", sys::call::add_key(KEY, trailer.signature))?;
    add(table, "1 @ @ 4096 4096 ", name);
    add(table, &text![image.bytes / BLOCK_BYTES as u64, " ", trailer.hash_start, " sha256 "], name);
    add_hex(table, &trailer.root_hash);
    add(table, " ", name);
    add_hex(table, trailer.salt);
    if trailer.salt.is_empty() {
        add(table, "-", name);
    }
    let fec_words = if trailer.fec.is_some() { 8 } else { 0 };
    add(table, &text![" ", u32::from(words) + 2 + fec_words, " root_hash_sig_key_desc initoverlayfs ", options], name);
    if let Some(fec) = trailer.fec {
        let blocks = (image.bytes / BLOCK_BYTES as u64).saturating_add(fec.start).saturating_sub(trailer.hash_start);
        let roots =
            text![" use_fec_from_device @ fec_roots ", fec.roots, " fec_blocks ", blocks, " fec_start ", fec.start];
        add(table, &roots, name);
    }
    Ok(image.bytes)
}

/// Adds `text`, with the path of the device in place of every `@`. What does not fit makes the kernel refuse the table.
#[inline(never)]
fn add(table: &mut Table, text: &str, name: &Name) {
    for (index, part) in text.split('@').enumerate() {
        if index > 0 {
            let _ = table.push_str("/dev/");
            let _ = table.push_str(name);
        }
        let _ = table.push_str(part);
    }
}

fn add_hex(table: &mut Table, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            let letter = if digit < 10 { b'0' } else { b'a' - 10 };
            let _ = table.push(char::from(letter + digit));
        }
    }
}
