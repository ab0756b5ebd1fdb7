//! The command line: what is asked for, nothing of how it is done.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Turns the initramfs you have into an EROFS image that boots without unpacking.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  imagegen build qemu-arm64 --from initrd.gz --modules /lib/modules/6.1 --kernel Image --out out\n  imagegen boot out"
)]
pub struct Cli {
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say everything that is wrong with a board file.
    #[command(after_help = "Example: imagegen check board-configs/qemu-arm64.toml")]
    Check {
        /// Board: a name in board-configs/ or a path.
        board: String,
    },
    /// Print what a target will do, and write nothing.
    #[command(after_help = "Example: imagegen plan qemu-arm64 --from initrd.gz")]
    Plan(Source),
    /// Make initramfs.img, initoverlayfs.erofs, manifest.json, and disk.img for QEMU.
    #[command(after_help = "Example: imagegen build qemu-arm64 --from initrd.gz --kernel Image --out out")]
    Build {
        /// What to build from.
        #[command(flatten)]
        source: Source,
        /// Bootstrap program [default: bootstrap-ARCH beside imagegen, or installed].
        #[arg(long, value_name = "FILE")]
        bootstrap: Option<PathBuf>,
        /// Kernel to put beside the images, for `boot`.
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// Folder to make, or to replace if `build` made it.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// List what a file holds: an initramfs, tar, folder, EROFS image, disk, plan, record or manifest.
    #[command(after_help = "Example: imagegen inspect out/initramfs.img --cat /plan > plan; imagegen inspect plan")]
    Inspect {
        /// File or folder.
        file: PathBuf,
        /// Write this file of it to standard output.
        #[arg(long, value_name = "PATH", conflicts_with = "json")]
        cat: Option<OsString>,
        /// Write JSON. As in the list, a byte of a name that is not UTF-8 is \xNN, and a backslash \\.
        #[arg(long)]
        json: bool,
    },
    /// Boot a folder in QEMU; exit status 0 if the next init ran. Ctrl-A X ends it.
    #[command(after_help = "Example: imagegen boot out --deterministic --append loglevel=7")]
    Boot {
        /// What to boot.
        #[command(flatten)]
        machine: Machine,
        /// One instruction is one nanosecond: times that can be compared.
        #[arg(long)]
        deterministic: bool,
    },
    /// Boot a folder N times on the deterministic clock; hold it against the board's budget.
    #[command(after_help = "Example: imagegen measure out --runs 5 --json runs.json")]
    Measure {
        /// What to boot.
        #[command(flatten)]
        machine: Machine,
        /// How many boots.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// Where to write the measurements.
        #[arg(long, value_name = "FILE")]
        json: PathBuf,
    },
    /// Print measurements as tables; several are compared with the first.
    #[command(after_help = "Example: imagegen report before.json after.json")]
    Report {
        /// Files that `measure` wrote.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
    /// Print the JSON schema of board files.
    #[command(hide = true)]
    Schema,
}

/// What to build from.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// Board: a name in board-configs/ or a path.
    pub board: String,
    /// Initramfs (cpio: plain, gzip, xz, zstd, lz4, lzma, bzip2, lzo), folder or tar.
    #[arg(long, value_name = "INPUT")]
    pub from: PathBuf,
    /// Folder of the kernel's modules [default: everything is built in].
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
}

/// What to boot.
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Folder that `build` made.
    pub dir: PathBuf,
    /// Kernel [default: the one in the folder].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Give up after this long: 500ms, 120s, 5m.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// Further kernel arguments.
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub append: OsString,
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().map_err(|_| format!("{text:?} is no time: give 500ms, 120s or 5m"))?;
    match text.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number.into())),
        Some("s") => Ok(Duration::from_secs(number.into())),
        Some("m") => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(format!("{text:?} has no unit: give 500ms, 120s or 5m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "120", "s", "1h", "-1s", "1.5s", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
