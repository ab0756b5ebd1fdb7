//! How things look: files as `ls -l` shows them, records and manifests as tables.

use crate::boot::console::milliseconds;
use crate::manifest::{Manifest, hex};
use crate::tree::{Node, NodeKind};
use crate::verity::Image;
use bootstrap::record::{Counter, Record};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;

/// Files, a line each, or as JSON.
pub(super) fn files(entries: &[(Vec<u8>, Node)], as_json: bool) -> String {
    let mut text = String::new();
    if as_json {
        text = serde_json::to_string_pretty(&list_json(entries)).unwrap_or_default();
        text.push('\n');
        return text;
    }
    let links = hard_links(entries);
    let link = |path: &[u8]| links.get(path).copied();
    for (path, node) in entries {
        let (size, target) = match &node.kind {
            NodeKind::File(content) => (content.size.to_string(), None),
            NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
                (format!("{major}, {minor}"), None)
            }
            NodeKind::Symlink(target) => (target.len().to_string(), Some(target)),
            NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => ("0".to_owned(), None),
        };
        let (mode, uid, gid, shown) = (mode(node), node.uid, node.gid, printable(path));
        // Writing to a String cannot fail.
        let _ = write!(text, "{mode} {uid:>5} {gid:>5} {size:>12} {shown}");
        if let Some(first) = link(path) {
            let _ = write!(text, " link to {}", printable(first));
        }
        if let Some(target) = target {
            let _ = write!(text, " -> {}", printable(target));
        }
        for name in node.xattrs.keys() {
            let _ = write!(text, " [{}]", printable(name));
        }
        text.push('\n');
    }
    text
}

/// What an image says of itself in front of its files: nothing where it has neither version nor trailer.
pub(super) fn image(image: &Image) -> String {
    let mut text = if image.version == 0 { String::new() } else { format!("version {}\n", image.version) };
    if let Some(attached) = &image.attached {
        let signed = if attached.signature.is_empty() { "not signed" } else { "signed" };
        let _ = write!(text, "root hash {}, {signed}", hex(&attached.summary.root_hash));
        if let Some(fec) = attached.summary.fec {
            let _ = write!(text, ", error correction with {} roots", fec.roots);
        }
        text.push('\n');
    }
    text
}

/// The same and the files, as JSON.
pub(super) fn image_json(image: &Image, files: &[(Vec<u8>, Node)]) -> Value {
    let verity = image.attached.as_ref().map(|attached| {
        let summary = &attached.summary;
        json!({
            "root_hash": hex(&summary.root_hash), "salt": hex(&summary.salt), "hash_start": summary.hash_start,
            "bytes": summary.bytes, "signed": !attached.signature.is_empty(),
            "fec_roots": summary.fec.map_or(0, |fec| fec.roots),
        })
    });
    json!({ "bytes": image.data_bytes, "version": image.version, "verity": verity, "files": list_json(files) })
}

/// Files as JSON, an entry each.
pub(super) fn list_json(entries: &[(Vec<u8>, Node)]) -> Vec<Value> {
    let links = hard_links(entries);
    entries.iter().map(|(path, node)| file_json(path, node, links.get(path.as_slice()).copied())).collect()
}

/// Path to the first path of the same file, for every hard link but the first.
fn hard_links(entries: &[(Vec<u8>, Node)]) -> HashMap<&[u8], &[u8]> {
    let (mut first, mut links) = (HashMap::new(), HashMap::new());
    for (path, node) in entries {
        if let NodeKind::File(content) = &node.kind {
            let known = *first.entry(content.id).or_insert(path.as_slice());
            if known != path {
                links.insert(path.as_slice(), known);
            }
        }
    }
    links
}

/// Names may hold anything; a terminal must not obey it.
pub(super) fn printable(bytes: &[u8]) -> String {
    harmless(&distinct(bytes))
}

