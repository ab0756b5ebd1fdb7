//! `imagegen install` for a kernel, and what distributions call: on the tree of a system with a real kernel's modules. What is in
//! /boot afterwards is all that is there, and after the kernel's removal it is what was there before.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use tests::cpio::{Entry, archive};
use tests::kernel::{self, Kernel, checkout};
use tests::tool::{program, said};

const BAD_INPUT: i32 = 2;
const FAILED_WORK: i32 = 1;

/// A system's tree: a kernel's modules, its initramfs in /boot, a board.
struct System {
    tree: TempDir,
    release: String,
}

/// The board of a system whose /boot is a folder (`/boot/`) or a file system of its own (`/`).
fn board(prefix: &str) -> String {
    let architecture = kernel().arch;
    format!(
        "name = \"host\"\narchitecture = \"{architecture}\"\n[modules]\nload = [\"virtio_pci\", \"virtio_blk\", \"ext4\", \"loop\", \"erofs\", \"overlay\"]\n\
         [[slot]]\nname = \"a\"\nsource = \"file\"\nlabel = \"boot\"\nfilesystem = \"ext4\"\n\
         file = \"{prefix}initoverlayfs-{{release}}-{{build}}.erofs\"\n"
    )
}

/// A kernel for this machine, as a system has one.
fn kernel() -> Kernel {
    let name = if cfg!(target_arch = "aarch64") { "arm64-6.1" } else { "x86_64-6.1" };
    kernel::get(name).unwrap_or_else(|error| panic!("{error}"))
}

/// An initramfs with this greeting; its next init is bootstrap itself, a program of the right processor.
fn initramfs(greeting: &str) -> Vec<u8> {
    let init = fs::read(program().unwrap().with_file_name(format!("bootstrap-{}", kernel().arch))).unwrap();
    let mut entries: Vec<Entry> = ["dev", "proc", "sys", "run", "etc"].map(Entry::folder).into();
    entries.push(Entry::file("init", 0o755, init));
    entries.push(Entry::file("etc/greeting", 0o644, greeting));
    archive(&entries)
}

impl System {
    fn new() -> Self {
        let kernel = kernel();
        let system = System { tree: tempfile::tempdir().unwrap(), release: kernel.release().unwrap() };
        for folder in ["boot", "usr/lib/modules", "etc/initoverlayfs", "var/lib"] {
            fs::create_dir_all(system.at(folder)).unwrap();
        }
        symlink(kernel.modules.unwrap(), system.at("usr/lib/modules").join(&system.release)).unwrap();
        fs::write(system.at("etc/initoverlayfs/board.toml"), board("/boot/")).unwrap();
        system.write_boot("vmlinuz", b"a kernel");
        system.write_boot("initrd.img", &initramfs("hello"));
        system
    }

    fn at(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn write_boot(&self, name: &str, bytes: &[u8]) {
        fs::write(self.boot(&format!("{name}-{}", self.release)), bytes).unwrap();
    }

    fn boot(&self, name: &str) -> PathBuf {
        self.at("boot").join(name)
    }

    /// Everything in /boot, with what it holds.
    fn in_boot(&self) -> BTreeMap<String, Vec<u8>> {
        let text = Command::new("find").arg(self.at("boot")).args(["-type", "f", "-printf", "%P\n"]).output().unwrap();
        let names = String::from_utf8(text.stdout).unwrap();
        names.lines().map(|name| (name.to_owned(), fs::read(self.boot(name)).unwrap())).collect()
    }

    /// The image's name; there is one.
    fn image(&self) -> String {
        let names: Vec<String> = self.in_boot().into_keys().filter(|name| name.ends_with(".erofs")).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].clone()
    }

    fn install(&self, more: &[&str]) -> Output {
        let mut command = Command::new(program().unwrap());
        command.args(["install", "--kernel", &self.release, "--root"]).arg(self.tree.path()).args(more);
        command.output().unwrap()
    }

