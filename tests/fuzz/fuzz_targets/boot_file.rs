//! Any bytes as an EFI program or one of Android's headers: what is read lies in them, and a program that takes a section has it after.
#![no_main]

use imagegen::bootloader::{Android, pe};
use imagegen::initramfs::Body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Android::parse(bytes);
    let Some(known) = pe::sections(bytes) else { return };
    let mut added = Vec::new();
    if pe::add(bytes, bytes, &[(".fuzz", Body::Bytes(b"content".to_vec()))], &mut added).is_ok() {
        let sections = pe::sections(&added).expect("a program still");
        let last = sections.last().expect("a section");
        assert!(sections.len() == known.len() + 1 && last.name == ".fuzz" && last.bytes == 7);
        let at = usize::try_from(last.at).expect("an address");
        assert_eq!(added.get(at..at + 7), Some(&b"content"[..]));
    }
});
