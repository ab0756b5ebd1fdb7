//! Boots a folder of outputs in QEMU, unseen, and records its console.

use super::recorder::{PAUSE, Recorder, Watch};
use super::store::UNKNOWN;
use super::timeline::{self, Arrivals, Boot};
use super::{microseconds, unseen, with_lines};
use crate::boot::qemu::{self, End, Qemu};
use crate::boot::{Options, Outcome, clock_of, prepare};
use crate::runs::{Clock, Conditions, Start, Zero};
use crate::{Result, manifest};
use std::path::Path;
use std::time::Instant;

/// What is known of a folder's boots before the first of them.
///
/// # Errors
/// Bad input if the folder is not ours, or its board does not boot in QEMU.
pub fn conditions(folder: &Path, options: &Options) -> Result<Conditions> {
    let manifest = manifest::read(folder)?;
    let clock = match clock_of(folder, &manifest, options)? {
        qemu::Clock::Instructions => Clock::Instructions,
        qemu::Clock::InstructionsAndWaits => Clock::InstructionsAndWaits,
        qemu::Clock::Host => Clock::Kernel,
    };
    Ok(Conditions {
        board: manifest.board.name,
        place: "QEMU".to_owned(),
        kernel: UNKNOWN.to_owned(),
        input_sha256: Some(manifest.input.sha256),
        image_sha256: manifest.outputs.get(manifest::EROFS).map(|output| output.sha256.clone()),
        command_line: None,
        clock,
        zero: Zero::Kernel,
        explained: false,
    })
}

/// Boots `folder` once, with the random numbers of this number.
///
/// # Errors
/// As [`prepare`]; failed work if QEMU does not start, or the boot does not come to its end.
pub fn boot(folder: &Path, options: &Options, watch: &Watch, seed: u32) -> Result<Boot> {
    boot_machine(Qemu { seed, ..prepare(folder, options)? }, options, watch)
}

/// Boots a machine once.
///
/// # Errors
/// Failed work if QEMU does not start, or the boot does not come to its end.
pub fn boot_machine(qemu: Qemu, options: &Options, watch: &Watch) -> Result<Boot> {
    let mut recorder = Recorder::new(watch, std::time::Duration::ZERO);
    let mut running = qemu.start()?;
    // What QEMU can do may have been found out first, which is not the boot's time.
    let start = Instant::now();
    let deadline = start + options.timeout;
    let end = loop {
        let pause = Instant::now() + PAUSE;
        let end = running.watch(Some(deadline.min(pause)), &mut |bytes| {
            recorder.feed(microseconds(start.elapsed()), bytes);
            !recorder.is_over()
        })?;
        if end != End::Deadline || Instant::now() >= deadline {
            break end;
        }
        recorder.pause();
        if recorder.is_over() {
            break End::Stopped;
        }
    };
    drop(running);
    recorder.finish();
    let append = qemu.append.to_string_lossy().into_owned();
    if !recorder.is_complete() {
        let (log, lines) = (recorder.log.clone(), recorder.lines.len() as u64);
        let outcome = Outcome { log, end, lines, timeout: options.timeout, qemu };
        outcome.verdict().map_err(|error| with_lines(error, &recorder.lines))?;
        return Err(unseen(&recorder, watch, options.timeout));
    }
    let arrivals = if options.deterministic { Arrivals::Meaningless } else { Arrivals::Known(None) };
    let mut boot = timeline::read(&recorder.lines, watch, arrivals)?;
    boot.run.start = Some(Start::Cold);
    boot.command_line = Some(append);
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{folder, options};
    use crate::runs::mark;
    use regex::Regex;
    use std::time::Duration;

    #[test]
    fn a_started_init_counts_and_a_refused_one_does_not() {
        let good = folder("#!/bin/sh\necho 'initoverlayfs: exec 1 us /init'\necho hello\nexec sleep 60\n");
        boot(good.path(), &options(), &Watch::default(), 1).unwrap();
        let refused = folder(
            "#!/bin/sh\necho 'initoverlayfs: exec 1 us /init'\n\
             echo 'initoverlayfs: exec failed: no (errno 8)'\n",
        );
        let error = boot(refused.path(), &options(), &Watch::default(), 1).unwrap_err();
        assert!(error.what.contains("exec failed: no"), "{error}");
    }

    #[test]
    fn a_boot_that_ends_early_shows_its_last_lines() {
        let folder =
            folder("#!/bin/sh\necho first; for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; printf 'la\\033st\\n'\n");
        let error = boot(folder.path(), &Options { append: "".into(), ..options() }, &Watch::default(), 1).unwrap_err();
        assert!(error.hint.ends_with("line 9\n    last") && !error.hint.contains("first"), "{error}");
    }

    #[test]
    fn the_end_is_the_users() {
        let script = "#!/bin/sh\necho '[    0.100000] initoverlayfs: exec 1 us /init'\necho '[    0.2'00000] app: ready\n\
             printf 'login: '\nexec sleep 60\n";
        let folder = folder(script);
        let watched = |end: &str| {
            let watch = Watch {
                end: Some(Regex::new(end).unwrap()),
                marks: vec![("app".into(), Regex::new("app: ready").unwrap())],
            };
            boot(folder.path(), &Options { timeout: Duration::from_secs(3), ..options() }, &watch, 1)
        };
        let run = watched("^login: $").unwrap().run;
        assert_eq!((run.at("app"), run.at(mark::NEXT_INIT), run.at(mark::END)), (Some(200_000), Some(100_000), None));
        assert_eq!(watched("ready").unwrap().run.at(mark::END), Some(200_000));
        let error = watched("never").unwrap_err();
        assert!(error.exit_status() == 1 && error.what.contains("no line matches `never`"), "{error}");
    }
}
