//! Reads a boot's console: kernel timestamps, the bootstrap's own lines, panics. Any bytes may come; none may panic.
//!
//! The bootstrap's lines, behind the kernel's timestamp:
//!
//! | line | meaning |
//! |---|---|
//! | `initoverlayfs: STEP N us [NOTE]` | the step ended, it took N microseconds |
//! | `initoverlayfs: module PATH N us` | one item of the step `modules` |
//! | `initoverlayfs: exec N us PATH with N KiB free` | the next init is started now; all but PATH may be missing |
//! | `initoverlayfs: STEP failed: CAUSE (errno N)` | the step failed |
//! | `initoverlayfs: policy POLICY` | no slot is left, this is done about it |

use crate::explain::{self, Explained};
use bootstrap::Step;
use std::fmt;

/// Longest line kept, in bytes; what is longer is read as if it ended there.
const MAX_LINE: usize = 4096;
/// What every line of the bootstrap starts with.
const PREFIX: &str = "initoverlayfs: ";

/// What a line of the console says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel names its version.
    Kernel(String),
    /// The kernel starts `/init` of the initramfs; holds its path.
    RunInit(String),
    /// A step ended.
    Step {
        /// The step.
        step: Step,
        /// Name of the module, for an item of the step `modules`.
        item: Option<String>,
        /// How long it took, in microseconds.
        duration_us: u64,
        /// The rest of the line.
        note: String,
    },
    /// The bootstrap starts the next init.
    Exec {
        /// Its path.
        path: String,
        /// Microseconds since the step before, if the line says so.
        duration_us: Option<u64>,
        /// Free RAM in KiB, if the line says so.
        free_ram_kib: Option<u64>,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: Step,
        /// Why, in the bootstrap's words.
        cause: String,
        /// Linux error number, 0 if the line names none.
        errno: u32,
    },
    /// Every slot was refused: the policy that follows.
    Policy(String),
    /// The kernel panicked.
    Panic(String),
    /// The kernel explains itself, as it was asked to.
    Explains(explain::Line),
    /// Any other line.
    Other,
}

/// A line of the console that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The kernel's timestamp in microseconds, where the line has one.
    pub at_us: Option<u64>,
    /// What it says.
    pub event: Event,
}

/// Collects a console's bytes into lines.
#[derive(Debug, Default)]
pub struct Parser {
    partial: Vec<u8>,
}

impl Parser {
    /// Takes further bytes; returns the lines that end in them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                lines.push(parse(&String::from_utf8_lossy(&self.partial)));
                self.partial.clear();
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(*byte);
            }
        }
        lines
    }
}

/// Reads one line, without its end.
pub fn parse(line: &str) -> Line {
    let line = line.trim_end();
    if let Some((before, ours)) = line.split_once(PREFIX) {
        return Line { at_us: timestamp(before), event: parse_ours(ours).unwrap_or(Event::Other) };
    }
    let (stamp, rest) = line.split_once("] ").unwrap_or_default();
    let at_us = timestamp(&format!("{stamp}] "));
    if let Some(explains) = at_us.and_then(|_| explain::Line::parse(rest)) {
        return Line { at_us, event: Event::Explains(explains) };
    }
    for text in ["Linux version ", "Run ", "Kernel panic - not syncing: "] {
        if let Some((before, rest)) = line.split_once(text)
            && let (Some(at_us), Some(event)) = (timestamp(before), kernel_event(text, rest))
        {
            return Line { at_us: Some(at_us), event };
        }
    }
    Line { at_us, event: Event::Other }
}

/// What the kernel says in a line that starts with `text`.
fn kernel_event(text: &str, rest: &str) -> Option<Event> {
    match text {
        "Linux version " => Some(Event::Kernel(rest.split(' ').next()?.to_owned())),
        "Run " => Some(Event::RunInit(rest.strip_suffix(" as init process")?.to_owned())),
        _ => Some(Event::Panic(rest.to_owned())),
    }
}

