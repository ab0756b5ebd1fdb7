//! What comes back from the collecting script: sections of lines. Any bytes may come; none may panic.
//!
//! It travels over ssh, adb, a serial port: carriage returns are dropped, lines that are neither section nor part of one are
//! noise, and only a text with its last section is whole.

use super::bootstage::Stage;
use crate::{Error, Result};
use bootstrap::record::{self, Record};
use std::collections::BTreeMap;

/// Version of the format, in section `imagegen-collect`.
const VERSION: &str = "1";
/// Most bootstage entries, units and missing things that are kept: more is not a boot.
const MOST: usize = 10_000;

/// Times of a unit, or of systemd itself, by property: microseconds of `CLOCK_MONOTONIC`, 0 for never.
pub type Properties = BTreeMap<String, u64>;

/// What a machine told about its boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `uname -r`.
    pub kernel: String,
    /// The kernel command line.
    pub command_line: Option<String>,
    /// What the device tree or the firmware calls the machine.
    pub model: Option<String>,
    /// Bootstrap's record.
    pub record: Option<Record>,
    /// U-Boot's stages.
    pub stages: Vec<Stage>,
    /// Lines of the kernel log, without their levels.
    pub log: Vec<String>,
    /// systemd's own times.
    pub systemd: Option<Properties>,
    /// What `systemd-analyze time` said.
    pub analyze: Vec<String>,
    /// Units by name.
    pub units: BTreeMap<String, Properties>,
    /// Lines of the journal that are not the kernel's.
    pub journal: Vec<String>,
    /// What the machine lacks, in words.
    pub lacks: Vec<String>,
}

/// Reads all that the script wrote.
///
/// # Errors
/// Bad input if it is not the script's, or was cut.
pub fn parse(bytes: &[u8]) -> Result<Found> {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let (mut found, mut section, mut version, mut whole) = (Found::default(), "", None, false);
    let mut unit = Unit::default();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('@') {
            section = name;
            whole |= name == "end";
            continue;
        }
        let Some(line) = line.strip_prefix(' ') else { continue };
        match section {
            "imagegen-collect" => version = Some(line.to_owned()),
            "units" => unit.add(line, &mut found.units),
            _ => add(&mut found, section, line),
        }
        if whole {
            break;
        }
    }
    unit.end(&mut found.units);
    let refuse = |what: String, hint: &str| Err(Error::bad_input(what, hint));
    match version.as_deref() {
        Some(VERSION) if whole => Ok(found),
        Some(VERSION) => refuse("what the machine told stops before its end".into(), "collect again"),
        Some(other) => refuse(format!("format {other}, not {VERSION}"), "use the script and the imagegen of one build"),
        None => refuse(
            "the machine told nothing that imagegen understands".into(),
            "the command of --via must run what it gets on standard input with a shell: `ssh root@kit sh`",
        ),
    }
}

/// A line of every section whose lines do not hang together.
fn add(found: &mut Found, section: &str, line: &str) {
    let text = || Some(line.trim_end().to_owned()).filter(|text| !text.is_empty());
    match section {
        "kernel" => line.trim().clone_into(&mut found.kernel),
        "command-line" => found.command_line = found.command_line.take().or_else(text),
        "model" => found.model = found.model.take().or_else(text),
        "record" => match bytes_of(line).ok_or("not hexadecimal".to_owned()).and_then(open_record) {
            Ok(record) => found.record = Some(record),
            Err(why) => found.lacks.push(format!("the record: {why}")),
        },
        "bootstage" if found.stages.len() < MOST => found.stages.extend(Stage::parse(line)),
        "log" => found.log.push(without_level(line).to_owned()),
        "systemd" => found.systemd.get_or_insert_default().extend(property(line)),
        "systemd-analyze" => found.analyze.extend(text()),
        "journal" => found.journal.push(line.to_owned()),
        "lacks" if found.lacks.len() < MOST => found.lacks.extend(text()),
        _ => {}
    }
}

/// The unit whose properties come line by line, an empty line behind the last.
#[derive(Default)]
struct Unit {
    name: Option<String>,
    properties: Properties,
}

