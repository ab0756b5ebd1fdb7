//! Profiles: read, merged, resolved for a content, and made of what QEMU says.

use super::*;
use crate::erofs;
use crate::input;
use bootstrap::plan;
use proptest::prelude::*;
use std::process::Command;

fn used(path: &str, pages: &[[u32; 2]]) -> Used {
    Used { path: path.to_owned(), pages: pages.to_vec() }
}

fn profile(files: Vec<Used>) -> Profile {
    Profile { format: FORMAT, board: "b".into(), input_sha256: String::new(), images: Vec::new(), boots: 1, files }
}

#[test]
fn what_is_merged_keeps_its_order_and_unites_pages() {
    let mut profile = profile(vec![used("/b", &[[0, 2]]), used("/a", &[[4, 1]])]);
    profile.merge(vec![used("/c", &[]), used("/a", &[[0, 1], [5, 2]])]);
    let expected = [used("/b", &[[0, 2]]), used("/a", &[[4, 1]]), used("/c", &[]), used("/a", &[[0, 1], [5, 2]])];
    assert_eq!((profile.files.as_slice(), profile.boots, profile.bytes()), (&expected[..], 2, 6 * PAGE));
    profile.merge(vec![used("/b", &[[1, 3]]), used("/a", &[[0, 7]]), used("/c", &[]), used("/a", &[[1, 3]])]);
    let more = [used("/b", &[[2, 2]]), used("/a", &[[1, 3]])];
    assert_eq!((&profile.files[..4], &profile.files[4..], profile.paths()), (&expected[..], &more[..], 3));
}

#[test]
fn a_profile_that_is_none_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    let good = profile(vec![used("/a\\x01\\\\", &[[0, 1]])]);
    good.write(Output::at(&path).unwrap()).unwrap();
    assert_eq!(Profile::read(&path).unwrap(), good);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, cause) in [
        ("\"format\": 2", "\"format\": 9", "a newer format, 9"),
        ("\"boots\"", "\"boats\"", "unknown field `boats`"),
        ("/a", "a", "path or pages that no file has"),
        ("      1\n", "      0\n", "path or pages that no file has"),
    ] {
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text, "{from}");
        std::fs::write(&path, wrong).unwrap();
        let error = Profile::read(&path).unwrap_err();
        assert!(error.what.starts_with(path.to_str().unwrap()) && error.what.contains(cause), "{error}");
    }
    assert!(Profile::read(folder.path()).unwrap_err().what.contains("is a folder"));
}

#[test]
fn reads_are_read_off_qemus_words() {
    let line = "12@1700000000.5:virtio_blk_handle_read vdev 0xaaaa req 0xbbbb sector 2048 nsectors 8";
    assert_eq!(read_of(line), Some(2048 * 512..2056 * 512));
    assert_eq!(read_of("virtio_blk_handle_write vdev 0x1 req 0x2 sector 1 nsectors 1"), None);
    assert_eq!(read_of("virtio_blk_handle_read vdev 0x1 req 0x2 sector 99999999999999999999 nsectors 1"), None);
    assert_eq!(within(&(0..8192), &(4096..12288)), Some(0..4096));
    assert_eq!(within(&(0..4096), &(4096..12288)), None);
}

