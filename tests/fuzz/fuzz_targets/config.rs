//! Any bytes as a kernel's configuration, plain, compressed or in an image: options, or a reason in one line; never a panic.
#![no_main]

use imagegen::kernel::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match Config::from_bytes(bytes) {
    Ok(config) => {
        let _ = (config.release(), config.state("EROFS_FS"), config.text("FAT_DEFAULT_IOCHARSET"));
    }
    Err(reason) => assert!(!reason.is_empty() && !reason.contains(char::is_control), "{reason:?}"),
});
