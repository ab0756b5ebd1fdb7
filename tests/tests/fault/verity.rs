//! Images that are verified: what is wrong with them is refused before the next init runs, or never read.

use crate::case::{ANY_ERRNO, Expected, On, Scene, refused};
use bootstrap::Step::{Device, Modules, Verity};
use bootstrap::plan::{self, Handover, Image, List, MAX_BYTES, Slot};
use bootstrap::trailer::BLOCK_BYTES;
use imagegen::verity::{self, Options, Summary};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::boot::Outcome;
use tests::cpio::Entry;
use tests::image::{PLAN, Parts, make};
use tests::kernel::Kernel;
use tests::place::file_system;
use tests::{Result, content, equal};

const EIO: u32 = 5;
const EINVAL: u32 = 22;
const EBADMSG: u32 = 74;
const ENOKEY: u32 = 126;
const EKEYEXPIRED: u32 = 127;
const EKEYREJECTED: u32 = 129;
/// The version of every image here.
const VERSION: u32 = 7;
/// Room for a block in numbers of the host.
const BLOCK: usize = BLOCK_BYTES;

/// An image with its hash tree on a partition, and a plan that wants it verified.
pub struct Verified {
    pub parts: Parts,
    pub summary: Summary,
}

fn verified(on: &On, fec_roots: u32) -> Result<Verified> {
    verified_content(on, &content::guest(&on.kernel)?, fec_roots)
}

pub fn verified_content(on: &On, content: &[Entry], fec_roots: u32) -> Result<Verified> {
    let mut spec = on.spec();
    spec.full = true;
    let mut modules = vec!["dm_mod", "dm_verity", "erofs", "overlay"];
    modules.extend(on.place.modules(&on.kernel));
    modules.extend(on.place.holder().into_iter().flat_map(|kind| file_system(kind, &on.kernel)));
    // Built in since Linux 6.16.
    if on.kernel.name != "arm64-7" {
        modules.push("sha256_generic");
    }
    spec.modules = Some(content::modules(&on.kernel, &modules)?);
    let parts = make(&on.kernel, content, &spec)?;
    verity::set_version(&parts.erofs, VERSION)?;
    let summary = verity::append(&parts.erofs, &Options { fec_roots })?;
    Ok(Verified { parts, summary })
}

impl Verified {
    /// Seals the plan that wants `image` in its only slot.
    fn want(&mut self, image: Image<'_>) -> Result<()> {
        let bytes = self.parts.member(PLAN)?;
        let mut plan = plan::open(&bytes)?;
        let mut buffer = vec![0; MAX_BYTES];
        plan.slots = List::encode(plan.slots.into_iter().map(|slot| Slot { image, ..slot }), &mut buffer)?;
        self.parts.set_plan(&plan)
    }

    pub fn want_root_hash(&mut self, root_hash: [u8; 32]) -> Result<()> {
        let summary = Summary { root_hash, ..self.summary.clone() };
        let parameters = summary.parameters(&[]);
        self.want(Image::RootHash { bytes: summary.data_bytes, parameters: &parameters })
    }

    /// Flips a bit of the image's file.
    fn flip(&self, at: u64) -> Result<()> {
        self.change(|bytes| bytes[usize::try_from(at).unwrap_or_default()] ^= 1)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut bytes = std::fs::read(&self.parts.erofs)?;
        change(&mut bytes);
        Ok(std::fs::write(&self.parts.erofs, bytes)?)
    }
}

/// What the plan's root hash vouches for, whole or corrected.
pub fn whole(on: &On, fec_roots: u32) -> Result<Scene> {
    let mut made = verified(on, fec_roots)?;
    made.want_root_hash(made.summary.root_hash)?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread").and(read_whole))
}

/// The content goes on to another root: the verified device goes with the image.
pub fn left(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let bytes = made.parts.member(PLAN)?;
    // A console that lies in the image would keep it.
    made.parts.set_plan(&plan::Plan { handover: Handover::Mounted, ..plan::open(&bytes)? })?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=leave").and(Outcome::left))
}

