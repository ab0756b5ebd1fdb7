//! `imagegen doctor` on real kernels: content with every one that the boot tests boot, and names what is taken away.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Output;
use tests::kernel::{self, Kernel, Kind, checkout};
use tests::tool;

/// The configuration of a kernel in the cache: beside the image of the tuned one; in another package of the same suite for Debian's.
fn config(kernel: &Kernel) -> PathBuf {
    let Some(modules) = &kernel.modules else { return kernel.image.with_file_name("config") };
    let version = modules.file_name().expect("a version").to_string_lossy();
    let suite = modules.ancestors().find(|folder| is_suite(folder));
    let packages = std::fs::read_dir(suite.expect("a suite")).expect("packages").flatten().map(|entry| entry.path());
    let inside = [format!("boot/config-{version}"), format!("usr/lib/modules/{version}/config")];
    let places = packages.flat_map(|package| inside.clone().map(|path| package.join(path)));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| panic!("no configuration for {version}"))
}

/// Packages of a suite lie in `debian/SUITE-ARCHITECTURE`.
fn is_suite(folder: &Path) -> bool {
    folder.parent().and_then(Path::file_name).is_some_and(|name| name == "debian")
}

fn get(name: &str) -> Kernel {
    kernel::get(name).unwrap_or_else(|error| panic!("{error}"))
}

