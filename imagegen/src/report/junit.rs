//! JUnit's XML, which CI servers and LAVA read: a suite with its properties, and a test case for each phase or limit.

use super::{Set, conditions, escaped};
use crate::compare::phase::{Kind, phases};
use crate::runs::Layer;

/// A test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it belongs to: a layer, `total`, `mark`, `budget`.
    pub class: String,
    /// What it is called.
    pub name: String,
    /// How long it took, in microseconds.
    pub us: i64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// What a phase's test case belongs to.
pub fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Span(layer) => Layer::name(layer),
        Kind::Total => "total",
        Kind::Mark => "mark",
    }
}

/// Every set as a suite; a phase's time is its median.
pub fn report(sets: &[Set]) -> String {
    let suites = sets.iter().map(|(title, runs)| {
        let cases = phases(runs).into_iter().filter_map(|phase| {
            let us = phase.summary()?.median;
            Some(Case { class: class(phase.kind).to_owned(), name: phase.title, us, failure: None })
        });
        suite(title, &conditions(runs), &cases.collect::<Vec<_>>())
    });
    document(&suites.collect::<String>())
}

/// A suite.
pub fn suite(name: &str, conditions: &str, cases: &[Case]) -> String {
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">\n    <properties>\n      \
         <property name=\"conditions\" value=\"{}\"/>\n    </properties>\n",
        escaped(name),
        cases.len(),
        escaped(conditions)
    );
    for case in cases {
        let seconds = case.us.unsigned_abs();
        text += &format!(
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{}.{:06}\"",
            escaped(&case.class),
            escaped(&case.name),
            seconds / 1_000_000,
            seconds % 1_000_000
        );
        text += &match &case.failure {
            Some(why) => format!(">\n      <failure message=\"{}\"/>\n    </testcase>\n", escaped(why)),
            None => "/>\n".to_owned(),
        };
    }
    text + "  </testsuite>\n"
}

/// Suites as a document.
pub fn document(suites: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n")
}
