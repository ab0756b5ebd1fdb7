//! Writes a single file as a whole: a regular file is replaced, a device or a pipe is written to.

use super::{STAGED, sync};
use crate::{Error, Result};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Links that stand for open files (proc(5); the first three are made by udev or systemd).
const DESCRIPTORS: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];

/// A file about to be written. Made before the work whose result it takes, so that what cannot be written fails first.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
}

impl Output {
    /// Checks that `path` is absent, a regular file, a character device or a named pipe.
    ///
    /// # Errors
    /// Bad input for everything else, and if the folder is missing; failed work if no file can be made in it.
    pub fn at(path: &Path) -> Result<Self> {
        let is_stream = is_stream(path)?;
        let folder = folder(path);
        if fs::metadata(folder).map_err(Error::io("find", folder))?.is_dir() {
            if !is_stream {
                // Whether a file can be made there is known by making one; it has no name, or none for long.
                tempfile::tempfile_in(folder).map_err(Error::io("make a file in", folder))?;
            }
            return Ok(Output { path: path.to_owned() });
        }
        Err(Error::bad_input(format!("{} is no folder", folder.display()), "is the path right?"))
    }

    /// Whether what is written replaces what was there; a device or a pipe takes one after the other.
    pub fn replaces(&self) -> bool {
        is_stream(&self.path).is_ok_and(|is_stream| !is_stream)
    }

    /// Writes `bytes`: a regular file, mode 0600, is durable and whole, or stays as it was.
    ///
    /// # Errors
    /// Bad input if the place has become something else meanwhile; failed work if writing fails.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let path = &self.path;
        if is_stream(path)? {
            // Appended: standard output may have been redirected to a file that holds something.
            let mut stream = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
            return stream.write_all(bytes).map_err(Error::io("write", path));
        }
        let folder = folder(path);
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("make a file in", folder))?;
        let temporary = file.path().to_owned();
        if let Ok(mut staged) = STAGED.lock() {
            staged.push(temporary.clone());
        }
        let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
        let done = written.and_then(|()| file.persist(path).map(drop).map_err(|error| error.error));
        if let Ok(mut staged) = STAGED.lock() {
            staged.retain(|path| *path != temporary);
        }
        done.map_err(Error::io("write", path))?;
        sync(folder)
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether what is at `path` is written through instead of replaced.
fn is_stream(path: &Path) -> Result<bool> {
    let refuse = || Err(Error::bad_input(format!("{} is no regular file", path.display()), "name a new file"));
    let Some(own) = metadata(path, fs::symlink_metadata)? else { return Ok(false) };
    if !own.is_symlink() {
        return if own.is_file() {
            Ok(false)
        } else if streams(&own) {
            Ok(true)
        } else {
            refuse()
        };
    }
    // `/dev/stdout` is a link, and leads to a regular file where a shell has redirected it.
    let leads_to = metadata(path, fs::metadata)?;
    let is_descriptor = DESCRIPTORS.iter().any(|place| path.starts_with(place));
    match leads_to {
        Some(leads_to) if streams(&leads_to) || (is_descriptor && leads_to.is_file()) => Ok(true),
        _ => refuse(),
    }
}

fn streams(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() || metadata.file_type().is_fifo()
}

fn metadata(path: &Path, read: fn(PathBuf) -> std::io::Result<Metadata>) -> Result<Option<Metadata>> {
    match read(path.to_owned()) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_made_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["first", "second"] {
            Output::at(&path).unwrap().write(text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_takes_no_file_is_refused_at_once() {
        // Not even root makes a file there.
        let error = Output::at(Path::new("/proc/self/new")).unwrap_err();
        assert!(error.what.starts_with("cannot make a file in /proc/self"), "{error}");
    }

    #[test]
    fn links_and_folders_are_refused_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, dangling) =
            (folder.path().join("file"), folder.path().join("link"), folder.path().join("dangling"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        for path in [&link, &dangling, &folder.path().to_owned()] {
            let error = Output::at(path).unwrap_err();
            assert!(error.exit_status() == 2 && error.what.ends_with("is no regular file"), "{error}");
            // Also if it has become one since.
            assert_eq!(Output { path: path.clone() }.write(b"x").unwrap_err().exit_status(), 2);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert_eq!(Output::at(&folder.path().join("none/file")).unwrap_err().exit_status(), 2);
        assert_eq!(Output::at(&file.join("below")).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn a_link_below_dev_is_a_link_unless_it_is_a_descriptor() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(Output::at(&link).unwrap_err().exit_status(), 2);
        assert_eq!(Output { path: link }.write(b"x").unwrap_err().exit_status(), 2);
        let open = fs::OpenOptions::new().append(true).open(&file).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        for path in [format!("/dev/fd/{number}"), format!("/proc/self/fd/{number}")] {
            Output::at(Path::new(&path)).unwrap().write(b"+").unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious++");
    }

    #[test]
    fn devices_and_pipes_are_written_to_and_stay() {
        Output::at(Path::new("/dev/null")).unwrap().write(b"x").unwrap();
        let full = Output::at(Path::new("/dev/full")).unwrap().write(b"x").unwrap_err();
        assert!(full.exit_status() == 1 && full.what.contains("/dev/full"), "{full}");
        for device in ["/dev/null", "/dev/full"] {
            assert!(fs::symlink_metadata(device).unwrap().file_type().is_char_device(), "{device}");
        }
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link] {
            assert!(
                !Output::at(path).unwrap().replaces() && Output::at(&folder.path().join("new")).unwrap().replaces()
            );
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read_to_string(pipe).unwrap()
            });
            Output::at(path).unwrap().write(b"through").unwrap();
            assert_eq!(reader.join().unwrap(), "through");
        }
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
