//! How long imagegen takes, against the least that the same image takes by hand: unpacking and `mkfs.erofs`.

use super::Bench;
use super::content::{Compression, Content};
use super::figures::Target;
use super::machine::{board, imagegen};
use super::sample::Sample;
use super::table::Table;
use crate::Result;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Pairs after one that fills the page cache and is not counted.
const PAIRS: usize = 7;

/// Measures both in turn.
///
/// # Errors
/// If one of them fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let plain = bench.path("content.cpio");
    if !plain.exists() {
        Content::debian(None)?.write(&plain)?;
    }
    let initrd = Compression::Zstd.apply(&plain)?;
    std::fs::remove_file(&plain)?;
    bench.say("imagegen build, and unpacking and mkfs.erofs by hand, in turn");
    let mut samples: [Vec<f64>; 3] = Default::default();
    for pair in 0..=PAIRS {
        let ours = build(bench, &initrd)?;
        let [unpack, mkfs] = by_hand(bench, &initrd)?;
        if pair > 0 {
            samples.iter_mut().zip([ours, unpack, mkfs]).for_each(|(sample, seconds)| sample.push(seconds));
        }
    }
    let [ours, unpack, mkfs] = samples;
    let ratios = ours.iter().zip(unpack.iter().zip(&mkfs)).map(|(ours, (unpack, mkfs))| ours / (unpack + mkfs));
    let ratio = Sample::new(ratios.collect());
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let title = format!(
        "imagegen build against the same by hand, uncompressed EROFS from a zstd initramfs (host's seconds, n = {PAIRS} pairs in turn, load {})",
        load.split(' ').next().unwrap_or("?")
    );
    let mut table = Table::new(title, &["work", "median s", "least s", "most s"]);
    let rows = [
        ("imagegen build (unpack, EROFS, read back and compared, mini-initramfs, disk image, synced)", ours),
        ("zstd -d piped into cpio -i", unpack),
        ("mkfs.erofs, same options", mkfs),
    ];
    for (name, seconds) in rows {
        let (sample, least) = (Sample::new(seconds.clone()), seconds.iter().copied().fold(f64::INFINITY, f64::min));
        let cells = [sample.median(), least, least + sample.range()].map(|seconds| format!("{seconds:.2}"));
        table.row([name.to_owned()].into_iter().chain(cells));
    }
    bench.print(&table);
    bench.figures.add("imagegen_ratio", ratio, Target::AtMost(1.3));
    Ok(())
}

/// Seconds of a command. Device nodes need root, or fakeroot, which imagegen calls by itself.
fn time(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let output = command.output()?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.success() {
        Ok(seconds)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn build(bench: &Bench, initrd: &Path) -> Result<f64> {
    let out = bench.path("speed");
    let mut command = Command::new(imagegen());
    let seconds = time(command.arg("build").arg(board("tuned")).arg("--from").arg(initrd).arg("--out").arg(&out))?;
    std::fs::remove_dir_all(out)?;
    Ok(seconds)
}

/// Seconds of unpacking and of `mkfs.erofs` with the options that imagegen gives it.
fn by_hand(bench: &Bench, initrd: &Path) -> Result<[f64; 2]> {
    let (tree, image) = (bench.path("by-hand"), bench.path("by-hand.erofs"));
    std::fs::create_dir(&tree)?;
    let shell = |script: &str| {
        let mut command = Command::new(if nix::unistd::geteuid().is_root() { "sh" } else { "fakeroot" });
        if !nix::unistd::geteuid().is_root() {
            command.arg("sh");
        }
        command.args(["-e", "-c", script, "sh"]).arg(initrd).arg(&image).current_dir(&tree);
        command
    };
    let unpack = time(&mut shell("zstd -dcq \"$1\" | cpio -idm --quiet"))?;
    let mkfs = time(&mut shell("mkfs.erofs --quiet -T0 \"$2\" ."))?;
    std::fs::remove_dir_all(&tree)?;
    std::fs::remove_file(&image)?;
    Ok([unpack, mkfs])
}
