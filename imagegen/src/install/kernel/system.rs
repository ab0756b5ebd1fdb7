//! A system on which kernels are installed: where its distribution puts things.

use super::Request;
use crate::{Error, Result};
use nix::sys::utsname::uname;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder that bootloaders read, in most systems.
const BOOT: &str = "boot";
/// The system's own board.
const BOARD: &str = "etc/initoverlayfs/board.toml";
/// What is known of what was installed, and where it is built.
const STATE: &str = "var/lib/initoverlayfs";
/// Where modules lie; the second where /lib is no link.
const MODULES: [&str; 2] = ["usr/lib/modules", "lib/modules"];

/// A system, and one of its kernels.
#[derive(Debug)]
pub(super) struct System {
    root: PathBuf,
    boot: PathBuf,
    /// The kernel's release.
    pub(super) release: String,
}

impl System {
    /// # Errors
    /// Bad input if there is no such folder, or the release is none.
    pub(super) fn new(request: &Request) -> Result<Self> {
        let root = fs::canonicalize(&request.root).map_err(Error::io("find", &request.root))?;
        let release = match &request.release {
            Some(release) => release.clone(),
            None if root == Path::new("/") => uname()
                .map_err(|errno| Error::io("ask", "the kernel")(errno.into()))?
                .release()
                .to_string_lossy()
                .into_owned(),
            None => {
                let what = format!("which kernel of {}?", root.display());
                return Err(Error::bad_input(what, "give --kernel RELEASE"));
            }
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        if release.len() > 128
            || !release.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !release.chars().all(is_name)
        {
            return Err(Error::bad_input(
                format!("{release:?} is no kernel's release"),
                "give what `uname -r` says of it",
            ));
        }
        let boot = request.boot.clone().unwrap_or_else(|| PathBuf::from(BOOT));
        // A hook names it as it is reached from here.
        let boot = if boot.starts_with(&root) { boot } else { root.join(boot.strip_prefix("/").unwrap_or(&boot)) };
        Ok(System { root, boot, release })
    }

    /// A path of the system, as it is reached from here.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A path as the system itself has it.
    pub(super) fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(path))
    }

    pub(super) fn own_board(&self) -> PathBuf {
        self.root.join(BOARD)
    }

    pub(super) fn state_folder(&self) -> PathBuf {
        self.root.join(STATE)
    }

    /// The folder that the bootloader reads.
    pub(super) fn boot(&self) -> Result<PathBuf> {
        if self.boot.is_dir() {
            return Ok(self.boot.clone());
        }
        Err(Error::bad_input(format!("no folder {}", self.boot.display()), "mount it, or give --boot DIR"))
    }

    /// Where the file system with `folder` is mounted, within this system.
    pub(super) fn mount_point(&self, folder: &Path) -> Result<PathBuf> {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).map_err(Error::io("read", path));
        let own = device(folder)?;
        let mut mount = folder;
        while mount != self.root {
            match mount.parent() {
                Some(parent) if device(parent)? == own => mount = parent,
                _ => break,
            }
        }
        Ok(mount.to_owned())
    }

    /// The classic initramfs of the kernel.
    pub(super) fn initramfs(&self, given: Option<&Path>) -> Result<PathBuf> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let release = &self.release;
        let mut places = vec![
            // Debian, Fedora, Arch; kernel-install without a bootloader's folder.
            self.boot.join(format!("initrd.img-{release}")),
            self.boot.join(format!("initramfs-{release}.img")),
            self.boot.join(format!("initrd-{release}")),
        ];
        for name in ["etc/kernel/entry-token", "etc/machine-id"] {
            let token = fs::read_to_string(self.at(name)).unwrap_or_default();
            if !token.trim().is_empty() && !token.contains('/') {
                places.push(self.boot.join(token.trim()).join(release).join("initrd"));
            }
        }
        places.push(self.at("usr/lib/modules").join(release).join("initramfs.img"));
        places.push(self.at("usr/lib/modules").join(release).join("initrd"));
        places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
            let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
            let what = format!("no initramfs of kernel {release}: looked for {}", places.join(", "));
            Error::bad_input(
                what,
                "have dracut, mkosi-initrd or initramfs-tools build it first, or give --initramfs FILE",
            )
        })
    }

    /// The folder of the kernel's modules.
    pub(super) fn modules(&self) -> Result<PathBuf> {
        let places = MODULES.map(|folder| self.at(folder).join(&self.release));
        places.iter().find(|path| path.is_dir()).cloned().ok_or_else(|| {
            let what = format!(
                "no modules of kernel {}: no {}",
                self.release,
                places.each_ref().map(|path| path.display().to_string()).join(" or ")
            );
            Error::bad_input(what, "is that kernel installed? `ls /lib/modules` names those that are")
        })
    }
}