    /// A folder for PATH with an `imagegen` that works on this system.
    fn programs(&self) -> String {
        let folder = self.at("programs");
        fs::create_dir_all(&folder).unwrap();
        let script =
            format!("#!/bin/sh\nexec {} \"$@\" --root {}\n", program().unwrap().display(), self.tree.path().display());
        fs::write(folder.join("imagegen"), script).unwrap();
        fs::set_permissions(folder.join("imagegen"), fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Runs what a distribution calls; it never fails what calls it.
    fn hook(&self, name: &str, arguments: &[&OsStr], variables: &[(&str, &OsStr)]) -> String {
        let mut command = Command::new(checkout().join("imagegen/distribution").join(name));
        command.args(arguments).env("PATH", self.programs()).env_remove("DEB_MAINT_PARAMS");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }
}

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

#[track_caller]
fn refused(output: &Output, status: i32, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

/// What `imagegen inspect` says of a file, or of one in it.
fn inspect(file: &Path, more: &[&str]) -> Vec<u8> {
    let output = Command::new(program().unwrap()).arg("inspect").arg(file).args(more).output().unwrap();
    good(&output);
    output.stdout
}

#[test]
fn a_kernel_is_installed_updated_and_removed_and_nothing_stays() {
    let system = System::new();
    let before = system.in_boot();
    good(&system.install(&[]));
    let (release, first) = (&system.release, system.image());
    let installed = system.in_boot();
    assert_eq!(installed.len(), before.len() + 2, "{:?}", installed.keys());
    for (name, bytes) in &before {
        assert!(installed[name] == *bytes, "{name} was touched");
    }
    // The plan names this image and no other.
    let mini = system.boot(&format!("initoverlayfs-{release}.img"));
    let plan = system.at("plan");
    fs::write(&plan, inspect(&mini, &["--cat", "/plan"])).unwrap();
    let words = String::from_utf8(inspect(&plan, &[])).unwrap();
    assert!(words.contains(&format!("/boot/{first}")), "{words}");
    assert_eq!(inspect(&system.boot(&first), &["--cat", "/etc/greeting"]), b"hello");

    let inode = fs::metadata(&mini).unwrap().ino();
    let again = system.install(&[]);
    assert!(said(&again).contains("everything is there already"), "{}", said(&again));
    assert_eq!(fs::metadata(&mini).unwrap().ino(), inode);

    system.write_boot("initrd.img", &initramfs("hello again"));
    good(&system.install(&[]));
    assert_ne!(system.image(), first);
    assert_eq!(system.in_boot().len(), installed.len());
    assert_eq!(inspect(&system.boot(&system.image()), &["--cat", "/etc/greeting"]), b"hello again");

    system.write_boot("initrd.img", &before[&format!("initrd.img-{release}")]);
    good(&system.install(&["--remove"]));
    assert!(system.in_boot() == before, "{:?}", system.in_boot().keys());
    // Nobody knows of anything any more.
    good(&system.install(&["--remove"]));
    assert!(!system.at(&format!("var/lib/initoverlayfs/{release}.json")).exists());
}

/// The name of the image that the mini-initramfs boots.
fn booted(system: &System) -> String {
    let plan = inspect(&system.boot(&format!("initoverlayfs-{}.img", system.release)), &["--cat", "/plan"]);
    let text = String::from_utf8_lossy(&plan).into_owned();
    let path = text.split_once("/boot/").map(|(_, rest)| rest).unwrap_or_default();
    let end = path.find(".erofs").unwrap_or_default();
    format!("{}.erofs", &path[..end])
}

/// Power cuts: the program is killed at each step that renames or removes something, until it gets through.
#[test]
fn a_power_cut_at_any_step_leaves_a_pair_that_fits_and_nothing_is_forgotten() {
    let system = System::new();
    let before = system.in_boot();
    let mut cuts = 0;
    loop {
        let initrd = format!("initrd.img-{}", system.release);
        fs::write(system.boot(&initrd), &before[&initrd]).unwrap();
        good(&system.install(&[]));
        let (installed, first) = (system.in_boot().len(), booted(&system));
        system.write_boot("initrd.img", &initramfs("hello again"));
        let step = cuts + 1;
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", "trace=/rename,/unlink,/rmdir", "-e"]);
        command.arg(format!("inject=/rename,/unlink,/rmdir:signal=SIGKILL:when={step}")).arg(program().unwrap());
        command.args(["install", "--kernel", &system.release, "--root"]).arg(system.tree.path());
        let output = command.output().unwrap();
        let cut = output.status.code().is_none_or(|code| code == 128 + 9);
        let boots = booted(&system);
        assert!(system.in_boot().contains_key(&boots), "cut {step}: {boots} is not in {:?}", system.in_boot().keys());
        if step % 2 == 0 {
            good(&system.install(&["--remove"]));
            assert_eq!(system.in_boot().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "cut {step}");
        }
        good(&system.install(&[]));
        assert_eq!((system.in_boot().len(), booted(&system) == first), (installed, false), "cut {step}");
        if !cut {
            good(&output);
            break;
        }
        cuts = step;
    }
    // The folder of the build, the list twice, image, mini-initramfs, and the old image that goes.
    assert!(cuts > 6, "{cuts} cuts");
}

/// What the original's installer gets wrong (facts.md, 10 and 13): zstd and lzop are compressed once more there instead of decompressed,
/// what it writes is for everybody to read, and differs each time. Whatever compressed the initramfs, the image is the same.
#[test]
fn every_compression_becomes_the_same_image_that_only_root_reads() {
    let system = System::new();
    let plain = system.at("plain");
    fs::write(&plain, initramfs("hello")).unwrap();
    let mut images = BTreeMap::new();
    for command in ["cat", "gzip -9", "zstd -q", "lzop", "xz --check=crc32", "lz4 -l", "bzip2", "xz --format=lzma"] {
        let script = format!("{command} < plain");
        let output = Command::new("sh").args(["-c", &script]).current_dir(system.tree.path()).output().unwrap();
        good(&output);
        system.write_boot("initrd.img", &output.stdout);
        good(&system.install(&[]));
        let image = system.boot(&system.image());
        assert_eq!(inspect(&image, &["--cat", "/etc/greeting"]), b"hello", "{command}");
        let mini = system.boot(&format!("initoverlayfs-{}.img", system.release));
        for path in [&image, &mini] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600, "{command}: {}", path.display());
        }
        images.insert(fs::read(&image).unwrap(), command);
    }
    assert_eq!(images.len(), 1, "{:?}", images.values());
    // Made anew from nothing: the same bytes.
    let first = system.in_boot();
    good(&system.install(&["--remove"]));
    good(&system.install(&[]));
    assert!(system.in_boot() == first, "{:?}", system.in_boot().keys());
}

/// What a program makes of this.
fn packed(command: &str, bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sh").args(["-c", &format!("{command} < \"$0\"")]).arg(file.path()).output().unwrap();
    good(&output);
    output.stdout
}

