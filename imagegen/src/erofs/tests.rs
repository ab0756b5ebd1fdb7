//! Trees written, read back and compared; and images spoilt on purpose.

use super::*;
use crate::tree::{Node, NodeKind};
use crate::{Kind, input};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::BTreeMap;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn node(kind: NodeKind, mode: u32) -> Node {
    Node { kind, mode, uid: 12345, gid: 54321, xattrs: BTreeMap::new() }
}

/// A tree with one of each, made from an archive of the system's cpio and dressed by hand.
fn tree(spool: &Path) -> Tree {
    let script = "mkdir -p r/bin r/many; cp /bin/true r/bin/true; cp /bin/bash r/bin/; seq 3000 >r/big; : >r/none; head -c 4096 /dev/zero >r/block; \
                  printf x >r/one; ln r/big r/bin/link; for i in $(seq 300); do echo $i >r/many/$i; done; \
                  ln -s ../big r/bin/symlink; cd r; find . | sort | cpio -o -H newc --quiet >../a.cpio";
    let work = folder();
    let status = Command::new("bash").args(["-euc", script]).current_dir(work.path()).status().expect("bash");
    assert!(status.success());
    let mut tree = input::read(&work.path().join("a.cpio"), spool, &mut |_| ()).expect("archive");
    tree.nodes.insert(b"/console".to_vec(), node(NodeKind::CharDevice(5, 1), 0o600));
    tree.nodes.insert(b"/disk".to_vec(), node(NodeKind::BlockDevice(259, 70000), 0o660));
    tree.nodes.insert(b"/fifo".to_vec(), node(NodeKind::Fifo, 0o622));
    tree.nodes.insert(b"/socket".to_vec(), node(NodeKind::Socket, 0o755));
    tree.nodes.insert(b"/sticky".to_vec(), node(NodeKind::Directory, 0o1777));
    tree.nodes.insert(b"/closed".to_vec(), node(NodeKind::Directory, 0o555));
    tree.nodes.insert(b"/closed/in".to_vec(), node(NodeKind::Symlink(b"nowhere".to_vec()), 0o777));
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for path in ["/bin/true", "/one"] {
        let node = tree.nodes.get_mut(path.as_bytes()).expect("there");
        node.xattrs.insert(b"security.capability".to_vec(), capability.clone());
        node.mode = 0o4755;
        node.uid = 12345;
    }
    tree
}

fn options() -> Vec<Options> {
    let compressed =
        Options { compression: Some("lz4hc,9".to_owned()), cluster_bytes: Some(65536), ..Options::default() };
    let first = ["/bin/link", "/many/7", "/nowhere", "/sticky"].map(|path| path.as_bytes().to_vec()).to_vec();
    let ordered = Options { first, ..Options::default() };
    let mapped = Options { dax: true, ..ordered.clone() };
    let both = Options { first: ordered.first.clone(), ..compressed.clone() };
    let small = Options { compression: Some("lz4".to_owned()), cluster_bytes: Some(4096), ..both.clone() };
    let bash = vec![b"/bin/bash".to_vec()];
    let left = Options { first: bash.clone(), left: bash, ..both.clone() };
    let dax = Options { dax: true, ..Options::default() };
    vec![Options::default(), dax, ordered, mapped, compressed, both, small, left]
}

