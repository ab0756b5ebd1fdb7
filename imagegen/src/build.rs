//! `imagegen build`: everything is made in a folder beside the output, read back, held against the budget, and only then
//! put in the output's place.

mod images;
mod media;
pub(crate) mod program;
mod verify;

use crate::atomic::Staging;
use crate::board::{self, Board, ImageCompression, ImageName, Mode, Overlay, Slot, Source};
use crate::boot::qemu::Transport;
use crate::bootloader;
use crate::initramfs::{Body, Initramfs, MOUNT_POINTS};
use crate::manifest::{self, Machine, Manifest, Module};
use crate::plan::{self, Leaving, ResolvedPlan};
use crate::profile::{Ahead, Profile, Used};
use crate::progress::Progress;
use crate::tree::{Node, NodeKind, Tree};
use crate::{Error, Result, input, kernel, modules};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Digits that tell one build from another.
pub(crate) const BUILD_DIGITS: usize = 8;

/// What to build from.
#[derive(Clone, Debug)]
pub struct Request {
    /// Board: a name or a path.
    pub board: String,
    /// Initramfs, directory or tar.
    pub from: PathBuf,
    /// The same for the rescue image.
    pub rescue: Option<PathBuf>,
    /// Folder of kernel modules; without it everything is taken to be built in.
    pub modules: Option<PathBuf>,
    /// What a boot of it read ([`Profile`]): that is laid first, and read ahead.
    pub profile: Option<PathBuf>,
    /// Whether a boot reads nothing along, to be profiled.
    pub record: bool,
    /// How the image is written, in place of what the board says.
    pub image: Option<board::Image>,
    /// Bootstrap program; found by architecture if absent.
    pub bootstrap: Option<PathBuf>,
    /// Kernel to put beside the images.
    pub kernel: Option<PathBuf>,
    /// What else the bootloader's files are made of.
    pub bootloader: bootloader::Inputs,
}

/// Names for what the paths of images leave open.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The kernel's release; absent: that of the modules.
    pub release: Option<String>,
    /// What tells this build from others; absent: digits of the content.
    pub build: Option<String>,
}

/// Resolves the plan and writes nothing but a spool, which is removed: what `imagegen plan` prints.
///
/// # Errors
/// As the board, the input and the modules are wrong.
pub fn resolve(request: &Request) -> Result<ResolvedPlan> {
    let mut board = load(request)?;
    let spool = tempfile::tempdir().map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    let tree = read_input(&request.from, spool.path())?;
    fill(&mut board, request, &Names::default(), &tree)?;
    let rescue = read_rescue(request, spool.path())?;
    let profile = request.profile.as_deref().map(Profile::read).transpose()?;
    resolve_for(&board, &tree, rescue.as_ref(), profile.as_ref(), request)
}

/// Builds into the folder `out`, which is replaced as a whole, or stays as it is if anything fails.
///
/// # Errors
/// Bad input for whatever is wrong with the request; failed work for an exceeded budget and for what fails on the way.
pub fn run(request: &Request, out: &Path) -> Result<Manifest> {
    run_as(request, &Names::default(), out)
}

