//! Bad input to the `imagegen` program itself: exit status 2 for what the user gave, 1 for work that failed, one line that
//! names file and place, one that says what to do; never a panic, and never an output that was there before touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tests::cpio::{Entry, archive};
use tests::kernel::checkout;

/// The user had it wrong.
const BAD_INPUT: i32 = 2;
/// The work went wrong.
const FAILED_WORK: i32 = 1;
/// What the program may use, in KiB of address space: an input that declares gigabytes must not get them.
const ADDRESS_SPACE_KIB: u32 = 1 << 20;

const BOARD: &str = r#"
name = "example"
architecture = "aarch64"
[[slot]]
name = "a"
source = "partition"
partname = "system-a"
[qemu]
machine = "virt"
console = "ttyAMA0"
"#;

fn program() -> PathBuf {
    tests::tool::program().unwrap_or_else(|error| panic!("{error}"))
}

/// A folder with good input, to be spoilt.
struct Sample(TempDir);

/// An Image for aarch64 as far as anybody looks (Documentation/arch/arm64/booting.rst).
const KERNEL: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                       \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0ARM\x64";

impl Sample {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let sample = Sample(folder);
        sample.write("board.toml", BOARD);
        sample.write("content", archive(&sample.content()));
        sample
    }

    /// Everything a next init needs; `/init` is bootstrap itself, a program of the right architecture.
    fn content(&self) -> Vec<Entry> {
        let bootstrap = program().with_file_name("bootstrap-aarch64");
        let init = fs::read(&bootstrap).unwrap_or_else(|error| panic!("{}: {error}", bootstrap.display()));
        let mut entries: Vec<Entry> = ["dev", "proc", "sys", "run", "etc"].map(Entry::folder).into();
        entries.push(Entry::file("init", 0o755, init));
        entries.push(Entry::file("etc/greeting", 0o644, "hello\n"));
        entries
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.at(name), content).expect("write");
        self.at(name)
    }

    /// `imagegen` in this folder, its address space limited.
    fn imagegen(&self, arguments: &[&str]) -> Output {
        self.command("", arguments).output().expect("sh")
    }

    /// The same, after `setup` in the same shell.
    fn command(&self, setup: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB}; {setup} exec \"$@\""), "sh"])
            .arg(program())
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn build(&self) -> Output {
        self.imagegen(&["build", "./board.toml", "--from", "content", "--out", "out"])
    }

    /// What lies in the folder, with what the files hold.
    fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.at(name)).expect("folder").map(|entry| entry.expect("entry").path());
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.map(|path| (name(&path), fs::read(&path).unwrap_or_default())).collect()
    }

    /// Checks that `arguments` are refused with `status` by lines that hold `parts`.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], status: i32, parts: &[&str]) {
        refused(&self.imagegen(arguments), status, parts);
    }

    /// Checks that a file of these bytes is refused as an input, by `inspect` and by `build`.
    #[track_caller]
    fn refuses_content(&self, bytes: &[u8], parts: &[&str]) {
        self.write("content", bytes);
        let parts = [&["content: ", "byte "], parts].concat();
        self.refuses(&["inspect", "content"], BAD_INPUT, &parts);
        refused(&self.build(), BAD_INPUT, &parts);
        assert!(!self.at("out").exists());
    }
}

/// The end of a disk image, or of what it holds, cut off.
#[test]
fn a_folder_whose_files_were_cut() {
    let sample = Sample::new();
    sample.write("Image", KERNEL);
    let build = ["build", "./board.toml", "--from", "content", "--out", "out", "--kernel", "Image"];
    accepted(&sample.imagegen(&build));
    for name in ["disk.img", "initramfs.img", "kernel"] {
        let path = sample.at("out").join(name);
        let good = fs::read(&path).expect("output");
        fs::write(&path, &good[..good.len() - 1]).expect("write");
        let parts = [&format!("out/{name}: truncated: {} bytes", good.len() - 1)[..]];
        sample.refuses(&["boot", "out"], BAD_INPUT, &parts);
        sample.refuses(&["measure", "out", "--json", "runs.json"], BAD_INPUT, &parts);
        if name == "disk.img" {
            for bytes in [good.len() - 1, 1 << 20, 4096] {
                fs::write(&path, &good[..bytes]).expect("write");
                sample.refuses(&["inspect", "out/disk.img"], BAD_INPUT, &["out/disk.img", "truncated"]);
            }
        }
        fs::write(&path, &good).expect("write");
    }
    assert!(!sample.at("runs.json").exists());
}

