//! Any bytes as an EROFS image given to imagegen: a list of files, or an error; never a panic, never much memory,
//! whatever sizes the bytes declare.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    // Compressed contents are unpacked by fsck.erofs, which is not what is under test: it must not be found.
    // SAFETY: the first run of the target, before any thread of it.
    unsafe { std::env::set_var("PATH", "") };
    tempfile::tempdir_in("/dev/shm").expect("a temporary folder")
});

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("image");
    let mut bytes = bytes.to_vec();
    // Checksum and length would refuse nearly everything: no image has a checksum here, and each is as long as it says.
    if let Some(features) = bytes.get_mut(1032) {
        *features &= !1;
    }
    bytes.iter_mut().skip(1060).take(4).for_each(|byte| *byte = 0);
    std::fs::write(&path, bytes).expect("write");
    if let Ok(files) = imagegen::erofs::list(&path) {
        assert!(files.iter().any(|(path, _)| path == b"/"));
    }
});
