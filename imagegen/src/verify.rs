//! `imagegen verify`: holds an image against all that vouches for it, a line for each check that it passes.

use crate::manifest::{self, Manifest, hex};
use crate::progress::Progress;
use crate::verity::Image;
use crate::{Error, Result, sign};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What is known of the image from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificate of the key that signed it, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its root hash.
    pub root_hash: Option<[u8; 32]>,
}

/// Checks the image at the start of the file or block device `path`, or all of a folder that `build` made. Writes to `out`
/// what is right.
///
/// # Errors
/// Bad input if there is no image or no trailer; failed work for whatever is not as it should be, naming the first wrong block.
pub fn run(path: &Path, options: &Options, out: &mut dyn Write) -> Result<()> {
    let mut say = |line: String| writeln!(out, "{line}").map_err(Error::io("write", "standard output"));
    if !path.is_dir() {
        return image(&Image::open(path)?, options, &mut say);
    }
    image(&Image::open(&path.join(manifest::EROFS))?, options, &mut say)?;
    let manifest = manifest::read(path)?;
    if manifest.outputs.contains_key(manifest::RESCUE) {
        let rescue = Image::open(&path.join(manifest::RESCUE))?;
        // In the initramfs alone nothing vouches for it but what vouches for that.
        if rescue.attached.is_some() {
            let options = Options { root_hash: None, ..options.clone() };
            image(&rescue, &options, &mut |line| say(format!("{}: {line}", manifest::RESCUE)))?;
        }
    }
    sign::check_is_signed(path, &manifest, &manifest::IMAGES)?;
    let files = check_folder(path)?;
    say(format!("manifest.json: {files} files are what it says"))
}

fn image(image: &Image, options: &Options, say: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
    say(format!("superblock: EROFS of {} bytes, version {}", image.data_bytes, image.version))?;
    let attached = image.attached()?;
    let summary = &attached.summary;
    let fec = summary.fec.map_or_else(String::new, |fec| format!(", error correction with {} roots", fec.roots));
    say(format!("trailer: {} bytes of image, hash tree and all{fec}", summary.bytes))?;
    let root_hash = hex(&summary.root_hash);
    match options.root_hash {
        Some(wanted) if wanted != summary.root_hash => {
            let what = format!("{}: the root hash is {root_hash}", image.path.display());
            return Err(Error::failed(what, "this is another image than the one that was asked for"));
        }
        Some(_) => say(format!("root hash: {root_hash}, as asked for"))?,
        None => say(format!("root hash: {root_hash}"))?,
    }
    match (&options.certificate, attached.signature.as_slice()) {
        (Some(_), []) => return Err(sign::unsigned(image)),
        (Some(certificate), signature) => {
            sign::check(&summary.root_hash, signature, certificate)?;
            say(format!("signature: by the key of {}", certificate.display()))?;
        }
        (None, []) => say("signature: none".to_owned())?,
        (None, _) => say("signature: not checked: give --certificate".to_owned())?,
    }
    let progress = Progress::start("verifying", Some(image.data_bytes));
    image.check_tree(&mut |bytes| progress.set(bytes))?;
    drop(progress);
    say("hash tree: every block is what its hash says".to_owned())
}

/// Holds the files of a folder against its manifest; returns how many there are.
///
/// # Errors
/// As [`check_output`]; bad input if there is no manifest.
pub fn check_folder(path: &Path) -> Result<usize> {
    let manifest = manifest::read(path)?;
    for name in manifest.outputs.keys() {
        check_output(path, &manifest, name)?;
    }
    Ok(manifest.outputs.len())
}

/// Holds a file of a folder against its manifest.
///
/// # Errors
/// Failed work if it differs.
pub fn check_output(folder: &Path, manifest: &Manifest, name: &str) -> Result<()> {
    let path = folder.join(name);
    let (bytes, sha256) = manifest::digest_file(&path)?;
    if manifest.outputs.get(name).is_some_and(|output| output.bytes == bytes && output.sha256 == hex(&sha256)) {
        return Ok(());
    }
    let what = format!("{}: not what manifest.json says", path.display());
    Err(Error::failed(what, "the file was changed or damaged: build the folder again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity;

    fn said(path: &Path, options: &Options) -> Result<String> {
        let mut out = Vec::new();
        run(path, options, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_line_for_each_check_and_the_first_wrong_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = verity::tests::sample(&folder, 300);
        verity::set_version(&path, 7).unwrap();
        let summary = verity::append(&path, &verity::Options::default()).unwrap();
        let right = Options { root_hash: Some(summary.root_hash), ..Options::default() };
        let lines = said(&path, &right).unwrap();
        let expected = [
            "superblock: EROFS of 1228800 bytes, version 7".to_owned(),
            "trailer: 1249280 bytes of image, hash tree and all".to_owned(),
            format!("root hash: {}, as asked for", hex(&summary.root_hash)),
            "signature: none".to_owned(),
            "hash tree: every block is what its hash says".to_owned(),
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        let wrong = Options { root_hash: Some([0; 32]), ..Options::default() };
        assert_eq!(said(&path, &wrong).unwrap_err().exit_status(), 1);
        for at in [250 * 4096, 17 * 4096 + 9] {
            verity::tests::flip(&path, at, 0x80);
            let error = said(&path, &right).unwrap_err();
            let place = format!("byte {}: ", at / 4096 * 4096);
            assert!(error.exit_status() == 1 && error.what.contains(&place), "{error}");
        }
    }

    #[test]
    fn an_image_at_the_start_of_a_larger_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = verity::tests::sample(&folder, 130);
        assert!(said(&path, &Options::default()).unwrap_err().what.contains("no trailer"));
        verity::append(&path, &verity::Options { fec_roots: 2 }).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.resize(bytes.len() + 100_000, 0x5A);
        let place = folder.path().join("partition");
        std::fs::write(&place, &bytes).unwrap();
        assert!(said(&place, &Options::default()).unwrap().contains("error correction with 2 roots"));
        std::fs::write(&place, &bytes[..bytes.len() - 100_001]).unwrap();
        assert_eq!(said(&place, &Options::default()).unwrap_err().exit_status(), 2);
    }
}
