//! What a fault is, and the one judge of all of them.

use bootstrap::Step;
use imagegen::boot::console::{Line, Log, parse};
use imagegen::boot::qemu::End;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;
use tests::Result;
use tests::boot::{Boot, Outcome};
use tests::image::{Parts, Place, Spec, make};
use tests::kernel::Kernel;

/// How long the device of [`On::parts`] may take, in milliseconds. Short, because here nothing more will come.
pub const DEADLINE_MS: u32 = 1_000;
/// What a boot may take beside waiting for devices, from "Run /init" to the policy. An emulated processor that shares its
/// host with others takes a second or two.
const ALLOWANCE: Duration = Duration::from_secs(15);
/// Where kernels differ in the error number.
pub const ANY_ERRNO: u32 = 0;
/// How long a halted machine must stay halted.
const HALTED: Duration = Duration::from_secs(2);

/// Where a fault makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// With every kernel and source.
    Everywhere,
    /// With every kernel, the image on a partition or in the mini-initramfs.
    Bare,
    /// With every kernel, the image on a partition.
    Partition,
    /// With every kernel, the image as a file on ext4.
    Holder,
    /// With every kernel, the image in the mini-initramfs.
    Initramfs,
    /// With every kernel that needs modules.
    Modular,
    /// On a partition or in the mini-initramfs, with every kernel whose machine has a PCI bus.
    Pci,
    /// With every kernel that needs modules, the image on a partition.
    ModularPartition,
    /// On a partition, with the kernel that trusts the tests' key.
    Trusting,
    /// The image as a file, with the same kernel, whose drivers are built in.
    TrustingHolder,
    /// On a partition, with every kernel that takes a disk while it runs (`CONFIG_HOTPLUG_PCI_PCIE`; Debian's armmp and the
    /// tuned kernel are without).
    HotPlug,
    /// With every kernel that is started with a longer command line than it keeps. On x86 the kernel's header tells the
    /// bootloader how much it takes (2047 bytes), and QEMU gets no kernel started with more.
    LongLine,
}

impl Where {
    /// Whether the fault can be set on this kernel with this source.
    pub fn holds(self, kernel: &str, place: Place) -> bool {
        match self {
            Where::Everywhere => true,
            Where::Bare => matches!(place, Place::Partition | Place::Initramfs),
            Where::Holder => place.holder().is_some(),
            Where::Partition => place == Place::Partition,
            Where::Initramfs => place == Place::Initramfs,
            Where::Modular => kernel != "arm64-tuned",
            Where::Pci => place.holder().is_none() && !matches!(kernel, "arm64-tuned" | "armv7-6.1"),
            Where::ModularPartition => place == Place::Partition && kernel != "arm64-tuned",
            Where::TrustingHolder => place.holder().is_some() && kernel == "arm64-tuned",
            Where::Trusting => place == Place::Partition && kernel == "arm64-tuned",
            Where::LongLine => kernel != "x86_64-6.1",
            Where::HotPlug => place == Place::Partition && !matches!(kernel, "arm64-tuned" | "armv7-6.1"),
        }
    }
}

/// A fault: its name, where it makes sense, and how the scene for it is set.
pub struct Fault {
    /// Unique.
    pub name: &'static str,
    /// Where it makes sense.
    pub place: Where,
    /// Sets the scene.
    pub scene: fn(&On) -> Result<Scene>,
}

/// A row of the table.
pub const fn fault(name: &'static str, place: Where, scene: fn(&On) -> Result<Scene>) -> Fault {
    Fault { name, place, scene }
}

/// What a fault is set on.
#[derive(Clone, Debug)]
pub struct On {
    /// The kernel.
    pub kernel: Kernel,
    /// Where the image lies.
    pub place: Place,
}

/// How a machine comes to rest after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It restarts, the step's name in the reason.
    Reboot,
    /// It switches itself off.
    PowerOff,
    /// It stays, console readable.
    Halt,
    /// The shell runs: here the guest, whose report says so.
    Shell,
    /// There was to be a shell, but it could not be started: the machine restarts.
    NoShell,
}