/// The same with names for what the paths of images leave open.
///
/// # Errors
/// As [`run`].
pub fn run_as(request: &Request, names: &Names, out: &Path) -> Result<Manifest> {
    let mut board = load(request)?;
    let profile = request.profile.as_deref().map(Profile::read).transpose()?;
    let bootstrap = program::read(
        request.bootstrap.as_deref(),
        &board,
        request.record || profile.is_some() && can_read_ahead(&board),
    )?;
    let sources = bootloader::find(&board, request.kernel.as_deref(), &request.bootloader)?;
    for (option, from) in [("--from", Some(&request.from)), ("--rescue", request.rescue.as_ref())] {
        if let Some(from) = from
            && input::is_directory(from)?
            && input::is_inside(out, from)
        {
            let what = format!("--out {} lies inside {option} {}", out.display(), from.display());
            return Err(Error::bad_input(what, "name a folder outside of it"));
        }
    }
    let staging = Staging::beside(out)?;
    let folder = staging.path();
    let mut tree = read_input(&request.from, folder)?;
    fill(&mut board, request, names, &tree)?;
    let mut rescue = read_rescue(request, folder)?;
    let plan = resolve_for(&board, &tree, rescue.as_ref(), profile.as_ref(), request)?;
    let mut manifest = describe(&board, &tree, &plan)?;
    manifest.rescue = rescue.as_ref().map(input_entry);
    for (leaving, tree) in plan.leaving.iter().zip([Some(&mut tree), rescue.as_mut()]) {
        replace(leaving, tree, &board, request)?;
    }
    let main = images::write(&board, ImageName::Main, &tree, Some(&plan), folder, &mut manifest)?;
    let rescued =
        rescue.as_ref().map(|tree| images::write(&board, ImageName::Rescue, tree, None, folder, &mut manifest));
    let rescued = rescued.transpose()?;
    let identities = plan.slots.iter().map(|slot| match slot.image {
        ImageName::Main => Some(&main),
        ImageName::Rescue => rescued.as_ref(),
    });
    let sealed = plan.seal(&identities.collect::<Vec<_>>())?;
    if board.mode == Mode::Service {
        write_parts(&bootstrap, &sealed, folder, &mut manifest)?;
    } else {
        check_budget(&board, &bootstrap, &sealed)?;
        write_initramfs(&board, &plan, bootstrap, sealed, main.first_bytes, folder)?;
        manifest.note_file(folder, manifest::INITRAMFS)?;
    }
    if board.qemu.is_some() {
        media::write_disk(&board, request, main.uuid, folder, &mut manifest)?;
    }
    media::write_memory(&board, folder, &mut manifest)?;
    if let Some(kernel) = &request.kernel {
        let to = folder.join(manifest::KERNEL);
        std::fs::copy(kernel, to).map_err(Error::io("copy", kernel))?;
        manifest.note_file(folder, manifest::KERNEL)?;
    }
    bootloader::write(&board, &sources, folder, &mut manifest)?;
    manifest.write(folder)?;
    // The spools lie in the folder that is about to be published.
    drop((tree, rescue));
    staging.publish()?;
    Ok(manifest)
}

fn load(request: &Request) -> Result<Board> {
    let mut board = board::load(&request.board)?;
    board.image = request.image.unwrap_or(board.image);
    Ok(board)
}

/// Puts ours in the place of what would not leave the overlay. Behind the manifest's digest of the input, which is another's.
fn replace(leaving: &Leaving, tree: Option<&mut Tree>, board: &Board, request: &Request) -> Result<()> {
    let Some(tree) = tree.filter(|_| !leaving.replaced.is_empty()) else { return Ok(()) };
    let program = program::read_run_init(request.bootstrap.as_deref(), board.architecture)?;
    for path in &leaving.replaced {
        log::info!("{path} of the content is replaced: it would not leave an overlay for the final root");
        tree.put_program(path, &program)?;
    }
    Ok(())
}

/// Fills in what the board's paths leave open: by name, else with the release of the kernel whose modules are given, and digits
/// of the content.
fn fill(board: &mut Board, request: &Request, names: &Names, tree: &Tree) -> Result<()> {
    let name = board.name.clone();
    let release = || match (&names.release, &request.modules) {
        (Some(release), _) => Ok(release.clone()),
        (None, Some(modules)) => modules::release(modules),
        (None, None) => {
            let what = format!("board {name}: slot.file asks for the kernel's release");
            Err(Error::bad_input(what, "give --modules .../lib/modules/RELEASE"))
        }
    };
    let content = || manifest::hex(&tree.digest()).chars().take(BUILD_DIGITS).collect();
    board.fill(&release, &|| names.build.clone().unwrap_or_else(content))
}

fn read_input(from: &Path, spool_parent: &Path) -> Result<Tree> {
    let total = std::fs::metadata(from).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let progress = Progress::start("reading", total);
    let tree = input::read(from, spool_parent, &mut |bytes| progress.set(bytes))?;
    // Where it has taken the place of what it was made from: beside a kernel, for OSTree or another bootloader.
    if tree.node(bootstrap::plan::PATH).is_some()
        && MOUNT_POINTS.iter().all(|name| tree.node(format!("/{name}")).is_some())
    {
        let what = format!("{} is a mini-initramfs itself", from.display());
        return Err(Error::bad_input(what, "give the initramfs that its image was made from"));
    }
    Ok(tree)
}

fn read_rescue(request: &Request, spool_parent: &Path) -> Result<Option<Tree>> {
    request.rescue.as_deref().map(|from| read_input(from, spool_parent)).transpose()
}

