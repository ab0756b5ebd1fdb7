//! Images installed as files and in place, and what must not be written to.

use super::*;
use crate::verity::tests::{flip, sample};
use std::path::PathBuf;
use tempfile::TempDir;

fn image(folder: &TempDir) -> PathBuf {
    let path = sample(folder, 300);
    verity::append(&path, &verity::Options { fec_roots: 2 }).unwrap();
    path
}

fn verified(path: &Path) -> Result<()> {
    verify::run(path, &verify::Options::default(), &mut Vec::new())
}

#[test]
fn a_file_is_new_or_replaced_and_holds_the_image_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (image(&folder), folder.path().join("slot.erofs"));
    let bytes = run(&path, &target, false).unwrap();
    assert!(fs::read(&target).unwrap() == fs::read(&path).unwrap());
    // From a partition comes no more than the image.
    fs::write(&target, [fs::read(&path).unwrap(), vec![1; 9999]].concat()).unwrap();
    let copy = folder.path().join("copy.erofs");
    assert_eq!(run(&target, &copy, false).unwrap(), bytes);
    run(&copy, &target, false).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), bytes);
    verified(&target).unwrap();
}

#[test]
fn in_place_the_bytes_behind_the_image_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (image(&folder), folder.path().join("partition"));
    fs::write(&target, vec![0x5A; 2 << 20]).unwrap();
    let bytes = run(&path, &target, true).unwrap() as usize;
    let installed = fs::read(&target).unwrap();
    assert!(installed[..bytes] == fs::read(&path).unwrap() && installed[bytes..].iter().all(|byte| *byte == 0x5A));
    assert_eq!(installed.len(), 2 << 20);
    verified(&target).unwrap();
}

#[test]
fn a_damaged_source_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (image(&folder), folder.path().join("partition"));
    let old = vec![0x5A; 2 << 20];
    fs::write(&target, &old).unwrap();
    flip(&path, 200 * 4096, 1);
    for raw in [true, false] {
        assert!(run(&path, &target, raw).unwrap_err().what.contains("byte 819200"));
        assert!(fs::read(&target).unwrap() == old);
    }
    // Without a trailer a folder's manifest vouches for the image.
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::copy(sample(&folder, 9), out.join(manifest::EROFS)).unwrap();
    let mut noted = manifest::Manifest::example();
    noted.note_file(&out, manifest::EROFS).unwrap();
    noted.write(&out).unwrap();
    assert_eq!(run(&out, &target, true).unwrap(), 9 * 4096);
    let old = fs::read(&target).unwrap();
    flip(&out.join(manifest::EROFS), 8 * 4096, 1);
    assert!(run(&out, &target, true).unwrap_err().what.contains("not what manifest.json says"));
    assert!(fs::read(&target).unwrap() == old);
}

#[test]
fn places_that_must_not_be_written_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (image(&folder), folder.path().join("target"));
    let refused = |target: &Path, raw, what: &str| {
        let error = run(&path, target, raw).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains(what), "{error}");
    };
    refused(&target, true, "cannot find");
    refused(folder.path(), false, "is not a file");
    refused(folder.path(), true, "neither a block device nor a file");
    refused(Path::new("/dev/null"), false, "is not a file");
    refused(Path::new("/dev/null"), true, "neither a block device nor a file");
    refused(&path, true, "is the image itself");
    fs::write(&target, vec![0; fs::metadata(&path).unwrap().len() as usize - 1]).unwrap();
    refused(&target, true, "bytes, the image");
    for at in GPT_OFFSETS {
        let mut disk = vec![0; 2 << 20];
        disk[at as usize..][..8].copy_from_slice(b"EFI PART");
        fs::write(&target, &disk).unwrap();
        refused(&target, true, "whole disk");
        assert!(fs::read(&target).unwrap() == disk);
    }
    let mut disk = vec![0; 2 << 20];
    // One partition of type Linux, from 1 MiB on.
    disk[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    fs::write(&target, &disk).unwrap();
    refused(&target, true, "whole disk");
    assert!(fs::read(&target).unwrap() == disk);
}

#[test]
fn what_was_a_fat_file_system_is_no_disk_with_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (image(&folder), folder.path().join("partition"));
    for bits in ["16", "32"] {
        fs::write(&target, vec![0; 64 << 20]).unwrap();
        let made = std::process::Command::new("mkfs.vfat")
            .args(["-F", bits])
            .arg(&target)
            .env("PATH", "/usr/bin:/usr/sbin:/sbin")
            .output();
        assert!(made.expect("mkfs.vfat: tests/setup/apt.sh test").status.success());
        assert_eq!(fs::read(&target).unwrap()[510..512], MBR_SIGNATURE);
        run(&path, &target, true).unwrap();
    }
}

#[test]
fn a_device_that_is_not_there_is_no_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(&folder);
    let link = folder.path().join("devices");
    std::os::unix::fs::symlink("/dev", &link).unwrap();
    for target in
        [PathBuf::from("/dev/no-such-partition"), "/dev/no-such-folder/b".into(), link.join("no-such-partition")]
    {
        let error = run(&path, &target, false).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("cannot find"), "{error}");
        assert!(!target.exists());
    }
    let shared = tempfile::tempdir_in("/dev/shm").unwrap();
    run(&path, &shared.path().join("image"), false).unwrap();
}
