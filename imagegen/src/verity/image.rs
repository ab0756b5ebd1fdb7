//! Reads what lies at the start of a file or block device: an EROFS image, and what is attached to verify it.

use super::tree::Tree;
use super::{BLOCK, Summary, length};
use crate::{Error, Result};
use bootstrap::superblock::{self, Refusal, START_BYTES};
use bootstrap::trailer::{self, BLOCK_BYTES, Trailer};
use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// What is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// What the trailer says.
    pub summary: Summary,
    /// The signature of its root hash, or nothing.
    pub signature: Vec<u8>,
}

/// An image whose superblock and trailer fit what holds them. Nothing has vouched for them yet.
#[derive(Debug)]
pub struct Image {
    /// What holds it.
    pub path: PathBuf,
    /// The same, open for reading.
    pub file: File,
    /// UUID in its superblock.
    pub uuid: [u8; 16],
    /// Its version; 0 if it has none.
    pub version: u32,
    /// Bytes of the EROFS image.
    pub data_bytes: u64,
    /// What verifies it, if it has a trailer.
    pub attached: Option<Attached>,
}

impl Image {
    /// Reads superblock and trailer of the image at the start of `path`.
    ///
    /// # Errors
    /// Bad input if `path` is neither a regular file nor a block device, if there is no EROFS image, if it is truncated, or
    /// if its superblock or trailer is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        check_kind(path)?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let room = length(&file, path)?;
        let mut start = [0; START_BYTES];
        if room >= START_BYTES as u64 {
            file.read_exact_at(&mut start, 0).map_err(Error::io("read", path))?;
        }
        // The checksum first: no length in a damaged superblock is to be believed.
        crate::erofs::check_superblock(path)?;
        let erofs = superblock::erofs(&start, room).map_err(|refusal| {
            let why = match refusal {
                Refusal::Magic if room < START_BYTES as u64 => "truncated, too short for an EROFS image",
                refusal => refusal.name(),
            };
            Error::bad_input(format!("{}: {why}", path.display()), "give a whole EROFS image")
        })?;
        if erofs.bytes % BLOCK != 0 {
            let what = format!("{}: an image of {} bytes, not blocks of {BLOCK}", path.display(), erofs.bytes);
            return Err(Error::bad_input(what, "make it with mkfs.erofs -b4096"));
        }
        let attached = attached(&file, path, erofs.bytes, room)?;
        let (uuid, version) = (erofs.uuid, trailer::version(&start));
        Ok(Image { path: path.to_owned(), file, uuid, version, data_bytes: erofs.bytes, attached })
    }

    /// Bytes of the image and all that is attached to it.
    pub fn bytes(&self) -> u64 {
        self.attached.as_ref().map_or(self.data_bytes, |attached| attached.summary.bytes)
    }

    /// What verifies it.
    ///
    /// # Errors
    /// Bad input if nothing does.
    pub fn attached(&self) -> Result<&Attached> {
        self.attached.as_ref().ok_or_else(|| {
            let what = format!("{}: no trailer behind the image, at byte {}", self.path.display(), self.data_bytes);
            Error::bad_input(what, "build it for a board that verifies its images")
        })
    }

    /// Holds every block of tree and data against the trailer's root hash. `progress` is called with the bytes of data done.
    ///
    /// # Errors
    /// Failed work naming the first wrong block; bad input if there is no trailer.
    pub fn check_tree(&self, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let summary = &self.attached()?.summary;
        let tree = Tree::new(self.data_bytes / BLOCK, summary.hash_start);
        let wrong = tree
            .first_wrong(&self.file, &summary.salt, &summary.root_hash, &mut |blocks| progress(blocks * BLOCK))
            .map_err(Error::io("read", &self.path))?;
        let Some(block) = wrong else { return Ok(()) };
        let what = if block < summary.hash_start { "the image" } else { "the hash tree" };
        let what =
            format!("{}: byte {}: a block of {what} is not what its hash says", self.path.display(), block * BLOCK);
        Err(Error::failed(what, "the image is damaged: copy or build it again"))
    }
}

/// A pipe or a device without an end could be waited for forever.
fn check_kind(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_file() || metadata.file_type().is_block_device() {
        return Ok(());
    }
    let what = format!("{} is no regular file or block device", path.display());
    Err(Error::bad_input(what, "name a file or partition that holds an image"))
}

/// Reads the trailer behind an image of `data_bytes`; what is no trailer belongs to somebody else.
fn attached(file: &File, path: &Path, data_bytes: u64, room: u64) -> Result<Option<Attached>> {
    if room < data_bytes.saturating_add(BLOCK) {
        return Ok(None);
    }
    let mut block = [0; BLOCK_BYTES];
    file.read_exact_at(&mut block, data_bytes).map_err(Error::io("read", path))?;
    if !block.starts_with(&trailer::KIND.magic) {
        return Ok(None);
    }
    let refuse = |why: String| {
        let what = format!("{}: byte {data_bytes}: trailer: {why}", path.display());
        Error::bad_input(what, "the image is damaged, or of another version of imagegen: build it again")
    };
    let trailer = trailer::open(&block).map_err(|error| refuse(error.to_string()))?;
    let bytes = end(data_bytes / BLOCK, &trailer).map_err(|why| refuse(why.to_owned()))?.saturating_mul(BLOCK);
    if bytes > room {
        return Err(refuse(format!("{bytes} bytes belong to the image, {room} are there")));
    }
    let Trailer { hash_start, fec, root_hash, salt, signature } = trailer;
    let root_hash = root_hash.try_into().map_err(|_| refuse("a root hash that is no SHA-256".to_owned()))?;
    let summary = Summary { data_bytes, bytes, hash_start, root_hash, salt: salt.to_vec(), fec };
    Ok(Some(Attached { summary, signature: signature.to_vec() }))
}

/// The first block behind everything; the tree must follow the trailer, and the error correction the tree.
fn end(data_blocks: u64, trailer: &Trailer<'_>) -> std::result::Result<u64, &'static str> {
    if trailer.hash_start != data_blocks + 1 {
        return Err("the hash tree is not behind it");
    }
    let tree = Tree::new(data_blocks, trailer.hash_start).end();
    let Some(fec) = trailer.fec else { return Ok(tree) };
    if fec.start != tree || !(2..=24).contains(&fec.roots) {
        return Err("the error correction is not behind the hash tree");
    }
    // `verity_fec_ctr` in drivers/md/dm-verity-fec.c: a block of parity for each root and round.
    let covered = data_blocks + (fec.start - trailer.hash_start);
    let roots = u64::from(fec.roots);
    Ok(fec.start + covered.div_ceil(255 - roots) * roots)
}
