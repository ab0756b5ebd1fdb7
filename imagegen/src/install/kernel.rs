//! `imagegen install` for a kernel of this system: from the initramfs that the distribution's tool has just built, into /boot.
//!
//! The classic initramfs and its boot entry are not touched: they are the way back. Nothing in /boot changes before everything
//! is built and fits. Then the image goes there under a name of its own, and the mini-initramfs, whose name stays, is replaced
//! in one step: it decides which image boots. What is no longer needed is removed last. What lies there is kept in a list, so
//! that a power cut leaves nothing behind that the next run or the kernel's removal does not find.

mod entry;
mod list;
mod room;
mod system;

use super::StagedFile;
use crate::board::{self, Board, FilePath, ImageName, Mode, Source};
use crate::build::{self, BUILD_DIGITS, Names, program};
use crate::copy::copy;
use crate::manifest::{self, Manifest};
use crate::progress::Progress;
use crate::{Error, Result, convert, new};
use list::List;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use system::System;

/// What to install for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where the system lies: `/`, or the folder of one that does not run.
    pub root: PathBuf,
    /// Folder that the bootloader reads, in the system.
    pub boot: Option<PathBuf>,
    /// The kernel's release; absent: the running one's.
    pub release: Option<String>,
    /// Board: a name or a path; absent: the system's.
    pub board: Option<String>,
    /// The classic initramfs; absent: where the distribution puts it.
    pub initramfs: Option<PathBuf>,
    /// What the rescue image is made of, for a board with a slot that holds it; absent: the same.
    pub rescue: Option<PathBuf>,
    /// Bootstrap program, or folder of them.
    pub bootstrap: Option<PathBuf>,
    /// Do nothing for a system without a board.
    pub if_configured: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The system has no board.
    NotConfigured,
    /// Everything is there already.
    Current,
    /// These files are there now, with their bytes.
    Installed(Vec<(PathBuf, u64)>),
}

/// Installs for one kernel. Each of `notes` is a line for whoever installs.
///
/// # Errors
/// Bad input if the system lacks what an image is made of, or the board asks for places that are not below its boot folder;
/// failed work if there is no room, or something fails. What boots is what booted before then.
pub fn add(request: &Request, notes: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let system = System::new(request)?;
    let Some((board_path, converted)) = board(&system, request, notes)? else { return Ok(Outcome::NotConfigured) };
    let boot_folder = system.boot()?;
    let _lock = List::lock(&system)?;
    let initramfs = system.initramfs(request.initramfs.as_deref())?;
    let modules = system.modules()?;
    let mut board = board::load(&board_path.to_string_lossy())?;
    if board.mode == Mode::Service {
        let what = format!("board {}: mode service has no mini-initramfs to install", board.name);
        return Err(Error::bad_input(what, "imagegen build, then dracut --add initoverlayfs"));
    }
    let id = identity(&board, &initramfs, request, &modules)?;
    board.fill(&|| Ok(system.release.clone()), &|| id.clone())?;
    let job = Job { system: &system, targets: targets(&system, &board, &boot_folder)?, id, boot: boot_folder };
    let known = List::read(&system)?;
    if known.as_ref().is_some_and(|list| list.holds(&system, &job.id)) {
        return Ok(Outcome::Current);
    }
    let work = system.state_folder().join("work");
    clear(&work)?;
    let request = build::Request {
        board: board_path.to_string_lossy().into_owned(),
        rescue: job.needs_rescue().then(|| request.rescue.clone().unwrap_or_else(|| initramfs.clone())),
        from: initramfs,
        modules: Some(modules),
        profile: None,
        record: false,
        image: None,
        bootstrap: request.bootstrap.clone(),
        kernel: None,
        bootloader: crate::bootloader::Inputs::default(),
    };
    let names = Names { release: Some(system.release.clone()), build: Some(job.id.clone()) };
    let manifest = build::run_as(&request, &names, &work)?;
    let installed = job.publish(&work, &manifest, known.as_ref(), notes);
    // What stays of it the next run removes first.
    let cleared = clear(&work);
    let installed = installed?;
    cleared?;
    if let Some(text) = converted {
        let own = system.own_board();
        own.parent().map_or(Ok(()), fs::create_dir_all).map_err(Error::io("make a folder for", &own))?;
        new::write(&own, &text, false)?;
        delete(&board_path)?;
    }
    Ok(Outcome::Installed(installed))
}