/// What must be seen.
#[derive(Clone, Debug)]
pub enum Expected {
    /// The next init runs in a whole root.
    Boots,
    /// The next init runs and never ends.
    Hangs,
    /// The kernel does not come to PID 1: nothing of ours is on the console.
    NoPid1,
    /// The last failure is this one, and the policy follows.
    Refused {
        /// The step.
        step: Step,
        /// What the cause's text must hold.
        cause: String,
        /// The error number.
        errno: u32,
        /// The policy.
        rest: Rest,
    },
}

/// `step` fails for `cause`, then the machine restarts.
pub fn refused(step: Step, cause: impl Into<String>, errno: u32) -> Expected {
    Expected::Refused { step, cause: cause.into(), errno, rest: Rest::Reboot }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Boots => f.write_str("boots"),
            Expected::Hangs => f.write_str("the next init runs and hangs"),
            Expected::NoPid1 => f.write_str("the kernel does not come to PID 1"),
            Expected::Refused { step, cause, errno, rest } => {
                write!(f, "{step} failed: {cause} (errno {errno}), {rest:?}")
            }
        }
    }
}

/// A look at what came of it, beyond [`Expected`].
pub type Check = Box<dyn Fn(&Outcome) -> Result<()>>;

/// Something changed about a boot.
pub type Change = Box<dyn FnOnce(&mut Boot<'_>)>;

/// The disk of a boot.
#[derive(Clone, Debug)]
pub enum Disk {
    /// None.
    None,
    /// One partition with the image.
    Image,
    /// Another.
    File(PathBuf),
}

/// A boot with something wrong in it.
pub struct Scene {
    /// What is booted.
    pub parts: Parts,
    /// The disk.
    pub disk: Disk,
    /// Appended to the command line.
    pub append: Vec<u8>,
    /// What else is different.
    pub change: Option<Change>,
    /// How long slots may wait for devices, in milliseconds.
    pub waits_ms: u32,
    /// What must be seen.
    pub expected: Expected,
    /// What else must be seen.
    pub check: Option<Check>,
}

impl Scene {
    /// `parts` from a disk with the image, if it is not in the mini-initramfs.
    pub fn new(on: &On, parts: Parts, expected: Expected) -> Self {
        let disk = if on.place == Place::Initramfs { Disk::None } else { Disk::Image };
        Scene { parts, disk, append: Vec::new(), change: None, waits_ms: DEADLINE_MS, expected, check: None }
    }

    /// With a further check.
    pub fn and(mut self, check: impl Fn(&Outcome) -> Result<()> + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// With these words on the command line.
    pub fn with(mut self, words: &[u8]) -> Self {
        self.append = words.to_vec();
        self
    }

    /// Boots it.
    ///
    /// # Errors
    /// If it cannot be booted.
    pub fn boot(&mut self, kernel: &Kernel) -> Result<Outcome> {
        let mut boot = Boot::new(kernel, self.parts.initrd()?);
        match &self.disk {
            Disk::None => (),
            Disk::Image => boot.disks.push(self.parts.disk(&[tests::image::PARTNAME])?),
            Disk::File(path) => boot.disks.push(path.clone()),
        }
        boot.append = OsString::from_vec(std::mem::take(&mut self.append));
        if let Expected::Refused { rest: Rest::Halt, .. } = self.expected {
            boot.until = Some("initoverlayfs: policy halt".into());
            boot.stays = HALTED;
        }
        if let Some(change) = self.change.take() {
            change(&mut boot);
        }
        boot.run()
    }

    /// Says what was seen, or what was wrong with it.
    ///
    /// # Errors
    /// The difference, with the console.
    pub fn judge(&self, outcome: &Outcome) -> Result<()> {
        let wrong = |what: &str| Err(outcome.failure(&format!("{what}; expected {}", self.expected)));
        let panic = outcome.console.contains("Kernel panic") && !matches!(self.expected, Expected::NoPid1);
        if panic || outcome.console.contains("Attempted to kill init") {
            return wrong("the kernel panicked");
        }
        let log = said(outcome);
        match &self.expected {
            Expected::Boots => {
                let report = outcome.reported()?;
                if report.value("start", "pid")? != "1" || !log.next_init_ran() {
                    return wrong("another program than the next init reports");
                }
            }
            Expected::Hangs => {
                if !log.next_init_ran() {
                    return wrong("the next init did not run");
                }
            }
            Expected::NoPid1 => {
                let ours =
                    ["Run /init", "initoverlayfs: ", "guest: "].iter().any(|text| outcome.console.contains(text));
                if ours || outcome.end != End::Exited(true) {
                    return wrong("PID 1 was started, or nothing ended");
                }
            }
            Expected::Refused { step, cause, errno, rest } => {
                let last = log.failures.last().map(|(step, cause, errno)| (*step, cause.as_str(), *errno));
                let errno = |found| found == *errno || *errno == ANY_ERRNO;
                if !last.is_some_and(|(s, c, e)| s == *step && c.contains(cause.as_str()) && errno(e)) {
                    return wrong(&format!("last failure: {last:?}"));
                }
                if let Err(what) = at_rest(outcome, &log, *step, *rest) {
                    return wrong(&what);
                }
                if let Err(what) = in_time(outcome, self.waits_ms, *rest) {
                    return wrong(&what);
                }
            }
        }
        match &self.check {
            Some(check) => check(outcome).map_err(|error| outcome.failure(&error.to_string())),
            None => Ok(()),
        }
    }
}

/// Whether the policy was said and done.
pub fn at_rest(outcome: &Outcome, log: &Log, step: Step, rest: Rest) -> std::result::Result<(), String> {
    let console = |text: &str| outcome.console.contains(text);
    let (policy, done) = match rest {
        // Printed at level 0, so also where the console is quiet (kernel_restart(), kernel/reboot.c).
        Rest::Reboot => {
            let with = format!("Restarting system with command 'initoverlayfs-{step}'");
            ("reboot", outcome.end == End::Exited(true) && console(&with) && !console("guest: "))
        }
        Rest::PowerOff => {
            ("power-off", outcome.end == End::Exited(true) && console("reboot: Power down") && !console("guest: "))
        }
        Rest::Halt => ("halt", outcome.end == End::Deadline && !console("reboot: ") && !console("guest: ")),
        Rest::Shell => ("shell /shell", outcome.reported().is_ok()),
        Rest::NoShell => {
            let with = "Restarting system with command 'initoverlayfs-shell'";
            ("shell /shell", outcome.end == End::Exited(true) && console(with) && !console("guest: "))
        }
    };
    let failure = outcome.console.rfind(&format!("initoverlayfs: {step} failed: "));
    if failure.zip(outcome.console.find("initoverlayfs: policy ")).is_some_and(|(failure, policy)| failure > policy) {
        return Err("the failure was said after the policy".into());
    }
    match (log.policy.as_deref() == Some(policy), done) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("policy {:?} where {policy} should follow", log.policy)),
        (true, false) => Err(format!("policy {policy} was not carried out")),
    }
}

