//! The scalar values of a board file: each knows its text form, so that a wrong one is refused with what was expected.

use bootstrap::plan::MAX_TEXT;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration as StdDuration;

/// Defines a type that is a string in the file, read by a function from `&str` to `Option`.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let refused = || de::Error::custom(format_args!("found {text:?}, expected {}", $expected));
                $parse(&text).map($name).ok_or_else(refused)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $expected })
            }
        }
    };
}

text! {
    /// Length of time.
    Duration(StdDuration), duration, "a duration: a whole number and us, ms or s, as in \"500ms\""
}
text! {
    /// Name of a board or slot.
    Name(String), name, "a name: 1 to 64 of a-z, 0-9, - and _"
}
text! {
    /// Name of a kernel module.
    ModuleName(String), module_name, "a module's name: letters, digits, - and _, without folder and .ko"
}
text! {
    /// Absolute path on the target.
    AbsolutePath(String), absolute_path,
    "an absolute path of at most 255 bytes without \"..\", \".\", \"//\" and trailing slash"
}
text! {
    /// Name of a GPT partition.
    PartName(String), part_name, "a partition name: 1 to 36 printable ASCII characters"
}
text! {
    /// Label of a file system.
    Label(String), label, "a label: 1 to 255 bytes without control characters"
}
text! {
    /// Identity of a partition.
    PartUuid(PartitionId), partition_id, "a GPT GUID (8-4-4-4-12 hexadecimal digits) or an MBR signature and number (\"1234abcd-02\")"
}
text! {
    /// UUID of a file system, lower case.
    Uuid(String), uuid, "a file system's UUID (8-4-4-4-12 hexadecimal digits; vfat: 4-4)"
}
text! {
    /// Kernel name of a block device.
    DeviceName(String), device_name, "a kernel name of a block device, as in \"vda1\" or \"/dev/mmcblk0p2\""
}
text! {
    /// Address of a logical unit.
    Lun(String), lun, "a logical unit as host:channel:target:lun, four decimal numbers, as in \"0:0:0:1\""
}
text! {
    /// Physical address.
    Address(u64), address, "an address in hexadecimal, as in \"0xa0000000\""
}
text! {
    /// Path of a device tree below the folder of a kernel's device trees.
    DtbPath(String), dtb_path, "a relative path to a .dtb, as in \"ti/k3-am625-beagleplay.dtb\""
}
text! {
    /// Kernel arguments, one space between them.
    CommandLine(String), command_line, "1 to 1024 bytes of kernel arguments, without quotes and \\ $ ` ; & | < > { } #, and without initoverlayfs. ... =, rdinit=, initrd= and noinitrd, which are not the bootloader's"
}
text! {
    /// Kernel name of a watchdog.
    WatchdogName(String), watchdog_name, "a kernel name of a watchdog, as in \"watchdog0\""
}
text! {
    /// Parameters of a kernel module.
    Parameters(String), parameters,
    "module parameters: name=value separated by spaces, at most 255 bytes without control characters"
}
text! {
    /// A few words.
    Words(String), words, "1 to 255 characters without control characters"
}
text! {
    /// Option of the kernel's configuration.
    KernelOption(String), kernel_option, "a kernel option without CONFIG_: letters, digits and _, as in \"MMC_BLOCK\""
}
text! {
    /// Serial port and its settings.
    Serial(super::Serial), serial, "a port and its settings as for console=, as in \"ttyS2,115200n8\""
}
text! {
    /// A disk.
    StorageName(super::Storage), storage, "a disk's kernel name, a colon and what it is, as in \"mmcblk0: eMMC\""
}
text! {
    /// Compression of the EROFS image.
    ImageCompression(super::ImageCompression), image_compression,
    "none, lz4, lz4hc[,0-12], zstd[,0-22], lzma[,0-109] or deflate[,0-9]"
}

/// What a `partuuid` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionId {
    /// A GUID as its bytes lie in the GPT.
    Gpt([u8; 16]),
    /// Signature of an MBR disk and number of the partition.
    Mbr(u32, u8),
}

