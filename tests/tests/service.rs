//! Mode `service` on a Debian 13 with LVM on LUKS: dracut's initramfs opens the container with a key file, `bootstrap --service`
//! mounts the image that lies on one logical volume, systemd switches to it, and the initrd in it goes on to the root file system
//! on another. The key is in the first initramfs alone.

use imagegen::boot::qemu::End;
use imagegen::manifest;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::kernel::{Kernel, checkout, get, program};
use tests::{Result, equal, tool};

/// A boot is two initrds with systemd and a root file system with a third, emulated.
const DEADLINE: Duration = Duration::from_secs(1500);
const LUKS_UUID: &str = "5e4f1c1e-0000-4000-8000-000000000001";
const KEY: &str = "what opens the disk of a test, and nothing else";
const KEY_PATH: &str = "etc/cryptsetup-keys.d/secret.key";
const UNITS: &str = "usr/lib/systemd/system";
/// The header, the image and the root file system.
const DISK_BYTES: u64 = 256 << 20;

/// Says in the content what its root is.
const MARK: &str = "[Unit]
DefaultDependencies=no
Before=initrd-root-fs.target
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=sh -c 'echo \"mark: content on $$(findmnt -no FSTYPE,OPTIONS /)\"'
";

/// In place of the unit that mounts the image: makes the disk it is to lie on.
const MAKER: &str = "[Unit]
DefaultDependencies=no
After=systemd-udevd.service systemd-udev-trigger.service
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStart=/busybox sh -e /make.sh
";
const MAKE: &str = "export PATH=/usr/sbin:/usr/bin
trap '/busybox poweroff -f' EXIT
/busybox mkdir -p /run/lock
udevadm wait --timeout=600 /dev/vda /dev/vdb /dev/vdc
/usr/lib/systemd/systemd-cryptsetup attach secret /dev/vda /etc/cryptsetup-keys.d/secret.key
lvm pvcreate /dev/mapper/secret
lvm vgcreate vg /dev/mapper/secret
lvm lvcreate -y -Wn -L 64M -n image vg
lvm lvcreate -y -Wn -l 100%FREE -n root vg
/busybox dd if=/dev/vdb of=/dev/mapper/vg-image bs=1M conv=fsync
/busybox dd if=/dev/vdc of=/dev/mapper/vg-root bs=1M conv=fsync
lvm vgchange -an vg
echo 'make: done'
";

/// What all boots have.
struct System {
    kernel: Kernel,
    /// What tests/setup/service.sh made.
    debian: PathBuf,
    /// The disk.
    disk: PathBuf,
    folder: tempfile::TempDir,
}

