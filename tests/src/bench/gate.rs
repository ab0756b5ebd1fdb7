//! Whether `imagegen gate` can be believed: sets of boots with a regression on purpose, which it must catch and name, and sets
//! without one, which it must let pass. Real boots throughout, measured and judged by the program as a user calls it.

use super::Bench;
use super::content::Content;
use super::figures::Target;
use super::machine::{board, imagegen};
use super::sample::Sample;
use super::table::{Table, ms, percent};
use crate::kernel::checkout;
use crate::{Failure, Result};
use imagegen::runs::{self, mark};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Sets of each kind, and boots of a set. `GATE_SETS` makes fewer sets, for a look.
const SETS: usize = 20;
const BOOTS: usize = 10;
/// Bytes of content: how much there is does not matter to the boot (section flat).
const CONTENT: u64 = 32_000_000;
/// Steps that get the regression in turn.
const STEPS: [&str; 5] = ["early-mounts", "device", "mount", "overlay", "switch-root"];
/// What the spread at switch-root may be, of boots that draw the same random numbers, as a part of the time since the kernel's start.
const SPREAD: f64 = 0.0005;

/// How one kind of sets did.
#[derive(Default)]
struct Score {
    sets: usize,
    stopped: usize,
    named: usize,
}

/// Measures a baseline, then sets with and without a regression in turn; writes `target/gate.json`.
///
/// # Errors
/// If a boot fails. A regression that is missed is said, and is no error.
pub fn run(bench: &mut Bench) -> Result<()> {
    let sets = std::env::var("GATE_SETS").ok().and_then(|text| text.parse().ok()).unwrap_or(SETS);
    let content = bench.path("gate.cpio");
    Content::debian(Some(CONTENT))?.write(&content)?;
    bench.say("programs with a regression");
    let unchanged = build(bench, "unchanged", &content, None)?;
    let planted: Vec<(&str, PathBuf)> = STEPS
        .iter()
        .map(|step| Ok((*step, build(bench, step, &content, Some(&planted(step)?))?)))
        .collect::<Result<_>>()?;
    // Brings kernel and disks into the host's memory.
    planted.iter().try_for_each(|(_, out)| measure(out, 1, &bench.path("warm.json")))?;
    let (baseline, candidate) = (bench.path("baseline.json"), bench.path("candidate.json"));
    measure(&unchanged, 1, &baseline)?;
    measure(&unchanged, BOOTS, &baseline)?;
    let mut unchanged_sets = vec![switch_roots(&baseline)?];
    let (mut caught, mut passed) = (Score::default(), Score::default());
    for ((step, out), number) in planted.iter().cycle().zip(1..=sets) {
        bench.say(format!("set {number} of {sets}"));
        measure(out, BOOTS, &candidate)?;
        caught.judge(bench, &baseline, &candidate, Some(step))?;
        measure(&unchanged, BOOTS, &candidate)?;
        passed.judge(bench, &baseline, &candidate, None)?;
        unchanged_sets.push(switch_roots(&candidate)?);
    }
    report(bench, &caught, &passed, &unchanged_sets)
}

impl Score {
    /// Asks the gate about a set: stopped or let pass, and whether the step was the first that it named.
    fn judge(&mut self, bench: &Bench, baseline: &Path, candidate: &Path, step: Option<&str>) -> Result<()> {
        let output = Command::new(imagegen()).arg("gate").arg("--baseline").arg(baseline).arg(candidate).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        self.sets += 1;
        match output.status.code() {
            Some(0) => {}
            Some(1) => self.stopped += 1,
            _ => return Err(Failure::from(said)),
        }
        let named = step.is_some_and(|step| said.starts_with(&format!("imagegen: step {step} is ")));
        self.named += usize::from(named);
        let as_planted = output.status.success() == step.is_none() && named == step.is_some();
        if !as_planted {
            bench.say(format!("wrong, with a regression in {}: {said}", step.unwrap_or("no step")));
        }
        Ok(())
    }
}

