//! Any bytes as a kernel event and as a sysfs `uevent` file: nothing, or a device whose name can stand below `/dev` and
//! whose fields are the input's own.
#![no_main]

use bootstrap::uevent::{file, message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (found, end) in [(message(bytes), 0), (file(bytes), b'\n')] {
        let Some(device) = found else { continue };
        assert!(!device.name.is_empty() && !device.name.starts_with(b".") && !device.name.contains(&0));
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == end).collect();
        for (key, value) in [("DEVNAME=", device.name), ("PARTNAME=", device.part_name), ("PARTUUID=", device.part_uuid)] {
            assert!(value.is_empty() || fields.contains(&[key.as_bytes(), value].concat().as_slice()));
        }
    }
});