/// What else the original's installer gets wrong about an initramfs: the exit status of its pipe is cpio's, so that half an initramfs
/// becomes an image that boots next; it skips one archive in front of the compressed one, and reads none behind it; and what it
/// has made itself lies where it looks for the content, so that a second run takes that.
#[test]
fn an_initramfs_is_taken_whole_or_not_at_all() {
    let system = System::new();
    good(&system.install(&[]));
    let content = initramfs("hello again");
    let gzip = packed("gzip -9", &content);
    let early = archive(&[Entry::folder("kernel"), Entry::file("kernel/early", 0o644, "x")]);
    let late = archive(&[Entry::folder("etc"), Entry::file("etc/greeting", 0o644, "hello again")]);
    let mini = fs::read(system.boot(&format!("initoverlayfs-{}.img", system.release))).unwrap();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    // Where the kernel looks for a plain archive.
    let mut aligned = packed("zstd -q", &initramfs("hello"));
    aligned.resize(aligned.len().next_multiple_of(4), 0);
    let rows: [(&str, Vec<u8>, Option<&str>); 11] = [
        ("half of it", half(&content), Some("initrd.img-")),
        ("half of it, gzip", half(&gzip), Some("initrd.img-")),
        ("half of it, zstd", half(&packed("zstd -q", &content)), Some("initrd.img-")),
        ("half of it, xz", half(&packed("xz --check=crc32", &content)), Some("initrd.img-")),
        ("nothing", Vec::new(), Some("initrd.img-")),
        ("no initramfs", b"a kernel".to_vec(), Some("initrd.img-")),
        ("what was made of it", mini, Some("is a mini-initramfs itself")),
        ("two archives in front", [&early[..], &early, &gzip].concat(), None),
        ("padded to a page in front", [packed("cat", &early), vec![0; 4096], gzip.clone()].concat(), None),
        ("one behind", [aligned, late.clone()].concat(), None),
        ("one behind, packed", [packed("gzip", &initramfs("hello")), packed("xz --check=crc32", &late)].concat(), None),
    ];
    for (name, bytes, expected) in rows {
        system.write_boot("initrd.img", &initramfs("hello"));
        good(&system.install(&[]));
        system.write_boot("initrd.img", &bytes);
        let before = system.in_boot();
        let output = system.install(&[]);
        if let Some(text) = expected {
            refused(&output, BAD_INPUT, &[text]);
            assert!(system.in_boot() == before, "{name}");
        } else {
            good(&output);
            let image = system.boot(&system.image());
            assert_eq!(inspect(&image, &["--cat", "/etc/greeting"]), b"hello again", "{name}");
        }
    }
}

