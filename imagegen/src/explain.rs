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

/// Something of the kernel that says how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The function, and behind it its module in brackets; a probe as `probe DEVICE`.
    pub name: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

impl Timing {
    /// Reads what stands behind the kernel's timestamp:
    /// `initcall FUNCTION+0x0/0x10 [MODULE] returned 0 after N usecs` (init/main.c), or
    /// `probe of DEVICE returned 0 after N usecs` (drivers/base/dd.c); both as Linux 6.1 to 7.2 have them.
    pub fn parse(text: &str) -> Option<Self> {
        let (what, prefix) = match text.strip_prefix("initcall ") {
            Some(rest) => (rest, ""),
            None => (text.strip_prefix("probe of ")?, "probe "),
        };
        let (name, rest) = what.split_once(" returned ")?;
        let (_, took) = rest.split_once(" after ")?;
        let duration_us = took.trim_end().strip_suffix(" usecs")?.parse().ok()?;
        let name = match (prefix, name.split_once("+0x")) {
            ("", Some((function, rest))) => match rest.split_once(" [") {
                Some((_, module)) => format!("{function} [{module}"),
                None => function.to_owned(),
            },
            _ => name.to_owned(),
        };
        (!name.is_empty() && name.len() <= MAX_NAME).then(|| Timing { name: format!("{prefix}{name}"), duration_us })
    }

    /// The same on the axis of a run; `at_us` is the timestamp of the line, which comes after the work.
    pub fn span(&self, at_us: Option<u64>) -> Span {
        let start_us = at_us.and_then(|at| i64::try_from(at.checked_sub(self.duration_us)?).ok());
        Span { layer: Layer::Initcall, name: self.name.clone(), start_us, duration_us: self.duration_us }
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
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<(String, u64)> {
        Timing::parse(text).map(|timing| (timing.name, timing.duration_us))
    }

    #[test]
    fn initcalls_and_probes_are_read() {
        let has = |name: &str, us| Some((name.to_owned(), us));
        assert_eq!(parsed("initcall deferred_probe_init+0x0/0x88 returned 0 after 123 usecs"), has("deferred_probe_init", 123));
        let module = "initcall erofs_module_init+0x0/0x1000 [erofs] returned 0 after 8012 usecs\n";
        assert_eq!(parsed(module), has("erofs_module_init [erofs]", 8_012));
        assert_eq!(parsed("initcall __initstub__kmod_x+0x0/0x8 returned -19 after 7 usecs"), has("__initstub__kmod_x", 7));
        assert_eq!(parsed("probe of 9000000.pl011 returned 0 after 3025 usecs"), has("probe 9000000.pl011", 3_025));
        for other in [
            "calling  deferred_probe_init+0x0/0x88 @ 1",
            "initcall x+0x0/0x8 returned with preemption imbalance",
            "initcall x+0x0/0x8 returned 0 after -1 usecs",
            "initcall  returned 0 after 1 usecs",
            "probe of x returned",
            "",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn a_span_ends_where_its_line_stands() {
        let timing = Timing::parse("initcall x+0x0/0x8 returned 0 after 40 usecs").unwrap();
        assert_eq!((timing.span(Some(100)).start_us, timing.span(Some(30)).start_us), (Some(60), None));
        assert_eq!(timing.span(None).start_us, None);
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
        fn any_text_is_a_timing_or_none(text in "(initcall |probe of )?.{0,40}( returned .{0,8})?( after [0-9]{0,30} usecs)?") {
            if let Some(timing) = Timing::parse(&text) {
                prop_assert!(!timing.name.is_empty());
                let _ = timing.span(Some(5));
            }
        }
    }
}
