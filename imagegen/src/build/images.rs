//! The EROFS images of a build: written, read back, and given what vouches for them.

use crate::board::{Board, ImageCompression, ImageName, Method, Source};
use crate::manifest::{self, Manifest};
use crate::plan::{Identity, Proof, ResolvedPlan};
use crate::progress::Progress;
use crate::tree::Tree;
use crate::{Error, Result, erofs, verity};
use std::path::Path;

/// Name of the file an image is written to.
pub(super) const fn file(image: ImageName) -> &'static str {
    match image {
        ImageName::Main => manifest::EROFS,
        ImageName::Rescue => manifest::RESCUE,
    }
}

/// Writes an image of `tree`, with what a plan has first in front, into `folder` and notes it in the manifest.
///
/// # Errors
/// As [`erofs::write`], [`erofs::verify`] and what makes the proof.
pub(super) fn write(
    board: &Board,
    image: ImageName,
    tree: &Tree,
    plan: Option<&ResolvedPlan>,
    folder: &Path,
    manifest: &mut Manifest,
) -> Result<Identity> {
    let path = folder.join(file(image));
    let progress = Progress::start("writing EROFS", None);
    let summary = erofs::write(tree, &options(board, image, plan), &path, &mut |bytes| progress.set(bytes))?;
    drop(progress);
    if board.verity.version != 0 {
        verity::set_version(&path, board.verity.version)?;
    }
    let progress = Progress::start("reading EROFS back", None);
    erofs::verify(tree, &path)?;
    drop(progress);
    let proof = prove(board, image, &path)?;
    let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    if bytes == summary.bytes && board.verity.version == 0 {
        manifest.note(file(image), summary.bytes, summary.sha256);
    } else {
        manifest.note_file(folder, file(image))?;
    }
    manifest.tools.extend(summary.tool.map(|version| ("mkfs.erofs".to_owned(), version)));
    Ok(Identity { uuid: summary.uuid, tail: summary.tail, proof, first_bytes: summary.first_bytes })
}

fn options(board: &Board, image: ImageName, plan: Option<&ResolvedPlan>) -> erofs::Options {
    let compressed = board.image.compression != ImageCompression::None;
    let is_mapped = |source: &Source| matches!(source, Source::Memory { .. }) && !board.verity.maps(source);
    erofs::Options {
        compression: compressed.then(|| board.image.compression.to_string()),
        cluster_bytes: compressed.then_some(board.image.cluster),
        dax: board.slots.iter().any(|slot| slot.image == image && is_mapped(&slot.source)),
        first: plan.map(|plan| plan.first.clone()).unwrap_or_default(),
        left: plan.map(|plan| plan.left.clone()).unwrap_or_default(),
    }
}

/// Makes what vouches for the finished image, where a slot that holds it wants that.
fn prove(board: &Board, image: ImageName, path: &Path) -> Result<Proof> {
    let mut slots = board.slots.iter().filter(|slot| slot.image == image);
    if !slots.any(|slot| board.verity.covers(&slot.source)) {
        return Ok(Proof::None);
    }
    let _progress = Progress::start("writing what verifies it", None);
    let options = verity::Options { fec_roots: board.verity.fec_roots };
    match board.verity.method {
        Method::None => Ok(Proof::None),
        Method::RootHash => {
            let summary = verity::append(path, &options)?;
            let words = board.verity.on_corruption.word();
            Ok(Proof::RootHash { bytes: summary.data_bytes, parameters: summary.parameters(words.as_slice()) })
        }
        Method::Signature { .. } => verity::append(path, &options).map(|_| Proof::None),
        Method::FsVerity => verity::digest(path).map(Proof::Digest),
    }
}