/// What stands behind our prefix.
fn parse_ours(text: &str) -> Option<Event> {
    let (word, rest) = text.split_once(' ')?;
    if word == "policy" {
        return Some(Event::Policy(rest.to_owned()));
    }
    if word == "module" {
        let (name, rest) = rest.split_once(' ')?;
        let (duration_us, note) = duration(rest)?;
        // The bootstrap knows the module by its path in the mini-initramfs.
        let name = name.rsplit('/').next()?;
        let item = Some(name.strip_suffix(".ko").unwrap_or(name).to_owned());
        return Some(Event::Step { step: Step::Modules, item, duration_us, note });
    }
    let step = Step::ALL.into_iter().find(|step| step.name() == word)?;
    if let Some(cause) = rest.strip_prefix("failed: ") {
        let errno = cause.rsplit_once("(errno ").and_then(|(_, number)| number.strip_suffix(')')?.parse().ok());
        let cause =
            if errno.is_some() { cause.rsplit_once(" (errno ").map_or(cause, |(cause, _)| cause) } else { cause };
        return Some(Event::Failed { step, cause: cause.to_owned(), errno: errno.unwrap_or(0) });
    }
    let timed = duration(rest);
    if step != Step::Exec {
        return timed.map(|(duration_us, note)| Event::Step { step, item: None, duration_us, note });
    }
    let (duration_us, text) = timed.map_or((None, rest.to_owned()), |(us, text)| (Some(us), text));
    let free = text.strip_suffix(" KiB free").and_then(|text| text.rsplit_once(" with "));
    let free = free.and_then(|(path, number)| Some((path, number.parse().ok()?)));
    let (path, free_ram_kib) = free.map_or((text.as_str(), None), |(path, kib)| (path, Some(kib)));
    Some(Event::Exec { path: path.to_owned(), duration_us, free_ram_kib })
}

/// `N us NOTE`.
fn duration(text: &str) -> Option<(u64, String)> {
    let (number, rest) = text.split_once(" us")?;
    Some((number.parse().ok()?, rest.trim_start().to_owned()))
}

/// The timestamp `[    0.039512]` that `before` ends with, or `[    0.039512][    T1]` with CONFIG_PRINTK_CALLER, in
/// microseconds.
fn timestamp(before: &str) -> Option<u64> {
    let mut inside = before.strip_suffix("] ")?;
    loop {
        let (front, stamp) = inside.rsplit_once('[')?;
        if let Some((seconds, micros)) = stamp.trim_start().split_once('.')
            && micros.len() == 6
            && let (Ok(seconds), Ok(micros)) = (seconds.parse::<u64>(), micros.parse::<u64>())
        {
            return seconds.checked_mul(1_000_000)?.checked_add(micros);
        }
        inside = front.strip_suffix(']')?;
    }
}

/// One row of the step table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The step's name, or `module NAME`.
    pub name: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The kernel's clock when it ended, in microseconds.
    pub ended_us: Option<u64>,
    /// What the bootstrap noted.
    pub note: String,
}

/// The start of the next init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Its path.
    pub path: String,
    /// When, in microseconds of the kernel's clock.
    pub at_us: Option<u64>,
    /// Free RAM in KiB.
    pub free_ram_kib: Option<u64>,
}

/// What a console told about one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The kernel's version.
    pub kernel: Option<String>,
    /// When the kernel started `/init`, in microseconds of its clock.
    pub run_init_us: Option<u64>,
    /// Steps and modules in the order of their lines.
    pub rows: Vec<Row>,
    /// The start of the next init, unless it was refused.
    pub exec: Option<Exec>,
    /// Steps that failed: step, cause, errno. A failure followed by `exec` was cured by another slot.
    pub failures: Vec<(Step, String, u32)>,
    /// What the kernel explained.
    pub explained: Explained,
    /// The policy carried out, once no slot was left.
    pub policy: Option<String>,
    /// The kernel's panic.
    pub panic: Option<String>,
}

