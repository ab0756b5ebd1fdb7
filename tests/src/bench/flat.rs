//! Whether a boot's time depends on the image's size: images of a small and a large size, booted in turn.

use super::Bench;
use super::content::Content;
use super::figures::Target;
use super::machine::{Boot, boot, build};
use super::sample::Sample;
use super::steps;
use crate::Result;

/// Boots of each.
const RUNS: usize = 15;
/// Files of the content and the size of each. The figure compares the last two, which differ in nothing but size: with
/// more files the inodes of `/` and `/init` may lie in different blocks, and one more is read.
const SHAPES: [(u64, u64); 3] = [(8, 1 << 20), (1024, 8 << 10), (1024, 1 << 20)];

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let heads = SHAPES.map(|(files, bytes)| format!("{} MiB in {files} files: us", (files * bytes) >> 20));
    let (mut machines, mut outs) = (Vec::new(), Vec::new());
    for ((files, bytes), head) in SHAPES.iter().zip(&heads) {
        bench.say(format!("image of {head}"));
        let (plain, out) = (bench.path("flat.cpio"), bench.path(&format!("flat-{files}-{bytes}")));
        Content::generated(*files, *bytes)?.write(&plain)?;
        machines.push(build("tuned", &bench.tuned, &plain, &out)?);
        std::fs::remove_file(&plain)?;
        outs.push(out);
    }
    bench.say("all in turn");
    let mut boots: [Vec<Boot>; SHAPES.len()] = Default::default();
    for run in 0..=RUNS {
        for (machine, boots) in machines.iter().zip(&mut boots) {
            let boot = boot(machine)?;
            // The first brings the disk into the host's memory, as in [`super::machine::repeat`].
            if run > 0 {
                boots.push(boot);
            }
        }
    }
    let [few, small, large] = &boots;
    let title = format!("\"Run /init\" to the next init, by size of the image ({})", bench.conditions(small));
    bench.print(&steps::table(&title, &[(&heads[0], few), (&heads[1], small), (&heads[2], large)]));
    let ratios = small.iter().zip(large).map(|(small, large)| large.exec_ms() / small.exec_ms());
    bench.figures.add("flat_ratio", Sample::new(ratios.collect()), Target::Within(0.01));
    outs.iter().try_for_each(std::fs::remove_dir_all)?;
    Ok(())
}
