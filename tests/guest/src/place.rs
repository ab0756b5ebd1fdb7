//! A kernel file system wherever it is mounted already, else mounted on a private place.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

/// An open folder of proc or sysfs.
pub struct Place {
    root: Option<OwnedFd>,
}

impl Place {
    /// proc.
    pub fn proc() -> Self {
        Self::find(c"/proc", c"self/stat", c"/.guest-proc", c"proc")
    }

    /// sysfs.
    pub fn sysfs() -> Self {
        Self::find(c"/sys", c"class", c"/.guest-sys", c"sysfs")
    }

    fn find(
        usual: &core::ffi::CStr,
        sign: &core::ffi::CStr,
        private: &core::ffi::CStr,
        kind: &core::ffi::CStr,
    ) -> Self {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(root) = rustix::fs::open(usual, flags, Mode::empty())
            && rustix::fs::statat(&root, sign, rustix::fs::AtFlags::empty()).is_ok()
        {
            return Place { root: Some(root) };
        }
        let _ = rustix::fs::mkdir(private, Mode::from_raw_mode(0o700));
        let _ = rustix::mount::mount(kind, private, kind, MountFlags::empty(), None);
        Place { root: rustix::fs::open(private, flags, Mode::empty()).ok() }
    }

    /// The folder, if it could be had.
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        self.root.as_ref().map(rustix::fd::AsFd::as_fd)
    }

    /// Opens a file below it.
    pub fn open(&self, path: impl rustix::path::Arg) -> Option<OwnedFd> {
        rustix::fs::openat(self.root()?, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// The first bytes of a file below it.
    pub fn read<'b>(&self, path: impl rustix::path::Arg, buffer: &'b mut [u8]) -> &'b [u8] {
        let length = self.open(path).map_or(0, |file| crate::sections::fill(&file, buffer));
        buffer.get(..length).unwrap_or_default()
    }
}