fn resolve_for(
    board: &Board,
    tree: &Tree,
    rescue: Option<&Tree>,
    profile: Option<&Profile>,
    request: &Request,
) -> Result<ResolvedPlan> {
    let wanted = &board.modules;
    if request.modules.is_none() && !wanted.load.is_empty() {
        let count = crate::count(wanted.load.len(), "module");
        log::warn!("board {} lists {count} and --modules was not given: taken as built in", board.name);
    }
    let modules = modules::resolve(&wanted.load, &wanted.parameters, request.modules.as_deref(), wanted.strip)?;
    if let Some(dir) = &request.modules {
        kernel::load::check(board, dir, &modules.iter().map(|module| module.name.clone()).collect())?;
    }
    let mut plan = plan::resolve(board, tree, rescue, modules)?;
    if let Some(profile) = profile {
        let (first, ahead) = Ahead::of(profile, tree)?;
        if let Some(words) = ahead.misfits(profile) {
            log::warn!("{words}; what fits is used");
        }
        if ahead.left_out > 0 {
            log::warn!("what is read ahead leaves out {}: its list is full", crate::count(ahead.left_out, "file"));
        }
        plan.first = first;
        if board.image.leave_used {
            // Of others only the inode was read, or one beside it.
            let read = profile.files.iter().filter(|used| !used.pages.is_empty());
            plan.left = read.filter_map(Used::raw_path).collect();
        }
        // A list of nothing would still be a child process.
        let is_read_ahead = can_read_ahead(board);
        plan.ahead = (is_read_ahead && !plan.first.is_empty()).then_some(ahead);
        if !is_read_ahead {
            log::warn!("what the profile names is laid first, and nothing of it read ahead: {}", not_ahead(board));
        }
    } else if board.image.leave_used {
        log::warn!("image.leave-used: no --profile says what is used, so all is compressed");
    }
    if request.record {
        if !can_record(board) {
            return Err(Error::bad_input(
                format!("--record: no slot of board {} reads a partition as a mini-initramfs does", board.name),
                "record on a board with mode `initial` or `root` and source `partition`: the profile holds for all",
            ));
        }
        if board.image.compression != ImageCompression::None {
            log::warn!(
                "--record: the image is compressed: `profile` takes a board's --trace of it, but not a boot in QEMU"
            );
        }
        plan.ahead = Some(Ahead::recording());
    }
    Ok(plan)
}

/// Whether an image of the board is read from a device, which takes time.
fn can_read_ahead(board: &Board) -> bool {
    lies(board, |source| !matches!(source, Source::Initramfs | Source::Memory { .. }))
}

/// Whether the kernel can be told to read nothing along: a device has that setting, a file has not.
fn can_record(board: &Board) -> bool {
    lies(board, |source| matches!(source, Source::Partition(_)))
}

/// Whether a mini-initramfs finds the board's image in such a place.
fn lies(board: &Board, there: fn(&Source) -> bool) -> bool {
    let is_there = |slot: &Slot| slot.image == ImageName::Main && there(&slot.source);
    board.mode != Mode::Service && board.slots.iter().any(is_there)
}

/// Why [`can_read_ahead`] says no.
fn not_ahead(board: &Board) -> String {
    let name = &board.name;
    match board.mode {
        Mode::Service => format!("board {name} has mode `service`, which reads nothing ahead"),
        _ => format!("no slot of board {name} reads the image from a device"),
    }
}

/// What dracut's module takes, in place of a mini-initramfs.
fn write_parts(bootstrap: &[u8], sealed: &[u8], folder: &Path, manifest: &mut Manifest) -> Result<()> {
    verify::sealed(sealed)?;
    for (name, bytes) in [(manifest::BOOTSTRAP, bootstrap), (manifest::PLAN, sealed)] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        manifest.note_file(folder, name)?;
    }
    Ok(())
}

/// The bootstrap and the plan alone: what the budget limits.
fn core(bootstrap: Vec<u8>, sealed: Vec<u8>) -> Result<Initramfs> {
    let mut archive = Initramfs::new(Body::Bytes(bootstrap));
    archive.add(bootstrap::plan::PATH, 0o600, Body::Bytes(sealed))?;
    Ok(archive)
}

