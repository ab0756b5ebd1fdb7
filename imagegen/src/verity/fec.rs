//! Forward error correction, written by `veritysetup`: it writes the hash tree again, and its root hash must be ours.

use super::{BLOCK, Summary};
use crate::manifest::hex;
use crate::{Error, Result};
use bootstrap::trailer::Fec;
use std::path::Path;
use std::process::{Command, Stdio};

/// Appends the error correction of the image and its tree to the file `image`.
pub fn append(image: &Path, summary: &Summary, fec: Fec) -> Result<()> {
    if !(2..=24).contains(&fec.roots) {
        let what = format!("error correction with {} roots", fec.roots);
        return Err(Error::bad_input(what, "dm-verity takes 2 to 24"));
    }
    let output = Command::new("veritysetup")
        .args(["format", "--no-superblock", "--format=1", "--hash=sha256"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", summary.data_bytes / BLOCK))
        .arg(format!("--hash-offset={}", summary.hash_start * BLOCK))
        .arg(format!("--salt={}", hex(&summary.salt)))
        .arg(format!("--fec-offset={}", fec.start * BLOCK))
        .arg(format!("--fec-roots={}", fec.roots))
        .arg(option("--fec-device=", image))
        .args([image, image])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::failed(format!("cannot run veritysetup: {error}"), "apt-get install cryptsetup-bin"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let root_hash = said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let error = errors.lines().next().unwrap_or_default().trim();
        let what = format!("veritysetup failed ({}) on {}: {error}", output.status, image.display());
        return Err(Error::failed(what, "is there space?"));
    }
    if root_hash != Some(hex(&summary.root_hash).as_str()) {
        let what = format!("{}: veritysetup finds another root hash", image.display());
        return Err(Error::failed(what, "does something else write to the file?"));
    }
    Ok(())
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path);
    option
}
