//! From what a machine says to a file, without a machine.

use super::*;
use crate::collect::timeline::Wanted;
use crate::runs::{Layer, mark};
use bootstrap::Step;
use bootstrap::record::{self, Counter, Event, Record};
use std::path::Path;

/// A boot whose CLOCK_MONOTONIC starts 2 ms after the kernel log's clock, and whose counter 1,000 ms before it.
fn answer() -> String {
    let mut record = Record::new(98_100_000);
    // 1,000 ms before the log's clock, which is 2 ms before the other: 98.1 + 2 + 1,000.
    record.counter = Some(Counter { ticks: 1_100_100, hz: 1_000_000 });
    record.slot = Some(0);
    record.free_ram_kib = 900_000;
    let ended =
        [(Step::EarlyMounts, 98_200), (Step::Modules, 99_000), (Step::Mount, 99_100), (Step::SwitchRoot, 99_300)];
    for (step, us) in ended.into_iter().chain([(Step::Exec, 99_310)]) {
        record.add(Event { step, item: 0, ended_ns: us * 1000, errno: 0 });
    }
    let mut buffer = [0; record::MAX_BYTES];
    let sealed = manifest::hex(record::seal(&record, &mut buffer).unwrap());
    format!(
        "@imagegen-collect\n 1\n@kernel\n 6.12.1\n@command-line\n console=ttyS0 initcall_debug\n@model\n A Board\n@record\n {sealed}\n\
         @bootstage\n mark 00000000 726573657400\n mark 00030d40 73706c00\n mark 000e7ef0 73746172745f6b65726e656c00\n\
         @log\n <6>[    0.000000] Linux version 6.12.1 (x)\n <6>[    0.040000] clocksource: Switched to clocksource tsc\n <7>[    0.050000] initcall fine+0x0/0x8 returned 0 after 1 usecs\n \
         <7>[    0.060000] initcall slow+0x0/0x8 returned 0 after 5000 usecs\n \
         <6>[    0.100000] Run /init as init process\n <6>[    0.100210] initoverlayfs: early-mounts 100 us\n \
         <6>[    0.101005] initoverlayfs: module /modules/erofs.ko 800 us\n <6>[    0.101103] initoverlayfs: mount 100 us\n \
         <6>[    0.101300] initoverlayfs: switch-root 200 us\n <6>[    0.101400] initoverlayfs: exec 99 us /init with 900000 KiB free\n\
         @systemd\n InitRDTimestampMonotonic=200000\n UserspaceTimestampMonotonic=500000\n FinishTimestampMonotonic=900000\n\
         @units\n Id=multi-user.target\n InactiveExitTimestampMonotonic=890000\n ActiveEnterTimestampMonotonic=890000\n \n \
         Id=app.service\n InactiveExitTimestampMonotonic=600000\n ActiveEnterTimestampMonotonic=650000\n \n\
         @journal\n [    0.700000] kit app[7]: camera ready\n@lacks\n a thing\n@end\n"
    )
}

fn request(folder: &Path, text: &str) -> Request {
    let path = folder.join("answer");
    std::fs::write(&path, text).unwrap();
    let options = timeline::Options {
        marks: vec![
            Wanted { name: "camera".into(), line: regex::Regex::new("camera ready$").unwrap() },
            Wanted { name: "never".into(), line: regex::Regex::new("no such line").unwrap() },
        ],
        units: vec!["app.service".into()],
        least_us: 1_000,
    };
    let way = Way::Via(format!("cat '{}'", path.display()).into());
    Request { way, board: None, folder: None, start: Some(Start::Cold), options }
}

fn collected(text: &str) -> (Runs, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.json");
    let summary = run(&request(folder.path(), text), None, &Output::at(&path).unwrap()).unwrap();
    (runs::read(&path).unwrap(), summary)
}

