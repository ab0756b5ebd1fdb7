//! The kernel command line: any bytes, any length, told to be quiet.

use crate::case::{Expected, On, Rest, Scene};
use crate::policy::{add_shell, no_init};
use bootstrap::Step::SwitchRoot;
use bootstrap::plan::Policy;
use tests::{Result, equal};

/// Boots as ever with these words.
pub fn boots(on: &On, words: &[u8]) -> Result<Scene> {
    Ok(Scene::new(on, on.parts()?, Expected::Boots).with(words))
}

/// One word of this many bytes. The kernel cuts the line at `COMMAND_LINE_SIZE`, 2048 on arm64 and x86, 1024 on arm; what
/// the next init finds in /proc/cmdline is as long as that at most.
pub fn long(on: &On, bytes: usize) -> Result<Scene> {
    let most = if on.kernel.arch == "armv7" { 1024 } else { 2048 };
    let check = move |outcome: &tests::boot::Outcome| {
        let line = outcome.reported()?.lines("cmdline").join("").len();
        // Where the line is longer than the kernel's room it must be full, else the fault was not there.
        let right = if bytes >= most { line > most - 64 && line < most } else { line > bytes };
        equal(&format!("bytes of /proc/cmdline are right: {line}"), &right, &true)
    };
    Ok(boots(on, format!("word={}", "x".repeat(bytes)).as_bytes())?.and(check))
}

/// The kernel's log has every line, whatever reaches the console.
pub fn quiet(on: &On, words: &[u8]) -> Result<Scene> {
    let check = |outcome: &tests::boot::Outcome| {
        let on_console = outcome.console.contains("initoverlayfs: overlay");
        equal("steps on the console", &on_console, &false)?;
        let log = outcome.reported()?.lines("log").join("\n");
        let steps = ["early-mounts", "device", "mount", "overlay", "switch-root", "exec"];
        let missing: Vec<&str> =
            steps.into_iter().filter(|step| !log.contains(&format!("initoverlayfs: {step} "))).collect();
        equal("steps that the kernel's log lacks", &missing, &Vec::new())
    };
    Ok(boots(on, words)?.and(check))
}

/// A failure that the console does not show is in the kernel's log, where the shell finds it.
pub fn quiet_refusal(on: &On, words: &[u8]) -> Result<Scene> {
    let mut parts = no_init(on, Policy::Shell("/shell"))?;
    add_shell(on, &mut parts)?;
    let cause = "next init is missing: /init".into();
    let expected = Expected::Refused { step: SwitchRoot, cause, errno: 2, rest: Rest::Shell };
    let check = |outcome: &tests::boot::Outcome| {
        let on_console = outcome.console.contains("initoverlayfs: switch-root failed");
        equal("the failure on the console", &on_console, &false)
    };
    Ok(Scene::new(on, parts, expected).with(words).and(check))
}

/// `quiet` leaves errors on the console: the failure and the policy are seen there.
pub fn quiet_shows_errors(on: &On) -> Result<Scene> {
    Ok(crate::policy::reboot(on)?.with(b"quiet"))
}