/// A real image: the blocks of a file lead back to it, and laying it first moves it to the front.
#[test]
fn blocks_of_an_image_lead_to_files_and_files_to_its_front() {
    let (work, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = "mkdir -p r/d; for i in $(seq 40); do head -c 30000 /dev/zero | tr '\\0' $((i % 10)) >r/d/$i; done; seq 9000 >r/z; \
                  ln r/z r/link; cd r; find . | sort | cpio -o -H newc --quiet >../a.cpio";
    assert!(Command::new("bash").args(["-euc", script]).current_dir(work.path()).status().unwrap().success());
    // mkfs.erofs takes the contents out of a tree's spool.
    let read = || input::read(&work.path().join("a.cpio"), spool.path(), &mut |_| ()).unwrap();
    let tree = read();
    let image = work.path().join("image");
    let first_block = |options: &erofs::Options| {
        let summary = erofs::write(&read(), options, &image, &mut |_| ()).unwrap();
        let mut found = None;
        erofs::places(&image, &mut |path, extents| {
            for extent in extents {
                if let (b"/z", erofs::Extent::Content { at, bytes, .. }) = (path, extent) {
                    found = Some(at..at + bytes);
                }
            }
        })
        .unwrap();
        (found.unwrap(), summary.first_bytes)
    };
    let (plain, _) = first_block(&erofs::Options::default());
    let blocks = Blocks::of(&image).unwrap();
    let reads = [plain.start + 4096..plain.start + 8192, plain.start..plain.start + 4096, 0..4096];
    let found = blocks.used(reads.into_iter());
    // The content is that of either name; then the inodes that lie beside the superblock.
    assert_eq!(found[0], used("/link", &[[0, 2]]));
    assert!(found.len() > 2 && found[1..].iter().all(|used| used.pages.is_empty()), "{found:?}");
    let (first, ahead) = Ahead::of(&profile(vec![used("/gone", &[]), used("/z", &[[1, 1], [5, 900]])]), &tree).unwrap();
    assert_eq!((ahead.files, ahead.pages, ahead.pieces, ahead.unknown), (1, 10, 1, 1));
    assert_eq!(first, [b"/z".to_vec()]);
    let misfits = ahead.misfits(&profile(vec![used("/gone", &[]), used("/z", &[])])).unwrap();
    let expected = "the profile, of 2 paths, is of another content: 1 path it does not have, 894 pages behind the end of their file";
    assert_eq!(misfits, expected);
    let (first, folder) = Ahead::of(&profile(vec![used("/d", &[[0, 1]]), used("/z", &[[0, 11]])]), &tree).unwrap();
    assert_eq!((first.len(), folder.misfits(&profile(Vec::new()))), (2, None));
    let list = ahead.list(0).unwrap();
    let pieces: Vec<_> = plan::pieces(&list).into_iter().collect();
    assert_eq!(pieces, [plan::Piece { path: "/z", page: 1, pages: 10 }]);
    let (ordered, first_bytes) = first_block(&erofs::Options { first, ..erofs::Options::default() });
    assert!(ordered.start < plain.start && first_bytes > 1152 && first_bytes < 8192, "{ordered:?} {first_bytes}");
    erofs::verify(&tree, &image).unwrap();
}

/// Files in the order of reading, what was read together together, and all inodes in pieces between them.
#[test]
fn pieces_come_in_the_order_of_reading_with_the_inodes() {
    let spool = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let script = "mkdir r; for f in a b c; do head -c 2000000 /dev/zero >r/$f; done; cd r; \
                  find . | sort | cpio -o -H newc --quiet >../a.cpio";
    assert!(Command::new("bash").args(["-euc", script]).current_dir(work.path()).status().unwrap().success());
    let tree = input::read(&work.path().join("a.cpio"), spool.path(), &mut |_| ()).unwrap();
    let files =
        vec![used("/a", &[[0, 4]]), used("/b", &[[9, 60]]), used("/a", &[[30, 2], [6, 1]]), used("/c", &[[0, 1]])];
    let profiled = profile([files, vec![used("/a", &[[7, 1], [100, 1]])]].concat());
    let (first, ahead) = Ahead::of(&profiled, &tree).unwrap();
    assert_eq!((first.len(), ahead.files, ahead.pieces, ahead.pages), (3, 3, 5, 8 + 60 + 2 + 1 + 1));
    let shown = |inodes| {
        let list = ahead.list(inodes).unwrap();
        plan::pieces(&list).into_iter().map(|piece| format!("{} {} {}", piece.path, piece.page, piece.pages)).collect()
    };
    let plain: Vec<String> = shown(32 << 10);
    assert_eq!(plain, ["/a 0 8", "/b 9 60", "/a 30 2", "/c 0 1", "/a 100 1"]);
    let with_inodes: Vec<String> = shown(81 << 10);
    let expected = ["/ 8 4", "/a 0 8", "/ 12 4", "/b 9 60", "/ 16 4", "/a 30 2", "/c 0 1", "/ 20 1", "/a 100 1"];
    assert_eq!(with_inodes, expected);
    // Many inodes and little content, as of a boot that lists a folder.
    let (_, little) = Ahead::of(&profile(vec![used("/a", &[[0, 4]])]), &tree).unwrap();
    let list = little.list(200 << 10).unwrap();
    let inodes: u32 = plan::pieces(&list).into_iter().filter(|piece| piece.path != "/a").map(|piece| piece.pages).sum();
    assert_eq!(inodes, (200 - 32) / 4);
    assert_eq!((ahead.plan(9000).metadata_bytes, ahead.plan(81 << 10).metadata_bytes), (9000, 32 << 10));
}

proptest! {
    #[test]
    fn any_name_survives(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(unescape(&escape(&name)), Some(name));
    }

    #[test]
    fn any_text_is_a_name_or_none(text in ".{0,40}") {
        let _ = unescape(&text);
    }

    #[test]
    fn any_bytes_are_a_profile_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, &bytes).unwrap();
        let _ = Profile::read(&path);
        let _ = plan::pieces(&bytes).into_iter().count();
    }

    #[test]
    fn what_is_left_is_what_was_not_known(pieces in proptest::collection::vec((0..60_u32, 1..9_u32), 0..5), known in proptest::collection::vec((0..60_u32, 1..9_u32), 0..5)) {
        let ranges = |pieces: Vec<(u32, u32)>| pieces.into_iter().map(|(first, count)| [first, count]).collect::<Vec<_>>();
        let (pieces, known) = (united(ranges(pieces).iter()), united(ranges(known).iter()));
        let all = |pieces: &[[u32; 2]]| pieces.iter().flat_map(|[first, count]| *first..first + count).collect::<Vec<_>>();
        let expected: Vec<u32> = all(&pieces).into_iter().filter(|page| !all(&known).contains(page)).collect();
        prop_assert_eq!(all(&without(&pieces, &known)), expected);
    }

    #[test]
    fn pieces_are_apart_and_hold_all(pieces in proptest::collection::vec((any::<u32>(), 1..9_u32), 0..9)) {
        let pieces: Vec<[u32; 2]> = pieces.into_iter().map(|(first, count)| [first, count]).collect();
        let united = united(pieces.iter());
        prop_assert!(united.windows(2).all(|pair| pair[0][0].saturating_add(pair[0][1]) < pair[1][0]));
        for [first, _] in pieces {
            prop_assert!(united.iter().any(|[from, count]| *from <= first && first - from < *count || *count == 0 || first == u32::MAX));
        }
    }
}