/// Removes what was installed for one kernel; returns the files.
///
/// # Errors
/// Bad input if the list of them is damaged; failed work if one cannot be removed.
pub fn remove(request: &Request) -> Result<Vec<PathBuf>> {
    let system = System::new(request)?;
    if !system.state_folder().exists() {
        return Ok(Vec::new());
    }
    let _lock = List::lock(&system)?;
    let Some(list) = List::read(&system)? else { return Ok(Vec::new()) };
    let mut removed = Vec::new();
    // The last one published decides what boots: it goes first.
    for path in list.files(&system).into_iter().rev() {
        if delete(&path)? {
            removed.push(path);
        }
    }
    list.remove(&system)?;
    Ok(removed)
}

/// Removes a file and what a power cut may have left of its successor; whether it was there.
fn delete(path: &Path) -> Result<bool> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    };
    StagedFile::temporary(path).map_or(Ok(false), |path| remove(&path))?;
    remove(path)
}

/// Removes the folder of a build, also half of one: the lock says that nobody uses it.
fn clear(work: &Path) -> Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", work)(error)),
        _ => Ok(()),
    }
}

/// The board's file, and its text if it was converted from the original's configuration and is yet to be written.
fn board(system: &System, request: &Request, notes: &mut dyn FnMut(&str)) -> Result<Option<(PathBuf, Option<String>)>> {
    let own = system.own_board();
    if let Some(board) = &request.board {
        return Ok(Some((board::file(board)?, None)));
    }
    if own.exists() {
        return Ok(Some((own, None)));
    }
    if request.if_configured {
        return Ok(None);
    }
    let conf = system.at(convert::CONF);
    if !conf.exists() {
        let what = format!("no board: neither {} nor {} is there", own.display(), conf.display());
        let hint = format!(
            "imagegen new {} --architecture \"$(uname -m)\" --source file --uuid \"$(findmnt -no UUID /boot)\" --filesystem \"$(findmnt -no FSTYPE /boot)\" --file '{}'",
            own.display(),
            new::FILE
        );
        return Err(Error::bad_input(what, hint));
    }
    let converted = convert::file(&conf, convert::NAME, convert::host_architecture()?)?;
    converted.notes.iter().for_each(|note| notes(&format!("{}: {note}", conf.display())));
    let text = converted.draft.text();
    // Tried from where the build finds it; beside the system's board only once it has made an image.
    let folder = system.state_folder();
    fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    let path = folder.join("converted.toml");
    new::write(&path, &text, true)?;
    Ok(Some((path, Some(text))))
}

/// What tells this build from others: digits of all that an image is made of.
fn identity(board: &Board, initramfs: &Path, request: &Request, modules: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(program::read(request.bootstrap.as_deref(), board, false)?);
    // Not every content needs it; one that does fails without it later.
    hash.update(program::read_run_init(request.bootstrap.as_deref(), board.architecture).unwrap_or_default());
    let indexes = ["modules.dep", "modules.builtin"].map(|name| modules.join(name));
    let indexes = indexes.iter().filter(|path| path.exists()).map(PathBuf::as_path);
    let files = board.files.iter().map(PathBuf::as_path).chain([initramfs]).chain(request.rescue.as_deref());
    for path in files.chain(indexes) {
        let (bytes, sha256) = manifest::digest_file(path)?;
        hash.update(bytes.to_le_bytes());
        hash.update(sha256);
    }
    Ok(manifest::hex(&hash.finalize()).chars().take(BUILD_DIGITS).collect())
}