/// Device nodes need privilege. Where there is none, `everything_under_fakeroot` runs these tests with it.
fn is_privileged() -> bool {
    let path = folder();
    let made = mknod(&path.path().join("n"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).is_ok();
    assert!(made || std::env::var_os("FAKEROOTKEY").is_none(), "fakeroot gives no privilege");
    made
}

#[test]
fn every_node_survives_and_the_bytes_are_equal() {
    if !is_privileged() {
        return;
    }
    for options in options() {
        let mut images = Vec::new();
        let spool = folder();
        for name in ["a", "b"] {
            let tree = tree(spool.path());
            let out = spool.path().join(name);
            let summary = write(&tree, &options, &out, &mut |_| ()).expect("write");
            verify(&tree, &out).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            let checked = Command::new("fsck.erofs").arg(&out).output().expect("fsck.erofs");
            assert!(checked.status.success(), "{options:?}: {}", String::from_utf8_lossy(&checked.stderr));
            let bytes = fs::read(&out).expect("image");
            assert_eq!(summary.bytes, bytes.len() as u64);
            let end = bytes.chunks(512).rposition(|sector| sector != [0; 512]).unwrap();
            let tail = Tail { offset: end as u64 * 512, crc: crc32(&bytes[end * 512..end * 512 + 512]) };
            assert_eq!(summary.tail, tail);
            assert_eq!(summary.uuid, bytes[1024 + 48..1024 + 64]);
            let mut content = Vec::new();
            cat(&out, b"/bin/link", &mut content).expect("cat");
            assert_eq!(content.len(), 13893);
            let is_packed = entries_are_packed(&out);
            assert_eq!(is_packed, options.compression.is_some() && options.left.is_empty(), "{options:?}");
            assert_eq!(cat(&out, b"/console", &mut content).expect_err("device").kind, Kind::BadInput);
            images.push(bytes);
        }
        assert!(images[0] == images[1], "{options:?}: same input, same bytes");
    }
}

/// Whether the large program of the image is compressed.
fn entries_are_packed(path: &Path) -> bool {
    let image = image::Image::open(path).expect("image");
    let inodes = verify::walk(&image).expect("inodes");
    image::Image::is_compressed(inodes.get(&b"/bin/bash"[..]).expect("there"))
}

#[test]
fn differences_are_named() {
    if !is_privileged() {
        return;
    }
    let spool = folder();
    let mut tree = tree(spool.path());
    let out = spool.path().join("image");
    write(&tree, &Options::default(), &out, &mut |_| ()).expect("write");
    let says = |tree: &Tree, what: &str| {
        let error = verify(tree, &out).expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    };
    let fifo = tree.nodes.remove(&b"/fifo"[..]).expect("there");
    says(&tree, "`/fifo` is too many");
    tree.nodes.insert(b"/fifo".to_vec(), Node { uid: 1, ..fifo.clone() });
    says(&tree, "`/fifo` has another mode or owner");
    tree.nodes.insert(b"/fifo".to_vec(), Node { kind: NodeKind::CharDevice(1, 2), ..fifo.clone() });
    says(&tree, "`/fifo` is of another type");
    tree.nodes.insert(b"/fifo".to_vec(), fifo.clone());
    tree.nodes.insert(b"/more".to_vec(), fifo);
    says(&tree, "`/more` is missing");
    tree.nodes.remove(&b"/more"[..]);
    let link = tree.nodes.get(&b"/big"[..]).cloned().expect("there");
    let NodeKind::File(mut other) = link.kind.clone() else { panic!("no file") };
    other.id = 999_999;
    tree.nodes.insert(b"/big".to_vec(), Node { kind: NodeKind::File(other), ..link.clone() });
    says(&tree, "has other hard links");
    tree.nodes.insert(b"/big".to_vec(), link);
    tree.nodes.get_mut(&b"/one"[..]).expect("there").xattrs.clear();
    says(&tree, "`/one` has other extended attributes");
}

#[test]
fn spoilt_images_are_refused_without_a_panic() {
    if !is_privileged() {
        return;
    }
    let spool = folder();
    let tree = tree(spool.path());
    let out = spool.path().join("image");
    write(&tree, &Options::default(), &out, &mut |_| ()).expect("write");
    let bytes = fs::read(&out).expect("image");
    for length in [0, 1024, 1100, 4096, bytes.len() / 2, bytes.len() - 4096] {
        fs::write(&out, &bytes[..length]).expect("write");
        assert!(verify(&tree, &out).is_err(), "cut to {length}");
    }
    for at in (1024..bytes.len().min(60_000)).step_by(97) {
        let mut bytes = bytes.clone();
        // Without a checksum, which would stand in front of all else.
        bytes[1032] &= !1;
        bytes[at] ^= 0xff;
        fs::write(&out, &bytes).expect("write");
        // Some bytes belong to nothing.
        let _ = verify(&tree, &out);
    }
}

#[test]
fn damage_is_called_damage_and_names_the_image() {
    if !is_privileged() {
        return;
    }
    let spool = folder();
    for options in options() {
        let tree = tree(spool.path());
        let out = spool.path().join("image");
        write(&tree, &options, &out, &mut |_| ()).expect("write");
        let bytes = fs::read(&out).expect("image");
        let refused = |bytes: &[u8], cause: &str| {
            fs::write(&out, bytes).expect("write");
            let error = list(&out).expect_err(cause);
            let text = error.to_string();
            assert!(error.kind == Kind::BadInput && text.contains(cause), "{text}");
            assert!(text.starts_with(out.to_str().unwrap()) && !text.contains("unpacked"), "{text}");
        };
        for at in 1060..1072 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            refused(&bytes, "damaged");
        }
        for length in [1100, 4096, bytes.len() / 2, bytes.len() - 1] {
            refused(&bytes[..length], "truncated");
        }
        // Behind the block with the checksum: any answer but one that names what was unpacked.
        for at in (4096..bytes.len()).step_by(bytes.len() / 12) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            fs::write(&out, &bytes).expect("write");
            if let Err(error) = list(&out) {
                let text = error.to_string();
                assert!(text.contains(out.to_str().unwrap()) && !text.contains("unpacked-"), "byte {at}: {text}");
                assert_eq!(error.kind, Kind::BadInput, "byte {at}: {text}");
            }
        }
    }
}