/// Measurements that are none, that cannot be compared, and outputs that cannot be written.
#[test]
fn measurements_to_report_compare_and_gate() {
    let sample = Sample::new();
    let run = r#"{"start": null, "marks": [{"name": "next-init", "at_us": 40000}], "spans": [], "free_ram_kib": null}"#;
    let runs = |n: usize, clock: &str| {
        let conditions = format!(
            r#"{{"board": "example", "place": "QEMU", "kernel": "6.12", "input_sha256": null, "image_sha256": null,
            "command_line": null, "clock": "{clock}", "zero": "kernel", "explained": false}}"#
        );
        format!(r#"{{"format": 2, "conditions": {conditions}, "runs": [{}]}}"#, vec![run; n].join(", "))
    };
    sample.write("ten.json", runs(10, "instructions"));
    sample.write("nine.json", runs(9, "instructions"));
    sample.write("host.json", runs(10, "kernel"));
    sample.write("cut.json", &runs(10, "instructions")[..300]);
    sample.write("old.xml", "precious");
    sample.write("again.json", runs(10, "instructions"));
    accepted(&sample.imagegen(&["compare", "ten.json", "again.json"]));
    sample.refuses(&["compare", "ten.json", "./ten.json"], BAD_INPUT, &["ten.json and ./ten.json are the same file"]);
    sample.refuses(&["gate", "--baseline", "ten.json", "ten.json"], BAD_INPUT, &["are the same file"]);
    for command in [
        &["compare", "ten.json"][..],
        &["gate", "--junit", "old.xml", "--baseline", "ten.json"],
        &["report", "ten.json"],
    ] {
        sample.refuses(&[command, &["cut.json"]].concat(), BAD_INPUT, &["cut.json: EOF"]);
        sample.refuses(&[command, &["none.json"]].concat(), BAD_INPUT, &["none.json: No such file"]);
    }
    for command in [&["compare", "ten.json"][..], &["gate", "--junit", "old.xml", "--baseline", "ten.json"]] {
        sample.refuses(&[command, &["nine.json"]].concat(), BAD_INPUT, &["9 boots are too few", "--runs 10"]);
        sample.refuses(&[command, &["host.json"]].concat(), BAD_INPUT, &["cannot be compared"]);
    }
    assert_eq!(sample.files(".")["old.xml"], b"precious");
    sample.refuses(&["report", "ten.json", "--html", "none/page.html"], BAD_INPUT, &["cannot find none"]);
    sample.write("board.toml", format!("{BOARD}[budget.marks]\nnext-init = \"39999us\"\n"));
    let gate = ["gate", "ten.json", "--board", "./board.toml", "--junit", "old.xml"];
    let output = sample.imagegen(&gate);
    let (says, shows) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(FAILED_WORK), "{says}");
    assert!(
        says.contains("next-init at 40.000 ms, the budget is 39.999 ms") && shows.contains("EXCEEDED"),
        "{says}{shows}"
    );
    assert!(sample.files(".")["old.xml"].starts_with(b"<?xml"), "what failed is said to CI too");
    sample.write("board.toml", format!("{BOARD}[budget.marks]\nnext-init = \"40ms\"\n"));
    accepted(&sample.imagegen(&gate));
}

/// Places that nothing may be written to, or read from.
#[test]
fn files_that_are_no_files() {
    let sample = Sample::new();
    sample.write("Image", KERNEL);
    accepted(&sample.imagegen(&["build", "./board.toml", "--from", "content", "--out", "out", "--kernel", "Image"]));
    sample.write("precious", "x");
    symlink("precious", sample.at("link")).expect("link");
    tool(sample.0.path(), "mkfifo pipe; mkdir folder; mkdir folder/below");
    for target in ["link", "out"] {
        sample.refuses(&["measure", "out", "--json", target], BAD_INPUT, &[target, "is no regular file"]);
    }
    assert!(fs::symlink_metadata(sample.at("link")).is_ok_and(|metadata| metadata.is_symlink()));
    for source in ["pipe", "/dev/zero"] {
        let parts = [source, "is no regular file or folder"];
        sample.refuses(&["inspect", source], BAD_INPUT, &parts);
        sample.refuses(&["plan", "./board.toml", "--from", source], BAD_INPUT, &parts);
        sample.refuses(&["build", "./board.toml", "--from", source, "--out", "new"], BAD_INPUT, &parts);
        let parts = [source, "is no regular file or block device"];
        sample.refuses(&["verify", source], BAD_INPUT, &parts);
        sample.refuses(&["install", source, "--to", "new"], BAD_INPUT, &parts);
    }
    sample.refuses(&["report", "/dev/zero"], BAD_INPUT, &["/dev/zero: larger than"]);
    symlink("nowhere", sample.at("dangling")).expect("link");
    let onto_link = ["install", "out/initoverlayfs.erofs", "--to", "dangling"];
    sample.refuses(&onto_link, BAD_INPUT, &["dangling is no regular file"]);
    assert!(fs::symlink_metadata(sample.at("dangling")).is_ok_and(|metadata| metadata.is_symlink()));
    let inside = ["build", "./board.toml", "--from", "folder", "--out", "folder/below/out"];
    sample.refuses(&inside, BAD_INPUT, &["--out folder/below/out lies inside --from folder"]);
    assert_eq!(sample.files("folder/below").len(), 0);
    let parent = ["build", "./board.toml", "--from", "content", "--out", "no/such/parent/out"];
    let output = sample.imagegen(&parent);
    refused(&output, BAD_INPUT, &["no/such/parent: No such file or directory"]);
    assert!(!said(&output).contains(".out."), "{}", said(&output));
    assert!(!sample.at("new").exists());
}

/// What `boot` says where the next init did not run: the program in place of QEMU never starts one.
#[test]
fn a_boot_that_fails_says_why() {
    let sample = Sample::new();
    sample.write("Image", KERNEL);
    accepted(&sample.imagegen(&["build", "./board.toml", "--from", "content", "--out", "out", "--kernel", "Image"]));
    fs::create_dir(sample.at("bin")).expect("folder");
    for (script, arguments, parts) in [
        (
            "exit 1",
            &["boot", "out"][..],
            &["the next init did not run: qemu-system-aarch64 failed", "-machine virt"][..],
        ),
        ("exec sleep 9", &["boot", "out", "--timeout", "200ms"], &["nothing on the console within 0.2 s"]),
        ("exit 0", &["boot", "out", "--append", "quiet"], &["`quiet` hides the kernel's log", "without `quiet`"]),
        (
            "exit 1",
            &["measure", "out", "--json", "x"],
            &["the boot before the first: the next init did not run", "imagegen boot"],
        ),
        (
            "echo '[    0.100000] initoverlayfs: exec 1 us /init'; echo '[    0.200000] app: up'; exec sleep 9",
            &["measure", "out", "--json", "x", "--end", "app: down", "--timeout", "300ms"],
            &["the boot before the first: no line matches `app: down` within 0.3 s", "app: up"],
        ),
    ] {
        let qemu = sample.write("bin/qemu-system-aarch64", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(qemu, fs::Permissions::from_mode(0o755)).expect("permissions");
        let output = sample.command("PATH=bin:$PATH;", arguments).output().expect("sh");
        let output = Output { stdout: output.stdout.trim_ascii().to_vec(), ..output };
        refused(&output, FAILED_WORK, parts);
    }
    assert!(!sample.at("x").exists());
}

/// Whoever forgot --modules is told.
#[test]
fn modules_that_nobody_gave() {
    let sample = Sample::new();
    sample.write("board.toml", format!("{BOARD}[modules]\nload = [\"erofs\", \"overlay\"]\n"));
    let warning = "board example lists 2 modules and --modules was not given: taken as built in";
    for output in [sample.build(), sample.imagegen(&["plan", "./board.toml", "--from", "content"])] {
        accepted(&output);
        assert!(said(&output).contains(warning), "{}", said(&output));
    }
    sample.write("board.toml", format!("{BOARD}[failure]\npolicy = \"shell\"\nshell = \"absent\"\n"));
    sample.refuses(
        &["check", "./board.toml"],
        BAD_INPUT,
        &["board.toml:13: failure.shell: found absent, expected a file"],
    );
    sample.write("board.toml", BOARD);
    let checked = sample.imagegen(&["check", "./board.toml"]);
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "example: aarch64, 1 slot: good\n");
}

