//! Any bytes as a record, and any bytes as the payload of one whose envelope is right: refused, or a record that is the
//! same after sealing and opening it, and that imagegen can show.
#![no_main]

use bootstrap::record::{KIND, MAX_BYTES, MAX_EVENTS, open, seal};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let _ = open(bytes);
    let bytes = fuzz::enveloped(KIND, bytes);
    let Ok(record) = open(&bytes) else { return };
    assert!(record.events.len() <= MAX_EVENTS);
    let mut buffer = [0; MAX_BYTES];
    let sealed = seal(&record, &mut buffer).expect("every record fits");
    assert_eq!(open(sealed).as_ref(), Ok(&record));
    let path = FOLDER.path().join("record");
    std::fs::write(&path, sealed).expect("write");
    for json in [false, true] {
        let options = imagegen::inspect::Options { cat: None, json };
        imagegen::inspect::run(&path, &options, &mut std::io::sink()).expect("shown");
    }
});
