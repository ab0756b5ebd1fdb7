//! Contents that would lock a target out, and the plan that a good one comes to.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::board::{self, Device, FilePath, FileSystem, Holder, Method, OnCorruption, Wanted};
use crate::tree::{Content, Node};
use bootstrap::plan;
use std::collections::BTreeMap;
use std::time::Duration;

fn wanted(name: &str) -> Wanted {
    Wanted { device: Device::PartName(name.into()), hint: None, deadline: Duration::from_secs(10), lun: None }
}

fn slot(name: &str, source: Source) -> Slot {
    Slot { name: name.into(), source, image: ImageName::Main, pin: true }
}

fn board() -> Board {
    let source = Source::Partition(Wanted { hint: Some("vda1".into()), ..wanted("initoverlayfs") });
    Board {
        name: "test".into(),
        architecture: Architecture::Aarch64,
        mode: Mode::Initial,
        handover: None,
        next_init: "/init".into(),
        modules: board::Modules::default(),
        slots: vec![slot("a", source)],
        verity: Verity { method: Method::None, on_corruption: OnCorruption::Error, fec_roots: 0, version: 0 },
        overlay: Overlay::Memory { size_kib: 65536, inodes: 16384 },
        extras: Vec::new(),
        watchdog: None,
        failure: Failure::Reboot,
        image: board::Image { compression: board::ImageCompression::None, cluster: 65536, leave_used: false },
        initramfs: board::Compression::None,
        budget: board::Budget::default(),
        bootloader: board::Bootloader::default(),
        qemu: None,
        hardware: None,
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

#[test]
fn what_cannot_leave_an_overlay_is_replaced() {
    let leaving = |tree: &Tree| leave::find(tree, "/init", Architecture::Aarch64);
    let mut tree = empty();
    file(&mut tree, "/init", b"#!/bin/sh\nexec run-init /root /sbin/init\n", 0o755);
    assert_eq!(leaving(&tree), Leaving::default());
    file(&mut tree, "/bin/run-init", b"\x7fELF", 0o755);
    // The same folder by another name.
    link(&mut tree, "/sbin", "bin");
    assert_eq!(leaving(&tree).replaced, ["/bin/run-init"]);
    // Somebody's own.
    file(&mut tree, "/bin/run-init", b"#!/bin/sh\n", 0o755);
    assert_eq!(leaving(&tree), Leaving::default());
    // Not used.
    let mut tree = empty();
    file(&mut tree, "/init", b"\x7fELF run-init", 0o755);
    file(&mut tree, "/bin/run-init", b"\x7fELF", 0o755);
    assert_eq!(leaving(&tree), Leaving::default());
}

#[test]
fn a_link_to_busybox_is_replaced_and_an_applet_inside_it_is_not() {
    let leaving = |tree: &Tree| leave::find(tree, "/init", Architecture::Aarch64);
    let busybox = |interpreter| [&elf(183, interpreter)[..], b"BusyBox v1.36.1 \0sh\0switch_root\0"].concat();
    let mut tree = empty();
    file(&mut tree, "/init", b"#!/bin/sh\nexec /sbin/switch_root /root /sbin/init\n", 0o755);
    // util-linux' leaves anything.
    file(&mut tree, "/bin/switch_root", b"\x7fELF", 0o755);
    file(&mut tree, "/bin/busybox", &busybox(None), 0o755);
    link(&mut tree, "/bin/sh", "busybox");
    assert_eq!(leaving(&tree), Leaving::default());
    link(&mut tree, "/bin/switch_root", "/bin/busybox");
    let by_path = Leaving { replaced: vec!["/bin/switch_root".into()], inside_busybox: Vec::new() };
    assert_eq!(leaving(&tree), by_path);
    file(&mut tree, "/init", b"#!/bin/sh\nexec switch_root /root /sbin/init\n", 0o755);
    assert_eq!(leaving(&tree), Leaving { inside_busybox: vec!["switch_root"], ..by_path.clone() });
    // Debian's initramfs-tools: a busybox with libraries starts what is in the path.
    file(&mut tree, "/bin/busybox", &busybox(Some("/lib/ld.so")), 0o755);
    assert_eq!(leaving(&tree), by_path);
    file(&mut tree, "/init", b"#!/bin/sh\nexec busybox switch_root /root /sbin/init\n", 0o755);
    assert_eq!(leaving(&tree), Leaving { inside_busybox: vec!["switch_root"], ..by_path });
}

#[test]
fn other_links_to_a_replaced_file_keep_it() {
    let mut tree = empty();
    file(&mut tree, "/bin/busybox", b"BusyBox", 0o755);
    let node = tree.node("/bin/busybox").unwrap().clone();
    tree.nodes.insert(b"/bin/run-init".to_vec(), node.clone());
    tree.put_program("/bin/run-init", b"ours").unwrap();
    assert_eq!(tree.node("/bin/busybox"), Some(&node));
    let NodeKind::File(content) = &tree.node("/bin/run-init").unwrap().kind else { panic!() };
    assert_eq!(std::fs::read(tree.content_path(content)).unwrap(), b"ours");
    let NodeKind::File(content) = &node.kind else { panic!() };
    assert_eq!(std::fs::read(tree.content_path(content)).unwrap(), b"BusyBox");
}

fn put(tree: &mut Tree, path: &str, kind: NodeKind, mode: u32) {
    let node = Node { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new() };
    tree.nodes.insert(path.as_bytes().to_vec(), node);
}

fn file(tree: &mut Tree, path: &str, bytes: &[u8], mode: u32) {
    let spooled = std::fs::read_dir(tree.spool.path()).unwrap().count();
    let content = Content { id: spooled as u64, size: bytes.len() as u64, sha256: [0; 32] };
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
    let error = resolve(&board(), tree, None, Vec::new()).unwrap_err();
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
    assert_eq!(refused(&tree), "next init /init: /init: for x86_64, expected aarch64");
    file(&mut tree, "/init", b"\x7fELF\x01\x01\x01", 0o755);
    assert!(refused(&tree).starts_with("next init /init: /init: "), "{}", refused(&tree));
    file(&mut tree, "/init", &elf(183, Some("/lib/ld.so")), 0o755);
    assert_eq!(refused(&tree), "next init /init: interpreter of /init: /lib/ld.so does not exist");
    file(&mut tree, "/lib/ld.so", &elf(183, None), 0o755);
    resolve(&board(), &tree, None, Vec::new()).unwrap();
}

#[test]
fn scripts_need_their_interpreter() {
    let mut tree = empty();
    file(&mut tree, "/init", b"#! /bin/sh -e\nexec", 0o755);
    assert_eq!(refused(&tree), "next init /init: interpreter of /init: /bin/sh does not exist");
    link(&mut tree, "/bin/sh", "busybox");
    file(&mut tree, "/bin/busybox", &elf(183, None), 0o755);
    let plan = resolve(&board(), &tree, None, Vec::new()).unwrap();
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
    let plan = resolve(&board(), &tree, None, Vec::new()).unwrap();
    assert_eq!((plan.handover, plan.next_init_target.as_str()), (Handover::Mounted, "/lib/systemd"));
    tree.nodes.remove(&b"/proc"[..]);
    link(&mut tree, "/run", "/dev");
    assert_eq!(refused(&tree), "content: handover \"mounted\" needs directories, missing: /proc, /run");
    let kernel = Board { handover: Some(Handover::Kernel), ..board() };
    assert_eq!(resolve(&kernel, &tree, None, Vec::new()).unwrap().handover_reason, "the board says so");
}

#[test]
fn modules_and_shell_must_be_for_the_board() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let error = resolve(&board(), &tree, None, vec![module("m", elf(62, None))]).unwrap_err();
    assert_eq!(error.what, "/x/m.ko: for x86_64, expected aarch64");
    let shell = tree.spool.path().join("shell");
    std::fs::write(&shell, elf(183, Some("/lib/ld.so"))).unwrap();
    let with_shell = Board { failure: Failure::Shell(shell.clone()), ..board() };
    assert!(resolve(&with_shell, &tree, None, Vec::new()).unwrap_err().what.ends_with("not static: wants /lib/ld.so"));
    std::fs::write(&shell, elf(183, None)).unwrap();
    assert_eq!(resolve(&with_shell, &tree, None, Vec::new()).unwrap().shell(), Some(&shell));
}

#[test]
fn large_initramfs_is_freed_beside_the_next_init() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let mut large = elf(183, None);
    large.resize(8 << 20, 0);
    assert_eq!(resolve(&board(), &tree, None, vec![module("m", large)]).unwrap().free, Free::Beside);
}

