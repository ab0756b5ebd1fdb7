use super::*;
use crate::board::Architecture;
use crate::initramfs::{Body, Initramfs};
use crate::manifest::{EROFS, INITRAMFS, KERNEL};
use bootstrap::plan::{Device, Free, Handover, Holder, Image, List, Mode, Plan, Policy, Slot, Upper, Wanted};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command as Process;

/// A sealed plan whose only slot has its image in a deployment, or at a path.
fn sealed(path: FilePath<'_>) -> Vec<u8> {
    let device = Wanted {
        device: Device::PartName("sysroot"),
        words: "PARTNAME=sysroot",
        hint: None,
        deadline_ms: 1,
        lun: None,
    };
    let source = Source::File { holder: Holder { device, kind: "ext4", options: "" }, path };
    let mut buffers = [(); 3].map(|()| vec![0; plan::MAX_BYTES]);
    let [modules, slots, extras] = &mut buffers;
    let plan = Plan {
        board: "example",
        mode: Mode::Initial,
        handover: Handover::Mounted,
        next_init: "/init",
        modules: List::encode([], modules).unwrap(),
        slots: List::encode([Slot { name: "a", source, image: Image::Any }], slots).unwrap(),
        upper: Upper::Memory(""),
        extras: List::encode([], extras).unwrap(),
        free: Free::Before,
        ahead: None,
        watchdog: None,
        on_failure: Policy::Reboot,
    };
    let mut buffer = vec![0; plan::MAX_BYTES];
    plan::seal(&plan, &mut buffer).unwrap().to_vec()
}

/// A folder as `build` makes it.
fn built(path: FilePath<'_>, kernel: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Initramfs::new(Body::Bytes(crate::elf::tests::elf(Architecture::Aarch64, 2)));
    archive.add(plan::PATH, 0o600, Body::Bytes(sealed(path))).unwrap();
    let mut bytes = Vec::new();
    archive.write(crate::board::Compression::None, &mut bytes).unwrap();
    fs::write(folder.path().join(INITRAMFS), bytes).unwrap();
    fs::write(folder.path().join(EROFS), vec![5; 70_000]).unwrap();
    let mut manifest = Manifest::example();
    let mut names = vec![INITRAMFS, EROFS];
    if kernel {
        fs::write(folder.path().join(KERNEL), "a kernel").unwrap();
        names.push(KERNEL);
    }
    names.iter().for_each(|name| manifest.note_file(folder.path(), name).unwrap());
    manifest.write(folder.path()).unwrap();
    folder
}

/// A tree with folders of releases, `+` in front of those with a kernel.
fn tree(releases: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for release in releases {
        let folder = root.path().join(MODULES).join(release.trim_start_matches('+'));
        fs::create_dir_all(&folder).unwrap();
        if release.starts_with('+') {
            fs::write(folder.join(VMLINUZ), "theirs").unwrap();
        }
    }
    root
}

fn into_tree(built: &Path, root: &Path, release: Option<&str>) -> Result<String> {
    let target = Target::Tree(root.to_owned());
    run(&Request { folder: built.to_owned(), release: release.map(str::to_owned), target })
}