/// A new file system at /boot, in a namespace of its own: what `script` says with it.
fn with_boot_of(system: &System, size: &str, script: &str) -> Output {
    let script = format!(
        "set -e; mkdir kept; cp -a boot/. kept; mount -t tmpfs -o size={size},mode=755 boot boot; cp -a kept/. boot; {script}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"]).arg(program().unwrap());
    command
        .args(["install", "--kernel", &system.release, "--root"])
        .arg(system.tree.path())
        .current_dir(system.tree.path());
    command.output().unwrap()
}

#[test]
fn a_boot_of_its_own_without_room_is_not_touched() {
    let system = System::new();
    fs::write(system.at("etc/initoverlayfs/board.toml"), board("/")).unwrap();
    let list = "find boot -type f -printf '%P %s %i\\n' | sort; df --output=used boot";
    let output = with_boot_of(
        &system,
        "256k",
        &format!("({list}) > before; status=0; \"$@\" || status=$?; ({list}) > after; exit $status"),
    );
    refused(&output, FAILED_WORK, &["bytes free, and it takes", "nothing was changed"]);
    let read = |name| fs::read_to_string(system.at(name)).unwrap();
    assert!(
        read("before").contains("initrd.img-") && read("before") == read("after"),
        "{}{}",
        read("before"),
        read("after")
    );
    assert!(!system.at("var/lib/initoverlayfs/work").exists());
    // With room, by its own paths; and what it took comes back.
    fs::remove_dir_all(system.at("kept")).unwrap();
    let script = format!("({list}) > before; \"$@\"; ls boot > there; \"$@\" --remove; ({list}) > after");
    good(&with_boot_of(&system, "64m", &script));
    assert!(read("there").contains(".erofs") && read("before") == read("after"), "{}", read("there"));
}

#[test]
fn the_originals_configuration_becomes_the_systems_board() {
    let system = System::new();
    let own = system.at("etc/initoverlayfs/board.toml");
    fs::remove_file(&own).unwrap();
    refused(&system.install(&[]), BAD_INPUT, &["no board", "imagegen new"]);
    fs::write(system.at("etc/initoverlayfs.conf"), "bootfs LABEL=boot\nbootfstype ext4\nerofs_compression -zlz4hc,11")
        .unwrap();
    // It names the file system of /boot, which here is the root's.
    refused(&system.install(&[]), BAD_INPUT, &["not in", "it begins with /boot"]);
    assert!(!own.exists());
    good(&with_boot_of(&system, "64m", "\"$@\"; ls boot > there"));
    assert!(fs::read_to_string(system.at("there")).unwrap().contains(".erofs"));
    let text = fs::read_to_string(&own).unwrap();
    assert!(text.contains("# Converted: ") && text.contains("compression = \"lz4hc,11\""), "{text}");
    let output = Command::new(program().unwrap()).arg("check").arg(&own).output().unwrap();
    good(&output);
}

#[test]
fn a_failure_half_way_leaves_what_was_there() {
    let system = System::new();
    // In the place of the mini-initramfs, which comes after the image.
    let blocked = system.boot(&format!("initoverlayfs-{}.img", system.release));
    fs::create_dir(&blocked).unwrap();
    let before = system.in_boot();
    refused(&system.install(&[]), BAD_INPUT, &["is not a file"]);
    assert!(system.in_boot() == before, "{:?}", system.in_boot().keys());
    fs::remove_dir(&blocked).unwrap();
    good(&system.install(&[]));
    let installed = system.in_boot();
    // The same once there is something to boot: it stays, with its list.
    system.write_boot("initrd.img", &initramfs("new"));
    fs::write(
        system.at("etc/initoverlayfs/board.toml"),
        format!("{}handover = \"kernel\"\n", board("/boot/initoverlayfs-x/../")),
    )
    .unwrap();
    refused(&system.install(&[]), BAD_INPUT, &["slot[0].file"]);
    let name = |bytes: &BTreeMap<String, Vec<u8>>| bytes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(name(&system.in_boot()), name(&installed));
    // A list that something has damaged says nothing about what to remove.
    let list = system.at(&format!("var/lib/initoverlayfs/{}.json", system.release));
    let text = fs::read_to_string(&list).unwrap();
    for damaged in [
        text.replace("/boot/", "/boot/../../"),
        text.replace("\"format\": 1", "\"format\": 9"),
        "{".to_owned(),
        String::new(),
    ] {
        fs::write(&list, damaged).unwrap();
        refused(&system.install(&["--remove"]), BAD_INPUT, &[".json: "]);
        assert_eq!(name(&system.in_boot()), name(&installed));
    }
}

