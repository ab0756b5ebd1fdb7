//! `imagegen bring-up`: the checklist for a board's first boot, made of its board file, so that it says what the file says.

mod place;
mod service;

use super::needs::{Level, Need, needs};
use crate::board::{self, Board, Device, FilePath, ImageName, Method, Mode, Slot, Source};
use crate::error::Result;
use crate::{manifest, memory, table};
use serde::Serialize;
use std::fmt::{self, Write};

/// A checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checklist {
    /// The board's name.
    pub board: String,
    /// Processor architecture.
    pub architecture: &'static str,
    /// System on a chip; none for a board that is QEMU's alone.
    pub soc: Option<String>,
    /// Where it was run; `never`: nowhere yet.
    pub run_on: Option<String>,
    /// Options to set, in the order they are used.
    pub options: Vec<Setting>,
    /// Commands that make the image.
    pub build: Vec<String>,
    /// What the bootloader is told: a name and its value.
    pub bootloader: Vec<(&'static str, String)>,
    /// Where each of the formats that a build makes goes on the board: its name, and the place.
    pub boot_files: Vec<(&'static str, String)>,
    /// The disks the board has: kernel name and what it is.
    pub storage: Vec<(String, String)>,
    /// How each slot gets its image.
    pub slots: Vec<Put>,
    /// Debug port, as for the kernel's `console=`.
    pub serial: Option<String>,
    /// What to measure, in this order.
    pub measure: Vec<Measure>,
}

/// A kernel option to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name; several of which one is enough are separated by ` or `.
    pub option: String,
    /// What for.
    pub why: String,
    /// The file that defines it, in the kernel's source.
    pub kconfig: Option<&'static str>,
    /// First kernel that has it, if not all do.
    pub since: Option<String>,
    /// Whether the board boots without.
    pub required: bool,
}

/// How a slot gets its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Put {
    /// The slot's name.
    pub slot: String,
    /// Where its image lies.
    pub place: String,
    /// What puts it there, in order; a line that begins with `#` is for whoever does it.
    pub commands: Vec<String>,
}

/// Something to measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// What it tells.
    pub why: String,
    /// The command.
    pub command: String,
}

/// Makes the checklist of a board.
///
/// # Errors
/// Bad input if the board is wrong.
pub fn checklist(name: &str) -> Result<Checklist> {
    let board = board::load(name)?;
    let hardware = board.hardware.as_ref();
    let shown = board.name.clone();
    Ok(Checklist {
        architecture: board.architecture.name(),
        soc: hardware.map(|hardware| hardware.soc.clone()),
        run_on: hardware.map(|hardware| hardware.run_on.clone().unwrap_or_else(|| "never".to_owned())),
        options: needs(&board, None).into_iter().map(setting).collect(),
        build: build(&board, name),
        bootloader: bootloader(&board),
        boot_files: board.bootloader.emit.iter().map(|format| (format.name(), place::goes(*format, &board))).collect(),
        storage: hardware
            .map(|hardware| hardware.storage.iter().map(|disk| (disk.device.clone(), disk.what.clone())).collect())
            .unwrap_or_default(),
        slots: board.slots.iter().map(|slot| put(&board, slot)).collect(),
        serial: hardware.map(|hardware| hardware.serial.text.clone()),
        measure: measure(&board),
        board: shown,
    })
}

fn setting(need: Need) -> Setting {
    let first = need.choices.first();
    Setting {
        kconfig: first.and_then(|choice| choice.kconfig),
        since: first.and_then(|choice| choice.since).map(|(major, minor)| format!("{major}.{minor}")),
        option: need.choices.iter().map(|choice| choice.option.as_str()).collect::<Vec<_>>().join(" or "),
        why: need.why,
        required: need.level == Level::Required,
    }
}

fn build(board: &Board, name: &str) -> Vec<String> {
    let modules = if board.modules.load.is_empty() { "" } else { " --modules /lib/modules/VERSION" };
    let rescue = board.slots.iter().any(|slot| slot.image == ImageName::Rescue);
    let rescue = if rescue { " --rescue RESCUE" } else { "" };
    if board.mode == Mode::Service {
        return service::build(board, name, rescue);
    }
    let tree = if board.bootloader.dtb.is_some() { " --dtbs DTBS" } else { "" };
    let mut commands = vec![
        format!("imagegen doctor {name} --config .config{modules}"),
        format!("imagegen build {name} --from INITRAMFS{rescue}{modules} --kernel Image{tree} --out out"),
    ];
    if matches!(board.verity.method, Method::Signature { .. }) {
        commands.push("imagegen sign out --key KEY --certificate CERTIFICATE".to_owned());
    }
    commands
}

