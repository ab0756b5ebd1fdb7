//! Yocto tier: the layer by bitbake's own parser and its linter, always; bitbake itself where OECORE and BITBAKE name checkouts.

use std::fs;
use std::path::Path;
use std::process::Command;
use tests::kernel::checkout;
use tests::tool;

/// The layer's kernel fragment.
const FRAGMENT: &str = "yocto-layer/recipes-kernel/linux/files/initoverlayfs.cfg";
/// What a machine's own configuration has; it stands in for one that has nothing else. And the images' certificate, which
/// nobody but who signs them has.
const MACHINE: &str = "CONFIG_PCI=y\nCONFIG_PCI_HOST_GENERIC=y\nCONFIG_VIRTIO_MENU=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\n\
    CONFIG_SERIAL_AMBA_PL011=y\nCONFIG_SERIAL_AMBA_PL011_CONSOLE=y\nCONFIG_EXT4_FS=y\nCONFIG_WATCHDOG=y\n\
    CONFIG_CRYPTO_SHA2_ARM64_CE=y\nCONFIG_SYSTEM_TRUSTED_KEYS=\"images.pem\"\n";
/// What is verified by signature, and by fs-verity.
const BOARDS: [(&str, &str); 2] = [
    (
        "signature",
        "inherit = \"qemu-arm64\"\nname = \"signature\"\n[modules]\nload = []\n[verity]\nmethod = \"signature\"\n",
    ),
    (
        "fs-verity",
        "inherit = \"arm64\"\nname = \"fs-verity\"\n[[slot]]\nname = \"a\"\nsource = \"file\"\npartname = \"holder\"\n\
         file = \"/image\"\nfilesystem = \"ext4\"\n[verity]\nmethod = \"fs-verity\"\n",
    ),
];

/// Runs a script of the tests, and shows what it said if it failed.
fn run(command: &mut Command) -> String {
    let output = command.current_dir(checkout()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

fn check(name: &str) {
    let python = run(&mut Command::new("tests/setup/yocto.sh"));
    run(Command::new(python.trim_end()).args(["tests/yocto/check.py", name]));
}

#[test]
fn the_configuration_parses_and_says_what_a_layer_must() {
    check("configuration");
}

#[test]
fn every_recipe_parses_and_names_files_that_are_there() {
    check("recipes");
}

#[test]
fn the_crates_are_those_of_the_lock_file() {
    check("crates");
}

#[test]
fn the_linter_of_recipes_has_nothing_to_say() {
    check("lint");
}

#[test]
fn the_image_type_deploys_an_image_for_the_layers_board() {
    check("image_type");
}

#[test]
fn a_variable_turns_verification_on_and_no_path_gets_into_the_manifest() {
    check("image_verity");
}

#[test]
fn a_key_and_a_certificate_sign_and_half_of_them_is_refused() {
    check("image_signed");
}

/// Configures a kernel as the kernel's own tools do, and as Yocto's do in the end: `base`, then the fragments, then every option
/// that depends on another. What the dependencies of an option do not allow is dropped without a word.
fn configure(architecture: &str, base: &str, fragments: &[&Path], config: &Path) -> String {
    let linux = run(&mut Command::new("tests/setup/kconfig.sh"));
    let linux = Path::new(linux.trim_end());
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(linux).arg(format!("ARCH={architecture}")).arg(target);
        run(make.env("KCONFIG_CONFIG", config));
    };
    make(base);
    let mut merge = Command::new(linux.join("scripts/kconfig/merge_config.sh"));
    run(merge.env("KCONFIG_CONFIG", config).arg("-m").arg(config).args(fragments));
    make("olddefconfig");
    fs::read_to_string(config).unwrap()
}

/// On what board vendors start from, and on next to nothing.
#[test]
fn every_option_of_the_kernel_fragment_holds_and_doctor_asks_for_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (fragment, machine) = (checkout().join(FRAGMENT), folder.path().join("machine.cfg"));
    fs::write(&machine, MACHINE).unwrap();
    let options = fs::read_to_string(&fragment).unwrap();
    let options: Vec<&str> = options.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(options.len() > 20, "{options:?}");
    let layers = |name: &str| checkout().join(format!("yocto-layer/files/initoverlayfs/{name}.toml"));
    let mut boards = vec![layers("qemuarm64"), layers("qemuarm64-ostree"), "qemu-arm64-verity".into()];
    for (name, board) in BOARDS {
        let path = folder.path().join(format!("{name}.toml"));
        fs::write(&path, board).unwrap();
        boards.push(path);
    }
    for (architecture, base, boards) in [
        ("arm64", "defconfig", &boards[..3]),
        ("arm64", "alldefconfig", &boards[..]),
        ("arm", "multi_v7_defconfig", &[layers("qemuarm")][..]),
    ] {
        let config = folder.path().join(format!("{architecture}-{base}"));
        let fragments: &[&Path] = if base == "alldefconfig" { &[&machine, &fragment] } else { &[&fragment] };
        let text = configure(architecture, base, fragments, &config);
        for option in &options {
            assert!(text.lines().any(|line| line == *option), "{architecture} {base}: {option} was dropped");
        }
        for board in boards {
            let words = ["doctor".as_ref(), board.as_os_str(), "--config".as_ref(), config.as_os_str()];
            let output = tool::run(words).unwrap();
            let report = tool::said(&output);
            assert!(output.status.success(), "{architecture} {base}: {report}");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains(" 0 missing, 0 advised"), "{architecture} {base}: {said}");
        }
    }
}

#[test]
#[ignore = "bitbake itself: OECORE and BITBAKE are not set"]
fn bitbake_parses_builds_and_boots() {
    println!("{}", run(&mut Command::new("tests/yocto/run.sh")));
}