#[test]
fn what_is_missing_is_named() {
    let system = System::new();
    let imagegen = |arguments: &[&str]| {
        let mut command = Command::new(program().unwrap());
        command.args(arguments).arg("--root").arg(system.tree.path());
        command.output().unwrap()
    };
    refused(&imagegen(&["install"]), BAD_INPUT, &["which kernel of", "--kernel RELEASE"]);
    for release in ["../x", "", "-x", "6.1/2", "6.1\n"] {
        refused(&imagegen(&["install", &format!("--kernel={release}")]), BAD_INPUT, &["is no kernel's release"]);
    }
    refused(&imagegen(&["install", "--kernel", "9.9"]), BAD_INPUT, &["no initramfs of kernel 9.9", "initrd.img-9.9"]);
    fs::write(system.boot("initrd.img-9.9"), initramfs("x")).unwrap();
    refused(&imagegen(&["install", "--kernel", "9.9"]), BAD_INPUT, &["no modules of kernel 9.9"]);
    refused(&imagegen(&["install", "--kernel", "9.9", "--boot", "/efi"]), BAD_INPUT, &["no folder", "/efi"]);
    let own = system.at("etc/initoverlayfs/board.toml");
    let partition = board("/boot/").replace("source = \"file\"", "source = \"partition\"");
    let partition: String =
        partition.lines().filter(|line| !line.starts_with("file")).map(|line| format!("{line}\n")).collect();
    fs::write(&own, partition).unwrap();
    refused(&system.install(&[]), BAD_INPUT, &["slot a is no file", "--to PARTITION"]);
    // A hook asks for nothing where nobody wants anything.
    fs::remove_file(&own).unwrap();
    let before = system.in_boot();
    let output = system.install(&["--if-configured"]);
    good(&output);
    assert!(output.stdout.is_empty() && output.stderr.is_empty() && system.in_boot() == before, "{}", said(&output));
}

#[test]
fn debian_calls_it_when_a_kernel_comes_changes_and_goes() {
    let system = System::new();
    let before = system.in_boot();
    let (release, kernel) = (OsStr::new(&system.release), system.boot(&format!("vmlinuz-{}", system.release)));
    system.hook("kernel/postinst.d/zy-initoverlayfs", &[release, kernel.as_os_str()], &[]);
    let first = system.image();
    // update-initramfs, for its own reasons.
    system.write_boot("initrd.img", &initramfs("newer"));
    let initrd = system.boot(&format!("initrd.img-{}", system.release));
    system.hook("initramfs-tools/initoverlayfs", &[release, initrd.as_os_str()], &[]);
    assert_ne!(system.image(), first);
    // The package's upgrade removes the old files of the same kernel: not ours.
    let params = |word: &'static str| [("DEB_MAINT_PARAMS", OsStr::new(word))];
    system.hook("kernel/postrm.d/zy-initoverlayfs", &[release], &params("'upgrade' '6.1.2'"));
    system.image();
    system.hook("kernel/postrm.d/zy-initoverlayfs", &[release], &params("'remove'"));
    assert_eq!(system.in_boot().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    // What cannot be installed is said, and is no failure of the kernel's package.
    fs::write(system.at("etc/initoverlayfs/board.toml"), "name = 1").unwrap();
    let said = system.hook("kernel/postinst.d/zy-initoverlayfs", &[release], &[]);
    assert!(said.contains("board.toml:1: name") && said.contains("boots by its classic entry alone"), "{said}");
}

#[test]
fn kernel_install_adds_an_entry_beside_the_classic_one() {
    let system = System::new();
    let release = system.release.clone();
    let entries = system.boot("loader/entries");
    fs::create_dir_all(&entries).unwrap();
    let classic = format!(
        "title Debian\nversion {release}\nsort-key debian\noptions root=UUID=1 ro\nlinux /0123/{release}/linux\ninitrd /0123/{release}/initrd\n"
    );
    fs::write(entries.join(format!("0123-{release}+3-0.conf")), &classic).unwrap();
    fs::write(entries.join("0123-5.0.conf"), classic.replace(&release, "5.0")).unwrap();
    fs::remove_file(system.boot(&format!("initrd.img-{release}"))).unwrap();
    let staging = system.at("staging");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("initrd"), initramfs("staged")).unwrap();
    let before = system.in_boot();
    let plugin = |command: &str| {
        let boot = system.at("boot");
        let arguments = [command, &release, "/boot/0123/x", "/boot/vmlinuz"].map(OsStr::new);
        let variables =
            [("KERNEL_INSTALL_BOOT_ROOT", boot.as_os_str()), ("KERNEL_INSTALL_STAGING_AREA", staging.as_os_str())];
        system.hook("kernel-install/95-initoverlayfs.install", &arguments, &variables)
    };
    plugin("add");
    assert_eq!(inspect(&system.boot(&system.image()), &["--cat", "/etc/greeting"]), b"staged");
    let ours = fs::read_to_string(entries.join(format!("0123-{release}-initoverlayfs.conf"))).unwrap();
    for line in [
        format!("initrd     /boot/initoverlayfs-{release}.img"),
        "title      Debian (initoverlayfs)".into(),
        "options root=UUID=1 ro".into(),
    ] {
        assert!(ours.lines().any(|found| found == line), "{line}: {ours}");
    }
    assert_eq!(system.in_boot().len(), before.len() + 3);
    assert!(plugin("add").contains("everything is there already"));
    plugin("remove");
    assert!(system.in_boot() == before, "{:?}", system.in_boot().keys());
    plugin("inspect");
}

