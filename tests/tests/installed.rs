//! Boot tier: what `imagegen install` put into a system's /boot boots it, from the file system of /boot; after an update of the
//! initramfs the new content does, and after the removal the classic initramfs that was there all along.

use imagegen::board::FileSystem;
use imagegen::disk::{self, Partition};
use imagegen::filesystem;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tests::boot::{Boot, Outcome};
use tests::cpio::{Entry, archive};
use tests::kernel::{Kernel, get};
use tests::{content, tool};

/// A system whose /boot lies on its root file system.
struct System {
    tree: TempDir,
    kernel: Kernel,
    release: String,
}

/// The guest, with one more file.
fn initramfs(kernel: &Kernel, file: &str) -> Vec<u8> {
    let mut entries = content::guest(kernel).unwrap();
    entries.push(Entry::file(&format!("etc/{file}"), 0o644, "x"));
    archive(&entries)
}

impl System {
    fn new(kernel: &str) -> Self {
        let kernel = get(kernel).unwrap();
        let system = System { tree: tempfile::tempdir().unwrap(), release: kernel.release().unwrap(), kernel };
        for folder in ["boot", "usr/lib/modules", "etc/initoverlayfs", "var/lib"] {
            fs::create_dir_all(system.at(folder)).unwrap();
        }
        symlink(system.kernel.modules.as_ref().unwrap(), system.at("usr/lib/modules").join(&system.release)).unwrap();
        let board = format!(
            "name = \"host\"\narchitecture = \"{}\"\n[modules]\n\
             load = [\"virtio_pci\", \"virtio_blk\", \"ext4\", \"loop\", \"erofs\", \"overlay\"]\n[[slot]]\nname = \"a\"\n\
             source = \"file\"\npartname = \"root\"\nfilesystem = \"ext4\"\nfile = \"/boot/initoverlayfs-{{release}}-{{build}}.erofs\"\n",
            system.kernel.arch
        );
        fs::write(system.at("etc/initoverlayfs/board.toml"), board).unwrap();
        fs::write(system.classic(), initramfs(&system.kernel, "one")).unwrap();
        system
    }

    fn at(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn classic(&self) -> PathBuf {
        self.at("boot").join(format!("initrd.img-{}", self.release))
    }

    fn mini(&self) -> PathBuf {
        self.at("boot").join(format!("initoverlayfs-{}.img", self.release))
    }

    fn install(&self, more: &[&str]) {
        let mut command = Command::new(tool::program().unwrap());
        command.args(["install", "--kernel", &self.release, "--root"]).arg(self.tree.path()).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", tool::said(&output));
    }

    /// Boots with `initrd` from a disk with what /boot holds now.
    fn boot(&self, initrd: &Path) -> Outcome {
        let entries = fs::read_dir(self.at("boot")).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| format!("/boot/{}", path.file_name().unwrap().to_string_lossy());
        let files: Vec<(String, PathBuf)> = entries.map(|path| (name(&path), path)).collect();
        let (root, image) = (self.at("root.img"), self.at("disk.img"));
        filesystem::write(FileSystem::Ext4, &files, "root", None, &root).unwrap();
        let partition = Partition { name: "root".into(), uuid: None, image: root };
        disk::write(&image, &[7; 16], &[partition], &mut |_| ()).unwrap();
        let mut boot = Boot::new(&self.kernel, initrd.to_owned());
        boot.disks.push(image);
        boot.append = "guest=reread".into();
        boot.run().unwrap()
    }
}

/// Whether the next init ran with this file in its content, in an overlay or in the initramfs itself.
#[track_caller]
fn reached(outcome: &Outcome, file: &str, in_overlay: bool) {
    let report = outcome.reported().unwrap_or_else(|error| panic!("{error}"));
    let path = format!(" /etc/{file}");
    assert!(report.lines("content").iter().any(|line| line.ends_with(&path)), "no {path}: {}", outcome.console);
    assert_eq!(report.mounts().contains("/ overlay overlay"), in_overlay, "{:?}", report.mounts());
    assert!(!outcome.console.contains(" failed: "), "{}", outcome.console);
}

fn boots(kernel: &str) {
    let system = System::new(kernel);
    system.install(&[]);
    reached(&system.boot(&system.mini()), "one", true);
    fs::write(system.classic(), initramfs(&system.kernel, "two")).unwrap();
    system.install(&[]);
    reached(&system.boot(&system.mini()), "two", true);
    system.install(&["--remove"]);
    assert!(!system.mini().exists());
    reached(&system.boot(&system.classic()), "two", false);
}

#[test]
fn installed_updated_and_rolled_back_on_arm64() {
    boots("arm64-6.1");
}

#[test]
fn installed_updated_and_rolled_back_on_x86_64() {
    boots("x86_64-6.1");
}