/// Where the images go: the place of each slot that is a file, in the running system's eyes.
fn targets(system: &System, board: &Board, boot: &Path) -> Result<Vec<(ImageName, PathBuf)>> {
    let mount = system.mount_point(boot)?;
    let mut targets = Vec::new();
    for slot in &board.slots {
        let path = match &slot.source {
            Source::File { path: FilePath::At(path), .. } => mount.join(path.trim_start_matches('/')),
            Source::Initramfs => continue,
            _ => {
                let what = format!("board {}: slot {} is no file in {}", board.name, slot.name, boot.display());
                return Err(Error::bad_input(
                    what,
                    "give it source = \"file\" or \"initramfs\"; to a partition: imagegen install IMAGE --to PARTITION",
                ));
            }
        };
        if !path.starts_with(boot) || path == boot {
            let what = format!(
                "board {}: slot {} lies at {}, not in {}",
                board.name,
                slot.name,
                path.display(),
                boot.display()
            );
            let prefix = boot.strip_prefix(&mount).unwrap_or(Path::new(""));
            let hint = format!(
                "slot.file is a path in the file system that is mounted at {}: it begins with {}",
                mount.display(),
                Path::new("/").join(prefix).display()
            );
            return Err(Error::bad_input(what, hint));
        }
        targets.push((slot.image, path));
    }
    Ok(targets)
}

/// An installation whose parts are known.
struct Job<'a> {
    system: &'a System,
    targets: Vec<(ImageName, PathBuf)>,
    id: String,
    boot: PathBuf,
}

impl Job<'_> {
    fn needs_rescue(&self) -> bool {
        self.targets.iter().any(|(image, _)| *image == ImageName::Rescue)
    }

    /// Where the mini-initramfs goes: what a boot entry names.
    fn initramfs(&self) -> PathBuf {
        self.boot.join(format!("initoverlayfs-{}.img", self.system.release))
    }

    /// What goes where: the images, then what decides that they boot, with its file in the folder of the build.
    fn files(&self) -> Vec<(PathBuf, &'static str)> {
        let name = |image: &ImageName| if *image == ImageName::Main { manifest::EROFS } else { manifest::RESCUE };
        let images = self.targets.iter().map(|(image, target)| (target.clone(), name(image)));
        images.chain([(self.initramfs(), manifest::INITRAMFS)]).collect()
    }

    /// Puts what lies in `work` where it boots. Returns the files and their bytes.
    fn publish(
        &self,
        work: &Path,
        manifest: &Manifest,
        known: Option<&List>,
        notes: &mut dyn FnMut(&str),
    ) -> Result<Vec<(PathBuf, u64)>> {
        let entries = entry::entries(self.system, &self.boot, &self.initramfs())?;
        let files = self.files();
        let bytes = |name: &str| manifest.outputs.get(name).map_or(0, |output| output.bytes);
        let mut installed: Vec<(PathBuf, u64)> = files.iter().map(|(path, name)| (path.clone(), bytes(name))).collect();
        installed.extend(entries.iter().map(|entry| (entry.path.clone(), entry.text.len() as u64)));
        room::check(&self.boot, &installed.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>())?;

        let paths: Vec<PathBuf> = installed.iter().map(|(path, _)| path.clone()).collect();
        let old = known.map(|list| list.files(self.system)).unwrap_or_default();
        let wanted = List::new(self.system, &self.id, &paths);
        // From here on there is something in the boot folder that somebody has to know of.
        wanted.and(known).write(self.system, false)?;
        for (target, name) in &files {
            put(&work.join(name), bytes(name), target).inspect_err(|_| {
                // The mini-initramfs is the last of them: the one that was there boots what was there.
                let new = paths.iter().filter(|path| !old.contains(path));
                // The failure is reported as it is; what stays is in the list.
                let gone = new.map(|path| delete(path)).collect::<Result<Vec<_>>>();
                let _ = gone.and_then(|_| match known {
                    Some(list) => list.restore(self.system),
                    None => wanted.remove(self.system),
                });
            })?;
        }
        for entry in &entries {
            entry.write()?;
        }
        wanted.write(self.system, true)?;
        for path in old.iter().filter(|path| !paths.contains(path)) {
            delete(path)?;
        }
        entry::advise(self.system, &self.boot, &entries, known.is_none(), notes);
        Ok(installed)
    }
}

/// Copies a file to `target`, which is replaced as a whole.
fn put(source: &Path, bytes: u64, target: &Path) -> Result<()> {
    let from = File::open(source).map_err(Error::io("open", source))?;
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let staged = StagedFile::beside(target)?;
    let progress = Progress::start("installing", Some(bytes));
    copy(&from, bytes, staged.file(), &[], &mut |done| progress.set(done)).map_err(Error::io("write", target))?;
    staged.publish()
}
