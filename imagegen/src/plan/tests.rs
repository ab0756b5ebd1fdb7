//! Contents that would lock a target out, and the plan that a good one comes to.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::board::{self, Device, Overlay, Slot};
use crate::tree::{Content, Node};
use std::collections::BTreeMap;
use std::time::Duration;

fn board() -> Board {
    let device = Device::PartName("initoverlayfs".into());
    let source = Source::Partition { device, hint: Some("vda1".into()), deadline: Duration::from_secs(10) };
    Board {
        name: "test".into(),
        architecture: Architecture::Aarch64,
        mode: Mode::Initial,
        handover: None,
        next_init: "/init".into(),
        modules: board::Modules::default(),
        slots: vec![Slot { name: "a".into(), source, pin: true }],
        overlay: Overlay { size_kib: 65536, inodes: 16384 },
        extras: Vec::new(),
        failure: Failure::Reboot,
        image: board::Image { compression: board::ImageCompression::None, cluster: 65536 },
        initramfs: board::Compression::None,
        budget: board::Budget::default(),
        qemu: None,
        files: Vec::new(),
    }
}

fn empty() -> Tree {
    let mut tree = Tree { nodes: BTreeMap::new(), spool: tempfile::tempdir().unwrap() };
    for path in ["/", "/bin", "/dev", "/proc", "/sys", "/run", "/lib", "/etc"] {
        put(&mut tree, path, NodeKind::Directory, 0o755);
    }
    tree
}

fn put(tree: &mut Tree, path: &str, kind: NodeKind, mode: u32) {
    let node = Node { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new() };
    tree.nodes.insert(path.as_bytes().to_vec(), node);
}

fn file(tree: &mut Tree, path: &str, bytes: &[u8], mode: u32) {
    let content = Content { id: tree.nodes.len() as u64, size: bytes.len() as u64, sha256: [0; 32] };
    std::fs::write(tree.content_path(&content), bytes).unwrap();
    put(tree, path, NodeKind::File(content), mode);
}

fn link(tree: &mut Tree, path: &str, target: &str) {
    put(tree, path, NodeKind::Symlink(target.as_bytes().to_vec()), 0o777);
}

