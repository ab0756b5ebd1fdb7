//! Any bytes as a board file: a board, or errors of bad input, each one line and without control characters; never a
//! panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("board.toml");
    std::fs::write(&path, bytes).expect("write the board file");
    if let Err(error) = imagegen::board::load(&path.to_string_lossy()) {
        assert_eq!(error.kind, imagegen::Kind::BadInput, "{error}");
        assert!(!error.hint.is_empty(), "{error}");
        let start = path.display().to_string();
        for line in error.what.lines() {
            assert!(line.contains(&start) && !line.contains(char::is_control), "{error}");
        }
    }
});