#[test]
fn mkinitcpio_calls_it_for_the_initramfs_that_is_no_fallback() {
    let system = System::new();
    let before = system.in_boot();
    let initrd = system.boot("initramfs-linux.img");
    fs::write(&initrd, initramfs("arch")).unwrap();
    let kernel = system.boot(&format!("vmlinuz-{}", system.release));
    let release = [("KERNELVERSION", OsStr::new(&system.release))];
    system.hook(
        "mkinitcpio/initoverlayfs",
        &[kernel.as_os_str(), system.boot("initramfs-linux-fallback.img").as_os_str()],
        &release,
    );
    assert_eq!(system.in_boot().len(), before.len() + 1);
    system.hook("mkinitcpio/initoverlayfs", &[kernel.as_os_str(), initrd.as_os_str()], &release);
    assert_eq!(inspect(&system.boot(&system.image()), &["--cat", "/etc/greeting"]), b"arch");
}

/// GRUB's menu as update-grub makes it, with its own library; only what asks for real disks answers from here.
#[test]
fn grubs_menu_begins_with_the_newest_kernel_that_is_prepared() {
    let system = System::new();
    for release in ["6.1.9", "6.1.10", "6.0.1"] {
        fs::write(system.boot(&format!("initoverlayfs-{release}.img")), "x").unwrap();
        fs::write(system.boot(&format!("vmlinuz-{release}")), "x").unwrap();
    }
    // Its kernel is gone.
    fs::write(system.boot("initoverlayfs-5.0.img"), "x").unwrap();
    let library = system.at("library");
    fs::create_dir(&library).unwrap();
    let overrides = "pkgdatadir=/usr/share/grub; . /usr/share/grub/grub-mkconfig_lib\n\
        prepare_grub_to_access_device() { echo \"search --no-floppy --fs-uuid --set=root 1234\"; }\n\
        make_system_path_relative_to_its_root() { echo /boot; }\n";
    fs::write(library.join("grub-mkconfig_lib"), overrides).unwrap();
    let mut command = Command::new(checkout().join("imagegen/distribution/grub/09_initoverlayfs"));
    command.env("pkgdatadir", &library).env("INITOVERLAYFS_BOOT", system.at("boot")).env("GRUB_DEVICE_UUID", "1234");
    command
        .env("GRUB_DEVICE", "/dev/vda1")
        .env("GRUB_DISTRIBUTOR", "Debian")
        .env("GRUB_CMDLINE_LINUX_DEFAULT", "quiet");
    let output = command.output().unwrap();
    good(&output);
    let menu = String::from_utf8(output.stdout).unwrap();
    let kernels: Vec<&str> = menu.lines().filter_map(|line| line.trim().strip_prefix("linux ")).collect();
    let line = |release: &str| format!("/boot/vmlinuz-{release} root=UUID=1234 ro  quiet");
    assert_eq!(kernels, ["6.1.10", "6.1.9", "6.0.1"].map(line), "{menu}");
    let file = system.at("menu");
    fs::write(&file, &menu).unwrap();
    good(&Command::new("grub-script-check").arg(&file).output().unwrap());
}
