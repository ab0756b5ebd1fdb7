//! What somebody wants to know who looks at the log of a board that did not boot; what was looked for stands there already.

use crate::program::device::{EVENT_BYTES, name_of};
use crate::program::early::read_file;
use crate::program::kmsg::say;
use crate::program::text::{Text, c_path, text};
use bootstrap::plan::Plan;
use bootstrap::uevent;
use core::mem::MaybeUninit;
use log::Level;
use rustix::fs::{Mode, OFlags, RawDir, open};

/// Says what there is instead of what was looked for.
#[inline(never)]
pub fn say_what_there_is() {
    say_devices();
    say_file_systems();
}

fn say_devices() {
    let Ok(folder) = open(c"/sys/class/block", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    else {
        return;
    };
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let Some(name) = name_of(entry.file_name().to_bytes()) else { continue };
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let file = c_path!["/sys/class/block/", &name, "/uevent"];
        let Some(device) = read_file(&file, &mut buffer).ok().and_then(uevent::file) else { continue };
        let mut line = text!["device ", &name];
        for (key, value) in [(" PARTNAME=", device.part_name), (" PARTUUID=", device.part_uuid)] {
            if let (false, Ok(value)) = (value.is_empty(), core::str::from_utf8(value)) {
                line.put(key);
                line.put(value);
            }
        }
        say(Level::Info, line);
    }
}

/// Says which file systems on block devices the kernel knows.
fn say_file_systems() {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    // Behind the switch there is no proc, and the log takes few more lines.
    let Ok(known) = read_file(c"/proc/filesystems", &mut buffer) else { return };
    let mut line = text!["file systems"];
    for name in core::str::from_utf8(known).unwrap_or_default().lines().filter_map(|line| line.strip_prefix('\t')) {
        line.put(" ");
        line.put(name);
    }
    say(Level::Info, line);
}

/// Says that the command line names a slot that the plan does not have: its own order holds.
#[inline(never)]
pub fn say_if_unknown(plan: &Plan<'_>, name: &str) {
    if !plan.slots.into_iter().any(|slot| slot.name == name) {
        say(Level::Warn, text!["no slot ", name, " in the plan"]);
    }
}

/// Leaves a line where the next boot finds it, on boards with a pstore (`CONFIG_PSTORE_PMSG`).
pub fn keep(line: &Text) {
    if let Ok(store) = open(c"/dev/pmsg0", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        // Nothing is left to be done about an error.
        let _ = rustix::io::write(&store, line.as_bytes());
    }
}
