//! Images made, held against `veritysetup`, and spoilt.

use super::*;
use crate::Kind;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A superblock and something else in each of `blocks` blocks; no file system.
pub fn sample(folder: &TempDir, blocks: u32) -> PathBuf {
    let mut bytes = vec![0; blocks as usize * 4096];
    for (index, block) in bytes.chunks_mut(4096).enumerate() {
        block[1152..].fill(index as u8 | 1);
        block[2000..2008].copy_from_slice(&index.to_le_bytes());
    }
    bytes[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    bytes[1024 + 12] = 12;
    bytes[1024 + 36..1024 + 40].copy_from_slice(&blocks.to_le_bytes());
    bytes[1024 + 48..1024 + 64].fill(7);
    let path = folder.path().join(format!("image-{blocks}"));
    fs::write(&path, bytes).unwrap();
    path
}

/// Inverts the bits `mask` of a byte.
pub fn flip(path: &Path, at: u64, mask: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

fn veritysetup(path: &Path, summary: &Summary) -> Output {
    let mut command = Command::new("veritysetup");
    command
        .args(["verify", "--no-superblock", "--format=1", "--hash=sha256"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", summary.data_bytes / 4096))
        .arg(format!("--hash-offset={}", summary.hash_start * 4096))
        .arg(format!("--salt={}", hex(&summary.salt)));
    if let Some(fec) = summary.fec {
        command.arg(format!("--fec-device={}", path.display()));
        command.arg(format!("--fec-offset={}", fec.start * 4096)).arg(format!("--fec-roots={}", fec.roots));
    }
    command.args([path, path]).arg(hex(&summary.root_hash)).env("LC_ALL", "C");
    command.output().expect("veritysetup: tests/setup/apt.sh test")
}

fn check(path: &Path) -> Result<()> {
    Image::open(path)?.check_tree(&mut |_| ())
}

#[test]
fn veritysetup_accepts_every_size_and_refuses_every_flipped_bit() {
    let folder = tempfile::tempdir().unwrap();
    for blocks in [1, 2, 127, 128, 129, 16_385] {
        let path = sample(&folder, blocks);
        let summary = append(&path, &Options::default()).unwrap();
        assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
        let output = veritysetup(&path, &summary);
        assert!(output.status.success(), "{blocks} blocks: {output:?}");
        check(&path).unwrap();
        assert_eq!(Image::open(&path).unwrap().attached.unwrap().summary, summary);
        let tree = (summary.bytes / 4096 > summary.hash_start).then_some(summary.hash_start * 4096 + 5);
        // Behind the last digest of the last level there are zeros, which belong to the tree.
        let last = tree.map(|_| summary.bytes - 1);
        for at in [Some(4000), Some(summary.data_bytes - 1), tree, last].into_iter().flatten() {
            flip(&path, at, 1);
            assert!(!veritysetup(&path, &summary).status.success(), "{blocks} blocks: byte {at}");
            let error = check(&path).unwrap_err();
            let block = format!(
                "byte {}: a block of the {}",
                at / 4096 * 4096,
                if at < summary.data_bytes { "image" } else { "hash" }
            );
            assert!(
                error.kind == Kind::FailedWork && error.what.contains(&block.replace("the hash", "the hash tree")),
                "{error}"
            );
            flip(&path, at, 1);
        }
    }
}

#[test]
fn the_same_image_gives_the_same_bytes_and_another_uuid_another_salt() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(&folder, 300);
    let bare = fs::read(&path).unwrap();
    let options = Options { fec_roots: 2 };
    append(&path, &options).unwrap();
    let first = fs::read(&path).unwrap();
    fs::write(&path, &bare).unwrap();
    let summary = append(&path, &options).unwrap();
    assert!(fs::read(&path).unwrap() == first);
    fs::write(&path, &bare).unwrap();
    flip(&path, 1024 + 48, 1);
    assert_ne!(append(&path, &options).unwrap().salt, summary.salt);
}

#[test]
fn error_correction_repairs_what_the_tree_alone_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(&folder, 700);
    let summary = append(&path, &Options { fec_roots: 24 }).unwrap();
    let fec = summary.fec.unwrap();
    assert_eq!((fec.start, summary.bytes), (708, fs::metadata(&path).unwrap().len()));
    check(&path).unwrap();
    let without = Summary { fec: None, ..summary.clone() };
    assert!(veritysetup(&path, &without).status.success());
    for at in (4096 * 3..).step_by(11).take(1000) {
        flip(&path, at, 0x55);
    }
    assert!(!veritysetup(&path, &without).status.success());
    let output = veritysetup(&path, &summary);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("repairable errors"), "{output:?}");
    let other = Summary { fec: Some(trailer::Fec { start: fec.start - 1, ..fec }), ..summary };
    assert!(!veritysetup(&path, &other).status.success(), "parity that lies elsewhere");
}

#[test]
fn roots_that_dm_verity_does_not_take_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for fec_roots in [1, 25] {
        assert_eq!(append(&sample(&folder, 3), &Options { fec_roots }).unwrap_err().exit_status(), 2);
    }
}

