//! Any bytes as the block behind an image, and any bytes as the payload of a trailer whose envelope is right: refused, or a
//! trailer that is the same after sealing and opening it, and that imagegen takes only where all of it fits what is there.
#![no_main]

use bootstrap::trailer::{BLOCK_BYTES, KIND, MAX_SALT, open, seal, version};
use imagegen::verity::Image;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

/// Blocks of the image, and of the hash tree over it.
const BLOCKS: (usize, usize) = (3, 1);

fuzz_target!(|bytes: &[u8]| {
    version(bytes);
    let _ = open(bytes);
    let mut block = fuzz::enveloped(KIND, bytes);
    if block.len() > BLOCK_BYTES {
        return;
    }
    block.resize(BLOCK_BYTES, 0);
    if let Ok(trailer) = open(&block) {
        assert!(trailer.salt.len() <= MAX_SALT);
        let mut again = [0; BLOCK_BYTES];
        // A payload may waste bytes on its numbers, but not gain by it.
        seal(&trailer, &mut again).expect("what fitted");
        assert_eq!(open(&again).as_ref(), Ok(&trailer));
    }
    let mut file = vec![0; BLOCKS.0 * BLOCK_BYTES];
    file[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    file[1024 + 12] = 12;
    file[1024 + 36] = BLOCKS.0 as u8;
    file.extend(block);
    file.resize(file.len() + BLOCKS.1 * BLOCK_BYTES, 0);
    let path = FOLDER.path().join("image");
    std::fs::write(&path, &file).expect("write");
    match Image::open(&path) {
        Ok(image) => {
            assert!(image.bytes() <= file.len() as u64);
            assert!(image.attached.is_none_or(|attached| attached.summary.hash_start == BLOCKS.0 as u64 + 1));
        }
        Err(error) => assert_eq!(error.kind, imagegen::Kind::BadInput, "{error}"),
    }
});
