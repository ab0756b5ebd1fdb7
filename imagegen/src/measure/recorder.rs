//! A console being recorded: its lines, each with the time at which its first byte came, and whether the boot is over.

use crate::boot::console::{Log, parse};
use regex::Regex;
use std::time::Duration;

/// Longest line kept, in bytes; what is longer is read as if it ended there.
const MAX_LINE: usize = 4096;
/// The most lines of a boot that are kept for its times.
const MAX_LINES: usize = 200_000;
/// A line that has not ended is looked at when nothing has followed for this long: a prompt never ends.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// How many pauses the next init is watched after it was started: its refusal would follow at once.
const PAUSES_AFTER_EXEC: u32 = 10;
/// More of the bytes than one in this many are no text: the line runs at another speed.
const GARBAGE_SHARE: u64 = 4;

/// What is looked for on a console.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The line that ends a boot; by default the start of the next init.
    pub end: Option<Regex>,
    /// Lines whose time is kept, and under which name. Of several lines the first counts.
    pub marks: Vec<(String, Regex)>,
}

/// A line of a console, without what only a terminal understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When its first byte came, in microseconds on the recorder's clock.
    pub arrival_us: i64,
    /// The kernel's timestamp, in microseconds.
    pub stamp_us: Option<i64>,
    /// What it says.
    pub text: String,
}

/// Takes the bytes of one boot.
#[derive(Debug)]
pub struct Recorder<'a> {
    watch: &'a Watch,
    byte_time: Duration,
    partial: Vec<u8>,
    partial_since_us: i64,
    read_us: i64,
    /// The lines so far.
    pub lines: Vec<Line>,
    /// What they say about the boot.
    pub log: Log,
    bytes: u64,
    odd_bytes: u64,
    lines_after_exec: u32,
    pauses_after_exec: u32,
    end_seen: bool,
}

impl<'a> Recorder<'a> {
    /// Nothing yet. A byte takes at least `byte_time` on its way.
    pub fn new(watch: &'a Watch, byte_time: Duration) -> Self {
        Recorder {
            watch,
            byte_time,
            partial: Vec::new(),
            partial_since_us: 0,
            read_us: i64::MIN,
            lines: Vec::new(),
            log: Log::default(),
            bytes: 0,
            odd_bytes: 0,
            lines_after_exec: 0,
            pauses_after_exec: 0,
            end_seen: false,
        }
    }

    /// Takes bytes that were read at `read_us`.
    pub fn feed(&mut self, read_us: i64, bytes: &[u8]) {
        let byte_ns = i64::try_from(self.byte_time.as_nanos()).unwrap_or(0);
        for (behind, byte) in (0_i64..bytes.len() as i64).rev().zip(bytes) {
            // An adapter hands over many bytes at once. One after the other they took their time on the line; none of them
            // was there at the last read.
            let arrival_us = read_us.saturating_sub(behind.saturating_mul(byte_ns) / 1000).max(self.read_us);
            self.take(arrival_us, *byte);
        }
        self.read_us = read_us;
    }

    fn take(&mut self, arrival_us: i64, byte: u8) {
        self.bytes += 1;
        self.odd_bytes += u64::from(!matches!(byte, 8..=13 | 27 | 32..=126));
        match byte {
            b'\n' => {
                let text = plain(&self.partial);
                self.partial.clear();
                self.line(self.partial_since_us, &text);
            }
            // A line that loses its power says NUL.
            0 if self.partial.is_empty() => (),
            _ => {
                if self.partial.is_empty() {
                    self.partial_since_us = arrival_us;
                }
                if self.partial.len() < MAX_LINE {
                    self.partial.push(byte);
                }
            }
        }
    }

    fn line(&mut self, arrival_us: i64, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        self.lines_after_exec += u32::from(self.log.next_init_ran());
        let line = parse(text);
        let stamp_us = line.at_us.and_then(|us| i64::try_from(us).ok());
        self.log.add(line);
        self.end_seen |= self.ends(text);
        if self.lines.len() < MAX_LINES {
            self.lines.push(Line { arrival_us, stamp_us, text: text.to_owned() });
        }
    }

    fn ends(&self, text: &str) -> bool {
        self.watch.end.as_ref().is_some_and(|end| end.is_match(text))
    }

    /// Nothing has come for [`PAUSE`].
    pub fn pause(&mut self) {
        self.pauses_after_exec += u32::from(self.log.next_init_ran());
        let text = plain(&self.partial);
        if self.ends(&text) {
            self.partial.clear();
            self.line(self.partial_since_us, &text);
        }
    }

    /// Nothing will come any more: what has not ended is a line.
    pub fn finish(&mut self) {
        let text = plain(&self.partial);
        self.partial.clear();
        self.line(self.partial_since_us, &text);
    }

    /// Whether the boot came to the end that is watched for.
    pub fn is_complete(&self) -> bool {
        if self.watch.end.is_some() { self.end_seen } else { self.log.next_init_ran() }
    }