#[test]
fn parameters_are_the_targets() {
    let mut summary = Summary {
        data_bytes: 300 * 4096,
        bytes: 0,
        hash_start: 301,
        root_hash: [0xAB; 32],
        salt: vec![1, 2],
        fec: None,
    };
    let root = "ab".repeat(32);
    assert_eq!(summary.parameters(&[]), format!("1 @ @ 4096 4096 300 301 sha256 {root} 0102"));
    summary.salt.clear();
    let words = ["panic_on_corruption", "check_at_most_once"];
    let start = format!("1 @ @ 4096 4096 300 301 sha256 {root} -");
    assert_eq!(summary.parameters(&words), format!("{start} 2 panic_on_corruption check_at_most_once"));
    summary.fec = Some(trailer::Fec { start: 305, roots: 2 });
    let fec = "use_fec_from_device @ fec_roots 2 fec_blocks 304 fec_start 305";
    assert_eq!(summary.parameters(&[]), format!("{start} 8 {fec}"));
    assert_eq!(summary.parameters(&words[..1]), format!("{start} 9 panic_on_corruption {fec}"));
}

#[test]
fn a_version_does_not_trouble_erofs() {
    let folder = tempfile::tempdir().unwrap();
    let (content, path) = (folder.path().join("content"), folder.path().join("image"));
    fs::create_dir(&content).unwrap();
    fs::write(content.join("file"), "hello").unwrap();
    let made = Command::new("mkfs.erofs").args(["--quiet", "-T0"]).args([&path, &content]).status().unwrap();
    assert!(made.success());
    // 1.5 complains of a wrong checksum, and ends with 0.
    let sound = || {
        let output = Command::new("fsck.erofs").arg(&path).output().unwrap();
        output.status.success() && output.stderr.is_empty()
    };
    assert_eq!(Image::open(&path).unwrap().version, 0);
    set_version(&path, 263).unwrap();
    assert!(sound());
    let summary = append(&path, &Options { fec_roots: 2 }).unwrap();
    assert!(sound() && veritysetup(&path, &summary).status.success());
    assert_eq!(Image::open(&path).unwrap().version, 263);
    flip(&path, 4, 1);
    assert!(!veritysetup(&path, &summary).status.success(), "the root hash covers the version");
    assert_eq!(set_version(&path, 264).unwrap_err().exit_status(), 2, "it has a trailer");
    flip(&path, 1030, 1);
    assert!(!sound(), "fsck.erofs can refuse");
}

#[test]
fn what_is_no_bare_image_gets_no_trailer() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(&folder, 3);
    append(&path, &Options::default()).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(append(&path, &Options::default()).unwrap_err().what.contains("behind its EROFS image"));
    assert!(fs::read(&path).unwrap() == before);
    for bytes in [&b""[..], &[0; 8192], &before[..2 * 4096]] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(append(&path, &Options::default()).unwrap_err().exit_status(), 2);
        assert!(fs::read(&path).unwrap() == bytes);
    }
}

#[test]
fn trailers_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(&folder, 200);
    let good = append(&path, &Options { fec_roots: 2 }).unwrap();
    let refused = |summary: &Summary| {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&summary.seal(b"").unwrap(), good.data_bytes).unwrap();
        Image::open(&path).is_err_and(|error| error.kind == Kind::BadInput)
    };
    assert!(!refused(&good));
    let fec = |start, roots| Summary { fec: Some(trailer::Fec { start, roots }), ..good.clone() };
    for hash_start in [0, 200, 202, u64::MAX] {
        assert!(refused(&Summary { hash_start, ..good.clone() }), "tree at {hash_start}");
    }
    for (start, roots) in [(0, 2), (205, 2), (u64::MAX, 2), (204, 0), (204, 1), (204, 3), (204, 25), (204, u32::MAX)] {
        assert!(refused(&fec(start, roots)), "error correction at {start}, {roots} roots");
    }
    assert!(good.seal(&[0; 4096]).unwrap_err().what.contains("does not fit"));
    assert!(!refused(&good));
    flip(&path, good.data_bytes + 20, 1);
    assert!(check(&path).unwrap_err().what.contains("CRC"));
    flip(&path, good.data_bytes, 1);
    assert!(check(&path).unwrap_err().what.contains("no trailer"));
}
