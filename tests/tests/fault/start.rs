//! The next init, the console, and too little memory.

use crate::case::{Expected, On, Scene, refused};
use bootstrap::Step::{Device, Exec, SwitchRoot};
use tests::cpio::Entry;
use tests::image::make;
use tests::kernel::program;
use tests::{Result, content, equal};

const ENOENT: u32 = 2;

/// The content with these entries in place of `/init`.
fn next_init(on: &On, entries: Vec<Entry>, expected: Expected) -> Result<Scene> {
    let mut content = content::guest(&on.kernel)?;
    content.retain(|entry| entry.path != "init");
    content.extend(entries);
    Ok(Scene::new(on, make(&on.kernel, &content, &on.spec())?, expected))
}

pub fn init_missing(on: &On, entry: Option<Entry>, errno: u32) -> Result<Scene> {
    next_init(on, entry.into_iter().collect(), refused(SwitchRoot, "next init is missing: /init", errno))
}

pub fn init_not_executable(on: &On, entry: Entry) -> Result<Scene> {
    // EACCES
    next_init(on, vec![entry], refused(SwitchRoot, "next init is not an executable file: /init", 13))
}

/// Seen only by execve, after the switch.
pub fn init_not_started(on: &On, data: impl Into<Vec<u8>>, errno: u32) -> Result<Scene> {
    let init = Entry::file("init", 0o755, data);
    next_init(on, vec![init], refused(Exec, "cannot start the next init: /init", errno))
}

/// A program of another processor.
pub fn init_of_another_processor(on: &On) -> Result<Scene> {
    let other = if on.kernel.arch == "x86_64" { "aarch64" } else { "x86_64" };
    init_not_started(on, std::fs::read(program("guest", other)?)?, 8)
}

/// Out of the root by `..`, which ends at the root, and by an absolute link, which starts there.
pub fn init_behind_links(on: &On) -> Result<Scene> {
    let guest = Entry::file("usr/bin/guest", 0o755, std::fs::read(program("guest", &on.kernel.arch)?)?);
    let links = [
        Entry::link("init", "../../../bin/init"),
        Entry::link("bin", "/usr/bin"),
        Entry::link("usr/bin/init", "guest"),
    ];
    next_init(on, links.into_iter().chain([guest]).collect(), Expected::Boots)
}

/// `/init` of the mini-initramfs is no next init: a link must not lead back to it.
pub fn init_leads_out(on: &On) -> Result<Scene> {
    init_missing(on, Some(Entry::link("init", "/../plan")), ENOENT)
}

/// The kernel then opens no descriptors; the next init must still have all three. The kernel's own initramfs brings a console
/// too (usr/default_cpio_list), so it is not enough to leave it out: a link takes its place.
pub fn no_console(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.remove("dev/console");
    parts.entries.push(Entry::link("dev/console", "nowhere"));
    let check = |outcome: &tests::boot::Outcome| {
        let said = outcome.console.contains("unable to open an initial console");
        equal("the kernel misses the console", &said, &true)?;
        let fds = outcome.reported()?.lines("fds").join(", ");
        equal("fds", &fds.as_str(), &"0 /dev/console, 1 /dev/console, 2 /dev/console")?;
        equal("console", &outcome.reported()?.lines("console").join(", ").as_str(), &"0 same, 1 same, 2 same")
    };
    Ok(Scene::new(on, parts, Expected::Boots).and(check))
}

/// Neither there nor in the image: the next init gets what the mini-initramfs' devtmpfs has.
pub fn no_console_anywhere(on: &On) -> Result<Scene> {
    let mut content = content::guest(&on.kernel)?;
    content.retain(|entry| entry.path != "dev/console");
    let mut parts = make(&on.kernel, &content, &on.spec())?;
    parts.remove("dev/console");
    parts.entries.push(Entry::link("dev/console", "nowhere"));
    let check = |outcome: &tests::boot::Outcome| {
        let fds = outcome.reported()?.lines("fds").len();
        equal("descriptors", &fds, &3)
    };
    Ok(Scene::new(on, parts, Expected::Boots).and(check))
}

/// As much memory as this. The kernels of 30 MiB and more do not come to PID 1 with 64 MiB: Debian's 7.2 panics for want of
/// a pool, its x86 kernel is not even unpacked. All others leave enough for bootstrap, the overlay and the guest.
pub fn memory(on: &On, mib: u32) -> Result<Scene> {
    let too_little = mib <= 64 && matches!(on.kernel.name.as_str(), "arm64-7" | "x86_64-6.1");
    let expected = if too_little { Expected::NoPid1 } else { Expected::Boots };
    let mut scene = Scene::new(on, on.parts()?, expected);
    scene.change = Some(Box::new(move |boot| boot.memory_mib = mib));
    Ok(scene)
}

/// The kernel unpacks what fits, says so, and starts `/init` all the same: what lies behind is missing.
pub fn larger_than_memory(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    let image = parts.entries.iter().position(|entry| entry.path == "image.erofs").ok_or("no image")?;
    parts.entries.insert(image, Entry::file("ballast", 0o600, vec![b'b'; 100 << 20]));
    let mut scene = Scene::new(on, parts, refused(Device, "cannot open: /image.erofs", ENOENT));
    scene.change = Some(Box::new(|boot| boot.memory_mib = 256));
    Ok(scene.and(|outcome| {
        let said = outcome.console.contains("Initramfs unpacking failed: write error");
        equal("the kernel says that the initramfs does not fit", &said, &true)
    }))
}
