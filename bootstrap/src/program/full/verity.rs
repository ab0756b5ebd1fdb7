//! Step verity: nothing of an image is read but what its root hash vouches for.
//!
//! Fails closed: a plan that wants verification and cannot have it, for whatever reason, refuses the slot.

use crate::program::device::{Name, open_device, read_at};
use crate::program::failure::{Failure, check, check_on, refuse};
use crate::program::image::check_start;
use crate::program::text::text;
use crate::program::{done, sys};
use bootstrap::Step;
use bootstrap::plan::Image;
use bootstrap::record::Record;
use bootstrap::trailer::{self, BLOCK_BYTES};
use core::ffi::CStr;
use heapless::String;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Name of the key that holds a root hash's signature, in a keyring that ends with this process.
const KEY: &CStr = c"initoverlayfs";

/// Parameters of a dm-verity target.
type Table = String<{ sys::mapper::PARAMETER_BYTES }>;

/// Puts dm-verity over the block device `name`, which `disk` is, if the plan wants it; returns what is to be read from then on.
#[inline(never)]
pub fn cover(
    image: &Image<'_>,
    name: Name,
    disk: OwnedFd,
    index: u8,
    record: &mut Record,
) -> Result<(Name, OwnedFd), Failure> {
    let mut table = Table::new();
    let bytes = match *image {
        Image::Any | Image::Pinned { .. } | Image::Digest(_) => return Ok((name, disk)),
        Image::RootHash { bytes, parameters } => {
            add(&mut table, parameters, &name);
            bytes
        }
        Image::Signed { options, words, .. } => signed(&mut table, options, words, &name, &disk)?,
    };
    let number = check(Step::Verity, "cannot set up dm-verity", sys::mapper::create_verity(bytes, &table))?;
    let verified = text!["dm-", number];
    let disk = check_on(Step::Verity, "cannot open", &verified, open_device(&verified))?;
    // The tree is checked on reading: this reads what every mount reads first, through every level of it.
    let mut start = [0; 8];
    check_on(Step::Verity, "image does not match its root hash", &name, read_at(&disk, &mut start, 0))?;
    if let Image::Signed { minimum_version, .. } = image {
        let version = trailer::version(&start);
        if version < *minimum_version {
            let about = text![version, ", at least ", *minimum_version];
            return Err(refuse(Step::Verity, "image version is too low", &about, Errno::KEYEXPIRED));
        }
    }
    done(record, Step::Verity, index, &verified);
    Ok((verified, disk))
}

/// Checks the digest of a file that the kernel verifies as it reads it; false if a device has to be verified in its place.
#[inline(never)]
pub fn check_file(image: &Image<'_>, file: &OwnedFd, index: u8, record: &mut Record) -> Result<bool, Failure> {
    if let Image::Digest(digest) = image {
        let found = check(Step::Verity, "cannot measure the file by fs-verity", sys::block::measure_verity(file))?;
        if found != *digest {
            return Err(refuse(Step::Verity, "file has another fs-verity digest", "", Errno::KEYREJECTED));
        }
        done(record, Step::Verity, index, "fs-verity");
    }
    Ok(matches!(image, Image::Any | Image::Pinned { .. } | Image::Digest(_)))
}

/// The device goes with the mount that uses it: nobody would remove it once the content has left the image.
pub fn let_go(image: &Image<'_>) {
    if matches!(image, Image::RootHash { .. } | Image::Signed { .. }) {
        sys::mapper::remove_with_last_user();
    }
}

/// Removes the verified device of a refused slot.
pub fn undo() {
    sys::mapper::remove();
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
    if trailer.signature.is_empty() {
        return Err(refuse(Step::Verity, "nobody signed the image", "", Errno::NOKEY));
    }
    // The kernel takes a table without a signature where it has none to check.
    check(Step::Verity, "cannot hand over the signature", sys::call::add_key(KEY, trailer.signature))?;
    add(table, "1 @ @ 4096 4096 ", name);
    add(table, &text![image.bytes / BLOCK_BYTES as u64, " ", trailer.hash_start, " sha256 "], name);
    add_hex(table, trailer.root_hash);
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

/// Adds `text`, with the path of the device in place of every `@`. Where it does not fit nothing is left of the table, so that
/// the kernel refuses what follows: without its last words a table would be one that asks for no signature.
#[inline(never)]
fn add(table: &mut Table, text: &str, name: &Name) {
    for (index, part) in text.split('@').enumerate() {
        let path = if index > 0 { ["/dev/", &**name, part] } else { [part, "", ""] };
        if path.iter().any(|part| table.push_str(part).is_err()) {
            table.clear();
        }
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
