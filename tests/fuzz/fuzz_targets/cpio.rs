//! Any bytes as an input of imagegen: a tree whose every parent is a directory, or an error; never a panic, never much
//! memory, whatever sizes the bytes declare.
#![no_main]

use imagegen::tree::NodeKind;
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use tempfile::TempDir;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir_in("/dev/shm").expect("temporary folder")).path();
        let path = folder.join("input");
        std::fs::write(&path, bytes).expect("write");
        let Ok(tree) = imagegen::input::read(&path, folder, &mut |_| ()) else { return };
        for path in tree.nodes.keys().filter(|path| path.as_slice() != b"/") {
            let end = path.iter().rposition(|byte| *byte == b'/').expect("absolute").max(1);
            let parent = tree.nodes.get(&path[..end]).expect("parent");
            assert_eq!(parent.kind, NodeKind::Directory);
        }
    });
});