/// The guest could read every file.
pub fn read_whole(outcome: &Outcome) -> Result<()> {
    equal("files that cannot be read", &unreadable(outcome)?, &Vec::new())
}

/// The files whose content could not be read: lines of the report with a size and without a CRC.
pub fn unreadable(outcome: &Outcome) -> Result<Vec<String>> {
    let lines = outcome.reported()?.lines("content").iter();
    let paths = lines.filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [mode, _, _, size, "00000000", path] if mode.starts_with("100") && size != "0" => Some(path.to_owned()),
        _ => None,
    });
    Ok(paths.collect())
}

/// Another root hash than the image's.
pub fn wrong_root_hash(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    let mut wrong = made.summary.root_hash;
    wrong[31] ^= 1;
    made.want_root_hash(wrong)?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image does not match its root hash", EIO)))
}

/// One bit of the first block, of the tree's top, or of the salt.
pub fn flipped(on: &On, at: impl FnOnce(&Summary) -> u64) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    made.flip(at(&made.summary))?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image does not match its root hash", EIO)))
}

/// The same with error correction: nothing is lost.
pub fn corrected(on: &On) -> Result<Scene> {
    let mut made = verified(on, 2)?;
    made.want_root_hash(made.summary.root_hash)?;
    made.flip(1024)?;
    made.flip(made.summary.data_bytes - 2000)?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread").and(read_whole))
}

/// A bit of a file: the boot goes on, and the file cannot be read.
pub fn flipped_in_a_file(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let bytes = std::fs::read(&made.parts.erofs)?;
    // Of usr/bin/large, whose words count upwards.
    let words: Vec<u8> = (24_000..24_016_u32).flat_map(u32::to_le_bytes).collect();
    let found = bytes.windows(words.len()).position(|window| window == words).ok_or("large is not in the image")?;
    made.flip(found as u64)?;
    let scene = Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread");
    Ok(scene
        .and(|outcome| equal("files that cannot be read", &unreadable(outcome)?, &vec!["/usr/bin/large".to_owned()])))
}

/// A bit of a leaf of the hash tree: what hangs on it cannot be read.
pub fn flipped_leaf(on: &On) -> Result<Scene> {
    let mut content = content::guest(&on.kernel)?;
    let words: Vec<u8> = (100_000..600_000_u32).flat_map(u32::to_le_bytes).collect();
    content.push(Entry::file("usr/bin/larger", 0o644, words));
    let mut made = verified_content(on, &content, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    // A word three quarters into the file, far from the image's first blocks. The tree has two levels: the top, then the leaves.
    let word: Vec<u8> = (475_000..475_016_u32).flat_map(u32::to_le_bytes).collect();
    let bytes = std::fs::read(&made.parts.erofs)?;
    let at = bytes.windows(word.len()).position(|window| window == word).ok_or("larger is not in the image")?;
    let leaf = at as u64 / BLOCK as u64 / 128;
    made.flip((made.summary.hash_start + 1 + leaf) * BLOCK as u64)?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread").and(|outcome| {
        let lost = unreadable(outcome)?;
        equal("/usr/bin/larger is lost", &lost.iter().any(|path| path == "/usr/bin/larger"), &true)
    }))
}

/// The tree is not there: the partition ends with the image.
pub fn without_a_tree(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let end = usize::try_from(made.summary.data_bytes)?;
    made.change(|bytes| bytes.truncate(end))?;
    Ok(Scene::new(on, made.parts, refused(Verity, "", ANY_ERRNO)))
}

/// The tree is zeros.
pub fn zeroed_tree(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let start = usize::try_from(made.summary.hash_start)? * BLOCK;
    made.change(|bytes| bytes[start..].fill(0))?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image does not match its root hash", EIO)))
}