fn doctor(board: &str, config: &Path, modules: Option<&Path>) -> Output {
    let mut arguments = vec!["doctor".into(), board.to_owned(), "--config".into(), config.display().to_string()];
    if let Some(modules) = modules {
        arguments.extend(["--modules".to_owned(), modules.display().to_string()]);
    }
    tool::run(arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// What is missing and what is advised, without the reasons; checks that the status says the same.
fn found(output: &Output) -> (Vec<String>, Vec<String>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |level: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(level)?.strip_prefix(": "));
        lines.map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect()
    };
    let (missing, advised) = (of("missing"), of("advised"));
    assert_eq!(
        output.status.code(),
        Some(i32::from(!missing.is_empty())),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let fixes = text.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(fixes, missing.len() + advised.len(), "a fix for each: {text}");
    (missing, advised)
}

#[test]
fn every_kernel_that_the_tests_boot_is_good() {
    let mut kernels = 0;
    for kernel in kernel::all().expect("kernels").into_iter().filter(|kernel| kernel.kind() == Kind::Kernel) {
        let of_tests = |name: &str| checkout().join("tests/boards").join(format!("{name}.toml")).display().to_string();
        let mut boards: Vec<String> = match &kernel.modules {
            None => ["", "-file", "-initramfs", "-lz4hc", "-memory", "-root", "-verity"]
                .map(|kind| of_tests(&format!("tuned{kind}")))
                .to_vec(),
            Some(_) => vec![tool::board(&kernel).to_owned()],
        };
        if kernel.modules.is_some() && kernel.arch == "aarch64" {
            boards.extend(["qemu-arm64-verity".to_owned(), "qemu-arm64-memory".to_owned(), of_tests("stock")]);
        }
        for board in boards {
            let output = doctor(&board, &config(&kernel), kernel.modules.as_deref());
            let (missing, _) = found(&output);
            assert!(
                missing.is_empty(),
                "{} on {board}: {missing:?}\n{}",
                kernel.name,
                String::from_utf8_lossy(&output.stdout)
            );
        }
        kernels += 1;
    }
    assert!(kernels >= 6);
}

#[test]
fn what_a_kernel_does_not_have_is_named() {
    let (old, arm) = (get("arm64-6.1"), get("armv7-6.1"));
    let dax = doctor("qemu-arm64-memory", &config(&old), old.modules.as_deref());
    assert!(found(&dax).1.contains(&"FS_DAX is off".to_owned()), "{dax:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let board = folder.path().join("b.toml");
    let memory = "inherit = \"qemu-armv7\"\nname = \"b\"\n[modules]\nload = [\"erofs\", \"overlay\"]\n[[slot]]\nname = \"a\"\n\
                  source = \"memory\"\naddress = \"0x60000000\"\nram-start = \"0x40000000\"\n";
    std::fs::write(&board, memory).expect("a board");
    let missing = found(&doctor(board.to_str().expect("UTF-8"), &config(&arm), arm.modules.as_deref())).0;
    assert_eq!(missing, ["ARM_LPAE is off", "LIBNVDIMM is off", "BLK_DEV_PMEM is off", "OF_PMEM is off"]);
    // The verity board's modules are not those of a kernel without device-mapper.
    let verity = doctor("qemu-arm64-verity", &config(&old), None);
    let modules = ["VIRTIO_PCI", "VIRTIO_BLK", "BLK_DEV_DM", "DM_VERITY", "EROFS_FS", "OVERLAY_FS"];
    assert_eq!(found(&verity).0, modules.map(|option| format!("{option} is a module, and there are none")));
}

#[test]
fn an_option_that_is_taken_away_is_named_alone() {
    let kernel = get("arm64-6.12");
    let text = std::fs::read_to_string(config(&kernel)).expect("a configuration");
    let folder = tempfile::tempdir().expect("a folder");
    for (option, board) in [
        ("OVERLAY_FS", "qemu-arm64"),
        ("EFI_PARTITION", "qemu-arm64"),
        ("DM_VERITY", "qemu-arm64-verity"),
        ("CRYPTO_SHA256", "qemu-arm64-verity"),
        ("OF_PMEM", "qemu-arm64-memory"),
    ] {
        let path = folder.path().join(option);
        let start = format!("CONFIG_{option}=");
        let without: String =
            text.lines().filter(|line| !line.starts_with(&start)).map(|line| format!("{line}\n")).collect();
        assert!(without.len() < text.len());
        std::fs::write(&path, without).expect("a configuration");
        let missing = found(&doctor(board, &path, kernel.modules.as_deref())).0;
        assert_eq!(missing, [format!("{option} is off")], "{board}");
    }
    // As /proc/config.gz has it.
    let mut encoder =
        std::process::Command::new("gzip").arg("-k").arg(folder.path().join("OF_PMEM")).spawn().expect("gzip");
    assert!(encoder.wait().expect("gzip").success());
    let missing = found(&doctor("qemu-arm64-memory", &folder.path().join("OF_PMEM.gz"), kernel.modules.as_deref())).0;
    assert_eq!(missing, ["OF_PMEM is off"]);
}

/// A folder of modules with only what the board of QEMU loads.
fn small_tree(modules: &Path, root: &Path) -> PathBuf {
    let to = root.join("lib/modules").join(modules.file_name().expect("a version"));
    std::fs::create_dir_all(&to).expect("a folder");
    for entry in std::fs::read_dir(modules).expect("modules").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
    let folder = imagegen::modules::Folder::read(modules).expect("modules");
    let names =
        ["virtio_pci", "virtio_blk", "erofs", "overlay"].iter().flat_map(|name| folder.order(name).expect("an order"));
    let dependencies = std::fs::read_to_string(modules.join("modules.dep")).expect("modules.dep");
    for name in names {
        let is_it = |file: &&str| {
            file.rsplit('/')
                .next()
                .is_some_and(|file| file.split(".ko").next().unwrap_or_default().replace('-', "_") == name)
        };
        let file = dependencies.lines().filter_map(|line| line.split(':').next()).find(is_it).expect("a module");
        std::fs::create_dir_all(to.join(file).parent().expect("a folder")).expect("a folder");
        std::fs::copy(modules.join(file), to.join(file)).expect("a module");
    }
    to
}

#[test]
fn a_module_that_is_taken_away_is_named_alone() {
    let kernel = get("arm64-6.1");
    let (modules, config) = (kernel.modules.clone().expect("modules"), config(&kernel));
    let root = tempfile::tempdir().expect("a folder");
    let tree = small_tree(&modules, root.path());
    assert_eq!(found(&doctor("qemu-arm64", &config, Some(&tree))).0, [""; 0]);
    let dependency = tree.join("kernel/lib/libcrc32c.ko");
    let bytes = std::fs::read(&dependency).expect("libcrc32c");
    std::fs::remove_file(&dependency).expect("removed");
    let output = doctor("qemu-arm64", &config, Some(&tree));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found(&output).0, ["modules.load"], "{text}");
    assert!(
        text.contains("missing: modules.load: module libcrc32c has no file ") && text.contains(", which erofs needs"),
        "{text}"
    );
    std::fs::write(&dependency, bytes.get(..bytes.len() / 2).unwrap_or_default()).expect("half a module");
    assert_eq!(found(&doctor("qemu-arm64", &config, Some(&tree))).0.len(), 1);
    std::fs::write(&dependency, &bytes).expect("libcrc32c");
    // Taken out of the index: as if its package were not installed.
    let index = std::fs::read_to_string(tree.join("modules.dep")).expect("modules.dep");
    let without: String =
        index.lines().filter(|line| !line.contains("overlay.ko:")).map(|line| format!("{line}\n")).collect();
    std::fs::write(tree.join("modules.dep"), without).expect("modules.dep");
    let missing = found(&doctor("qemu-arm64", &config, Some(&tree))).0;
    let expected =
        format!("OVERLAY_FS is a module, and {} has no overlay", tree.canonicalize().expect("a path").display());
    assert_eq!(missing, [expected]);
    // Not loaded by the board.
    let board = root.path().join("b.toml");
    std::fs::write(
        &board,
        "inherit = \"qemu-arm64\"\nname = \"b\"\n[modules]\nload = [\"virtio_pci\", \"virtio_blk\", \"erofs\"]\n",
    )
    .expect("a board");
    let missing = found(&doctor(board.to_str().expect("UTF-8"), &config, Some(&modules))).0;
    assert_eq!(missing, ["OVERLAY_FS is a module, and nothing loads overlay"]);
}

/// Real boards, none of which the tests boot: what Debian's kernels have for them.
#[test]
fn boards_of_the_folder_on_debians_kernels() {
    let kernel = get("arm64-7");
    let missing = |board: &str| found(&doctor(board, &config(&kernel), kernel.modules.as_deref())).0;
    for board in BOARDS_OF_DEBIAN {
        assert_eq!(missing(board), [""; 0], "{board}");
    }
    assert_eq!(missing("imx93-evk"), ["CLK_IMX93 is off"]);
    let arm = get("armv7-6.1");
    let stm32 = found(&doctor("stm32mp157c-dk2", &config(&arm), arm.modules.as_deref())).0;
    assert_eq!(stm32, [""; 0], "stm32mp157c-dk2");
    for (board, option) in [("jetson-agx-orin", "TEGRA_BPMP is off"), ("s32g-vnp-rdb2", "ARCH_S32 is off")] {
        assert!(missing(board).contains(&option.to_owned()), "{board}");
    }
}

const BOARDS_OF_DEBIAN: &[&str] = &[
    "am69-sk",
    "beagleplay",
    "imx8mp-evk",
    "j784s4-evm",
    "raspberrypi-4",
    "raspberrypi-5",
    "rb3-gen2",
    "rcar-h3-salvator-xs",
    "rcar-h3-ulcb",
    "rcar-s4-spider",
    "rock-5b",
    "sa8775p-ride",
];

#[test]
fn what_is_no_kernels_is_refused() {
    let kernel = get("arm64-6.12");
    let refused = |board: &str, config: &Path, modules: Option<&Path>, said: &str| {
        let output = doctor(board, config, modules);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said) && output.stdout.is_empty(), "{text}");
    };
    refused("qemu-armv7", &config(&kernel), None, "of a kernel for arm64, and qemu-armv7 wants arm");
    refused("qemu-arm64", &config(&kernel), get("arm64-6.1").modules.as_deref(), "of Linux 6.12.");
    refused("qemu-arm64", &checkout().join("README.md"), None, "is neither CONFIG_NAME=VALUE nor a comment");
    refused("qemu-arm64", Path::new("/no/such/config"), None, "cannot open /no/such/config");
    refused("qemu-arm64", &config(&kernel), Some(Path::new("/no/such/folder")), "/no/such/folder");
    refused("qemu-arm46", &config(&kernel), None, "did you mean \"qemu-arm64\"");
}