fn bootloader(board: &Board) -> Vec<(&'static str, String)> {
    if board.mode == Mode::Service {
        return service::bootloader();
    }
    let loader = &board.bootloader;
    let address = |address: Option<u64>| address.map(|address| format!("{address:#x}"));
    let emit: Vec<_> = loader.emit.iter().map(|format| format.name()).collect();
    let region = board.slots.iter().find_map(|slot| match slot.source {
        Source::Memory { address, .. } => Some(format!("{address:#x}, by {} or {}", memory::COMMANDS, memory::OVERLAY)),
        _ => None,
    });
    let has = |word: &str| loader.command_line.split(' ').any(|argument| argument.starts_with(word));
    let restart = (!has("panic=")).then(|| "panic=-1".to_owned());
    let watchdog = board.watchdog.is_none() && !has("watchdog.open_timeout=");
    let watchdog = watchdog.then(|| "watchdog.open_timeout=SECONDS".to_owned());
    let rows = [
        ("made by build", Some(emit.join(", ")).filter(|text| !text.is_empty())),
        ("device tree", loader.dtb.clone()),
        ("kernel at", address(loader.kernel_address)),
        (
            manifest::INITRAMFS,
            Some(address(loader.initramfs_address).map_or("as any initramfs".to_owned(), |at| format!("at {at}"))),
        ),
        ("device tree at", address(loader.dtb_address)),
        ("image at", region),
        ("largest file", loader.limit.map(|bytes| format!("{bytes} bytes"))),
        ("kernel arguments", Some(loader.command_line.clone()).filter(|text| !text.is_empty())),
        ("kernel argument for a restart after a panic", restart),
        ("kernel argument where the bootloader starts a watchdog", watchdog),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A link that udev makes for a device; none for a name that it would escape.
fn link(device: &Device) -> Option<String> {
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)).then(|| text.to_owned());
    let (folder, text) = match device {
        Device::PartName(name) => ("disk/by-partlabel/", plain(name)?),
        Device::Label(label) => ("disk/by-label/", plain(label)?),
        Device::PartUuid(_) | Device::MbrPartUuid(..) => {
            ("disk/by-partuuid/", device.to_string().trim_start_matches("PARTUUID=").to_owned())
        }
        Device::Uuid(uuid) => ("disk/by-uuid/", uuid.clone()),
        Device::Path(name) => ("", name.clone()),
    };
    Some(format!("/dev/{folder}{text}"))
}

/// Where `build` puts what it makes.
fn folder(board: &Board) -> &'static str {
    if board.mode == Mode::Service { service::FOLDER } else { "out" }
}

fn put(board: &Board, slot: &Slot) -> Put {
    let folder = folder(board);
    let image =
        if slot.image == ImageName::Rescue { format!("{folder}/{}", manifest::RESCUE) } else { folder.to_owned() };
    let target = |device: &Device| link(device).unwrap_or_else(|| "DEVICE".to_owned());
    let hint =
        |hint: &Option<String>| hint.as_ref().map(|name| format!(", tried first: /dev/{name}")).unwrap_or_default();
    let (place, mut commands) = match &slot.source {
        Source::Partition(wanted) => {
            let place = format!("partition {}{}", wanted.device, hint(&wanted.hint));
            let mut write = place::partition(board, &wanted.device, slot.image == ImageName::Rescue);
            write.push(format!("imagegen install {image} --to {}", target(&wanted.device)));
            (place, write)
        }
        Source::File { holder, path } => {
            let (mounted, kind) = (target(&holder.device.device), holder.kind.name());
            let file = match path {
                FilePath::At(path) => path.clone(),
                FilePath::Ostree => "/usr/lib/modules/VERSION/initoverlayfs.erofs, in the commit".to_owned(),
            };
            let place = format!("{file} on {kind}, {}{}", holder.device.device, hint(&holder.device.hint));
            let write = match path {
                FilePath::At(path) => {
                    vec![format!("mount {mounted} /mnt"), format!("imagegen install {image} --to /mnt{path}")]
                }
                FilePath::Ostree => vec!["# into the OSTree commit, before it is deployed".to_owned()],
            };
            (place, write)
        }
        Source::Memory { address, .. } => {
            (format!("memory at {address:#x}"), vec!["# the bootloader, at every boot".to_owned()])
        }
        Source::Initramfs => ("the mini-initramfs".to_owned(), vec!["# nothing: it is in it".to_owned()]),
    };
    if let (Method::FsVerity, Source::File { path: FilePath::At(path), .. }) = (board.verity.method, &slot.source) {
        commands.push(format!("fsverity enable /mnt{path}"));
    }
    if board.hardware.is_some() && matches!(slot.source, Source::Partition(_)) {
        commands.insert(0, "# on the board, started from another disk; or from here, its disk in a card reader or shown by U-Boot's ums".to_owned());
    }
    Put { slot: slot.name.clone(), place, commands }
}