/// Parameters that no kernel takes.
pub fn bad_parameters(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    let bytes = made.summary.data_bytes;
    made.want(Image::RootHash { bytes, parameters: "1 @ @ 4096 4096 rubbish" })?;
    Ok(Scene::new(on, made.parts, refused(Verity, "cannot set up dm-verity", EINVAL)))
}

/// No dm-verity: never booted without.
pub fn no_module(on: &On, absent: &str) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    made.parts.remove(&format!("modules/{absent}.ko"));
    Ok(Scene::new(on, made.parts, refused(Modules, format!("cannot load module: /modules/{absent}.ko"), 2)))
}

/// The plan does not load it.
pub fn module_not_in_the_plan(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let bytes = made.parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    let mut buffer = vec![0; MAX_BYTES];
    let others = plan.modules.into_iter().filter(|module| !module.path.contains("dm_verity"));
    plan.modules = List::encode(others, &mut buffer)?;
    made.parts.set_plan(&plan)?;
    Ok(Scene::new(on, made.parts, refused(Verity, "cannot set up dm-verity", EINVAL)))
}

/// The plain program gets a plan that it must not run without verification.
pub fn plain_program(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let plain = std::fs::read(tests::kernel::program("bootstrap", &on.kernel.arch)?)?;
    made.parts.entries.retain(|entry| entry.path != "init");
    made.parts.entries.insert(0, Entry::file("init", 0o755, plain));
    let cause = "plan is invalid: payload does not decode";
    Ok(Scene::new(on, made.parts, refused(bootstrap::Step::EarlyMounts, cause, EBADMSG)))
}

/// No word on the command line takes verification away.
pub fn weakened(on: &On) -> Result<Scene> {
    let scene = wrong_root_hash(on)?;
    Ok(scene.with(
        b"systemd.verity=0 dm_verity.require_signatures=0 initoverlayfs.slot=a initoverlayfs.verity=no \
        initoverlayfs.upper=reset rd.break ro rw",
    ))
}

/// A key and certificate made for this test, which no kernel knows.
fn stranger(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "36500", "-subj", "/CN=stranger"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()?;
    if made.status.success() { Ok((key, certificate)) } else { Err("openssl: run tests/setup/apt.sh test".into()) }
}

/// The key that the tuned kernel trusts; it lies beside it.
fn trusted(kernel: &Kernel) -> Result<(PathBuf, PathBuf)> {
    let folder = kernel.image.parent().ok_or("a kernel without a folder")?;
    Ok((folder.join("key.pem"), folder.join("certificate.pem")))
}

/// What dm-verity checks: a detached PKCS#7 signature of the root hash's text (drivers/md/dm-verity-verify-sig.c).
fn signature(root_hash: &[u8; 32], key: &Path, certificate: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (text, out) = (folder.path().join("text"), folder.path().join("signature"));
    std::fs::write(&text, root_hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())?;
    let mut command = Command::new("openssl");
    command.args(["smime", "-sign", "-nocerts", "-noattr", "-binary", "-outform", "der", "-in"]).arg(text);
    command.arg("-inkey").arg(key).arg("-signer").arg(certificate).arg("-out").arg(&out);
    let made = command.output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    Ok(std::fs::read(out)?)
}

/// Whose signature the image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key in the kernel's keyring.
    Trusted,
    /// Another.
    Stranger,
    /// Nobody.
    Nobody,
}

fn signed(on: &On, signer: Signer, minimum_version: u32) -> Result<Verified> {
    let mut made = verified(on, 0)?;
    let keys = match signer {
        Signer::Trusted => Some(trusted(&on.kernel)?),
        Signer::Stranger => Some(stranger(made.parts.folder.path())?),
        Signer::Nobody => None,
    };
    if let Some((key, certificate)) = keys {
        let block = made.summary.seal(&signature(&made.summary.root_hash, &key, &certificate)?)?;
        let at = usize::try_from(made.summary.data_bytes)?;
        made.change(|bytes| bytes[at..at + BLOCK].copy_from_slice(&block))?;
    }
    made.want(Image::Signed { options: "", words: 0, minimum_version })?;
    Ok(made)
}

