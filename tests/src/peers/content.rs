//! What is booted: one content for all peers, in the form that each of them takes.

use super::machine::Peer;
use crate::Result;
use crate::bench::content::Compression;
use crate::bench::machine::{build, build_parts};
use crate::cpio::{self, Entry};
use crate::kernel::{Kernel, checkout, program};
use crate::place::{FILE_PATH, PARTNAME};
use imagegen::board::FileSystem;
use imagegen::boot::qemu::Qemu;
use imagegen::disk::{self, Partition};
use imagegen::filesystem;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of the root file system's partition.
const ROOT: &str = "root";

/// The init of the peer that has its image beside a shell: what a board's engineer writes in an afternoon.
const SHELL_INIT: &str = "\
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -o loop,ro -t erofs /content.erofs /lower
busybox mount -t tmpfs tmpfs /upper
busybox mkdir /upper/upper /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /root
busybox mount --move /dev /root/dev
exec busybox switch_root /root /init
";

/// What `tests/setup/peers.sh` made.
#[derive(Debug)]
pub struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Installs it if it is not in the cache.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn get(kernel: &Kernel) -> Result<Self> {
        let guest = program("guest", &kernel.arch)?;
        let script = checkout().join("tests/setup/peers.sh");
        let output = Command::new(script).arg(&kernel.image).arg(guest).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err("no Debian to boot\n  run tests/setup/apt.sh bench".into());
        }
        Ok(Debian { folder: PathBuf::from(String::from_utf8(output.stdout)?.trim_end()) })
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Name and version of a package that is installed.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn version(&self, package: &str) -> Result<String> {
        let list = std::fs::read_to_string(self.path("versions"))?;
        let version = list.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix('\t'));
        Ok(format!("{package} {}", version.unwrap_or("of unknown version")))
    }
}

/// Makes the peers of one content.
pub struct Maker<'k> {
    /// Where everything is written.
    pub folder: PathBuf,
    /// The kernel of all.
    pub kernel: &'k Kernel,
    /// The content, an uncompressed initramfs.
    pub plain: PathBuf,
    /// The root file system that the content goes on to, if it does.
    pub root: Option<PathBuf>,
    /// Appended to every command line.
    pub append: &'static str,
}

impl Maker<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The disk with `image` in its first partition.
    fn disk(&self, name: &str, image: &Path) -> Result<PathBuf> {
        let path = self.path(name);
        let mut partitions = vec![Partition { name: PARTNAME.into(), uuid: None, image: image.to_owned() }];
        if let Some(root) = &self.root {
            partitions.push(Partition { name: ROOT.into(), uuid: None, image: root.clone() });
        }
        disk::write(&path, &[7; 16], &partitions, &mut |_| ())?;
        Ok(path)
    }

    fn peer(&self, name: &'static str, ours: bool, mut machine: Qemu, disk: &Path) -> Result<Peer> {
        let loaded = machine.initrd.as_deref().map_or(Ok(0), |path| std::fs::metadata(path).map(|file| file.len()))?;
        machine.append.push(self.append);
        machine.disks = Vec::new();
        Ok(Peer { name, ours, machine, disk: disk.to_owned(), loaded, outside: 0 })
    }

    /// The image in the first partition, as `board` builds it.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn partition(&self, name: &'static str, board: &str) -> Result<Peer> {
        let out = self.path(board);
        let machine = build(board, self.kernel, &self.plain, &out)?;
        std::fs::remove_file(out.join("disk.img"))?;
        let disk = self.disk(&format!("{board}.disk"), &out.join("initoverlayfs.erofs"))?;
        self.peer(name, true, machine, &disk)
    }

    /// The image as a file on ext4. `like` is any peer: its machine is taken.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn file(&self, like: &Peer) -> Result<Peer> {
        let (out, holder) = (self.path("tuned-file"), self.path("holder.img"));
        build_parts("tuned-file", self.kernel, &self.plain, &out, &[])?;
        let file = (FILE_PATH.to_owned(), out.join("initoverlayfs.erofs"));
        filesystem::write(FileSystem::Ext4, &[file], "HOLDER", None, &holder)?;
        let disk = self.disk("tuned-file.disk", &holder)?;
        std::fs::remove_file(holder)?;
        self.with_initrd("ours, file on ext4", true, like, &out.join("initramfs.img"), &disk)
    }

    /// The image in the initramfs.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn initramfs(&self, like: &Peer) -> Result<Peer> {
        let out = self.path("tuned-initramfs");
        build_parts("tuned-initramfs", self.kernel, &self.plain, &out, &[])?;
        self.with_initrd("ours, in the initramfs", true, like, &out.join("initramfs.img"), &like.disk)
    }

    /// The image in memory.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn memory(&self, like: &Peer) -> Result<Peer> {
        let out = self.path("tuned-memory");
        let machine = build("tuned-memory", self.kernel, &self.plain, &out)?;
        let outside = std::fs::metadata(out.join("initoverlayfs.erofs"))?.len();
        let mut peer = self.peer("ours, memory with DAX", true, machine, &like.disk)?;
        peer.loaded += outside;
        peer.outside = outside;
        Ok(peer)
    }

    /// The content as it is.
    ///
    /// # Errors
    /// If the compressor fails.
    pub fn classic(&self, like: &Peer, compression: Compression) -> Result<Peer> {
        let name = match compression {
            Compression::None => "classic, uncompressed",
            Compression::Lz4 => "classic, lz4",
            Compression::Zstd => "classic, zstd",
            Compression::Gzip => "classic, gzip",
        };
        self.with_initrd(name, false, like, &compression.apply(&self.plain)?, &like.disk)
    }

    /// Any initramfs on the machine and with the disk of `like`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn with_initrd(&self, name: &'static str, ours: bool, like: &Peer, initrd: &Path, disk: &Path) -> Result<Peer> {
        let loaded = std::fs::metadata(initrd)?.len();
        let machine = Qemu { initrd: Some(initrd.to_owned()), ..like.machine.clone() };
        Ok(Peer { name, ours, machine, disk: disk.to_owned(), loaded, outside: 0 })
    }

    /// An image appended to an initramfs whose init is a shell script that mounts it on a loop device.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn shell(&self, like: &Peer, busybox: &Path, image: &Path) -> Result<Peer> {
        let mut entries = vec![Entry::file("init", 0o755, SHELL_INIT), Entry::folder("bin")];
        entries.push(Entry::file("bin/busybox", 0o755, std::fs::read(busybox)?));
        entries.push(Entry::link("bin/sh", "busybox"));
        entries.extend(["dev", "lower", "upper", "root"].map(Entry::folder));
        entries.push(Entry::device("dev/console", 0o600, 5, 1));
        let path = self.path("shell.cpio");
        let mut out = File::create(&path)?;
        out.write_all(&cpio::archive(&entries))?;
        out.write_all(&cpio::archive(&[Entry::file("content.erofs", 0o644, std::fs::read(image)?)]))?;
        self.with_initrd("EROFS appended, loop mount by a shell", false, like, &path, &like.disk)
    }

    /// No initramfs: the kernel mounts the root file system itself.
    ///
    /// # Errors
    /// None; as the others.
    pub fn kernel_only(&self, like: &Peer) -> Result<Peer> {
        let machine = Qemu { initrd: None, ..like.machine.clone() };
        Ok(Peer {
            name: "no initramfs, kernel mounts root= (limit)",
            ours: false,
            machine,
            disk: like.disk.clone(),
            loaded: 0,
            outside: 0,
        })
    }
}
