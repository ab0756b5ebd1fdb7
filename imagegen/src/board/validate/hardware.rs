//! The real machine of a board file: the table `[hardware]`, and that the image lies on a disk it has.

use super::Validator;
use crate::board::{Device, Driver, Hardware, Overlay, Slot, Wanted, raw};

/// `run-on` of a board that nobody has run.
const NEVER: &str = "never";

impl Validator {
    pub(super) fn hardware(&mut self, raw: raw::Hardware) -> Option<Hardware> {
        let soc = self.required("hardware.soc", raw.soc, "maker and name, as in \"Texas Instruments AM625\"");
        let serial = self.required("hardware.serial", raw.serial, "the debug port, as in \"ttyS2,115200n8\"");
        let storage = self.required("hardware.storage", raw.storage, "the disks, as in [\"mmcblk0: eMMC\"]");
        let mut drivers = Some(Vec::new());
        for (index, raw) in raw.drivers.into_iter().enumerate() {
            let driver = self.driver(&format!("hardware.drivers.{index}"), raw);
            drivers = drivers.zip(driver).map(|(mut drivers, driver)| {
                drivers.push(driver);
                drivers
            });
        }
        Some(Hardware {
            soc: soc?.0,
            serial: serial?.0,
            drivers: drivers?,
            storage: storage?.into_iter().map(|storage| storage.0).collect(),
            run_on: raw.run_on.map(|words| words.0).filter(|words| words != NEVER),
        })
    }

    fn driver(&mut self, path: &str, raw: raw::Driver) -> Option<Driver> {
        let option = self.required(&format!("{path}.option"), raw.option, "a kernel option, as in \"MMC_BLOCK\"");
        let why = self.required(&format!("{path}.why"), raw.why, "what it is needed for, as in \"eMMC\"");
        Some(Driver { option: option?.0, module: raw.module.map(|name| name.0), why: why?.0 })
    }

    /// Refuses kernel arguments without the debug port: a board whose first boot fails must say so somewhere.
    pub(super) fn on_the_debug_port(&mut self, hardware: &Hardware, command_line: &str) {
        let console = format!("console={}", hardware.serial.device);
        let names =
            |word: &str| word.strip_prefix(&console).is_some_and(|rest| rest.is_empty() || rest.starts_with(','));
        if !command_line.is_empty() && !command_line.split(' ').any(names) {
            let text = format!("names no console={}, expected that of hardware.serial", hardware.serial.text);
            self.problem("bootloader.command-line", text);
        }
    }

    /// Refuses devices by a kernel name that no disk of the machine has.
    pub(super) fn on_a_disk(&mut self, hardware: &Hardware, slots: &[Slot], overlay: &Overlay) {
        let of_slots = slots.iter().enumerate().filter_map(|(index, slot)| {
            let memory = matches!(slot.source, crate::board::Source::Memory { .. });
            slot.source.device().filter(|_| !memory).map(|wanted| (format!("slot.{index}"), wanted))
        });
        let upper = match overlay {
            Overlay::Partition(holder) => Some(("overlay".to_owned(), &holder.device)),
            Overlay::Memory { .. } => None,
        };
        let wanted: Vec<(String, &Wanted)> = of_slots.chain(upper).collect();
        for (table, wanted) in wanted {
            let path = match &wanted.device {
                Device::Path(name) => Some(("path", name)),
                _ => None,
            };
            for (key, name) in path.into_iter().chain(wanted.hint.as_ref().map(|name| ("hint", name))) {
                if !hardware.storage.iter().any(|storage| storage.has(name)) {
                    let disks: Vec<_> = hardware.storage.iter().map(|storage| storage.device.as_str()).collect();
                    let text = format!("found {name}, expected a partition of hardware.storage: {}", disks.join(", "));
                    self.problem(&format!("{table}.{key}"), text);
                }
            }
        }
    }
}
