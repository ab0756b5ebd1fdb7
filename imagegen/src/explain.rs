//! Boots that explain themselves: what the kernel has to be told so that it says what each of its initcalls and each driver's probe
//! took, and what it then says.
//!
//! Saying it takes time of its own, most of all on a serial line, so such a boot is never compared with a quiet one:
//! [`crate::runs::Conditions::explained`].

use crate::boot::console::milliseconds;
use crate::runs::{Layer, Run, Span};
use crate::table::table;
use std::collections::BTreeMap;

/// The kernel argument that makes it talk (Documentation/admin-guide/kernel-parameters.txt).
const WORD: &str = "initcall_debug";
/// Kernel arguments of a boot that explains itself: its lines are of the lowest level, and too many for a default log.
pub const APPEND: &str = "initcall_debug loglevel=8 log_buf_len=4M";
/// An initcall that took less is not kept, in microseconds.
pub const LEAST_US: u64 = 100;
/// How many initcalls a table shows.
const SHOWN: usize = 30;
/// Longest name kept, in bytes.
const MAX_NAME: usize = 200;

/// Whether a kernel with this command line explains itself.
pub fn is_asked(command_line: &str) -> bool {
    command_line.split_ascii_whitespace().any(|word| word == WORD)
}

/// A line that explains something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The kernel calls this function now.
    Calling(String),
    /// Something has ended.
    Took(Timing),
    /// From here on the kernel's durations are exact: until its first clocksource is chosen they count timer ticks, 4 ms and more
    /// each, so that what took 1 us may be said to have taken 4000 (`ktime_get()` in init/main.c, Linux 6.12).
    Exact,
}

impl Line {
    /// Reads what stands behind the kernel's timestamp: `calling FUNCTION+0x0/0x10 [MODULE] @ 1` (init/main.c) or what
    /// [`Timing::parse`] reads.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with("clocksource: Switched to clocksource ") {
            return Some(Line::Exact);
        }
        let Some(called) = text.strip_prefix("calling ") else { return Timing::parse(text).map(Line::Took) };
        let (name, _) = called.trim_start().rsplit_once(" @ ")?;
        function(name).map(Line::Calling)
    }
}

/// Something of the kernel that says how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The function, and behind it its module in brackets; a probe as `probe DEVICE`.
    pub name: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

impl Timing {
    /// Reads `initcall FUNCTION+0x0/0x10 [MODULE] returned 0 after N usecs` (init/main.c), or
    /// `probe of DEVICE returned 0 after N usecs` (drivers/base/dd.c); both as Linux 6.1 to 7.2 have them.
    fn parse(text: &str) -> Option<Self> {
        let (what, is_probe) = match text.strip_prefix("initcall ") {
            Some(rest) => (rest, false),
            None => (text.strip_prefix("probe of ")?, true),
        };
        let (name, rest) = what.split_once(" returned ")?;
        let (_, took) = rest.split_once(" after ")?;
        let duration_us = took.trim_end().strip_suffix(" usecs")?.parse().ok()?;
        let name = if is_probe { kept(name).map(|name| format!("probe {name}")) } else { function(name) };
        Some(Timing { name: name?, duration_us })
    }

    /// The same on the axis of a run; `at_us` is the timestamp of the line, which comes after the work.
    fn span(&self, at_us: u64) -> Span {
        let start_us = at_us.checked_sub(self.duration_us).and_then(|at| i64::try_from(at).ok());
        Span { layer: Layer::Initcall, name: self.name.clone(), start_us, duration_us: self.duration_us }
    }
}

/// `FUNCTION+0x0/0x10 [MODULE]` without the place inside the function, which is always its start.
fn function(text: &str) -> Option<String> {
    let Some((function, rest)) = text.split_once("+0x") else { return kept(text) };
    kept(function)?;
    match rest.split_once(" [") {
        Some((_, module)) => kept(module).map(|module| format!("{function} [{module}")),
        None => Some(function.to_owned()),
    }
}

/// A name, unless it is none.
fn kept(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX_NAME).then(|| name.to_owned())
}

/// What a boot explained so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// When functions were called that have not returned yet.
    called: BTreeMap<String, u64>,
    /// Whether the kernel's durations count timer ticks still.
    ticks: bool,
    spans: Vec<Span>,
}