/// A 64-bit little-endian ELF program without sections; dynamic if it has an interpreter.
fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    bytes.extend(machine.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    let segments = u16::from(interpreter.is_some());
    bytes.extend([0; 8]);
    bytes.extend((64 * u64::from(segments)).to_le_bytes());
    bytes.extend([0; 12]);
    for half in [64, 56, segments, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    if let Some(path) = interpreter {
        let size = path.len() as u64 + 1;
        bytes.extend([3, 0, 0, 0, 4, 0, 0, 0]);
        for field in [120, 0, 0, size, size, 1] {
            bytes.extend(u64::to_le_bytes(field));
        }
        bytes.extend(path.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn refused(tree: &Tree) -> String {
    let error = resolve(&board(), tree, Vec::new()).unwrap_err();
    assert_eq!(error.kind, crate::Kind::BadInput);
    error.what
}

fn module(name: &str, bytes: Vec<u8>) -> ResolvedModule {
    ResolvedModule {
        name: name.into(),
        source: format!("/x/{name}.ko").into(),
        bytes,
        parameters: String::new(),
        firmware: Vec::new(),
        signed: false,
    }
}

#[test]
fn next_init_must_start() {
    let mut tree = empty();
    assert_eq!(refused(&tree), "next init /init: /init does not exist");
    link(&mut tree, "/init", "/lib/../bin/gone");
    assert_eq!(refused(&tree), "next init /init: /bin/gone does not exist");
    link(&mut tree, "/init", "init");
    assert_eq!(refused(&tree), "next init /init: more than 40 symbolic links, probably a loop");
    link(&mut tree, "/init", "bin");
    assert_eq!(refused(&tree), "next init /init: /bin is no regular file");
    file(&mut tree, "/init", &elf(183, None), 0o644);
    assert_eq!(refused(&tree), "next init /init: /init is not executable (mode 0644)");
    file(&mut tree, "/init", b"hello", 0o755);
    assert_eq!(refused(&tree), "next init /init: /init: neither a script nor an ELF program");
    file(&mut tree, "/init", &elf(62, None), 0o755);
    assert_eq!(refused(&tree), "next init /init: /init: for ELF machine 62, expected 183 (aarch64)");
    file(&mut tree, "/init", b"\x7fELF\x01\x01\x01", 0o755);
    assert!(refused(&tree).starts_with("next init /init: /init: "), "{}", refused(&tree));
    file(&mut tree, "/init", &elf(183, Some("/lib/ld.so")), 0o755);
    assert_eq!(refused(&tree), "next init /init: interpreter of /init: /lib/ld.so does not exist");
    file(&mut tree, "/lib/ld.so", &elf(183, None), 0o755);
    resolve(&board(), &tree, Vec::new()).unwrap();
}

#[test]
fn scripts_need_their_interpreter() {
    let mut tree = empty();
    file(&mut tree, "/init", b"#! /bin/sh -e\nexec", 0o755);
    assert_eq!(refused(&tree), "next init /init: interpreter of /init: /bin/sh does not exist");
    link(&mut tree, "/bin/sh", "busybox");
    file(&mut tree, "/bin/busybox", &elf(183, None), 0o755);
    let plan = resolve(&board(), &tree, Vec::new()).unwrap();
    assert_eq!((plan.handover, plan.free), (Handover::Kernel, Free::Before));
    file(&mut tree, "/init", b"#!\n", 0o755);
    assert!(refused(&tree).contains("names no absolute interpreter"));
    file(&mut tree, "/init", b"#!/init\n", 0o755);
    assert!(refused(&tree).contains("more than 5 interpreters in a row"));
}

#[test]
fn systemd_wants_its_mounts() {
    let mut tree = empty();
    link(&mut tree, "/init", "lib/systemd");
    file(&mut tree, "/lib/systemd", &elf(183, None), 0o755);
    let plan = resolve(&board(), &tree, Vec::new()).unwrap();
    assert_eq!((plan.handover, plan.next_init_target.as_str()), (Handover::Mounted, "/lib/systemd"));
    tree.nodes.remove(&b"/proc"[..]);
    link(&mut tree, "/run", "/dev");
    assert_eq!(refused(&tree), "content: handover \"mounted\" needs directories, missing: /proc, /run");
    let kernel = Board { handover: Some(Handover::Kernel), ..board() };
    assert_eq!(resolve(&kernel, &tree, Vec::new()).unwrap().handover_reason, "the board says so");
}

#[test]
fn modules_and_shell_must_be_for_the_board() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let error = resolve(&board(), &tree, vec![module("m", elf(62, None))]).unwrap_err();
    assert_eq!(error.what, "/x/m.ko: for ELF machine 62, expected 183 (aarch64)");
    let shell = tree.spool.path().join("shell");
    std::fs::write(&shell, elf(183, Some("/lib/ld.so"))).unwrap();
    let with_shell = Board { failure: Failure::Shell(shell.clone()), ..board() };
    assert!(resolve(&with_shell, &tree, Vec::new()).unwrap_err().what.ends_with("not static: wants /lib/ld.so"));
    std::fs::write(&shell, elf(183, None)).unwrap();
    assert_eq!(resolve(&with_shell, &tree, Vec::new()).unwrap().shell(), Some(&shell));
}

#[test]
fn large_initramfs_is_freed_beside_the_next_init() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let mut large = elf(183, None);
    large.resize(8 << 20, 0);
    assert_eq!(resolve(&board(), &tree, vec![module("m", large)]).unwrap().free, Free::Beside);
}

#[test]
fn sealed_plan_opens_as_what_was_resolved() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let mut two = board();
    two.slots.push(Slot { name: "b".into(), source: Source::Initramfs, pin: false });
    let resolved = resolve(&two, &tree, vec![module("m", elf(183, None))]).unwrap();
    let tail = plan::Tail { offset: 4096, crc: 9 };
    let identity = Identity { uuid: [7; 16], tail };
    let sealed = resolved.seal(&[Some(identity), Some(identity)]).unwrap();
    assert_eq!(sealed, resolved.seal(&[Some(identity), None]).unwrap());
    let plan = plan::open(&sealed).unwrap();
    assert_eq!((plan.board, plan.next_init), ("test", "/init"));
    assert_eq!(plan.upper, plan::Upper::Memory("mode=0700,size=65536k,nr_inodes=16384"));
    assert_eq!(plan.modules.into_iter().next().unwrap().path, "/modules/m.ko");
    let slots: Vec<_> = plan.slots.into_iter().collect();
    assert_eq!(slots[0].image, plan::Image::Pinned { uuid: &[7; 16], tail });
    assert_eq!(slots[1].source, plan::Source::Initramfs { path: "/image.erofs" });
    assert_eq!(slots[1].image, plan::Image::Any);
    assert_eq!(resolved.seal(&[None, None]).unwrap_err().what, "plan: slot a is pinned but has no image");
    assert_eq!(resolved.seal(&[]).unwrap_err().what, "plan: 0 images for 2 slots");
}

#[test]
fn plan_that_is_too_large_is_refused() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let long = |index| ResolvedModule { parameters: "x".repeat(1000), ..module(&format!("m{index}"), elf(183, None)) };
    let resolved = resolve(&board(), &tree, (0..40).map(long).collect()).unwrap();
    let error = resolved.seal(&[Some(Identity { uuid: [0; 16], tail: plan::Tail { offset: 0, crc: 0 } })]).unwrap_err();
    assert_eq!(error.what, "plan of board test: does not fit 16384 bytes");
}

#[test]
fn plan_reads_in_the_order_of_the_vocabulary() {
    let mut tree = empty();
    link(&mut tree, "/init", "/lib/systemd");
    file(&mut tree, "/lib/systemd", &elf(183, None), 0o755);
    let mut m = module("virtio_blk", elf(183, None));
    (m.parameters, m.signed) = ("queues=1".into(), true);
    let with_extras = Board { extras: vec!["/etc/extra".into()], ..board() };
    let shown = resolve(&with_extras, &tree, vec![m]).unwrap().to_string();
    let expected = "\
board    test (aarch64)
mode     initial: the image holds an initrd
modules  1, 0.1 KiB
  /modules/virtio_blk.ko queues=1  0.1 KiB, signed
slots    1
  a: partition PARTNAME=initoverlayfs, tried first: vda1, deadline 10s, exactly this image
steps
  early-mounts /dev, /proc, /sys, /run
  modules      load 1 in this order
  device       find the slot's device
  verity       none configured
  mount        EROFS, read-only, superblock checked first
  overlay      tmpfs, 65536 KiB, 16384 inodes
  extras       /etc/extra
  switch-root  mounts moved along (the next init is systemd); initramfs freed before the next init
  exec         /init -> /lib/systemd
failure  next slot, then reboot
";
    assert_eq!(shown, expected);
}
