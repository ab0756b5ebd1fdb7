//! The regression of bootstrap-planted.

use super::clock;
use bootstrap::Step;

/// What the step wastes, in nanoseconds.
const WASTE_NS: u64 = 200_000;
/// The step, by its name.
const STEP: &str = match option_env!("PLANTED_STEP") {
    Some(step) => step,
    None => "mount",
};

/// At the end of a step: lets time pass if it is the one.
pub fn spin(step: Step) {
    let start = clock::now_ns();
    while step.name() == STEP && clock::now_ns().saturating_sub(start) < WASTE_NS {}
}
