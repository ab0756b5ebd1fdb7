//! What each source of the image costs: to the switch, until the content has done some work, in memory; and what verification
//! adds. All boots in turn, of one content that does the same work in all of them.

use super::Bench;
use super::content::Content;
use super::figures::Target;
use super::machine::{Boot, build, build_parts, classic, reported, sample};
use super::sample::Sample;
use super::steps;
use super::table::{Table, ms};
use crate::Result;
use crate::kernel::program;
use crate::place::{FILE_PATH, PARTNAME};
use imagegen::board::FileSystem;
use imagegen::boot::qemu::{Disk, Port, Qemu};
use imagegen::disk::{self, Partition};
use imagegen::filesystem;
use std::path::Path;

/// Boots of each.
const RUNS: u32 = 7;
/// Kernel argument with which SHA-256 is NEON code: the driver of the processor's own instructions is not started
/// (arch/arm64/crypto/sha2-ce-glue.c, Linux 6.12; dm-verity then says `sha256-arm64-neon` in place of `sha256-ce`).
const WITHOUT_SHA: &str = " initcall_blacklist=cpu_feature_match_SHA2_init";

/// A machine and what its boots told.
struct Row {
    name: &'static str,
    machine: Qemu,
    /// Bytes that the bootloader loads, the kernel not counted.
    loaded: u64,
    /// Bytes of memory that the kernel never has.
    outside: u64,
    boots: Vec<Boot>,
    /// KiB used, and used without what could be given back.
    memory: Vec<[f64; 2]>,
}

impl Row {
    fn new(name: &'static str, machine: Qemu, outside: u64) -> Result<Self> {
        let initrd = machine.initrd.as_deref().map_or(Ok(0), |path| std::fs::metadata(path).map(|file| file.len()))?;
        Ok(Row { name, machine, loaded: initrd + outside, outside, boots: Vec::new(), memory: Vec::new() })
    }

    /// The boot of a turn, which has the random numbers of its number; that of the first is not counted.
    fn boot(&mut self, run: u32) -> Result<()> {
        let machine = Qemu { seed: run, ..self.machine.clone() };
        let (boot, report) = reported(&machine).map_err(|error| format!("{}: {error}", self.name))?;
        if run > 0 {
            self.boots.push(boot);
            self.memory.push(report.used_kib()?.map(|kib| kib as f64));
        }
        Ok(())
    }

    /// Memory of each boot in MiB.
    fn used_mib(&self, index: usize) -> Sample {
        Sample::new(self.memory.iter().filter_map(|both| both.get(index)).map(|kib| kib / 1024.0).collect())
    }

    /// What a value of each boot is more than that of the boot of `base` in the same turn.
    fn above(&self, base: &Row, value: impl Fn(&Boot) -> f64) -> Sample {
        Sample::new(self.boots.iter().zip(&base.boots).map(|(boot, base)| value(boot) - value(base)).collect())
    }
}

/// Rows by what they are.
struct Rows {
    floor: Row,
    classic: Row,
    partition: Row,
    full: Row,
    file: Row,
    initramfs: Row,
    memory: Row,
    verity: Row,
    without_sha: Row,
}

impl Rows {
    fn all(&mut self) -> [&mut Row; 9] {
        let Rows { floor, classic, partition, full, file, initramfs, memory, verity, without_sha } = self;
        [floor, classic, partition, full, file, initramfs, memory, verity, without_sha]
    }

    /// Those with an image, and the classic initramfs first.
    fn shown(&self) -> [&Row; 8] {
        let Rows { classic, partition, full, file, initramfs, memory, verity, without_sha, .. } = self;
        [classic, partition, full, file, initramfs, memory, verity, without_sha]
    }
}

/// Measures all.
///
/// # Errors
/// If a boot fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    bench.say("one content on every source");
    let mut rows = make(bench)?;
    for run in 0..=RUNS {
        bench.say(format!("boot {run} of {RUNS} of each source"));
        // The first brings disks into the host's memory, as in [`super::machine::repeat`].
        rows.all().into_iter().try_for_each(|row| row.boot(run))?;
    }
    bench.print(&table(bench, &rows));
    let title = format!("Steps by source ({})", bench.conditions(&rows.partition.boots));
    let sets = rows.shown().into_iter().skip(1).map(|row| (row.name, &row.boots[..])).collect::<Vec<_>>();
    bench.print(&steps::table(&title, &sets));
    figures(bench, &rows);
    Ok(())
}

