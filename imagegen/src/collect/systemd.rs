//! systemd's times, and the arithmetic that `systemd-analyze time` does with them (boot_times_acquire() in systemd's
//! src/analyze/analyze-time-data.c, version 257): to be printed beside what they come to here.

use super::wire::Properties;

/// Times of the manager in microseconds of `CLOCK_MONOTONIC`, 0 for never. The first two are how long before the kernel's
/// clock: an EFI bootloader left them in variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Systemd {
    /// From the firmware's start to the kernel's.
    pub firmware_us: u64,
    /// From the bootloader's start to the kernel's.
    pub loader_us: u64,
    /// systemd started in an initrd.
    pub initrd_us: u64,
    /// systemd started, or started anew in the real root.
    pub userspace_us: u64,
    /// Everything that was asked for at the start has started.
    pub finish_us: u64,
}

/// What `systemd-analyze time` says, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analyzed {
    /// Firmware, if EFI told.
    pub firmware_us: Option<u64>,
    /// Bootloader, if EFI told.
    pub loader_us: Option<u64>,
    /// What it calls the kernel: all until systemd's start.
    pub kernel_us: u64,
    /// What it calls the initrd, if systemd ran in one.
    pub initrd_us: Option<u64>,
    /// Userspace, if the boot has finished.
    pub userspace_us: Option<u64>,
    /// Their sum, if the boot has finished.
    pub total_us: Option<u64>,
}

impl Systemd {
    /// From the properties of the manager; none if it never started anything.
    pub fn new(properties: &Properties) -> Option<Self> {
        let at = |name: &str| properties.get(&format!("{name}TimestampMonotonic")).copied().unwrap_or(0);
        let systemd = Systemd {
            firmware_us: at("Firmware"),
            loader_us: at("Loader"),
            initrd_us: at("InitRD"),
            userspace_us: at("Userspace"),
            finish_us: at("Finish"),
        };
        (systemd.userspace_us > 0).then_some(systemd)
    }

    /// When systemd started first.
    pub fn start_us(&self) -> u64 {
        if self.initrd_us > 0 { self.initrd_us } else { self.userspace_us }
    }

    /// What `systemd-analyze time` makes of it.
    pub fn analyzed(&self) -> Analyzed {
        let told = |us: u64| (us > 0).then_some(us);
        let finish = told(self.finish_us);
        Analyzed {
            firmware_us: told(self.firmware_us).map(|us| us.saturating_sub(self.loader_us)),
            loader_us: told(self.loader_us),
            kernel_us: self.start_us(),
            initrd_us: told(self.initrd_us).map(|initrd| self.userspace_us.saturating_sub(initrd)),
            userspace_us: finish.map(|finish| finish.saturating_sub(self.userspace_us)),
            total_us: finish.map(|finish| finish.saturating_add(self.firmware_us)),
        }
    }
}

/// A span as systemd writes it, `1min 2.345s` or `861ms`, in microseconds; to hold the arithmetic against its own.
pub fn span_us(text: &str) -> Option<u64> {
    let mut sum: Option<f64> = None;
    for word in text.split_ascii_whitespace() {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: f64 = digits.parse().ok()?;
        let unit = match word.strip_prefix(digits)? {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "min" => 60e6,
            "h" => 3600e6,
            _ => return None,
        };
        sum = Some(sum.unwrap_or(0.0) + number * unit);
    }
    sum.filter(|us| (0.0..1e15).contains(us)).map(|us| us.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd(values: &[(&str, u64)]) -> Option<Systemd> {
        Systemd::new(&values.iter().map(|(name, us)| (format!("{name}TimestampMonotonic"), *us)).collect())
    }

    #[test]
    fn a_boot_without_efi_or_initrd() {
        let found = systemd(&[("Userspace", 900), ("Finish", 5_000), ("Kernel", 0)]).unwrap();
        let said = found.analyzed();
        assert_eq!((said.firmware_us, said.loader_us, said.initrd_us), (None, None, None));
        assert_eq!((said.kernel_us, said.userspace_us, said.total_us), (900, Some(4_100), Some(5_000)));
    }

    #[test]
    fn a_boot_with_all_of_them_that_goes_on() {
        let values = [("Firmware", 700), ("Loader", 300), ("InitRD", 100), ("Userspace", 900)];
        let said = systemd(&values).unwrap().analyzed();
        assert_eq!((said.firmware_us, said.loader_us), (Some(400), Some(300)));
        assert_eq!((said.kernel_us, said.initrd_us), (100, Some(800)));
        assert_eq!((said.userspace_us, said.total_us), (None, None));
        assert_eq!(systemd(&[("Userspace", 0)]), None);
    }

    #[test]
    fn spans_as_systemd_writes_them() {
        assert_eq!(span_us("1min 2.345s"), Some(62_345_000));
        assert_eq!(span_us("861ms"), Some(861_000));
        assert_eq!((span_us(""), span_us("1 s"), span_us("nan s"), span_us("1x")), (None, None, None, None));
    }
}