/// A content that starts.
fn bootable() -> Tree {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    tree
}

fn identity(proof: Proof) -> Identity {
    Identity { uuid: [7; 16], tail: plan::Tail { offset: 4096, crc: 9 }, proof, first_bytes: 0 }
}

#[test]
fn sealed_plan_opens_as_what_was_resolved() {
    let tree = bootable();
    let mut two = board();
    two.slots.push(Slot { pin: false, ..slot("b", Source::Initramfs) });
    two.watchdog = Some(Watchdog { device: "watchdog1".into(), timeout_s: 30 });
    let resolved = resolve(&two, &tree, None, vec![module("m", elf(183, None))]).unwrap();
    let image = identity(Proof::None);
    let sealed = resolved.seal(&[Some(&image), Some(&image)]).unwrap();
    assert_eq!(sealed, resolved.seal(&[Some(&image), None]).unwrap());
    let plan = plan::open(&sealed).unwrap();
    assert_eq!((plan.board, plan.next_init), ("test", "/init"));
    assert_eq!(plan.upper, plan::Upper::Memory("mode=0700,size=65536k,nr_inodes=16384"));
    assert_eq!(plan.watchdog, Some(plan::Watchdog { device: "watchdog1", timeout_s: 30 }));
    assert_eq!(plan.modules.into_iter().next().unwrap().path, "/modules/m.ko");
    let slots: Vec<_> = plan.slots.into_iter().collect();
    assert_eq!(slots[0].image, plan::Image::Pinned { uuid: &[7; 16], tail: image.tail });
    assert_eq!(slots[1].source, plan::Source::Initramfs { path: "/image.erofs" });
    assert_eq!(slots[1].image, plan::Image::Any);
    assert_eq!(resolved.seal(&[None, None]).unwrap_err().what, "plan: slot a is pinned but has no image");
    assert_eq!(resolved.seal(&[]).unwrap_err().what, "plan: 0 images for 2 slots");
}