impl Explained {
    /// The kernel starts to speak.
    pub fn begin(&mut self) {
        self.ticks = true;
    }

    /// Takes a line into account that has the kernel's timestamp `at_us`.
    pub fn add(&mut self, line: Line, at_us: u64) {
        match line {
            Line::Calling(name) => {
                self.called.insert(name, at_us);
            }
            Line::Exact => self.ticks = false,
            Line::Took(mut timing) => {
                let called = self.called.remove(&timing.name);
                if self.ticks {
                    // The lines' own times are right, and what lies between them also has the printing of one.
                    let Some(took) = called.and_then(|called| at_us.checked_sub(called)) else { return };
                    timing.duration_us = took;
                }
                self.spans.push(timing.span(at_us));
            }
        }
    }

    /// All that ended, in the order of the ends.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }
}

/// What a module cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From asking for it to having it, in microseconds.
    pub loaded_us: u64,
    /// Of that its own initcall, in microseconds; the rest is reading, checking and linking it.
    pub init_us: Option<u64>,
}

/// What each module cost that bootstrap loaded, by name as the kernel writes it.
pub fn modules(run: &Run) -> BTreeMap<String, Cost> {
    let kernel_name = |name: &str| name.replace('-', "_");
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for span in run.spans.iter().filter(|span| span.layer == Layer::Module) {
        let cost = costs.entry(kernel_name(&span.name)).or_default();
        cost.loaded_us = cost.loaded_us.saturating_add(span.duration_us);
    }
    for span in run.spans.iter().filter(|span| span.layer == Layer::Initcall) {
        let module = span.name.rsplit_once(" [").and_then(|(_, module)| module.strip_suffix(']'));
        if let Some(cost) = module.and_then(|module| costs.get_mut(&kernel_name(module))) {
            cost.init_us = Some(cost.init_us.unwrap_or(0).saturating_add(span.duration_us));
        }
    }
    costs
}

