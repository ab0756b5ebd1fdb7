//! What a kernel must have for a board, each option with its reason. `imagegen bring-up` prints it, `imagegen doctor` holds a kernel
//! against it.

pub(super) mod asks;
mod table;

use super::config::Config;
use crate::board::{Board, FileSystem};
use asks::holds;
use table::TABLE;

/// The option that names vfat's code page, of every kernel with vfat.
const CODE_PAGE: &str = "FAT_DEFAULT_CODEPAGE";

/// How much a board needs an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Without it the board does not boot as its file says.
    Required,
    /// Without it the board boots, and something is slower or cannot be seen.
    Advised,
}

/// An option of the kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name, without `CONFIG_`.
    pub option: String,
    /// Its module; `None` for an option that is built in or off.
    pub module: Option<String>,
    /// The file that defines it, below the kernel's source; none for a driver that a board file names.
    pub kconfig: Option<&'static str>,
    /// First kernel that has it, if not all do.
    pub since: Option<(u32, u32)>,
}

/// Something a board needs of its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Options of which one is enough, the one to set first.
    pub choices: Vec<Choice>,
    /// What for.
    pub why: String,
    /// How much.
    pub level: Level,
}

/// What a kernel of this configuration must have for a board, in the order it is used; without one what any kernel must have.
pub fn needs(board: &Board, config: Option<&Config>) -> Vec<Need> {
    let release = config.and_then(Config::release);
    let mut needs: Vec<Need> =
        TABLE.iter().filter(|row| (row.when)(board)).filter_map(|row| row.need(release)).collect();
    // A configuration without these texts is of a kernel without vfat.
    if holds(board, FileSystem::Vfat) && config.is_none_or(|config| config.text(CODE_PAGE).is_some()) {
        needs.extend(character_sets(config));
    }
    let drivers = board.hardware.iter().flat_map(|hardware| &hardware.drivers);
    needs.extend(drivers.map(|driver| Need {
        choices: vec![Choice {
            option: driver.option.clone(),
            module: driver.module.clone(),
            kconfig: None,
            since: None,
        }],
        why: driver.why.clone(),
        level: Level::Required,
    }));
    needs
}

/// What vfat asks the kernel for by name, as it was configured (fs/fat/Kconfig). A name other than those of fs/nls/Kconfig that
/// contain what the option says is nobody's default.
fn character_sets(config: Option<&Config>) -> [Need; 2] {
    let text = |option, default| config.and_then(|config| config.text(option)).unwrap_or(default).to_owned();
    let page = text(CODE_PAGE, "437");
    let names = text("FAT_DEFAULT_IOCHARSET", "iso8859-1");
    let need = |option: String, module: String, why: &str| Need {
        choices: vec![Choice { option, module: Some(module), kconfig: Some("fs/nls/Kconfig"), since: None }],
        why: why.to_owned(),
        level: Level::Required,
    };
    let option = format!("NLS_{}", names.to_ascii_uppercase().replace('-', "_"));
    [
        need(format!("NLS_CODEPAGE_{page}"), format!("nls_cp{page}"), "short names on vfat (FAT_DEFAULT_CODEPAGE)"),
        need(option, format!("nls_{names}"), "long names on vfat (FAT_DEFAULT_IOCHARSET)"),
    ]
}

#[cfg(test)]
pub(in crate::kernel) mod tests;
