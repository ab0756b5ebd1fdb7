//! `imagegen ostree`: puts kernel, mini-initramfs and image where `ostree admin deploy` takes a kernel from, so that a deployment
//! brings its own image: into a tree that is then committed or made a container image, or into a commit.
//!
//! Where that is: `get_kernel_from_tree_usrlib_modules()` in src/libostree/ostree-sysroot-deploy.c (ostree 2022.7 to 2026): the first
//! folder of `usr/lib/modules` with a regular file `vmlinuz`, in it `initramfs.img`. Both are linked or copied, mode and all, to
//! `/boot/ostree/NAME-CHECKSUM/`; all else stays in the deployment, where `bootstrap` finds the image.

mod commit;

use crate::atomic::StagedFile;
use crate::copy::{self, copy};
use crate::manifest::{self, Manifest};
use crate::tree::NodeKind;
use crate::{Error, Result, input, verify};
use bootstrap::plan::{self, FilePath, Source};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The folder of kernels, from the root of a tree.
const MODULES: &str = "usr/lib/modules";
/// The kernel's name there.
const VMLINUZ: &str = "vmlinuz";
/// Longest release that a kernel has (`__NEW_UTS_LEN`, include/uapi/linux/utsname.h).
const MAX_RELEASE_BYTES: usize = 64;

/// What to put where.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder that `build` made.
    pub folder: PathBuf,
    /// Release of the kernel; the one that is there if absent.
    pub release: Option<String>,
    /// Where to.
    pub target: Target,
}

/// Where to.
#[derive(Clone, Debug)]
pub enum Target {
    /// Into a root file system in a folder.
    Tree(PathBuf),
    /// Into a new commit.
    Commit(Commit),
}

/// A commit to make.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The repository.
    pub repo: PathBuf,
    /// The branch that gets it.
    pub branch: String,
    /// The commit or ref that it changes; the branch's last if absent.
    pub base: Option<String>,
    /// Further arguments of `ostree commit`.
    pub arguments: Vec<OsString>,
}

/// A file of the folder, and its name beside the kernel.
#[derive(Clone, Debug)]
struct Piece {
    path: PathBuf,
    name: &'static str,
    bytes: u64,
}

/// A folder of `usr/lib/modules`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    release: String,
    has_kernel: bool,
}

/// Puts them there; returns what was done, a line each.
///
/// # Errors
/// Bad input if the folder is for another source, or it is not clear which kernel it is for; failed work if a file is not what the
/// manifest says, or cannot be written.
pub fn run(request: &Request) -> Result<String> {
    let pieces = pieces(&request.folder)?;
    check_plan(&request.folder)?;
    let kernel = pieces.iter().find(|piece| piece.name == VMLINUZ);
    let (has_kernel, banner) = (kernel.is_some(), kernel.map(banner).transpose()?.flatten());
    let choose = |found: &[Found]| -> Result<String> {
        let release = choose(found, request.release.as_deref(), has_kernel)?;
        match &banner {
            Some(banner) if *banner != release => Err(another(banner, &release)),
            _ => Ok(release),
        }
    };
    match &request.target {
        Target::Tree(root) => {
            let place = inside(root, "")?;
            let release = choose(&list(&place)?)?;
            let written = write(&pieces, &inside(root, &release)?)?;
            Ok(written.iter().map(|(bytes, path)| format!("{bytes:>12} {}\n", path.display())).collect())
        }
        Target::Commit(commit) => {
            let release = choose(&commit.list()?)?;
            Ok(format!("commit {}\n", commit.make(&pieces, &format!("{MODULES}/{release}"))?))
        }
    }
}

/// The release that an uncompressed kernel says (`linux_banner`, init/version.c); none of a compressed one.
fn banner(kernel: &Piece) -> Result<Option<String>> {
    const START: &[u8] = b"Linux version ";
    let bytes = fs::read(&kernel.path).map_err(Error::io("read", &kernel.path))?;
    let banners = bytes.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    let release = |at: usize| {
        let word = bytes.get(at + START.len()..)?.split(|byte| *byte == b' ').next()?;
        let is_release = word.first().is_some_and(u8::is_ascii_digit) && word.len() <= MAX_RELEASE_BYTES;
        std::str::from_utf8(word).ok().filter(|_| is_release).map(str::to_owned)
    };
    Ok(banners.into_iter().find_map(|(at, _)| release(at)))
}

/// The target looks for its image in the folder of the release that runs.
fn another(banner: &str, release: &str) -> Error {
    Error::bad_input(
        format!("the kernel that was built says that it is {banner}, and {MODULES}/{release} is of another"),
        format!("give --release {banner} and the modules of that kernel, or build with the kernel of {release}"),
    )
}

/// What the folder has for a deployment, each held against the manifest.
fn pieces(folder: &Path) -> Result<Vec<Piece>> {
    let manifest: Manifest = manifest::read(folder)?;
    let mut pieces = Vec::new();
    for (name, to) in
        [(manifest::KERNEL, VMLINUZ), (manifest::EROFS, manifest::EROFS), (manifest::INITRAMFS, manifest::INITRAMFS)]
    {
        let Some(output) = manifest.outputs.get(name) else { continue };
        verify::check_output(folder, &manifest, name)?;
        pieces.push(Piece { path: folder.join(name), name: to, bytes: output.bytes });
    }
    Ok(pieces)
}

