//! Archives made by the system's own tools, and made wrong on purpose.

use super::*;
use crate::Kind;
use crate::tree::{Node, NodeKind};
use proptest::prelude::*;
use std::fs;
use std::process::Command;

/// Runs a shell script in `folder`; whether it succeeded.
fn shell(folder: &Path, script: &str) {
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(folder).output().expect("bash");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// In memory where there is such a place: a disk that others are busy with would take most of the time.
fn read_bytes(bytes: &[u8]) -> Result<Tree> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(&parent).expect("temporary folder");
    let path = folder.path().join("input");
    fs::write(&path, bytes).expect("write");
    // The spool outlives the call in the tree; contents are read below through it.
    read(&path, &parent, &mut |_| ())
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    match tree.node(path).map(|node| &node.kind) {
        Some(NodeKind::File(content)) => fs::read(tree.content_path(content)).expect("spooled"),
        other => panic!("{path} is {other:?}"),
    }
}

fn symlink(tree: &Tree, path: &str) -> String {
    match tree.node(path).map(|node| &node.kind) {
        Some(NodeKind::Symlink(target)) => String::from_utf8_lossy(target).into_owned(),
        other => panic!("{path} is {other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> String {
    let error = read_bytes(bytes).expect_err("must be refused");
    assert_eq!(error.kind, Kind::BadInput, "{error}");
    error.to_string()
}

/// An archive in the making, entry by entry.
#[derive(Default)]
struct Cpio(Vec<u8>);

impl Cpio {
    fn entry(self, name: &str, mode: u32, content: &[u8]) -> Self {
        self.linked(name, mode, content, 0, 1)
    }

    fn linked(mut self, name: &str, mode: u32, content: &[u8], ino: u32, links: u32) -> Self {
        let numbers = [ino, mode, 3, 4, links, 0, content.len() as u32, 8, 1, 5, 1, name.len() as u32 + 1, 0];
        self.0.extend(b"070701");
        numbers.iter().for_each(|number| self.0.extend(format!("{number:08x}").bytes()));
        self.0.extend(name.bytes().chain([0]));
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn end(self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"").0
    }
}

const FILE: u32 = 0o100_644;
const DIR: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

/// A folder `root` with one of each, made by a script.
const ROOT: &str = "mkdir -p root/etc root/empty; echo hello >root/etc/greeting; ln root/etc/greeting root/etc/again; \
                    ln -s etc/greeting root/link; seq 100000 >root/numbers; mkfifo root/fifo; chmod 4711 root/numbers; \
                    head -c 300000 /dev/urandom >root/noise";

fn check_root(tree: &Tree) {
    assert_eq!(content(tree, "/etc/greeting"), b"hello\n");
    assert_eq!(content(tree, "/numbers").len(), 588_895);
    assert_eq!(content(tree, "/noise").len(), 300_000);
    assert_eq!(symlink(tree, "/link"), "etc/greeting");
    assert_eq!(tree.node("/fifo").map(|node| &node.kind), Some(&NodeKind::Fifo));
    assert_eq!(tree.node("/numbers").map(|node| node.mode), Some(0o4711));
    assert_eq!(tree.node("/etc/greeting"), tree.node("/etc/again"));
    assert_eq!(tree.nodes.len(), 9);
}

#[test]
fn every_compression_of_the_kernel() {
    let folder = folder();
    shell(folder.path(), ROOT);
    shell(folder.path(), "cd root; find . | cpio -o -H newc --quiet >../plain");
    let mut digests = Vec::new();
    for tool in [
        "cat",
        "gzip -9",
        "bzip2",
        "xz --check=crc32",
        "xz -9",
        "lzma",
        "zstd -19 -T0",
        "zstd",
        "lz4 -l",
        "lzop -9",
        "lzop",
    ] {
        shell(folder.path(), &format!("{tool} <plain >packed"));
        let mut last = 0;
        let path = folder.path().join("packed");
        let tree =
            read(&path, folder.path(), &mut |bytes| last = bytes).unwrap_or_else(|error| panic!("{tool}: {error}"));
        check_root(&tree);
        assert_eq!(last, fs::metadata(&path).expect("packed").len(), "{tool}: progress ends at the input's size");
        digests.push(tree.digest());

        // Microcode in front, an extra cpio behind: but nothing plain can follow lz4 (the kernel's limit).
        shell(
            folder.path(),
            "mkdir -p early/kernel/x86/microcode more; echo ucode >early/kernel/x86/microcode/a.bin; echo 2 >more/fifo",
        );
        shell(folder.path(), "for d in early more; do (cd $d; find . | cpio -o -H newc --quiet >../$d.cpio); done");
        let behind = if tool == "lz4 -l" { "gzip -c more.cpio | cat pad4 -" } else { "cat more.cpio" };
        shell(
            folder.path(),
            &format!(
                "head -c 4 /dev/zero >pad4; cp packed aligned; truncate -s %4 aligned; (cat early.cpio aligned; {behind}) >all"
            ),
        );
        let tree = read(&folder.path().join("all"), folder.path(), &mut |_| ())
            .unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert_eq!(content(&tree, "/fifo"), b"2\n", "{tool}: a later member overrides");
        assert_eq!(content(&tree, "/kernel/x86/microcode/a.bin"), b"ucode\n");
        check_count(&tree, 13);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

fn check_count(tree: &Tree, count: usize) {
    assert_eq!(tree.nodes.len(), count, "{:?}", tree.nodes.keys().map(|path| text(path)).collect::<Vec<_>>());
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[test]
fn tar_and_directory_are_the_same_tree() {
    let folder = folder();
    shell(folder.path(), ROOT);
    let long = "n".repeat(120);
    shell(
        folder.path(),
        &format!("mkdir -p root/{long}/{long}; ln -s {long}{long} root/{long}/{long}/l; rm root/numbers root/noise"),
    );
    // A binary attribute with a newline inside, where the file system has attributes.
    let attribute = b"a\n\0b=\n";
    let has_attributes = xattr::set(folder.path().join("root/etc/greeting"), "user.test", attribute).is_ok();
    let directory = read(&folder.path().join("root"), folder.path(), &mut |_| ()).expect("directory");
    for (format, tool) in
        [("gnu", "cat"), ("pax", "cat"), ("pax", "gzip"), ("pax", "xz"), ("pax", "zstd"), ("gnu", "bzip2")]
    {
        let xattrs = if format == "pax" { "--xattrs --xattrs-include='*'" } else { "" };
        shell(folder.path(), &format!("tar --format={format} {xattrs} -C root -c . | {tool} >archive"));
        let tree = read(&folder.path().join("archive"), folder.path(), &mut |_| ()).expect(format);
        for (path, node) in &directory.nodes {
            let found = tree.nodes.get(path).unwrap_or_else(|| panic!("{format} {}", text(path)));
            assert_eq!((found.mode, found.uid, found.gid), (node.mode, node.uid, node.gid), "{}", text(path));
            if format == "pax" {
                assert_eq!(found.xattrs, node.xattrs, "{}", text(path));
            }
        }
        assert_eq!(tree.node("/etc/greeting"), tree.node("/etc/again"));
        assert_eq!(tree.nodes.len(), directory.nodes.len());
        if format == "pax" {
            assert_eq!(tree.digest(), directory.digest());
        }
    }
    if has_attributes {
        let greeting = directory.node("/etc/greeting").expect("there");
        assert_eq!(greeting.xattrs.get(&b"user.test"[..]).map(Vec::as_slice), Some(&attribute[..]));
    }
    // Several streams, as pigz and pbzip2 write them.
    shell(folder.path(), "tar -C root -c . >t; head -c 700 t | gzip >two; tail -c +701 t | gzip >>two");
    assert!(read(&folder.path().join("two"), folder.path(), &mut |_| ()).is_ok());
}

/// As `tar --xattrs` writes them and as `tar --selinux` does: `setfattr` and `setfilecon` would leave the same.
#[test]
fn a_label_of_a_tar_is_the_files_in_either_form() {
    const LABEL: &[u8] = b"system_u:object_r:etc_t:s0\0";
    let (whole, cut) = (("SCHILY.xattr.security.selinux", LABEL), ("RHT.security.selinux", &LABEL[..LABEL.len() - 1]));
    for records in [&[whole][..], &[cut], &[cut, whole]] {
        let mut archive = ::tar::Builder::new(Vec::new());
        archive.append_pax_extensions(records.iter().copied()).expect("memory");
        let mut header = ::tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(1);
        archive.append_data(&mut header, "file", &b"x"[..]).expect("memory");
        let tree = read_bytes(&archive.into_inner().expect("memory")).expect("a tar");
        let node = tree.node("/file").expect("there");
        assert_eq!(node.xattrs, [(b"security.selinux".to_vec(), LABEL.to_vec())].into(), "{records:?}");
    }
}

#[test]
fn hard_links_take_the_content_that_comes_last() {
    let archive = Cpio::default()
        .linked("a", FILE, b"", 7, 3)
        .linked("b", FILE, b"", 7, 3)
        .linked("c", FILE, b"content", 7, 3)
        .linked("alone", FILE, b"", 8, 1)
        .end();
    let tree = read_bytes(&archive).expect("archive");
    assert_eq!(content(&tree, "/a"), b"content");
    assert!(tree.node("/a") == tree.node("/b") && tree.node("/b") == tree.node("/c"));
    // The next archive's numbers are its own; writing over one name writes over all.
    let next = Cpio::default().linked("d", FILE, b"other", 7, 2).entry("a", FILE, b"new").end();
    let tree = read_bytes(&[archive, next].concat()).expect("archives");
    assert_eq!(content(&tree, "/d"), b"other");
    assert_eq!(content(&tree, "/c"), b"new");
}

#[test]
fn parents_are_followed_inside_the_tree() {
    let archive = Cpio::default()
        .entry("/usr/lib", DIR, b"")
        .entry("./lib", LINK, b"/usr/lib")
        .entry("up", LINK, b"../../../usr/./lib/..")
        .entry("lib/a", FILE, b"1")
        .entry("up/b", FILE, b"2")
        .entry("no/where/c", FILE, b"3")
        .end();
    let tree = read_bytes(&archive).expect("archive");
    let paths: Vec<_> = tree.nodes.keys().map(|path| text(path)).collect();
    assert_eq!(
        paths,
        ["/", "/lib", "/no", "/no/where", "/no/where/c", "/up", "/usr", "/usr/b", "/usr/lib", "/usr/lib/a"]
    );
    assert_eq!(tree.node("/no").map(|node| (node.mode, node.uid)), Some((0o755, 0)));
}

#[test]
fn later_entries_override_as_in_the_kernel() {
    let archive = Cpio::default()
        .entry("f", FILE, b"old")
        .entry("f", LINK, b"target")
        .entry("d/inside", FILE, b"")
        .entry("d", LINK, b"elsewhere")
        .entry("e", DIR, b"")
        .entry("e", FILE, b"now a file")
        .entry("t", 0o020_600, b"")
        .entry(".", 0o040_700, b"")
        .end();
    let tree = read_bytes(&archive).expect("archive");
    assert_eq!(symlink(&tree, "/f"), "target");
    assert_eq!(tree.node("/d").map(|node| &node.kind), Some(&NodeKind::Directory), "not empty: stays");
    assert_eq!(content(&tree, "/e"), b"now a file");
    assert_eq!(tree.node("/t").map(|node| &node.kind), Some(&NodeKind::CharDevice(5, 1)));
    assert_eq!(tree.node("/").map(|node| (node.mode, node.uid, node.gid)), Some((0o700, 3, 4)));
}

#[test]
fn refusals_name_what_and_where() {
    let file = |name: &str| Cpio::default().entry(name, FILE, b"x").end();
    assert!(refusal(&file("a/../../etc/passwd")).contains("`a/../../etc/passwd` has a `..` component"));
    let looped = Cpio::default().entry("a", LINK, b"b").entry("b", LINK, b"a").entry("a/x", FILE, b"").end();
    assert!(refusal(&looped).contains("byte 232: `a/x` leads through a loop"), "{}", refusal(&looped));
    let below = Cpio::default().entry("a", FILE, b"").entry("a/x", FILE, b"").end();
    assert!(refusal(&below).contains("not a directory"));
    assert!(refusal(b"").contains("is empty"));
    assert!(refusal(&[0; 1000]).contains("nothing but zero"));
    let unknown = refusal(b"\x7fELF and more");
    assert!(
        unknown.contains("byte 0:") && unknown.contains("7f 45 4c 46") && unknown.contains("accepted:"),
        "{unknown}"
    );
    let behind = refusal(&[file("a"), b"\0\0\0\0garbage".to_vec()].concat());
    assert!(behind.contains("found 67 61 72 62"), "{behind}");
    assert!(refusal(&[0x04, 0x22, 0x4d, 0x18, 0, 0, 0, 0]).contains("lz4 -l"));
    assert!(refusal(&[b"070707".to_vec(), vec![b'0'; 200]].concat()).contains("-H newc"));
    let no_trailer = Cpio::default().entry("a", FILE, b"x").0;
    assert!(refusal(&no_trailer).contains("TRAILER!!!"));
    let mut huge = file("a");
    huge.splice(54..62, *b"ffffffff");
    assert!(refusal(&huge).contains("ends in the middle of `a`"));
    let mut sum = file("a");
    sum.splice(5..6, *b"2");
    assert!(refusal(&sum).contains("wrong checksum"));
    sum.splice(102..110, *b"00000078");
    assert!(read_bytes(&sum).is_ok());
}

#[test]
fn tar_refusals() {
    let folder = folder();
    shell(
        folder.path(),
        "echo 1 >a; tar -c --transform=s,a,../a, -P a >up; tar -c --transform=s,a,/b/../a, -P a >inner",
    );
    for name in ["up", "inner"] {
        let error = read(&folder.path().join(name), folder.path(), &mut |_| ()).expect_err(name);
        assert!(error.to_string().contains("byte 0: ") && error.to_string().contains("`..`"), "{error}");
    }
    shell(
        folder.path(),
        "ln a b; tar -c --transform='flags=h;s,a,../../a,' -P a b >link; tar -c -P --transform=s,^,/, a b >absolute",
    );
    let error = read(&folder.path().join("link"), folder.path(), &mut |_| ()).expect_err("link");
    assert!(error.to_string().contains("hard link of `../../a`"), "{error}");
    assert!(read(&folder.path().join("absolute"), folder.path(), &mut |_| ()).is_ok(), "inside the tree's own root");
    // 10 GB declared, in base 256, with nothing behind it.
    let mut huge = fs::read(folder.path().join("absolute")).expect("tar");
    huge.splice(124..136, [0x80, 0, 0, 0, 0, 0, 0, 2, 0x54, 0x0b, 0xe4, 0]);
    let sum: u32 =
        huge.iter().take(512).enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    huge.splice(148..156, format!("{sum:06o}\0 ").bytes());
    assert!(refusal(&huge).contains("ends in the middle of `/a`"), "{}", refusal(&huge));
}

/// A small archive in every compression, and as a tar. Small dictionaries: a decoder that is opened for every byte of it
/// would otherwise spend its time on clearing megabytes.
#[test]
fn names_and_paths_that_no_file_system_takes() {
    let long = "n".repeat(256);
    let deep = vec!["d".repeat(255); 16].join("/");
    let cases = [
        (format!("a/{long}"), "a name of 256 bytes, the limit is 255"),
        (format!("{long}/a"), "a name of 256 bytes, the limit is 255"),
        (format!("/{deep}"), "a name of 4097 bytes, the limit is 4096 with its end"),
    ];
    for (name, cause) in cases {
        let text = refusal(&Cpio::default().entry("a", 0o040_755, b"").entry(&name, 0o100_644, b"x").end());
        assert!(text.contains("input: byte ") && text.contains(cause), "{text}");
        assert!(!text.contains("spool") && text.len() < 700, "{text}");
    }
    // Below the limit in the archive, above it through a link.
    let linked =
        Cpio::default().entry("l", 0o120_777, b"longer").entry(&format!("l/{}", &deep[..4093]), 0o100_644, b"");
    assert!(refusal(&linked.end()).contains("a path of 4101 bytes"));
    let fits = Cpio::default().entry(&format!("/{}", &deep[..4094]), 0o100_644, b"").entry(&long[1..], 0o100_644, b"x");
    read_bytes(&fits.end()).unwrap();
    let work = folder();
    for (script, cause) in [
        (
            "echo x >a; tar cf out --format=pax --transform=\"s/a/$(printf 'n%.0s' $(seq 256))/\" a",
            "a name of 256 bytes",
        ),
        (
            "ln -s nowhere b; tar cf out --format=pax --transform=\"s/nowhere/$(printf 't%.0s' $(seq 4096))/\" b",
            "a target of 4096 bytes, the limit is 4095",
        ),
    ] {
        shell(work.path(), script);
        let text = refusal(&fs::read(work.path().join("out")).unwrap());
        assert!(text.contains("input: byte ") && text.contains(cause), "{text}");
    }
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = folder();
    shell(
        folder.path(),
        "mkdir root; echo hello >root/a; ln root/a root/b; seq 90 >root/c; cd root; find . | cpio -o -H newc --quiet >../plain",
    );
    shell(folder.path(), "tar -b 1 -C root -c a b c >tar");
    let sources = [
        ("plain", "gzip"),
        ("plain", "bzip2 -1"),
        ("plain", "xz -0"),
        ("plain", "lzma -0"),
        ("plain", "zstd -1"),
        ("plain", "lz4 -l"),
    ];
    let more =
        [("plain", "lzop"), ("tar", "xz -0"), ("tar", "zstd -1"), ("tar", "gzip"), ("plain", "cat"), ("tar", "cat")];
    let pack = |(source, tool): (&str, &str)| {
        shell(folder.path(), &format!("{tool} <{source} >packed"));
        (format!("{source} {tool}"), fs::read(folder.path().join("packed")).expect("packed"))
    };
    sources.into_iter().chain(more).map(pack).collect()
}

#[test]
fn truncated_at_any_byte() {
    for (name, bytes) in samples() {
        assert!(read_bytes(&bytes).is_ok(), "{name}");
        let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
        // What follows the last needed byte is padding.
        let needed = match name.as_str() {
            "plain cat" => find(b"TRAILER!!!\0").expect("trailer") + 11,
            "tar cat" => bytes.iter().rposition(|byte| *byte != 0).expect("content").next_multiple_of(512) + 512,
            // Its end mark may be read before its last byte, which is zero then.
            "plain lzma -0" => bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1,
            _ => bytes.len(),
        };
        for length in 0..needed {
            match read_bytes(&bytes[..length]) {
                Err(error) => assert_eq!(error.kind, Kind::BadInput, "{name} at {length}: {error}"),
                Ok(_) => panic!("{name} cut to {length} of {needed} bytes was accepted"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is done to an archive, the answer is a tree or an error.
    #[test]
    fn damaged_anywhere(sample in 0..12_usize, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        use std::sync::OnceLock;
        static SAMPLES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
        let (_, bytes) = &SAMPLES.get_or_init(samples)[sample];
        let mut bytes = bytes.clone();
        for (index, value) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= value;
        }
        if let Ok(tree) = read_bytes(&bytes) {
            let parents = tree.nodes.keys().filter(|path| path.len() > 1).map(|path| {
                let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(1);
                tree.nodes.get(&path[..end])
            });
            for parent in parents {
                let is_directory = matches!(parent, Some(Node { kind: NodeKind::Directory, .. }));
                prop_assert!(is_directory);
            }
        }
    }
}
