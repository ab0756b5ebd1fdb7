//! One axis for one boot: what a recorded console says becomes marks and spans in microseconds of the kernel's clock.
//!
//! A line that the kernel stamped has its time from there. Where this host knows when lines came, the smallest difference
//! between a line's arrival and its stamp is the moment when the kernel's clock began: no line comes before it was
//! printed, and one of them waited for nothing. By that, lines without a stamp get their place, and what came before the
//! kernel is negative.

use super::recorder::{Line, Watch};
use crate::boot::console::{Log, parse};
use crate::runs::{Layer, Mark, Run, Span, Zero, mark};
use crate::{Error, Result};

/// Stamps are printed in their order but for what processors do at the same time; a kernel that goes back further is
/// another one.
const ANOTHER_KERNEL_US: i64 = 1_000_000;

/// What is called the firmware's: from power-on to the first byte.
const SILENT: &str = "until first-byte";

/// What bootloaders say first, or last, and the marks for it.
const BOOTLOADERS: [(&str, &str); 3] =
    [("u-boot-spl", "U-Boot SPL "), ("u-boot", "U-Boot 20"), ("starting-kernel", "Starting kernel ...")];

/// What the standard marks of a system are known by: systemd says so in its log and as its status; before version 250
/// it called a target by its description alone.
const SYSTEM: [(&str, &str); 3] = [
    (mark::INITRD_DONE, "Switching root"),
    (mark::MULTI_USER, "Reached target multi-user.target"),
    (mark::MULTI_USER, "Reached target Multi-User System"),
];

/// What is known about the time at which lines came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// It has nothing to do with the time of the board.
    Meaningless,
    /// It is a measure. Holds when the board got power on that clock, if known.
    Known(Option<i64>),
}

/// One boot and what it says about its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Marks and spans.
    pub run: Run,
    /// Where its axis begins.
    pub zero: Zero,
    /// What the board is called, in the words of its device tree or firmware.
    pub model: Option<String>,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// The kernel's command line.
    pub command_line: Option<String>,
}

/// Reads a recorded console.
///
/// # Errors
/// Failed work if the board restarted in between: its times are those of two boots.
pub fn read(lines: &[Line], watch: &Watch, arrivals: Arrivals) -> Result<Boot> {
    let lines = own(lines, arrivals)?;
    let axis = Axis::of(lines, arrivals);
    let mut log = Log::default();
    for line in lines {
        // What the kernel does not stamp is stamped here.
        let text = match axis.zero {
            Zero::FirstByte => format!("{}{}", stamp(axis.at(line).unwrap_or(0)), line.text),
            Zero::Kernel => line.text.clone(),
        };
        log.add(parse(&text));
    }
    let mut run = Run::from_log(&log);
    let before = axis.before_the_kernel(lines, arrivals);
    let users = watch.marks.iter().filter_map(|(name, regex)| found(lines, &axis, name, |text| regex.is_match(text)));
    let end = watch.end.iter().filter_map(|end| found(lines, &axis, mark::END, |text| end.is_match(text)));
    let system = SYSTEM.iter().filter_map(|(name, words)| found(lines, &axis, name, |text| text.contains(words)));
    let ours = std::mem::take(&mut run.marks);
    // The user's word counts: a board may call something else the start of the next init.
    for mark in users.chain(end).chain(ours).chain(system).chain(before) {
        if run.at(&mark.name).is_none() {
            run.marks.push(mark);
        }
    }
    let spans = std::mem::take(&mut run.spans);
    run.spans = spans_before_the_kernel(&run, axis.zero);
    run.spans.extend(spans);
    let after =
        |words: &str| lines.iter().find_map(|line| line.text.split_once(words)).map(|(_, rest)| rest.to_owned());
    Ok(Boot {
        run,
        zero: axis.zero,
        model: after("Machine model: ").or_else(|| after("] DMI: ")),
        kernel: log.kernel,
        command_line: after("Kernel command line: "),
    })
}

