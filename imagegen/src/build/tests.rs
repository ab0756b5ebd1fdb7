//! Whole builds: the same bytes twice, the last good image kept, hostile input refused.

use super::*;
use crate::board::Architecture;
use crate::{disk, elf};
use std::fs;

const BOARD: &str = r#"
name = "example"
architecture = "aarch64"
[[slot]]
name = "a"
source = "partition"
partname = "system-a"
[[slot]]
name = "rescue"
source = "initramfs"
[qemu]
machine = "virt"
console = "ttyAMA0"
"#;

/// A folder with a board, a content and a bootstrap, none of which could start anything.
struct Sample {
    folder: tempfile::TempDir,
    request: Request,
}

impl Sample {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let program = elf::tests::elf(Architecture::Aarch64, elf::tests::PT_LOAD);
        for name in ["content", "content/dev", "content/proc", "content/sys", "content/run"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("content/init"), &program).unwrap();
        fs::set_permissions(at("content/init"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(at("bootstrap"), &program).unwrap();
        // An Image as far as anybody looks (Documentation/arch/arm64/booting.rst).
        fs::write(at("Image"), [&[0; 56][..], b"ARM\x64"].concat()).unwrap();
        fs::write(at("example.toml"), format!("{BOARD}{more}")).unwrap();
        let request = Request {
            board: at("example.toml").to_str().unwrap().to_owned(),
            from: at("content"),
            rescue: None,
            modules: None,
            profile: None,
            record: false,
            image: None,
            bootstrap: Some(at("bootstrap")),
            kernel: Some(at("Image")),
            bootloader: bootloader::Inputs::default(),
        };
        Sample { folder, request }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What lies beside the inputs.
    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !["content", "bootstrap", "Image", "example.toml"].contains(&name.as_str()));
        names.sort();
        names
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn twice_built_is_identical_and_names_no_host_path() {
    let sample = Sample::new("");
    let manifest = run(&sample.request, &sample.out("first")).unwrap();
    run(&sample.request, &sample.out("second")).unwrap();
    let first = files(&sample.out("first"));
    assert!(first == files(&sample.out("second")));
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(names, ["disk.img", "initoverlayfs.erofs", "initramfs.img", "kernel", "manifest.json"]);
    for (name, output) in &manifest.outputs {
        assert_eq!(manifest::digest_file(&sample.out("first").join(name)).unwrap().0, output.bytes, "{name}");
    }
    let text = String::from_utf8(first["manifest.json"].clone()).unwrap();
    assert!(!text.contains(sample.folder.path().to_str().unwrap()), "{text}");
    assert_eq!(manifest::read(&sample.out("first")).unwrap(), manifest);
    assert_eq!(sample.others(), ["first", "second"]);
}

#[test]
fn the_image_lies_in_the_partition_and_in_the_initramfs() {
    let sample = Sample::new("");
    run(&sample.request, &sample.out("out")).unwrap();
    let out = files(&sample.out("out"));
    let image = &out[manifest::EROFS];
    let partitions = disk::list(&sample.out("out").join(manifest::DISK)).unwrap();
    assert_eq!(partitions.iter().map(|partition| partition.name.as_str()).collect::<Vec<_>>(), ["system-a"]);
    let start = usize::try_from(partitions[0].start).unwrap();
    assert!(out[manifest::DISK][start..].starts_with(image));
    let spool = tempfile::tempdir().unwrap();
    let tree = input::read(&sample.out("out").join(manifest::INITRAMFS), spool.path(), &mut |_| ()).unwrap();
    let Some(Node { kind: NodeKind::File(content), .. }) = tree.node(plan::IMAGE_PATH) else { panic!("no image") };
    assert!(fs::read(tree.content_path(content)).unwrap() == *image);
}

#[test]
fn a_service_is_plan_and_program_beside_the_image() {
    let sample = Sample::new("");
    let board = "name = \"example\"\narchitecture = \"aarch64\"\nmode = \"service\"\n[[slot]]\nname = \"a\"\n\
        source = \"partition\"\npath = \"/dev/mapper/vg-image\"\n";
    fs::write(sample.out("example.toml"), board).unwrap();
    let error = run(&sample.request, &sample.out("out")).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("needs bootstrap-full-aarch64"), "{error}");
    let mut full = elf::tests::elf(Architecture::Aarch64, elf::tests::PT_LOAD);
    full.extend(bootstrap::plan::FULL_MARK.as_bytes());
    fs::write(sample.out("bootstrap"), &full).unwrap();
    let manifest = run(&sample.request, &sample.out("out")).unwrap();
    let out = files(&sample.out("out"));
    let names: Vec<&str> = out.keys().map(String::as_str).collect();
    assert_eq!(names, ["bootstrap", "initoverlayfs.erofs", "kernel", "manifest.json", "plan"]);
    assert!(manifest.outputs.keys().all(|name| names.contains(&name.as_str())) && manifest.outputs.len() == 4);
    assert_eq!(out["bootstrap"], full);
    let plan = bootstrap::plan::open(&out["plan"]).unwrap();
    assert_eq!((plan.mode, plan.handover), (bootstrap::plan::Mode::Service, bootstrap::plan::Handover::Kernel));
    assert!(manifest.plan.iter().any(|line| line.contains("left to initoverlayfs-switch.service")), "{manifest:?}");
}

#[test]
fn each_slot_gets_the_image_it_holds() {
    let mut sample = Sample::new("");
    let board = BOARD.replace("source = \"initramfs\"", "source = \"initramfs\"\nimage = \"rescue\"");
    fs::write(&sample.request.board, board).unwrap();
    let error = run(&sample.request, &sample.out("out")).unwrap_err();
    assert!(error.exit_status() == 2 && error.hint.contains("--rescue"), "{error}");
    let rescue = Sample::new("");
    fs::write(rescue.out("content/only-here"), b"x").unwrap();
    sample.request.rescue = Some(rescue.request.from.clone());
    let manifest = run(&sample.request, &sample.out("out")).unwrap();
    assert_eq!(manifest.rescue.unwrap().files, manifest.input.files + 1);
    let out = files(&sample.out("out"));
    let partition = disk::list(&sample.out("out").join(manifest::DISK)).unwrap().remove(0);
    assert!(out[manifest::DISK][usize::try_from(partition.start).unwrap()..].starts_with(&out[manifest::EROFS]));
    let spool = tempfile::tempdir().unwrap();
    let tree = input::read(&sample.out("out").join(manifest::INITRAMFS), spool.path(), &mut |_| ()).unwrap();
    let member = |path: &str| match tree.node(path) {
        Some(Node { kind: NodeKind::File(content), .. }) => fs::read(tree.content_path(content)).unwrap(),
        _ => panic!("no {path}"),
    };
    assert!(member(plan::IMAGE_PATH) == out[manifest::RESCUE]);
    let sealed = member(bootstrap::plan::PATH);
    // Where EROFS keeps its UUID (fs/erofs/erofs_fs.h).
    let uuids = [manifest::EROFS, manifest::RESCUE].map(|name| Some(&out[name][1072..1088]));
    let slots = bootstrap::plan::open(&sealed).unwrap().slots;
    let uuid = |image| if let bootstrap::plan::Image::Pinned { uuid, .. } = image { Some(uuid) } else { None };
    assert_eq!(slots.into_iter().map(|slot| uuid(slot.image)).collect::<Vec<_>>(), uuids);
    assert!(out[manifest::RESCUE] != out[manifest::EROFS]);
}

#[test]
fn a_module_that_nobody_loads_is_refused_before_anything_is_written() {
    let mut sample = Sample::new("");
    let modules = sample.out("modules/6.12.1");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("modules.dep"), "loop.ko:\nother.ko:\n").unwrap();
    sample.request.modules = Some(modules);
    for error in [resolve(&sample.request).unwrap_err(), run(&sample.request, &sample.out("out")).unwrap_err()] {
        assert!(
            error.exit_status() == 2 && error.what.contains("does not load what it needs: loop (slot rescue: "),
            "{error}"
        );
    }
    assert_eq!(sample.others(), ["modules"]);
}