/// Whether the policy came in time, by the kernel's clock; a shell's boot is not asked, its lines come from the report.
fn in_time(outcome: &Outcome, waits_ms: u32, rest: Rest) -> std::result::Result<(), String> {
    let line = |line: &&str| line.contains("initoverlayfs: policy ");
    let at_us = outcome.console.lines().find(line).and_then(|line| parse(line).at_us);
    let Some(at_us) = at_us else {
        return if rest == Rest::Shell { Ok(()) } else { Err("no policy on the console".into()) };
    };
    // Where the console is quiet the kernel's own time comes on top.
    let took = Duration::from_micros(at_us - outcome.log.run_init_us.unwrap_or(0).min(at_us));
    let most = Duration::from_millis(u64::from(waits_ms)) + ALLOWANCE;
    if took <= most { Ok(()) } else { Err(format!("the policy came after {took:?}, at most {most:?} is right")) }
}

/// What bootstrap has said: on the console, and in the kernel's log where a report shows that.
pub fn said(outcome: &Outcome) -> Log {
    let logged = outcome.report.as_ref().map(|report| report.lines("log")).unwrap_or_default();
    if logged.is_empty() {
        return outcome.log.clone();
    }
    let mut log = Log::default();
    logged.iter().for_each(|line| log.add(Line { at_us: None, ..parse(line) }));
    log
}

impl On {
    /// As the qemu boards have it, with a short deadline.
    pub fn spec(&self) -> Spec {
        Spec { deadline_ms: DEADLINE_MS, ..Spec::new(self.place, bootstrap::plan::Handover::Kernel) }
    }

    /// The parts of a boot that would succeed.
    pub fn parts(&self) -> Result<Parts> {
        make(&self.kernel, &tests::content::guest(&self.kernel)?, &self.spec())
    }
}
