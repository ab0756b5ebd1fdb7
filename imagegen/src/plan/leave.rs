//! How the content leaves for its final root, and what has to be replaced for that: klibc's `run-init` (usr/utils/runinitlib.c) and
//! busybox' `run-init` and `switch_root` (util-linux/switch_root.c) leave nothing but a ramfs or tmpfs, and in mode `initial` the
//! root of the content is an overlay. Ours (`bootstrap/src/run_init`) takes their place in the image.

use super::content::follow;
use crate::board::Architecture;
use crate::bytes::has;
use crate::elf;
use crate::tree::{Node, NodeKind, Tree};
use std::io::Read;

/// Bytes of a script or program that are looked at.
const LOOKED_AT: u64 = 4 << 20;
/// The programs, by name.
const NAMES: [&str; 2] = ["run-init", "switch_root"];
/// Where a shell finds them.
const FOLDERS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
/// What busybox says of itself (include/libbb.h, `BB_BANNER`).
const BUSYBOX: &[u8] = b"BusyBox v";

/// How a content leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Paths of what is replaced by ours, folders followed, in the image's order.
    pub replaced: Vec<String>,
    /// Names by which busybox itself may be called, where nothing can be put in its place.
    pub inside_busybox: Vec<&'static str>,
}

/// How the content that starts with the script `init` leaves.
///
/// Whether a busybox takes its own applet for a bare name (FEATURE_SH_STANDALONE) cannot be seen in it. Static ones mostly do, as
/// Debian's busybox-static; those with libraries mostly do not, as Debian's busybox.
pub(super) fn find(tree: &Tree, init: &str, architecture: Architecture) -> Leaving {
    let mut leaving = Leaving::default();
    let Some(script) = start_of(tree, init.as_bytes()).filter(|script| script.starts_with(b"#!")) else {
        return leaving;
    };
    let is_static = |program: &Vec<u8>| elf::interpreter(program.as_slice(), architecture) == Ok(None);
    let shell = shell(tree, &script).filter(is_static).unwrap_or_default();
    for name in NAMES.into_iter().filter(|name| has(&script, name.as_bytes())) {
        let places = FOLDERS.iter().filter_map(|folder| place(tree, folder, name));
        leaving.replaced.extend(places.filter(|place| stays(tree, place, name)));
        let by_name = [" ", "\t", "\n"].iter().any(|before| has(&script, format!("{before}{name} ").as_bytes()));
        let applet = has(&shell, format!("\0{name}\0").as_bytes()) && by_name;
        if applet || has(&script, format!("busybox {name}").as_bytes()) {
            leaving.inside_busybox.push(name);
        }
    }
    leaving.replaced.sort();
    leaving.replaced.dedup();
    leaving
}

/// The name `name` in `folder`, links of the folder followed.
fn place(tree: &Tree, folder: &str, name: &str) -> Option<String> {
    let (real, _) = follow(tree, folder.as_bytes()).ok()?;
    let place = format!("{}/{name}", String::from_utf8(real).ok()?);
    tree.node(&place).is_some().then_some(place)
}

/// Whether what is there is a program that leaves no overlay. A script is somebody's own, and calls one of them by itself.
fn stays(tree: &Tree, place: &str, name: &str) -> bool {
    let Some(program) = start_of(tree, place.as_bytes()) else { return false };
    program.starts_with(b"\x7fELF") && (name == "run-init" || has(&program, BUSYBOX))
}

/// The busybox that interprets the script, if it is one.
fn shell(tree: &Tree, script: &[u8]) -> Option<Vec<u8>> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let path = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    start_of(tree, path).filter(|program| has(program, BUSYBOX))
}

/// The first bytes of a regular file, links followed.
fn start_of(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let (_, Node { kind: NodeKind::File(content), .. }) = follow(tree, path).ok()? else { return None };
    let mut bytes = Vec::new();
    std::fs::File::open(tree.content_path(content)).ok()?.take(LOOKED_AT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

impl Leaving {
    /// Warns of what is not replaced.
    pub(super) fn warn(&self) {
        for name in &self.inside_busybox {
            log::warn!(
                "the content may call {name} inside busybox, which refuses to leave an overlay for the final root: call it by its \
                 path, /sbin/{name}, or have a busybox that does not prefer its applets (FEATURE_SH_STANDALONE)"
            );
        }
    }
}