/// The lines of this boot alone: a board that is restarted first says goodbye.
fn own(lines: &[Line], arrivals: Arrivals) -> Result<&[Line]> {
    let mut begin = 0;
    let mut kernel: Option<(&Line, i64)> = None;
    for (at, line) in lines.iter().enumerate() {
        let Some(stamp) = line.stamp_us else { continue };
        match kernel {
            Some((first, last)) if stamp < last.saturating_sub(ANOTHER_KERNEL_US) => {
                if !is_older(first, arrivals) {
                    let what = format!("the board restarted: the kernel's clock went back at {:?}", line.text);
                    return Err(Error::failed(what, "its console says why; a boot that is measured has one kernel"));
                }
                // What came since the last stamp may be either's; a bootloader's first words come after a pause.
                begin = lines[..at].iter().rposition(|line| line.stamp_us.is_some()).map_or(at, |last| last + 1);
                kernel = Some((line, stamp));
            }
            Some((first, last)) => kernel = Some((first, last.max(stamp))),
            None => kernel = Some((line, stamp)),
        }
    }
    Ok(lines.get(begin..).unwrap_or_default())
}

/// Whether a kernel ran already when the boot began: it has counted longer than the board has power, or, where that is not
/// known, its first words are missing.
fn is_older(first: &Line, arrivals: Arrivals) -> bool {
    let stamp = first.stamp_us.unwrap_or(0);
    match arrivals {
        Arrivals::Known(Some(power_on)) => stamp > first.arrival_us.saturating_sub(power_on),
        Arrivals::Known(None) => stamp > ANOTHER_KERNEL_US,
        Arrivals::Meaningless => false,
    }
}

/// Where the axis lies on the clock of arrivals.
struct Axis {
    zero: Zero,
    /// None where arrivals mean nothing.
    offset_us: Option<i64>,
}

impl Axis {
    fn of(lines: &[Line], arrivals: Arrivals) -> Self {
        let differences = lines.iter().filter_map(|line| Some(line.arrival_us.saturating_sub(line.stamp_us?)));
        match (differences.min(), arrivals) {
            (_, Arrivals::Meaningless) => Axis { zero: Zero::Kernel, offset_us: None },
            (Some(offset), _) => Axis { zero: Zero::Kernel, offset_us: Some(offset) },
            (None, Arrivals::Known(power_on)) => {
                let first = lines.first().map_or(0, |line| line.arrival_us);
                Axis { zero: Zero::FirstByte, offset_us: Some(power_on.unwrap_or(first)) }
            }
        }
    }

    fn at(&self, line: &Line) -> Option<i64> {
        line.stamp_us.or_else(|| self.place(line.arrival_us))
    }

    /// An instant of the clock of arrivals on the axis.
    fn place(&self, arrival_us: i64) -> Option<i64> {
        self.offset_us.map(|offset| arrival_us.saturating_sub(offset))
    }

    fn before_the_kernel(&self, lines: &[Line], arrivals: Arrivals) -> Vec<Mark> {
        let Arrivals::Known(power_on) = arrivals else { return Vec::new() };
        let loader = lines.split(|line| line.stamp_us.is_some()).next().unwrap_or_default();
        let first = lines.first().map(|line| line.arrival_us);
        let named = [(mark::POWER_ON, power_on), (mark::FIRST_BYTE, first)];
        let mut marks: Vec<Mark> =
            named.into_iter().filter_map(|(name, at)| Some(new_mark(name, self.place(at?)?))).collect();
        marks.extend(
            BOOTLOADERS.iter().filter_map(|(name, words)| found(loader, self, name, |text| text.contains(words))),
        );
        marks
    }
}

/// The firmware is silent, the bootloader speaks, then the kernel's clock begins. A bootloader that says nothing counts as
/// firmware; a kernel that stamps nothing has no beginning.
fn spans_before_the_kernel(run: &Run, zero: Zero) -> Vec<Span> {
    if zero == Zero::FirstByte {
        let between = run.at(mark::POWER_ON).zip(run.at(mark::FIRST_BYTE));
        return between.and_then(|(from, to)| span(Layer::Firmware, SILENT, from, to)).into_iter().collect();
    }
    let first = run.at(mark::FIRST_BYTE).map(|at| at.min(0));
    let firmware = run.at(mark::POWER_ON).zip(first).and_then(|(from, to)| span(Layer::Firmware, SILENT, from, to));
    let bootloader = first.and_then(|from| span(Layer::Bootloader, "until kernel", from, 0));
    firmware.into_iter().chain(bootloader).collect()
}