fn make(bench: &Bench) -> Result<Rows> {
    let (plain, floor) = (bench.path("sources.cpio"), bench.path("sources-floor.cpio"));
    Content::debian(None)?.with_work().write(&plain)?;
    Content::nothing()?.write(&floor)?;
    let out = |name: &str| bench.path(&format!("sources-{name}"));
    let made = |board: &str| -> Result<Qemu> {
        let mut machine = build(board, &bench.tuned, &plain, &out(board))?;
        machine.append.push(" guest=work");
        machine.port = Some(Port::File(bench.path("report")));
        Ok(machine)
    };
    let partition = made("tuned")?;
    // Without a shell there is no work.
    let floor = Qemu { append: "console=ttyAMA0".into(), ..classic(&partition, &floor) };
    let program = program("bootstrap-full", &bench.tuned.arch)?;
    build_parts("tuned", &bench.tuned, &plain, &out("full"), &["--bootstrap".as_ref(), program.as_os_str()])?;
    build_parts("tuned-file", &bench.tuned, &plain, &out("file"), &[])?;
    let verity = made("tuned-verity")?;
    let mut without_sha = verity.clone();
    without_sha.append.push(WITHOUT_SHA);
    let in_memory = made("tuned-memory")?;
    let outside = std::fs::metadata(out("tuned-memory").join("initoverlayfs.erofs"))?.len();
    let initrd = |name: &str| Some(out(name).join("initramfs.img"));
    let disks = vec![Disk { image: holder(&out("file"))?, writable: false }];
    Ok(Rows {
        floor: Row::new("nothing", floor, 0)?,
        classic: Row::new("classic initramfs, uncompressed", classic(&partition, &plain), 0)?,
        full: Row::new("partition, full program", Qemu { initrd: initrd("full"), ..partition.clone() }, 0)?,
        file: Row::new("file on ext4", Qemu { initrd: initrd("file"), disks, ..partition.clone() }, 0)?,
        initramfs: Row::new("initramfs", made("tuned-initramfs")?, 0)?,
        memory: Row::new("memory, DAX", in_memory, outside)?,
        verity: Row::new("partition, dm-verity", verity, 0)?,
        without_sha: Row::new("the same without SHA instructions", without_sha, 0)?,
        partition: Row::new("partition", partition, 0)?,
    })
}

/// A disk with a partition with the image as a file.
fn holder(out: &Path) -> Result<std::path::PathBuf> {
    let (image, disk) = (out.join("holder.img"), out.join("holder-disk.img"));
    let file = (FILE_PATH.to_owned(), out.join("initoverlayfs.erofs"));
    filesystem::write(FileSystem::Ext4, &[file], "HOLDER", None, &image)?;
    disk::write(&disk, &[7; 16], &[Partition { name: PARTNAME.into(), uuid: None, image }], &mut |_| ())?;
    Ok(disk)
}

fn table(bench: &Bench, rows: &Rows) -> Table {
    let title = format!(
        "Figures by source, 190 MB of content; the work is `systemd --version`, find /usr, reading all libraries ({})",
        bench.conditions(&rows.partition.boots)
    );
    let heads = [
        "source",
        "n",
        "loaded MB",
        "\"Run /init\" to switch-root ms",
        "to the next init ms",
        "kernel start to work done ms",
        "RAM MiB",
        "not reclaimable MiB",
        "RAM the kernel never has MiB",
    ];
    let mut table = Table::new(title, &heads);
    let base = [0, 1].map(|index| rows.floor.used_mib(index).median());
    for row in rows.shown() {
        let median = |value: &dyn Fn(&Boot) -> f64| sample(&row.boots, value).median();
        let switch = median(&Boot::switch_root_ms);
        let [used, kept] = [0, 1].map(|index| format!("{:.1}", row.used_mib(index).median() - base[index]));
        table.row([
            row.name.to_owned(),
            row.boots.len().to_string(),
            format!("{:.3}", row.loaded as f64 / 1e6),
            if switch.is_nan() { "-".to_owned() } else { ms(switch) },
            ms(median(&Boot::exec_ms)),
            ms(median(&done_ms)),
            used,
            kept,
            format!("{:.1}", row.outside as f64 / 1_048_576.0),
        ]);
    }
    table
}

fn done_ms(boot: &Boot) -> f64 {
    boot.done_ms.unwrap_or(f64::NAN)
}

fn figures(bench: &mut Bench, rows: &Rows) {
    let base = rows.floor.used_mib(0).median();
    let classic_ms = sample(&rows.classic.boots, done_ms);
    let used = |row: &Row| row.memory.iter().map(|[kib, _]| kib / 1024.0 - base).collect::<Vec<_>>();
    let ratios = used(&rows.memory).into_iter().zip(used(&rows.classic)).map(|(ours, classic)| ours / classic);
    bench.figures.add("dax_ram_ratio", Sample::new(ratios.collect()), Target::AtMost(0.1));
    let target = Target::Below(classic_ms.median());
    bench.figures.add("dax_content_done_ms", sample(&rows.memory.boots, done_ms), target);
    bench.figures.add("classic_raw_content_done_ms", classic_ms, Target::None);
    let above = |row: &Row| row.above(&rows.partition, Boot::switch_root_ms);
    bench.figures.add("file_minus_partition_ms", above(&rows.file), Target::AtMost(0.5));
    bench.figures.add("verity_extra_ms", above(&rows.verity), Target::AtMost(1.0));
}
