//! `imagegen install` on the command line: an image to its place, or all that a kernel of this system boots with.

use clap::Args;
use imagegen::install::kernel::{self, Outcome, Request};
use imagegen::{Result, install};
use std::fmt::Write;
use std::path::PathBuf;

/// Behind the options.
pub(super) const HELP: &str = "With --to: a power cut leaves the old image, the new one or, in a partition, none: keep another \
slot that boots.\n\n\
Without: for the running kernel, or the one that --kernel names, from the initramfs that dracut, mkosi-initrd or \
initramfs-tools has built. The board is /etc/initoverlayfs/board.toml, or is made of the original's /etc/initoverlayfs.conf. \
The image and a tiny initramfs go into /boot if there is room for them; the classic initramfs and its boot entry stay.\n\n\
Example: imagegen install out --to /dev/disk/by-partlabel/initoverlayfs_b\n         \
imagegen install --kernel 6.12.57+deb13-amd64\n         \
imagegen install --kernel 6.12.57+deb13-amd64 --remove";

/// What to install, and where.
#[derive(Args, Clone, Debug)]
pub struct Install {
    /// Image, or folder that `build` made.
    #[arg(requires = "to")]
    image: Option<PathBuf>,
    /// Partition, or file: a new one, or one to replace.
    #[arg(long, value_name = "TARGET", requires = "image")]
    to: Option<PathBuf>,
    /// Write into the file that is there as into a partition.
    #[arg(long, requires = "to")]
    raw: bool,
    /// Kernel to install for, as `uname -r` names it [default: the running one].
    #[arg(long, value_name = "RELEASE", conflicts_with = "to")]
    kernel: Option<String>,
    /// Board: a name or a path [default: /etc/initoverlayfs/board.toml].
    #[arg(long, conflicts_with_all = ["to", "remove"])]
    board: Option<String>,
    /// The kernel's classic initramfs [default: where the distribution puts it].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "remove"])]
    initramfs: Option<PathBuf>,
    /// What the rescue image is made of, for a board with a slot that holds it [default: the same].
    #[arg(long, value_name = "INPUT", conflicts_with_all = ["to", "remove"])]
    rescue: Option<PathBuf>,
    /// Bootstrap program, or folder with bootstrap-ARCH [default: beside imagegen, or installed].
    #[arg(long, value_name = "PATH", conflicts_with_all = ["to", "remove"])]
    bootstrap: Option<PathBuf>,
    /// Folder that the bootloader reads [default: /boot].
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    boot: Option<PathBuf>,
    /// Folder of the system, if it is not the running one.
    #[arg(long, value_name = "DIR", default_value = "/", conflicts_with = "to")]
    root: PathBuf,
    /// Remove what was installed for the kernel.
    #[arg(long, conflicts_with = "to")]
    remove: bool,
    /// Do nothing where the system has no board of its own: for hooks.
    #[arg(long, conflicts_with = "to")]
    if_configured: bool,
}

impl Install {
    /// Whether it makes an image.
    pub fn builds(&self) -> bool {
        self.to.is_none() && !self.remove
    }

    /// Does it; returns what to print.
    pub fn run(self) -> Result<String> {
        if let (Some(image), Some(to)) = (&self.image, &self.to) {
            let bytes = install::run(image, to, self.raw)?;
            return Ok(format!("{bytes:>12} {}\n", to.display()));
        }
        let request = Request {
            root: self.root,
            boot: self.boot,
            release: self.kernel,
            board: self.board,
            initramfs: self.initramfs,
            rescue: self.rescue,
            bootstrap: self.bootstrap,
            if_configured: self.if_configured,
        };
        let mut text = String::new();
        if self.remove {
            for path in kernel::remove(&request)? {
                let _ = writeln!(text, "removed {}", path.display());
            }
            return Ok(text);
        }
        match kernel::add(&request, &mut |note| eprintln!("imagegen: {note}"))? {
            Outcome::NotConfigured => {}
            Outcome::Current => text.push_str("everything is there already\n"),
            Outcome::Installed(files) => {
                for (path, bytes) in files {
                    let _ = writeln!(text, "{bytes:>12} {}", path.display());
                }
            }
        }
        Ok(text)
    }
}