impl Log {
    /// Takes a line into account.
    pub fn add(&mut self, line: Line) {
        let at_us = line.at_us;
        match line.event {
            Event::Kernel(version) => {
                self.explained.begin();
                self.kernel = self.kernel.take().or(Some(version));
            }
            Event::RunInit(_) => self.run_init_us = self.run_init_us.or(at_us),
            Event::Step { step, item, duration_us, note } => {
                let name = item.map_or_else(|| step.name().to_owned(), |item| format!("module {item}"));
                self.rows.push(Row { name, duration_us, ended_us: at_us, note });
            }
            Event::Exec { path, duration_us, free_ram_kib } => {
                let note = path.clone();
                let duration_us = duration_us.unwrap_or(0);
                self.rows.push(Row { name: Step::Exec.name().to_owned(), duration_us, ended_us: at_us, note });
                self.exec = Some(Exec { path, at_us, free_ram_kib });
            }
            Event::Failed { step, cause, errno } => {
                if step == Step::Exec {
                    self.exec = None;
                }
                self.failures.push((step, cause, errno));
            }
            Event::Policy(policy) => self.policy = Some(policy),
            Event::Panic(why) => self.panic = self.panic.take().or(Some(why)),
            Event::Explains(line) => {
                if let Some(at_us) = at_us {
                    self.explained.add(line, at_us);
                }
            }
            Event::Other => (),
        }
    }

    /// Whether the next init was started and neither that nor anything after it was refused.
    pub fn next_init_ran(&self) -> bool {
        self.exec.is_some() && self.policy.is_none()
    }

    /// Microseconds from the kernel's "Run /init" to the start of the next init.
    pub fn exec_after_us(&self) -> Option<u64> {
        self.exec.as_ref()?.at_us?.checked_sub(self.run_init_us?)
    }
}

