//! What the gate stops, and what it lets pass.

use super::*;
use crate::compare::tests::boots;
use crate::runs::Layer;

fn set(title: &str, n: usize, mount: u64) -> Set {
    (title.to_owned(), boots(n, mount))
}

fn gate(control: &Set, candidate: &Set, tolerance: &str) -> Outcome {
    let tolerance = if tolerance.is_empty() { Tolerance::default() } else { tolerance.parse().unwrap() };
    run(candidate, &Limits { baseline: Some(control), tolerance, ..Limits::default() }).unwrap()
}

#[test]
fn the_step_that_moved_is_named_first() {
    let (old, new) = (set("old", 10, 300), set("new", 10, 500));
    let outcome = gate(&old, &new, "");
    assert_eq!(outcome.reasons[0], "step mount is 0.200 ms slower (0.197 to 0.203), 0.501 instead of 0.301 ms");
    assert!(outcome.reasons[1].starts_with("Run /init to next init is 0.200 ms slower"), "{:?}", outcome.reasons);
    assert_eq!(outcome.verdict().unwrap_err().exit_status(), 1);
    assert!(outcome.text.contains("| mount "), "{}", outcome.text);
    let xml = outcome.junit(&new);
    assert!(xml.contains("<testcase classname=\"step\" name=\"mount\" time=\"0.000501\">\n      <failure"), "{xml}");
    assert_eq!(gate(&new, &old, ""), Outcome { reasons: vec![], ..gate(&new, &old, "") }, "faster is no regression");
}

#[test]
fn what_is_allowed_passes() {
    let (old, new) = (set("old", 10, 300), set("new", 10, 500));
    assert_eq!(gate(&old, &new, "250us").reasons, Vec::<String>::new());
    assert_eq!(gate(&old, &new, "70%").reasons, Vec::<String>::new());
    assert!(gate(&old, &new, "60%").reasons[0].starts_with("step mount"), "66 % of its own time");
    // What the noise of the clock can make is none, a little more is.
    assert_eq!(gate(&set("old", 10, 300), &set("new", 10, 302), "").reasons, Vec::<String>::new());
    assert!(!gate(&set("old", 10, 300), &set("new", 10, 320), "").reasons.is_empty());
}

#[test]
fn a_new_module_is_named_where_it_costs() {
    let (mut old, mut new) = (set("old", 10, 300), set("new", 10, 300));
    old.1.runs.iter_mut().for_each(|run| {
        run.spans.retain(|span| span.layer != Layer::Module);
        run.marks.iter_mut().for_each(|mark| mark.at_us -= 40_000);
    });
    let outcome = gate(&old, &new, "");
    assert_eq!(outcome.reasons[0], "module erofs is new and takes 45.000 ms");
    new.1.runs.truncate(9);
    assert_eq!(run(&new, &Limits { baseline: Some(&old), ..Limits::default() }).unwrap_err().exit_status(), 2);
}

#[test]
fn a_mark_that_is_not_reached_any_more_is_no_pass() {
    let (old, whole) = (set("old", 10, 300), set("new", 10, 300));
    assert!(gate(&old, &whole, "").verdict().is_ok());
    for reached in [0, 3, 9] {
        let mut new = whole.clone();
        new.1.runs.iter_mut().skip(reached).for_each(|run| run.marks.retain(|mark| mark.name != "next-init"));
        let outcome = gate(&old, &new, "");
        let reason = format!("next-init was reached in {reached} of 10 boots only, before in 10");
        assert_eq!(outcome.reasons, [reason], "{outcome:?}");
        assert_eq!(outcome.cases.iter().filter(|case| case.failure.is_some()).count(), 1);
        assert_eq!(outcome.cases.iter().filter(|case| case.name == "until next-init").count(), 1);
    }
    let budget =
        Budget { marks: [("next-init".to_owned(), Duration::from_secs(1))].into_iter().collect(), ..Budget::default() };
    let mut new = whole;
    new.1.runs.iter_mut().skip(5).for_each(|run| run.marks.retain(|mark| mark.name != "next-init"));
    let held = |new: &Set| run(new, &Limits { budget: Some(&budget), ..Limits::default() }).unwrap().reasons;
    assert_eq!(held(&new), Vec::<String>::new(), "the median of ten is the fifth");
    new.1.runs[4].marks.clear();
    assert_eq!(held(&new), ["next-init was not reached in half of 10 boots, the budget is 1000.000 ms"]);
}

#[test]
fn budgets_are_held_against_medians() {
    let us = Duration::from_micros;
    let marks = [("next-init".to_owned(), us(85_031)), ("login".to_owned(), us(1))].into_iter().collect();
    let mut budget = Budget { marks, switch_root: Some(us(45_600)), ..Budget::default() };
    let new = set("new", 1, 500);
    let held = |budget: &Budget| run(&new, &Limits { budget: Some(budget), ..Limits::default() }).unwrap();
    assert_eq!(held(&budget).reasons, ["login was never reached, the budget is 0.001 ms"]);
    budget.marks.remove("login");
    assert!(held(&budget).verdict().is_ok(), "{:?}", held(&budget).reasons);
    budget.marks.insert("next-init".to_owned(), us(85_029));
    budget.switch_root = Some(us(45_599));
    let reasons = [
        "next-init at 85.030 ms, the budget is 85.029 ms",
        "steps to switch-root at 45.600 ms, the budget is 45.599 ms",
    ];
    assert_eq!(held(&budget).reasons, reasons);
}

#[test]
fn tolerances_have_units() {
    assert_eq!("2.5%".parse(), Ok(Tolerance::Percent(2.5)));
    assert_eq!(
        ["50us", "1.5ms", "1s"].map(str::parse),
        [Ok(Tolerance::Us(50)), Ok(Tolerance::Us(1500)), Ok(Tolerance::Us(1_000_000))]
    );
    for wrong in ["", "5", "%", "-1%", "1h", "infus", "nan%", "1e99s"] {
        assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
    }
}
