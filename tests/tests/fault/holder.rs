//! File systems that hold the image as a file: not what the plan says, damaged, or without the file.

use crate::case::{Disk, Expected, On, Scene, refused};
use crate::verity::verified_content;
use bootstrap::Step::{Device, Mount, Verity};
use bootstrap::plan::{self, Holder, Image, List, MAX_BYTES, Slot, Source};
use imagegen::board::FileSystem;
use imagegen::disk::Partition;
use imagegen::filesystem;
use std::path::{Path, PathBuf};
use tests::image::{PARTNAME, PLAN, Parts};
use tests::place::{FILE_PATH, debugfs};
use tests::{Result, content, equal};

const ENOENT: u32 = 2;
const EIO: u32 = 5;
const ENODEV: u32 = 19;
const EINVAL: u32 = 22;
const NAME: &str = "boot/initoverlayfs.erofs";

/// The holding file system of `parts`, changed, on a disk.
fn scene(on: &On, parts: Parts, expected: Expected, change: impl FnOnce(&Path) -> Result<()>) -> Result<Scene> {
    let holder = on.place.stored(&on.kernel, &parts.erofs, parts.folder.path())?;
    change(&holder)?;
    let disk = disk(&parts, &holder)?;
    let mut scene = Scene::new(on, parts, expected);
    scene.disk = Disk::File(disk);
    Ok(scene)
}

fn disk(parts: &Parts, holder: &Path) -> Result<PathBuf> {
    parts.disk_of(&[Partition { name: PARTNAME.into(), uuid: None, image: holder.into() }])
}

/// Seals the plan with its only slot changed.
fn change_slot(parts: &mut Parts, change: impl Fn(&mut Slot<'_>)) -> Result<()> {
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let mut buffer = vec![0; MAX_BYTES];
    let slots = plan.slots.into_iter().map(|mut slot| {
        change(&mut slot);
        slot
    });
    plan.slots = List::encode(slots, &mut buffer)?;
    parts.set_plan(&plan)
}

/// FAT where the plan says ext4.
pub fn another_kind(on: &On) -> Result<Scene> {
    let expected = refused(Device, "cannot mount the file system of: vda1", EINVAL);
    scene(on, on.parts()?, expected, |holder| {
        let small = holder.with_extension("small");
        std::fs::write(&small, "x")?;
        Ok(filesystem::write(FileSystem::Vfat, &[("/x".into(), small)], "HOLDER", None, holder)?)
    })
}

/// No superblock.
pub fn corrupt(on: &On) -> Result<Scene> {
    let expected = refused(Device, "cannot mount the file system of: vda1", EINVAL);
    scene(on, on.parts()?, expected, |holder| {
        let mut bytes = std::fs::read(holder)?;
        bytes[1024..2048].fill(0);
        Ok(std::fs::write(holder, bytes)?)
    })
}

/// The board lost power while its file system was written to: the journal is not replayed, and not a byte of the disk changes.
pub fn dirty_journal(on: &On) -> Result<Scene> {
    untouched(on, "feature needs_recovery\n")
}

/// Files that were open when power was lost: not even they are cleaned up.
pub fn orphans(on: &On) -> Result<Scene> {
    untouched(on, "write /dev/null orphan\nset_super_value last_orphan 13\n")
}

fn untouched(on: &On, commands: &str) -> Result<Scene> {
    let parts = on.parts()?;
    let mut scene = scene(on, parts, Expected::Boots, |holder| debugfs(holder, commands))?;
    let Disk::File(path) = scene.disk.clone() else { return Err("no disk".into()) };
    let before = std::fs::read(&path)?;
    scene.change = Some(Box::new(|boot| boot.writable = true));
    Ok(scene.and(move |_| equal("the disk is as it was", &(std::fs::read(&path)? == before), &true)))
}

/// The file system is whole and empty.
pub fn no_file(on: &On) -> Result<Scene> {
    let expected = refused(Device, format!("cannot open: {FILE_PATH}"), ENOENT);
    scene(on, on.parts()?, expected, |holder| debugfs(holder, &format!("rm {NAME}\n")))
}

/// A folder has no end to seek to.
pub fn folder(on: &On) -> Result<Scene> {
    let expected = refused(Mount, "cannot read the image", crate::case::ANY_ERRNO);
    scene(on, on.parts()?, expected, |holder| debugfs(holder, &format!("rm {NAME}\nmkdir {NAME}\n")))
}

/// A link to the file, as a bootloader's menu makes them.
pub fn link(on: &On) -> Result<Scene> {
    scene(on, on.parts()?, Expected::Boots, |holder| {
        debugfs(holder, &format!("ln {NAME} boot/real\nunlink {NAME}\nsymlink {NAME} /boot/real\n"))
    })
}

/// A link that would lead out of the file system ends inside it.
pub fn link_out(on: &On) -> Result<Scene> {
    let expected = refused(Device, format!("cannot open: {FILE_PATH}"), ENOENT);
    scene(on, on.parts()?, expected, |holder| debugfs(holder, &format!("rm {NAME}\nsymlink {NAME} ../../../../plan\n")))
}

/// The kernel does not know the file system.
pub fn no_module(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    change_slot(&mut parts, |slot| {
        if let Source::File { holder: Holder { kind, .. }, .. } = &mut slot.source {
            *kind = "minixfs";
        }
    })?;
    Ok(Scene::new(on, parts, refused(Device, "cannot mount the file system of: vda1", ENODEV)))
}

/// No such partition.
pub fn never(on: &On) -> Result<Scene> {
    let parts = on.parts()?;
    let mut scene = Scene::new(on, parts, refused(Device, "device did not appear: PARTNAME=initoverlayfs", 110));
    scene.disk = Disk::None;
    Ok(scene)
}

/// dm-verity over a loop device over the file.
pub fn root_hash(on: &On) -> Result<Scene> {
    let mut made = verified_content(on, &content::guest(&on.kernel)?, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread").and(crate::verity::read_whole))
}

/// The same with another root hash.
pub fn wrong_root_hash(on: &On) -> Result<Scene> {
    let mut made = verified_content(on, &content::guest(&on.kernel)?, 0)?;
    made.want_root_hash([7; 32])?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image does not match its root hash", EIO)))
}

/// The plan knows the file's digest, and the file system does not hold it against anything.
pub fn no_fs_verity(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    // Outlives whatever lifetime a slot has.
    let digest: &'static [u8] = imagegen::verity::digest(&parts.erofs)?.to_vec().leak();
    change_slot(&mut parts, |slot| slot.image = Image::Digest(digest))?;
    Ok(Scene::new(on, parts, refused(Verity, "cannot measure the file by fs-verity", crate::case::ANY_ERRNO)))
}