#[test]
fn four_clocks_become_one_axis() {
    let (runs, _) = collected(&answer());
    let run = &runs.runs[0];
    let marks = [
        (mark::COUNTER_START, -1_000_000),
        ("bootstage spl", -800_000),
        ("bootstage start_kernel", -48_000 - 2_000),
        (mark::RUN_INIT, 100_000),
        (mark::SWITCH_ROOT, 101_300),
        (mark::NEXT_INIT, 101_400),
        (mark::INITRD_DONE, 502_000),
        ("app.service", 652_000),
        ("camera", 702_000),
        (mark::MULTI_USER, 892_000),
        (mark::FINISHED, 902_000),
    ];
    for (name, at_us) in marks {
        assert_eq!(run.at(name), Some(at_us), "{name}");
    }
    assert_eq!(run.took(Layer::Firmware, "until U-Boot's first stage"), Some(200_000));
    assert_eq!(run.took(Layer::Bootloader, "spl"), Some(750_000));
    assert_eq!(run.took(Layer::Initcall, "slow"), Some(5_000));
    assert_eq!(run.took(Layer::Initcall, "fine"), None);
    assert_eq!(run.took(Layer::Module, "erofs"), Some(800));
    assert_eq!(run.took(Layer::Userspace, "app.service"), Some(50_000));
    assert_eq!((run.start, run.free_ram_kib), (Some(Start::Cold), Some(900_000)));
    let conditions = &runs.conditions;
    assert_eq!((conditions.board.as_str(), conditions.kernel.as_str()), ("A Board", "6.12.1"));
    assert!(conditions.explained);
}

#[test]
fn the_summary_says_both_and_why() {
    let (_, summary) = collected(&answer());
    for line in [
        "| firmware                 |  200.000 |                       - |",
        "| bootloader               |  750.000 |                       - |",
        "| kernel, before its clock |   50.000 |                       - |",
        "| kernel, until /init      |  100.000 |                 200.000 |",
        "| bootstrap                |    1.400 |                       - |",
        "| until systemd runs       |  100.600 |                       - |",
        "| initrd                   |  300.000 |                 300.000 |",
        "| userspace                |  400.000 |                 400.000 |",
        "| all                      | 1902.000 |                 900.000 |",
        "- The counter started 1000.000 ms before the kernel log's clock.",
        "Here it started 2.000 ms after it.",
        "- missing: a thing",
        "- missing: no line fits mark never: no such line",
    ] {
        assert!(summary.contains(line), "{line}\n{summary}");
    }
}

#[test]
fn what_is_missing_leaves_the_rest() {
    let text = answer();
    let cut = |from: &str, to: &str| {
        let (start, end) = (text.find(from).unwrap(), text.find(to).unwrap());
        text[..start].to_owned() + &text[end..]
    };
    let (runs, _) = collected(&cut("@record", "@log"));
    assert_eq!((runs.runs[0].at(mark::COUNTER_START), runs.runs[0].at(mark::INITRD_DONE)), (None, Some(500_000)));
    let (runs, summary) = collected(&cut("@log", "@systemd"));
    assert_eq!(runs.runs[0].at(mark::SWITCH_ROOT), Some(99_300));
    assert_eq!(runs.runs[0].took(Layer::Module, "number 0"), Some(800));
    assert!(summary.contains("lacks bootstrap's lines"), "{summary}");
    let (runs, _) = collected(&cut("@bootstage", "@log"));
    assert_eq!(runs.runs[0].took(Layer::Firmware, timeline::UNDIVIDED), Some(1_000_000));
    let (runs, summary) = collected(&cut("@systemd", "@journal"));
    assert!(runs.runs[0].at(mark::RUN_INIT).is_some() && !summary.contains("userspace"), "{summary}");
    let (runs, _) = collected("@imagegen-collect\n 1\n@end\n");
    assert!(runs.runs[0].marks.is_empty() && runs.runs[0].spans.is_empty());
}

#[test]
fn efi_counts_from_the_counter_where_there_is_one() {
    let efi = "@systemd\n FirmwareTimestampMonotonic=900000\n LoaderTimestampMonotonic=300000\n";
    let text = answer().replace("@systemd\n", efi);
    let placed = text.find("@bootstage").map(|at| text[..at].to_owned() + &text[text.find("@log").unwrap()..]).unwrap();
    let (runs, _) = collected(&placed);
    let span = |runs: &Runs, layer| {
        let span = runs.runs[0].spans.iter().find(|span| span.layer == layer && span.start_us < Some(0)).unwrap();
        (span.start_us, span.duration_us)
    };
    assert_eq!(span(&runs, Layer::Firmware), (Some(-1_000_000), 600_000));
    assert_eq!(span(&runs, Layer::Bootloader), (Some(-400_000), 300_000));
    assert_eq!(span(&runs, Layer::Kernel), (Some(-100_000), 100_000));
    let without = placed.find("@record").map(|at| placed[..at].to_owned() + &placed[placed.find("@log").unwrap()..]);
    let (runs, _) = collected(&without.unwrap());
    assert_eq!(span(&runs, Layer::Firmware), (Some(-900_000), 600_000));
    assert_eq!(span(&runs, Layer::Bootloader), (Some(-300_000), 300_000));
}