#[test]
fn the_longest_names_are_tried_on_the_tool() {
    let spool = folder();
    let script = "mkdir r; : >r/$(printf 'n%.0s' $(seq 255)); cd r; find . | cpio -o -H newc --quiet >../a.cpio";
    let work = folder();
    assert!(Command::new("bash").args(["-euc", script]).current_dir(work.path()).status().expect("bash").success());
    let tree = input::read(&work.path().join("a.cpio"), spool.path(), &mut |_| ()).expect("archive");
    let tool = Tool::probe().expect("mkfs.erofs");
    let tried = tool.require_names(&tree, spool.path());
    if tool.version == "1.5" {
        let error = tried.expect_err("255 bytes");
        assert_eq!(error.kind, Kind::BadInput);
        assert!(error.what.contains("nnn`: a name of 255 bytes, mkfs.erofs 1.5 takes at most 254"), "{error}");
    }
    assert_eq!(fs::read_dir(spool.path()).expect("spool").count(), 1, "the tree's own spool alone");
}

#[test]
fn the_tools_words_are_one_line() {
    let said = b"\n<W> erofs: a warning\n<E> erofs: first thing\n<E> erofs: \tCould not  format: [Error 2] No\n\n";
    assert_eq!(tool::errors(said), "erofs: first thing; erofs: Could not format: [Error 2] No");
    assert_eq!(tool::errors(b"usage: x\nbad option\n"), "bad option");
    let kind = |kind: std::io::ErrorKind| tool::unusable("mkfs.erofs")(kind.into()).hint;
    assert!(kind(std::io::ErrorKind::PermissionDenied).contains("may not be executed"));
    assert!(kind(std::io::ErrorKind::NotFound).starts_with("apt-get install erofs-utils"));
}

/// As root, and as a user without rights under fakeroot, which lists attributes in another order.
#[test]
fn attributes_have_one_order() {
    let build = |folder: &Path| {
        let mut tree = tree(folder);
        let more: [(&[u8], &[u8]); 3] = [(b"trusted.t", b"1"), (b"user.b", b"second"), (b"user.a", b"first")];
        for path in ["/bin/true", "/one", "/block", "/none"] {
            let xattrs = &mut tree.nodes.get_mut(path.as_bytes()).expect("there").xattrs;
            xattrs.extend(more.map(|(name, value)| (name.to_vec(), value.to_vec())));
            xattrs.insert(b"user.own".to_vec(), path.as_bytes().to_vec());
        }
        let out = folder.join("image");
        write(&tree, &Options::default(), &out, &mut |_| ()).expect("write");
        verify(&tree, &out).expect("verify");
        out
    };
    // The same test, run by a user without rights.
    if let Some(out) = std::env::var_os("IMAGEGEN_TEST_IMAGE") {
        let spool = folder();
        fs::copy(build(spool.path()), out).expect("copy");
        return;
    }
    if !nix::unistd::geteuid().is_root() || !is_privileged() {
        return;
    }
    let spool = folder();
    let ours = fs::read(build(spool.path())).expect("image");
    let folder = folder();
    let copy = folder.path().join("program");
    fs::copy(std::env::current_exe().expect("program"), &copy).expect("copy");
    let open = |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    open(folder.path(), 0o777).and_then(|()| open(&copy, 0o755)).expect("permissions");
    let theirs = folder.path().join("image");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "fakeroot", "--"])
        .arg(&copy)
        .args(["--exact", "erofs::tests::attributes_have_one_order"])
        .env("IMAGEGEN_TEST_IMAGE", &theirs)
        .current_dir("/")
        .output()
        .expect("setpriv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(ours == fs::read(&theirs).expect("image"), "the same tree, the same bytes");
}

#[test]
fn options_are_checked_against_the_tool() {
    let tool = Tool::probe().expect("mkfs.erofs");
    assert!(tool.algorithms().contains(&"lz4hc"), "{:?}", tool.algorithms());
    let error = tool.require_compression("brotli,3").expect_err("brotli").to_string();
    assert!(error.contains("brotli") && error.contains("lz4hc") && error.contains(&tool.version), "{error}");
}

#[test]
fn everything_under_fakeroot() {
    // As root already: a user without rights runs this very test program, privileged tests alone, under fakeroot.
    if std::env::var_os("FAKEROOTKEY").is_some() {
        return;
    }
    let program = std::env::current_exe().expect("program");
    let is_root = nix::unistd::geteuid().is_root();
    let folder = folder();
    let copy = folder.path().join("program");
    fs::copy(program, &copy).expect("copy");
    let open = |path: &Path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    open(folder.path()).and_then(|()| open(&copy)).expect("permissions");
    let mut command = if is_root { Command::new("setpriv") } else { Command::new("fakeroot") };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "fakeroot"]);
    }
    let output = command
        .arg("--")
        .arg(&copy)
        .args(["erofs::tests::every", "--test-threads=1"])
        .current_dir("/")
        .output()
        .expect("fakeroot");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("test erofs::tests::every_node_survives_and_the_bytes_are_equal ... ok"), "{said}");
}
