//! Boot tier: deployments by real ostree, Debian's. Two commits that `imagegen ostree` made, deployed to a disk without root; the
//! deployed system upgrades itself, is switched off without warning, boots the other commit through that one's image, rolls back.
//! Once as folders of links, once as composefs, which is upgraded to one with fs-verity.
//! What a boot loader does is done here: the newest entry below `/boot/loader` names kernel, initramfs and arguments.

use imagegen::boot::qemu::End;
use imagegen::disk::{self, Partition};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::kernel::{Kernel, checkout, get};
use tests::{Result, equal, tool};

/// The name that ostree keeps the deployments below.
const NAME: &str = "debian";
/// Where ostree-prepare-root looks how to do it.
const CONFIG: &str = "usr/lib/ostree/prepare-root.conf";
/// The branch that is deployed, and the one with what it is made of.
const BRANCHES: [&str; 2] = ["os", "base"];
/// Bytes of the file system: two deployments and what they are upgraded from.
const DISK: &str = "320M";
/// Debian 13's ostree, built without composefs, deployed by this machine's, which never heard of it.
const LINKS: Kind = Kind { suite: "trixie", roots: [Root::Links; 2] };
/// Composefs from the start; this takes the ostree of a Debian after 13.
const COMPOSEFS: Kind = Kind { suite: "sid", roots: [Root::Composefs; 2] };
/// Upgraded to a commit that wants every object sealed by fs-verity.
const VERITY: Kind = Kind { suite: "sid", roots: [Root::Composefs, Root::Verity] };
/// The initrd: it mounts the root file system as the command line has it, and goes on by ostree's own program and util-linux'.
const INITRD_INIT: &str = "#!/bin/busybox sh
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in ro | rw) how=$word ;; esac
done
/bin/busybox cp /etc/image /run/image
/bin/busybox mount -t ext4 -o $how /dev/vda1 /sysroot || exit 1
/usr/lib/ostree/ostree-prepare-root /sysroot || exit 1
exec /usr/sbin/switch_root /sysroot /sbin/init
";
/// The system: says what it runs from, then does what `what` in its environment (an unknown kernel argument) says.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/usr/bin
say() { busybox echo "test: $*"; }
busybox echo 1 > /proc/sys/kernel/printk
/usr/lib/ostree/ostree-remount
# As its generator for systemd does; /boot since 2026.
busybox mount --bind /sysroot/ostree/deploy/debian/var /var
busybox test -e /boot/loader || busybox mount --bind /sysroot/boot /boot
say image $(busybox cat /run/image)
say booted $(ostree admin status | busybox sed -n 's/^\* debian //p')
say linked $(busybox readlink "/sysroot$ostree")
say marked $(busybox test -e /run/ostree-booted && busybox echo yes)
say from $(busybox sed -n 's|^\([^ ]* \)/ |\1|p' /proc/mounts | busybox tail -n 1)
say usr $(busybox touch /usr/new 2> /dev/null && busybox echo writable || busybox echo read-only)
say root $(busybox sed -n 's|^/dev/vda1 / ||p' /proc/mounts)
say record $(busybox od -An -v -tx1 /run/initoverlayfs/record | busybox tr -d ' \n')
case $what in
seal) ostree admin post-copy && ostree admin upgrade > /dev/null && say upgraded; busybox poweroff -f -n ;;
upgrade) ostree admin upgrade > /dev/null && say upgraded; busybox poweroff -f -n ;;
rollback) ostree admin set-default 1 > /dev/null && say rolled back; busybox poweroff -f -n ;;
esac
busybox mount -o remount,rw /sysroot
say sysroot $(busybox sed -n 's|^/dev/vda1 /sysroot ||p' /proc/mounts)
busybox poweroff -f
"#;

/// What the two commits are deployed by, and what their root becomes.
struct Kind {
    suite: &'static str,
    roots: [Root; 2],
}

/// What ostree-prepare-root makes the root of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    /// The folder of links that the deployment is.
    Links,
    /// The composefs in it, whose files are the repository's.
    Composefs,
    /// The same, and the kernel gives out none that fs-verity does not cover.
    Verity,
}

