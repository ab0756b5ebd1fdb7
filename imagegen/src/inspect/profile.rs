//! A profile as a person reads it, and what a mini-initramfs says is read ahead.

use super::show::printable;
use crate::profile::{PAGE, Profile};
use crate::table::table;
use bootstrap::plan;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Path of a file and pages of it: first, and how many.
pub(super) type Pieces = (String, Vec<[u32; 2]>);

/// The profile: what it was recorded on, then its paths in their order.
pub(super) fn text(profile: &Profile) -> String {
    let (files, bytes) = (profile.paths(), profile.bytes());
    let with_pages: HashSet<&str> =
        profile.files.iter().filter(|used| !used.pages.is_empty()).map(|used| used.path.as_str()).collect();
    let boots = crate::count(profile.boots as usize, "boot");
    let mut text = format!(
        "profile of {boots} of board {}: {}, {} with contents, {bytes} bytes of them\ncontent  {}\n",
        printable(profile.board.as_bytes()),
        crate::count(files, "path"),
        with_pages.len(),
        printable(profile.input_sha256.as_bytes()),
    );
    for image in &profile.images {
        text += &format!("image    {}\n", printable(image.as_bytes()));
    }
    let row = |(order, used): (usize, &crate::profile::Used)| {
        vec![(order + 1).to_string(), bytes_of(&used.pages).to_string(), pieces(&used.pages), used.path.clone()]
    };
    let rows: Vec<Vec<String>> = profile.files.iter().enumerate().map(row).collect();
    text + "\n" + &table(&["order", "bytes", "pages", "path"], &rows)
}

/// The same as JSON, with sums.
pub(super) fn json(profile: &Profile) -> Value {
    let file =
        |used: &crate::profile::Used| json!({ "path": used.path, "bytes": bytes_of(&used.pages), "pages": used.pages });
    json!({
        "board": profile.board, "input_sha256": profile.input_sha256, "images": profile.images, "boots": profile.boots,
        "paths": profile.paths(), "bytes": profile.bytes(),
        "files": profile.files.iter().map(file).collect::<Vec<_>>(),
    })
}

/// Files that a mini-initramfs has read ahead, in order.
pub(super) fn ahead(list: &[u8]) -> Vec<Pieces> {
    let mut files: Vec<Pieces> = Vec::new();
    for piece in plan::pieces(list) {
        match files.last_mut().filter(|_| piece.path.is_empty()) {
            Some((_, pages)) => pages.push([piece.page, piece.pages]),
            None => files.push((piece.path.to_owned(), vec![[piece.page, piece.pages]])),
        }
    }
    files
}

/// The same as a table.
pub(super) fn ahead_text(files: &[Pieces]) -> String {
    let row = |(path, pages): &Pieces| vec![bytes_of(pages).to_string(), pieces(pages), printable(path.as_bytes())];
    let bytes: u64 = files.iter().map(|(_, pages)| bytes_of(pages)).sum();
    let rows: Vec<Vec<String>> = files.iter().map(row).collect();
    let different: HashSet<&str> = files.iter().map(|(path, _)| path.as_str()).filter(|path| *path != "/").collect();
    let inodes = if files.iter().any(|(path, _)| path == "/") { "; `/` is the image, its inodes" } else { "" };
    let count = crate::count(different.len(), "file");
    let head = format!("\nread ahead, in this order: {count}, {bytes} bytes{inodes}\n\n");
    head + &table(&["bytes", "pages", "path"], &rows)
}

/// The same as JSON.
pub(super) fn ahead_json(files: &[Pieces]) -> Value {
    files.iter().map(|(path, pages)| json!({ "path": path, "bytes": bytes_of(pages), "pages": pages })).collect()
}

fn bytes_of(pages: &[[u32; 2]]) -> u64 {
    pages.iter().map(|[_, count]| u64::from(*count) * PAGE).fold(0, u64::saturating_add)
}

/// `0-3, 7`.
fn pieces(pages: &[[u32; 2]]) -> String {
    let piece = |[first, count]: &[u32; 2]| match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}-{}", u64::from(*first) + u64::from(*count) - 1),
    };
    pages.iter().map(piece).collect::<Vec<_>>().join(", ")
}
