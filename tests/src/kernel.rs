//! The kernels under test and the programs built for them. What is missing is a failure that says what to run.

use crate::Result;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// A kernel, or in `image` an initramfs of Debian's installer (named `installer-ARCH`) or systemd-boot (`systemd-boot-ARCH`).
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `arm64-6.1`.
    pub name: String,
    /// `aarch64`, `armv7` or `x86_64`.
    pub arch: String,
    /// The image QEMU starts.
    pub image: PathBuf,
    /// `/lib/modules/VERSION`; none where all drivers are built in.
    pub modules: Option<PathBuf>,
}

/// What a line of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel.
    Kernel,
    /// An initramfs of Debian's installer.
    Installer,
    /// The EFI program systemd-boot.
    Loader,
}

impl Kernel {
    /// What it is, by the names that `tests/setup/kernels.sh` gives.
    pub fn kind(&self) -> Kind {
        if self.name.starts_with("installer-") {
            Kind::Installer
        } else if self.name.starts_with("systemd-boot-") {
            Kind::Loader
        } else {
            Kind::Kernel
        }
    }

    /// Its release, as uname(2) says it.
    ///
    /// # Errors
    /// If the image does not say and there are no modules.
    pub fn release(&self) -> Result<String> {
        if let Some(name) = self.modules.as_deref().and_then(Path::file_name) {
            return Ok(name.to_string_lossy().into_owned());
        }
        // linux_banner of init/version-timestamp.c.
        let (image, banner) = (std::fs::read(&self.image)?, b"Linux version ");
        let at = image.windows(banner.len()).position(|bytes| bytes == banner).ok_or("no version in the kernel")?;
        let rest = image.get(at + banner.len()..).unwrap_or_default();
        let release = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(release).into_owned())
    }
}

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// Every line of the list that `tests/setup/kernels.sh` wrote.
///
/// # Errors
/// If it has not run.
pub fn all() -> Result<Vec<Kernel>> {
    let cache = std::env::var_os("INITOVERLAYFS_CACHE").map_or_else(|| checkout().join(".cache"), PathBuf::from);
    let list = cache.join("kernels.list");
    let text = std::fs::read_to_string(&list)
        .map_err(|error| format!("cannot read {}: {error}\n  run tests/setup/kernels.sh", list.display()))?;
    text.lines()
        .map(|line| parse(line).ok_or_else(|| format!("{}: {line:?} is no kernel", list.display()).into()))
        .collect()
}

fn parse(line: &str) -> Option<Kernel> {
    let mut fields = line.split('\t').map(str::to_owned);
    let (name, arch, image, modules) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some(Kernel { name, arch, image: image.into(), modules: (modules != "-").then(|| modules.into()) })
}

/// The kernel of this name.
///
/// # Errors
/// If it is not in the list.
pub fn get(name: &str) -> Result<Kernel> {
    let found = all()?.into_iter().find(|kernel| kernel.name == name);
    found.ok_or_else(|| format!("kernel {name} is missing\n  run tests/setup/kernels.sh").into())
}

/// `bootstrap` or `guest` for an architecture, built once a run by `tests/setup/program.sh`.
///
/// # Errors
/// If it does not build.
pub fn program(package: &str, arch: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Mutex<BTreeMap<String, PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().map_err(|_| "another test's build failed")?;
    let key = format!("{package} {arch}");
    if let Some(path) = built.get(&key) {
        return Ok(path.clone());
    }
    let output = Command::new(checkout().join("tests/setup/program.sh")).args([package, arch]).output()?;
    if !output.status.success() {
        return Err(format!("{package} for {arch}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let path = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    built.insert(key, path.clone());
    Ok(path)
}