    /// Whether nothing is waited for any more, because the boot is complete or cannot become so.
    pub fn is_over(&self) -> bool {
        // Any further line is the next init's own, or its refusal.
        let is_sure = self.end_seen || self.lines_after_exec > 0 || self.pauses_after_exec >= PAUSES_AFTER_EXEC;
        (self.is_complete() && is_sure) || self.log.panic.is_some() || self.log.policy.is_some()
    }

    /// How many bytes came.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of the bytes are no text, where these are too many for a console.
    pub fn garbage(&self) -> Option<u64> {
        (self.odd_bytes.saturating_mul(GARBAGE_SHARE) > self.bytes).then_some(self.odd_bytes)
    }
}

/// Text without carriage returns, other control characters and the control sequences of ECMA-48.
pub(super) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' if characters.next_if_eq(&'[').is_some() => {
                // Parameters and intermediates, then one final character.
                while characters.next_if(|c| (' '..='?').contains(c)).is_some() {}
                characters.next_if(|c| ('@'..='~').contains(c));
            }
            '\t' => out.push('\t'),
            _ if character.is_control() => (),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn watch(end: &str) -> Watch {
        Watch { end: Some(Regex::new(end).unwrap()), marks: Vec::new() }
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let watch = Watch::default();
        let mut recorder = Recorder::new(&watch, Duration::ZERO);
        recorder.feed(1000, b"\0\0[    0.5");
        recorder.feed(2000, b"00000] one\r\n\r\ntwo");
        recorder.feed(3000, b"\n");
        let line = |arrival_us, stamp_us, text: &str| Line { arrival_us, stamp_us, text: text.into() };
        assert_eq!(recorder.lines, [line(1000, Some(500_000), "[    0.500000] one"), line(2000, None, "two")]);
    }

    #[test]
    fn bytes_that_come_at_once_took_their_time_on_the_line() {
        let watch = Watch::default();
        // 87 us a byte: 115200 baud.
        let mut recorder = Recorder::new(&watch, Duration::from_micros(87));
        recorder.feed(100_000, b"ab\ncd\n");
        recorder.feed(100_100, b"ef\n");
        let times: Vec<i64> = recorder.lines.iter().map(|line| line.arrival_us).collect();
        assert_eq!(times, [100_000 - 5 * 87, 100_000 - 2 * 87, 100_000], "none before the read in front of it");
    }

    #[test]
    fn colours_do_not_hide_what_a_line_says() {
        assert_eq!(plain(b"[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m\r"), {
            "[  OK  ] Reached target multi-user.target"
        });
        assert_eq!(plain(b"\x1b[\x1b[31"), "");
    }

    #[test]
    fn a_prompt_counts_when_nothing_follows() {
        let watch = watch("login: $");
        let mut recorder = Recorder::new(&watch, Duration::ZERO);
        recorder.feed(5, b"board login: ");
        assert!(!recorder.is_over());
        recorder.pause();
        assert!(recorder.is_over() && recorder.is_complete());
        assert_eq!(recorder.lines[0].arrival_us, 5);
    }

    #[test]
    fn the_next_init_is_watched_for_its_refusal() {
        let watch = Watch::default();
        let mut recorder = Recorder::new(&watch, Duration::ZERO);
        recorder.feed(1, b"initoverlayfs: exec 30 us /init\n");
        assert!(recorder.is_complete() && !recorder.is_over());
        recorder.feed(2, b"initoverlayfs: exec failed: no (errno 8)\n");
        assert!(!recorder.is_complete() && !recorder.is_over());
        recorder.feed(3, b"initoverlayfs: exec 30 us /init\n");
        (0..PAUSES_AFTER_EXEC).for_each(|_| recorder.pause());
        assert!(recorder.is_complete() && recorder.is_over());
    }

    #[test]
    fn a_boot_that_is_given_up_is_over() {
        for line in ["[    1.000000] Kernel panic - not syncing: no init\n", "initoverlayfs: policy reboot\n"] {
            let watch = watch("login");
            let mut recorder = Recorder::new(&watch, Duration::ZERO);
            recorder.feed(1, line.as_bytes());
            assert!(recorder.is_over() && !recorder.is_complete(), "{line}");
        }
    }

    #[test]
    fn a_wrong_speed_is_garbage_and_other_languages_are_not() {
        let watch = Watch::default();
        let mut recorder = Recorder::new(&watch, Duration::ZERO);
        recorder.feed(1, &[0xFF, 0x80, b'a', 0xFE]);
        assert_eq!(recorder.garbage(), Some(3));
        recorder.feed(1, "Grüße vom Gerät: ein Start wie jeder andere\n".as_bytes());
        assert_eq!(recorder.garbage(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_however_they_are_cut(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..2000) {
            let cut = cut.min(bytes.len());
            let watch = watch("e.d");
            let (mut whole, mut halves) = (Recorder::new(&watch, Duration::ZERO), Recorder::new(&watch, Duration::ZERO));
            whole.feed(7, &bytes);
            halves.feed(7, &bytes[..cut]);
            halves.feed(7, &bytes[cut..]);
            whole.finish();
            halves.finish();
            prop_assert_eq!(&whole.lines, &halves.lines);
            prop_assert_eq!(whole.is_over(), halves.is_over());
        }
    }
}
