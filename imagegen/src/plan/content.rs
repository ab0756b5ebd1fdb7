//! What the content must have to start on the board: found out by reading it as the kernel would.

use crate::board::Architecture;
use crate::elf;
use crate::error::{Error, Result};
use crate::modules::ResolvedModule;
use crate::tree::{Content, Node, NodeKind, Tree};
use bootstrap::plan::Handover;
use object::ReadCache;
use std::io::Read;
use std::path::Path;

/// Symbolic links followed in one lookup, as the kernel does (include/linux/namei.h, MAXSYMLINKS).
const MAX_LINKS: usize = 40;
/// Scripts that start scripts, as the kernel allows (fs/exec.c).
const MAX_INTERPRETERS: usize = 5;
/// Bytes of the first line the kernel reads (include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE).
const SCRIPT_LINE: u64 = 256;

/// Follows `path` inside the tree; returns the real path and its node, or why there is none.
pub(super) fn follow<'t>(tree: &'t Tree, path: &[u8]) -> std::result::Result<(Vec<u8>, &'t Node), String> {
    let mut real: Vec<u8> = Vec::new();
    let mut links = 0;
    // Components to go, the next one last.
    let mut todo: Vec<Vec<u8>> = components(path);
    while let Some(component) = todo.pop() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                real.truncate(real.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let parent = real.len();
        real.push(b'/');
        real.extend_from_slice(&component);
        let Some(node) = tree.nodes.get(&real) else {
            return Err(format!("{} does not exist", String::from_utf8_lossy(&real)));
        };
        if let NodeKind::Symlink(target) = &node.kind {
            links += 1;
            if links > MAX_LINKS {
                return Err(format!("more than {MAX_LINKS} symbolic links, probably a loop"));
            }
            real.truncate(if target.starts_with(b"/") { 0 } else { parent });
            todo.extend(components(target));
        }
    }
    let key: &[u8] = if real.is_empty() { b"/" } else { &real };
    let node = tree.nodes.get(key).ok_or_else(|| format!("{} does not exist", String::from_utf8_lossy(key)))?;
    Ok((key.to_vec(), node))
}

/// The folder that `path` leads to, symbolic links followed; what does not exist is taken for folders to be made.
pub(super) fn real_folder(tree: &Tree, path: &str) -> std::result::Result<String, String> {
    let mut real = String::new();
    for component in path.split('/').filter(|component| !component.is_empty()) {
        let next = format!("{real}/{component}");
        real = match follow(tree, next.as_bytes()) {
            Ok((found, node)) if node.kind == NodeKind::Directory => {
                let found = String::from_utf8(found).map_err(|_| format!("{next} leads to a path that is no UTF-8"))?;
                if found == "/" { String::new() } else { found }
            }
            Err(_) if tree.node(&next).is_none() => next,
            Ok(_) | Err(_) => return Err(format!("{next} is no folder in the image")),
        };
    }
    Ok(real)
}

/// The components of a path, last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

/// Checks that the kernel can start `path`; returns the path of the program, symbolic links followed.
///
/// # Errors
/// Bad input, naming the file that is missing or wrong.
pub(super) fn next_init(tree: &Tree, path: &str, architecture: Architecture) -> Result<String> {
    let refused = |reason: elf::Refusal| {
        let hint = if reason.is_foreign {
            format!("the content is another processor's: give one for {architecture}, or a board with its architecture")
        } else {
            "the target would find no next init: correct next-init in the board file, or the content".to_owned()
        };
        Error::bad_input(format!("next init {path}: {reason}"), hint)
    };
    let real = check_program(tree, path.as_bytes(), architecture, 0).map_err(refused)?;
    Ok(String::from_utf8_lossy(&real).into_owned())
}