#[test]
fn what_is_built_is_no_input() {
    let sample = Sample::new("");
    run(&sample.request, &sample.out("out")).unwrap();
    let again = Request { from: sample.out("out").join(manifest::INITRAMFS), ..sample.request.clone() };
    let error = run(&again, &sample.out("again")).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.ends_with("is a mini-initramfs itself"), "{error}");
    assert_eq!(sample.others(), ["out"]);
}

#[test]
fn a_budget_exceeded_leaves_the_last_good_image() {
    let mut sample = Sample::new("");
    let out = sample.out("out");
    run(&sample.request, &out).unwrap();
    let good = files(&out);
    let tight = Sample::new("[budget]\ninitramfs = \"1KiB\"\n");
    sample.request.board = tight.request.board.clone();
    let error = run(&sample.request, &out).unwrap_err();
    assert!(error.exit_status() == 1 && error.what.contains("budget"), "{error}");
    assert!(files(&out) == good);
    assert_eq!(sample.others(), ["out"]);
}

#[test]
fn a_bootstrap_for_another_processor_is_refused() {
    let sample = Sample::new("");
    fs::write(sample.out("bootstrap"), elf::tests::elf(Architecture::Armv7, elf::tests::PT_LOAD)).unwrap();
    assert_eq!(run(&sample.request, &sample.out("out")).unwrap_err().exit_status(), 2);
    assert_eq!(sample.others(), Vec::<String>::new());
}

