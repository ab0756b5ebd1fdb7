//! Any bytes as the original's configuration: a board that `check` accepts, with notes of one line, or bad input; never a panic.
#![no_main]

use imagegen::board::draft;
use imagegen::convert;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    match convert::convert(bytes, "kit", "aarch64") {
        Ok(converted) => {
            let text = converted.draft.text();
            assert!(draft::check(Path::new("kit.toml"), &text).is_ok(), "{text}");
            assert!(converted.notes.iter().all(|note| !note.contains(char::is_control)), "{:?}", converted.notes);
        }
        Err(error) => {
            assert_eq!(error.kind, imagegen::Kind::BadInput, "{error}");
            assert!(!error.what.contains(char::is_control) && !error.hint.is_empty(), "{error}");
        }
    }
});