/// A board with one slot of each source, and an upper directory that is kept.
fn every_source() -> Board {
    let holder = |name: &str, kind| Holder { device: wanted(name), kind };
    let memory = Source::Memory { device: wanted("pmem"), address: 0xa000_0000, ram_start: 1 << 30 };
    let lun = Wanted { lun: Some("0:0:0:1".into()), ..wanted("ufs") };
    let file = Source::File { holder: holder("data", FileSystem::Xfs), path: FilePath::At("/a.erofs".into()) };
    let ostree = Source::File { holder: holder("root", FileSystem::Ext4), path: FilePath::Ostree };
    let slots = vec![slot("m", memory), slot("p", Source::Partition(lun)), slot("f", file), slot("o", ostree)];
    Board { slots, overlay: Overlay::Partition(holder("upper", FileSystem::F2fs)), ..board() }
}

fn sealed(board: &Board, image: &Identity) -> Result<Vec<u8>> {
    let tree = bootable();
    resolve(board, &tree, None, Vec::new()).unwrap().seal(&vec![Some(image); board.slots.len()])
}

#[test]
fn every_source_is_sealed_as_the_target_takes_it() {
    let bytes = sealed(&every_source(), &identity(Proof::None)).unwrap();
    let plan = plan::open(&bytes).unwrap();
    let slots: Vec<_> = plan.slots.into_iter().collect();
    assert!(matches!(slots[0].source, plan::Source::Partition { options: "dax=always", .. }), "{:?}", slots[0]);
    let plan::Source::Partition { device, options: "" } = &slots[1].source else { panic!("{:?}", slots[1]) };
    assert_eq!((device.lun, device.words, device.deadline_ms), (Some("0:0:0:1"), "PARTNAME=ufs", 10_000));
    let plan::Source::File { holder, path } = &slots[2].source else { panic!("{:?}", slots[2]) };
    assert_eq!((holder.kind, holder.options, *path), ("xfs", "norecovery", plan::FilePath::At("/a.erofs")));
    let plan::Source::File { holder, path } = &slots[3].source else { panic!("{:?}", slots[3]) };
    assert_eq!((holder.kind, holder.options, *path), ("ext4", "", plan::FilePath::Ostree));
    let plan::Upper::Partition(holder) = &plan.upper else { panic!("{:?}", plan.upper) };
    assert_eq!((holder.kind, holder.options, holder.device.words), ("f2fs", "", "PARTNAME=upper"));
}

fn verified(method: Method, on_corruption: OnCorruption) -> Board {
    let mut board = every_source();
    board.slots.push(slot("i", Source::Initramfs));
    board.verity = Verity { method, on_corruption, ..board.verity };
    board
}

/// What the plan says of each slot's image.
fn images(bytes: &[u8]) -> Vec<plan::Image<'_>> {
    plan::open(bytes).unwrap().slots.into_iter().map(|slot| slot.image).collect()
}

