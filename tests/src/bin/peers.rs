//! `make bench-peers`: all of it is in the library, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    let sections: Vec<String> = std::env::args().skip(1).collect();
    match tests::peers::run(&sections) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