fn check_budget(board: &Board, bootstrap: &[u8], sealed: &[u8]) -> Result<()> {
    let Some(limit) = board.budget.initramfs else { return Ok(()) };
    let mut bytes = Vec::new();
    core(bootstrap.to_vec(), sealed.to_vec())?.write(board.initramfs, &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::failed(
            format!(
                "mini-initramfs without modules has {} bytes, the budget of {} is {limit}",
                bytes.len(),
                board.name
            ),
            "build the bootstrap with --profile bootstrap, or raise budget.initramfs",
        ));
    }
    Ok(())
}

fn write_initramfs(
    board: &Board,
    plan: &ResolvedPlan,
    bootstrap: Vec<u8>,
    sealed: Vec<u8>,
    inodes: u64,
    folder: &Path,
) -> Result<()> {
    let mut archive = core(bootstrap, sealed)?;
    for module in &plan.modules {
        archive.add(&plan::module_path(module), 0o600, Body::Bytes(module.bytes.clone()))?;
    }
    let firmware = plan.modules.iter().flat_map(|module| &module.firmware);
    let mut known = BTreeSet::new();
    for file in firmware.filter(|file| known.insert(file.name.as_str())) {
        archive.add(&format!("/lib/firmware/{}", file.name), 0o600, Body::Bytes(file.bytes.clone()))?;
    }
    if let Some(shell) = plan.shell() {
        archive.add(plan::SHELL_PATH, 0o755, Body::Path(shell.clone()))?;
    }
    if let Some(ahead) = plan.ahead.as_ref().filter(|ahead| !ahead.is_recording()) {
        archive.add(bootstrap::plan::AHEAD_PATH, 0o600, Body::Bytes(ahead.list(inodes)?))?;
    }
    if let Some(slot) = board.slots.iter().find(|slot| slot.source == Source::Initramfs) {
        archive.add(plan::IMAGE_PATH, 0o600, Body::Path(folder.join(images::file(slot.image))))?;
    }
    let path = folder.join(manifest::INITRAMFS);
    let mut out = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
    archive.write(board.initramfs, &mut out)?;
    out.flush().map_err(Error::io("write", &path))?;
    verify::initramfs(&archive, &path, folder)
}

fn input_entry(tree: &Tree) -> manifest::Input {
    let mut seen = BTreeSet::new();
    let size = |node: &Node| match &node.kind {
        NodeKind::File(content) if seen.insert(content.id) => content.size,
        _ => 0,
    };
    let bytes = tree.nodes.values().map(size).fold(0, u64::saturating_add);
    manifest::Input { sha256: manifest::hex(&tree.digest()), files: tree.nodes.len() as u64, bytes }
}

/// The manifest as far as it is known before anything is written.
fn describe(board: &Board, tree: &Tree, plan: &ResolvedPlan) -> Result<Manifest> {
    let mut files = BTreeMap::new();
    for path in &board.files {
        let (_, sha256) = manifest::digest_file(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, manifest::hex(&sha256));
    }
    let architecture = board.architecture.name().to_owned();
    let board_entry = manifest::Board { name: board.name.clone(), architecture, files };
    let mut manifest = Manifest::new(board_entry, input_entry(tree));
    let module = |module: &modules::ResolvedModule| Module {
        name: module.name.clone(),
        bytes: module.bytes.len() as u64,
        signed: module.signed,
    };
    manifest.modules = plan.modules.iter().map(module).collect();
    let mut text = plan.to_string();
    if let Some(shell) = plan.shell() {
        // The host's path of the shell must not make two builds differ.
        text = text.replace(&shell.display().to_string(), plan::SHELL_PATH);
    }
    manifest.plan = text.lines().map(str::to_owned).collect();
    manifest.budget_switch_root_us =
        board.budget.switch_root.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
    manifest.qemu = board.qemu.as_ref().map(|qemu| Machine {
        program: board.architecture.qemu().to_owned(),
        machine: qemu.machine.clone(),
        cpu: qemu.cpu.clone(),
        cpus: qemu.cpus,
        memory_mib: u32::try_from(qemu.memory >> 20).unwrap_or(u32::MAX),
        transport: match qemu.transport {
            board::Transport::Pci => Transport::Pci,
            board::Transport::Mmio => Transport::Mmio,
        },
        console: qemu.console.clone(),
        append: qemu.append.clone(),
        arguments: qemu.arguments.clone(),
        writes: matches!(board.overlay, Overlay::Partition(_)),
        in_memory: None,
    });
    Ok(manifest)
}

#[cfg(test)]
mod tests;