fn span(layer: Layer, name: &str, from: i64, to: i64) -> Option<Span> {
    let duration_us = u64::try_from(to.checked_sub(from)?).ok().filter(|us| *us > 0)?;
    Some(Span { layer, name: name.to_owned(), start_us: Some(from), duration_us })
}

fn new_mark(name: &str, at_us: i64) -> Mark {
    Mark { name: name.to_owned(), at_us }
}

/// The first line that says it.
fn found(lines: &[Line], axis: &Axis, name: &str, says: impl Fn(&str) -> bool) -> Option<Mark> {
    let line = lines.iter().find(|line| says(&line.text))?;
    Some(new_mark(name, axis.at(line)?))
}

/// As the kernel writes it.
fn stamp(at_us: i64) -> String {
    let at_us = at_us.max(0);
    format!("[{:5}.{:06}] ", at_us / 1_000_000, at_us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Recorder;
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;
    use std::time::Duration;

    /// Lines that come at the given milliseconds.
    fn lines(text: &[(i64, &str)]) -> Vec<Line> {
        let watch = Watch::default();
        let mut recorder = Recorder::new(&watch, Duration::ZERO);
        for (at_ms, line) in text {
            recorder.feed(at_ms * 1000, format!("{line}\n").as_bytes());
        }
        recorder.lines
    }

    fn marks(boot: &Boot) -> Vec<(&str, i64)> {
        boot.run.marks.iter().map(|mark| (mark.name.as_str(), mark.at_us)).collect()
    }

    const BOARD: [(i64, &str); 9] = [
        (400, "U-Boot SPL 2026.07 (Jul 01 2026)"),
        (700, "U-Boot 2026.07 (Jul 01 2026)"),
        (1500, "Starting kernel ..."),
        (2100, "[    0.000000] Linux version 6.12.1 (builder@host)"),
        (2150, "[    0.000000] Machine model: A Board"),
        (2160, "[    0.000000] Kernel command line: console=ttyS0,115200 root=/dev/mmcblk0p2"),
        (2600, "[    0.900000] Run /init as init process"),
        (4000, "[  OK  ] Reached target multi-user.target - Multi-User System."),
        (4100, "board login:"),
    ];

    #[test]
    fn a_boot_has_one_axis_from_power_to_login() {
        let watch = Watch {
            end: Some(Regex::new("login:").unwrap()),
            marks: vec![("loader".into(), Regex::new("^U-Boot 2026").unwrap())],
        };
        let boot = read(&lines(&BOARD), &watch, Arrivals::Known(Some(100_000))).unwrap();
        // The kernel's clock began at 2600 - 900 = 1700 ms: the lines before it waited for the console.
        assert_eq!(
            marks(&boot),
            [
                ("loader", -1_000_000),
                ("end", 2_400_000),
                ("run-init", 900_000),
                ("multi-user.target", 2_300_000),
                ("power-on", -1_600_000),
                ("first-byte", -1_300_000),
                ("u-boot-spl", -1_300_000),
                ("u-boot", -1_000_000),
                ("starting-kernel", -200_000),
            ]
        );
        let spans: Vec<_> = boot.run.spans.iter().map(|s| (s.layer, s.start_us, s.duration_us)).collect();
        assert_eq!(
            spans,
            [(Layer::Firmware, Some(-1_600_000), 300_000), (Layer::Bootloader, Some(-1_300_000), 1_300_000)]
        );
        assert_eq!((boot.zero, boot.kernel.as_deref(), boot.model.as_deref()), {
            (Zero::Kernel, Some("6.12.1"), Some("A Board"))
        });
        assert_eq!(boot.command_line.as_deref(), Some("console=ttyS0,115200 root=/dev/mmcblk0p2"));
    }

    #[test]
    fn on_a_clock_that_is_not_the_hosts_only_stamps_count() {
        let watch = Watch { end: Some(Regex::new("login:").unwrap()), marks: Vec::new() };
        let boot = read(&lines(&BOARD), &watch, Arrivals::Meaningless).unwrap();
        assert_eq!(marks(&boot), [("run-init", 900_000)]);
        assert!(boot.run.spans.is_empty());
    }

    #[test]
    fn a_kernel_without_stamps_is_timed_by_its_lines() {
        let text = [
            (300, "U-Boot 2026.07"),
            (500, "Linux version 6.12.1 (builder@host)"),
            (1000, "Run /init as init process"),
            (1100, "initoverlayfs: mount 90 us"),
            (1200, "initoverlayfs: exec 30 us /init"),
        ];
        let boot = read(&lines(&text), &Watch::default(), Arrivals::Known(Some(100_000))).unwrap();
        assert_eq!(boot.zero, Zero::FirstByte);
        assert_eq!(
            marks(&boot),
            [
                ("run-init", 900_000),
                ("next-init", 1_100_000),
                ("power-on", 0),
                ("first-byte", 200_000),
                ("u-boot", 200_000)
            ]
        );
        let spans: Vec<_> = boot.run.spans.iter().map(|s| (s.title(), s.start_us, s.duration_us)).collect();
        assert_eq!(
            spans,
            [
                ("firmware until first-byte".into(), Some(0), 200_000),
                ("mount".into(), Some(999_910), 90),
                ("exec".into(), Some(1_099_970), 30)
            ]
        );
        let boot = read(&lines(&text), &Watch::default(), Arrivals::Known(None)).unwrap();
        assert_eq!((boot.run.at(mark::FIRST_BYTE), boot.run.at(mark::NEXT_INIT)), (Some(0), Some(900_000)));
    }

    #[test]
    fn what_the_kernel_before_says_is_not_of_this_boot() {
        let mut text = vec![(150, "[  512.000000] reboot: Restarting system")];
        text.extend(BOARD);
        let with = read(&lines(&text), &Watch::default(), Arrivals::Known(Some(100_000))).unwrap();
        let without = read(&lines(&BOARD), &Watch::default(), Arrivals::Known(Some(100_000))).unwrap();
        assert_eq!(with, without);
        read(&lines(&text), &Watch::default(), Arrivals::Known(None)).unwrap();
    }

    #[test]
    fn two_kernels_are_no_boot() {
        let mut text = BOARD.to_vec();
        text.push((5000, "[    5.000000] reboot: Restarting system"));
        text.push((6000, "[    0.000000] Linux version 6.12.1 (builder@host)"));
        let error = read(&lines(&text), &Watch::default(), Arrivals::Known(Some(0))).unwrap_err();
        assert!(error.exit_status() == 1 && error.what.contains("restarted"), "{error}");
    }

    #[test]
    fn systemd_is_understood_by_what_it_says() {
        let text = [
            (10, "[    0.010000] Run /init as init process"),
            (20, "[    0.020000] systemd[1]: Switching root."),
            (30, "[    0.030000] systemd[1]: Reached target Multi-User System."),
            (40, "[    0.040000] systemd[1]: Reached target multi-user.target - Multi-User System."),
        ];
        let boot = read(&lines(&text), &Watch::default(), Arrivals::Meaningless).unwrap();
        assert_eq!((boot.run.at(mark::INITRD_DONE), boot.run.at(mark::MULTI_USER)), (Some(20_000), Some(40_000)));
    }

    proptest! {
        #[test]
        fn any_lines_have_a_place_and_no_mark_comes_twice(
            lines in proptest::collection::vec((any::<i64>(), "(\\[ {0,4}[0-9]{1,19}\\.[0-9]{6}\\] )?(U-Boot 20|Run /init as init process|login:|initoverlayfs: mount 9 us|\\PC{0,9})"), 0..20),
            power_on in proptest::option::of(any::<i64>()),
        ) {
            let watch = Watch { end: Some(Regex::new("login").unwrap()), marks: vec![("end".into(), Regex::new("o").unwrap())] };
            let line = |(arrival_us, text): &(i64, String)| {
                let stamp_us = parse(text).at_us.and_then(|us| i64::try_from(us).ok());
                Line { arrival_us: *arrival_us, stamp_us, text: text.clone() }
            };
            let lines: Vec<Line> = lines.iter().map(line).collect();
            for arrivals in [Arrivals::Meaningless, Arrivals::Known(power_on)] {
                let Ok(boot) = read(&lines, &watch, arrivals) else { continue };
                let mut names: Vec<&str> = boot.run.marks.iter().map(|mark| mark.name.as_str()).collect();
                names.sort_unstable();
                prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", names);
            }
        }
    }
}