#[test]
fn a_root_hash_covers_all_but_the_initramfs() {
    let image = identity(Proof::RootHash { bytes: 8192, parameters: "1 @ @".into() });
    let bytes = sealed(&verified(Method::RootHash, OnCorruption::Error), &image).unwrap();
    let found = images(&bytes);
    let expected = plan::Image::RootHash { bytes: 8192, parameters: "1 @ @" };
    assert_eq!(found[..4], [(); 4].map(|()| expected));
    assert_eq!(found[4], plan::Image::Pinned { uuid: &[7; 16], tail: image.tail });
    let memory = plan::open(&bytes).unwrap().slots.into_iter().next().unwrap();
    assert!(matches!(memory.source, plan::Source::Partition { options: "", .. }), "{memory:?}");
}

#[test]
fn a_signature_takes_any_image_of_its_version() {
    let mut board = verified(Method::Signature { minimum_version: 3 }, OnCorruption::Restart);
    board.slots.iter_mut().filter(|slot| slot.source != Source::Initramfs).for_each(|slot| slot.pin = false);
    let bytes = sealed(&board, &identity(Proof::None)).unwrap();
    let signed = plan::Image::Signed { options: "restart_on_corruption", words: 1, minimum_version: 3 };
    assert_eq!(images(&bytes)[..4], [signed; 4]);
    assert!(matches!(images(&bytes)[4], plan::Image::Any | plan::Image::Pinned { .. }));
    board.verity.on_corruption = OnCorruption::Error;
    let bytes = sealed(&board, &identity(Proof::None)).unwrap();
    assert_eq!(images(&bytes)[0], plan::Image::Signed { options: "", words: 0, minimum_version: 3 });
}

#[test]
fn no_image_without_its_proof_gets_into_a_plan() {
    let root_hash = Proof::RootHash { bytes: 0, parameters: String::new() };
    for (method, proof) in [
        (Method::RootHash, Proof::None),
        (Method::RootHash, Proof::Digest([1; 32])),
        (Method::FsVerity, Proof::None),
        (Method::FsVerity, root_hash),
    ] {
        let error = sealed(&verified(method, OnCorruption::Error), &identity(proof)).unwrap_err();
        assert_eq!(error.what, format!("plan: slot m has no proof of method {}", method.name()));
    }
    // Not even where a slot says that it takes any.
    let mut board = verified(Method::RootHash, OnCorruption::Error);
    board.slots.iter_mut().for_each(|slot| slot.pin = false);
    sealed(&board, &identity(Proof::None)).unwrap_err();
    board.slots.retain(|slot| matches!(slot.source, Source::File { .. }));
    board.verity.method = Method::FsVerity;
    let bytes = sealed(&board, &identity(Proof::Digest([1; 32]))).unwrap();
    assert!(images(&bytes).iter().all(|image| *image == plan::Image::Digest(&[1; 32])));
}

#[test]
fn a_rescue_content_is_given_where_a_slot_holds_it() {
    let (tree, rescue) = (bootable(), bootable());
    let error = resolve(&board(), &tree, Some(&rescue), Vec::new()).unwrap_err();
    assert_eq!(error.what, "--rescue: no slot of board test holds the rescue image");
    let mut two = board();
    two.slots.push(Slot { image: ImageName::Rescue, ..slot("r", Source::Initramfs) });
    let error = resolve(&two, &tree, None, Vec::new()).unwrap_err();
    assert_eq!(error.what, "slot r of board test holds the rescue image, and there is none");
    assert_eq!(error.kind, crate::Kind::BadInput);
    let resolved = resolve(&two, &tree, Some(&rescue), Vec::new()).unwrap();
    let (main, spare) = (identity(Proof::None), Identity { uuid: [8; 16], ..identity(Proof::None) });
    let bytes = resolved.seal(&[Some(&main), Some(&spare)]).unwrap();
    assert_eq!(images(&bytes)[1], plan::Image::Pinned { uuid: &[8; 16], tail: spare.tail });
    let error = resolve(&two, &tree, Some(&empty()), Vec::new()).unwrap_err();
    assert_eq!(error.what, "rescue image: next init /init: /init does not exist");
}

