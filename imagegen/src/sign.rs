//! `imagegen sign`: puts a signature of the root hash into an image's trailer, and into every copy of it in its folder.

mod openssl;

pub use openssl::{Signer, check};

use crate::atomic::{StagedFile, Staging};
use crate::copy::{Patch, copy};
use crate::manifest::{self, Manifest};
use crate::progress::Progress;
use crate::verity::{Attached, Image};
use crate::{Error, Result, disk};
use bootstrap::trailer::BLOCK_BYTES;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An image that was signed.
#[derive(Debug)]
pub struct Signed {
    /// The file's name, of an image in a folder.
    pub name: Option<&'static str>,
    /// What verifies it now.
    pub attached: Attached,
}

/// Signs the image `path`, or those of a folder that `build` made, and writes each signature into its image; an older one is replaced.
/// File or folder are replaced as a whole, or stay as they are if anything fails.
///
/// # Errors
/// Bad input if there is no trailer, or the key does not belong to the certificate; failed work if an image is damaged.
pub fn run(path: &Path, signer: &Signer) -> Result<Vec<Signed>> {
    if path.is_dir() {
        return folder(path, signer);
    }
    let image = Image::open(path)?;
    let (attached, block) = sign(&image, signer)?;
    let staged = StagedFile::beside(path)?;
    let patch = Patch { at: image.data_bytes, block: &block };
    write(&image.file, path, staged.file(), &[patch])?;
    staged.publish()?;
    Ok(vec![Signed { name: None, attached }])
}

/// Refuses a folder of whose images, those in `names`, its own plan will not take one, because nobody has signed it.
///
/// # Errors
/// Failed work if so; as [`Image::open`].
pub fn check_is_signed(folder: &Path, manifest: &Manifest, names: &[&str]) -> Result<()> {
    let wanting = |name: &&&str| manifest.outputs.contains_key(**name) && manifest.wants_signature(name);
    for name in names.iter().filter(wanting) {
        let image = Image::open(&folder.join(name))?;
        if image.attached.as_ref().is_some_and(|attached| attached.signature.is_empty()) {
            return Err(unsigned(&image));
        }
    }
    Ok(())
}

/// What is said of an image that nobody signed and somebody should have.
pub fn unsigned(image: &Image) -> Error {
    let what = format!("{}: nobody signed it: no signature in the trailer", image.path.display());
    Error::failed(what, "sign it with `imagegen sign`, the folder or the image")
}

/// Signs what verifies the image, which must be as its root hash says; returns it, and the trailer.
fn sign(image: &Image, signer: &Signer) -> Result<(Attached, [u8; BLOCK_BYTES])> {
    let summary = image.attached()?.summary.clone();
    let progress = Progress::start("verifying", Some(image.data_bytes));
    image.check_tree(&mut |bytes| progress.set(bytes))?;
    drop(progress);
    let signature = openssl::sign(&summary.root_hash, signer)?;
    check(&summary.root_hash, &signature, &signer.certificate)?;
    let block = summary.seal(&signature)?;
    Ok((Attached { summary, signature }, block))
}

/// An image of a folder, and its new trailer.
struct New {
    image: Image,
    block: [u8; BLOCK_BYTES],
}

fn folder(path: &Path, signer: &Signer) -> Result<Vec<Signed>> {
    let mut manifest = manifest::read(path)?;
    let main = Image::open(&path.join(manifest::EROFS))?;
    let rescue = manifest.outputs.contains_key(manifest::RESCUE).then(|| Image::open(&path.join(manifest::RESCUE)));
    let rescue = rescue.transpose()?.filter(|image| image.attached.is_some());
    // A board may verify its rescue image alone.
    let main = if rescue.is_some() && main.attached.is_none() { None } else { Some(main) };
    let (mut signed, mut new) = (Vec::new(), Vec::new());
    for (name, image) in manifest::IMAGES.into_iter().zip([main, rescue]) {
        let Some(image) = image else { continue };
        let (attached, block) = sign(&image, signer)?;
        signed.push(Signed { name: Some(name), attached });
        new.push(New { image, block });
    }
    let staging = Staging::beside(path)?;
    let names: Vec<String> = manifest.outputs.keys().cloned().collect();
    for name in names {
        let (from, to) = (path.join(&name), staging.path().join(&name));
        let mut patches = Vec::new();
        for New { image, block } in &new {
            let places = match name.as_str() {
                manifest::DISK => trailers(&from, image)?,
                _ if image.path == from => vec![image.data_bytes],
                _ => Vec::new(),
            };
            patches.extend(places.into_iter().map(|at| Patch { at, block }));
        }
        if patches.is_empty() {
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).map_err(Error::io("copy", &from))?;
        } else {
            note(&mut manifest, &name, &from, &to, &patches)?;
        }
    }
    manifest.write(staging.path())?;
    staging.publish()?;
    Ok(signed)
}

/// Copies an output with its new trailers, and notes what it is now.
fn note(manifest: &mut Manifest, name: &str, from: &Path, to: &Path, patches: &[Patch<'_>]) -> Result<()> {
    let source = File::open(from).map_err(Error::io("open", from))?;
    let target = File::create(to).map_err(Error::io("create", to))?;
    let (bytes, sha256) = write(&source, from, &target, patches)?;
    manifest.note(name, bytes, sha256);
    Ok(())
}

fn write(from: &File, path: &Path, to: &File, patches: &[Patch<'_>]) -> Result<(u64, [u8; 32])> {
    let bytes = from.metadata().map_err(Error::io("read", path))?.len();
    let progress = Progress::start("writing", Some(bytes));
    let sha256 = copy(from, bytes, to, patches, &mut |bytes| progress.set(bytes)).map_err(Error::io("copy", path))?;
    Ok((bytes, sha256))
}

/// Where a disk has trailers of this very image, in bytes.
fn trailers(path: &Path, image: &Image) -> Result<Vec<u64>> {
    let disk = File::open(path).map_err(Error::io("open", path))?;
    let is_same = |start: u64| {
        let block = |file: &File, at| {
            let mut block = [0; BLOCK_BYTES];
            file.read_exact_at(&mut block, at).is_ok().then_some(block)
        };
        [0, image.data_bytes].into_iter().all(|at| {
            let wanted = block(&image.file, at);
            wanted.is_some() && start.checked_add(at).and_then(|at| block(&disk, at)) == wanted
        })
    };
    let places: Vec<u64> = disk::list(path)?
        .into_iter()
        .filter(|partition| partition.start % BLOCK_BYTES as u64 == 0 && is_same(partition.start))
        .filter_map(|partition| partition.start.checked_add(image.data_bytes))
        .collect();
    if places.is_empty() {
        let name = image.path.file_name().unwrap_or_default().to_string_lossy();
        log::warn!("{}: no partition holds {name} itself: it is left as it is", path.display());
    }
    Ok(places)
}

#[cfg(test)]
mod tests;
