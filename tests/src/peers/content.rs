//! What is booted: one content for all peers, in the form that each of them takes.

use super::machine::{self, Mark, Peer};
use crate::Result;
use crate::bench::content::Compression;
use crate::bench::machine::{build, build_parts, build_with};
use crate::cpio::{self, Entry};
use crate::kernel::{Kernel, checkout, program};
use crate::place::{FILE_PATH, PARTNAME};
use imagegen::atomic::Output;
use imagegen::board::FileSystem;
use imagegen::boot::qemu::Qemu;
use imagegen::disk::{self, Partition};
use imagegen::filesystem;
use imagegen::profile::{Blocks, Profile};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names of peers that are made in one way only.
pub const LIMIT: &str = "no initramfs, kernel mounts root= (limit)";
pub const SHELL: &str = "EROFS appended, loop mount by a shell";
pub const FILE: &str = "ours, file on ext4";
pub const INITRAMFS: &str = "ours, in the initramfs";
pub const MEMORY: &str = "ours, memory with DAX";

/// The name of the peer whose initramfs is packed by `compression`.
pub const fn classic(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "classic, uncompressed",
        Compression::Lz4 => "classic, lz4",
        Compression::Zstd => "classic, zstd",
        Compression::Gzip => "classic, gzip",
    }
}

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

/// What a boot uses of its content.
#[derive(Debug)]
pub struct Usage {
    /// All of it.
    pub profile: Profile,
    /// Bytes until each mark, in whole pages.
    pub until: Vec<(String, u64)>,
}

impl Usage {
    /// Bytes until the mark `name`, in whole pages.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        self.until.iter().find(|(mark, _)| mark == name).map(|(_, bytes)| *bytes)
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
        Ok(Peer { name, ours, machine, disk: disk.to_owned(), loaded, outside: 0, image: None })
    }

    /// The image in the first partition, as `board` builds it.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn partition(&self, name: &'static str, board: &str) -> Result<Peer> {
        self.partition_of(name, board, board, &self.plain, &[])
    }

    /// The same in the folder `out`, from another initramfs and with further arguments for `imagegen build`.
    fn partition_of(
        &self,
        name: &'static str,
        board: &str,
        out: &str,
        from: &Path,
        arguments: &[&OsStr],
    ) -> Result<Peer> {
        let folder = self.path(out);
        let machine = build_with(board, self.kernel, from, &folder, arguments)?;
        std::fs::remove_file(folder.join("disk.img"))?;
        let disk = self.disk(&format!("{out}.disk"), &folder.join("initoverlayfs.erofs"))?;
        let found = disk::list(&disk)?;
        let image = found.iter().find(|partition| partition.name == PARTNAME);
        let image = image.map(|partition| partition.start..partition.start + partition.bytes);
        Ok(Peer { image, ..self.peer(name, true, machine, &disk)? })
    }

    /// What a boot of the content until the mark `last` reads where the kernel reads nothing along: the pages that are used, and no
    /// others.
    ///
    /// # Errors
    /// If it cannot be booted.
    pub fn record(&self, last: &str) -> Result<Usage> {
        let peer = self.partition_of("recorded", "tuned", "exact", &self.plain, &["--record".as_ref()])?;
        let out = self.path("exact");
        let boot = machine::reads(&peer, last)?;
        let (Some(served), Some(image)) = (&boot.served, &peer.image) else {
            return Err("what is recorded is not on a partition".into());
        };
        let blocks = Blocks::of(&out.join("initoverlayfs.erofs"))?;
        let until = |mark: &Mark| -> Result<Profile> {
            let mut profile = Profile::empty(imagegen::manifest::read(&out)?);
            profile.merge(blocks.used(served.inside(image, mark.reads)));
            Ok(profile)
        };
        let (mut profile, mut bytes) = (None, Vec::new());
        for mark in &boot.marks {
            let used = until(mark)?;
            bytes.push((mark.name.clone(), used.bytes()));
            profile = Some(used);
        }
        Ok(Usage { profile: profile.ok_or("a boot without marks")?, until: bytes })
    }

    /// The image in the first partition, as `board` builds it, laid out and read ahead by a profile.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn profiled(&self, name: &'static str, board: &str, profile: &Profile) -> Result<Peer> {
        let path = self.path("profile");
        profile.write(Output::at(&path)?)?;
        let out = format!("{board}-profiled");
        self.partition_of(name, board, &out, &self.plain, &["--profile".as_ref(), path.as_os_str()])
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
        self.with_initrd(FILE, true, like, &out.join("initramfs.img"), &disk)
    }

    /// The image in the initramfs.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn initramfs(&self, like: &Peer) -> Result<Peer> {
        let out = self.path("tuned-initramfs");
        build_parts("tuned-initramfs", self.kernel, &self.plain, &out, &[])?;
        self.with_initrd(INITRAMFS, true, like, &out.join("initramfs.img"), &like.disk)
    }

    /// The image in memory.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn memory(&self, like: &Peer) -> Result<Peer> {
        let out = self.path("tuned-memory");
        let machine = build("tuned-memory", self.kernel, &self.plain, &out)?;
        let outside = std::fs::metadata(out.join("initoverlayfs.erofs"))?.len();
        let mut peer = self.peer(MEMORY, true, machine, &like.disk)?;
        peer.loaded += outside;
        peer.outside = outside;
        Ok(peer)
    }

    /// The content as it is.
    ///
    /// # Errors
    /// If the compressor fails.
    pub fn classic(&self, like: &Peer, compression: Compression) -> Result<Peer> {
        self.with_initrd(classic(compression), false, like, &compression.apply(&self.plain)?, &like.disk)
    }

    /// Any initramfs on the machine and with the disk of `like`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn with_initrd(&self, name: &'static str, ours: bool, like: &Peer, initrd: &Path, disk: &Path) -> Result<Peer> {
        let loaded = std::fs::metadata(initrd)?.len();
        let machine = Qemu { initrd: Some(initrd.to_owned()), ..like.machine.clone() };
        Ok(Peer { name, ours, machine, disk: disk.to_owned(), loaded, outside: 0, image: None })
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
        self.with_initrd(SHELL, false, like, &path, &like.disk)
    }

    /// No initramfs: the kernel mounts the root file system itself.
    ///
    /// # Errors
    /// None; as the others.
    pub fn kernel_only(&self, like: &Peer) -> Result<Peer> {
        let machine = Qemu { initrd: None, ..like.machine.clone() };
        Ok(Peer { name: LIMIT, ours: false, machine, disk: like.disk.clone(), loaded: 0, outside: 0, image: None })
    }
}
