//! What the program without the feature `full` has in place of the folder of that name: its plans cannot even name what is missing
//! here.

/// Nothing is read ahead.
pub mod ahead {
    use bootstrap::plan::Plan;
    use rustix::fd::OwnedFd;

    /// Nothing is kept.
    pub struct Image;

    pub const fn prepare(_: &Plan<'_>) {}

    pub const fn want_metadata(_: &OwnedFd) {}

    pub fn kept(_: OwnedFd) -> Image {
        Image
    }

    pub const fn open_all(_: &Plan<'_>, image: Image) -> Image {
        image
    }

    pub const fn start(_: Image) {}
}

/// No more than the failure itself.
pub mod help {
    use crate::program::text::Text;
    use bootstrap::plan::Plan;

    pub const fn say_what_there_is() {}

    pub const fn keep(_: &Text) {}

    pub const fn say_if_unknown(_: &Plan<'_>, _: &str) {}
}

/// No mode `service`.
pub mod service {
    use super::super::failure::Failure;
    use super::super::folder;
    use super::super::sys::start::Arguments;
    use bootstrap::plan::Plan;
    use bootstrap::record::Record;
    use bootstrap::uevent::BlockDevice;
    use core::ffi::CStr;

    pub const fn run_if_asked(_: Arguments) {}

    pub const fn check_mode(_: &Plan<'_>) -> Result<(), Failure> {
        Ok(())
    }

    pub const fn root() -> &'static CStr {
        folder::ROOT
    }

    pub const fn is_mapped(_: &BlockDevice<'_>, _: &str) -> bool {
        false
    }

    pub const fn end_if_it_is(_: &mut Record) {}

    pub const fn leave() {}
}

/// No logical units: a plan's are left to the kernel.
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
    use crate::program::device::Name;
    use crate::program::failure::Failure;
    use bootstrap::plan::Image;
    use bootstrap::record::Record;
    use rustix::fd::OwnedFd;

    pub const fn cover(
        _: &Image<'_>,
        name: Name,
        disk: OwnedFd,
        _: u8,
        _: &mut Record,
    ) -> Result<(Name, OwnedFd), Failure> {
        Ok((name, disk))
    }

    pub const fn check_file(_: &Image<'_>, _: &OwnedFd, _: u8, _: &mut Record) -> Result<bool, Failure> {
        Ok(true)
    }

    pub const fn let_go(_: &Image<'_>) {}

    pub const fn undo() {}
}
