//! What a boot costs: ours, the classic initramfs in every compression, the kernel's own mount; by size of the content.

use super::Bench;
use super::content::{Compression, Content};
use super::figures::Target;
use super::machine::{Boot, build, classic, kernel_root, repeat, sample};
use super::sample::Sample;
use super::steps;
use super::table::{Table, mb, ms};
use crate::Result;
use imagegen::boot::qemu::Qemu;
use std::path::Path;

/// Boots of what the figures need, and of what is there to compare.
const RUNS: usize = 7;
const FEW_RUNS: usize = 3;
/// Sizes of the content in MB; the whole tree follows.
const SWEEP_MB: [u64; 5] = [1, 2, 4, 8, 32];

/// The boots that stand for the whole tree, needed again for the sweep.
struct Whole {
    bytes: u64,
    ours: Sample,
    plain: Sample,
    zstd: Sample,
}

/// Measures on the kernel with built-in drivers.
///
/// # Errors
/// If a boot fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let floor_initrd = bench.path("floor.cpio");
    Content::nothing()?.write(&floor_initrd)?;
    let (ours, whole, floor_ms) = whole(bench, &floor_initrd)?;
    sweep(bench, &ours, whole, floor_ms)
}

/// The whole tree in every form; returns the machine, the samples of the sweep's last row, and the floor.
fn whole(bench: &mut Bench, floor_initrd: &Path) -> Result<(Qemu, Whole, f64)> {
    let (plain, out) = (bench.path("content.cpio"), bench.path("out"));
    let content = Content::debian(None)?;
    bench.say(format!("the content, {} MB", mb(content.bytes())));
    content.write(&plain)?;
    let ours = build("tuned", &bench.tuned, &plain, &out)?;
    let size = std::fs::metadata(out.join("initramfs.img"))?.len();

    bench.say("floor, the kernel's own mount, ours");
    let floor = repeat(&classic(&ours, floor_initrd), RUNS)?;
    let floor_ms = sample(&floor, |boot| boot.first_ms).median();
    let limit = repeat(&kernel_root(&ours, &out.join("initoverlayfs.erofs")), RUNS)?;
    let boots = repeat(&ours, RUNS)?;

    let title = format!(
        "Kernel start to the next init's first instruction, {} MB of content ({})",
        mb(content.bytes()),
        bench.conditions(&boots)
    );
    let heads =
        ["initial file system", "n", "at ms", "above floor ms", "spread", "\"Run /init\" to it ms", "loaded MB"];
    let mut table = Table::new(title, &heads);
    row(&mut table, "nothing but the static init (floor)", &floor, floor_ms, std::fs::metadata(floor_initrd)?.len());
    row(&mut table, "EROFS, mounted by the kernel (limit)", &limit, floor_ms, 0);
    let above = row(&mut table, "initoverlayfs, EROFS on a partition", &boots, floor_ms, size);
    bench.figures.add("exec_ms", sample(&boots, Boot::exec_ms), Target::AtMost(1.5));
    bench.figures.add("above_floor_ms", above.clone(), Target::Below(5.0));
    let mut samples = Vec::new();
    for (compression, runs) in [
        (Compression::None, FEW_RUNS),
        (Compression::Lz4, FEW_RUNS),
        (Compression::Zstd, RUNS),
        (Compression::Gzip, FEW_RUNS),
    ] {
        bench.say(format!("classic initramfs, {}", compression.name()));
        let initrd = compression.apply(&plain)?;
        let boots = repeat(&classic(&ours, &initrd), runs)?;
        let name = format!("classic initramfs, {}", compression.name());
        samples.push(row(&mut table, &name, &boots, floor_ms, std::fs::metadata(&initrd)?.len()));
        if compression != Compression::Zstd && compression != Compression::None {
            std::fs::remove_file(&initrd)?;
        }
    }
    bench.print(&table);
    bench.print(&steps::table(&format!("Steps ({})", bench.conditions(&boots)), &[("median us", &boots)]));
    let [plain, _, zstd, _] = <[Sample; 4]>::try_from(samples).map_err(|_| "four compressions")?;
    bench.figures.add("classic_zstd_above_floor_ms", zstd.clone(), Target::None);
    bench.figures.add("initramfs_bytes", Sample::exact(size as f64), Target::AtMost(40_960.0));
    bench.figures.add("content_mb", Sample::exact(content.bytes() as f64 / 1e6), Target::None);
    Ok((ours, Whole { bytes: content.bytes(), ours: above, plain, zstd }, floor_ms))
}

/// Adds the row of one initial file system; returns how far above the floor it was.
fn row(table: &mut Table, name: &str, boots: &[Boot], floor_ms: f64, loaded: u64) -> Sample {
    let first = sample(boots, |boot| boot.first_ms);
    let above = first.above(floor_ms);
    let exec = sample(boots, Boot::exec_ms);
    table.row([
        name.to_owned(),
        first.n().to_string(),
        ms(first.median()),
        ms(above.median()),
        format!("{} ms", ms(above.range())),
        ms(exec.median()),
        format!("{:.3}", loaded as f64 / 1e6),
    ]);
    above
}

/// Where it pays: parts of the tree of several sizes.
fn sweep(bench: &mut Bench, ours: &Qemu, whole: Whole, floor_ms: f64) -> Result<()> {
    let title = "Above the floor in ms, by size of the content: where it pays";
    let heads = ["content MB", "n", "initoverlayfs", "classic uncompressed", "classic zstd"];
    let mut table = Table::new(title, &heads);
    for limit in SWEEP_MB {
        let content = Content::debian(Some(limit * 1_000_000))?;
        bench.say(format!("{} MB of content", mb(content.bytes())));
        let (plain, out) = (bench.path("part.cpio"), bench.path("part"));
        content.write(&plain)?;
        let above = |qemu: &Qemu| -> Result<String> {
            let boots = repeat(qemu, FEW_RUNS)?;
            Ok(ms(sample(&boots, |boot| boot.first_ms).median() - floor_ms))
        };
        let cells = [
            mb(content.bytes()),
            FEW_RUNS.to_string(),
            above(&build("tuned", &bench.tuned, &plain, &out)?)?,
            above(&classic(ours, &plain))?,
            above(&classic(ours, &Compression::Zstd.apply(&plain)?))?,
        ];
        table.row(cells);
        std::fs::remove_dir_all(&out)?;
    }
    let medians = [&whole.ours, &whole.plain, &whole.zstd].map(|sample| ms(sample.median()));
    table.row([mb(whole.bytes), format!(">= {FEW_RUNS}")].into_iter().chain(medians));
    bench.print(&table);
    Ok(())
}