/// Number of bytes: `"64MiB"` or a plain integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const SIZE: &str = "a size: bytes as a whole number, or a number and KiB, MiB or GiB, as in \"64MiB\"";

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                size(text).map(Size).ok_or_else(|| E::custom(format_args!("found {text:?}, expected {SIZE}")))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom(format_args!("found {bytes}, expected {SIZE}")))
            }
        }
        deserializer.deserialize_any(Sizes)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "description": SIZE })
    }
}

/// Splits `10ms` into 10 and `ms`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

fn duration(text: &str) -> Option<StdDuration> {
    match number_and_unit(text)? {
        (number, "us") => Some(StdDuration::from_micros(number)),
        (number, "ms") => Some(StdDuration::from_millis(number)),
        (number, "s") => Some(StdDuration::from_secs(number)),
        _ => None,
    }
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let scale = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

fn text_of(text: &str, longest: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    (!text.is_empty() && text.len() <= longest && text.chars().all(allowed)).then(|| text.to_owned())
}

fn name(text: &str) -> Option<String> {
    text_of(text, 64, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn module_name(text: &str) -> Option<String> {
    text_of(text, 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn parameters(text: &str) -> Option<String> {
    text_of(text, MAX_TEXT, |c| !c.is_control())
}

/// Whether `path` is absolute, not `/`, and free of empty, `.` and `..` components.
pub(crate) fn is_normalised(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..")))
}

/// Whether `text` is an absolute path on the target.
pub(crate) fn is_path(text: &str) -> bool {
    absolute_path(text).is_some()
}

fn absolute_path(text: &str) -> Option<String> {
    text_of(text, MAX_TEXT, |c| !c.is_control()).filter(|path| is_normalised(path))
}

fn part_name(text: &str) -> Option<String> {
    // Of others the kernel tells the low byte, or `!` (`utf16_le_to_7bit()`, block/partitions/efi.c, Linux 6.12).
    text_of(text, 36, |c| c.is_ascii_graphic() || c == ' ')
}

fn label(text: &str) -> Option<String> {
    text_of(text, 255, |c| !c.is_control())
}

fn device_name(text: &str) -> Option<String> {
    let kernel_name = text.strip_prefix("/dev/").unwrap_or(text);
    let name = text_of(kernel_name, 64, |c| c.is_ascii_graphic() && c != '\\' && c != '"')?;
    // /dev/disk has links of udev, which the kernel does not know.
    (is_normalised(&format!("/{name}")) && !name.starts_with("disk/")).then_some(name)
}

fn lun(text: &str) -> Option<String> {
    // The kernel takes more for some controllers' numbers, nothing that a board would name.
    let is_number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    (text.split(':').count() == 4 && text.split(':').all(is_number)).then(|| text.to_owned())
}

fn address(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

fn words(text: &str) -> Option<String> {
    text_of(text, 255, |c| !c.is_control())
}

fn kernel_option(text: &str) -> Option<String> {
    text_of(text, 128, |c| c.is_ascii_alphanumeric() || c == '_').filter(|name| !name.starts_with("CONFIG_"))
}

/// `bbbbpnf`: baud, parity, bits, flow control (Documentation/admin-guide/kernel-parameters.txt, `console=`).
fn serial(text: &str) -> Option<super::Serial> {
    let (device, settings) = text.split_once(',')?;
    let device = text_of(device, 32, |c| c.is_ascii_alphanumeric()).filter(|name| name.starts_with("tty"))?;
    let end = settings.find(|c: char| !c.is_ascii_digit()).unwrap_or(settings.len());
    let (baud, mode) = settings.split_at_checked(end)?;
    let baud = baud.parse().ok().filter(|baud| *baud != 0)?;
    let mut mode = mode.chars();
    let known = mode.next().is_none_or(|parity| "noe".contains(parity))
        && mode.next().is_none_or(|bits| "5678".contains(bits))
        && mode.next().is_none_or(|flow| flow == 'r')
        && mode.next().is_none();
    known.then(|| super::Serial { device, baud, text: text.to_owned() })
}

fn storage(text: &str) -> Option<super::Storage> {
    let (device, what) = text.split_once(": ")?;
    Some(super::Storage { device: device_name(device)?, what: words(what)? })
}

fn dtb_path(text: &str) -> Option<String> {
    let path = text_of(text, 255, |c| c.is_ascii_graphic() && !SPECIAL.contains(c))?;
    (path.ends_with(".dtb") && is_normalised(&format!("/{path}"))).then_some(path)
}

/// What quotes or expands in U-Boot's shell, GRUB's, or the kernel's command line.
const SPECIAL: &str = "\"'\\$`;&|<>{}#";

/// Arguments that every loader takes as they are. What chooses slots, drops what was written or goes around the bootstrap is for
/// whoever stands before the board, not for a file that says it at every boot. 1024 bytes are what a 32-bit ARM kernel
/// takes (COMMAND_LINE_SIZE, arch/arm/include/uapi/asm/setup.h).
fn command_line(text: &str) -> Option<String> {
    const REFUSED: [&str; 4] = ["initoverlayfs.", "rdinit=", "initrd=", "noinitrd"];
    let text = text_of(text, 1024, |c| (c == ' ' || c.is_ascii_graphic()) && !SPECIAL.contains(c))?;
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let is_refused = |word: &&str| REFUSED.iter().any(|refused| word.starts_with(refused));
    (!words.is_empty() && !words.iter().any(is_refused)).then(|| words.join(" "))
}

fn watchdog_name(text: &str) -> Option<String> {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let number = name.strip_prefix("watchdog")?;
    (number.len() <= 3 && number.bytes().all(|digit| digit.is_ascii_digit())).then(|| name.to_owned())
}

/// Whether `text` is hexadecimal digits in groups of these lengths, joined by `-`.
fn has_groups(text: &str, lengths: &[usize]) -> bool {
    let groups = text.split('-');
    groups.clone().map(str::len).eq(lengths.iter().copied())
        && groups.flat_map(str::chars).all(|c| c.is_ascii_hexdigit())
}

fn uuid(text: &str) -> Option<String> {
    (has_groups(text, &[8, 4, 4, 4, 12]) || has_groups(text, &[4, 4])).then(|| text.to_ascii_lowercase())
}

fn partition_id(text: &str) -> Option<PartitionId> {
    if has_groups(text, &[8, 2]) {
        let (signature, number) = text.split_once('-')?;
        let number = u8::from_str_radix(number, 16).ok().filter(|number| *number != 0)?;
        return Some(PartitionId::Mbr(u32::from_str_radix(signature, 16).ok()?, number));
    }
    if !has_groups(text, &[8, 4, 4, 4, 12]) {
        return None;
    }
    let value = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    Some(PartitionId::Gpt(guid_bytes(value.to_be_bytes())))
}

/// Swaps between a GUID's text order and its bytes in the GPT: the first three fields are little-endian there
/// (UEFI 2.10, appendix A).
pub(crate) fn guid_bytes(text_order: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = text_order;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

fn image_compression(text: &str) -> Option<super::ImageCompression> {
    use super::ImageCompression as Compression;
    let (algorithm, level) = text.split_once(',').map_or((text, None), |(name, level)| (name, Some(level)));
    let level = |highest: u8| match level {
        None => Some(None),
        Some(text) => text.parse::<u8>().ok().filter(|level| *level <= highest).map(Some),
    };
    match algorithm {
        "none" if algorithm == text => Some(Compression::None),
        "lz4" if algorithm == text => Some(Compression::Lz4),
        "lz4hc" => level(12).map(Compression::Lz4hc),
        "zstd" => level(22).map(Compression::Zstd),
        "lzma" => level(109).map(Compression::Lzma),
        "deflate" => level(9).map(Compression::Deflate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("64 MiB"), None);
        assert_eq!(size("99999999999GiB"), None);
        assert_eq!(duration("1500us"), Some(StdDuration::from_micros(1500)));
        assert_eq!(duration("10"), None);
        assert_eq!(duration("-1s"), None);
    }

    #[test]
    fn paths_devices_and_ids() {
        assert!(absolute_path("/etc/extra").is_some());
        for bad in ["/", "etc", "/etc/", "/a//b", "/a/../b", "/./a", ""] {
            assert_eq!(absolute_path(bad), None, "{bad}");
        }
        assert_eq!(device_name("/dev/vda1").as_deref(), Some("vda1"));
        assert_eq!(device_name("/dev/../x"), None);
        assert_eq!(device_name("/dev/disk/by-partlabel/x"), None);
        assert_eq!(uuid("ABCD-12EF").as_deref(), Some("abcd-12ef"));
        assert_eq!(partition_id("1234abcd-02"), Some(PartitionId::Mbr(0x1234_abcd, 2)));
        let guid = partition_id("C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        let bytes = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(guid, Some(PartitionId::Gpt(bytes)));
    }

    #[test]
    fn units_addresses_and_watchdogs() {
        assert_eq!(lun("0:0:1:49488").as_deref(), Some("0:0:1:49488"));
        for bad in
            ["", "0:0:0", "0:0:0:1:2", "0:0:0:x", "0:0:0:-1", "0:0:0:+1", "00:0:0:1", "0:0: 0:1", "0:0:0:4294967296"]
        {
            assert_eq!(lun(bad), None, "{bad}");
        }
        assert_eq!(address("0xa0000000"), Some(0xa000_0000));
        for bad in ["a0000000", "0x", "0x+1", "0x1_0", "0x10000000000000000", "2684354560"] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(watchdog_name("/dev/watchdog1").as_deref(), Some("watchdog1"));
        assert_eq!(watchdog_name("watchdog").as_deref(), Some("watchdog"));
        for bad in ["", "wd0", "watchdogs", "watchdog0/x", "watchdog0000"] {
            assert_eq!(watchdog_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_stands_on_a_real_board() {
        let port = serial("ttymxc1,115200").unwrap();
        assert_eq!((port.device.as_str(), port.baud, port.text.as_str()), ("ttymxc1", 115_200, "ttymxc1,115200"));
        assert_eq!(serial("ttyS2,1500000n8").map(|port| port.baud), Some(1_500_000));
        for bad in [
            "",
            "ttyS0",
            "ttyS0,",
            "ttyS0,0",
            "S0,9600",
            "ttyS0,9600x8",
            "ttyS0,9600n8rr",
            "tty/S0,9600",
            "ttyS0,99999999999",
        ] {
            assert_eq!(serial(bad), None, "{bad}");
        }
        let disk = storage("/dev/mmcblk0: eMMC").unwrap();
        assert_eq!((disk.device.as_str(), disk.what.as_str()), ("mmcblk0", "eMMC"));
        for bad in ["mmcblk0", "mmcblk0:eMMC", ": eMMC", "mmcblk0: ", "../x: eMMC"] {
            assert_eq!(storage(bad), None, "{bad}");
        }
        assert_eq!(kernel_option("8139TOO").as_deref(), Some("8139TOO"));
        for bad in ["", "CONFIG_MMC", "MMC-BLOCK", "MMC BLOCK", "MMC=y"] {
            assert_eq!(kernel_option(bad), None, "{bad}");
        }
    }

    #[test]
    fn device_trees_and_command_lines() {
        assert_eq!(dtb_path("ti/k3-am625.dtb").as_deref(), Some("ti/k3-am625.dtb"));
        for bad in ["", "a", "/a.dtb", "a//b.dtb", "../a.dtb", "a b.dtb", "$a.dtb"] {
            assert_eq!(dtb_path(bad), None, "{bad}");
        }
        assert_eq!(
            command_line("console=ttyS2,115200n8   root=LABEL=x ").as_deref(),
            Some("console=ttyS2,115200n8 root=LABEL=x")
        );
        for bad in [
            "",
            " ",
            "a\nb",
            "a=\"b c\"",
            "a='b'",
            "a;b",
            "${a}",
            "a\\b",
            "a#b",
            "ä",
            "a rdinit=/bin/sh",
            "initrd=/x",
            "noinitrd",
        ] {
            assert_eq!(command_line(bad), None, "{bad}");
        }
        for bad in ["initoverlayfs.slot=b", "a initoverlayfs.upper=reset", &"a".repeat(1025)] {
            assert_eq!(command_line(bad), None, "{bad}");
        }
    }

    #[test]
    fn image_compressions() {
        use crate::board::ImageCompression;
        assert_eq!(image_compression("lz4hc,12"), Some(ImageCompression::Lz4hc(Some(12))));
        assert_eq!(image_compression("zstd"), Some(ImageCompression::Zstd(None)));
        for bad in ["lz4,3", "none,1", "lz4hc,13", "gzip", "zstd,", ""] {
            assert_eq!(image_compression(bad), None, "{bad}");
        }
    }
}
