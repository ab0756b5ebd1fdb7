//! The whole way on a Debian 13: the package is installed, then `imagegen install`; the machine boots by our entry, its kernel is
//! upgraded, the old one removed, it is rolled back to the classic entry, and the package removed: nothing stays in /boot.
//!
//! The system, its kernels and what makes its initramfs are Debian's own (tests/setup/system.sh), the firmware is EDK2, the menu is
//! made by update-grub. What a person would type is given to the running system, boot after boot.

use imagegen::boot::qemu::{Disk, End};
use imagegen::disk::{self, Partition};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::kernel::{Kernel, checkout, get};
use tests::tool::said;
use tests::{Result, content};

/// An architecture of Debian's, and the machine that it runs on.
struct Machine {
    debian: &'static str,
    /// The kernel that runs the installation.
    installs: &'static str,
    /// Any for the same machine: GRUB starts the system's own.
    boots: &'static str,
    /// The boot loader of GRUB's package that reads its configuration from `/EFI/debian`.
    grub: &'static str,
    /// What the firmware starts.
    loader: &'static str,
    firmware: [(&'static str, bool); 2],
    /// Length of both chips; none: as long as the firmware.
    flash_bytes: Option<u64>,
}

const ARM64: Machine = Machine {
    debian: "arm64",
    installs: "arm64-tuned",
    boots: "arm64-6.12",
    grub: "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
    loader: "BOOTAA64.EFI",
    firmware: [("/usr/share/AAVMF/AAVMF_CODE.fd", false), ("/usr/share/AAVMF/AAVMF_VARS.fd", true)],
    flash_bytes: Some(64 << 20),
};
const AMD64: Machine = Machine {
    debian: "amd64",
    installs: "x86_64-6.1",
    boots: "x86_64-6.1",
    grub: "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi",
    loader: "BOOTX64.EFI",
    firmware: [("/usr/share/OVMF/OVMF_CODE_4M.fd", false), ("/usr/share/OVMF/OVMF_VARS_4M.fd", true)],
    flash_bytes: None,
};
/// Loads the drivers of the machine that is installed, and goes on to its disk.
const LOADER: &str = "#!/busybox sh
/busybox mount -t devtmpfs dev /dev
for module in $(/busybox cat /modules/list); do /busybox insmod /modules/$module.ko; done
/busybox mount -t ext4 /dev/vda /root
/busybox umount /dev
exec /busybox switch_root /root /system-install.sh
";
/// What GRUB finds in `/EFI/debian`.
const GRUB_CFG: &str =
    "search.fs_uuid 00000000-0000-4000-8000-000000000002 root\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n";
/// UUID of /boot (tests/setup/system.sh).
const BOOT_UUID: &str = "00000000-0000-4000-8000-000000000002";

/// What every stage begins with.
const HEAD: &str = r#"set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root
fail() { echo "failed: $*"; exit 1; }
# The blocks of what lies in /boot and is not the kernels' own, and its names.
others() {
    df --output=used -B1 /boot | tail -n 1 > /tmp/used
    du -cB1 /boot/vmlinuz-* /boot/initrd.img-* /boot/config-* /boot/System.map-* | tail -n 1 | cut -f 1 > /tmp/own
    echo "others $(($(cat /tmp/used) - $(cat /tmp/own)))"
    (cd /boot && find . -type f | sed "s/[0-9.]*+deb13-cloud-[a-z0-9]*/RELEASE/" | sort)
}
# That this boot was by our entry, and that nothing of it is left behind the content's initramfs.
ours() {
    dmesg | grep -q "initoverlayfs: exec " || fail "no step lines"
    imagegen inspect /run/initoverlayfs/record | grep switch-root
    grep " - overlay \| - erofs " /proc/1/mountinfo && fail "what was left is mounted"
    [ "$(ls /sys/fs/erofs)" = features ] || fail "the image is still in use: $(ls /sys/fs/erofs)"
    findmnt -no OPTIONS /boot | grep -w rw
    touch /boot/written && rm /boot/written
}
"#;

/// Debian, as it was installed, on a disk.
struct System {
    folder: TempDir,
    machine: &'static Machine,
    kernel: Kernel,
}

/// What a script prints.
fn script(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut command = Command::new(checkout().join("tests/setup").join(name));
    let output = command.args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("tests/setup/{name} failed").into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// The initramfs for a kernel that has its drivers as modules.
fn loader(kernel: &Kernel, debian: &str) -> Result<Vec<u8>> {
    let busybox = script("debian.sh", &["bookworm", debian, "busybox-static"])?.join("bin/busybox");
    let mut entries: Vec<Entry> = ["dev", "modules", "root"].map(Entry::folder).into();
    entries.push(Entry::device("dev/console", 0o600, 5, 1));
    entries.push(Entry::file("busybox", 0o755, fs::read(busybox)?));
    entries.push(Entry::file("init", 0o755, LOADER));
    let mut list = String::new();
    for (name, bytes) in content::modules(kernel, &["virtio_pci", "virtio_blk", "ext4"])? {
        list += &format!("{name}\n");
        entries.push(Entry::file(&format!("modules/{name}.ko"), 0o644, bytes));
    }
    entries.push(Entry::file("modules/list", 0o644, list));
    Ok(archive(&entries))
}

impl System {
    fn new(machine: &'static Machine, generator: &str) -> Result<Self> {
        let system = System { folder: tempfile::tempdir()?, machine, kernel: get(machine.boots)? };
        let (installs, initramfs) = (get(machine.installs)?, system.at("loader.img"));
        let (image, initramfs_name) = (installs.image.to_string_lossy(), initramfs.to_string_lossy());
        let mut arguments = vec![generator, machine.debian, &image];
        if installs.modules.is_some() {
            fs::write(&initramfs, loader(&installs, machine.debian)?)?;
            arguments.push(&initramfs_name);
        }
        let parts = script("system.sh", &arguments)?;
        system.flash()?;
        let esp = system.at("esp");
        File::create(&esp)?.set_len(64 << 20)?;
        system.run("mkfs.vfat", &["-F", "32", "esp"])?;
        fs::write(system.at("grub.cfg"), GRUB_CFG)?;
        let grub = format!("grub-efi-{}-unsigned", machine.debian);
        let grub = script("debian.sh", &["trixie", machine.debian, &grub])?.join(machine.grub);
        system.run("mmd", &["-i", "esp", "::EFI", "::EFI/BOOT", "::EFI/debian"])?;
        system.run("mcopy", &["-i", "esp", &grub.to_string_lossy(), &format!("::EFI/BOOT/{}", machine.loader)])?;
        system.run("mcopy", &["-i", "esp", "grub.cfg", "::EFI/debian/grub.cfg"])?;
        let part = |name: &str, image: PathBuf| Partition { name: name.into(), uuid: None, image };
        let partitions =
            [part("esp", esp), part("boot", parts.join("boot.ext4")), part("root", parts.join("root.ext4"))];
        disk::write(&system.at("disk.img"), &[7; 16], &partitions, &mut |_| ())?;
        fs::create_dir(system.at("tests"))?;
        for package in fs::read_dir(parts.join("packages"))? {
            fs::copy(package?.path(), system.at("tests/linux-image.deb"))?;
        }
        fs::copy(package(&system.at("package"), machine.debian)?, system.at("tests/initoverlayfs.deb"))?;
        Ok(system)
    }

    fn flash(&self) -> Result<()> {
        for (name, (image, _)) in ["flash0", "flash1"].into_iter().zip(self.machine.firmware) {
            fs::copy(image, self.at(name))
                .map_err(|error| format!("{image}: {error}\n  run tests/setup/apt.sh test"))?;
            if let Some(bytes) = self.machine.flash_bytes {
                File::options().write(true).open(self.at(name))?.set_len(bytes)?;
            }
        }
        Ok(())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output = Command::new(tool).args(arguments).env("PATH", path).current_dir(self.folder.path()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{tool}: {}\n  run tests/setup/apt.sh test", said(&output)).into())
    }

    /// Boots, has the system do this, and shuts it down; what it said.
    fn stage(&self, commands: &str) -> Result<String> {
        fs::write(self.at("tests/stage"), format!("{HEAD}{commands}"))?;
        self.run("mkfs.ext4", &["-q", "-F", "-L", "tests", "-d", "tests", "tests.ext4", "96M"])?;
        let mut boot = Boot::new(&self.kernel, PathBuf::new());
        boot.disks = vec![self.at("disk.img"), self.at("tests.ext4")];
        boot.writable = true;
        boot.memory_mib = 1024;
        boot.deadline = Duration::from_secs(1800);
        let flash = |(name, (_, writable))| Disk { image: self.at(name), writable };
        boot.flash = ["flash0", "flash1"].into_iter().zip(self.machine.firmware).map(flash).collect();
        let outcome = boot.run()?;
        let said = self.run("debugfs", &["-R", "cat said", "tests.ext4"])?;
        if outcome.end == End::Exited(true) && said.ends_with("status 0\n") {
            println!("{:?} for\n{commands}{said}", outcome.took);
            return Ok(said);
        }
        Err(failed(&outcome, &format!("{commands}said:\n{said}")))
    }
}

/// A failure whose console does not scroll away what the system said.
fn failed(outcome: &Outcome, what: &str) -> tests::Failure {
    format!("{}\n{what}", outcome.failure("the stage failed")).into()
}

/// Our package for an architecture, as `make deb` makes it, but for the compiler.
fn package(work: &Path, architecture: &str) -> Result<PathBuf> {
    let epoch = "1795651200";
    let tree = format!("DESTDIR={}", work.join("tree").display());
    let make = ["--no-print-directory", "install", "install-hooks", &tree, "PREFIX=/usr"];
    let output = Command::new("make").args(make).current_dir(checkout()).env("SOURCE_DATE_EPOCH", epoch).output()?;
    if !output.status.success() {
        return Err(format!("make install: {}", said(&output)).into());
    }
    let (tree, out) = (work.join("tree"), work.join("out"));
    fs::remove_dir_all(tree.join("usr/lib/initcpio"))?;
    let mut arguments = vec![tree.clone().into_os_string(), out.into_os_string()];
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    if architecture != own {
        fs::copy(script("imagegen.sh", &[architecture])?, tree.join("usr/bin/imagegen"))?;
        arguments.push(architecture.into());
    }
    let mut command = Command::new(checkout().join("imagegen/distribution/debian.sh"));
    let output = command.args(arguments).env("SOURCE_DATE_EPOCH", epoch).output()?;
    if !output.status.success() {
        return Err(format!("debian.sh: {}", said(&output)).into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// What `others` has said, between the commands.
fn others(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("others ") || line.starts_with("./")).collect()
}

fn whole_way(machine: &'static Machine, generator: &str) -> Result<()> {
    let system = System::new(machine, generator)?;
    let before = system.stage(&format!(
        "dmesg | grep initoverlayfs: && fail booted by ours\n\
         grub-editenv /boot/grub/grubenv create; update-grub; others\n\
         dpkg -i initoverlayfs.deb\n\
         imagegen new /etc/initoverlayfs/board.toml --architecture \"$(uname -m)\" --source file --uuid {BOOT_UUID} \
         --filesystem ext4 --file '/initoverlayfs-{{release}}-{{build}}.erofs' --modules virtio_pci,virtio_blk,ext4,loop,erofs,overlay\n\
         imagegen install; update-grub; ls -l /boot\n"
    ))?;
    let upgraded = system.stage("ours; dpkg -i linux-image.deb; ls -l /boot; ls /var/lib/initoverlayfs\n")?;
    let removed = system.stage(&format!(
        "ours; uname -r; old=$(ls /boot/vmlinuz-* | sort -V | head -n 1); old=${{old#/boot/vmlinuz-}}\n\
         [ \"$old\" != \"$(uname -r)\" ] || fail \"not the new kernel\"\n\
         dpkg --purge \"linux-image-$old\"\n\
         find /boot /var/lib/initoverlayfs -name \"*$old*\" | grep . && fail \"something stays\"\n\
         grub-set-default gnulinux-simple-{ROOT_UUID}; ls -l /boot\n",
        ROOT_UUID = "00000000-0000-4000-8000-000000000001"
    ))?;
    let after = system.stage(
        "dmesg | grep initoverlayfs: && fail booted by ours\n\
         dpkg --purge initoverlayfs; grub-editenv - unset saved_entry; update-grub\n\
         others; rm -r /etc/initoverlayfs\n\
         find / -xdev -name '*initoverlayfs*' | grep . && fail \"something stays\"\ntrue\n",
    )?;
    let (before, after) = (others(&before), others(&after));
    if before.len() < 5 || before != after {
        return Err(format!("/boot: {before:#?} became {after:#?}\n{upgraded}\n{removed}").into());
    }
    Ok(())
}

#[test]
fn amd64_with_dracut() {
    whole_way(&AMD64, "dracut").unwrap();
}

#[test]
fn amd64_with_initramfs_tools() {
    whole_way(&AMD64, "initramfs-tools").unwrap();
}

#[test]
fn arm64_with_dracut() {
    whole_way(&ARM64, "dracut").unwrap();
}

#[test]
fn arm64_with_initramfs_tools() {
    whole_way(&ARM64, "initramfs-tools").unwrap();
}
