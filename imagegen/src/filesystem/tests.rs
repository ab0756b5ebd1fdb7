//! Every file system, checked and read back by its own tools.

use super::*;
use FileSystem::{Btrfs, Ext4, F2fs, Vfat, Xfs};
use std::process::Command;

const ALL: [FileSystem; 5] = [Ext4, Vfat, F2fs, Xfs, Btrfs];
const BLOCK: usize = 4096;

/// Runs a checker and says what it said if it fails.
fn run(words: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(words[0]).args(&words[1..]).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// A file of `blocks` blocks of which no two are alike, and one byte more.
fn content(folder: &Path, name: &str, blocks: u32) -> PathBuf {
    let path = folder.join(name);
    let block = |number: u32| {
        let digest: [u8; 32] = Sha256::new().chain_update(name).chain_update(number.to_le_bytes()).finalize().into();
        digest.repeat(BLOCK / 32)
    };
    let mut bytes: Vec<u8> = (0..blocks).flat_map(block).collect();
    bytes.push(b'!');
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A nested file, one beside it and one at the top.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let file = |path: &str, name, blocks| (path.to_owned(), content(folder, name, blocks));
    vec![
        file("/boot/deep/er/initoverlayfs.erofs", "a", 3000),
        file("/boot/b-with-a-long-name.erofs", "b", 10),
        file("/top", "c", 0),
    ]
}

fn is_clean(kind: FileSystem, image: &str) {
    let said = match kind {
        Ext4 => run(&["e2fsck", "-fn", image]),
        Vfat => run(&["fsck.vfat", "-n", image]),
        F2fs => run(&["fsck.f2fs", "--dry-run", image]),
        Xfs => run(&["xfs_repair", "-n", image]),
        Btrfs => run(&["btrfs", "check", image]),
    };
    assert!(!said.contains("[Fail]"), "{said}");
}

/// In how many pieces a file lies in an image, each piece whole blocks in a row.
fn pieces(image: &[u8], file: &[u8]) -> usize {
    let (blocks, end) = file.as_chunks::<BLOCK>();
    let sectors: std::collections::HashMap<&[u8], usize> =
        image.chunks_exact(512).enumerate().rev().map(|(number, sector)| (sector, number)).collect();
    let mut next = None;
    let mut count = 0;
    for block in blocks {
        let at = sectors[&block[..512]] * 512;
        assert!(&image[at..at + BLOCK] == block);
        count += usize::from(next != Some(at));
        next = Some(at + BLOCK);
    }
    assert_eq!(&image[next.unwrap()..][..end.len()], end);
    count
}

fn read_back(kind: FileSystem, image: &str, path: &str, folder: &Path) -> Option<Vec<u8>> {
    let to = folder.join("back");
    let _ = std::fs::remove_file(&to);
    let name = to.to_str().unwrap();
    match kind {
        Ext4 => run(&["debugfs", "-R", &format!("dump {path} {name}"), image]),
        Vfat => run(&["mcopy", "-i", image, &format!("::{path}"), name]),
        Btrfs => {
            let tree = folder.join("restored");
            run(&["btrfs", "restore", "-o", image, tree.to_str().unwrap()]);
            return Some(std::fs::read(tree.join(&path[1..])).unwrap());
        }
        // Their tools read no file out of an image without asking; `pieces` has found its bytes.
        F2fs | Xfs => return None,
    };
    Some(std::fs::read(to).unwrap())
}

fn holds_its_files(kind: FileSystem) {
    let folder = tempfile::tempdir().unwrap();
    let (files, image) = (files(folder.path()), folder.path().join("image"));
    write(kind, &files, "DATA", None, &image).unwrap();
    let name = image.to_str().unwrap();
    is_clean(kind, name);
    assert!(run(&["blkid", "-p", "-o", "export", name]).contains("LABEL=DATA\nUUID="));
    assert_eq!(std::fs::metadata(&image).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&image).unwrap();
    assert_eq!(bytes.len() as u64 % MIB, 0);
    std::fs::create_dir(folder.path().join("restored")).unwrap();
    for (path, file) in files {
        let expected = std::fs::read(&file).unwrap();
        if expected.len() > BLOCK {
            let most = match kind {
                Ext4 | Vfat | Xfs => 1,
                F2fs => 2,
                Btrfs => 3,
            };
            let pieces = pieces(&bytes, &expected);
            assert!(pieces <= most, "{path}: {pieces} pieces");
        }
        if let Some(found) = read_back(kind, name, &path, folder.path()) {
            assert!(found == expected, "{path}");
        }
    }
}

#[test]
fn ext4_holds_its_files() {
    holds_its_files(Ext4);
}

#[test]
fn vfat_holds_its_files() {
    holds_its_files(Vfat);
}

#[test]
fn f2fs_holds_its_files() {
    holds_its_files(F2fs);
}

#[test]
fn xfs_holds_its_files() {
    holds_its_files(Xfs);
}

#[test]
fn btrfs_holds_its_files() {
    holds_its_files(Btrfs);
}

#[test]
fn empty_ones_are_clean_and_labelled() {
    for kind in ALL {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let bytes = least(kind, 0) + 3 * MIB;
        write(kind, &[], "", Some(bytes), &image).unwrap();
        assert_eq!(std::fs::metadata(&image).unwrap().len(), bytes);
        is_clean(kind, image.to_str().unwrap());
    }
}

fn step() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 2
}

