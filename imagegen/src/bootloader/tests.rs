//! Formats a bootloader takes: what is in them, who else reads them, and what is refused before any work.

use super::*;
use crate::board::{self, Architecture};
use crate::initramfs::Body;
use crate::inspect;
use std::process::Command;

fn board(architecture: &str, keys: &str) -> Board {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.toml");
    let text = format!(
        "name = \"kit\"\narchitecture = \"{architecture}\"\n[[slot]]\nname = \"a\"\nsource = \"partition\"\n\
         partname = \"p\"\n[bootloader]\n{keys}\n"
    );
    fs::write(&path, text).unwrap();
    board::load(path.to_str().unwrap()).unwrap()
}

const ADDRESSES: &str =
    "kernel-address = \"0x80080000\"\ninitramfs-address = \"0x88000000\"\ndtb-address = \"0x87000000\"";
const LINE: &str = "command-line = \"console=ttyS2,115200n8 quiet\"";

/// A kernel of `architecture` as far as anybody looks, an EFI program too, with these bytes at its end.
fn kernel_for(architecture: Architecture, end: &[u8]) -> Vec<u8> {
    let mut bytes = program(match architecture {
        Architecture::Aarch64 => 0xaa64,
        Architecture::Armv7 => 0x01c2,
        Architecture::X86_64 => 0x8664,
    });
    match architecture {
        Architecture::Aarch64 => bytes[56..60].copy_from_slice(b"ARM\x64"),
        Architecture::Armv7 => bytes[36..40].copy_from_slice(&0x016f_2818_u32.to_le_bytes()),
        Architecture::X86_64 => bytes[0x202..0x206].copy_from_slice(b"HdrS"),
    }
    bytes.extend(end);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An EFI program with one section, which is NX-compatible.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, b"MZ");
    set(0x3c, &0x80_u32.to_le_bytes());
    set(0x80, b"PE\0\0");
    set(0x84, &machine.to_le_bytes());
    set(0x86, &1_u16.to_le_bytes());
    set(0x94, &240_u16.to_le_bytes());
    set(0x98, &0x20b_u16.to_le_bytes());
    for (at, value) in [(32, 4096_u32), (36, 512), (56, 0x2000), (60, 0x400), (64, 77)] {
        set(0x98 + at, &value.to_le_bytes());
    }
    set(0x98 + 70, &0x0160_u16.to_le_bytes());
    set(0x188, b".text");
    for (at, value) in [(8, 0x180_u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
        set(0x188 + at, &value.to_le_bytes());
    }
    bytes
}

/// Everything is made in a folder, and noted.
fn make(board: &Board, kernel: &[u8], dtb: bool) -> Result<(tempfile::TempDir, Manifest)> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at(KERNEL), kernel).unwrap();
    fs::write(at(INITRAMFS), "the initramfs").unwrap();
    fs::write(at("stub"), program(pe::machine(kernel).unwrap_or_default())).unwrap();
    write_tree(&at("tree"));
    let stub = board.bootloader.emit.contains(&Emit::Uki).then(|| at("stub"));
    let inputs = Inputs { dtb: dtb.then(|| at("tree")), stub, ..Inputs::default() };
    let sources = find(board, Some(&at(KERNEL)), &inputs)?;
    let mut manifest = Manifest::example();
    manifest.note_file(folder.path(), KERNEL)?;
    manifest.note_file(folder.path(), INITRAMFS)?;
    write(board, &sources, folder.path(), &mut manifest)?;
    Ok((folder, manifest))
}

/// A device tree with nothing in it.
fn write_tree(path: &Path) {
    let source = path.with_extension("dts");
    fs::write(&source, "/dts-v1/;\n/ { compatible = \"kit\"; };\n").unwrap();
    let dtc = Command::new("dtc").args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(path).arg(&source).status();
    assert!(dtc.unwrap().success());
}