impl System {
    fn get() -> Result<&'static Self> {
        static SYSTEM: OnceLock<std::result::Result<System, String>> = OnceLock::new();
        let made = SYSTEM.get_or_init(|| System::make().map_err(|error| error.to_string()));
        made.as_ref().map_err(|error| error.as_str().into())
    }

    fn make() -> Result<Self> {
        let (kernel, runs) = (get("arm64-6.12")?, get("arm64-tuned")?);
        let modules = kernel.modules.clone().unwrap_or_default();
        let output = Command::new(checkout().join("tests/setup/service.sh")).arg(&runs.image).arg(modules).output()?;
        if !output.status.success() {
            return Err(tool::said(&output).into());
        }
        let debian = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        let folder = tempfile::tempdir()?;
        let mut system = System { kernel, debian, disk: PathBuf::new(), folder };
        let content = system.path("content.cpio");
        let unit = [
            Entry::file(&format!("{UNITS}/mark.service"), 0o644, MARK),
            Entry::link(&format!("{UNITS}/initrd.target.wants/mark.service"), "../mark.service"),
        ];
        fs::write(&content, [fs::read(system.debian.join("content.cpio"))?, archive(&unit)].concat())?;
        let out = system.build("content.cpio", "good")?;
        system.disk = system.make_disk(&out.join(manifest::EROFS))?;
        Ok(system)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds a board with a slot that is not there, and one that is the logical volume with the image.
    fn build(&self, content: &str, name: &str) -> Result<PathBuf> {
        let (board, out) = (self.path(&format!("{name}.toml")), self.path(name));
        let head = "name = \"lvm-on-luks\"\narchitecture = \"aarch64\"\nmode = \"service\"\n";
        let slots = [("gone", "vg-gone"), ("volume", "vg-image")].map(|(name, volume)| slot(name, volume)).concat();
        fs::write(&board, format!("{head}{slots}"))?;
        let content = self.path(content);
        let bootstrap = program("bootstrap-full", "aarch64")?;
        let paths = [&board, &content, &bootstrap, &out];
        let words = ["build", "--from", "--bootstrap", "--out"];
        let output = tool::run(words.iter().zip(paths).flat_map(|(word, path)| [OsString::from(word), path.into()]))?;
        if output.status.success() { Ok(out) } else { Err(tool::said(&output).into()) }
    }

    /// dracut's initramfs with the key, and with `entries` over what it has.
    fn initrd(&self, name: &str, entries: Vec<Entry>) -> Result<PathBuf> {
        let key = [Entry::folder("etc/cryptsetup-keys.d"), Entry::file(KEY_PATH, 0o600, KEY)];
        let more: Vec<Entry> = key.into_iter().chain(entries).collect();
        let path = self.path(name);
        fs::write(&path, [fs::read(self.debian.join("mini.cpio"))?, archive(&more)].concat())?;
        Ok(path)
    }

    /// The disk: LVM on LUKS, with `image` and the root file system on volumes. Kept as long as both and this stay the same. It is
    /// made by the machine itself: this one may have no device-mapper.
    fn make_disk(&self, image: &Path) -> Result<PathBuf> {
        let digest = manifest::hex(&manifest::digest_file(image)?.1);
        let made = format!("disk-{}", digest.get(..12).unwrap_or_default());
        let disk = self.debian.join(&made);
        if disk.exists() {
            return Ok(disk);
        }
        let part = self.debian.join(format!("{made}.part"));
        fs::File::create(&part)?.set_len(DISK_BYTES)?;
        let key = self.path("key");
        fs::write(&key, KEY)?;
        // What a passphrase is stretched by takes an emulated machine too long.
        let stretch = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let mut format = Command::new("/usr/sbin/cryptsetup");
        format.args(["luksFormat", "--batch-mode", "--type", "luks2", "--uuid", LUKS_UUID]).args(stretch);
        let output = format.arg("--key-file").arg(&key).arg(&part).output()?;
        if !output.status.success() {
            return Err(tool::said(&output).into());
        }
        let unit = Entry::file(&format!("{UNITS}/initoverlayfs.service"), 0o644, MAKER);
        let busybox = Entry::file("busybox", 0o755, fs::read(self.debian.join("busybox"))?);
        let initrd = self.initrd("make.img", vec![unit, busybox, Entry::file("make.sh", 0o644, MAKE)])?;
        let root = self.path("root.ext4");
        fs::copy(self.debian.join("root.ext4"), &root)?;
        let mut boot = self.boot(initrd, "root=/dev/never rd.luks=0 rd.lvm=0");
        boot.disks = vec![part.clone(), image.to_owned(), root];
        boot.extra.clear();
        let outcome = boot.run()?;
        if outcome.end != End::Exited(true) || !outcome.console.contains("make: done") {
            return Err(outcome.failure("the disk was not made"));
        }
        fs::rename(part, &disk)?;
        Ok(disk)
    }

    fn boot(&self, initrd: PathBuf, append: &str) -> Boot<'_> {
        let mut boot = Boot::new(&self.kernel, initrd);
        boot.memory_mib = 1024;
        boot.deadline = DEADLINE;
        boot.disks = vec![self.disk.clone()];
        boot.writable = true;
        boot.extra = vec!["-snapshot".into()];
        boot.append =
            format!("{append} rd.shell=0 rd.emergency=poweroff rd.retry=1200 fsck.mode=skip systemd.log_color=0")
                .into();
        boot
    }

    /// Boots with what was built in `out`.
    fn start(&self, out: &Path) -> Result<Outcome> {
        let name = format!("{}.img", out.file_name().unwrap_or_default().to_string_lossy());
        let plan = Entry::file("plan", 0o600, fs::read(out.join(manifest::PLAN))?);
        let program = fs::read(out.join(manifest::BOOTSTRAP))?;
        let initrd = self.initrd(&name, vec![plan, Entry::file("usr/lib/initoverlayfs/bootstrap", 0o755, program)])?;
        self.boot(initrd, &format!("root=/dev/mapper/vg-root rw rd.luks.name={LUKS_UUID}=secret")).run()
    }
}

