//! What of a set of boots is compared: every span by its layer and name, the way from one init to the next, and every mark.

use crate::runs::{Layer, Run, Runs, Zero, mark};
use crate::stats::Summary;

/// The row over all steps.
pub const TOTAL: &str = "Run /init to next init";

/// What a phase is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All spans of one layer and name in a boot together.
    Span(Layer),
    /// From the kernel's "Run /init" to the next init.
    Total,
    /// From the beginning of the axis to a mark, or from a mark before it to the beginning.
    Mark,
}

/// A phase of every boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What it is made of.
    pub kind: Kind,
    /// The span's or the mark's name; empty for the total.
    pub name: String,
    /// What tables call it.
    pub title: String,
    /// Microseconds, in the order of the boots; of marks, and of spans that are told of only where they are long, only boots
    /// that have them.
    pub values: Vec<i64>,
}

impl Phase {
    /// Whether both are the same phase of different boots.
    pub fn is(&self, other: &Phase) -> bool {
        self.kind == other.kind && self.title == other.title
    }

    /// The values in a few numbers.
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(&self.values)
    }
}

/// Every phase: spans in the order in which they first ended, the total, then marks in the order of time.
pub fn phases(runs: &Runs) -> Vec<Phase> {
    let mut list = spans(runs);
    let between = |run: &Run| run.between(mark::RUN_INIT, mark::NEXT_INIT).map(signed);
    let values: Vec<i64> = runs.runs.iter().filter_map(between).collect();
    if !values.is_empty() {
        list.push(Phase { kind: Kind::Total, name: String::new(), title: TOTAL.to_owned(), values });
    }
    list.extend(marks(runs));
    list
}

fn spans(runs: &Runs) -> Vec<Phase> {
    let mut list: Vec<(Phase, Vec<Option<i64>>)> = Vec::new();
    for (index, run) in runs.runs.iter().enumerate() {
        for span in &run.spans {
            let is_it = |(phase, _): &(Phase, _)| phase.kind == Kind::Span(span.layer) && phase.name == span.name;
            let at = list.iter().position(is_it).unwrap_or_else(|| {
                let (kind, name, title) = (Kind::Span(span.layer), span.name.clone(), span.title());
                list.push((Phase { kind, name, title, values: Vec::new() }, vec![None; runs.runs.len()]));
                list.len() - 1
            });
            // A step of a slot that was refused comes again for the next slot.
            if let Some(value) = list.get_mut(at).and_then(|(_, values)| values.get_mut(index)) {
                *value = Some(value.unwrap_or(0).saturating_add(signed(span.duration_us)));
            }
        }
    }
    let complete = |(phase, values): (Phase, Vec<Option<i64>>)| {
        // Bootstrap tells every step and module: what a boot does not have took no time of it. Of all else only what is
        // long enough is kept, and what is missing may have taken nearly as long.
        let is_told = matches!(phase.kind, Kind::Span(Layer::Step | Layer::Module));
        let values = values.into_iter().filter_map(|value| if is_told { Some(value.unwrap_or(0)) } else { value });
        Phase { values: values.collect(), ..phase }
    };
    list.into_iter().map(complete).collect()
}

fn marks(runs: &Runs) -> Vec<Phase> {
    let mut names: Vec<&str> = Vec::new();
    for mark in runs.runs.iter().flat_map(|run| &run.marks) {
        if !names.contains(&mark.name.as_str()) {
            names.push(&mark.name);
        }
    }
    let zero = match runs.conditions.zero {
        Zero::Kernel => "the kernel",
        Zero::FirstByte => "the first byte",
    };
    let of = |name: &&str| {
        let values: Vec<i64> = runs.runs.iter().filter_map(|run| run.at(name)).collect();
        let median = Summary::of(&values)?.median;
        let (title, values) = if median < 0 {
            (format!("{name} to {zero}"), values.iter().map(|at| at.saturating_neg()).collect())
        } else {
            (format!("until {name}"), values)
        };
        Some((median, Phase { kind: Kind::Mark, name: (*name).to_owned(), title, values }))
    };
    let mut list: Vec<(i64, Phase)> = names.iter().filter_map(of).collect();
    list.sort_by_key(|(median, _)| *median);
    list.into_iter().map(|(_, phase)| phase).collect()
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::example;
    use crate::runs::{Mark, Span};

    #[test]
    fn spans_come_first_and_marks_last() {
        let titles: Vec<String> = phases(&example(4)).into_iter().map(|phase| phase.title).collect();
        let expected = [
            "early-mounts",
            "module erofs",
            "mount",
            "switch-root",
            "exec",
            TOTAL,
            "until run-init",
            "until switch-root",
            "until next-init",
        ];
        assert_eq!(titles, expected);
    }

    #[test]
    fn what_comes_twice_is_added_and_what_is_missing_took_nothing() {
        let mut runs = example(0);
        runs.runs[1].spans.push(Span { layer: Layer::Step, name: "mount".into(), start_us: None, duration_us: 7 });
        runs.runs[0].spans.retain(|span| span.name != "exec");
        let found = phases(&runs);
        let values = |title: &str| &found.iter().find(|phase| phase.title == title).unwrap().values;
        assert_eq!((values("mount"), values("exec")), (&vec![200, 207], &vec![0, 30]));
    }

    #[test]
    fn what_is_kept_only_where_it_is_long_is_not_nothing_elsewhere() {
        let mut runs = example(0);
        let span = Span { layer: Layer::Initcall, name: "probe".into(), start_us: None, duration_us: 101 };
        runs.runs[1].spans.push(span);
        let found = phases(&runs);
        assert_eq!(found.iter().find(|phase| phase.title == "initcall probe").unwrap().values, [101]);
    }

    #[test]
    fn what_lies_before_the_kernel_ends_with_it() {
        let mut runs = example(0);
        runs.runs[1].marks.push(Mark { name: mark::POWER_ON.into(), at_us: -1_200_000 });
        let found = phases(&runs);
        let phase = found.iter().find(|phase| phase.title == "power-on to the kernel").unwrap();
        assert_eq!((phase.values.as_slice(), phase.kind), (&[1_200_000][..], Kind::Mark));
    }
}
