//! `run-init` and `switch_root` for a content whose own leave nothing but a ramfs: imagegen puts it in their place in the image.
//!
//! A content in mode `initial` goes on to its final root from an overlay. klibc's `run-init` and busybox' `switch_root` refuse that,
//! because they empty what they leave. Here nothing is emptied: the old root is unmounted, which frees image and overlay at once.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Under the names that the files shared with bootstrap know.
mod program {
    /// What ends a service before it could restart the board: this is none.
    mod full {
        pub mod service {
            pub const fn leave() {}
        }
    }
    #[allow(dead_code, reason = "bootstrap's")]
    #[path = "../../program/kmsg.rs"]
    mod kmsg;
    mod leave;
    #[path = "../../program/sys/mod.rs"]
    #[allow(dead_code, reason = "bootstrap's")]
    mod sys;
    #[path = "../../program/text.rs"]
    #[allow(dead_code, reason = "bootstrap's")]
    mod text;

    pub use leave::main;
}
