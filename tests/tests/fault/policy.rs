//! What follows once no slot is left: every policy, before the switch and after it.

use crate::case::{Expected, On, Rest, Scene};
use bootstrap::Step::{self, Exec, SwitchRoot};
use bootstrap::plan::{self, Handover, Policy};
use tests::cpio::Entry;
use tests::image::{PLAN, Parts, Spec, make};
use tests::kernel::program;
use tests::{Result, content, equal};

/// Where the shell lies in the mini-initramfs.
const SHELL: &str = "/shell";

/// A boot without a next init and with this policy.
pub fn no_init(on: &On, policy: Policy<'_>) -> Result<Parts> {
    let mut content = content::guest(&on.kernel)?;
    content.retain(|entry| entry.path != "init");
    let mut parts = make(&on.kernel, &content, &on.spec())?;
    set(&mut parts, policy)?;
    Ok(parts)
}

fn set(parts: &mut Parts, policy: Policy<'_>) -> Result<()> {
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    plan.on_failure = policy;
    parts.set_plan(&plan)
}

/// Puts the guest into the mini-initramfs as the shell: its report shows the kernel's log.
///
/// # Errors
/// If it does not build.
pub fn add_shell(on: &On, parts: &mut Parts) -> Result<()> {
    parts.entries.push(Entry::file(
        SHELL.trim_start_matches('/'),
        0o755,
        std::fs::read(program("guest", &on.kernel.arch)?)?,
    ));
    parts
        .entries
        .extend(content::guest(&on.kernel)?.into_iter().filter(|entry| entry.path.starts_with("guest-modules")));
    Ok(())
}

fn expected(step: Step, cause: &str, errno: u32, rest: Rest) -> Expected {
    Expected::Refused { step, cause: cause.into(), errno, rest }
}

fn missing(rest: Rest) -> Expected {
    expected(SwitchRoot, "next init is missing: /init", 2, rest)
}

pub fn reboot(on: &On) -> Result<Scene> {
    Ok(Scene::new(on, no_init(on, Policy::Reboot)?, missing(Rest::Reboot)))
}

pub fn power_off(on: &On) -> Result<Scene> {
    Ok(Scene::new(on, no_init(on, Policy::PowerOff)?, missing(Rest::PowerOff)))
}

pub fn halt(on: &On) -> Result<Scene> {
    Ok(Scene::new(on, no_init(on, Policy::Halt)?, missing(Rest::Halt)))
}

/// The shell is PID 1 of the mini-initramfs, with nothing of the refused slot left and its descriptors on the console.
pub fn shell(on: &On) -> Result<Scene> {
    let mut parts = no_init(on, Policy::Shell(SHELL))?;
    add_shell(on, &mut parts)?;
    let check = |outcome: &tests::boot::Outcome| {
        let report = outcome.reported()?;
        let fds = report.lines("fds").join(", ");
        equal("fds", &fds.as_str(), &"0 /dev/console, 1 /dev/console, 2 /dev/console")?;
        let mounts: Vec<String> = report.mounts().into_iter().collect();
        let own = mounts.iter().any(|mount| ["/image ", "/upper ", "/root "].iter().any(|own| mount.starts_with(own)));
        equal(&format!("mounts of the refused slot among {mounts:?}"), &own, &false)
    };
    Ok(Scene::new(on, parts, missing(Rest::Shell)).and(check))
}

pub fn shell_missing(on: &On) -> Result<Scene> {
    let scene = Scene::new(on, no_init(on, Policy::Shell(SHELL))?, missing(Rest::NoShell));
    Ok(scene.and(|outcome| no_shell(outcome, 2)))
}

pub fn shell_is_no_program(on: &On) -> Result<Scene> {
    let mut parts = no_init(on, Policy::Shell(SHELL))?;
    parts.replace("shell", 0o755, "no program");
    // ENOEXEC
    Ok(Scene::new(on, parts, missing(Rest::NoShell)).and(|outcome| no_shell(outcome, 8)))
}

fn no_shell(outcome: &tests::boot::Outcome, errno: u32) -> Result<()> {
    let line = format!("initoverlayfs: cannot start /shell (errno {errno})");
    equal("the line about the shell", &outcome.console.contains(&line), &true)
}

/// Refused by execve: the switch is done, the mini-initramfs with the shell is gone.
fn after_the_switch(on: &On, handover: Handover, policy: Policy<'_>, rest: Rest) -> Result<Scene> {
    let mut content = content::guest(&on.kernel)?;
    content.retain(|entry| entry.path != "init");
    content.push(Entry::file("init", 0o755, "no program"));
    let mut parts = make(&on.kernel, &content, &Spec { handover, ..on.spec() })?;
    set(&mut parts, policy)?;
    Ok(Scene::new(on, parts, expected(Exec, "cannot start the next init: /init", 8, rest)))
}

pub fn reboot_after_the_switch(on: &On) -> Result<Scene> {
    after_the_switch(on, Handover::Kernel, Policy::Reboot, Rest::Reboot)
}

pub fn reboot_after_the_mounts_moved(on: &On) -> Result<Scene> {
    after_the_switch(on, Handover::Mounted, Policy::Reboot, Rest::Reboot)
}

pub fn halt_after_the_switch(on: &On) -> Result<Scene> {
    after_the_switch(on, Handover::Kernel, Policy::Halt, Rest::Halt)
}

pub fn shell_after_the_switch(on: &On) -> Result<Scene> {
    let scene = after_the_switch(on, Handover::Kernel, Policy::Shell(SHELL), Rest::NoShell)?;
    Ok(scene.and(|outcome| no_shell(outcome, 2)))
}
