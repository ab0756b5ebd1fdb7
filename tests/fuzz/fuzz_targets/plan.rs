//! Any bytes as a plan, and any bytes as the payload of one whose envelope is right: refused, or a plan that is the same
//! after sealing and opening it.
#![no_main]

use bootstrap::plan::{KIND, MAX_BYTES, open, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = open(bytes);
    let bytes = fuzz::enveloped(KIND, bytes);
    let Ok(plan) = open(&bytes) else { return };
    assert!(!plan.slots.is_empty());
    let mut buffer = vec![0; MAX_BYTES];
    // More bytes than a plan may have come in only here, and leave as an error.
    let Ok(sealed) = seal(&plan, &mut buffer) else { return assert!(bytes.len() > MAX_BYTES) };
    assert_eq!(open(sealed).as_ref(), Ok(&plan));
});
