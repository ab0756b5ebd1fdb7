//! Any bytes as the start of an image, in any room: refused, or an image that is not empty and fits.
#![no_main]

use bootstrap::superblock::erofs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (room, start) = input;
    if let Ok(image) = erofs(start, room) {
        assert!(image.bytes > 0 && image.bytes <= room);
    }
});