/// Milliseconds with the microseconds as decimals.
pub fn milliseconds(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// The step table: when each step started after "Run /init", how long it took, and when it had ended.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.run_init_us;
        let since = |at: Option<u64>| at.zip(base).and_then(|(at, base)| at.checked_sub(base));
        let cell = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), milliseconds);
        let width = self.rows.iter().map(|row| row.name.len()).fold(24, usize::max);
        writeln!(f, "{:<width$} {:>10} {:>10} {:>10}", "step", "start ms", "took ms", "end ms")?;
        for row in &self.rows {
            let start = row.ended_us.and_then(|end| end.checked_sub(row.duration_us));
            let (start, end) = (cell(since(start)), cell(since(row.ended_us)));
            let line = format!(
                "{:<width$} {start:>10} {:>10} {end:>10}  {}",
                row.name,
                milliseconds(row.duration_us),
                row.note
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for (step, cause, errno) in &self.failures {
            writeln!(f, "{step} failed: {cause} (errno {errno})")?;
        }
        if let Some(policy) = &self.policy {
            writeln!(f, "policy {policy}")?;
        }
        if let Some(panic) = &self.panic {
            writeln!(f, "kernel panic: {panic}")?;
        }
        match base {
            Some(base) => write!(f, "0 ms = the kernel's \"Run /init\", at {} ms of its clock", milliseconds(base)),
            None => f.write_str("the kernel printed no \"Run /init\" line: only durations are known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: &str = "[    0.000000] Linux version 6.12\r\n\
        [    0.039400] Run /init as init process\r\n\
        [    0.039512] initoverlayfs: early-mounts 85 us\r\n\
        [    0.084600][    T1] initoverlayfs: module /modules/erofs.ko 45012 us\r\n\
        [    0.084700] initoverlayfs: modules 45100 us\r\n\
        \x1b[0mlogin: [    0.084900] initoverlayfs: device 120 us vda1\r\n\
        [    0.085000] initoverlayfs: exec 30 us /init with 987654 KiB free\r\n";

    fn log(text: &str) -> Log {
        let (mut parser, mut log) = (Parser::default(), Log::default());
        for line in parser.feed(text.as_bytes()) {
            log.add(line);
        }
        log
    }

    #[test]
    fn a_good_boot_becomes_a_table() {
        let log = log(BOOT);
        assert!(log.next_init_ran());
        assert_eq!(log.kernel.as_deref(), Some("6.12"));
        assert_eq!(log.exec_after_us(), Some(45_600));
        assert_eq!(log.exec.as_ref().and_then(|exec| exec.free_ram_kib), Some(987_654));
        assert_eq!(
            log.to_string(),
            "step                       start ms    took ms     end ms\n\
             early-mounts                  0.027      0.085      0.112\n\
             module erofs                  0.188     45.012     45.200\n\
             modules                       0.200     45.100     45.300\n\
             device                       45.380      0.120     45.500  vda1\n\
             exec                         45.570      0.030     45.600  /init\n\
             0 ms = the kernel's \"Run /init\", at 39.400 ms of its clock"
        );
    }

    #[test]
    fn a_long_name_moves_no_column() {
        let log = log("initoverlayfs: module virtio_pci_modern_dev 22140 us\ninitoverlayfs: mount 7 us\n");
        let text = log.to_string();
        let ends: Vec<usize> = text.lines().take(3).map(|line| line.trim_end().len()).collect();
        assert_eq!(ends, [61; 3], "{text}");
    }

    #[test]
    fn failure_policy_and_panic_are_seen() {
        let log = log("[    1.000000] initoverlayfs: device failed: no PARTNAME initoverlayfs (errno 110)\n\
             [    1.000010] initoverlayfs: policy reboot\n\
             [    1.2] Kernel panic - not syncing: too short a stamp\n\
             [    1.200000] Kernel panic - not syncing: Attempted to kill init!\n");
        assert_eq!(log.failures, [(Step::Device, "no PARTNAME initoverlayfs".to_owned(), 110)]);
        assert_eq!(log.policy.as_deref(), Some("reboot"));
        assert_eq!(log.panic.as_deref(), Some("Attempted to kill init!"));
        assert!(!log.next_init_ran());
    }

    #[test]
    fn an_exec_that_fails_did_not_run() {
        assert!(!log("initoverlayfs: exec /init\ninitoverlayfs: exec failed: /init (errno 8)\n").next_init_ran());
        assert!(log("initoverlayfs: exec /init\n").next_init_ran());
    }

    #[test]
    fn lines_without_a_timestamp_and_half_lines() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"initoverlayfs: mou"), []);
        let step = Event::Step { step: Step::Mount, item: None, duration_us: 7, note: String::new() };
        assert_eq!(parser.feed(b"nt 7 us\nhalf"), [Line { at_us: None, event: step }]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..2000) {
            let cut = cut.min(bytes.len());
            let mut whole = Parser::default();
            let mut halves = Parser::default();
            let mut parts = halves.feed(&bytes[..cut]);
            parts.extend(halves.feed(&bytes[cut..]));
            prop_assert_eq!(whole.feed(&bytes), parts);
        }

        #[test]
        fn any_text_behind_our_prefix_parses(stamp in "\\PC{0,20}", text in "(module |exec 1 us |mount )?\\PC{0,60}") {
            let mut log = Log::default();
            log.add(parse(&format!("{stamp}] initoverlayfs: {text}")));
            let _ = log.to_string();
        }

        #[test]
        fn any_time_is_read_back(seconds in 0_u64..1_000_000_000, micros in 0_u64..1_000_000) {
            let line = parse(&format!("[{seconds:5}.{micros:06}] Run /init as init process"));
            prop_assert_eq!(line, Line { at_us: Some(seconds * 1_000_000 + micros), event: Event::RunInit("/init".into()) });
        }
    }
}