/// Prints the scores and writes them.
fn report(bench: &mut Bench, caught: &Score, passed: &Score, unchanged_sets: &[Vec<f64>]) -> Result<()> {
    // The first boot of every set has the same random numbers, and so on: what the clock makes. Within a set: what they make.
    let nth = |number| unchanged_sets.iter().filter_map(|set| set.get(number).copied()).collect::<Vec<f64>>();
    let most = Sample::new((0..BOOTS).map(|number| Sample::new(nth(number)).spread()).collect()).most();
    let draws = Sample::new(unchanged_sets.iter().map(|set| Sample::new(set.clone()).spread()).collect());
    let in_percent = |part: f64| (part * 1e6).round() / 1e4;
    let title = format!(
        "The gate, sets of {BOOTS} boots held against one baseline of {BOOTS} (QEMU virt, tuned kernel, 1 instruction = 1 ns)"
    );
    let mut table = Table::new(title, &["sets", "n", "stopped", "step named first"]);
    let row = |name: &str, score: &Score, named: String| {
        [name.to_owned(), score.sets.to_string(), score.stopped.to_string(), named]
    };
    table.row(row(&format!("{} ms more in one step", ms(0.2)), caught, caught.named.to_string()));
    table.row(row("unchanged", passed, "-".to_owned()));
    bench.print(&table);
    println!(
        "Spread at switch-root, slowest less fastest boot as a part of the time since the kernel's start: {} among the {} boots that draw the \
         same random numbers, the worst of {BOOTS} draws; {} among the {BOOTS} draws of a set (median of the sets).\n",
        percent(most),
        unchanged_sets.len(),
        percent(draws.median())
    );
    bench.figures.add("gate_spread", Sample::exact(most), Target::AtMost(SPREAD));
    let value = json!({
        "planted_caught": caught.named.min(caught.stopped),
        "planted_total": caught.sets,
        "false_alarms": passed.stopped,
        "unchanged_total": passed.sets,
        "spread_percent": in_percent(most),
        "draws_spread_percent": in_percent(draws.median()),
    });
    let mut file = tempfile::NamedTempFile::new_in(checkout().join("target"))?;
    writeln!(file, "{value:#}")?;
    file.as_file().sync_all()?;
    file.persist(checkout().join("target/gate.json"))?;
    Ok(())
}

/// When each boot of a set reached switch-root, in microseconds since the kernel's start.
fn switch_roots(json: &Path) -> Result<Vec<f64>> {
    let runs = runs::read(json)?;
    Ok(runs.runs.iter().filter_map(|run| run.at(mark::SWITCH_ROOT)).map(|us| us as f64).collect())
}

/// A folder to boot, with another bootstrap if one is given.
fn build(bench: &Bench, name: &str, content: &Path, bootstrap: Option<&Path>) -> Result<PathBuf> {
    let out = bench.path(&format!("gate-{name}"));
    let mut command = Command::new(imagegen());
    command.arg("build").arg(board("tuned")).arg("--from").arg(content).arg("--out").arg(&out);
    command.arg("--kernel").arg(&bench.tuned.image);
    if let Some(bootstrap) = bootstrap {
        command.arg("--bootstrap").arg(bootstrap);
    }
    succeeded(&command.output()?)?;
    Ok(out)
}

/// bootstrap with a regression in a step.
fn planted(step: &str) -> Result<PathBuf> {
    let mut command = Command::new(checkout().join("tests/setup/program.sh"));
    let output =
        command.args(["bootstrap-planted", "aarch64"]).env("PLANTED_STEP", step).stderr(Stdio::inherit()).output()?;
    succeeded(&output)?;
    // The next step's program takes its place; `build` has read it by then.
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

fn measure(out: &Path, boots: usize, json: &Path) -> Result<()> {
    let mut command = Command::new(imagegen());
    command.arg("measure").arg(out).args(["--runs", &boots.to_string(), "--json"]).arg(json);
    succeeded(&command.output()?)
}

fn succeeded(output: &Output) -> Result<()> {
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure::from(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
