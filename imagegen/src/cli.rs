//! The command line: what is asked for, nothing of how it is done.

mod collect;
pub mod documents;
mod install;
mod measure;
mod new;
mod ostree;
mod tune;

pub use collect::Collect;
pub use install::Install;
pub use measure::Measurement;
pub use new::{Convert, New};
pub use ostree::Ostree;
pub use tune::Tune;

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
    /// Print the checklist for a board's first boot: kernel options, bootloader, storage, serial port, what to measure.
    #[command(after_help = "Example: imagegen bring-up beagleplay")]
    BringUp {
        /// Board: a name in board-configs/ or a path.
        board: String,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a kernel lacks for a board, and the fix; exit status 1 if something is missing.
    #[command(
        after_help = "Modules count where the board loads them; without --modules everything must be built in.\n\n\
                      Example: imagegen doctor beagleplay --config .config --modules /lib/modules/VERSION"
    )]
    Doctor {
        /// Board: a name in board-configs/ or a path.
        board: String,
        /// The kernel's .config, as text or .gz, or an image with CONFIG_IKCONFIG [default: beside the modules, else the running kernel's].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Folder of the kernel's modules [default: none, or without --config the running kernel's].
        #[arg(long, value_name = "DIR")]
        modules: Option<PathBuf>,
    },
    /// Write a commented board file; at a terminal, what is not given is asked for.
    #[command(
        after_help = "Example: imagegen new kit --architecture aarch64 --source partition --partname initoverlayfs"
    )]
    New(Box<New>),
    /// Convert the configuration of the original initoverlayfs to a board file.
    #[command(
        after_help = "What no board can do is refused; what differs is said on standard error and in the file.\n\n\
                      Example: imagegen convert /etc/initoverlayfs.conf --to /etc/initoverlayfs/board.toml"
    )]
    Convert(Convert),
    /// Print what a target will do, and write nothing.
    #[command(after_help = "Example: imagegen plan qemu-arm64 --from initrd.gz")]
    Plan(Source),
    /// Make initramfs.img, initoverlayfs.erofs, rescue.erofs, manifest.json, disk.img for QEMU, and what the board's bootloader takes.
    #[command(after_help = "Example: imagegen build qemu-arm64 --from initrd.gz --kernel Image --out out")]
    Build {
        /// What to build from.
        #[command(flatten)]
        source: Source,
        /// Bootstrap program, or folder with bootstrap-ARCH [default: beside imagegen, or installed].
        #[arg(long, value_name = "PATH")]
        bootstrap: Option<PathBuf>,
        /// Kernel to put beside the images, for `boot` and the bootloader.
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// What else the bootloader's files are made of.
        #[command(flatten)]
        bootloader: Bootloader,
        /// Folder to make, or to replace if `build` made it.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// List what a file holds: an initramfs, tar, folder, EROFS image, disk, plan, record, profile, manifest, or a bootloader's file.
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
    /// Sign an image's root hash with a key of the kernel's keyring; an older signature is replaced.
    #[command(
        after_help = "A folder's disk.img and manifest.json are brought up to date. A key in a token needs OpenSSL's provider \
                      `pkcs11`, or with --engine its engine (Debian: pkcs11-provider, libengine-pkcs11-openssl).\n\n\
                      Example: imagegen sign out --key images.key --certificate images.pem\n         \
                      imagegen sign out --key 'pkcs11:token=keys;object=images' --certificate images.pem"
    )]
    Sign {
        /// Image with a trailer, or folder that `build` made.
        image: PathBuf,
        /// Private key: a file in PEM, or a pkcs11: URI.
        #[arg(long, value_name = "KEY")]
        key: OsString,
        /// Certificate of that key, in PEM.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// OpenSSL provider that has the key [default: pkcs11 for a URI].
        #[arg(long, value_name = "NAME")]
        provider: Option<OsString>,
        /// OpenSSL engine that has the key, where there is no provider.
        #[arg(long, value_name = "NAME", conflicts_with = "provider")]
        engine: Option<OsString>,
    },
    /// Hold an image against its hash tree, and against what is known of it; a line for each check that it passes.
    #[command(after_help = "Without --root-hash or --certificate this finds damage, not forgery.\n\n\
                      Example: imagegen verify /dev/disk/by-partlabel/initoverlayfs_a --certificate images.pem")]
    Verify {
        /// Image, partition, or folder that `build` made.
        image: PathBuf,
        /// Certificate of the key that must have signed it, in PEM.
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// Root hash that it must have.
        #[arg(long, value_name = "HEX", value_parser = root_hash)]
        root_hash: Option<[u8; 32]>,
    },
    /// Put an image where a board boots it from: a partition, which must not be in use, or a file; or install for a kernel.
    #[command(after_help = install::HELP)]
    Install(Box<Install>),
    /// Put kernel, mini-initramfs and image where `ostree admin deploy` takes a kernel from: into a tree, or into a commit.
    #[command(after_help = ostree::HELP)]
    Ostree(Ostree),
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
    /// Boot folders in QEMU, or a board on a serial line, N times; keep when each boot reached what.
    #[command(after_help = measure::HELP)]
    Measure(Box<Measurement>),
    /// Keep what boots read of a folder's image, in QEMU until a line or by a board's own trace: `build --profile` puts that first.
    #[command(
        after_help = "The profile names files and their pages, and holds for any source, compression or layout of the same content, \
                      and for most of a newer one.\n\n\
                      A board traces itself: boot it with DIR's image and the kernel arguments\n  \
                      trace_event=filemap:mm_filemap_add_to_page_cache trace_buf_size=16M\n\
                      (CONFIG_FTRACE and any tracer; pages of 4 KiB), then fetch the trace once: ssh root@kit cat /sys/kernel/tracing/trace \
                      > boot.trace\n\n\
                      Example: imagegen build qemu-arm64 --from initrd.gz --kernel Image --record --out record\n         \
                      imagegen profile record --end 'login:' --out boot.profile\n         \
                      imagegen profile record --trace boot.trace --until 6.5 --out boot.profile\n         \
                      imagegen build qemu-arm64 --from initrd.gz --kernel Image --profile boot.profile --out out"
    )]
    Profile {
        /// What to boot.
        #[command(flatten)]
        machine: Machine,
        /// The line that ends a boot in QEMU; what is read until then is kept. Or --trace.
        #[arg(long, value_name = "REGEX", value_parser = measure::expression, required_unless_present = "trace", conflicts_with = "trace")]
        end: Option<regex::Regex>,
        /// How many boots; what any of them read is kept.
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "trace")]
        runs: u32,
        /// Boot nothing: read what a board's kernel traced of a boot of DIR's image; can be given again for further boots.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "append", "explain"])]
        trace: Vec<PathBuf>,
        /// Keep only what the trace has until then, in seconds of the kernel's clock.
        #[arg(long, value_name = "SECONDS", requires = "trace", value_parser = seconds)]
        until: Option<f64>,
        /// Where to write the profile.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Build and boot a board's image in every way that changes how fast it boots: which is the smallest, the earliest?
    #[command(
        after_help = "Compression and size of clusters, each with and without a profile. What is built is removed again.\n\n\
                      Example: imagegen tune qemu-arm64 --from initrd.gz --kernel Image --end 'login:'"
    )]
    Tune(Box<Tune>),
    /// Ask a machine how it booted: bootstrap's record, kernel log, U-Boot's stages, systemd; over ssh or any shell.
    #[command(after_help = "It needs a shell and busybox' tools there, and nothing of imagegen.\n\n\
                      Example: imagegen collect root@kit --json runs.json --append --unit app.service\n         \
                      imagegen collect --via 'adb shell' --json runs.json --mark 'camera=first frame'")]
    Collect(Collect),
    /// Print measurements as tables; several are compared with the first.
    #[command(after_help = "Example: imagegen report before.json after.json --html boot.html")]
    Report {
        /// Files that `measure` or `collect` wrote.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// Write a page with timelines, which needs no scripts and no network.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Write a trace for Perfetto (JSON), every boot a process.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Write every mark and span as comma-separated values.
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
        /// Write medians as JUnit's XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Compare two measurements phase by phase; each needs 10 boots.
    #[command(after_help = "Example: imagegen compare before.json after.json")]
    Compare {
        /// The boots of before.
        control: PathBuf,
        /// The boots of after.
        candidate: PathBuf,
    },
    /// Fail where boots are slower than before or over the board's budget: exit status 1.
    #[command(after_help = "Example: imagegen gate --baseline main.json new.json --board qemu-arm64 --junit gate.xml")]
    Gate {
        /// The boots in question.
        runs: PathBuf,
        /// The boots of before; each needs 10.
        #[arg(long, value_name = "RUNS", required_unless_present = "board")]
        baseline: Option<PathBuf>,
        /// Board whose budget holds: a name in board-configs/ or a path.
        #[arg(long, value_name = "BOARD")]
        board: Option<String>,
        /// How much slower each phase may be: 2% of itself, 50us [default: nothing that is more than noise].
        #[arg(long, value_name = "LIMIT", requires = "baseline")]
        max_regression: Option<imagegen::gate::Tolerance>,
        /// Write the outcome as JUnit's XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Print the JSON schema of board files.
    #[command(hide = true)]
    Schema,
    /// Write man pages and shell completions.
    #[command(hide = true)]
    Documents {
        /// Folder to write them into.
        dir: PathBuf,
        /// Date of the man pages.
        #[arg(long, value_name = "YYYY-MM-DD", default_value = "")]
        date: String,
    },
}

/// What to build from.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// Board: a name in board-configs/ or a path.
    pub board: String,
    /// Initramfs (cpio: plain, gzip, xz, zstd, lz4, lzma, bzip2, lzo), folder or tar.
    #[arg(long, value_name = "INPUT")]
    pub from: PathBuf,
    /// The same for the rescue image, for a board with a slot that holds it.
    #[arg(long, value_name = "INPUT")]
    pub rescue: Option<PathBuf>,
    /// Folder of the kernel's modules [default: everything is built in].
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// What a boot read, from `imagegen profile`: laid first in the image, and read ahead from a device.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// An image to be profiled, not to be shipped: its boot reads page by page what is used, and nothing along.
    #[arg(long, conflicts_with = "profile")]
    pub record: bool,
}