fn text(folder: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn all_formats_are_noted_and_made_twice_alike() {
    let all = "emit = [\"fit\", \"extlinux\", \"script\", \"uki\", \"grub\", \"bls\", \"android\"]";
    let board = board("aarch64", &format!("{all}\n{ADDRESSES}\n{LINE}\nlimit = \"1MiB\""));
    let kernel = kernel_for(Architecture::Aarch64, b"kernel");
    let (first, manifest) = make(&board, &kernel, true).unwrap();
    let (second, _) = make(&board, &kernel, true).unwrap();
    let names: Vec<&str> = manifest.outputs.keys().map(String::as_str).collect();
    let expected = [
        BLS,
        DTB,
        COMMANDS,
        BOOT,
        SCRIPT,
        EXTLINUX,
        GRUB,
        FIT_DTB,
        FIT,
        FIT_SOURCE,
        INITRAMFS,
        KERNEL,
        UKI,
        VENDOR_BOOT,
    ];
    assert_eq!(names, expected);
    for name in names {
        assert!(fs::read(first.path().join(name)).unwrap() == fs::read(second.path().join(name)).unwrap(), "{name}");
        let is_source = [COMMANDS, FIT_SOURCE].contains(&name);
        assert_eq!(manifest.outputs[name].limit, (!is_source).then_some(1 << 20), "{name}");
    }
    assert_eq!(share(&manifest.outputs[BOOT]), " (1.1 % of 1048576)");
}

#[test]
fn menus_say_what_the_board_says() {
    let keys = format!("emit = [\"extlinux\", \"grub\", \"bls\"]\n{LINE}");
    let kernel = kernel_for(Architecture::Aarch64, b"");
    let (folder, _) = make(&board("aarch64", &keys), &kernel, true).unwrap();
    assert_eq!(
        text(&folder, EXTLINUX),
        "default initoverlayfs\n\nlabel initoverlayfs\n\tmenu label kit\n\tlinux /kernel\n\tinitrd /initramfs.img\n\
         \tfdt /board.dtb\n\tappend console=ttyS2,115200n8 quiet\n"
    );
    assert_eq!(
        text(&folder, BLS),
        "title    kit\nlinux    /kernel\ninitrd   /initramfs.img\ndevicetree /board.dtb\n\
         options  console=ttyS2,115200n8 quiet\n"
    );
    let entry = "menuentry 'kit' --unrestricted {\n\tlinux /kernel 'console=ttyS2,115200n8' 'quiet'\n\
                 \tinitrd /initramfs.img\n\tdevicetree /board.dtb\n}\n";
    assert!(text(&folder, GRUB).ends_with(entry) && text(&folder, GRUB).contains("set superusers=\"\"\n"));
    let bare = board("x86_64", "emit = [\"extlinux\", \"grub\", \"bls\"]");
    let (folder, _) = make(&bare, &kernel_for(Architecture::X86_64, b""), false).unwrap();
    assert!(text(&folder, EXTLINUX).ends_with("\tinitrd /initramfs.img\n"));
    assert!(text(&folder, GRUB).contains("\tlinux /kernel\n\tinitrd /initramfs.img\n}\n"));
    assert!(text(&folder, BLS).ends_with("initrd   /initramfs.img\n"));
}

#[test]
fn a_script_boots_nothing_that_was_not_loaded() {
    let keys = format!("emit = [\"script\"]\n{ADDRESSES}\n{LINE}");
    let (folder, _) = make(&board("aarch64", &keys), &kernel_for(Architecture::Aarch64, b""), true).unwrap();
    let load = "load ${devtype} ${devnum}:${distro_bootpart}";
    assert_eq!(
        text(&folder, COMMANDS).split_once('\n').unwrap().1,
        format!(
            "setenv bootargs \"console=ttyS2,115200n8 quiet\"\nsetenv fdt_addr_r 0x87000000\n\
             if {load} 0x80080000 ${{prefix}}kernel && {load} 0x87000000 ${{prefix}}board.dtb && \
             {load} 0x88000000 ${{prefix}}initramfs.img; then\n\
             \tbooti 0x80080000 0x88000000:${{filesize}} ${{fdt_addr_r}}\nfi\n"
        )
    );
    let (folder, _) =
        make(&board("armv7", "emit = [\"script\"]"), &kernel_for(Architecture::Armv7, b""), false).unwrap();
    assert!(text(&folder, COMMANDS).contains("\tbootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}\n"));
}

#[test]
fn a_fit_holds_kernel_initramfs_and_tree_with_hashes() {
    let keys = format!("emit = [\"fit\"]\n{ADDRESSES}\n{LINE}");
    let (folder, _) = make(&board("aarch64", &keys), &kernel_for(Architecture::Aarch64, b""), true).unwrap();
    let listed = Command::new("mkimage").arg("-l").arg(folder.path().join(FIT)).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for expected in ["FIT description: kit", "1970", "Load Address: 0x80080000", "Type:         RAMDisk Image"] {
        assert!(listed.contains(expected), "{expected}: {listed}");
    }
    assert_eq!(listed.matches("Hash algo:    sha256").count(), 3, "{listed}");
    let said = Command::new("fdtget").arg(folder.path().join(FIT_DTB)).args(["/chosen", "bootargs"]).output().unwrap();
    assert_eq!(said.stdout, b"console=ttyS2,115200n8 quiet\n");
    let (packed, _) = make(&board("aarch64", &keys), &gzip(&kernel_for(Architecture::Aarch64, b"")), true).unwrap();
    assert!(text(&packed, FIT_SOURCE).contains("compression = \"gzip\""));
    let (plain, manifest) =
        make(&board("armv7", &keys.replace(LINE, "")), &kernel_for(Architecture::Armv7, b""), true).unwrap();
    assert!(text(&plain, FIT_SOURCE).contains("incbin/(\"board.dtb\")") && !manifest.outputs.contains_key(FIT_DTB));
}

#[test]
fn a_fit_is_signed_by_an_rsa_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str, how: &[&str]| {
        let made = Command::new("openssl").arg("genpkey").args(how).arg("-out").arg(at(name)).output();
        assert!(made.unwrap().status.success());
    };
    make("kit.key", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    make("curve.key", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    fs::copy(at("kit.key"), at("kit.pem")).unwrap();
    fs::copy(at("kit.key"), at("a \"b.key")).unwrap();
    fs::write(at("text.key"), "no key").unwrap();
    let key = fit::Key::read(&at("kit.key")).unwrap();
    assert_eq!((key.name.as_str(), key.bits), ("kit", 2048));
    for (name, expected) in [
        ("curve.key", "is no RSA key of 2048,"),
        ("kit.pem", "is not called NAME.key"),
        ("a \"b.key", "is not called NAME.key"),
        ("text.key", "is no key in PEM"),
        ("none.key", "is no file"),
    ] {
        let error = fit::Key::read(&at(name)).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains(expected), "{error}");
    }
    let (name, architecture) = ("kit", Architecture::Armv7);
    let image = fit::Image {
        name,
        architecture,
        load: 0x8000,
        is_compressed: false,
        dtb: DTB,
        dtb_load: None,
        key: Some(&key),
    };
    let signature = "algo = \"sha256,rsa2048\";\n\t\t\t\tkey-name-hint = \"kit\";";
    assert!(image.source().contains(signature) && image.source().contains("arch = \"arm\""), "{}", image.source());
    let error = find(
        &board("aarch64", "emit = [\"bls\"]"),
        None,
        &Inputs { fit_key: Some(at("kit.key")), ..Inputs::default() },
    );
    assert!(error.unwrap_err().what.starts_with("--fit-key: board kit makes nothing that takes it"));
}

#[test]
fn a_unified_kernel_image_is_the_stub_and_sections() {
    let board = board("x86_64", &format!("emit = [\"uki\"]\n{LINE}"));
    let kernel = kernel_for(Architecture::X86_64, b"kernel");
    let (folder, _) = make(&board, &kernel, false).unwrap();
    let bytes = fs::read(folder.path().join(UKI)).unwrap();
    let sections = pe::sections(&bytes).unwrap();
    let content = |section: &pe::Section| {
        let at = usize::try_from(section.at).unwrap();
        bytes[at..at + usize::try_from(section.bytes).unwrap()].to_vec()
    };
    let found: Vec<(&str, Vec<u8>)> =
        sections.iter().map(|section| (section.name.as_str(), content(section))).collect();
    assert_eq!(
        found.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        [".text", ".osrel", ".cmdline", ".initrd", ".linux"]
    );
    assert_eq!((&found[2].1[..], &found[3].1[..]), (&b"console=ttyS2,115200n8 quiet"[..], &b"the initramfs"[..]));
    assert!(found[4].1 == kernel);
    // The stub's two pages, and one for each section.
    assert_eq!(u32::from_le_bytes(bytes[0xd0..0xd4].try_into().unwrap()), 0x6000);
    assert_eq!(bytes[0xd8..0xdc], [0; 4]);
    assert_eq!(bytes[0xde..0xe0], 0x0160_u16.to_le_bytes());
}

#[test]
fn a_stub_that_cannot_take_sections_is_refused() {
    let add = |program: &[u8], count: usize| {
        let sections = vec![(".x", Body::Bytes(b"x".to_vec())); count];
        let mut out = Vec::new();
        pe::add(program, b"no program", &sections, &mut out).map(|()| out)
    };
    let good = program(0xaa64);
    let added = add(&good, 5).unwrap();
    // It starts what does not say that it is NX-compatible.
    assert_eq!(added[0xde..0xe0], 0x0060_u16.to_le_bytes());
    let refused = |program: &[u8], count: usize| {
        let error = add(program, count).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.starts_with("the stub "), "{error}");
    };
    // 0x400 bytes of headers have room for 14 more sections, not for 15.
    add(&good, 14).unwrap();
    refused(&good, 15);
    refused(&good[..0x100], 1);
    refused(b"MZ", 1);
    let mut signed = good;
    signed[0x98 + 112 + 32] = 1;
    refused(&signed, 1);
}