/// What a boot explained: each module, and the initcalls and probes that took longest.
pub fn text(run: &Run) -> String {
    let cell = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), milliseconds);
    let mut out = String::new();
    let modules = modules(run);
    if !modules.is_empty() {
        let rest = |cost: &Cost| cost.init_us.map(|init| cost.loaded_us.saturating_sub(init));
        let row = |(name, cost): (&String, &Cost)| {
            vec![name.clone(), cell(Some(cost.loaded_us)), cell(cost.init_us), cell(rest(cost))]
        };
        let rows: Vec<Vec<String>> = modules.iter().map(row).collect();
        out += &table(&["module", "ms", "its initcall ms", "the rest ms"], &rows);
        out.push('\n');
    }
    let mut calls: Vec<&Span> = run.spans.iter().filter(|span| span.layer == Layer::Initcall).collect();
    calls.sort_by_key(|span| (std::cmp::Reverse(span.duration_us), span.start_us));
    let row = |span: &&Span| {
        let start = span.start_us.and_then(|us| u64::try_from(us).ok());
        vec![span.name.clone(), cell(Some(span.duration_us)), cell(start)]
    };
    let rows: Vec<Vec<String>> = calls.iter().take(SHOWN).map(row).collect();
    if rows.is_empty() {
        out += "the kernel explained nothing: it has no CONFIG_KALLSYMS or CONFIG_PRINTK, or `quiet` hides it\n";
    } else {
        out += &table(&["initcall or probe", "ms", "start ms"], &rows);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::console::{Log, Parser};
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<(String, u64)> {
        match Line::parse(text) {
            Some(Line::Took(timing)) => Some((timing.name, timing.duration_us)),
            _ => None,
        }
    }

    #[test]
    fn initcalls_and_probes_are_read() {
        let has = |name: &str, us| Some((name.to_owned(), us));
        let plain = "initcall deferred_probe_init+0x0/0x88 returned 0 after 123 usecs";
        assert_eq!(parsed(plain), has("deferred_probe_init", 123));
        let module = "initcall erofs_module_init+0x0/0x1000 [erofs] returned 0 after 8012 usecs\n";
        assert_eq!(parsed(module), has("erofs_module_init [erofs]", 8_012));
        assert_eq!(parsed("initcall __init_x+0x0/0x8 returned -19 after 7 usecs"), has("__init_x", 7));
        assert_eq!(parsed("probe of 9000000.pl011 returned 0 after 3025 usecs"), has("probe 9000000.pl011", 3_025));
        let calling = Line::parse("calling  erofs_module_init+0x0/0x100 [erofs] @ 1");
        assert_eq!(calling, Some(Line::Calling("erofs_module_init [erofs]".into())));
        assert_eq!(Line::parse("clocksource: Switched to clocksource arch_sys_counter"), Some(Line::Exact));
        for other in [
            "calling  deferred_probe_init+0x0/0x88",
            "initcall x+0x0/0x8 returned with preemption imbalance",
            "initcall x+0x0/0x8 returned 0 after -1 usecs",
            "initcall  returned 0 after 1 usecs",
            "probe of x returned",
            "",
        ] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
    }

    #[test]
    fn ticks_are_not_believed() {
        let took = |name: &str, duration_us| Line::Took(Timing { name: name.into(), duration_us });
        let mut explained = Explained::default();
        explained.begin();
        explained.add(Line::Calling("a".into()), 100);
        explained.add(took("a", 4_000), 103);
        explained.add(took("probe b", 4_000), 9_000);
        explained.add(Line::Exact, 9_100);
        explained.add(Line::Calling("c".into()), 9_200);
        explained.add(took("c", 30), 9_300);
        explained.add(took("probe d", 9_301), 9_300);
        let found: Vec<_> =
            explained.spans().iter().map(|span| (span.name.as_str(), span.start_us, span.duration_us)).collect();
        assert_eq!(found, [("a", Some(100), 3), ("c", Some(9_270), 30), ("probe d", None, 9_301)]);
    }

    /// Lines of boots in QEMU with [`APPEND`], every 60th and those of which the test speaks: a tuned 6.12, Debian's 6.12 and 7.2.
    #[test]
    fn real_kernels_explain_themselves() {
        let run = |text: &str| {
            let mut log = Log::default();
            Parser::default().feed(text.as_bytes()).into_iter().for_each(|line| log.add(line));
            Run::from_log(&log)
        };
        let [tuned, debian, newer] = [
            include_str!("golden/explain-tuned-6.12.log"),
            include_str!("golden/explain-debian-6.12.log"),
            include_str!("golden/explain-debian-7.2.log"),
        ]
        .map(run);
        assert!(modules(&tuned).is_empty() && tuned.took(Layer::Initcall, "probe 9000000.pl011").is_none());
        let erofs = Cost { loaded_us: 75_492, init_us: Some(464) };
        assert_eq!((modules(&debian)["erofs"], modules(&newer)["erofs"].init_us), (erofs, Some(625)));
        assert_eq!(newer.took(Layer::Initcall, "probe virtio0"), Some(80_727));
        assert!(text(&debian).contains("| erofs "), "{}", text(&debian));
        for run in [&tuned, &debian, &newer] {
            let end = |span: &Span| span.start_us.map(|start| start + i64::try_from(span.duration_us).unwrap());
            assert!(run.spans.iter().map(end).is_sorted());
        }
    }

    #[test]
    fn a_module_is_loading_and_its_initcall() {
        let span = |layer, name: &str, duration_us| Span { layer, name: name.into(), start_us: None, duration_us };
        let run = Run {
            spans: vec![
                span(Layer::Initcall, "virtio_pci_init [virtio_pci]", 300),
                span(Layer::Module, "virtio-pci", 900),
                span(Layer::Initcall, "other_init [other]", 5),
                span(Layer::Module, "erofs", 70),
            ],
            ..Run::default()
        };
        let costs = modules(&run);
        assert_eq!(costs["virtio_pci"], Cost { loaded_us: 900, init_us: Some(300) });
        assert_eq!((costs["erofs"], costs.len()), (Cost { loaded_us: 70, init_us: None }, 2));
    }

    #[test]
    fn asked_by_the_word_alone() {
        assert!(is_asked("quiet initcall_debug ro") && is_asked(APPEND));
        assert!(!is_asked("xinitcall_debug initcall_debug=1"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_timing_or_none(text in "(initcall |probe of |calling )?.{0,40}( returned .{0,8})?( after [0-9]{0,30} usecs)?") {
            let mut explained = Explained::default();
            explained.begin();
            if let Some(line) = Line::parse(&text) {
                explained.add(line, 5);
            }
            prop_assert!(explained.spans().is_empty());
        }
    }
}
