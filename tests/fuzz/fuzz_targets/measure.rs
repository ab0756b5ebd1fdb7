//! Any bytes as the console of a board that is measured, cut in two and late: they become lines and a timeline, or a reason
//! why not; never a panic, a mark twice or a span that ends before it began.
#![no_main]

use imagegen::measure::{Arrivals, Recorder, Watch, read};
use imagegen::runs::Layer;
use libfuzzer_sys::fuzz_target;
use regex::Regex;
use std::time::Duration;

fuzz_target!(|input: (u16, i64, &[u8])| {
    let (cut, late_us, bytes) = input;
    let watch = Watch {
        end: Some(Regex::new("login:|[Ee]nd").expect("a regex")),
        marks: vec![("app".into(), Regex::new("app").expect("a regex"))],
    };
    let mut recorder = Recorder::new(&watch, Duration::from_micros(87));
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    recorder.feed(0, first);
    recorder.pause();
    recorder.feed(late_us, second);
    recorder.finish();
    let _ = (recorder.is_over(), recorder.garbage());
    for arrivals in [Arrivals::Meaningless, Arrivals::Known(None), Arrivals::Known(Some(late_us))] {
        let Ok(boot) = read(&recorder.lines, &watch, arrivals) else { continue };
        let mut names: Vec<&str> = boot.run.marks.iter().map(|mark| mark.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let before = boot.run.spans.iter().filter(|span| matches!(span.layer, Layer::Firmware | Layer::Bootloader));
        assert!(before.count() <= 2);
    }
});
