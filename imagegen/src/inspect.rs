//! `imagegen inspect`: says what any file of the project holds: a plan, a record, a profile, an EROFS image, a disk, a manifest,
//! what a bootloader takes, or whatever `build` takes as its input.

mod boot_file;
mod profile;
mod show;
mod words;

use crate::bytes::has;
use crate::profile::Profile;
use crate::tree::{Node, NodeKind, Tree};
use crate::verity::Image;
use crate::{Error, Result, bootloader, disk, erofs, input, manifest, memory, runs};
use bootstrap::{plan, record};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Magic of an EROFS superblock, little-endian at offset 1024 (`fs/erofs/erofs_fs.h`).
const EROFS_MAGIC: [u8; 4] = 0xE0F5_E1E2_u32.to_le_bytes();
/// What `build` writes as text, by its name.
const TEXTS: [&str; 6] = [
    bootloader::COMMANDS,
    bootloader::EXTLINUX,
    bootloader::FIT_SOURCE,
    bootloader::GRUB,
    bootloader::BLS,
    memory::COMMANDS,
];
/// The largest of them that is shown, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// What is known, for hints.
const KINDS: &str = "known are an initramfs, a tar, a folder, EROFS, a disk, a plan, a record, a profile, a manifest, a FIT, a device \
                     tree, a UKI, U-Boot's and Android's images, and the texts that `build` writes";
/// Bytes of a file's start that tell what it is.
const HEAD: u64 = 1028;

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Write the content of this file instead of the list.
    pub cat: Option<OsString>,
    /// Write JSON.
    pub json: bool,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Plan,
    Record,
    Erofs,
    Disk,
    Profile,
    Manifest,
    Boot,
    Text,
    Archive,
}

/// Writes what `path` holds to `out`.
///
/// # Errors
/// Bad input if it is nothing known, is damaged, or has no file of the name asked for; failed work if reading or writing
/// fails.
pub fn run(path: &Path, options: &Options, out: &mut dyn Write) -> Result<()> {
    let mut out = Reader { out, has_gone: false };
    match write(path, options, &mut out) {
        // Whoever reads has seen enough: `imagegen inspect FILE | head`.
        Err(_) if out.has_gone => Ok(()),
        result => result,
    }
}

/// Whoever reads what is written, and may go before its end.
struct Reader<'a> {
    out: &'a mut dyn Write,
    has_gone: bool,
}

impl Write for Reader<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.has_gone |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write(path: &Path, options: &Options, out: &mut dyn Write) -> Result<()> {
    let what = detect(path)?;
    let text = match (what, &options.cat) {
        (What::Erofs, Some(inner)) => return erofs::cat(path, inner.as_bytes(), out),
        (What::Archive, Some(inner)) => return cat_archive(path, inner, out),
        (What::Boot, Some(inner)) => return boot_file::cat(path, inner, out),
        (_, Some(_)) => {
            let text = format!("{} holds no files", path.display());
            let hint = "--cat is for an initramfs, a tar, a folder, an EROFS image or an EFI program";
            return Err(Error::bad_input(text, hint));
        }
        (What::Plan, None) => show_plan(path, options.json)?,
        (What::Record, None) => show_record(path, options.json)?,
        (What::Erofs, None) => show_erofs(path, options.json)?,
        (What::Disk, None) => show_disk(path, options.json)?,
        (What::Profile, None) => show_profile(path, options.json)?,
        (What::Manifest, None) => show_manifest(path, options.json)?,
        (What::Boot, None) => boot_file::show(path, options.json)?,
        (What::Text, None) => show_text(path, options.json)?,
        (What::Archive, None) => show_archive(path, options.json)?,
    };
    out.write_all(text.as_bytes()).map_err(Error::io("write", "standard output"))
}