pub(super) fn harmless(line: &str) -> String {
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A byte that is not UTF-8 as `\xNN`, and a backslash as two: different names stay different.
fn distinct(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += &chunk.valid().replace('\\', "\\\\");
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn file_json(path: &[u8], node: &Node, link: Option<&[u8]>) -> Value {
    let text = distinct;
    let mut entry = json!({
        "path": text(path), "type": kind(node).1, "mode": format!("{:04o}", node.mode), "uid": node.uid, "gid": node.gid,
    });
    let extra = match &node.kind {
        NodeKind::File(content) => {
            json!({"bytes": content.size, "sha256": hex(&content.sha256)})
        }
        NodeKind::Symlink(target) => json!({"target": text(target)}),
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
            json!({"major": major, "minor": minor})
        }
        NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => json!({}),
    };
    if let (Value::Object(entry), Value::Object(extra)) = (&mut entry, extra) {
        entry.extend(extra);
        entry.extend(link.map(|first| ("hard_link_of".to_owned(), text(first).into())));
        let xattrs = node.xattrs.iter();
        let xattrs = xattrs.map(|(name, value)| (text(name), hex(value).into()));
        let xattrs: serde_json::Map<String, Value> = xattrs.collect();
        if !xattrs.is_empty() {
            entry.insert("xattrs".to_owned(), Value::Object(xattrs));
        }
    }
    entry
}

const fn kind(node: &Node) -> (char, &'static str) {
    match node.kind {
        NodeKind::File(_) => ('-', "file"),
        NodeKind::Directory => ('d', "directory"),
        NodeKind::Symlink(_) => ('l', "symlink"),
        NodeKind::CharDevice(..) => ('c', "char-device"),
        NodeKind::BlockDevice(..) => ('b', "block-device"),
        NodeKind::Fifo => ('p', "fifo"),
        NodeKind::Socket => ('s', "socket"),
    }
}

/// `drwxr-xr-t`.
fn mode(node: &Node) -> String {
    let mut text = kind(node).0.to_string();
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// A record as a table of events.
pub(super) fn record(record: &Record) -> String {
    let mut text = format!("{:<16} {:>4} {:>10} {:>10}\n", "step", "item", "took ms", "end ms");
    let mut before = record.started_ns;
    for event in &record.events {
        let took = milliseconds(event.ended_ns.saturating_sub(before) / 1000);
        let end = milliseconds(event.ended_ns.saturating_sub(record.started_ns) / 1000);
        let _ = write!(text, "{:<16} {:>4} {took:>10} {end:>10}", event.step.name(), event.item);
        text += &if event.errno == 0 { "\n".to_owned() } else { format!("  failed: errno {}\n", event.errno) };
        before = event.ended_ns;
    }
    let slot = record.slot.map_or_else(|| "none".to_owned(), |slot| slot.to_string());
    let _ = writeln!(text, "slot {slot}, {} KiB free, {} events dropped", record.free_ram_kib, record.dropped);
    let _ =
        writeln!(text, "0 ms = start of the bootstrap, {} ms after the kernel", milliseconds(record.started_ns / 1000));
    if let Some(ns) = record.counter.and_then(Counter::ns) {
        let _ = writeln!(text, "and {} ms after the processor's counter", milliseconds(ns / 1000));
    }
    text
}

/// A manifest: what was made, of what, and the plan.
pub(super) fn manifest(manifest: &Manifest) -> String {
    let mut text = format!("board {} ({})\n", manifest.board.name, manifest.board.architecture);
    for (name, input) in [("input", Some(&manifest.input)), ("rescue", manifest.rescue.as_ref())] {
        if let Some(input) = input {
            let _ = writeln!(text, "{name} {} files, {} bytes, sha256 {}", input.files, input.bytes, input.sha256);
        }
    }
    for (name, version) in &manifest.tools {
        let _ = writeln!(text, "made by {name} {version}");
    }
    for (name, output) in &manifest.outputs {
        let share = crate::bootloader::share(output);
        let _ = writeln!(text, "{:>12} {} {name}{share}", output.bytes, output.sha256);
    }
    for line in &manifest.plan {
        let _ = writeln!(text, "{line}");
    }
    // Whoever made it, a terminal must not obey it.
    text.lines().map(|line| harmless(line) + "\n").collect()
}
