//! Kernel events and sysfs `uevent` files about block devices.
//!
//! A netlink message is `ACTION@DEVPATH`, then `KEY=value` fields, each ended by NUL; a sysfs `uevent` file holds the same
//! fields ended by newlines, without the head. Source: lib/kobject_uevent.c and block/partitions/core.c (Linux 6.12).

/// What an event or a `uevent` file says about a block device. Missing fields are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice<'a> {
    /// Kernel name, the device node below `/dev`.
    pub name: &'a [u8],
    /// Name in the partition table.
    pub part_name: &'a [u8],
    /// GUID in the partition table as text; newer kernels only (7.2 yes, 6.12 no).
    pub part_uuid: &'a [u8],
    /// Number in the partition table, 0 for a whole disk.
    pub part_number: u32,
}

/// Reads a netlink message; `None` if it is not about a block device that appeared or changed.
pub fn message(bytes: &[u8]) -> Option<BlockDevice<'_>> {
    let mut fields = bytes.split(|byte| *byte == 0);
    let head = fields.next()?;
    if !(head.starts_with(b"add@") || head.starts_with(b"change@")) {
        return None;
    }
    if !fields.clone().any(|field| field == b"SUBSYSTEM=block") {
        return None;
    }
    block_device(fields)
}

/// Reads the text of `/sys/class/block/NAME/uevent`; `None` without a device name.
pub fn file(bytes: &[u8]) -> Option<BlockDevice<'_>> {
    block_device(bytes.split(|byte| *byte == b'\n'))
}

fn block_device<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<BlockDevice<'a>> {
    let mut device = BlockDevice::default();
    for field in fields {
        if let Some(value) = field.strip_prefix(b"DEVNAME=") {
            device.name = value;
        } else if let Some(value) = field.strip_prefix(b"PARTNAME=") {
            device.part_name = value;
        } else if let Some(value) = field.strip_prefix(b"PARTUUID=") {
            device.part_uuid = value;
        } else if let Some(value) = field.strip_prefix(b"PARTN=") {
            device.part_number = decimal(value)?;
        }
    }
    // A name is one component of a path below /dev; "cciss/c0d0" style names hold a slash, never dots alone.
    let usable = !device.name.is_empty() && !device.name.starts_with(b".") && !device.name.contains(&0);
    usable.then_some(device)
}

fn decimal(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u32::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADD: &[u8] = b"add@/devices/virtio0/block/vda/vda1\0ACTION=add\0DEVPATH=/devices/virtio0/block/vda/vda1\0\
        SUBSYSTEM=block\0MAJOR=254\0MINOR=1\0DEVNAME=vda1\0DEVTYPE=partition\0PARTN=1\0PARTNAME=initoverlayfs\0SEQNUM=9\0";

    #[test]
    fn partition_appears() {
        let device = message(ADD).unwrap();
        assert_eq!((device.name, device.part_name, device.part_number), (&b"vda1"[..], &b"initoverlayfs"[..], 1));
    }

    #[test]
    fn other_events_are_not_devices() {
        assert_eq!(message(b"remove@/x\0SUBSYSTEM=block\0DEVNAME=vda\0"), None);
        assert_eq!(message(b"add@/x\0SUBSYSTEM=net\0DEVNAME=vda\0"), None);
        assert_eq!(message(b"add@/x\0SUBSYSTEM=block\0"), None);
        assert_eq!(message(b"add@/x\0SUBSYSTEM=block\0DEVNAME=../../etc\0"), None);
        assert_eq!(message(b"libudev\0"), None);
    }

    #[test]
    fn sysfs_file() {
        let device = file(b"MAJOR=254\nMINOR=1\nDEVNAME=vda1\nPARTN=1\nPARTUUID=ab\n").unwrap();
        assert_eq!((device.name, device.part_uuid), (&b"vda1"[..], &b"ab"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: std::vec::Vec<u8>) {
            message(&bytes);
            file(&bytes);
        }
    }
}