#[test]
fn android_images_are_those_that_others_read() {
    let board = board("aarch64", &format!("emit = [\"android\"]\n{ADDRESSES}\n{LINE}"));
    let kernel = kernel_for(Architecture::Aarch64, b"kernel");
    let (folder, manifest) = make(&board, &kernel, true).unwrap();
    let [boot, vendor] = [BOOT, VENDOR_BOOT].map(|name| fs::read(folder.path().join(name)).unwrap());
    let bytes = |name: &str| u32::try_from(manifest.outputs[name].bytes).unwrap();
    let header = Android::Boot { kernel: bytes(KERNEL), ramdisk: bytes(INITRAMFS) };
    assert_eq!(Android::parse(&boot), Some(header));
    assert!(boot[4096..].starts_with(&kernel) && boot[8192..].starts_with(b"the initramfs"));
    let header = Android::VendorBoot {
        addresses: [0x8008_0000, 0x8800_0000, 0x8700_0000],
        dtb: bytes(DTB),
        line: "console=ttyS2,115200n8 quiet".into(),
    };
    assert_eq!(Android::parse(&vendor), Some(header));
    assert!(vendor[4096..].starts_with(&DTB_MAGIC) && vendor.len() == 8192 && boot.len() == 12288);
    assert_eq!(Android::parse(&vendor[..2100]), None);
}

