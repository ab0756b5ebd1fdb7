//! Module folders made up of the smallest ELF files that pass for modules, and the cached Debian kernels where present.
#![allow(clippy::unwrap_used)]

use super::*;
use object::write::{Object, StandardSegment};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// A relocatable ELF file with `.modinfo`, and debug information if asked for.
fn module(info: &str, debug: bool) -> Vec<u8> {
    module_for(Architecture::Aarch64, info, debug)
}

fn module_for(architecture: Architecture, info: &str, debug: bool) -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let text = file.section_id(object::write::StandardSection::Text);
    file.append_section_data(text, &[0x1f, 0x20, 0x03, 0xd5], 4);
    let segment = file.segment_name(StandardSegment::Data).to_vec();
    let section = file.add_section(segment.clone(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    file.append_section_data(section, info.as_bytes(), 1);
    if debug {
        let section = file.add_section(segment, b".debug_info".to_vec(), SectionKind::Debug);
        file.append_section_data(section, &[7; 4096], 1);
    }
    file.write().unwrap()
}

/// `lib/modules/1.0` with these files; `.ko` files get a module for kernel 1.0.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules/1.0");
    std::fs::create_dir_all(&modules).unwrap();
    for (name, text) in files {
        let bytes = if name.ends_with(".ko") { module(text, true) } else { text.as_bytes().to_vec() };
        std::fs::write(modules.join(name), bytes).unwrap();
    }
    root
}

fn names(root: &Path, load: &[&str]) -> std::result::Result<Vec<String>, String> {
    let load: Vec<_> = load.iter().map(|name| (*name).to_owned()).collect();
    let modules = resolve(&load, &BTreeMap::new(), Some(root), false).map_err(|error| error.what)?;
    Ok(modules.into_iter().map(|module| module.name).collect())
}

const MAGIC: &str = "vermagic=1.0 SMP\0";

#[test]
fn dependencies_soft_dependencies_and_built_ins() {
    let root = folder(&[
        ("a.ko", MAGIC),
        ("b-b.ko", MAGIC),
        ("c_generic.ko", MAGIC),
        ("c_fast.ko", MAGIC),
        ("z.ko", MAGIC),
        ("modules.dep", "a.ko: b-b.ko z.ko\nb-b.ko: z.ko\nz.ko:\nc_generic.ko:\nc_fast.ko:\n"),
        ("modules.softdep", "# comment\nsoftdep z pre: c absent post: c-fast\n"),
        ("modules.alias", "alias c c_fast\nalias c c_generic\n"),
        ("modules.builtin", "kernel/fs/built-in.ko\n"),
        ("modules.builtin.modinfo", "x.alias=aka-x\0x.license=GPL\0"),
    ]);
    assert_eq!(names(root.path(), &["built_in", "aka_x", "a"]).unwrap(), ["c_generic", "z", "c_fast", "b_b", "a"]);
    assert_eq!(names(&root.path().join("lib/modules/1.0"), &["b_b", "b-b"]).unwrap().len(), 4);
    assert_eq!(resolve(&["a".into()], &BTreeMap::new(), None, false).unwrap(), []);
}

#[test]
fn wrong_folders_and_names() {
    let root = folder(&[("a.ko", MAGIC), ("loop.ko", MAGIC), ("modules.dep", "a.ko:\nloop.ko:\n")]);
    let text = names(root.path(), &["lop"]).unwrap_err();
    assert!(text.contains("unknown module \"lop\" (did you mean \"loop\"?)"), "{text}");
    let undone = folder(&[("modules.order", "")]);
    let text = names(undone.path(), &["a"]).unwrap_err();
    assert!(text.ends_with("1.0: no readable modules.dep"), "{text}");
    let cycle = folder(&[("a.ko", MAGIC), ("b.ko", MAGIC), ("modules.dep", "a.ko: b.ko\nb.ko: a.ko\n")]);
    let text = names(cycle.path(), &["a"]).unwrap_err();
    assert!(text.ends_with("modules.dep: a cycle: a -> b -> a"), "{text}");
    let other = folder(&[("a.ko", "vermagic=2.0 SMP\0"), ("modules.dep", "a.ko:\n")]);
    let text = names(other.path(), &["a"]).unwrap_err();
    assert!(text.ends_with("a.ko: for kernel \"2.0\", expected \"1.0\""), "{text}");
    let empty = tempfile::tempdir().unwrap();
    assert!(names(empty.path(), &["a"]).unwrap_err().contains("no modules folder in it"));
    std::fs::create_dir_all(root.path().join("lib/modules/2.0/kernel")).unwrap();
    assert!(names(root.path(), &["a"]).unwrap_err().contains("modules of more than one kernel"));
}

#[test]
fn unknown_name_without_modules_builtin_says_so() {
    let root = folder(&[("a.ko", MAGIC), ("modules.dep", "a.ko:\n")]);
    let error = resolve(&["virtio_pci".into()], &BTreeMap::new(), Some(root.path()), false).unwrap_err();
    assert!(error.hint.contains("modules.builtin is missing"), "{error}");
}

#[test]
fn soft_dependency_that_needs_its_asker_comes_after_it() {
    let root = folder(&[
        ("a.ko", MAGIC),
        ("b.ko", MAGIC),
        ("modules.dep", "a.ko:\nb.ko: a.ko\n"),
        ("modules.softdep", "softdep a pre: b\n"),
    ]);
    assert_eq!(names(root.path(), &["a"]).unwrap(), ["a", "b"]);
}