#[test]
fn twice_the_same_bytes() {
    for kind in [Ext4, Vfat, F2fs] {
        let mut seen = None;
        let images = [0_u64, 5_000_000].map(|touched| {
            // FAT counts in steps of two seconds.
            while seen == Some(step()) {
                std::thread::yield_now();
            }
            seen = Some(step());
            let folder = tempfile::tempdir().unwrap();
            let files = files(folder.path());
            // Neither the host's times nor its modes are in it.
            let file = std::fs::File::options().write(true).open(&files[0].1).unwrap();
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(touched);
            file.set_times(std::fs::FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(if touched == 0 { 0o600 } else { 0o755 })).unwrap();
            let image = folder.path().join("image");
            write(kind, &files, "DATA", None, &image).unwrap();
            std::fs::read(image).unwrap()
        });
        assert!(images[0] == images[1], "{kind:?}");
    }
}

#[test]
fn the_least_size_is_enough() {
    for kind in ALL {
        for blocks in [0, 10_000, 20_000] {
            let folder = tempfile::tempdir().unwrap();
            let file = content(folder.path(), "a", blocks);
            let image = folder.path().join("image");
            write(kind, &[("/a".into(), file.clone())], "", None, &image).unwrap();
            is_clean(kind, image.to_str().unwrap());
        }
    }
}

#[test]
fn what_it_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = content(folder.path(), "a", 1);
    let image = folder.path().join("image");
    let refused = |kind, paths: &[&str], label, bytes| {
        let files: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), file.clone())).collect();
        let error = write(kind, &files, label, bytes, &image).unwrap_err();
        assert_eq!(error.exit_status(), 2, "{error}");
        assert!(!image.exists());
    };
    for path in ["a", "/", "/a/", "/a//b", "/../a", "/a\nb"] {
        refused(Ext4, &[path], "", None);
    }
    refused(Ext4, &["/a", "/a/b"], "", None);
    refused(Ext4, &["/a/b", "/a"], "", None);
    refused(Ext4, &["/a", "/a"], "", None);
    refused(Vfat, &["/a?"], "", None);
    refused(Xfs, &["/a b"], "", None);
    refused(Vfat, &["/a"], "lower", None);
    refused(Xfs, &["/a"], "LONGER-THAN-12", None);
    refused(Ext4, &["/a"], "", Some(MIB));
    let missing = [("/a".to_owned(), folder.path().join("missing"))];
    assert_eq!(write(Ext4, &missing, "", None, &image).unwrap_err().exit_status(), 2);
}

#[test]
fn ext4_takes_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = content(folder.path(), "a", 1);
    let image = folder.path().join("image");
    write(Ext4, &[("/with space/\"quoted\" $1".into(), file)], "", None, &image).unwrap();
    assert!(run(&["debugfs", "-R", "ls \"/with space\"", image.to_str().unwrap()]).contains("\"quoted\" $1"));
}

#[test]
fn a_missing_tool_names_its_package() {
    let error = Tool::new("mkfs.nonexistent", "nonexistent-progs").run().unwrap_err();
    assert_eq!((error.exit_status(), error.hint.as_str()), (1, "apt-get install nonexistent-progs"));
    let error = Tool::new("mke2fs", "e2fsprogs").arg("/nonexistent/folder/image").run().unwrap_err();
    assert_eq!(error.exit_status(), 1, "{error}");
}

/// Holes would be pieces, and each costs time at the first read.
#[test]
fn ext4_has_no_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (file, image) = (folder.path().join("file"), folder.path().join("ext4"));
    let content: Vec<u8> = (0..400_001).map(|at| if at / 4096 % 2 == 0 { 1 } else { 0 }).collect();
    std::fs::write(&file, &content).unwrap();
    write(Ext4, &[("/file".into(), file)], "", None, &image).unwrap();
    let said = Tool::new("debugfs", "e2fsprogs").args(["-R", "dump_extents -l /file"]).arg(&image).output().unwrap();
    let pieces: Vec<Piece> = said[0].lines().filter_map(Piece::parse).collect();
    assert!(matches!(pieces.as_slice(), [Piece { blocks: 98, .. }]), "{said:?}");
}
