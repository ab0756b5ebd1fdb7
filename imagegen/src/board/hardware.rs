//! The real machine behind a board: what a person at the bench needs to know of it, and what its kernel must have.

/// The real machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Maker and name of the system on a chip.
    pub soc: String,
    /// The debug port.
    pub serial: Serial,
    /// What the kernel needs to reach the image's storage and the debug port, in the order it is needed.
    pub drivers: Vec<Driver>,
    /// The disks it has, first the one that holds the image.
    pub storage: Vec<Storage>,
    /// Where it was run and when; `None`: never.
    pub run_on: Option<String>,
}

/// A serial port and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Kernel name of its terminal: `ttyS2`.
    pub device: String,
    /// Its speed in bits a second.
    pub baud: u32,
    /// As for the kernel's `console=`: `ttyS2,115200n8`.
    pub text: String,
}

/// A driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The kernel's option, without `CONFIG_`.
    pub option: String,
    /// Its module; `None` for an option that is built in or off.
    pub module: Option<String>,
    /// What it is needed for.
    pub why: String,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Its kernel name: `mmcblk0`.
    pub device: String,
    /// What it is.
    pub what: String,
}

impl Storage {
    /// Whether `name` is this disk, or a partition of it: `sda` has `sda1`, `mmcblk0` has `mmcblk0p1` (`disk_name()`,
    /// block/genhd.c: a `p` behind a digit).
    pub fn has(&self, name: &str) -> bool {
        let digit = self.device.ends_with(|last: char| last.is_ascii_digit());
        let Some(rest) = name.strip_prefix(self.device.as_str()) else { return false };
        let number = if digit { rest.strip_prefix('p') } else { Some(rest) };
        rest.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_its_partitions() {
        let disk = |device: &str| Storage { device: device.to_owned(), what: String::new() };
        assert!(disk("sda").has("sda") && disk("sda").has("sda12") && disk("mmcblk0").has("mmcblk0p1"));
        assert!(disk("nvme0n1").has("nvme0n1p3"));
        for (name, other) in [("sda", "sdaa1"), ("mmcblk0", "mmcblk01"), ("mmcblk0", "mmcblk0boot0"), ("sda", "sdb")] {
            assert!(!disk(name).has(other), "{name} {other}");
        }
    }
}