#[test]
fn parameters_belong_to_loaded_modules() {
    let root = folder(&[("lo-op.ko", MAGIC), ("modules.dep", "lo-op.ko:\n")]);
    let load = |name: &str| {
        let parameters = [(name.to_owned(), "max_loop=1".to_owned())].into();
        resolve(&["lo_op".into()], &parameters, Some(root.path()), false)
    };
    assert_eq!(load("lo-op").unwrap()[0].parameters, "max_loop=1");
    assert!(load("lo_up").unwrap_err().what.contains("(did you mean \"lo_op\"?)"));
}

#[test]
fn strip_drops_the_signature() {
    let root = folder(&[("a.ko", MAGIC), ("modules.dep", "a.ko:\n")]);
    let path = root.path().join("lib/modules/1.0/a.ko");
    let plain = std::fs::read(&path).unwrap();
    let mut signed = plain.clone();
    signed.extend([b's'; 300]);
    signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 44]);
    signed.extend(b"~Module signature appended~\n");
    std::fs::write(&path, &signed).unwrap();
    let load = |strip| resolve(&["a".into()], &BTreeMap::new(), Some(root.path()), strip).unwrap().remove(0);
    assert_eq!((load(false).bytes, load(false).signed), (signed, true));
    let stripped = load(true);
    assert!(!stripped.signed && stripped.bytes.len() + 4000 < plain.len());
}

#[test]
fn strip_keeps_everything_but_debug_information() {
    use object::{Object as _, ObjectSection as _};
    for architecture in [Architecture::Aarch64, Architecture::Arm, Architecture::X86_64] {
        let plain = module_for(architecture, MAGIC, true);
        let stripped = strip::without_debug(&plain).unwrap();
        assert!(stripped.len() + 4000 < plain.len());
        let (before, after) = (object::File::parse(&*plain).unwrap(), object::File::parse(&*stripped).unwrap());
        assert_eq!(before.sections().count(), after.sections().count());
        for (old, new) in before.sections().zip(after.sections()).filter(|(old, _)| old.name() != Ok(".debug_info")) {
            let name = old.name();
            assert_eq!((name, old.align(), old.flags()), (new.name(), new.align(), new.flags()));
            assert_eq!(old.data(), new.data(), "{name:?}");
        }
        assert!(after.section_by_name(".debug_info").is_none_or(|section| section.size() == 0));
        assert_eq!(before.symbols().count(), after.symbols().count());
    }
}

#[test]
fn firmware_is_taken_where_the_host_has_it() {
    let info =
        "vermagic=1.0 SMP\0firmware=x/here.bin\0firmware=x/gone.bin\0firmware=../../etc/passwd\0firmware=x/*.bin\0";
    let root = folder(&[("a.ko", info), ("modules.dep", "a.ko:\n")]);
    std::fs::create_dir_all(root.path().join("lib/firmware/x")).unwrap();
    std::fs::write(root.path().join("lib/firmware/x/here.bin.zst"), zstd::encode_all(&b"fw"[..], 1).unwrap()).unwrap();
    let module = resolve(&["a".into()], &BTreeMap::new(), Some(root.path()), false).unwrap().remove(0);
    let found: Vec<_> = module.firmware.iter().map(|file| (file.name.as_str(), file.bytes.as_slice())).collect();
    assert_eq!(found, [("x/here.bin", &b"fw"[..])]);
}

#[test]
fn truncated_modules_are_refused() {
    let root = folder(&[("a.ko", MAGIC), ("modules.dep", "a.ko:\n")]);
    let path = root.path().join("lib/modules/1.0/a.ko");
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len() - 64).step_by(37) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let _ = resolve(&["a".into()], &BTreeMap::new(), Some(root.path()), true);
    }
    std::fs::write(&path, &whole[..64]).unwrap();
    assert!(names(root.path(), &["a"]).is_err());
}

/// Debian's kernels where `tests/setup/debian.sh` has fetched them and `depmod` was run: the storage set of the boards.
#[test]
fn debian_kernels() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/debian");
    let kernels = std::fs::read_dir(cache).into_iter().flatten().flatten();
    for kernel in kernels.flat_map(|suite| std::fs::read_dir(suite.path()).into_iter().flatten().flatten()) {
        let path = kernel.path();
        let is_ready = Index::read(&path).is_ok_and(|index| index.folder.join("modules.builtin").exists());
        let is_kernel = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-"));
        if !is_ready || !is_kernel {
            continue;
        }
        for strip in [false, true] {
            let load = ["virtio_pci", "virtio_mmio", "virtio_blk", "erofs", "overlay"].map(str::to_owned);
            let modules = resolve(&load, &BTreeMap::new(), Some(&path), strip).unwrap();
            let position = |name: &str| modules.iter().position(|module| module.name == name);
            println!("{} strip={strip}", path.display());
            for module in &modules {
                println!("  {} {} signed={}", module.name, module.bytes.len(), module.signed);
                assert!(!strip || !module.signed);
            }
            assert!(position("erofs").is_some() && position("overlay").is_some());
            assert!(position("crc32c_generic").is_none_or(|crc| Some(crc) < position("libcrc32c")));
        }
    }
}