#[test]
fn a_tree_gets_the_files_beside_its_kernel() {
    let (built, root) = (built(FilePath::Ostree, false), tree(&["5.0", "+6.1"]));
    let said = into_tree(built.path(), root.path(), None).unwrap();
    let place = root.path().join(MODULES).join("6.1");
    assert_eq!(said.lines().count(), 2, "{said}");
    for name in [INITRAMFS, EROFS] {
        assert!(fs::read(place.join(name)).unwrap() == fs::read(built.path().join(name)).unwrap(), "{name}");
        assert_eq!(fs::metadata(place.join(name)).unwrap().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_to_string(place.join(VMLINUZ)).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
    // Again, over what is there; and with a kernel of its own.
    let own = self::built(FilePath::Ostree, true);
    assert_eq!(into_tree(own.path(), root.path(), Some("6.1")).unwrap().lines().count(), 3);
    assert_eq!(fs::read_to_string(place.join(VMLINUZ)).unwrap(), "a kernel");
}

#[test]
fn which_kernel_it_is_for_is_never_guessed() {
    let (without, with) = (built(FilePath::Ostree, false), built(FilePath::Ostree, true));
    let cases: [(&[&str], Option<&str>, [&str; 2]); 8] = [
        (&[], None, ["no folder of a kernel's release", "no folder of a kernel's release"]),
        (&["6.1"], None, ["6.1/vmlinuz is missing", ""]),
        (&["6.1", "6.12"], None, ["more than one release: 6.1, 6.12", "more than one release: 6.1, 6.12"]),
        (&["+6.1", "+6.12"], None, ["more than one release: 6.1, 6.12", "more than one release: 6.1, 6.12"]),
        (&["+6.1", "6.12"], Some("6.12"), ["a kernel of 6.1 too", "a kernel of 6.1 too"]),
        (&["6.1"], Some("6.12"), ["6.12/vmlinuz is missing", ""]),
        (&["+6.1"], Some("../6.1"), ["is no kernel's release", "is no kernel's release"]),
        (&["+6.1"], Some(""), ["is no kernel's release", "is no kernel's release"]),
    ];
    for (releases, wanted, expected) in cases {
        for (built, expected) in [&without, &with].into_iter().zip(expected) {
            match into_tree(built.path(), tree(releases).path(), wanted) {
                Ok(_) => assert_eq!(expected, "", "{releases:?} {wanted:?}"),
                Err(error) => {
                    assert!(!expected.is_empty() && error.what.contains(expected), "{releases:?} {wanted:?}: {error}");
                    assert_eq!(error.exit_status(), 2);
                }
            }
        }
    }
}

#[test]
fn a_tree_is_not_left_by_a_link() {
    let (built, root, other) = (built(FilePath::Ostree, true), tempfile::tempdir().unwrap(), tree(&["+6.1"]));
    fs::create_dir_all(root.path().join("usr/lib")).unwrap();
    symlink(other.path().join(MODULES), root.path().join(MODULES)).unwrap();
    let error = into_tree(built.path(), root.path(), None).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("leads out of"), "{error}");
    let third = tree(&[]);
    fs::create_dir_all(third.path().join(MODULES)).unwrap();
    symlink(other.path().join(MODULES).join("6.1"), third.path().join(MODULES).join("6.1")).unwrap();
    let error = into_tree(built.path(), third.path(), Some("6.1")).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("leads out of"), "{error}");
    let link = other.path().join(MODULES).join("6.1").join(EROFS);
    symlink(built.path().join(EROFS), &link).unwrap();
    let error = into_tree(built.path(), other.path(), None).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("is a link"), "{error}");
}

#[test]
fn folders_for_another_source_and_damaged_ones_are_refused() {
    let root = tree(&["+6.1"]);
    let other = built(FilePath::At("/boot/initoverlayfs.erofs"), false);
    let error = into_tree(other.path(), root.path(), None).unwrap_err();
    assert!(error.exit_status() == 2 && error.hint.contains("source = \"ostree\""), "{error}");
    let damaged = built(FilePath::Ostree, false);
    fs::write(damaged.path().join(EROFS), vec![6; 70_000]).unwrap();
    let error = into_tree(damaged.path(), root.path(), None).unwrap_err();
    assert!(error.exit_status() == 1 && error.what.contains("not what manifest.json says"), "{error}");
    let file = damaged.path().join(EROFS);
    assert_eq!(into_tree(built(FilePath::Ostree, false).path(), &file, None).unwrap_err().exit_status(), 2);
    assert_eq!(fs::read_dir(root.path().join(MODULES).join("6.1")).unwrap().count(), 1);
}

#[test]
fn what_ostree_lists_is_read() {
    let found = |release: &str, has_kernel| Found { release: release.to_owned(), has_kernel };
    let paths = b"/usr/lib/modules\0/usr/lib/modules/6.1\0/usr/lib/modules/6.1/vmlinuz\0/usr/lib/modules/6.12\0\
                  /usr/lib/modules/6.12/vmlinuz.old\0/etc/passwd\0\xFF\0";
    assert_eq!(releases(paths), [found("6.1", true), found("6.12", false)]);
    assert_eq!(releases(b""), []);
}

proptest::proptest! {
    #[test]
    fn any_list_is_read_without_panic(paths in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        releases(&paths);
        let mut below = b"/usr/lib/modules/".to_vec();
        below.extend(paths);
        releases(&below);
    }
}

