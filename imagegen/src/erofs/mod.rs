//! EROFS images: written by `mkfs.erofs` or, where it has an order to keep, by a writer of our own; read back by a reader of our own.

mod format;
mod image;
mod order;
mod packed;
mod place;
mod tool;
mod verify;
mod writer;

pub use image::check_superblock;
pub use tool::Tool;
pub use verify::{Entry, Extent, cat, entries, list, places, verify};

use crate::tree::Tree;
use crate::{Error, Result, extract};
use bootstrap::crc::crc32;
use bootstrap::plan::{TAIL_BYTES, Tail};
use packed::Packed;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often progress is reported while `mkfs.erofs` works.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// How an image is to be made. The default is uncompressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Algorithm and level as `mkfs.erofs -z` takes them: `lz4hc,12`.
    pub compression: Option<String>,
    /// Size of a physical cluster in bytes, for a compressed image.
    pub cluster_bytes: Option<u32>,
    /// Fit for direct access in memory: uncompressed, no content beside inodes.
    pub dax: bool,
    /// Paths whose inodes and contents come first, in this order. `mkfs.erofs` keeps none: the image is written by us.
    pub first: Vec<Vec<u8>>,
    /// Paths of contents that stay uncompressed.
    pub left: Vec<Vec<u8>>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// UUID of the superblock, derived from tree and options.
    pub uuid: [u8; 16],
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// What lies at its end.
    pub tail: Tail,
    /// Version of `mkfs.erofs`, if it wrote the image or packed its contents.
    pub tool: Option<String>,
    /// Bytes from the start of the image that hold the inodes of [`Options::first`]; 0 if they have no place of their own.
    pub first_bytes: u64,
}

/// Writes `tree` as an image to `out`, mode 0600, overwriting it: give a temporary name to replace an image atomically.
/// The contents may be taken out of the tree's spool. `progress` is called with the bytes written so far.
///
/// The same tree, options and tool give the same bytes: time stamps are `SOURCE_DATE_EPOCH`, or 0.
///
/// # Errors
/// `BadInput` for options the installed `mkfs.erofs` cannot do and for what EROFS cannot hold, `FailedWork` otherwise.
pub fn write(tree: &Tree, options: &Options, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<Summary> {
    let uuid = uuid(tree, options);
    let create = || {
        let mut create = OpenOptions::new();
        create.write(true).create(true).truncate(true).mode(0o600);
        create.open(out).map(drop).map_err(Error::io("create", out))
    };
    let (tool, first_bytes) = if options.first.is_empty() {
        (Some(by_tool(tree, options, uuid, out, &create, progress)?), 0)
    } else {
        create()?;
        let is_packed = options.compression.is_some();
        let packed = is_packed.then(|| Packed::new(tree, options, uuid, progress)).transpose()?;
        let head = writer::Head { uuid, seconds: source_date()?, inline: !options.dax };
        let first_bytes = writer::write(tree, &options.first, packed.as_ref(), head, out, progress)?;
        (packed.map(|packed| packed.version), first_bytes)
    };
    let (bytes, sha256, tail) = measure(out)?;
    Ok(Summary { uuid, bytes, sha256, tail, tool, first_bytes })
}

/// Has `mkfs.erofs` write the image; returns its version.
fn by_tool(
    tree: &Tree,
    options: &Options,
    uuid: [u8; 16],
    out: &Path,
    create: &dyn Fn() -> Result<()>,
    progress: &mut dyn FnMut(u64),
) -> Result<String> {
    let tool = Tool::probe()?;
    let root = tree.spool.path().join("root");
    let arguments = arguments(&tool, options, uuid)?;
    tool.require_names(tree, tree.spool.path())?;
    fs::create_dir(&root).map_err(Error::io("make", &root))?;
    extract::into(tree, &root)?;
    create()?;
    let mut command = Command::new("mkfs.erofs");
    command.args(arguments).arg(out).arg(&root);
    run(command, &tool, out, progress)?;
    fs::remove_dir_all(&root).map_err(Error::io("remove", &root))?;
    if tree.nodes.values().any(|node| node.xattrs.len() > 1) {
        order::sort_attributes(out)?;
    }
    Ok(tool.version)
}

/// A UUID of version 8 (RFC 9562).
fn uuid(tree: &Tree, options: &Options) -> [u8; 16] {
    let digest: [u8; 32] =
        Sha256::new().chain_update(tree.digest()).chain_update(format!("{options:?}")).finalize().into();
    let [mut uuid, _] =
        [0, 16].map(|at| std::array::from_fn::<u8, 16, _>(|i| digest.get(at + i).copied().unwrap_or(0)));
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn arguments(tool: &Tool, options: &Options, uuid: [u8; 16]) -> Result<Vec<OsString>> {
    let mut arguments = vec!["--quiet".to_owned(), format!("-T{}", source_date()?)];
    let hex: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex.get(range).unwrap_or_default().concat());
    arguments.push(format!("-U{}", groups.join("-")));
    // The target's page size may be another than this machine's, from which newer tools take the block size.
    if tool.has("-b#") {
        arguments.push("-b4096".to_owned());
    }
    // Whether parallel compression keeps the bytes equal is the tool's affair; one worker does.
    if tool.has("--workers=") {
        arguments.push("--workers=1".to_owned());
    }
    if let Some(compression) = &options.compression {
        if options.dax {
            return Err(Error::bad_input("an image for direct access cannot be compressed", "drop one of both"));
        }
        tool.require_compression(compression)?;
        arguments.push(format!("-z{compression}"));
        if let Some(bytes) = options.cluster_bytes {
            arguments.push(format!("-C{bytes}"));
        }
    }
    if options.dax {
        arguments.push("-Enoinline_data".to_owned());
    }
    Ok(arguments.into_iter().map(OsString::from).collect())
}

/// Seconds since 1970 that every time stamp gets (<https://reproducible-builds.org/specs/source-date-epoch/>).
pub(crate) fn source_date() -> Result<u64> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(0) };
    let parsed = value.to_str().and_then(|value| value.parse().ok());
    parsed.ok_or_else(|| Error::bad_input(format!("SOURCE_DATE_EPOCH is {value:?}"), "set it to seconds since 1970"))
}

