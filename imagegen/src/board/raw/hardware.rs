//! The table `[hardware]` as it is written.

use crate::board::tables::tables;
use crate::board::value::{KernelOption, ModuleName, Serial, StorageName, Words};
use schemars::JsonSchema;
use serde::Deserialize;

/// The real machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Hardware {
    /// Maker and name of the system on a chip.
    pub(crate) soc: Option<Words>,
    /// The debug port, as for the kernel's console=.
    pub(crate) serial: Option<Serial>,
    /// What the kernel needs to reach the image's storage and the debug port, in the order it is needed.
    #[serde(deserialize_with = "tables")]
    pub(crate) drivers: Vec<Driver>,
    /// Disks as the kernel names them, and what they are, first the one that holds the image: "mmcblk0: eMMC".
    pub(crate) storage: Option<Vec<StorageName>>,
    /// Where it was run and when (default never).
    pub(crate) run_on: Option<Words>,
}

/// A driver of the real machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Driver {
    /// The kernel's option, without CONFIG_.
    pub(crate) option: Option<KernelOption>,
    /// Its module; none for an option that is built in or off.
    pub(crate) module: Option<ModuleName>,
    /// What it is needed for.
    pub(crate) why: Option<Words>,
}