/// Names that Linux takes none of, and one that only mkfs.erofs may not take.
#[test]
fn names_that_are_too_long() {
    let sample = Sample::new();
    let (name, deep) = ("n".repeat(256), vec!["d".repeat(250); 17].join("/"));
    let file = |name: &str| archive(&[Entry::file(name, 0o644, "x")]);
    sample.refuses_content(&file(&name), &["byte 0: ", "a name of 256 bytes, the limit is 255"]);
    sample.refuses_content(&file(&deep), &["byte 0: ", "a name of 4267 bytes, the limit is 4096"]);
    let mut entries = sample.content();
    entries.push(Entry::file(&name[1..], 0o644, "x"));
    sample.write("content", archive(&entries));
    let output = sample.build();
    if !output.status.success() {
        refused(&output, BAD_INPUT, &["`/nnn", "a name of 255 bytes, mkfs.erofs ", "at most 254"]);
    }
}

/// What a program said on standard error, checked for what must never stand there.
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    assert!(output.status.code().is_some(), "ended by {}: {said}", output.status);
    said
}

#[track_caller]
fn refused(output: &Output, status: i32, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let lines: Vec<&str> = said.lines().collect();
    assert!(said.starts_with("imagegen: "), "{said}");
    let hint = lines.last().and_then(|line| line.strip_prefix("  ")).unwrap_or_default();
    assert!(lines.len() > 1 && hint.len() > 5 && !hint.starts_with(' '), "no line says what to do: {said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

#[track_caller]
fn accepted(output: &Output) {
    let said = said(output);
    assert!(output.status.success(), "{said}");
}

fn tool(folder: &Path, script: &str) {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(folder).output();
    let output = output.expect("bash");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where a member of an initramfs lies.
struct Member {
    start: usize,
    /// Cut before this, it is refused.
    needed: usize,
    /// Cut from here on, it is accepted.
    whole: usize,
    /// Of the padding behind it.
    end: usize,
}

/// An initramfs with a member in each compression.
fn members(sample: &Sample) -> (Vec<u8>, Vec<Member>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for (index, tool_name) in
        ["cat", "gzip -9", "cat", "xz --check=crc32", "zstd", "bzip2", "lzma", "lzop", "lz4 -l"].into_iter().enumerate()
    {
        let entry = |name: &str, content: Vec<u8>| Entry::file(&format!("{name}-{index}"), 0o644, content);
        let text: Vec<u8> = (0..400_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let plain = archive(&[entry("a", text), entry("b", b"hello".to_vec())]);
        sample.write("plain", &plain);
        tool(sample.0.path(), &format!("{tool_name} <plain >packed"));
        let packed = fs::read(sample.at("packed")).expect("packed");
        let start = bytes.len();
        bytes.extend_from_slice(&packed);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        let trailer = plain.windows(11).position(|window| window == b"TRAILER!!!\0").map(|at| at + 11);
        let trailer = trailer.filter(|_| tool_name == "cat");
        // A decoder of lzma may find the end mark before the last zeros of its stream.
        let zeros = packed.iter().rev().take_while(|byte| **byte == 0 && tool_name == "lzma").count();
        let whole = trailer.unwrap_or(packed.len());
        places.push(Member { start, needed: start + whole - zeros, whole: start + whole, end: bytes.len() });
    }
    (bytes, places)
}

#[test]
fn an_initramfs_cut_anywhere() {
    let sample = Sample::new();
    let (bytes, places) = members(&sample);
    for Member { start, needed, whole, end } in places.iter() {
        // Every byte near both ends of the member, and many between.
        let near = |place: usize| place.saturating_sub(3)..(place + 4);
        let between = (*start..*needed).step_by(97);
        let cuts: BTreeSet<usize> = near(*start).chain(near(start + 110)).chain(between).chain(near(*whole)).collect();
        for cut in cuts.into_iter().filter(|cut| (start..end).contains(&cut)) {
            println!("cut to {cut}; member from {start}, needed to {needed}, whole at {whole}");
            sample.write("cut", &bytes[..cut]);
            let output = sample.imagegen(&["inspect", "cut"]);
            // Between two members the kernel cannot tell either: what is there, is whole.
            if cut == 0 {
                refused(&output, BAD_INPUT, &["cut is empty"]);
            } else if cut == *start || cut >= *whole {
                accepted(&output);
            } else if cut < *needed {
                refused(&output, BAD_INPUT, &["cut: ", "byte "]);
            }
        }
    }
    sample.write("content", &bytes[..places[4].needed - 1]);
    refused(&sample.build(), BAD_INPUT, &["content: zstd member at byte ", "unpacked byte "]);
    assert!(!sample.at("out").exists());
}

#[test]
fn an_initramfs_of_no_known_kind() {
    let sample = Sample::new();
    let good = archive(&[Entry::file("a", 0o644, "x")]);
    sample.refuses_content(b"\x7fELF and more", &["byte 0: neither a cpio archive nor a known", "7f 45 4c 46"]);
    sample.refuses(&["inspect", "content"], BAD_INPUT, &["known are an initramfs, a tar"]);
    refused(&sample.build(), BAD_INPUT, &["accepted: a directory; a tar"]);
    sample
        .refuses_content(&[b"070707".to_vec(), vec![b'0'; 200]].concat(), &["byte 0: an old cpio archive", "-H newc"]);
    sample.refuses_content(&[0x04, 0x22, 0x4d, 0x18, 0, 0, 0, 0], &["byte 0: an lz4 frame", "lz4 -l"]);
    // compress, 7-zip, and a member behind a good one.
    sample.refuses_content(b"\x1f\x9d\x90 compress", &["byte 0: ", "1f 9d 90"]);
    sample.refuses_content(b"7z\xbc\xaf\x27\x1c\0\x04", &["byte 0: ", "37 7a bc af"]);
    sample.refuses_content(&[good.clone(), b"rubbish".to_vec()].concat(), &["byte 512: ", "72 75 62 62"]);
    sample.refuses_content(&[0; 4096], &["byte 0: nothing but zero bytes"]);
    let mut magic = good;
    magic[3] = b'9';
    sample.refuses_content(&magic, &["byte 0: ", "070901"]);
}

#[test]
fn names_that_leave_the_tree() {
    let sample = Sample::new();
    let file = |name: &str| archive(&[Entry::file(name, 0o644, "x")]);
    sample.refuses_content(&file("a/../../etc/passwd"), &["`a/../../etc/passwd` has a `..` component"]);
    sample.refuses_content(&file(".."), &["`..` has a `..` component"]);
    let looped = [Entry::link("a", "b"), Entry::link("b", "a"), Entry::file("a/x", 0o644, "")];
    sample.refuses_content(&archive(&looped), &["`a/x` leads through a loop of symbolic links"]);
    let below = [Entry::file("a", 0o644, ""), Entry::file("a/x", 0o644, "")];
    sample.refuses_content(&archive(&below), &["`a/x` lies below `/a`, which is not a directory"]);
}

/// An absolute link and one with `..` mean places of the tree, never of this machine.
#[test]
fn links_out_of_the_tree_stay_inside() {
    let sample = Sample::new();
    let outside = sample.at("outside");
    fs::create_dir(&outside).expect("folder");
    let mut entries = sample.content();
    entries.push(Entry::link("absolute", outside.to_str().expect("path")));
    entries.push(Entry::file("absolute/planted", 0o644, "x"));
    entries.push(Entry::link("up", "../../../../../../../../tmp"));
    entries.push(Entry::file("up/planted-by-imagegens-test", 0o644, "x"));
    sample.write("content", archive(&entries));
    accepted(&sample.build());
    assert_eq!(fs::read_dir(&outside).expect("folder").count(), 0);
    assert!(!Path::new("/tmp/planted-by-imagegens-test").exists());
    let listed = sample.imagegen(&["inspect", "out/initoverlayfs.erofs"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(&format!("{}/planted\n", outside.display())), "{listed}");
    assert!(listed.contains(" /tmp/planted-by-imagegens-test\n"), "{listed}");
}

#[test]
fn sizes_that_are_declared_and_not_there() {
    let sample = Sample::new();
    // The most that newc can declare: 4 GiB.
    let mut huge = archive(&[Entry::file("a", 0o644, "x")]);
    huge.splice(54..62, *b"ffffffff");
    sample.refuses_content(&huge, &["ends in the middle of `a`", "truncated"]);
    let mut name = archive(&[Entry::file("a", 0o644, "x")]);
    name.splice(94..102, *b"ffffffff");
    sample.refuses_content(&name, &["byte 0: ", "a name of 4294967295 bytes"]);
    let mut target = archive(&[Entry::link("a", "x")]);
    target.splice(54..62, *b"7fffffff");
    sample.refuses_content(&target, &["byte 0: ", "a target of 2147483647 bytes"]);
    // 10 GB in a tar: base 256, checksum put right.
    tool(sample.0.path(), "printf 1 >a; tar -cf tar a");
    let mut tar = fs::read(sample.at("tar")).expect("tar");
    tar.splice(124..136, [0x80, 0, 0, 0, 0, 0, 0, 2, 0x54, 0x0b, 0xe4, 0]);
    tar[148..156].fill(b' ');
    let sum: u32 = tar.iter().take(512).map(|byte| u32::from(*byte)).sum();
    tar.splice(148..156, format!("{sum:06o}\0 ").bytes());
    sample.refuses_content(&tar, &["ends in the middle of `a`", "truncated"]);
    // An lzop block, an xz dictionary and a zstd window of gigabytes.
    tool(
        sample.0.path(),
        "echo x | lzop >lzop; echo x | xz >xz; head -c 1000000 /dev/zero | zstd --ultra --long=31 -22 >zstd",
    );
    let mut lzop = fs::read(sample.at("lzop")).expect("lzop");
    let at = lzop.len() - 4 - 2 - 4 - 8;
    lzop.splice(at..at + 4, [0x7f, 0xff, 0xff, 0xff]);
    sample.refuses_content(&lzop, &["impossible lzop block size"]);
    sample.refuses_content(&fs::read(sample.at("zstd")).expect("zstd"), &[]);
}

#[test]
fn content_that_cannot_start() {
    let sample = Sample::new();
    let refuses = |change: &dyn Fn(&mut Vec<Entry>), parts: &[&str]| {
        let mut entries = sample.content();
        change(&mut entries);
        sample.write("content", archive(&entries));
        refused(&sample.build(), BAD_INPUT, parts);
        sample.refuses(&["plan", "./board.toml", "--from", "content"], BAD_INPUT, parts);
        assert!(!sample.at("out").exists());
    };
    let without_init = |entries: &mut Vec<Entry>| entries.retain(|entry| entry.path != "init");
    refuses(&without_init, &["/init"]);
    refuses(&|entries| entries.push(Entry::file("init", 0o644, "#!/bin/sh\n")), &["/init"]);
    refuses(
        &|entries| entries.push(Entry::file("init", 0o755, "#!/bin/absent\n")),
        &["interpreter of /init: /bin does not exist"],
    );
    refuses(
        &|entries| {
            without_init(entries);
            entries.extend([Entry::link("init", "b"), Entry::link("b", "init")]);
        },
        &["/init"],
    );
    refuses(
        &|entries| {
            let other = fs::read(program().with_file_name("bootstrap-x86_64")).expect("bootstrap-x86_64");
            entries.push(Entry::file("init", 0o755, other));
        },
        &["/init", "for x86_64, expected aarch64", "give one for aarch64"],
    );
}

#[test]
fn board_files() {
    let sample = Sample::new();
    let check = |text: &str, parts: &[&str]| {
        sample.write("board.toml", text);
        sample.refuses(&["check", "./board.toml"], BAD_INPUT, parts);
        refused(&sample.build(), BAD_INPUT, parts);
    };
    check(&format!("{BOARD}cpuss = 2\n"), &["board.toml:11: qemu.cpuss: unknown field", "did you mean \"cpus\""]);
    check(&BOARD.replace("\"system-a\"", "7"), &["board.toml:7: slot[0].partname: found 7, expected a string"]);
    check(&BOARD.replace("\"aarch64\"", "\"arch64\""), &["board.toml:3: architecture: ", "did you mean \"aarch64\""]);
    let several =
        BOARD.replace("partname", "partnam").replace("\"virt\"", "1").replace("name = \"a\"", "name = \"A b\"");
    check(
        &format!("{several}[overlay]\nsize = \"64 elephants\"\n"),
        &[
            "board.toml:5: slot[0].name: ",
            "board.toml:7: slot[0].partnam: ",
            "board.toml:9: qemu.machine: ",
            "board.toml:12: overlay.size: ",
        ],
    );
    check(
        &format!("inherit = \"nobody\"\n{BOARD}"),
        &["board.toml:1: inherit: unknown parent \"nobody\"", "nobody.toml"],
    );
    check("name = \"x\n", &["board.toml:1: not TOML"]);
    check("", &["board.toml:1:", "name", "architecture", "slot"]);
    sample.write("one.toml", "inherit = \"two\"\n");
    sample.write("two.toml", "inherit = \"board\"\n");
    let cycle = &["inherit: a cycle: ", "board.toml -> ", "one.toml -> ", "two.toml -> "];
    check(&format!("inherit = \"one\"\n{BOARD}"), cycle);
    check(&format!("inherit = \"board\"\n{BOARD}"), &["board.toml:1: inherit: a cycle"]);
    sample.write("board.toml", b"name = \"\xff\"\n");
    sample.refuses(&["check", "./board.toml"], BAD_INPUT, &["board.toml: byte 8 is not UTF-8"]);
    sample.write("board.toml", vec![b'#'; 1 << 20]);
    sample.refuses(&["check", "./board.toml"], BAD_INPUT, &["board.toml: larger than 65536 bytes"]);
    check(&format!("a = {}1\n", "[".repeat(20_000)), &["board.toml:1: "]);
    sample.refuses(&["check", "./absent.toml"], BAD_INPUT, &["absent.toml"]);
    sample.refuses(&["check", "./"], BAD_INPUT, &["./"]);
    let boards = checkout().join("board-configs");
    let named =
        |name: &str| sample.command("", &["check", name]).env("INITOVERLAYFS_BOARDS", &boards).output().expect("sh");
    sample.write("kit.toml", BOARD);
    refused(&named("kit"), BAD_INPUT, &["unknown board \"kit\"", "kit.toml lies in this folder: say kit.toml"]);
    accepted(&named("kit.toml"));
    let output = named("qemu-arm46");
    refused(&output, BAD_INPUT, &["qemu-arm46", "did you mean \"qemu-arm64\"", "known boards: "]);
}

/// A slot's device that no disk of ours can have.
#[test]
fn a_disk_that_would_not_fit() {
    let sample = Sample::new();
    for (device, parts) in [
        ("partuuid = \"1234abcd-02\"", "PARTUUID=1234abcd-02"),
        ("label = \"system\"", "LABEL=system"),
        ("uuid = \"12345678-1234-1234-1234-123456789abc\"", "UUID=12345678-"),
        ("path = \"mmcblk0p2\"", "/dev/mmcblk0p2"),
    ] {
        sample.write("board.toml", BOARD.replace("partname = \"system-a\"", device));
        let parts = [parts, "board.toml:7: slot[0]."];
        sample.refuses(&["check", "./board.toml"], BAD_INPUT, &parts);
        refused(&sample.build(), BAD_INPUT, &parts);
        assert!(!sample.at("out").exists());
    }
}

/// Everything `inspect` knows, cut and spoilt.
#[test]
fn files_to_inspect() {
    let sample = Sample::new();
    accepted(&sample.build());
    let plan = sample.imagegen(&["inspect", "out/initramfs.img", "--cat", "/plan"]).stdout;
    let record = {
        let mut buffer = [0; bootstrap::record::MAX_BYTES];
        let mut record = bootstrap::record::Record::new(1);
        record.add(bootstrap::record::Event { step: bootstrap::Step::Mount, item: 0, ended_ns: 2, errno: 0 });
        bootstrap::record::seal(&record, &mut buffer).expect("record").to_vec()
    };
    for (name, good) in [("plan", plan), ("record", record)] {
        accepted(&{
            sample.write(name, &good);
            sample.imagegen(&["inspect", name])
        });
        for length in [4, 15, 16, good.len() - 1] {
            sample.write(name, &good[..length]);
            sample.refuses(&["inspect", name], BAD_INPUT, &[&format!("{name}: truncated: {length} of ")]);
        }
        for (at, cause) in [(4, "unknown format version"), (8, "bytes"), (13, "wrong CRC-32"), (20, "wrong CRC-32")] {
            let mut spoilt = good.clone();
            spoilt[at] ^= 0x40;
            sample.write(name, &spoilt);
            sample.refuses(&["inspect", name], BAD_INPUT, &[&format!("{name}: "), cause]);
            sample.refuses(&["inspect", "--json", name], BAD_INPUT, &[cause]);
        }
        sample.write(name, [&good[..], b"x"].concat());
        sample.refuses(&["inspect", name], BAD_INPUT, &[name, "1 bytes too many"]);
        sample.refuses(&["inspect", name, "--cat", "/a"], BAD_INPUT, &[name, "holds no files"]);
    }
    images_to_inspect(&sample);
    for (name, bytes) in [("empty", &b""[..]), ("brace", b"{"), ("json", b"{\"board\": 1}"), ("gpt", &disk_start())] {
        sample.write(name, bytes);
        sample.refuses(&["inspect", name], BAD_INPUT, &[name]);
    }
    sample.refuses(&["inspect", "absent"], BAD_INPUT, &["absent"]);
    sample.refuses(&["inspect", "content", "--cat", "/etc"], BAD_INPUT, &["content: /etc is not a regular file"]);
    sample.refuses(&["inspect", "content", "--cat", "/absent"], BAD_INPUT, &["content: /absent does not exist"]);
}

/// A block, and half of a GPT header.
fn disk_start() -> Vec<u8> {
    [vec![0; 512], b"EFI PART\0\0\x01\0".to_vec(), vec![7; 2000]].concat()
}

fn images_to_inspect(sample: &Sample) {
    let image = fs::read(sample.at("out/initoverlayfs.erofs")).expect("image");
    for length in [1028, 1100, 4096, image.len() / 2, image.len() - 4096] {
        sample.write("erofs", &image[..length]);
        for arguments in [&["inspect", "erofs"][..], &["verify", "erofs"], &["install", "erofs", "--to", "new"]] {
            sample.refuses(arguments, BAD_INPUT, &["erofs: ", "truncated"]);
        }
    }
    for (at, value) in [(1024 + 12, 40), (1024 + 14, 0xff), (1024 + 80, 0x80)] {
        let mut spoilt = image.clone();
        spoilt[at] = value;
        sample.write("erofs", &spoilt);
        sample.refuses(&["inspect", "erofs"], BAD_INPUT, &["erofs: "]);
    }
    // Its number of blocks: larger, it must not pass for a longer image that was cut; smaller, not for a whole one.
    for value in [image[1060] ^ 0xff, 1] {
        let mut spoilt = image.clone();
        spoilt[1060] = value;
        sample.write("erofs", &spoilt);
        for arguments in [&["inspect", "erofs"][..], &["verify", "erofs"], &["install", "erofs", "--to", "new"]] {
            sample.refuses(arguments, BAD_INPUT, &["erofs: byte 1024: damaged, wrong checksum"]);
        }
    }
    assert!(!sample.at("new").exists());
    // Any byte: an answer, and an end.
    for at in (1024..image.len().min(8192)).step_by(61) {
        let mut spoilt = image.clone();
        // Without a checksum, which would stand in front of all else.
        spoilt[1032] &= !1;
        spoilt[at] ^= 0xff;
        sample.write("erofs", &spoilt);
        let output = sample.imagegen(&["inspect", "erofs"]);
        said(&output);
        assert!(matches!(output.status.code(), Some(0 | BAD_INPUT)), "byte {at}: {}", said(&output));
    }
    let missing = ["erofs", "--cat", "/absent"];
    sample.write("erofs", &image);
    sample.refuses(&[&["inspect"], &missing[..]].concat(), BAD_INPUT, &["erofs: there is no `/absent`"]);
}

#[test]
fn folders_that_are_none_of_ours() {
    let sample = Sample::new();
    fs::create_dir(sample.at("folder")).expect("folder");
    sample.write("folder/precious", "x");
    let into_folder = ["build", "./board.toml", "--from", "content", "--out", "folder"];
    sample.refuses(&into_folder, BAD_INPUT, &["folder", "would be lost"]);
    sample.refuses(&["boot", "folder"], BAD_INPUT, &["folder"]);
    sample.refuses(&["boot", "absent"], BAD_INPUT, &["absent"]);
    sample.refuses(&["measure", "folder", "--json", "x.json"], BAD_INPUT, &["folder"]);
    sample.refuses(&["ostree", "folder", "--tree", "content"], BAD_INPUT, &["folder"]);
    sample.refuses(&["report", "content"], BAD_INPUT, &["content"]);
    sample.refuses(&["report", "absent"], BAD_INPUT, &["absent"]);
    for (option, value) in
        [("--modules", "absent"), ("--modules", "folder"), ("--kernel", "absent"), ("--bootstrap", "content")]
    {
        let arguments = ["build", "./board.toml", "--from", "content", "--out", "out", option, value];
        sample.refuses(&arguments, BAD_INPUT, &[value]);
    }
    sample.refuses(&["build", "./board.toml", "--from", "absent", "--out", "out"], BAD_INPUT, &["absent"]);
    sample.refuses(&["build", "./board.toml", "--from", "content", "--out", "absent/out"], BAD_INPUT, &["absent"]);
    sample.refuses(&["build", "./board.toml", "--from", "content", "--out", "content/out"], BAD_INPUT, &["content"]);
    assert_eq!(sample.files("folder").len(), 1);
    assert!(!sample.at("out").exists());
}

#[test]
fn missing_tools() {
    let sample = Sample::new();
    let build = ["build", "./board.toml", "--from", "content", "--out", "out"];
    let output = sample.command("PATH=/nonexistent;", &build).output().expect("sh");
    let parts: &[&str] = if nix::unistd::geteuid().is_root() { &["mkfs.erofs"] } else { &["fakeroot"] };
    refused(&output, FAILED_WORK, &[parts, &["apt-get install "]].concat());
    assert!(!sample.at("out").exists());
    sample.write("Image", KERNEL);
    accepted(&sample.imagegen(&[&build[..], &["--kernel", "Image"]].concat()));
    sample.write("board.toml", format!("{BOARD}[bootloader]\nemit = [\"script\"]\n"));
    accepted(&sample.imagegen(&[&build[..], &["--kernel", "Image"]].concat()));
    let good = sample.files("out");
    // All tools but this one.
    let tools: &[&str] = &["mkfs.erofs", "fsck.erofs", "fakeroot", "faked-sysv", "sh"];
    for tool in tools {
        let paths = std::env::var("PATH").expect("PATH") + ":/usr/sbin";
        if let Some(found) = paths.split(':').map(|folder| Path::new(folder).join(tool)).find(|path| path.is_file()) {
            fs::create_dir_all(sample.at("bin")).expect("folder");
            symlink(found, sample.at("bin").join(tool)).expect("link");
        }
    }
    let output = sample.command("PATH=$PWD/bin;", &[&build[..], &["--kernel", "Image"]].concat()).output().expect("sh");
    refused(&output, FAILED_WORK, &["cannot run mkimage", "apt-get install u-boot-tools"]);
    assert!(sample.files("out") == good);
    sample.refuses(&build, BAD_INPUT, &["emit = \"script\" is made of the kernel", "give --kernel FILE"]);
    sample.write("board.toml", BOARD);
    let output = sample.command("PATH=/nonexistent;", &["boot", "out"]).output().expect("sh");
    refused(&output, FAILED_WORK, &["qemu-system-aarch64", "apt-get install "]);
}

/// Ended from outside, as by `timeout`, a boot takes its QEMU with it.
#[test]
fn a_terminated_boot_leaves_no_qemu_behind() {
    use std::io::{BufRead, BufReader, Read};
    let sample = Sample::new();
    sample.write("Image", KERNEL);
    accepted(&sample.imagegen(&["build", "./board.toml", "--from", "content", "--out", "out", "--kernel", "Image"]));
    fs::create_dir(sample.at("bin")).expect("folder");
    let script = "#!/bin/sh\ncase \"$*\" in *'-machine none'*) exit 1 ;; esac\n\
                  exec 9> alive\necho started >&9\nexec cat never\n";
    let qemu = sample.write("bin/qemu-system-aarch64", script);
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("permissions");
    for pipe in ["alive", "never"] {
        nix::unistd::mkfifo(&sample.at(pipe), nix::sys::stat::Mode::S_IRWXU).expect("pipe");
    }
    // Open for writing: as long the program that reads it does not end by itself.
    let never = fs::File::options().read(true).write(true).open(sample.at("never")).expect("pipe");
    let mut boot = sample.command("PATH=\"$PWD/bin:$PATH\";", &["boot", "out"]).spawn().expect("sh");
    let mut alive = BufReader::new(fs::File::open(sample.at("alive")).expect("pipe"));
    let mut said = String::new();
    alive.read_line(&mut said).expect("QEMU");
    assert_eq!(said, "started\n");
    let id = nix::unistd::Pid::from_raw(i32::try_from(boot.id()).expect("id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("kill");
    assert_eq!(boot.wait().expect("boot").code(), Some(143));
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(alive.read_to_end(&mut Vec::new()).is_ok()));
    let ended = ended.recv_timeout(std::time::Duration::from_secs(30));
    drop(never);
    assert!(ended.is_ok(), "QEMU still runs");
}

/// A terminal that QEMU has made raw is as before once the boot is ended from outside.
#[test]
fn a_terminated_boot_leaves_the_terminal_as_it_was() {
    use nix::sys::termios::{LocalFlags, tcgetattr};
    use std::io::{BufRead, BufReader};
    let sample = Sample::new();
    sample.write("Image", KERNEL);
    accepted(&sample.imagegen(&["build", "./board.toml", "--from", "content", "--out", "out", "--kernel", "Image"]));
    fs::create_dir(sample.at("bin")).expect("folder");
    let script = "#!/bin/sh\ncase \"$*\" in *'-machine none'*) exit 1 ;; esac\n\
                  stty raw -echo\necho started > raw\nexec cat never\n";
    let qemu = sample.write("bin/qemu-system-aarch64", script);
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("permissions");
    for pipe in ["raw", "never"] {
        nix::unistd::mkfifo(&sample.at(pipe), nix::sys::stat::Mode::S_IRWXU).expect("pipe");
    }
    let _never = fs::File::options().read(true).write(true).open(sample.at("never")).expect("pipe");
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let before = tcgetattr(&terminal.slave).expect("settings");
    assert!(before.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
    let mut command = sample.command("PATH=\"$PWD/bin:$PATH\";", &["boot", "out"]);
    command.stdin(terminal.slave.try_clone().expect("terminal")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut boot = command.spawn().expect("sh");
    let mut said = String::new();
    BufReader::new(fs::File::open(sample.at("raw")).expect("pipe")).read_line(&mut said).expect("QEMU");
    assert_eq!(said, "started\n");
    assert!(!tcgetattr(&terminal.slave).expect("settings").local_flags.contains(LocalFlags::ECHO));
    let id = nix::unistd::Pid::from_raw(i32::try_from(boot.id()).expect("id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("kill");
    assert_eq!(boot.wait().expect("boot").code(), Some(143));
    assert_eq!(tcgetattr(&terminal.slave).expect("settings"), before);
}

/// Whatever the reason, what was built before stays as it is, to the byte, and nothing lies beside it.
#[test]
fn a_failing_build_leaves_the_last_good_image() {
    let sample = Sample::new();
    accepted(&sample.build());
    let good = sample.files("out");
    assert_eq!(good.keys().collect::<Vec<_>>(), ["disk.img", "initoverlayfs.erofs", "initramfs.img", "manifest.json"]);
    let content = fs::read(sample.at("content")).expect("content");
    let unchanged = |output: &Output, status: i32, parts: &[&str]| {
        refused(output, status, parts);
        assert!(sample.files("out") == good, "the good image was touched: {}", said(output));
        let beside: Vec<String> = sample.files("").into_keys().collect();
        assert_eq!(beside, ["board.toml", "content", "out"]);
    };
    sample.write("content", &content[..content.len() / 2]);
    unchanged(&sample.build(), BAD_INPUT, &["content: byte "]);
    sample.write("content", &content);
    sample.write("board.toml", format!("{BOARD}[budget]\ninitramfs = \"1KiB\"\n"));
    unchanged(&sample.build(), FAILED_WORK, &["the budget of example is 1024"]);
    sample.write("board.toml", format!("{BOARD}[bootloader]\nlimit = \"1KiB\"\n"));
    unchanged(&sample.build(), FAILED_WORK, &["example: initramfs.img has ", " bytes, bootloader.limit is 1024"]);
    sample.write("board.toml", format!("{BOARD}[image]\ncompression = \"lzma,109\"\n"));
    if Command::new("mkfs.erofs").arg("--help").output().is_ok_and(|help| !format!("{help:?}").contains("lzma")) {
        unchanged(&sample.build(), BAD_INPUT, &["mkfs.erofs", "cannot compress with `lzma`"]);
    }
    sample.write("board.toml", BOARD);
    let build = ["build", "./board.toml", "--from", "content", "--out", "out"];
    let output = sample.command("PATH=/nonexistent;", &build).output().expect("sh");
    unchanged(&output, FAILED_WORK, &["apt-get install "]);
    accepted(&sample.build());
    assert!(sample.files("out") == good, "the same input gives the same bytes");
}

/// A full disk, and a folder that cannot be written: seen by a user without rights, in a mount namespace of their own.
#[test]
fn no_room_and_no_permission() {
    let sample = Sample::new();
    fs::create_dir(sample.at("small")).expect("folder");
    let full = |size: &str| format!("mount -t tmpfs -o size={size} small small && exec \"$@\"");
    let run = |script: &str, out: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(program())
            .args(["build", "./board.toml", "--from", "content", "--out", out])
            .current_dir(sample.0.path())
            .output()
            .expect("unshare")
    };
    // Full when the input is read, and when the image is written.
    refused(&run(&full("16k"), "small/out"), FAILED_WORK, &["small/", "No space left on device", "make room"]);
    for size in ["40k", "48k", "56k"] {
        refused(&run(&full(size), "small/out"), FAILED_WORK, &["small/", "No space left on device", "make room"]);
    }
    refused(&run(&full("64k"), "small/out"), FAILED_WORK, &["small/", "No space left on device", "is there space?"]);
    let script = "mount -t tmpfs -o ro small small && exec \"$@\"";
    refused(&run(script, "small/out"), FAILED_WORK, &["small", "Read-only file system", "can be written"]);
    if nix::unistd::geteuid().is_root() {
        // Readable by all, and no longer root's privileges.
        let copy = sample.at("imagegen");
        fs::copy(program(), &copy).expect("copy");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy)
            .args(["build", "./board.toml", "--from", "content", "--out", "out", "--bootstrap"])
            .arg(program().with_file_name("bootstrap-aarch64"))
            .current_dir(sample.0.path())
            .env("TMPDIR", "/tmp")
            .output()
            .expect("setpriv");
        refused(&output, FAILED_WORK, &["Permission denied", "change its permissions"]);
    }
    assert!(!sample.at("out").exists());
}

/// Of what the command line alone has wrong.
#[test]
fn command_lines() {
    let sample = Sample::new();
    symlink("nowhere", sample.at("dangling")).expect("link");
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["build"],
        &["build", "./board.toml", "--from", "content", "--out", "out", "--no-such-option"],
        &["measure", "out", "--runs", "0", "--json", "x"],
        &["boot", "out", "--timeout", "forever"],
        &["measure", "--json", "x"],
        &["measure", "out", "--serial", "/dev/ttyUSB0", "--json", "x"],
        &["measure", "out", "--power-cmd", "true", "--json", "x"],
        &["measure", "out", "--json", "x", "--end", "("],
        &["measure", "out", "--json", "x", "--mark", "app"],
        &["ostree", "out"],
        &["ostree", "out", "--tree", "content", "--repo", "repo", "--branch", "os"],
        &["ostree", "out", "--repo", "repo"],
        &["ostree", "out", "--tree", "content", "--base", "os"],
        &["ostree", "out", "--tree", "content", "--", "--bootable"],
    ] {
        let output = sample.imagegen(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(BAD_INPUT), "{said}");
        assert!(said.contains("Usage: ") || said.contains("--help"), "{said}");
    }
    sample.refuses(&["inspect", "dangling"], BAD_INPUT, &["dangling"]);
    sample.refuses(
        &["measure", "a", "b", "--json", "x"],
        BAD_INPUT,
        &["1 --json for 2 series of boots", "once for each DIR"],
    );
    sample.refuses(&["measure", "a", "b", "--json", "x", "--json", "x"], BAD_INPUT, &["x is named twice"]);
    sample.refuses(&["measure", "--labgrid", "p,p", "--json", "x", "--json", "y"], BAD_INPUT, &["p is named twice"]);
    for (line, what) in [("board.toml", "is not a serial line"), ("/dev/ttyNONE9", "No such file")] {
        sample.refuses(&["measure", "--serial", line, "--json", "x"], BAD_INPUT, &[line, what]);
    }
}