/// `ostree` in a repository; what it said.
fn ostree(repo: &Path, arguments: &[&str]) -> String {
    let output = Process::new("ostree").arg(format!("--repo={}", repo.display())).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ostree {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_commit_differs_in_these_files_alone() {
    let (built, root, place) = (built(FilePath::Ostree, false), tree(&["+6.1"]), tempfile::tempdir().unwrap());
    let repo = place.path().join("repo");
    // What must stay as it is: odd modes, and what stands for a security label where only root can set one.
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    fs::write(root.path().join("usr/bin/su"), "su").unwrap();
    fs::write(root.path().join(MODULES).join("6.1").join(INITRAMFS), "theirs").unwrap();
    for (path, mode) in [("usr/bin/su", 0o4755), (MODULES, 0o711)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(root.path().join(path), mode).unwrap();
    }
    xattr::set(root.path().join("usr/lib"), "user.label", b"lib_t").unwrap();
    ostree(&repo, &["init", "--mode=archive"]);
    let tree = format!("--tree=dir={}", root.path().display());
    let before = ostree(&repo, &["commit", "-b", "os", "--owner-uid=7", "--owner-gid=8", &tree]);
    let commit = |branch: &str, base: Option<&str>, arguments: &[&str]| {
        let arguments = arguments.iter().map(OsString::from).collect();
        let commit = Commit { repo: repo.clone(), branch: branch.into(), base: base.map(str::to_owned), arguments };
        run(&Request { folder: built.path().to_owned(), release: None, target: Target::Commit(commit) })
    };
    let said = commit("os", None, &["--add-metadata-string=version=2"]).unwrap();
    let after = ostree(&repo, &["rev-parse", "os"]);
    assert_eq!(said, format!("commit {after}"));
    assert_eq!(ostree(&repo, &["rev-parse", "os^"]), before);
    assert_eq!(ostree(&repo, &["show", "--print-metadata-key=version", "os"]).trim(), "'2'");
    assert_eq!(ostree(&repo, &["show", "--print-metadata-key=ostree.linux", "os"]).trim(), "'6.1'");
    let lines = |commit: &str| -> Vec<String> {
        ostree(&repo, &["ls", "-R", "-X", commit.trim()]).lines().map(str::to_owned).collect()
    };
    let is_ours = |line: &&String| [INITRAMFS, EROFS].iter().any(|name| line.ends_with(name));
    let rest = |lines: &[String]| lines.iter().filter(|line| !is_ours(line)).cloned().collect::<Vec<_>>();
    let (before, after) = (lines(&before), lines(&after));
    assert_eq!(rest(&before), rest(&after));
    assert!(before.iter().any(|line| line.contains("user.label") || line.contains("0x75")), "{before:#?}");
    let ours: Vec<&String> = after.iter().filter(is_ours).collect();
    assert!(ours.len() == 2 && ours.iter().all(|line| line.starts_with("-00600 0 0 ")), "{ours:?}");
    // On another branch, from a commit.
    commit("other", Some("os^"), &[]).unwrap();
    assert_eq!(lines("other"), after);
    for (branch, base) in [("none", None), ("os", Some("none"))] {
        let error = commit(branch, base, &[]).unwrap_err();
        assert!(error.exit_status() == 2 && error.hint.contains("a branch or commit of"), "{error}");
    }
}

#[test]
fn a_kernel_is_not_put_to_another_release() {
    let (built, root) = (built(FilePath::Ostree, true), tree(&["+6.1"]));
    let kernel = built.path().join(KERNEL);
    fs::write(&kernel, b"MZ\0Linux version %s\0Linux version 6.2-x (builder@host) #1\0").unwrap();
    let mut manifest = manifest::read(built.path()).unwrap();
    manifest.note_file(built.path(), KERNEL).unwrap();
    manifest.write(built.path()).unwrap();
    let error = into_tree(built.path(), root.path(), None).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert!(
        error.what.contains("is 6.2-x, and usr/lib/modules/6.1") && error.hint.contains("--release 6.2-x"),
        "{error}"
    );
    assert_eq!(fs::read(root.path().join("usr/lib/modules/6.1/vmlinuz")).unwrap(), b"theirs");
    let root = tree(&["6.1"]);
    into_tree(built.path(), root.path(), Some("6.2-x")).unwrap();
    assert!(root.path().join("usr/lib/modules/6.2-x/vmlinuz").exists());
}