fn detect(path: &Path) -> Result<What> {
    let is_block_device = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    if !is_block_device && input::is_directory(path)? {
        return Ok(if manifest::read(path).is_ok() { What::Manifest } else { What::Archive });
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(HEAD).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(if head.starts_with(&plan::KIND.magic) {
        What::Plan
    } else if head.starts_with(&record::KIND.magic) {
        What::Record
    } else if head.get(1024..) == Some(&EROFS_MAGIC) {
        What::Erofs
    } else if head.get(512..520) == Some(b"EFI PART") {
        What::Disk
    } else if head.starts_with(b"{") && has(&head, b"\"boots\":") {
        // In front of its files, as we write it; no manifest has it.
        What::Profile
    } else if head.starts_with(b"{") {
        What::Manifest
    } else if boot_file::is_one(&head) {
        What::Boot
    } else if path.file_name().is_some_and(|name| TEXTS.iter().any(|text| name == *text)) {
        What::Text
    } else {
        What::Archive
    })
}

fn sealed(path: &Path, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    // One more than the largest, so that what is too long is seen to be.
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

fn refused(path: &Path, error: bootstrap::envelope::Error) -> Error {
    let hint = match error {
        bootstrap::envelope::Error::Version(_) => "use the imagegen of the same version as its writer",
        _ => "is it copied whole? build it again, or fetch it again",
    };
    Error::bad_input(format!("{}: {error}", path.display()), hint)
}

fn show_plan(path: &Path, as_json: bool) -> Result<String> {
    let bytes = sealed(path, plan::MAX_BYTES)?;
    let plan = plan::open(&bytes).map_err(|error| refused(path, error))?;
    match serde_json::to_value(&plan) {
        Ok(Value::Object(fields)) if !as_json => Ok(words::fields(&fields, 0)),
        _ => json_text(&plan),
    }
}

fn show_record(path: &Path, as_json: bool) -> Result<String> {
    let bytes = sealed(path, record::MAX_BYTES)?;
    let record = record::open(&bytes).map_err(|error| refused(path, error))?;
    if as_json { json_text(&record) } else { Ok(show::record(&record)) }
}

fn show_erofs(path: &Path, as_json: bool) -> Result<String> {
    let image = Image::open(path)?;
    let files = erofs::list(path)?;
    if as_json {
        json_text(&show::image_json(&image, &files))
    } else {
        Ok(show::image(&image) + &show::files(&files, false))
    }
}

fn show_manifest(path: &Path, as_json: bool) -> Result<String> {
    let manifest = manifest::read(path).map_err(|error| match runs::read(path) {
        Ok(_) => {
            let text = format!("{} holds measurements", path.display());
            Error::bad_input(text, "show them with `imagegen report`")
        }
        Err(_) => error,
    })?;
    if as_json { json_text(&manifest) } else { Ok(show::manifest(&manifest)) }
}

/// A text of `build`'s, made harmless for a terminal.
fn show_text(path: &Path, as_json: bool) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let refuse = |why: &str| Error::bad_input(format!("{}: {why}", path.display()), "is this the right file?");
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(refuse(&format!("a text of more than {MAX_TEXT_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("is called as a text is, and is none"))?;
    if as_json {
        return json_text(&json!({ "text": text }));
    }
    // A tab is no harm, and indents.
    let line = |line: &str| line.split('\t').map(show::harmless).collect::<Vec<_>>().join("\t") + "\n";
    Ok(text.lines().map(line).collect())
}

fn show_profile(path: &Path, as_json: bool) -> Result<String> {
    let profile = Profile::read(path)?;
    if as_json { json_text(&profile::json(&profile)) } else { Ok(profile::text(&profile)) }
}

fn json_text<T: serde::Serialize>(value: &T) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::failed(format!("JSON: {error}"), "leave out --json"))?;
    Ok(text + "\n")
}

fn show_archive(path: &Path, as_json: bool) -> Result<String> {
    let spool = spool()?;
    let tree = input::read(path, spool.path(), &mut |_| ()).map_err(|error| match error.hint == input::ACCEPTED {
        true => Error { hint: KINDS.to_owned(), ..error },
        false => error,
    })?;
    let entries: Vec<(Vec<u8>, Node)> = tree.nodes.iter().map(|(path, node)| (path.clone(), node.clone())).collect();
    let Some(ahead) = ahead(&tree)? else { return Ok(show::files(&entries, as_json)) };
    if !as_json {
        return Ok(show::files(&entries, false) + &profile::ahead_text(&ahead));
    }
    let mut list = show::list_json(&entries);
    let own = list.iter_mut().find(|entry| entry["path"] == plan::AHEAD_PATH).and_then(Value::as_object_mut);
    if let Some(entry) = own {
        entry.insert("files".to_owned(), profile::ahead_json(&ahead));
    }
    json_text(&Value::Array(list))
}

/// What a mini-initramfs has read ahead; none if it is not one, or has nothing.
fn ahead(tree: &Tree) -> Result<Option<Vec<profile::Pieces>>> {
    let content = match (tree.node(plan::PATH), tree.node(plan::AHEAD_PATH).map(|node| &node.kind)) {
        (Some(_), Some(NodeKind::File(content))) if content.size <= plan::AHEAD_MAX_BYTES as u64 => content,
        _ => return Ok(None),
    };
    let path = tree.content_path(content);
    let list = std::fs::read(&path).map_err(Error::io("read", &path))?;
    Ok(Some(profile::ahead(&list)))
}

fn cat_archive(path: &Path, inner: &OsStr, out: &mut dyn Write) -> Result<()> {
    let spool = spool()?;
    let tree = input::read(path, spool.path(), &mut |_| ())?;
    let below = inner.as_bytes().iter().skip_while(|byte| **byte == b'/').copied();
    let inner = OsString::from_vec([b'/'].into_iter().chain(below).collect());
    let shown = show::printable(inner.as_bytes());
    let refuse =
        |why: &str| Err(Error::bad_input(format!("{}: {shown} {why}", path.display()), "list it without --cat"));
    match tree.node(&inner).map(|node| &node.kind) {
        Some(NodeKind::File(content)) => {
            let file = tree.content_path(content);
            let mut file = File::open(&file).map_err(Error::io("open", &file))?;
            io::copy(&mut file, out).map(drop).map_err(Error::io("write", "standard output"))
        }
        Some(_) => refuse("is not a regular file"),
        None => refuse("does not exist"),
    }
}

fn spool() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))
}

