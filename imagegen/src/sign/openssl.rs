//! PKCS#7 signatures by the `openssl` program, as the kernel checks them (`verity_verify_root_hash` in
//! drivers/md/dm-verity-verify-sig.c): detached, of the root hash in lower-case hexadecimal, without attributes.

use crate::manifest::hex;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Scheme of a key that is in a token.
const TOKEN: &str = "pkcs11:";

/// Who signs.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The private key: a file in PEM, a `pkcs11:` URI, or what the engine calls it.
    pub key: OsString,
    /// Its certificate, in PEM.
    pub certificate: PathBuf,
    /// OpenSSL's provider that has the key; `pkcs11` for a URI.
    pub provider: Option<OsString>,
    /// OpenSSL's engine that has the key, for systems without that provider.
    pub engine: Option<OsString>,
}

impl Signer {
    /// Where openssl finds the key.
    pub(super) fn options(&self) -> Result<Vec<OsString>> {
        let is_token = self.key.to_str().is_some_and(|key| key.starts_with(TOKEN));
        let provider = self.provider.clone().or_else(|| is_token.then(|| "pkcs11".into()));
        Ok(match (&self.engine, provider) {
            (Some(engine), _) => vec!["-engine".into(), engine.clone(), "-keyform".into(), "engine".into()],
            (None, Some(provider)) => vec!["-provider".into(), provider, "-provider".into(), "default".into()],
            (None, None) => {
                File::open(&self.key).map_err(Error::io("open", &self.key))?;
                Vec::new()
            }
        })
    }
}

/// Signs a root hash.
///
/// # Errors
/// Bad input if openssl does not take the key or the certificate, or they do not belong together; failed work if it is missing.
pub fn sign(root_hash: &[u8; 32], signer: &Signer) -> Result<Vec<u8>> {
    let certificate = &signer.certificate;
    File::open(certificate).map_err(Error::io("open", certificate))?;
    let files = Files::new(root_hash, &[])?;
    let output = run(Command::new("openssl")
        .args(["smime", "-sign", "-nocerts", "-noattr", "-binary", "-md", "sha256", "-outform", "der"])
        .args(signer.options()?)
        .arg("-inkey")
        .arg(&signer.key)
        .arg("-signer")
        .arg(certificate)
        .arg("-in")
        .arg(files.content()))?;
    // Where it has no such provider, openssl 3.0 complains and ends with 0.
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("private key does not match") {
        let what = format!("{} is not the certificate of the key", certificate.display());
        return Err(Error::bad_input(what, "give the certificate that was made for this key"));
    }
    let line = said.lines().find(|line| !line.is_empty() && !line.starts_with("Engine ")).unwrap_or_default();
    // A URI may hold a PIN.
    let line = line.replace(&*signer.key.to_string_lossy(), "the key");
    let what = format!("openssl cannot sign: {line}");
    Err(Error::bad_input(what, "give --key a private key and --certificate its certificate, both in PEM"))
}

/// Checks that `signature` of a root hash is by the key of `certificate`. Whether the certificate is to be trusted is not asked.
///
/// # Errors
/// Failed work if it is not.
pub fn check(root_hash: &[u8; 32], signature: &[u8], certificate: &Path) -> Result<()> {
    File::open(certificate).map_err(Error::io("open", certificate))?;
    let files = Files::new(root_hash, signature)?;
    let output = run(Command::new("openssl")
        .args(["smime", "-verify", "-nointern", "-noverify", "-binary", "-inform", "der", "-certfile"])
        .arg(certificate)
        .arg("-content")
        .arg(files.content())
        .arg("-in")
        .arg(files.signature()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("error:")).or_else(|| said.lines().next()).unwrap_or_default();
    let reason = line.rsplit(':').nth(3).filter(|reason| !reason.is_empty()).unwrap_or(line);
    let what = format!("the signature is not by the key of {}: {reason}", certificate.display());
    Err(Error::failed(what, "give the certificate it was signed with, or sign the image again"))
}

/// What openssl reads from files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(root_hash: &[u8; 32], signature: &[u8]) -> Result<Self> {
        let files = Files(tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?);
        for (path, bytes) in [(files.content(), hex(root_hash).as_bytes()), (files.signature(), signature)] {
            std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        }
        Ok(files)
    }

    fn content(&self) -> PathBuf {
        self.0.path().join("root-hash")
    }

    fn signature(&self) -> PathBuf {
        self.0.path().join("signature")
    }
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    output.map_err(|error| Error::failed(format!("cannot run openssl: {error}"), "apt-get install openssl"))
}