impl Root {
    /// The commit's `usr/lib/ostree/prepare-root.conf`, for its initrd and for the ostree that deploys it. What bootc and Fedora
    /// have: /sysroot is read-only to all but ostree.
    fn config(self) -> &'static str {
        match self {
            Root::Links => "[sysroot]\nreadonly=true\n",
            Root::Composefs => "[sysroot]\nreadonly=true\n[composefs]\nenabled=yes\n",
            Root::Verity => "[sysroot]\nreadonly=true\n[composefs]\nenabled=verity\n",
        }
    }

    /// Whether this, of `/proc/mounts` without where to, is such a root.
    fn is(self, mounted: &str) -> bool {
        let is_composefs = mounted.starts_with("composefs overlay ro,");
        match self {
            Root::Links => mounted.starts_with("/dev/vda1 ext4 "),
            Root::Composefs => is_composefs && !mounted.contains("verity="),
            Root::Verity => is_composefs && mounted.contains(",verity=require"),
        }
    }
}

/// What is deployed, and how it boots.
struct System {
    folder: tempfile::TempDir,
    kernel: Kernel,
    kind: &'static Kind,
    /// The ostree that deploys.
    deployer: PathBuf,
    commits: [String; 2],
}

/// An entry of the boot loader's menu.
struct BootEntry {
    linux: PathBuf,
    initrd: PathBuf,
    options: String,
}

/// Runs a tool that must succeed; returns what it wrote.
fn run(command: &mut Command) -> Result<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n  run tests/setup/apt.sh test", tool::said(&output)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `imagegen`, which must succeed.
fn imagegen<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let output = tool::run(arguments)?;
    if output.status.success() { Ok(()) } else { Err(tool::said(&output).into()) }
}

/// A file of a tree in the making.
fn put(root: &Path, path: &str, mode: u32, content: &str) -> Result<()> {
    let path = root.join(path);
    fs::create_dir_all(path.parent().ok_or("a path without a folder")?)?;
    fs::write(&path, content)?;
    Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
}

/// Files, folders and links below `folder`.
fn entries(folder: &Path, below: &str) -> Result<Vec<Entry>> {
    let mut list = Vec::new();
    let mut names: Vec<_> = fs::read_dir(folder.join(below))?.collect::<std::io::Result<_>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let name = entry.file_name().into_string().map_err(|_| "a name that is not UTF-8")?;
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list.push(Entry::folder(&path));
            list.extend(entries(folder, &path)?);
        } else if kind.is_symlink() {
            list.push(Entry::link(&path, fs::read_link(entry.path())?.to_str().ok_or("no UTF-8")?));
        } else {
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            list.push(Entry::file(&path, mode, fs::read(entry.path())?));
        }
    }
    Ok(list)
}

impl System {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes both commits and a disk on which the first is deployed, which knows where to get the second.
    fn new(kernel: &str, kind: &'static Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("initoverlayfs-test-").tempdir()?;
        let debian = |architecture: &str| -> Result<PathBuf> {
            let folder = run(Command::new(checkout().join("tests/setup/ostree.sh")).args([kind.suite, architecture]))?;
            Ok(PathBuf::from(folder))
        };
        let deployer = match kind.roots {
            [Root::Links, Root::Links] => PathBuf::from("ostree"),
            _ => {
                // Into a folder that nobody in particular may enter.
                let (from, to) = (debian(&run(Command::new("dpkg").arg("--print-architecture"))?)?, folder.path());
                run(Command::new("cp").arg("-r").arg(from).arg(to.join("deployer")))?;
                to.join("deployer/ostree")
            }
        };
        let (kernel, commits, debian) = (get(kernel)?, [String::new(), String::new()], debian("arm64")?);
        let mut system = System { folder, kernel, kind, deployer, commits };
        for (image, root) in ["one", "two"].into_iter().zip(kind.roots) {
            system.build(&debian.join("initrd"), image, root)?;
        }
        system.ostree(&["init", "--mode=archive"])?;
        let root = system.root()?;
        let configure = |of: usize| put(&root, CONFIG, 0o644, kind.roots[of].config());
        let [debian, own] = [debian.join("root"), root.clone()].map(|path| format!("--tree=dir={}", path.display()));
        let owner = ["--owner-uid=0", "--owner-gid=0", "--canonical-permissions"];
        // The first goes through a tree, as for a container image; the second straight into a commit.
        let (one, two, repo) = (system.path("one"), system.path("two"), system.path("repo"));
        let release = system.kernel.release()?;
        configure(1)?;
        let base = system.ostree(&[&["commit", "-b", BRANCHES[1], &debian, &own], &owner[..]].concat())?;
        configure(0)?;
        imagegen([
            "ostree".as_ref(),
            one.as_os_str(),
            "--tree".as_ref(),
            root.as_ref(),
            "--release".as_ref(),
            release.as_ref(),
        ])?;
        system.commits[0] =
            system.ostree(&[&["commit", "-b", BRANCHES[0], &debian, &own, "--bootable"], &owner[..]].concat())?;
        system.deploy()?;
        let words = ["ostree".as_ref(), two.as_os_str(), "--repo".as_ref(), repo.as_os_str()].into_iter();
        imagegen(words.chain(["--branch", BRANCHES[0], "--base", &base, "--release", &release].map(OsStr::new)))?;
        system.commits[1] = system.ostree(&["rev-parse", BRANCHES[0]])?;
        system.write_disk()?;
        Ok(system)
    }

