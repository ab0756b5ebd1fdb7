//! Progress of long work: a line on a terminal, nothing where standard error is piped.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A line that shows what is being done and how much of it; gone when dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts a line. `total` is in bytes, where it is known.
    pub fn start(what: &'static str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{msg:<24} [{bar:40}] {bytes:>10} of {total_bytes} {eta:>4}",
            None => "{spinner} {msg:<24} {bytes:>10} {bytes_per_sec:>12}",
        };
        Self::with(what, total, template)
    }

    /// Starts a line that counts to `total`.
    pub fn counting(what: &'static str, total: u64) -> Self {
        Self::with(what, Some(total), "{msg:<24} [{bar:40}] {pos:>10} of {len} {eta:>4}")
    }

    fn with(what: &'static str, total: Option<u64>, template: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress(bar)
    }

    /// Says how much is done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
