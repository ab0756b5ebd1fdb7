//! Any bytes as a profile, as the trace of a board's kernel, and as the list of what is read ahead: refused, or one that can be
//! shown.
#![no_main]

use imagegen::profile::{Profile, trace};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let _ = bootstrap::plan::pieces(bytes).into_iter().count();
    let path = FOLDER.path().join("profile");
    std::fs::write(&path, bytes).expect("write");
    let _ = trace::read(&path, Some(1.0));
    if let Ok(added) = trace::read(&path, None) {
        assert!(!added.is_empty() && added.iter().all(|added| added.pages > 0));
    }
    let Ok(mut profile) = Profile::read(&path) else { return };
    profile.merge(profile.files.clone());
    let _ = profile.bytes();
    for json in [false, true] {
        let options = imagegen::inspect::Options { cat: None, json };
        // A profile in another order than ours is taken for a manifest.
        let _ = imagegen::inspect::run(&path, &options, &mut std::io::sink());
    }
});