fn measure(board: &Board) -> Vec<Measure> {
    let one = |why: &str, command: String| Measure { why: why.to_owned(), command };
    let Some(hardware) = &board.hardware else {
        if board.mode == Mode::Service {
            return service::measure().into_iter().map(|(why, command)| one(why, command.to_owned())).collect();
        }
        return vec![
            one("the first boot, with its console", "imagegen boot out".to_owned()),
            one("its steps", "imagegen measure out --runs 10 --json ours.json".to_owned()),
        ];
    };
    let line = |more: &str, json: &str| {
        format!(
            "imagegen measure --serial /dev/ttyUSB0 --baud {} --board {}{more} --runs 10 --json {json}",
            hardware.serial.baud, board.name
        )
    };
    let disk = board.slots.iter().find_map(|slot| slot.source.device().and_then(|wanted| wanted.hint.clone()));
    let disk = disk.or_else(|| hardware.storage.first().map(|disk| disk.device.clone())).unwrap_or_default();
    let mut all = vec![
        one("the board as it is, before anything changes", line(" --end 'login:'", "before.json")),
        one("the same with `quiet`: what its console costs", line(" --end 'login:'", "quiet.json")),
        one(
            "what the disk reads in a second: below what one processor decompresses, image.compression pays",
            format!("dd if=/dev/{disk} of=/dev/null bs=1M count=256 iflag=direct"),
        ),
        one("ours: each step's time; a long step device is the disk's driver, not ours", line("", "ours.json")),
        one("the same to the end of before.json", line(" --end 'login:'", "after.json")),
        one("what changed, and how sure that is", "imagegen compare before.json after.json".to_owned()),
    ];
    if board.slots.iter().any(|slot| slot.source.device().is_some_and(|wanted| wanted.lun.is_some())) {
        let why =
            "which logical unit the image lies on, for slot.lun; with scsi_mod.scan=manual only that one is looked at";
        all.insert(3, one(why, "ls -d /sys/block/sd*/device/scsi_device/*".to_owned()));
    }
    all
}

impl fmt::Display for Checklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let soc = self.soc.as_ref().map(|soc| format!(": {soc}")).unwrap_or_default();
        let run = match self.run_on.as_deref() {
            Some("never") => ", not run on hardware".to_owned(),
            Some(place) => format!(", run on {place}"),
            None => String::new(),
        };
        writeln!(f, "# {}{soc}, {}{run}\n\n## 1. Kernel\n", self.board, self.architecture)?;
        f.write_str(&self.settings(true))?;
        if self.options.iter().any(|setting| !setting.required) {
            writeln!(
                f,
                "\nIt boots without these, and is slower or says less:\n\n{}",
                self.settings(false).trim_end()
            )?;
        }
        let commands =
            |commands: &[String]| commands.iter().fold(String::new(), |text, command| text + "    " + command + "\n");
        writeln!(f, "\n## 2. Image\n\n{}\n## 3. Bootloader\n", commands(&self.build))?;
        for (name, value) in &self.bootloader {
            writeln!(f, "- {name}: {value}")?;
        }
        self.boot_places(f)?;
        f.write_str("\n## 4. Storage\n")?;
        if !self.storage.is_empty() {
            f.write_char('\n')?;
        }
        for (device, what) in &self.storage {
            writeln!(f, "- {device}: {what}")?;
        }
        for put in &self.slots {
            writeln!(f, "\nSlot {}: {}\n\n{}", put.slot, put.place, commands(&put.commands).trim_end())?;
        }
        if let Some(serial) = &self.serial {
            writeln!(
                f,
                "\n## 5. Serial port\n\nconsole={serial}; the adapter is /dev/ttyUSB0 or one of /dev/serial/by-id"
            )?;
        }
        let number = 5 + usize::from(self.serial.is_some());
        writeln!(f, "\n## {number}. Measure, in this order")?;
        for Measure { why, command } in &self.measure {
            writeln!(f, "\n{why}\n\n    {command}")?;
        }
        Ok(())
    }
}

impl Checklist {
    fn boot_places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.boot_files.is_empty() {
            return Ok(());
        }
        f.write_str("\nWhat `build` made goes into the partition that the bootloader reads:\n\n")?;
        for (name, place) in &self.boot_files {
            writeln!(f, "- {name}: {place}")?;
        }
        if self.soc.is_some() {
            f.write_str("\nThe board's own firmware must start that bootloader: the board file says what is known of it, below [bootloader].\n")?;
        }
        Ok(())
    }

    fn settings(&self, required: bool) -> String {
        let row = |setting: &Setting| {
            let since = setting.since.as_ref().map(|since| format!(", Linux {since}")).unwrap_or_default();
            let place = setting.kconfig.unwrap_or("named by the board file");
            vec![setting.option.clone(), setting.why.clone(), format!("{place}{since}")]
        };
        let rows: Vec<_> = self.options.iter().filter(|setting| setting.required == required).map(row).collect();
        table::table(&["option", "why", "Kconfig"], &rows)
    }
}

#[cfg(test)]
mod tests;