/// Checks a program and what interprets it.
fn check_program(
    tree: &Tree,
    path: &[u8],
    architecture: Architecture,
    depth: usize,
) -> std::result::Result<Vec<u8>, elf::Refusal> {
    let (real, node) = follow(tree, path)?;
    let shown = String::from_utf8_lossy(&real).into_owned();
    let NodeKind::File(content) = &node.kind else { return Err(format!("{shown} is no regular file").into()) };
    if node.mode & 0o111 == 0 {
        return Err(format!("{shown} is not executable (mode {:04o})", node.mode).into());
    }
    let interpreter = match script_interpreter(tree, content).map_err(|reason| format!("{shown}: {reason}"))? {
        Some(interpreter) => Some(interpreter),
        None => {
            let file = std::fs::File::open(tree.content_path(content)).map_err(|error| format!("{shown}: {error}"))?;
            elf::interpreter(&ReadCache::new(file), architecture).map_err(|reason| reason.of(&shown))?
        }
    };
    if let Some(interpreter) = interpreter {
        if depth >= MAX_INTERPRETERS {
            return Err(format!("{shown}: more than {MAX_INTERPRETERS} interpreters in a row").into());
        }
        check_program(tree, &interpreter, architecture, depth + 1)
            .map_err(|reason| reason.of(&format!("interpreter of {shown}")))?;
    }
    Ok(real)
}

/// The interpreter of a `#!` script, `None` for anything else.
fn script_interpreter(tree: &Tree, content: &Content) -> std::result::Result<Option<Vec<u8>>, String> {
    let mut start = Vec::new();
    let file = std::fs::File::open(tree.content_path(content)).map_err(|error| error.to_string())?;
    file.take(SCRIPT_LINE).read_to_end(&mut start).map_err(|error| error.to_string())?;
    let Some(line) = start.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    match words.next() {
        Some(interpreter) if interpreter.starts_with(b"/") => Ok(Some(interpreter.to_vec())),
        _ => Err("a script whose first line names no absolute interpreter".to_owned()),
    }
}

/// Which mounts this content wants, and why.
pub(super) fn handover(tree: &Tree, init: &str) -> (Handover, &'static str) {
    if init.rsplit('/').next() == Some("systemd") {
        return (Handover::Mounted, "the next init is systemd");
    }
    let has = |path: &[u8]| follow(tree, path).is_ok();
    if has(b"/etc/initrd-release") && (has(b"/usr/lib/systemd/systemd") || has(b"/lib/systemd/systemd")) {
        return (Handover::Mounted, "the content is an initrd with systemd");
    }
    (Handover::Kernel, "the next init is not systemd")
}

/// Checks that what is mounted can be moved into the content.
///
/// # Errors
/// Bad input, naming every missing mount point.
pub(super) fn check_mount_points(tree: &Tree) -> Result<()> {
    let is_directory = |path: &&str| tree.node(path).is_some_and(|node| node.kind == NodeKind::Directory);
    let missing: Vec<_> = ["/dev", "/proc", "/sys", "/run"].into_iter().filter(|path| !is_directory(path)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("content: handover \"mounted\" needs directories, missing: {}", missing.join(", "));
    Err(Error::bad_input(what, "add them to the content, or set handover = \"kernel\" in the board file"))
}

/// Checks that a module is for the board's processor.
///
/// # Errors
/// Bad input, naming the module's file.
pub(super) fn check_module(module: &ResolvedModule, architecture: Architecture) -> Result<()> {
    let refused = |reason: elf::Refusal| {
        Error::bad_input(format!("{}: {reason}", module.source.display()), "give the modules of the board's kernel")
    };
    elf::interpreter(module.bytes.as_slice(), architecture).map(drop).map_err(refused)
}

/// Checks that the host's shell is a static program for the board's processor; returns its size in bytes.
///
/// # Errors
/// Bad input, naming the file.
pub(super) fn check_shell(path: &Path, architecture: Architecture) -> Result<u64> {
    let refused = |reason| {
        let what = format!("shell {}: {reason}", path.display());
        Error::bad_input(what, "failure.shell names a static program, as in Debian's busybox-static")
    };
    let file = std::fs::File::open(path).map_err(|error| refused(error.to_string()))?;
    let bytes = file.metadata().map_err(|error| refused(error.to_string()))?.len();
    match elf::interpreter(&ReadCache::new(file), architecture).map_err(|reason| refused(reason.text))? {
        None => Ok(bytes),
        Some(interpreter) => Err(refused(format!("not static: wants {}", String::from_utf8_lossy(&interpreter)))),
    }
}
