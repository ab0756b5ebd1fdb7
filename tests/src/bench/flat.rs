//! Whether a boot's time depends on the image's size: images of a small and a large size, booted in turn.

use super::Bench;
use super::content::Content;
use super::figures::Target;
use super::machine::{Boot, boot, build};
use super::sample::Sample;
use super::steps;
use crate::Result;
use imagegen::boot::qemu::{Disk, Qemu};
use imagegen::disk::{self, Partition};
use std::fs::File;

/// Boots of each.
const RUNS: u32 = 15;
/// Files of the content and the size of each, the largest first. The figure compares the first two, which differ in nothing
/// but size: with more files the inodes of `/` and `/init` may lie in different blocks, and one more is read.
const SHAPES: [(u64, u64); 3] = [(1000, 1_000_000), (1000, 8_000), (8, 1_000_000)];

/// Measures all, on disks of one size: how long the kernel needs for a partition table depends on the disk.
///
/// # Errors
/// If a boot fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let heads = SHAPES.map(|(files, bytes)| format!("{} MB in {files} files: us", files * bytes / 1_000_000));
    let (mut machines, mut outs, mut room) = (Vec::new(), Vec::new(), 0);
    for ((files, bytes), head) in SHAPES.iter().zip(&heads) {
        bench.say(format!("image of {head}"));
        let (plain, out) = (bench.path("flat.cpio"), bench.path(&format!("flat-{files}-{bytes}")));
        Content::generated(*files, *bytes)?.write(&plain)?;
        let mut machine = build("tuned", &bench.tuned, &plain, &out)?;
        std::fs::remove_file(&plain)?;
        let erofs = out.join("initoverlayfs.erofs");
        room = room.max(std::fs::metadata(&erofs)?.len());
        File::options().write(true).open(&erofs)?.set_len(room)?;
        let (disk, name) = (out.join("large.img"), "initoverlayfs".into());
        disk::write(&disk, &[7; 16], &[Partition { name, uuid: None, image: erofs }], &mut |_| ())?;
        machine.disks = vec![Disk { image: disk, writable: false }];
        machines.push(machine);
        outs.push(out);
    }
    bench.say("all in turn");
    let mut boots: [Vec<Boot>; SHAPES.len()] = Default::default();
    for run in 0..=RUNS {
        for (machine, boots) in machines.iter().zip(&mut boots) {
            let boot = boot(&Qemu { seed: run, ..machine.clone() })?;
            // The first brings the disk into the host's memory, as in [`super::machine::repeat`].
            if run > 0 {
                boots.push(boot);
            }
        }
    }
    let [large, small, few] = &boots;
    let title = format!("\"Run /init\" to the next init, by size of the image ({})", bench.conditions(small));
    bench.print(&steps::table(&title, &[(&heads[0], large), (&heads[1], small), (&heads[2], few)]));
    let ratios = small.iter().zip(large).map(|(small, large)| large.exec_ms() / small.exec_ms());
    bench.figures.add("flat_ratio", Sample::new(ratios.collect()), Target::Within(0.01));
    outs.iter().try_for_each(std::fs::remove_dir_all)?;
    Ok(())
}