#[test]
fn inspect_lists_what_a_bootloader_takes() {
    let all = "emit = [\"fit\", \"script\", \"uki\", \"android\"]";
    let board = board("aarch64", &format!("{all}\n{ADDRESSES}\n{LINE}"));
    let (folder, _) = make(&board, &kernel_for(Architecture::Aarch64, b"kernel"), true).unwrap();
    let shown = |name: &str, cat: Option<&str>, json: bool| {
        let mut out = Vec::new();
        let options = inspect::Options { cat: cat.map(Into::into), json };
        inspect::run(&folder.path().join(name), &options, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    let uki = shown(UKI, None, false).unwrap();
    assert!(uki.contains("           28 .cmdline\n") && uki.contains("           13 .initrd\n"), "{uki}");
    assert_eq!(shown(UKI, Some(".cmdline"), false).unwrap(), "console=ttyS2,115200n8 quiet");
    assert!(shown(UKI, Some(".none"), false).unwrap_err().what.ends_with("no section \".none\""));
    assert!(shown(UKI, None, true).unwrap().contains("\"name\": \".linux\""));
    assert!(shown(FIT, None, false).unwrap().contains("FIT description: kit"));
    assert!(shown(SCRIPT, None, false).unwrap().contains("Image Name:   kit"));
    assert!(shown(FIT, None, true).unwrap_err().what.contains("which writes no JSON"));
    assert!(shown(BOOT, None, false).unwrap().contains("          13 ramdisk\n"));
    let vendor = shown(VENDOR_BOOT, None, false).unwrap();
    assert!(vendor.contains("kernel to 0x80080000, ramdisk to 0x88000000, dtb to 0x87000000\ncommand line console="));
    assert!(shown(VENDOR_BOOT, None, true).unwrap().contains("\"dtb_address\": 2264924160"));
    for (name, length) in [(UKI, 0x70), (UKI, 0x700), (BOOT, 40), (VENDOR_BOOT, 2100)] {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        fs::write(folder.path().join("cut"), &bytes[..length]).unwrap();
        let error = shown("cut", None, false).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("truncated"), "{name} {length}: {error}");
    }
}

#[test]
fn a_file_above_the_limit_is_named_with_both_sizes() {
    let keys = |limit: usize| format!("emit = [\"extlinux\"]\nlimit = {limit}");
    let kernel = kernel_for(Architecture::Aarch64, &[0; 1000]);
    let (_, manifest) = make(&board("aarch64", &keys(kernel.len())), &kernel, false).unwrap();
    assert_eq!(share(&manifest.outputs[KERNEL]), format!(" (100.0 % of {})", kernel.len()));
    let error = make(&board("aarch64", &keys(kernel.len() - 1)), &kernel, false).unwrap_err();
    let expected = format!("kit: kernel has {} bytes, bootloader.limit is {}", kernel.len(), kernel.len() - 1);
    assert_eq!((error.exit_status(), error.what), (1, expected));
    let error = make(&board("aarch64", &keys(3)), &kernel, false).unwrap_err();
    assert!(
        error.what.contains("extlinux.conf has ") && error.what.contains(", initramfs.img has 13 bytes,"),
        "{error}"
    );
}

#[test]
fn only_a_kernel_of_the_boards_processor_is_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    let all = [Architecture::Aarch64, Architecture::Armv7, Architecture::X86_64];
    let found = |bytes: &[u8], architecture: Architecture| {
        fs::write(&path, bytes).unwrap();
        find(&board(architecture.name(), ""), Some(&path), &Inputs::default()).map(drop)
    };
    for architecture in all {
        let kernel = kernel_for(architecture, &[7; 9000]);
        let plain = [&[0; 4][..], &kernel[4..]].concat();
        let elf = crate::elf::tests::elf(architecture, crate::elf::tests::PT_LOAD);
        for bytes in [kernel.clone(), plain.clone(), gzip(&kernel), gzip(&plain), elf] {
            for other in all {
                assert_eq!(found(&bytes, other).is_ok(), other == architecture, "{architecture} as {other}");
            }
        }
    }
    let armv7 = |bytes: &[u8]| found(bytes, Architecture::Armv7);
    let mut legacy = vec![0x27, 0x05, 0x19, 0x56];
    legacy.resize(64, 0);
    assert!(armv7(&legacy).is_err());
    legacy[29] = 2;
    armv7(&legacy).unwrap();
    for (bytes, is) in [
        (&b""[..], "is no kernel that is known, expected a kernel for armv7"),
        (b"root:x:0:0", "is no kernel that is known"),
        (&kernel_for(Architecture::Aarch64, b""), "is an Image for aarch64, expected a kernel for armv7"),
        (&gzip(b"not a kernel"), "is compressed by gzip, inside no kernel that is known"),
        (&[0x1f, 0x8b, 8], "is compressed by gzip, inside no kernel"),
    ] {
        let error = armv7(bytes).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains(is), "{error}");
        assert!(error.hint.starts_with("give --kernel arch/arm/boot/zImage, or "), "{error}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_said_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("Image"), kernel_for(Architecture::Aarch64, b"")).unwrap();
    fs::write(at("Image.gz"), gzip(&kernel_for(Architecture::Aarch64, b""))).unwrap();
    fs::write(at("zboot"), b"MZ\0\0zimg").unwrap();
    fs::write(at("none"), b"").unwrap();
    write_tree(&at("tree"));
    let says = |keys: &str, kernel: Option<&str>, inputs: &Inputs, expected: &str| {
        let kernel = kernel.map(at);
        let error = find(&board("aarch64", keys), kernel.as_deref(), inputs).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains(expected), "{keys}: {error}");
    };
    let (nothing, tree) = (Inputs::default(), Inputs { dtb: Some(at("tree")), ..Inputs::default() });
    let fit = format!("emit = [\"fit\"]\n{ADDRESSES}");
    says(&fit, None, &tree, "emit = \"fit\" is made of the kernel, which is not given");
    says(&fit, Some("Image"), &nothing, "emit = \"fit\" holds a device tree, which is not given");
    says(&fit, Some("zboot"), &tree, "is a compressed EFI program, emit = \"fit\" takes Image for aarch64");
    says(&fit, Some("none"), &tree, "is no kernel that is known, emit = \"fit\" takes Image for aarch64");
    says("emit = [\"script\"]", Some("Image.gz"), &nothing, "is compressed by gzip, emit = \"script\" takes Image");
    says("emit = [\"uki\"]", Some("Image.gz"), &nothing, "emit = \"uki\" takes an EFI program for aarch64");
    let stub = Inputs { stub: Some(at("nowhere")), ..Inputs::default() };
    says("emit = [\"uki\"]", Some("Image"), &stub, "no stub for emit = \"uki\": ");
    says("", None, &tree, "--dtb: board kit makes nothing that takes it");
    let named = "emit = [\"extlinux\"]\ndtb = \"ti/kit.dtb\"";
    says(named, Some("Image"), &nothing, "boots with the device tree ti/kit.dtb, which is not given");
    let below = Inputs { dtbs: Some(folder.path().into()), ..Inputs::default() };
    says(named, Some("Image"), &below, "ti/kit.dtb: No such file");
    says("emit = [\"extlinux\"]", Some("Image"), &below, "does not say which device tree is its own");
    let wrong = Inputs { dtb: Some(at("Image")), ..Inputs::default() };
    says(named, Some("Image"), &wrong, "Image is no device tree");
    fs::create_dir(at("ti")).unwrap();
    write_tree(&at("ti/kit.dtb"));
    let found = find(&board("aarch64", named), Some(&at("Image")), &below).unwrap();
    assert_eq!(found.dtb, Some(at("ti/kit.dtb")));
    let packed = find(&board("aarch64", &fit), Some(&at("Image.gz")), &tree);
    assert!(packed.is_ok());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, at in 0usize..0x600, edit: Vec<u8>) {
        let _ = (pe::sections(&bytes), Android::parse(&bytes));
        let mut program = program(0xaa64);
        program.splice(at..(at + edit.len()).min(0x600), edit);
        let mut added = Vec::new();
        if pe::add(&program, &program, &[(".fuzz", Body::Bytes(b"content".to_vec()))], &mut added).is_ok() {
            let sections = pe::sections(&added).unwrap();
            let last = sections.last().unwrap();
            let at = usize::try_from(last.at).unwrap();
            proptest::prop_assert!(last.name == ".fuzz" && added[at..at + 7] == b"content"[..]);
        }
    }
}