/// A disk's partitions, and whether an EROFS image starts in each.
fn show_disk(path: &Path, as_json: bool) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut text, mut list) = (String::new(), Vec::new());
    for partition in disk::list(path)? {
        let mut magic = [0; 4];
        let holds = match file
            .seek(SeekFrom::Start(partition.start.saturating_add(1024)))
            .and_then(|_| file.read_exact(&mut magic))
        {
            Ok(()) if magic == EROFS_MAGIC => "erofs",
            _ => "unknown",
        };
        let (number, start, bytes, name) = (partition.number, partition.start, partition.bytes, partition.name);
        let guid = disk::guid_text(&partition.uuid);
        // Writing to a String cannot fail.
        let shown = show::printable(name.as_bytes());
        let _ = writeln!(text, "{number:>3} {start:>12} {bytes:>12} {guid} {holds:<8} {shown}");
        list.push(json!({
            "number": number, "start": start, "bytes": bytes, "partuuid": guid, "holds": holds, "partname": name,
        }));
    }
    if as_json { json_text(&Value::Array(list)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &Path, options: &Options) -> Result<String> {
        let mut out = Vec::new();
        run(path, options, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn initramfs(folder: &Path) -> std::path::PathBuf {
        use crate::initramfs::{Body, Initramfs};
        let mut archive = Initramfs::new(Body::Bytes(b"#!/bin/sh\n".to_vec()));
        archive.add("/etc/motd", 0o644, Body::Bytes(b"hello\n".to_vec())).unwrap();
        let path = folder.join("initramfs.img");
        archive.write(crate::board::Compression::Gzip, &mut File::create(&path).unwrap()).unwrap();
        path
    }

    #[test]
    fn an_initramfs_is_listed_and_its_files_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = initramfs(folder.path());
        let text = shown(&path, &Options::default()).unwrap();
        assert!(text.contains("-rwxr-xr-x     0     0           10 /init\n"), "{text}");
        assert!(text.contains("crw-------     0     0         5, 1 /dev/console\n"), "{text}");
        let cat = |name: &str| shown(&path, &Options { cat: Some(name.into()), json: false });
        assert_eq!(cat("etc/motd").unwrap(), "hello\n");
        assert_eq!(cat("/etc").unwrap_err().exit_status(), 2);
        assert_eq!(cat("/none").unwrap_err().exit_status(), 2);
        let json: Value = serde_json::from_str(&shown(&path, &Options { cat: None, json: true }).unwrap()).unwrap();
        assert!(json.as_array().unwrap().iter().any(|entry| entry["path"] == "/etc/motd" && entry["bytes"] == 6));
    }

    #[test]
    fn names_stay_distinct_and_links_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let name = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        for (bytes, content) in [(&b"a\xff"[..], "1"), (b"a\xfe", "2"), (b"a\\xff", "3"), (b"a\n", "4"), (b"a\\n", "5")]
        {
            std::fs::write(folder.path().join(name(bytes)), content).unwrap();
        }
        std::fs::hard_link(folder.path().join(name(b"a\xff")), folder.path().join("b")).unwrap();
        let text = shown(folder.path(), &Options::default()).unwrap();
        for line in ["/a\\xff\n", "/a\\xfe\n", "/a\\\\xff\n", "/a\\n\n", "/a\\\\n\n", "/b link to /a\\xff\n"] {
            assert!(text.contains(&format!(" {line}")), "{line:?} is missing: {text}");
        }
        let json: Value =
            serde_json::from_str(&shown(folder.path(), &Options { cat: None, json: true }).unwrap()).unwrap();
        let has = |path: &str| json.as_array().unwrap().iter().any(|entry| entry["path"] == path);
        assert!(has("/a\\xff") && has("/a\\xfe") && has("/a\\\\xff") && has("/a\n"), "{json}");
        let links: Vec<_> =
            json.as_array().unwrap().iter().filter(|entry| entry["hard_link_of"] == "/a\\xff").collect();
        assert!(links.len() == 1 && links[0]["path"] == "/b", "{json}");
        let cat = |bytes: &[u8]| shown(folder.path(), &Options { cat: Some(name(bytes)), json: false });
        assert_eq!(cat(b"a\xfe").unwrap(), "2");
        assert_eq!(cat(b"//a\xff").unwrap(), "1");
        assert!(cat(b"no\xff").unwrap_err().what.contains("/no\\xff does not exist"));
    }

    #[test]
    fn the_texts_of_a_build_are_shown_and_harmless() {
        let folder = tempfile::tempdir().unwrap();
        for name in TEXTS {
            let path = folder.path().join(name);
            std::fs::write(&path, "default a\n\tkernel /kernel\x1b[2J\n").unwrap();
            let text = shown(&path, &Options::default()).unwrap();
            assert!(text.starts_with("default a\n\tkernel /kernel") && !text.contains('\x1b'), "{text:?}");
            std::fs::write(&path, b"a\xff").unwrap();
            assert_eq!(shown(&path, &Options::default()).unwrap_err().exit_status(), 2);
        }
        let other = folder.path().join("other");
        std::fs::write(&other, "default a\n").unwrap();
        let error = shown(&other, &Options::default()).unwrap_err();
        assert!(error.exit_status() == 2 && error.hint == KINDS, "{error}");
    }

    #[test]
    fn a_device_tree_is_not_called_a_fit() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("source"), folder.path().join("board.dtb"));
        std::fs::write(&source, "/dts-v1/; / { model = \"Kit 1\"; compatible = \"us,kit\", \"us,soc\"; };").unwrap();
        crate::tool::Tool::new("dtc", "device-tree-compiler").arg("-o").arg(&path).arg(&source).run().unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        assert_eq!(text, "device tree\nmodel Kit 1\ncompatible us,kit us,soc\n");
        std::fs::write(&path, [0xd0, 0x0d, 0xfe, 0xed, 0, 0]).unwrap();
        assert_eq!(shown(&path, &Options::default()).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn a_record_becomes_a_table() {
        use bootstrap::{Step, record::Event};
        let mut record = record::Record::new(1_000_000);
        record.add(Event { step: Step::EarlyMounts, item: 0, ended_ns: 1_085_000, errno: 0 });
        record.add(Event { step: Step::Mount, item: 0, ended_ns: 1_095_000, errno: 22 });
        let mut buffer = [0; record::MAX_BYTES];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        std::fs::write(&path, record::seal(&record, &mut buffer).unwrap()).unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        assert!(text.contains("early-mounts") && text.contains("0.085") && text.contains("errno 22"), "{text}");
        shown(&path, &Options { cat: None, json: true }).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(shown(&path, &Options::default()).unwrap_err().what.contains("CRC"));
    }

    #[test]
    fn a_profile_and_what_is_read_ahead_are_shown_in_their_order() {
        use crate::initramfs::{Body, Initramfs};
        use bootstrap::plan::{List, Piece};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let text = r#"{"format": 2, "board": "kit", "input_sha256": "ab", "images": ["cd"], "boots": 2, "files": [
            {"path": "/b", "pages": [[0, 3], [7, 1]]}, {"path": "/a", "pages": []}]}"#;
        std::fs::write(&path, text).unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        let head = "profile of 2 boots of board kit: 2 paths, 1 with contents, 16384 bytes of them\ncontent  ab\nimage    cd\n";
        assert!(text.starts_with(head) && text.contains("|     1 | 16384 | 0-2, 7 | /b   |\n"), "{text}");
        let json: Value = serde_json::from_str(&shown(&path, &Options { cat: None, json: true }).unwrap()).unwrap();
        assert!(json["bytes"] == 16384 && json["files"][1]["path"] == "/a" && json["boots"] == 2, "{json}");

        let mut buffer = [0; 200];
        let mut piece =
            |path, page, pages| postcard::to_slice(&Piece { path, page, pages }, &mut buffer).unwrap().to_vec();
        let items = [piece("/usr/lib/x", 1, 2), piece("", 9, 1), piece("/z", 0, 1)].concat();
        let list = postcard::to_slice(&List::<Piece<'_>>::of_encoded(&items), &mut buffer).unwrap().to_vec();
        let mut archive = Initramfs::new(Body::Bytes(b"#!/bin/sh\n".to_vec()));
        archive.add(plan::PATH, 0o600, Body::Bytes(Vec::new())).unwrap();
        archive.add(plan::AHEAD_PATH, 0o600, Body::Bytes(list)).unwrap();
        archive.write(crate::board::Compression::None, &mut File::create(&path).unwrap()).unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        assert!(text.contains("read ahead, in this order: 2 files, 16384 bytes\n"), "{text}");
        assert!(text.contains("| 12288 | 1-2, 9 | /usr/lib/x |\n"), "{text}");
        let json: Value = serde_json::from_str(&shown(&path, &Options { cat: None, json: true }).unwrap()).unwrap();
        let entry = json.as_array().unwrap().iter().find(|entry| entry["path"] == "/ahead").unwrap();
        assert_eq!(entry["files"][0]["pages"], json!([[1, 2], [9, 1]]));
    }

    #[test]
    fn an_image_says_what_verifies_it() {
        use crate::verity;
        let folder = tempfile::tempdir().unwrap();
        let (content, path) = (folder.path().join("content"), folder.path().join("image"));
        std::fs::create_dir(&content).unwrap();
        let made = std::process::Command::new("mkfs.erofs").args(["--quiet", "-T0"]).args([&path, &content]).status();
        assert!(made.unwrap().success());
        let json =
            || -> Value { serde_json::from_str(&shown(&path, &Options { cat: None, json: true }).unwrap()).unwrap() };
        assert!(shown(&path, &Options::default()).unwrap().starts_with("drwx"));
        assert!(json()["verity"].is_null() && json()["version"] == 0);
        verity::set_version(&path, 7).unwrap();
        let summary = verity::append(&path, &verity::Options { fec_roots: 2 }).unwrap();
        let root_hash = manifest::hex(&summary.root_hash);
        let start = format!("version 7\nroot hash {root_hash}, not signed, error correction with 2 roots\ndrwx");
        let text = shown(&path, &Options::default()).unwrap();
        assert!(text.starts_with(&start), "{text}");
        let verity = &json()["verity"];
        assert_eq!(
            (&verity["root_hash"], &verity["signed"], &verity["fec_roots"]),
            (&json!(root_hash), &json!(false), &json!(2))
        );
        assert!(json()["version"] == 7 && json()["files"][0]["path"] == "/");
    }

    #[test]
    fn who_has_seen_enough_is_no_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = initramfs(folder.path());
        run(&path, &Options::default(), &mut Gone).unwrap();
        run(&path, &Options { cat: Some("/etc/motd".into()), json: false }, &mut Gone).unwrap();
        assert!(run(&path, &Options { cat: Some("/none".into()), json: false }, &mut Gone).is_err());
    }

    #[test]
    fn no_name_reaches_the_terminal_as_it_is_and_other_json_is_called_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut manifest = manifest::Manifest::example();
        manifest.board.name = "kit\u{1b}[2J".into();
        manifest.plan = vec!["a \u{7}bell".into()];
        std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        assert!(text.contains("board kit\\u{1b}[2J (aarch64)\n") && text.contains("a \\u{7}bell\n"), "{text}");
        runs::write(&runs::tests::example(1), &crate::atomic::Output::at(&path).unwrap()).unwrap();
        let error = shown(&path, &Options::default()).unwrap_err();
        assert!(error.what.ends_with("holds measurements") && error.hint.contains("imagegen report"), "{error}");
        let image = folder.path().join("image");
        std::fs::write(&image, [0; 4096]).unwrap();
        let partition = disk::Partition { name: "a\u{1b}b".into(), uuid: None, image };
        disk::write(&path, &[0; 16], &[partition], &mut |_| ()).unwrap();
        assert!(shown(&path, &Options::default()).unwrap().ends_with("a\\u{1b}b\n"));
    }

    #[test]
    fn a_disk_lists_its_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let (image, path) = (folder.path().join("image"), folder.path().join("disk.img"));
        let mut content = vec![0; 4096];
        content[1024..1028].copy_from_slice(&EROFS_MAGIC);
        std::fs::write(&image, content).unwrap();
        let partition = disk::Partition { name: "initoverlayfs".into(), uuid: None, image };
        disk::write(&path, &[0; 16], &[partition], &mut |_| ()).unwrap();
        let text = shown(&path, &Options::default()).unwrap();
        assert!(
            text.contains("erofs    initoverlayfs\n") && text.starts_with("  1      1048576         4096 "),
            "{text}"
        );
        assert!(shown(&path, &Options { cat: Some("/x".into()), json: false }).is_err());
    }
}