/// Signed by a key of the kernel: the plan knows no root hash.
pub fn trusted_signature(on: &On) -> Result<Scene> {
    let made = signed(on, Signer::Trusted, VERSION)?;
    Ok(Scene::new(on, made.parts, Expected::Boots).with(b"guest=reread").and(read_whole))
}

/// Signed by nobody, or by somebody else.
pub fn untrusted_signature(on: &On, signer: Signer) -> Result<Scene> {
    let made = signed(on, signer, 0)?;
    let expected = match signer {
        Signer::Nobody => refused(Verity, "nobody signed the image", ENOKEY),
        _ => refused(Verity, "cannot set up dm-verity", 126),
    };
    Ok(Scene::new(on, made.parts, expected))
}

/// An image older than the plan takes.
pub fn expired(on: &On) -> Result<Scene> {
    let made = signed(on, Signer::Trusted, VERSION + 1)?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image version is too low: 7, at least 8", EKEYEXPIRED)))
}

/// A newer version written over the old one without a new signature.
pub fn forged_version(on: &On) -> Result<Scene> {
    let made = signed(on, Signer::Trusted, VERSION + 1)?;
    made.change(|bytes| bytes[4] = 9)?;
    Ok(Scene::new(on, made.parts, refused(Verity, "image does not match its root hash", EIO)))
}

/// The signature of one image under the root hash of another.
pub fn signature_of_another(on: &On) -> Result<Scene> {
    let made = signed(on, Signer::Trusted, 0)?;
    let trailer = usize::try_from(made.summary.data_bytes)?;
    made.change(|bytes| {
        let block: &mut [u8; BLOCK] =
            (&mut bytes[trailer..trailer + BLOCK]).try_into().unwrap_or_else(|_| unreachable!());
        let copy = *block;
        let Ok(old) = bootstrap::trailer::open(&copy) else { return };
        let mut root_hash = old.root_hash.to_vec();
        root_hash[0] ^= 1;
        block.fill(0);
        let _ = bootstrap::trailer::seal(&bootstrap::trailer::Trailer { root_hash: &root_hash, ..old }, block);
    })?;
    Ok(Scene::new(on, made.parts, refused(Verity, "cannot set up dm-verity", EKEYREJECTED)))
}

/// A trailer with a bit flipped, or none.
pub fn bad_trailer(on: &On, zeroed: bool) -> Result<Scene> {
    let made = signed(on, Signer::Stranger, 0)?;
    let start = usize::try_from(made.summary.data_bytes)?;
    made.change(|bytes| if zeroed { bytes[start..start + BLOCK].fill(0) } else { bytes[start + 30] ^= 1 })?;
    let cause = if zeroed { "trailer is invalid: wrong magic" } else { "trailer is invalid: wrong CRC-32" };
    Ok(Scene::new(on, made.parts, refused(Verity, cause, EBADMSG)))
}

/// Nothing at all behind the image.
pub fn no_trailer(on: &On) -> Result<Scene> {
    let made = signed(on, Signer::Stranger, 0)?;
    let end = usize::try_from(made.summary.data_bytes)?;
    made.change(|bytes| bytes.truncate(end))?;
    Ok(Scene::new(on, made.parts, refused(Verity, "", ANY_ERRNO)))
}

/// Not a device in sight.
pub fn no_device(on: &On) -> Result<Scene> {
    let mut made = verified(on, 0)?;
    made.want_root_hash(made.summary.root_hash)?;
    let mut scene = Scene::new(on, made.parts, refused(Device, "device did not appear", 110));
    scene.disk = crate::case::Disk::None;
    Ok(scene)
}
