//! What the program without the feature `full` has in place of the folder of that name. imagegen gives it no plan that asks for
//! any of this; if somebody else does, the slot is refused.

use super::failure::{Failure, refuse};
use bootstrap::Step;
use rustix::io::Errno;

fn cannot(step: Step) -> Failure {
    refuse(step, "not in this bootstrap", "", Errno::NOSYS)
}

/// No file systems but EROFS.
pub mod holder {
    use super::cannot;
    use crate::program::device::Name;
    use crate::program::failure::Failure;
    use bootstrap::Step;
    use bootstrap::plan::{FilePath, Holder};
    use rustix::fd::OwnedFd;

    pub fn open(_: &Holder<'_>, _: FilePath<'_>) -> Result<(Name, OwnedFd), Failure> {
        Err(cannot(Step::Device))
    }

    pub fn mount_upper(_: &Holder<'_>) -> Result<(), Failure> {
        Err(cannot(Step::Overlay))
    }
}

/// No logical units.
pub mod unit {
    use bootstrap::plan::Wanted;

    /// Nothing to scan.
    pub struct Unit;

    impl Unit {
        pub const fn of(_: &Wanted<'_>) -> Self {
            Unit
        }

        pub const fn scan(&mut self) {}
    }
}

/// No verification.
pub mod verity {
    use super::cannot;
    use crate::program::device::Name;
    use crate::program::failure::Failure;
    use bootstrap::Step;
    use bootstrap::plan::Trust;
    use bootstrap::record::Record;
    use rustix::fd::OwnedFd;

    pub fn cover(
        trust: Trust<'_>,
        name: Name,
        disk: OwnedFd,
        _: u8,
        _: &mut Record,
    ) -> Result<(Name, OwnedFd), Failure> {
        if matches!(trust, Trust::Nothing) { Ok((name, disk)) } else { Err(cannot(Step::Verity)) }
    }

    pub fn check_file(trust: Trust<'_>, _: &OwnedFd, _: u8, _: &mut Record) -> Result<bool, Failure> {
        if matches!(trust, Trust::Nothing) { Ok(true) } else { Err(cannot(Step::Verity)) }
    }

    pub const fn undo() {}
}