fn run(mut command: Command, tool: &Tool, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(Error::io("run", "mkfs.erofs"))?;
    let (sender, receiver) = channel();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait_with_output()));
        loop {
            match receiver.recv_timeout(PROGRESS_PERIOD) {
                Ok(output) => break output,
                Err(RecvTimeoutError::Timeout) => progress(fs::metadata(out).map_or(0, |metadata| metadata.len())),
                Err(RecvTimeoutError::Disconnected) => break Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        }
    })
    .map_err(Error::io("wait for", "mkfs.erofs"))?;
    if output.status.success() {
        return Ok(());
    }
    // 1.5 says that it could not write a dozen times, and not why.
    let said = if is_full(out) { "No space left on device".to_owned() } else { tool::errors(&output.stderr) };
    let hint = if said.contains("No space left on device") || said.contains("quota exceeded") {
        "is there space? make room, or give a place with more of it".to_owned()
    } else if output.status.code().is_none() {
        "something ended it: was memory short? the system's log (dmesg) may say".to_owned()
    } else {
        format!("those are the words of mkfs.erofs {}: a newer erofs-utils may be able to", tool.version)
    };
    Err(Error::failed(format!("mkfs.erofs failed ({}) on {}: {said}", output.status, out.display()), hint))
}

/// Whether there is no room for a further page beside `out`.
fn is_full(out: &Path) -> bool {
    let probe = out.with_extension("probe");
    let written = fs::write(&probe, [1; 4096]);
    // It may not have been made.
    let _ = fs::remove_file(&probe);
    written.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
}

/// Size, SHA-256 and end of the image at `path`.
fn measure(path: &Path) -> Result<(u64, [u8; 32], Tail)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        hash.update(piece);
        bytes += read as u64;
    }
    Ok((bytes, hash.finalize().into(), tail(&file, bytes).map_err(Error::io("read", path))?))
}

/// The end of an image of this size.
fn tail(file: &File, bytes: u64) -> std::io::Result<Tail> {
    let mut sector = [0; TAIL_BYTES];
    let mut offset = bytes.next_multiple_of(TAIL_BYTES as u64);
    // The superblock is not zeros, so the search ends in every image.
    while offset > 0 && sector == [0; TAIL_BYTES] {
        offset -= TAIL_BYTES as u64;
        file.read_exact_at(&mut sector, offset)?;
    }
    Ok(Tail { offset, crc: crc32(&sector) })
}

#[cfg(test)]
mod tests;
