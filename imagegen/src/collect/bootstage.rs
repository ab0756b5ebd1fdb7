//! U-Boot's stages, as it leaves them in the device tree for the kernel: below `/bootstage` a node for each, with `name` and
//! either `mark` (when it was reached) or `accum` (how long it took in all its parts), microseconds as a big-endian cell
//! (add_bootstages_devicetree() in U-Boot's common/bootstage.c, with CONFIG_BOOTSTAGE_FDT).
//!
//! On arm64 U-Boot reads the counter that the record has too, so both are on one axis; where they cannot be the stages are
//! kept with what they took alone.

use super::wire::bytes_of;
use crate::runs::{Layer, Mark, Run, Span};

/// What stands before the name of a mark.
const PREFIX: &str = "bootstage ";

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// U-Boot's name of it.
    pub name: String,
    /// What is known of it.
    pub time: Time,
}

/// What is known of a stage, in microseconds of U-Boot's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// When it was reached.
    Mark(u32),
    /// How long it took.
    Accumulated(u32),
}

impl Stage {
    /// `mark|accum CELL NAME`, the latter two in hexadecimal.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (kind, cell, name) = (words.next()?, bytes_of(words.next()?)?, bytes_of(words.next()?)?);
        let us = u32::from_be_bytes(cell.try_into().ok()?);
        let time = match kind {
            "mark" => Time::Mark(us),
            "accum" => Time::Accumulated(us),
            _ => return None,
        };
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_end_matches('\0').replace(char::is_control, " ");
        (!name.is_empty()).then_some(Stage { name, time })
    }
}

/// Puts the stages into `run`: marks, and between two of them what the earlier one began. `zero_us` is where the counter
/// started on the run's axis. Returns why they have no place on the axis, if they have none.
pub fn add(stages: &[Stage], zero_us: Option<i64>, run: &mut Run) -> Option<&'static str> {
    let mut marks: Vec<(u32, &str)> = stages
        .iter()
        .filter_map(|stage| match stage.time {
            Time::Mark(us) => Some((us, stage.name.as_str())),
            Time::Accumulated(_) => None,
        })
        .collect();
    marks.sort_by_key(|(us, _)| *us);
    let last = marks.last().map_or(0, |(us, _)| i64::from(*us));
    // The kernel's clock starts after the last thing that U-Boot did.
    let (zero_us, why) = match zero_us {
        Some(zero) if zero.saturating_add(last) <= 0 => (Some(zero), None),
        Some(_) => (None, Some("U-Boot's clock is not the processor's counter: its stages have no place on the axis")),
        None => (None, Some("without the processor's counter U-Boot's stages have no place on the axis")),
    };
    let at = |us: u32| zero_us.map(|zero| zero.saturating_add(us.into()));
    for (index, (us, name)) in marks.iter().enumerate() {
        if let Some(at_us) = at(*us) {
            run.marks.push(Mark { name: format!("{PREFIX}{name}"), at_us });
        }
        let next = marks.get(index + 1).map(|(next, _)| i64::from(*next));
        // The last stage hands over to the kernel, whose clock starts later.
        let end = next.or_else(|| zero_us.map(|zero| zero.saturating_neg()));
        let Some(duration_us) = end.and_then(|end| u64::try_from(end - i64::from(*us)).ok()) else { continue };
        let (layer, name) = match (*us, next) {
            // U-Boot calls 0 "reset" whatever came before it.
            (0, _) => (Layer::Firmware, "until U-Boot's first stage"),
            (_, None) => (Layer::Kernel, "before its clock, from U-Boot's last stage"),
            (_, Some(_)) => (Layer::Bootloader, *name),
        };
        run.spans.push(Span { layer, name: name.to_owned(), start_us: at(*us), duration_us });
    }
    for stage in stages {
        if let Time::Accumulated(us) = stage.time {
            let name = format!("{} (in parts)", stage.name);
            run.spans.push(Span { layer: Layer::Bootloader, name, start_us: None, duration_us: us.into() });
        }
    }
    why.filter(|_| !stages.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stages() -> Vec<Stage> {
        // start_kernel, accumulated dm_f, board_init_r, reset: U-Boot writes the last first.
        [
            "mark 000f4240 73746172745f6b65726e656c00",
            "accum 00000064 646d5f6600",
            "mark 000186a0 626f6172645f696e69745f7200",
            "mark 00000000 726573657400",
        ]
        .iter()
        .map(|line| Stage::parse(line).unwrap())
        .collect()
    }

    #[test]
    fn stages_are_read_as_the_device_tree_has_them() {
        assert_eq!(stages()[0], Stage { name: "start_kernel".into(), time: Time::Mark(1_000_000) });
        assert_eq!(stages()[1].time, Time::Accumulated(100));
        for wrong in
            ["", "mark", "mark 00", "mark 0000000000 61", "both 00000001 61", "mark 00000001 00", "mark 0000000x 61"]
        {
            assert_eq!(Stage::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stages_lie_before_the_kernel() {
        let mut run = Run::default();
        assert_eq!(add(&stages(), Some(-1_050_000), &mut run), None);
        assert_eq!(run.at("bootstage start_kernel"), Some(-50_000));
        let span = |index: usize| (run.spans[index].layer, run.spans[index].start_us, run.spans[index].duration_us);
        assert_eq!(span(0), (Layer::Firmware, Some(-1_050_000), 100_000));
        assert_eq!(span(1), (Layer::Bootloader, Some(-950_000), 900_000));
        assert_eq!(span(2), (Layer::Kernel, Some(-50_000), 50_000));
        assert_eq!(span(3), (Layer::Bootloader, None, 100));
    }

    #[test]
    fn another_clock_is_not_believed() {
        for zero in [None, Some(-999_999)] {
            let mut run = Run::default();
            assert!(add(&stages(), zero, &mut run).is_some());
            assert!(run.marks.is_empty() && run.spans.iter().all(|span| span.start_us.is_none()));
            assert_eq!(run.took(Layer::Bootloader, "board_init_r"), Some(900_000));
        }
        assert_eq!(add(&[], None, &mut Run::default()), None);
    }

    proptest! {
        #[test]
        fn any_stages_have_their_places(lines in proptest::collection::vec("(mark|accum) [0-9a-f]{7,9} [0-9a-f]{0,6}", 0..6), zero: i64) {
            let stages: Vec<Stage> = lines.iter().filter_map(|line| Stage::parse(line)).collect();
            let mut run = Run::default();
            add(&stages, Some(zero), &mut run);
            prop_assert!(run.marks.iter().all(|mark| mark.at_us <= 0));
        }
    }
}