impl Unit {
    fn add(&mut self, line: &str, units: &mut BTreeMap<String, Properties>) {
        match line.split_once('=') {
            Some(("Id", name)) => {
                // A blank line may have been lost on the way.
                if self.name.is_some() {
                    self.end(units);
                }
                self.name = Some(name.to_owned());
            }
            Some(_) => self.properties.extend(property(line)),
            None => self.end(units),
        }
    }

    fn end(&mut self, units: &mut BTreeMap<String, Properties>) {
        let properties = std::mem::take(&mut self.properties);
        if let Some(name) = self.name.take().filter(|_| units.len() < MOST) {
            units.insert(name, properties);
        }
    }
}

/// `NAME=MICROSECONDS`.
fn property(line: &str) -> Option<(String, u64)> {
    let (name, value) = line.split_once('=')?;
    Some((name.to_owned(), value.trim_end().parse().ok()?))
}

fn open_record(bytes: Vec<u8>) -> std::result::Result<Record, String> {
    record::open(&bytes).map_err(|error| error.to_string())
}

/// A line of `dmesg -r` without `<LEVEL>`.
fn without_level(line: &str) -> &str {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    level.filter(|(level, _)| level.bytes().all(|byte| byte.is_ascii_digit())).map_or(line, |(_, rest)| rest)
}

/// Bytes from pairs of hexadecimal digits.
pub(super) fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.trim().as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = "Welcome to the kit\r\n@imagegen-collect\r\n 1\r\n@kernel\r\n 6.12.1\r\n@command-line\r\n quiet\r\n\
        @log\r\n <6>[    0.000000] Linux version 6.12.1\r\nnoise\r\n <30>[    1.000000] systemd[1]: <5> hello\r\n\
        @systemd\r\n FirmwareTimestampMonotonic=0\r\n UserspaceTimestampMonotonic=1234\r\n FinishTimestampMonotonic=[n/a]\r\n\
        @units\r\n Id=a.service\r\n ActiveEnterTimestampMonotonic=5\r\n \r\n Id=b.target\r\n \
        ActiveEnterTimestampMonotonic=0\r\n@lacks\r\n bootstage: none\r\n@record\r\n zz\r\n@end\r\nlogout\r\n";

    #[test]
    fn noise_and_carriage_returns_do_no_harm() {
        let found = parse(SMALL.as_bytes()).unwrap();
        assert_eq!((found.kernel.as_str(), found.command_line.as_deref()), ("6.12.1", Some("quiet")));
        assert_eq!(found.log, ["[    0.000000] Linux version 6.12.1", "[    1.000000] systemd[1]: <5> hello"]);
        assert_eq!(found.systemd.unwrap().into_iter().collect::<Vec<_>>().len(), 2);
        assert_eq!(found.units["a.service"]["ActiveEnterTimestampMonotonic"], 5);
        assert!(found.units.contains_key("b.target"));
        assert_eq!(found.lacks, ["bootstage: none", "the record: not hexadecimal"]);
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let refused = |text: &str, why: &str| {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.contains(why), "{error}");
        };
        refused(&SMALL.replace("@end", "@"), "stops before its end");
        refused(&SMALL.replace(" 1\r\n@kernel", " 2\r\n@kernel"), "format 2, not 1");
        refused("sh: not found\n", "understands");
        refused("", "understands");
    }

    #[test]
    fn hexadecimal_is_pairs() {
        assert_eq!(bytes_of(" 0aFf "), Some(vec![0x0A, 0xFF]));
        assert_eq!(bytes_of(""), Some(Vec::new()));
        assert_eq!((bytes_of("0"), bytes_of("0g"), bytes_of("+1")), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let _ = parse(&[SMALL.as_bytes(), &bytes].concat()).unwrap();
            let mut within = SMALL.replace("@end\r\n", "").into_bytes();
            within.extend_from_slice(&bytes);
            within.extend_from_slice(b"\n@end\n");
            let _ = parse(&within).unwrap();
        }
    }
}