    /// Builds an image called `name`, of an initrd of Debian's programs.
    fn build(&self, initrd: &Path, name: &str, root: Root) -> Result<()> {
        let mut content = entries(initrd, "")?;
        content.extend(["dev", "etc", "proc", "run", "sys", "sysroot"].map(Entry::folder));
        content.push(Entry::device("dev/console", 0o600, 5, 1));
        content.push(Entry::file("init", 0o755, INITRD_INIT));
        content.push(Entry::file("etc/image", 0o644, name));
        content.push(Entry::file(CONFIG, 0o644, root.config()));
        let (from, board) = (self.path("initrd"), self.path("board.toml"));
        fs::write(&from, archive(&content))?;
        let modules = if self.kernel.modules.is_some() {
            "[modules]\nload = [\"virtio_pci\", \"virtio_blk\", \"ext4\", \"loop\", \"erofs\", \"overlay\"]\n"
        } else {
            ""
        };
        let slot = "[[slot]]\nname = \"a\"\nsource = \"ostree\"\npartname = \"sysroot\"\nfilesystem = \"ext4\"\n";
        // The image is one of the files that ostree seals.
        let verity = if root == Root::Verity { "[verity]\nmethod = \"fs-verity\"\n" } else { "" };
        let head = "name = \"deployed\"\narchitecture = \"aarch64\"\nhandover = \"mounted\"\n";
        fs::write(&board, format!("{head}{modules}{slot}{verity}"))?;
        tool::build(board.to_str().ok_or("a path that is not UTF-8")?, &self.kernel, &from, &self.path(name))
    }

    /// What the root has beside Debian's programs, in a folder.
    fn root(&self) -> Result<PathBuf> {
        let root = self.path("root");
        for folder in ["boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "usr/etc", "var"] {
            fs::create_dir_all(root.join(folder))?;
        }
        symlink("sysroot/ostree", root.join("ostree"))?;
        put(&root, "usr/sbin/init", 0o755, INIT)?;
        // The folder is there without a kernel: that comes with the image.
        put(&root, &format!("usr/lib/modules/{}/modules.order", self.kernel.release()?), 0o644, "")?;
        Ok(root)
    }