#[test]
fn what_one_content_cannot_take_is_done_for_neither() {
    let mut systemd = empty();
    link(&mut systemd, "/init", "lib/systemd");
    file(&mut systemd, "/lib/systemd", &elf(183, None), 0o755);
    let mut two = board();
    two.slots.push(Slot { image: ImageName::Rescue, ..slot("r", Source::Initramfs) });
    let handover = |tree: &Tree, rescue: &Tree| resolve(&two, tree, Some(rescue), Vec::new()).unwrap().handover;
    let other = bootable();
    assert_eq!(handover(&systemd, &systemd), Handover::Mounted);
    assert_eq!(handover(&systemd, &other), Handover::Kernel);
    assert_eq!(handover(&other, &systemd), Handover::Kernel);
    let mut bare = bootable();
    bare.nodes.remove(&b"/sys"[..]);
    let mounted = Board { handover: Some(Handover::Mounted), ..two.clone() };
    let error = resolve(&mounted, &systemd, Some(&bare), Vec::new()).unwrap_err();
    assert!(error.what.starts_with("rescue image: content: handover") && error.what.ends_with("/sys"), "{error}");
}

#[test]
fn only_the_image_in_the_initramfs_makes_it_large() {
    let (small, mut large) = (bootable(), bootable());
    file(&mut large, "/lib/large", &vec![0; 9 << 20], 0o644);
    let mut two = board();
    two.slots.push(Slot { image: ImageName::Rescue, ..slot("r", Source::Initramfs) });
    assert_eq!(resolve(&two, &small, Some(&large), Vec::new()).unwrap().free, Free::Beside);
    assert_eq!(resolve(&two, &large, Some(&small), Vec::new()).unwrap().free, Free::Before);
}

/// Of `allowed` over the tree: the folders made, with mode and owner, and what moves where.
fn laid(tree: &Tree, allowed: &[&str]) -> Result<Vec<LayerStep>> {
    let allowed: Vec<_> = allowed.iter().map(|path| (*path).to_owned()).collect();
    extras::resolve(tree, &allowed)
}

fn folder(path: &str, mode: u16, owner: (u32, u32)) -> LayerStep {
    LayerStep::Folder { path: path.into(), mode, uid: owner.0, gid: owner.1 }
}

fn moved(from: &str, to: &str) -> LayerStep {
    LayerStep::Move { from: from.into(), to: to.into() }
}

#[test]
fn extra_files_go_where_the_image_has_their_folders() {
    let mut tree = empty();
    put(&mut tree, "/usr", NodeKind::Directory, 0o750);
    put(&mut tree, "/usr/lib", NodeKind::Directory, 0o1777);
    tree.nodes.get_mut(&b"/usr/lib"[..]).unwrap().uid = 3;
    tree.nodes.get_mut(&b"/usr/lib"[..]).unwrap().gid = 4;
    link(&mut tree, "/lib", "usr/lib");
    let expected = [
        folder("/extras", 0o755, (0, 0)),
        folder("/extras/usr", 0o750, (0, 0)),
        folder("/extras/usr/lib", 0o1777, (3, 4)),
        folder("/extras/usr/lib/new", 0o755, (0, 0)),
        moved("/lib/new/a", "/extras/usr/lib/new/a"),
        moved("/usr/lib/b", "/extras/usr/lib/b"),
        moved("/c", "/extras/c"),
    ];
    assert_eq!(laid(&tree, &["/lib/new/a", "/usr/lib/b", "/c"]).unwrap(), expected);
}

#[test]
fn extra_files_that_overlap_or_lie_below_a_file_are_refused() {
    let mut tree = empty();
    link(&mut tree, "/lib", "usr/lib");
    put(&mut tree, "/usr", NodeKind::Directory, 0o755);
    put(&mut tree, "/usr/lib", NodeKind::Directory, 0o755);
    file(&mut tree, "/etc/file", b"", 0o644);
    link(&mut tree, "/gone", "nowhere");
    for (allowed, expected) in [
        (&["/etc", "/etc/extra/a"][..], "extras.allow: /etc/extra/a and /etc overlap"),
        (&["/usr/lib/x/a", "/lib/x"], "extras.allow: /usr/lib/x/a and /lib/x overlap"),
        (&["/usr/lib/x", "/lib/x"], "extras.allow: /usr/lib/x and /lib/x overlap"),
        (&["/etc/file/a"], "extras.allow /etc/file/a: /etc/file is no folder in the image"),
        (&["/gone/a"], "extras.allow /gone/a: /gone is no folder in the image"),
    ] {
        let error = laid(&tree, allowed).unwrap_err();
        assert_eq!((error.kind, error.what.as_str()), (crate::Kind::BadInput, expected));
    }
    laid(&tree, &["/etc/a", "/etc/ab/c"]).unwrap();
}