#[test]
fn boots_of_one_kind_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.json");
    let first = request(folder.path(), &answer());
    run(&first, None, &Output::at(&path).unwrap()).unwrap();
    run(&first, Some(runs::read(&path).unwrap()), &Output::at(&path).unwrap()).unwrap();
    assert_eq!(runs::read(&path).unwrap().runs.len(), 2);
    let other = request(folder.path(), &answer().replace(" 6.12.1\n@command", " 6.12.2\n@command"));
    let error = run(&other, Some(runs::read(&path).unwrap()), &Output::at(&path).unwrap()).unwrap_err();
    assert!(error.exit_status() == 2 && error.what.contains("kernel is \"6.12.2\", and was \"6.12.1\""), "{error}");
    assert_eq!(runs::read(&path).unwrap().runs.len(), 2);
}

#[test]
fn a_machine_that_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let output = Output::at(&folder.path().join("runs.json")).unwrap();
    let mut request = request(folder.path(), "");
    request.way = Way::Via("exit 255".into());
    let error = run(&request, None, &output).unwrap_err();
    assert!(error.exit_status() == 1 && error.what.contains("told nothing"), "{error}");
    request.way = Way::Via("echo permission denied".into());
    assert_eq!(run(&request, None, &output).unwrap_err().exit_status(), 2);
    assert!(std::fs::read_dir(folder.path()).unwrap().all(|entry| entry.unwrap().file_name() == "answer"));
}

/// What the script told on a tuned 6.12 in QEMU whose host was busy, lines left out: its clocks were half a second apart.
#[test]
fn a_real_answer() {
    let (runs, summary) = collected(include_str!("../golden/collect-tuned-6.12.txt"));
    let run = &runs.runs[0];
    // The nearest pair: mount, in the log at 2,264,642 us and in the record at 1,677,425 us.
    let apart = 587_217;
    // The counter, at 62.5 MHz, had 163,817,088 when CLOCK_MONOTONIC had 1,600,978 us.
    assert_eq!(run.at(mark::COUNTER_START), Some(1_600_978 + apart - 2_621_073));
    assert_eq!((run.at(mark::RUN_INIT), run.at(mark::FINISHED)), (Some(2_084_200), Some(48_510_752 + apart)));
    assert_eq!(run.at("camera"), Some(37_531_132 + apart));
    assert_eq!(runs.conditions.kernel, "6.12.117");
    assert!(summary.contains("| until the kernel's clock |   432.878 |"), "{summary}");
    assert!(summary.contains(" 2499.700 |") && summary.contains("started 587.217 ms after it"), "{summary}");
}

/// The script in every shell that is here: it tells at least the kernel, whatever else there is.
#[test]
fn the_script_runs_in_any_shell() {
    let text = script(&["it's.service".into()], true);
    for shell in ["sh", "bash", "busybox sh"] {
        let found = std::process::Command::new(shell.split(' ').next().unwrap()).arg("--help").output();
        if found.is_err() {
            continue;
        }
        let found = wire::parse(&ask(&Way::Via(shell.into()), &text).unwrap()).unwrap();
        assert!(!found.kernel.is_empty() && found.command_line.is_some(), "{shell}: {found:?}");
        assert!(found.lacks.iter().any(|what| what.contains("record")), "{shell}: {found:?}");
    }
}

/// What is quoted once reaches systemctl as one word.
#[test]
fn units_are_words() {
    let text = script(&["a b'c.service".into()], false);
    let probe = text.lines().next().unwrap().to_owned() + "\neval \"printf '%s|' $units\"\n";
    let output = std::process::Command::new("sh").arg("-c").arg(probe).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "multi-user.target|a b'c.service|");
}