    /// `ostree` in the repository.
    fn ostree(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("ostree").arg(format!("--repo={}", self.path("repo").display())).args(arguments))
    }

    /// Runs a script in the folder as nobody in particular, who takes himself for root.
    fn unprivileged(&self, script: &str) -> Result<String> {
        let mut command = if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(self.folder.path()))?;
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "fakeroot"]);
            command
        } else {
            Command::new("fakeroot")
        };
        // No deployment is made immutable, and no attributes are set: that takes root.
        command.env("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs").env("HOME", self.folder.path());
        // So that owners are remembered from one script to the next.
        command.arg("-i").arg(self.path("owners")).arg("-s").arg(self.path("owners"));
        run(command.args(["sh", "-e", "-c", script]).current_dir(self.folder.path()))
    }

    /// Deploys the branch into a folder.
    fn deploy(&self) -> Result<()> {
        fs::write(self.path("owners"), "")?;
        let [os, _] = BRANCHES;
        let ostree = self.deployer.display();
        self.unprivileged(&format!(
            "mkdir disk
            {ostree} admin init-fs --modern disk
            {ostree} admin os-init {NAME} --sysroot=disk
            {ostree} --repo=disk/ostree/repo config set sysroot.bootloader none
            {ostree} --repo=disk/ostree/repo config set ex-integrity.fsverity maybe
            {ostree} --repo=disk/ostree/repo remote add --no-gpg-verify origin file:///var/update
            {ostree} --repo=disk/ostree/repo pull-local --remote=origin repo {os}
            {ostree} admin deploy --sysroot=disk --os={NAME} --karg=rw origin:{os}"
        ))
        .map(drop)
    }

    /// Writes the disk, with the repository to upgrade from.
    fn write_disk(&self) -> Result<()> {
        self.unprivileged(&format!(
            "cp -a repo disk/ostree/deploy/{NAME}/var/update
            mkfs.ext4 -q -F -b 4096 -O verity -L sysroot -d disk sysroot.ext4 {DISK}"
        ))?;
        let partition = Partition { name: "sysroot".into(), uuid: None, image: self.path("sysroot.ext4") };
        disk::write(&self.path("disk.img"), &[7; 16], &[partition], &mut |_| ())?;
        Ok(())
    }

    /// What a boot loader would start: read from the disk, the journal not looked at.
    fn newest_entry(&self) -> Result<BootEntry> {
        let (disk, boot) = (self.path("disk.img"), self.path("boot"));
        let start = disk::list(&disk)?.first().ok_or("no partition")?.start;
        if boot.exists() {
            fs::remove_dir_all(&boot)?;
        }
        fs::create_dir(&boot)?;
        for folder in ["/boot/loader/entries", "/boot/ostree"] {
            let command = format!("rdump {folder} {}", boot.display());
            run(Command::new("debugfs").args(["-R", &command, &format!("{}?offset={start}", disk.display())]))?;
        }
        let mut newest = None;
        for entry in fs::read_dir(boot.join("entries"))? {
            let text = fs::read_to_string(entry?.path())?;
            let value = |key: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
                value.map(str::to_owned).ok_or(format!("no {key} in {text}"))
            };
            let path = |key: &str| value(key).map(|path| boot.join(path.trim_start_matches('/')));
            let version: u32 = value("version")?.parse()?;
            let found = BootEntry { linux: path("linux")?, initrd: path("initrd")?, options: value("options")? };
            if newest.as_ref().is_none_or(|(known, _)| *known < version) {
                newest = Some((version, found));
            }
        }
        newest.map(|(_, entry)| entry).ok_or_else(|| "no entry".into())
    }

    /// Boots the newest entry, with `more` arguments.
    fn boot(&self, more: &str) -> Result<Outcome> {
        let entry = self.newest_entry()?;
        let kernel = Kernel { image: entry.linux, ..self.kernel.clone() };
        let mut boot = Boot::new(&kernel, entry.initrd);
        (boot.disks, boot.writable) = (vec![self.path("disk.img")], true);
        // An upgrade, on a busy host.
        boot.deadline = Duration::from_secs(300);
        boot.append = format!("{} {more}", entry.options).into();
        boot.run()
    }

    /// Boots and checks that it is the commit of this number, through its own image.
    fn check(&self, commit: usize, more: &str) -> Result<Outcome> {
        let outcome = self.boot(more)?;
        let checks = || -> Result<()> {
            equal("end", &outcome.end, &End::Exited(true))?;
            let deployment = format!("{}.0", self.commits[commit]);
            equal("image", &said(&outcome, "image")?, &["one", "two"][commit].to_owned())?;
            equal("booted", &said(&outcome, "booted")?, &deployment)?;
            equal("linked", &said(&outcome, "linked")?.ends_with(&format!("/{deployment}")), &true)?;
            equal("marked", &said(&outcome, "marked")?, &"yes".to_owned())?;
            let from = said(&outcome, "from")?;
            equal(&format!("root of its kind: {from}"), &self.kind.roots[commit].is(&from), &true)?;
            equal("usr", &said(&outcome, "usr")?, &"read-only".to_owned())?;
            equal("failures on the console", &outcome.console.contains(" failed: "), &false)?;
            equal("next init seen on the console", &outcome.log.next_init_ran(), &true)?;
            record(&said(&outcome, "record")?)
        };
        checks().map_err(|error| outcome.failure(&error.to_string()))?;
        Ok(outcome)
    }
}

