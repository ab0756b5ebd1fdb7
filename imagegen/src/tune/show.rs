//! What a sweep found, as a table, as lines for a board file, and as JSON.

use super::{Outcome, Point};
use crate::table::table;
use crate::{Error, Result};
use std::fmt::Write;

/// What the figures mean, and what they do not.
const CLOCK: &str = "\
1 instruction = 1 ns, on a disk that answers at once: what unpacking and reading cost the processor is in the times, what a storage
takes for its bytes and its requests is not. On an eMMC or SD card a smaller image and a profile gain more than this says: boot the best
points there, with `imagegen measure --serial` or `imagegen collect`. Waits for the disk differ a little from run to run. Direct I/O is
no choice: bootstrap uses it wherever the image is a file and the kernel can.
";

/// A point in words.
pub fn name(compression: &str, cluster: Option<u32>, profile: bool, leave_used: bool) -> String {
    let cluster = cluster.map_or_else(String::new, |bytes| format!(", clusters of {} KiB", bytes >> 10));
    let used = if leave_used { ", used files left" } else { "" };
    format!("{compression}{cluster}{}{used}", if profile { ", profile" } else { "" })
}

/// The table, the best points marked, and the lines of the one to choose.
pub fn text(outcome: &Outcome) -> String {
    let header = [
        "",
        "compression",
        "cluster",
        "profile",
        "image MiB",
        "mini KiB",
        "next init ms",
        "end ms",
        "free RAM MiB",
        "",
    ];
    let rows: Vec<Vec<String>> = outcome.points.iter().map(row).collect();
    let mut text = table(&header, &rows);
    text += "\n* no other point is smaller, earlier and leaves more memory\n";
    text += CLOCK;
    if let Some(why) = &outcome.without_profile {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "No profile was tried: {why}.");
    }
    if let Some(point) = outcome.chosen.and_then(|chosen| outcome.points.get(chosen)) {
        text += "\nThe smallest of the earliest, as a board file says it:\n\n[image]\n";
        let _ = writeln!(text, "compression = \"{}\"", point.compression);
        if let Some(bytes) = point.cluster {
            let _ = writeln!(text, "cluster = \"{}KiB\"", bytes >> 10);
        }
        if point.leave_used {
            text += "leave-used = true\n";
        }
        if point.profile {
            text += "# and `imagegen build --profile FILE`, of `imagegen profile`\n";
        }
    }
    text
}

fn row(point: &Point) -> Vec<String> {
    let cluster = point.cluster.map_or_else(String::new, |bytes| format!("{} KiB", bytes >> 10));
    let mut row = vec![
        if point.is_best { "*" } else { "" }.to_owned(),
        point.compression.clone(),
        cluster,
        match (point.profile, point.leave_used) {
            (false, _) => "no",
            (true, false) => "yes",
            (true, true) => "yes, used files left",
        }
        .to_owned(),
    ];
    match &point.outcome {
        Ok(measured) => {
            let ms = |us: u64| format!("{:.3}", us as f64 / 1e3);
            let free = measured.free_ram_kib.map_or_else(String::new, |kib| format!("{:.1}", kib as f64 / 1024.0));
            let mib = measured.image_bytes as f64 / f64::from(1 << 20);
            row.extend([format!("{mib:.1}"), format!("{:.1}", measured.initramfs_bytes as f64 / 1024.0)]);
            row.extend([ms(measured.next_init_us), measured.end_us.map_or_else(String::new, ms), free, String::new()]);
        }
        Err(why) => row.extend(["", "", "", "", "", why.as_str()].map(str::to_owned)),
    }
    row
}

/// Everything, as JSON.
///
/// # Errors
/// Failed work if it cannot be encoded.
pub fn json(outcome: &Outcome) -> Result<String> {
    let text = serde_json::to_string_pretty(outcome)
        .map_err(|error| Error::failed(format!("cannot encode the outcome: {error}"), "leave out --json"))?;
    Ok(text + "\n")
}