/// Refuses a mini-initramfs whose plan looks for its image elsewhere.
fn check_plan(folder: &Path) -> Result<()> {
    let spool = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let path = folder.join(manifest::INITRAMFS);
    let tree = input::read(&path, spool.path(), &mut |_| ())?;
    let again = "build the folder again with this version of imagegen";
    let Some(NodeKind::File(content)) = tree.node(plan::PATH).map(|node| &node.kind) else {
        return Err(Error::bad_input(format!("{}: no plan in it", path.display()), again));
    };
    let sealed = tree.content_path(content);
    let bytes = fs::read(&sealed).map_err(Error::io("read", &sealed))?;
    let plan =
        plan::open(&bytes).map_err(|error| Error::bad_input(format!("{}: plan: {error}", path.display()), again))?;
    let is_deployed = |source| matches!(source, Source::File { path: FilePath::Ostree, .. });
    if plan.slots.into_iter().any(|slot| is_deployed(slot.source)) {
        return Ok(());
    }
    let what = format!("board {}: no slot takes its image from an OSTree deployment", plan.board);
    Err(Error::bad_input(what, "give the board a slot with source = \"ostree\", and build again"))
}

/// A release's folder in the tree `root`, or the folder of all of them: no link may lead out of the tree.
fn inside(root: &Path, release: &str) -> Result<PathBuf> {
    if !input::is_directory(root)? {
        return Err(Error::bad_input(format!("{} is no folder", root.display()), "give the root of a file tree"));
    }
    let place = root.join(MODULES).join(release);
    if input::is_inside(&place, root) {
        return Ok(place);
    }
    let what = format!("{} leads out of {}", place.display(), root.display());
    Err(Error::bad_input(what, "make it a folder of the tree, or a relative link"))
}

/// The folders in the folder of kernels; none if it is missing.
fn list(place: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    if !place.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(place).map_err(Error::io("list", place))? {
        let entry = entry.map_err(Error::io("list", place))?;
        let is_folder = entry.file_type().map_err(Error::io("read", place))?.is_dir();
        // A release has no other bytes.
        if let (true, Ok(release)) = (is_folder, entry.file_name().into_string()) {
            found.push(Found { release, has_kernel: entry.path().join(VMLINUZ).is_file() });
        }
    }
    found.sort_by(|one, other| one.release.cmp(&other.release));
    Ok(found)
}

/// The release to put them to: the one that is asked for, or else the one that there is.
fn choose(found: &[Found], wanted: Option<&str>, brings_kernel: bool) -> Result<String> {
    let found: Vec<&Found> = found.iter().collect();
    let with_kernel: Vec<&Found> = found.iter().copied().filter(|found| found.has_kernel).collect();
    let names = |found: &[&Found]| found.iter().map(|found| found.release.as_str()).collect::<Vec<_>>().join(", ");
    let release = match (wanted, with_kernel.as_slice(), found.as_slice()) {
        (Some(wanted), ..) => wanted,
        (None, [only], _) | (None, [], [only]) => only.release.as_str(),
        (None, [], []) => {
            let what = format!("{MODULES} has no folder of a kernel's release");
            return Err(Error::bad_input(what, "give --release, as `uname -r` says it on the machine"));
        }
        (None, several, all) => {
            let what = format!(
                "{MODULES} has more than one release: {}",
                names(if several.is_empty() { all } else { several })
            );
            return Err(Error::bad_input(what, "give --release, and leave one kernel in the tree"));
        }
    };
    let is_name = !release.is_empty() && release.len() <= MAX_RELEASE_BYTES && !matches!(release, "." | "..");
    if !is_name || release.contains(['/', '\0']) {
        return Err(Error::bad_input(format!("{release:?} is no kernel's release"), "give what `uname -r` says"));
    }
    let others: Vec<&Found> = with_kernel.into_iter().filter(|found| found.release != release).collect();
    if !others.is_empty() {
        let what =
            format!("{MODULES} has a kernel of {} too, and ostree deploys the first that it finds", names(&others));
        return Err(Error::bad_input(what, "remove all kernels but the one to boot"));
    }
    if !brings_kernel && !found.iter().any(|found| found.has_kernel) {
        let what = format!("no kernel: {MODULES}/{release}/{VMLINUZ} is missing");
        return Err(Error::bad_input(what, "put it there, or give --kernel FILE to `imagegen build`"));
    }
    Ok(release.to_owned())
}

/// Writes all of them beside their places, then puts them there; returns bytes and path of each.
fn write(pieces: &[Piece], place: &Path) -> Result<Vec<(u64, PathBuf)>> {
    fs::create_dir_all(place).map_err(Error::io("make", place))?;
    let mut staged = Vec::new();
    for piece in pieces {
        let to = place.join(piece.name);
        if to.is_symlink() {
            let what = format!("{} is a link", to.display());
            return Err(Error::bad_input(what, "remove it: ostree takes regular files alone"));
        }
        let file = StagedFile::beside(&to)?;
        let from = File::open(&piece.path).map_err(Error::io("open", &piece.path))?;
        copy(&from, piece.bytes, file.file(), &[], &mut |_| ()).map_err(copy::failed(&piece.path, &to))?;
        staged.push((file, piece.bytes, to));
    }
    let mut written = Vec::new();
    for (file, bytes, to) in staged {
        file.publish()?;
        written.push((bytes, to));
    }
    Ok(written)
}

/// The releases in a list of paths, as `ostree ls` prints it, that name folders of `usr/lib/modules` and files in them.
fn releases(paths: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for path in paths.split(|byte| *byte == 0) {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let Ok(below) = path.strip_prefix("/").unwrap_or(path).strip_prefix(MODULES) else { continue };
        let mut names = below.iter();
        let (Some(Some(release)), name) = (names.next().map(std::ffi::OsStr::to_str), names.next()) else { continue };
        if !found.iter().any(|found| found.release == release) {
            found.push(Found { release: release.to_owned(), has_kernel: false });
        }
        for found in found.iter_mut().filter(|found| found.release == release) {
            found.has_kernel |= name == Some(VMLINUZ.as_ref());
        }
    }
    found
}

#[cfg(test)]
mod tests;