/// What the system said of `what`.
fn said(outcome: &Outcome, what: &str) -> Result<String> {
    let prefix = format!("test: {what} ");
    let value = outcome.console.lines().find_map(|line| line.trim_end().strip_prefix(&prefix));
    value.map(str::to_owned).ok_or_else(|| outcome.failure(&format!("nothing said of {what}")))
}

/// A record in hexadecimal that has a slot, and no failure.
fn record(text: &str) -> Result<()> {
    let digits = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    let bytes: Vec<u8> = (0..text.len()).step_by(2).map(digits).collect::<std::result::Result<_, _>>()?;
    let record = bootstrap::record::open(&bytes)?;
    equal("slot", &record.slot, &Some(0))?;
    equal("failures in the record", &record.events.iter().any(|event| event.errno != 0), &false)
}

/// Whether the mount options have the journal, and are `first` first.
fn journaled(options: &str, first: &str) -> bool {
    let mut words = options.trim_start_matches("ext4 ").split([',', ' ']);
    words.next() == Some(first) && !words.any(|word| matches!(word, "noload" | "norecovery"))
}

/// Boots the first commit, which upgrades, the second, which rolls back, and the first again.
fn upgrade_and_roll_back(system: &System, upgrade: &str) -> Result<[Outcome; 3]> {
    let first = system.check(0, &format!("what={upgrade}"))?;
    equal("upgraded", &first.console.contains("test: upgraded"), &true)
        .map_err(|error| first.failure(&error.to_string()))?;
    let second = system.check(1, "what=rollback")?;
    // Switched off while it was mounted: the journal is replayed by the mount that finds the image.
    equal("recovered", &second.console.contains("recovery complete"), &true)?;
    equal("rolled back", &second.console.contains("test: rolled back"), &true)?;
    // Once more as it is with an initrd that mounts its root read-only and leaves the rest to the system.
    let third = system.check(0, "ro")?;
    let options = said(&third, "sysroot")?;
    equal(&format!("sysroot rw with its journal: {options}"), &journaled(&options, "rw"), &true)?;
    Ok([first, second, third])
}

#[test]
fn a_deployment_boots_through_its_image_is_upgraded_and_rolled_back() -> Result<()> {
    let [first, _, third] = upgrade_and_roll_back(&System::new("arm64-tuned", &LINKS)?, "upgrade")?;
    for (outcome, how) in [(&first, "rw"), (&third, "ro")] {
        let options = said(outcome, "root")?;
        equal(&format!("root {how} with its journal: {options}"), &journaled(&options, how), &true)?;
    }
    Ok(())
}

#[test]
fn a_composefs_deployment_is_upgraded_to_fs_verity_and_rolled_back() -> Result<()> {
    upgrade_and_roll_back(&System::new("arm64-tuned", &VERITY)?, "seal").map(drop)
}

/// Debian's 6.1 reads the image through a loop device, on a file system that is written to.
#[test]
fn a_stock_kernel_boots_a_deployment() -> Result<()> {
    let system = System::new("arm64-6.1", &LINKS)?;
    let only = system.check(0, "")?;
    let options = said(&only, "root")?;
    equal(&format!("root rw with its journal: {options}"), &journaled(&options, "rw"), &true)
}

/// There the composefs is a loop device too, and its overlay one without data-only layers, which came with 6.5.
#[test]
fn a_stock_kernel_boots_a_composefs_deployment() -> Result<()> {
    System::new("arm64-6.1", &COMPOSEFS)?.check(0, "").map(drop)
}

/// Debian's 7 has both the old ways and the new ones, and counts how deep file systems lie in files.
#[test]
fn a_new_kernel_boots_a_composefs_deployment() -> Result<()> {
    System::new("arm64-7", &COMPOSEFS)?.check(0, "").map(drop)
}
