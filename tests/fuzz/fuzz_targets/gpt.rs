//! Any bytes as the start of a disk, and the same with the CRCs of a GPT put right: the target's reader and imagegen's
//! find no place that is not on the disk's own terms, and never panic.
#![no_main]

use bootstrap::crc::crc32;
use bootstrap::gpt::{entry_guid, header, mbr_signature};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

/// Bytes that imagegen reads: two blocks and an array of 128 entries.
const START: usize = 1024 + 128 * 128;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Inputs stay short: the rest of the array is empty.
    let mut start = bytes.to_vec();
    start.resize(START, 0);
    let array = crc32(&start[1024..]);
    start[512..520].copy_from_slice(b"EFI PART");
    start[512 + 12..][..4].copy_from_slice(&92_u32.to_le_bytes());
    start[512 + 88..][..4].copy_from_slice(&array.to_le_bytes());
    start[512 + 16..][..4].fill(0);
    let crc = crc32(&start[512..604]);
    start[512 + 16..][..4].copy_from_slice(&crc.to_le_bytes());
    read(&start);
});

fn read(disk: &[u8]) {
    let _ = (mbr_signature(disk), entry_guid(disk));
    let block = disk.get(512..).unwrap_or_default();
    if let Some(header) = header(block) {
        assert_eq!(header.entry_offset(0, 512), None);
        for number in [1, 2, 128, 129, u32::MAX] {
            let _ = (header.entry_offset(number, 512), header.entry_offset(number, 4096));
        }
    }
    let path = FOLDER.path().join("disk");
    std::fs::write(&path, disk).expect("write");
    match imagegen::disk::list(&path) {
        Ok(found) => assert!(found.len() <= 128),
        Err(error) => assert_eq!(error.kind, imagegen::Kind::BadInput, "{error}"),
    }
}