/// What the bootloader's files are made of, beside the kernel.
#[derive(Args, Clone, Debug)]
pub struct Bootloader {
    /// The board's device tree, for its bootloader.
    #[arg(long, value_name = "FILE", conflicts_with = "dtbs")]
    pub dtb: Option<PathBuf>,
    /// Folder of the kernel's device trees, in which the board names its own.
    #[arg(long, value_name = "DIR")]
    pub dtbs: Option<PathBuf>,
    /// Stub of a unified kernel image [default: linux*.efi.stub in /usr/lib/systemd/boot/efi].
    #[arg(long, value_name = "FILE")]
    pub stub: Option<PathBuf>,
    /// Private RSA key in PEM, called NAME.key, that signs the FIT.
    #[arg(long, value_name = "FILE")]
    pub fit_key: Option<PathBuf>,
}

impl From<Bootloader> for imagegen::bootloader::Inputs {
    fn from(Bootloader { dtb, dtbs, stub, fit_key }: Bootloader) -> Self {
        imagegen::bootloader::Inputs { dtb, dtbs, stub, fit_key }
    }
}

/// What to boot.
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Folder that `build` made.
    pub dir: PathBuf,
    /// How to boot it.
    #[command(flatten)]
    pub how: How,
}

/// How to boot a folder.
#[derive(Args, Clone, Debug)]
pub struct How {
    /// Kernel [default: the one in the folder].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Give up after this long: 500ms, 120s, 5m.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// Further kernel arguments.
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub append: OsString,
    /// Have the kernel say what each initcall took. That takes time: such boots are not compared with others.
    #[arg(long)]
    pub explain: bool,
}

