//! The virtio-serial port the report goes to; loads what the kernel has as modules and waits for the port's uevent.

use crate::place::Place;
use crate::sections::{fill, names};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};

/// The port's name on the emulator's command line.
const NAME: &[u8] = b"org.initoverlayfs.test";
/// How long to wait for it.
const DEADLINE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// Files of modules to load, one path a line.
const MODULES: &core::ffi::CStr = c"/guest-modules/list";

/// Opens the port.
pub fn open() -> Option<OwnedFd> {
    let events = subscribe()?;
    let sysfs = Place::sysfs();
    if let Some(port) = find(&sysfs) {
        return Some(port);
    }
    load_modules();
    loop {
        if let Some(port) = find(&sysfs) {
            return Some(port);
        }
        let mut fds = [PollFd::new(&events, PollFlags::IN)];
        if poll(&mut fds, Some(&DEADLINE)) == Ok(0) {
            return None;
        }
        let mut message = [0_u8; 4096];
        let _ = rustix::io::read(&events, &mut message);
    }
}

/// Says that it waits, and waits until a block device has gone.
pub fn wait_for_removal() {
    let Some(events) = subscribe() else { return };
    crate::say(format_args!("guest: waits for a disk to go"));
    loop {
        let mut message = [0_u8; 4096];
        let length = rustix::io::read(&events, &mut message).unwrap_or(0);
        let head = message.get(..length).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        if head.starts_with(b"remove@") && head.windows(7).any(|part| part == b"/block/") {
            return;
        }
    }
}

/// A socket that receives the kernel's uevents from now on.
fn subscribe() -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::KOBJECT_UEVENT);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).ok()?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1)).ok()?;
    Some(socket)
}

/// Looks for the port by name and opens it through a device node of its own.
fn find(sysfs: &Place) -> Option<OwnedFd> {
    let class = sysfs.open(c"class/virtio-ports")?;
    let mut port = None;
    names(&class, |entry| {
        let mut buffer = [0; 128];
        let read = |name: &core::ffi::CStr, buffer: &mut [u8]| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(&class, entry, flags, Mode::empty()).ok()?;
            let file = rustix::fs::openat(&folder, name, flags, Mode::empty()).ok()?;
            Some(fill(file, buffer))
        };
        let named = read(c"name", &mut buffer)
            .and_then(|length| buffer.get(..length))
            .is_some_and(|name| name.trim_ascii() == NAME);
        if named {
            port = read(c"dev", &mut buffer).and_then(|length| buffer.get(..length)).and_then(open_device);
        }
    });
    port
}

/// Opens a character device given as `MAJOR:MINOR`.
fn open_device(number: &[u8]) -> Option<OwnedFd> {
    let (major, minor) = core::str::from_utf8(number).ok()?.trim().split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let node = c"/.guest-port";
    rustix::fs::mknodat(CWD, node, FileType::CharacterDevice, Mode::from_raw_mode(0o600), device).ok()?;
    let port = rustix::fs::open(node, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    let _ = rustix::fs::unlink(node);
    port
}

/// Loads the listed modules in order; one that is loaded already does no harm.
pub fn load_modules() {
    let mut list = [0; 4096];
    let Ok(file) = rustix::fs::open(MODULES, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let length = fill(file, &mut list);
    for path in list.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').filter(|path| !path.is_empty()) {
        let loaded = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|module| rustix::system::finit_module(module, c"", 0));
        if let Err(error) = loaded
            && error != rustix::io::Errno::EXIST
        {
            let name = core::str::from_utf8(path).unwrap_or("?");
            crate::say(format_args!("guest: module {name}: errno {}", error.raw_os_error()));
        }
    }
}
