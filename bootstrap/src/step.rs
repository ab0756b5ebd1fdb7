//! The boot as one closed list of steps: the same word in plan, error, log line, record, report and documentation.

use serde::{Deserialize, Serialize};

/// One step of the boot, in the order in which a boot goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Mount devtmpfs, proc, sysfs and /run; read and check the plan.
    EarlyMounts,
    /// Load the plan's kernel modules, in its order.
    Modules,
    /// Put the bootloader's allowed extra files into a layer of their own.
    Extras,
    /// Find the device that holds the image, waiting for it until the deadline.
    Device,
    /// Authenticate the image.
    Verity,
    /// Check the image's superblock and mount it.
    Mount,
    /// Lay a writable overlay over the image and the extra files.
    Overlay,
    /// Make the overlay the root and free the initramfs.
    SwitchRoot,
    /// Start the next init.
    Exec,
}

impl Step {
    /// Every step, in boot order.
    pub const ALL: [Step; 9] = [
        Step::EarlyMounts,
        Step::Modules,
        Step::Extras,
        Step::Device,
        Step::Verity,
        Step::Mount,
        Step::Overlay,
        Step::SwitchRoot,
        Step::Exec,
    ];

    /// The step's name as it stands in log lines and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Step::EarlyMounts => "early-mounts",
            Step::Modules => "modules",
            Step::Extras => "extras",
            Step::Device => "device",
            Step::Verity => "verity",
            Step::Mount => "mount",
            Step::Overlay => "overlay",
            Step::SwitchRoot => "switch-root",
            Step::Exec => "exec",
        }
    }
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
