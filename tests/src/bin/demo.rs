//! The program of `make demo`, which has installed, built and fetched what it needs.

use std::process::ExitCode;

fn main() -> ExitCode {
    let started = std::env::set_current_dir(tests::kernel::checkout()).map_err(Into::into);
    match started.and_then(|()| tests::demo::run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
