//! The command line of `imagegen tune`.

use super::{How, Source, measure::expression};
use clap::Args;
use regex::Regex;
use std::path::PathBuf;

/// What to build, how to boot it, and how often.
#[derive(Args, Clone, Debug)]
pub struct Tune {
    /// What to build from; with --profile that profile is used, without one it is recorded where --end says until when.
    #[command(flatten)]
    pub source: Source,
    /// How to boot. The kernel is asked for.
    #[command(flatten)]
    pub how: How,
    /// Bootstrap program, or folder with bootstrap-ARCH [default: beside imagegen, or installed].
    #[arg(long, value_name = "PATH")]
    pub bootstrap: Option<PathBuf>,
    /// The line that ends a boot: what is to be early [default: the start of the next init].
    #[arg(long, value_name = "REGEX", value_parser = expression)]
    pub end: Option<Regex>,
    /// How many boots of each image; of each, one more is made first and not counted.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
