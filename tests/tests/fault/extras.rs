//! What the bootloader appends: only what is allowed, only files, folders and links, nothing outside the new root.

use crate::case::{Expected, On, Scene, refused};
use bootstrap::Step::Extras;
use tests::boot::Outcome;
use tests::cpio::{Entry, archive};
use tests::image::make;
use tests::{Result, content, equal};

/// The parts of a boot that allows `allowed` and gets `appended`.
fn scene(on: &On, allowed: &[&str], appended: &[Entry], expected: Expected) -> Result<Scene> {
    let mut spec = on.spec();
    spec.extras = allowed.iter().map(|path| (*path).into()).collect();
    let mut parts = make(&on.kernel, &content::guest(&on.kernel)?, &spec)?;
    parts.appended.push(archive(appended));
    Ok(Scene::new(on, parts, expected).with(b"guest=reread"))
}

/// The lines of the report about a path: mode and so on.
fn lines(outcome: &Outcome, path: &str) -> Result<Vec<String>> {
    let end = format!(" {path}");
    Ok(outcome.reported()?.lines("content").iter().filter(|line| line.ends_with(&end)).cloned().collect())
}

fn absent(outcome: &Outcome, path: &str) -> Result<()> {
    equal(&format!("{path} in the new root"), &lines(outcome, path)?, &Vec::new())
}

fn present(outcome: &Outcome, path: &str) -> Result<()> {
    equal(&format!("{path} in the new root"), &lines(outcome, path)?.len(), &1)
}

/// A file in a folder of its own, and one beside it.
pub fn allowed(on: &On) -> Result<Scene> {
    let entries = [
        Entry::folder("etc"),
        Entry::file("etc/allowed", 0o600, "x"),
        Entry::folder("more"),
        Entry::file("more/file", 0o600, "x"),
    ];
    let scene = scene(on, &["/etc/allowed", "/more"], &entries, Expected::Boots)?;
    Ok(scene.and(|outcome| ["/etc/allowed", "/more/file"].iter().try_for_each(|path| present(outcome, path))))
}

pub fn device_node(on: &On) -> Result<Scene> {
    let node = Entry::device("etc/node", 0o666, 1, 1);
    let expected = refused(Extras, "not a file, directory or link: /etc/node", 19);
    scene(on, &["/etc/node"], &[Entry::folder("etc"), node], expected)
}

/// Deep in an allowed folder.
pub fn device_node_inside(on: &On) -> Result<Scene> {
    let entries = [Entry::folder("etc"), Entry::folder("etc/more"), Entry::device("etc/more/node", 0o666, 1, 1)];
    scene(on, &["/etc"], &entries, refused(Extras, "not a file, directory or link: /etc", 19))
}

pub fn fifo(on: &On) -> Result<Scene> {
    let fifo = Entry { mode: 0o010_644, ..Entry::file("etc/fifo", 0, "") };
    let expected = refused(Extras, "not a file, directory or link: /etc/fifo", 19);
    scene(on, &["/etc/fifo"], &[Entry::folder("etc"), fifo], expected)
}

/// Names with `..`: the kernel unpacks them below the rootfs, and none of them is on the list.
pub fn dots_in_names(on: &On) -> Result<Scene> {
    let entries = [
        Entry::folder("etc"),
        Entry::file("../escaped", 0o600, "x"),
        Entry::file("etc/../../beside", 0o600, "x"),
        Entry::file("etc/allowed", 0o600, "x"),
    ];
    let scene = scene(on, &["/etc/allowed"], &entries, Expected::Boots)?;
    Ok(scene.and(|outcome| {
        present(outcome, "/etc/allowed")?;
        ["/escaped", "/beside", "/etc/escaped"].iter().try_for_each(|path| absent(outcome, path))
    }))
}

/// A list with `..` would reach what lies beside; its folder is there already: EEXIST.
pub fn dots_in_the_list(on: &On) -> Result<Scene> {
    let expected = refused(Extras, "cannot make: /extras/..", 17);
    scene(on, &["/../etc/allowed"], &[Entry::folder("etc"), Entry::file("etc/allowed", 0o600, "x")], expected)
}

/// An extra cpio that brings the layer's own folder would get past the list: EEXIST.
pub fn own_layer(on: &On) -> Result<Scene> {
    let entries = [Entry::folder("extras"), Entry::folder("extras/etc"), Entry::file("extras/etc/hidden", 0o600, "x")];
    scene(on, &["/etc/allowed"], &entries, refused(Extras, "cannot make: /extras", 17))
}

/// A link as a parent would let one allowed name stand for another file: here the plan.
pub fn linked_parent(on: &On) -> Result<Scene> {
    let expected = refused(Extras, "not a file, directory or link: /etc/plan", 19);
    scene(on, &["/etc/plan"], &[Entry::link("etc", "/")], expected)
}

/// A link is copied as one, wherever it leads.
pub fn dangling_link(on: &On) -> Result<Scene> {
    let entries = [Entry::folder("etc"), Entry::link("etc/link", "/nowhere/at/all")];
    let scene = scene(on, &["/etc/link"], &entries, Expected::Boots)?;
    Ok(scene.and(|outcome| present(outcome, "/etc/link")))
}

/// A file where the image has a folder: the board allows it to be replaced.
pub fn file_over_folder(on: &On) -> Result<Scene> {
    let scene = scene(on, &["/etc"], &[Entry::file("etc", 0o600, "x")], Expected::Boots)?;
    Ok(scene.and(|outcome| absent(outcome, "/etc/guest-content")))
}

/// A folder where the image has a file, likewise.
pub fn folder_over_file(on: &On) -> Result<Scene> {
    let entries =
        [Entry::folder("etc"), Entry::folder("etc/guest-content"), Entry::file("etc/guest-content/x", 0o600, "x")];
    let scene = scene(on, &["/etc"], &entries, Expected::Boots)?;
    Ok(scene.and(|outcome| present(outcome, "/etc/guest-content/x")))
}

/// Deeper than folders are followed: ENAMETOOLONG.
pub fn too_deep(on: &On) -> Result<Scene> {
    let paths = (1..=20).map(|depth| vec!["deep"; depth].join("/"));
    let entries: Vec<Entry> = paths.map(|path| Entry::folder(&path)).collect();
    scene(on, &["/deep"], &entries, refused(Extras, "cannot lay: /deep", 36))
}

/// More than the overlay's upper layer holds: nothing is copied into it.
pub fn larger_than_the_upper(on: &On) -> Result<Scene> {
    let file = Entry::file("large", 0o600, vec![b'x'; 3 << 20]);
    let mut scene = scene(on, &["/large"], &[file], Expected::Boots)?;
    let bytes = scene.parts.member(tests::image::PLAN)?;
    let mut plan = bootstrap::plan::open(&bytes)?;
    plan.upper = bootstrap::plan::Upper::Memory("size=1m");
    scene.parts.set_plan(&plan)?;
    Ok(scene.and(|outcome| present(outcome, "/large")))
}
