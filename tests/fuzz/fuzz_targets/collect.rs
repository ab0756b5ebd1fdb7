//! Any bytes as what a machine told of its boot: refused, or a boot on one axis whose spans end where they say.
#![no_main]

use imagegen::collect::{timeline, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = wire::parse(bytes) else { return };
    let options = timeline::Options { units: vec!["app.service".into()], least_us: 1_000, ..Default::default() };
    let timeline = timeline::build(&found, &options);
    let _ = imagegen::collect::summary(&timeline);
    let _ = imagegen::explain::text(&timeline.run);
});
