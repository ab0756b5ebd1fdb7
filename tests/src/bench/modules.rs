//! What a distribution's kernel pays for its modules, as they are and stripped.

use super::Bench;
use super::content::Content;
use super::machine::{Boot, build, repeat, sample};
use super::steps::took_us;
use super::table::{Table, ms};
use crate::Result;

/// Boots of each.
const RUNS: usize = 5;

/// Measures on a stock kernel.
///
/// # Errors
/// If a boot fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let (plain, out) = (bench.path("modules.cpio"), bench.path("modules"));
    Content::nothing()?.write(&plain)?;
    let mut both = Vec::new();
    for board in ["stock", "stock-stripped"] {
        bench.say(format!("{} on board {board}", bench.stock.name));
        let machine = build(board, &bench.stock, &plain, &out)?;
        both.push((repeat(&machine, RUNS)?, std::fs::metadata(out.join("initramfs.img"))?.len()));
        std::fs::remove_dir_all(&out)?;
    }
    let [(signed, signed_bytes), (stripped, stripped_bytes)] = both.try_into().map_err(|_| "two boards")?;
    let title =
        format!("Modules of a stock kernel: as they are, and with `modules.strip` ({})", bench.conditions(&signed));
    let mut table = Table::new(title, &["module", "as it is ms", "stripped ms", "gain ms"]);
    let names: Vec<String> =
        signed.iter().take(1).flat_map(|boot| &boot.log.rows).map(|row| row.name.clone()).collect();
    let took =
        |boots: &[Boot], wanted: &dyn Fn(&str) -> bool| sample(boots, |boot| took_us(boot, wanted) / 1e3).median();
    let mut add = |name: &str, wanted: &dyn Fn(&str) -> bool| {
        let (before, after) = (took(&signed, wanted), took(&stripped, wanted));
        table.row([name.to_owned(), ms(before), ms(after), ms(before - after)]);
    };
    for name in names.iter().filter(|name| name.starts_with("module ")) {
        add(name.trim_start_matches("module "), &|found| found == name);
    }
    add("all modules", &|found| found.starts_with("module "));
    add("all other steps", &|found| !found.starts_with("module "));
    let exec = [&signed, &stripped].map(|boots| sample(boots, Boot::exec_ms).median());
    table.row(["\"Run /init\" to the next init".to_owned(), ms(exec[0]), ms(exec[1]), ms(exec[0] - exec[1])]);
    let kib = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
    let saved = signed_bytes.saturating_sub(stripped_bytes);
    table.row(["mini-initramfs, KiB".to_owned(), kib(signed_bytes), kib(stripped_bytes), kib(saved)]);
    bench.print(&table);
    Ok(())
}