#[test]
fn an_extra_file_comes_to_lie_where_the_target_has_room_for_its_path() {
    let mut tree = empty();
    link(&mut tree, "/short", "etc");
    let file = |length: usize| format!("/short/{}", "f".repeat(length));
    // `/extras/etc/`
    let longest = bootstrap::plan::MAX_TEXT - 12;
    laid(&tree, &[&file(longest)]).unwrap();
    let error = laid(&tree, &[&file(longest + 1)]).unwrap_err();
    assert_eq!(error.kind, crate::Kind::BadInput);
    assert!(error.what.ends_with("which is 256 bytes"), "{error}");
}

#[test]
fn extra_files_are_laid_over_both_images_alike() {
    let (tree, mut rescue) = (bootable(), bootable());
    let mut two = Board { extras: vec!["/etc/extra".into()], ..board() };
    two.slots.push(Slot { image: ImageName::Rescue, ..slot("r", Source::Initramfs) });
    resolve(&two, &tree, Some(&rescue), Vec::new()).unwrap();
    put(&mut rescue, "/etc", NodeKind::Directory, 0o700);
    let error = resolve(&two, &tree, Some(&rescue), Vec::new()).unwrap_err();
    assert_eq!(error.what, "extras.allow: /etc is not the same folder in the rescue image");
}

#[test]
fn plan_that_is_too_large_is_refused() {
    let mut tree = empty();
    file(&mut tree, "/init", &elf(183, None), 0o755);
    let long = |index| ResolvedModule { parameters: "x".repeat(1000), ..module(&format!("m{index}"), elf(183, None)) };
    let resolved = resolve(&board(), &tree, None, (0..40).map(long).collect()).unwrap();
    let error = resolved.seal(&[Some(&identity(Proof::None))]).unwrap_err();
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
    let shown = resolve(&with_extras, &tree, None, vec![m]).unwrap().to_string();
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
  extras       /etc/extra
  device       find the slot's device
  verity       none configured
  mount        EROFS, read-only, superblock checked first
  overlay      tmpfs, 65536 KiB, 16384 inodes
  switch-root  mounts moved along (the next init is systemd); initramfs freed before the next init
  exec         /init -> /lib/systemd
watchdog left to the kernel
failure  next slot, then reboot
";
    assert_eq!(shown, expected);
}

#[test]
fn plan_says_what_every_slot_takes_and_what_is_not_covered() {
    let mut all = verified(Method::RootHash, OnCorruption::Restart);
    (all.verity.fec_roots, all.verity.version) = (2, 5);
    all.slots[1].image = ImageName::Rescue;
    all.extras = vec!["/etc/extra".into()];
    all.watchdog = Some(Watchdog { device: "watchdog0".into(), timeout_s: 30 });
    let tree = bootable();
    let shell = tree.spool.path().join("shell");
    std::fs::write(&shell, elf(183, None)).unwrap();
    all.failure = Failure::Shell(shell);
    let shown = resolve(&all, &tree, Some(&bootable()), Vec::new()).unwrap().to_string();
    for line in [
        "  m: memory at 0xa0000000, through dm-verity, without DAX, PARTNAME=pmem, deadline 10s, exactly this image",
        "  p: rescue image, partition PARTNAME=ufs, logical unit 0:0:0:1, deadline 10s, exactly this image",
        "  f: file /a.erofs on xfs PARTNAME=data, deadline 10s, exactly this image",
        "  o: file of the OSTree deployment on ext4 PARTNAME=root, deadline 10s, exactly this image",
        "  i: /image.erofs in the initramfs, exactly this image",
        "  verity       dm-verity, root hash in this plan, restart_on_corruption, error correction by 2 roots, image version 5; \
         not covered: the image in the initramfs, extra files, what the upper directory keeps, a shell on the console after a \
         failure",
        "  overlay      kept on f2fs PARTNAME=upper, deadline 10s",
        "watchdog /dev/watchdog0, 30 s, handed over",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    all.verity.method = Method::Signature { minimum_version: 4 };
    let shown = resolve(&all, &tree, Some(&bootable()), Vec::new()).unwrap().to_string();
    assert!(shown.contains("signed by a key of the kernel's keyring, image version at least 4, restart"), "{shown}");
    assert!(shown.contains("  f: file /a.erofs on xfs PARTNAME=data, deadline 10s, any signed image\n"), "{shown}");
}
