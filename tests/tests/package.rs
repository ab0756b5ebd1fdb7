//! Man pages, completions, `make install` and the Debian package: rendered, linted, completed, installed, and made twice.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tests::kernel::checkout;
use tests::tool::{program, said};

/// When what is packed last changed: one day, for every run.
const EPOCH: &str = "1795651200";

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command says; it must succeed.
fn good(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let text = good(Command::new("find").arg(folder).args(["-type", "f", "-printf", "%P\n"]));
    let mut files: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
    files.sort();
    files
}

/// Man pages and completions.
fn documents(folder: &Path) {
    good(
        Command::new(program().unwrap())
            .args(["documents".as_ref(), folder.as_os_str()])
            .args(["--date", "2026-11-25"]),
    );
}

/// What `make install` puts into a folder, with and without hooks. Once: cargo looks at every program.
static TREE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let tree = tempfile::tempdir().unwrap();
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let destination = format!("DESTDIR={}", tree.path().display());
    let make = ["--no-print-directory", "install", "install-hooks", &destination, "PREFIX=/usr"];
    good(Command::new("make").args(make).current_dir(checkout()).env("SOURCE_DATE_EPOCH", EPOCH));
    tree
});

fn tree() -> &'static Path {
    TREE.path()
}

/// Makes the package, as a user with this umask.
fn package(out: &Path, umask: &str) -> PathBuf {
    let script = checkout().join("imagegen/distribution/debian.sh");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).args([&script, tree(), out]);
    let text = good(command.env("SOURCE_DATE_EPOCH", EPOCH));
    PathBuf::from(text.trim_end())
}

#[test]
fn every_command_has_a_man_page_that_renders_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path());
    let man = folder.path().join("man");
    let pages = files(&man);
    let help = good(Command::new(program().unwrap()).arg("--help"));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 12 && commands.contains(&"install"), "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(pages.contains(&PathBuf::from(format!("imagegen-{command}.1"))), "{command}: {pages:?}");
    }
    assert_eq!(pages.len(), commands.iter().filter(|command| **command != "help").count() + 1);
    for page in &pages {
        let path = man.join(page);
        let rendered =
            run(Command::new("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&path).env("MANWIDTH", "100"));
        assert!(rendered.status.success() && rendered.stderr.is_empty(), "{}: {}", page.display(), said(&rendered));
        let text = String::from_utf8_lossy(&rendered.stdout).into_owned();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
            assert!(text.contains(section), "{}: {section}: {text}", page.display());
        }
        let lint = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path));
        assert!(lint.status.success(), "{}", said(&lint));
        // What apropos and whatis show.
        good(Command::new("lexgrog").arg(&path));
    }
}

#[test]
fn bash_completes_commands_options_and_nothing_hidden() {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path());
    let script = folder.path().join("completions/imagegen.bash");
    good(Command::new("bash").arg("-n").arg(&script));
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let code = format!(
            "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD={last}; _imagegen imagegen \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            last.saturating_sub(1)
        );
        let text = good(Command::new("bash").args(["-c", &code]).arg(&script).args(words));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["imagegen", "ins"]), ["inspect", "install"]);
    assert_eq!(complete(&["imagegen", "build", "--fr"]), ["--from"]);
    assert_eq!(complete(&["imagegen", "measure", "--clock", ""]), ["instructions", "wall"]);
    assert!(complete(&["imagegen", "sch"]).iter().all(|word| word != "schema"));
}

#[test]
fn an_installed_program_finds_boards_and_bootstrap() {
    let work = tempfile::tempdir().unwrap();
    let imagegen = |arguments: &[&OsStr]| {
        let mut command = Command::new(tree().join("usr/bin/imagegen"));
        good(command.args(arguments).current_dir(work.path()).env_remove("INITOVERLAYFS_BOARDS"))
    };
    assert!(imagegen(&["check".as_ref(), "qemu-arm64".as_ref()]).contains("good"));
    // A board of one's own inherits from one that is installed.
    imagegen(&["new", "kit", "--architecture", "aarch64", "--source", "partition", "--partname", "x"].map(OsStr::new));
    assert!(fs::read_to_string(work.path().join("kit.toml")).unwrap().contains("inherit = \"arm64\""));
    let content = work.path().join("content");
    for folder in ["dev", "proc", "sys", "run"] {
        fs::create_dir_all(content.join(folder)).unwrap();
    }
    fs::copy(tree().join("usr/lib/initoverlayfs/bootstrap-aarch64"), content.join("init")).unwrap();
    imagegen(&[
        "build".as_ref(),
        "./kit.toml".as_ref(),
        "--from".as_ref(),
        content.as_ref(),
        "--out".as_ref(),
        "out".as_ref(),
    ]);
    assert!(work.path().join("out/initramfs.img").is_file());
}

#[test]
fn the_package_is_made_twice_alike_and_has_what_make_installs() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = package(one.path(), "022");
    let second = package(two.path(), "077");
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "two packages of one tree differ");
    let unpacked = one.path().join("unpacked");
    good(Command::new("dpkg-deb").arg("-x").args([&first, &unpacked]));
    let names = files(&unpacked);
    for name in files(tree()) {
        let is_page = name.extension().is_some_and(|extension| extension == "1");
        let name = if is_page { PathBuf::from(format!("{}.gz", name.display())) } else { name };
        assert!(names.contains(&name), "{}", name.display());
    }
    let control = good(Command::new("dpkg-deb").arg("-f").arg(&first));
    for part in ["Depends: libc6", "erofs-utils", "Version: 0."] {
        assert!(control.contains(part), "{part}: {control}");
    }
    let listed = good(Command::new("dpkg-deb").arg("-c").arg(&first));
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let conffiles = good(Command::new("dpkg-deb").arg("-I").arg(&first).arg("conffiles"));
    assert!(conffiles.contains("/etc/initramfs/post-update.d/initoverlayfs"), "{conffiles}");
    // What dpkg calls when it goes: `make debian` sees that nothing stays.
    let scripts = one.path().join("scripts");
    good(Command::new("dpkg-deb").arg("-e").args([&first, &scripts]));
    for name in ["prerm", "postrm"] {
        assert_eq!(fs::metadata(scripts.join(name)).unwrap().permissions().mode() & 0o777, 0o755, "{name}");
        good(Command::new("sh").arg("-n").arg(scripts.join(name)));
    }
    assert_eq!(fs::metadata(scripts.join("md5sums")).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn the_module_of_dracut_is_whole() {
    let folder = |root: &Path| root.join("90initoverlayfs");
    let (source, installed) =
        (checkout().join("imagegen/distribution/dracut"), tree().join("usr/lib/dracut/modules.d"));
    let names = files(&folder(&source));
    assert_eq!(names, files(&folder(&installed)));
    let setup = folder(&installed).join("module-setup.sh");
    good(Command::new("bash").arg("-n").arg(&setup));
    for name in names.iter().filter(|name| !setup.ends_with(name)) {
        // What the module lists is what there is, and no unit starts a shell.
        assert!(fs::read_to_string(&setup).unwrap().contains(name.to_str().unwrap()), "{}", name.display());
        let unit = fs::read_to_string(folder(&installed).join(name)).unwrap();
        assert!(!unit.contains("sh -c") && !unit.contains("bin/sh"), "{unit}");
        assert_eq!(fs::metadata(folder(&installed).join(name)).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

#[test]
fn lintian_finds_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "027");
    // As root it says that it should not be.
    let output = run(Command::new("lintian").args(["--fail-on", "error", "--allow-root"]).arg(&package));
    assert!(output.status.success(), "{}", said(&output));
}