impl How {
    /// In the words of the library.
    pub fn options(&self, deterministic: bool) -> imagegen::boot::Options {
        let mut append = self.append.clone();
        if self.explain {
            append.push(if append.is_empty() { "" } else { " " });
            append.push(imagegen::explain::APPEND);
        }
        imagegen::boot::Options { kernel: self.kernel.clone(), deterministic, timeout: self.timeout, append }
    }
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

/// A moment of the kernel's clock.
fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("{text:?} is no number of seconds from 0"))
}

/// 32 bytes in hexadecimal.
fn root_hash(text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("{text:?} is no SHA-256 root hash: give 64 hexadecimal digits");
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let pairs = (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16));
    let bytes: Vec<u8> = pairs.collect::<Result<_, _>>().map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
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
    fn root_hashes_have_64_digits() {
        assert_eq!(root_hash(&"0aF0".repeat(16)), Ok([[0x0A, 0xF0]; 16].as_flattened().try_into().unwrap()));
        for wrong in [String::new(), "0".repeat(63), "0".repeat(65), "g".repeat(64), "+1".repeat(32), "ä".repeat(32)] {
            assert!(root_hash(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_number_from_0() {
        assert_eq!(seconds("6.5"), Ok(6.5));
        for wrong in ["", "nan", "inf", "-1", "6s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
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