fn slot(name: &str, volume: &str) -> String {
    let device = format!("path = \"/dev/mapper/{volume}\"\ndeadline = \"5s\"\n");
    format!("[[slot]]\nname = \"{name}\"\nsource = \"partition\"\n{device}")
}

fn count(outcome: &Outcome, text: &str) -> usize {
    outcome.console.matches(text).count()
}

#[test]
fn an_image_on_a_volume_in_luks_goes_on_to_the_root_on_another() -> Result<()> {
    let system = System::get()?;
    let outcome = system.start(&system.path("good"))?;
    let check = || -> Result<()> {
        equal("end", &outcome.end, &End::Exited(true))?;
        let steps: Vec<_> = outcome.log.rows.iter().map(|row| row.name.as_str()).collect();
        equal("steps", &steps, &["early-mounts", "device", "mount", "overlay"].into())?;
        equal("slots refused", &count(&outcome, "initoverlayfs: slot gone refused"), &1)?;
        equal("policies", &outcome.log.policy, &None)?;
        // Each once, and in this order.
        let marks = [
            "initoverlayfs: mounted at /initoverlayfs",
            "mark: content on overlay",
            "mark: root /dev/mapper/vg-root ext4",
        ];
        let places: Vec<_> = marks.iter().map(|mark| outcome.console.find(mark)).collect();
        if !places.is_sorted()
            || places.iter().any(Option::is_none)
            || marks.iter().any(|mark| count(&outcome, mark) != 1)
        {
            return Err(format!("marks at {places:?}").into());
        }
        equal("initrds", &count(&outcome, "Running in initrd"), &2)?;
        // The first one leaves the root file system alone.
        equal("mounts of the root", &count(&outcome, "EXT4-fs (dm-2): mounted"), &1)?;
        // `ls` of the root file system's systemd.
        let is_record = |line: &&str| line.starts_with("-rw") && line.trim_end().ends_with(" record");
        equal("records", &outcome.console.lines().filter(is_record).count(), &1)
    };
    check().map_err(|error| outcome.failure(&error.to_string()))
}

#[test]
fn without_a_good_image_the_unit_fails_and_nothing_is_switched() -> Result<()> {
    let system = System::get()?;
    // Of a content with one file more: not what lies on the volume.
    let other = [fs::read(system.path("content.cpio"))?, archive(&[Entry::file("other", 0o644, "")])].concat();
    fs::write(system.path("other.cpio"), other)?;
    let outcome = system.start(&system.build("other.cpio", "bad")?)?;
    let check = || -> Result<()> {
        equal("end", &outcome.end, &End::Exited(true))?;
        let said = [
            "device did not appear: /dev/mapper/vg-gone within 5000 ms",
            "initoverlayfs: slot gone refused",
            "initoverlayfs: mount failed: not the image of this plan",
            "initoverlayfs: slot volume refused",
        ];
        if let Some(text) = said.iter().find(|text| count(&outcome, text) != 1) {
            return Err(format!("{text}: {} times", count(&outcome, text)).into());
        }
        for never in [
            "mounted at /initoverlayfs",
            "initoverlayfs: policy",
            "mark: ",
            "EXT4-fs (dm-2): mounted",
            "initoverlayfs-switch",
        ] {
            equal(never, &count(&outcome, never), &0)?;
        }
        equal("emergencies", &count(&outcome, "Boot has failed"), &1)
    };
    check().map_err(|error| outcome.failure(&error.to_string()))
}