#[test]
fn a_damaged_initramfs_is_not_what_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initramfs.img");
    let archive = core(b"init".to_vec(), b"not a plan".to_vec()).unwrap();
    let mut bytes = Vec::new();
    archive.write(board::Compression::None, &mut bytes).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        verify::initramfs(&archive, &path, folder.path()).unwrap_err().to_string()
    };
    assert!(check(&bytes).contains("/plan truncated"), "the archive is right, the plan is none");
    let at = bytes.windows(10).position(|window| window == b"not a plan").unwrap();
    bytes[at] ^= 1;
    assert!(check(&bytes).contains("/plan has other content"));
    let shorter = core(b"init".to_vec(), Vec::new()).unwrap();
    bytes.clear();
    shorter.write(board::Compression::None, &mut bytes).unwrap();
    assert!(check(&bytes).contains("/plan has other content"));
}

#[test]
fn an_output_inside_its_input_is_refused_before_anything_is_written() {
    let mut sample = Sample::new("");
    let before = fs::read_dir(&sample.request.from).unwrap().count();
    std::os::unix::fs::symlink("content/dev", sample.out("link")).unwrap();
    for out in ["content/out", "content/../content/dev/out", "link/out", "content"] {
        let error = run(&sample.request, &sample.out(out)).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("lies inside --from"), "{out}: {error}");
    }
    assert_eq!(fs::read_dir(&sample.request.from).unwrap().count(), before);
    assert_eq!(fs::read_dir(sample.request.from.join("dev")).unwrap().count(), 0);
    let error = input::read(&sample.request.from, &sample.request.from.join("dev"), &mut |_| ()).unwrap_err();
    assert!(error.exit_status() == 2 && error.hint.contains("TMPDIR"), "{error}");
    run(&sample.request, &sample.out("contents")).unwrap();
    fs::create_dir(sample.out("spare")).unwrap();
    sample.request.rescue = Some(sample.out("spare"));
    let error = run(&sample.request, &sample.out("spare/out")).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("lies inside --rescue"), "{error}");
    assert_eq!(fs::read_dir(sample.out("spare")).unwrap().count(), 0);
}

#[test]
fn what_may_never_end_is_refused_at_once() {
    let mut sample = Sample::new("");
    let pipe = sample.out("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        let refused = |error: Error| {
            assert!(error.exit_status() == 2 && error.what.contains("is no regular file or folder"), "{error}");
        };
        refused(crate::inspect::run(path, &crate::inspect::Options::default(), &mut Vec::new()).unwrap_err());
        refused(manifest::read(path).unwrap_err());
        sample.request.kernel = Some(path.to_owned());
        refused(run(&sample.request, &sample.out("out")).unwrap_err());
        sample.request.kernel = None;
        let content = std::mem::replace(&mut sample.request.from, path.to_owned());
        refused(run(&sample.request, &sample.out("out")).unwrap_err());
        refused(resolve(&sample.request).unwrap_err());
        sample.request.from = content;
    }
    assert_eq!(sample.others(), ["pipe"]);
}
