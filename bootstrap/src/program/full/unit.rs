//! The one logical unit of a SCSI host to look at, for kernels told not to scan (`scsi_mod.scan=manual`): on UFS and SAS a whole
//! scan takes longer than the boot.

use crate::program::early::argument;
use crate::program::text::{Text, c_path, text};
use bootstrap::plan::Wanted;
use core::mem::MaybeUninit;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// `host:channel:target:lun`, until it has been scanned.
pub struct Unit(Option<Text>);

impl Unit {
    /// What the plan names, or `initoverlayfs.lun=` in its place.
    pub fn of(wanted: &Wanted<'_>) -> Self {
        let named = |lun| text![argument(b"initoverlayfs.lun", &mut [MaybeUninit::uninit(); 4096]).unwrap_or(lun)];
        Unit(wanted.lun.map(named))
    }

    /// Scans, if its host is there by now.
    #[inline(never)]
    pub fn scan(&mut self) {
        if self.0.as_ref().is_some_and(|unit| scan(unit) != Err(Errno::NOENT)) {
            self.0 = None;
        }
    }
}

/// Has the kernel look for one unit (`store_scan()`, drivers/scsi/scsi_sysfs.c); ENOENT while there is no such host.
fn scan(unit: &str) -> Result<(), Errno> {
    let (host, unit) = unit.split_once(':').ok_or(Errno::INVAL)?;
    let file = c_path!["/sys/class/scsi_host/host", host, "/scan"];
    let file = open(&*file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Text::new();
    for part in unit.split(':') {
        text.put(part);
        text.put(" ");
    }
    rustix::io::write(&file, text.as_bytes()).map(drop)
}
