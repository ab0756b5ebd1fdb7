//! `imagegen ostree` on the command line.

use clap::{ArgGroup, Args};
use imagegen::ostree::{Commit, Request, Target};
use std::ffi::OsString;
use std::path::PathBuf;

/// Said below the options.
pub const HELP: &str = "The board has a slot with source = \"ostree\". A kernel that `build` was given (--kernel) goes along; else \
                        the one that is there stays. A new commit differs from the other in these files alone.\n\n\
                        Example: imagegen ostree out --tree rootfs\n         \
                        imagegen ostree out --repo repo --branch os/stable -- --gpg-sign=KEY";

/// What goes where.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("target").required(true).args(["tree", "repo"])))]
pub struct Ostree {
    /// Folder that `build` made.
    pub dir: PathBuf,
    /// Root file system in a folder, to be committed or made a container image afterwards.
    #[arg(long, value_name = "ROOT")]
    pub tree: Option<PathBuf>,
    /// OSTree repository to make a commit in.
    #[arg(long, value_name = "REPO", requires = "branch")]
    pub repo: Option<PathBuf>,
    /// Branch that gets the commit.
    #[arg(long, value_name = "REF", requires = "repo", conflicts_with = "tree")]
    pub branch: Option<String>,
    /// Commit or branch that it changes [default: the branch itself].
    #[arg(long, value_name = "COMMIT", requires = "repo", conflicts_with = "tree")]
    pub base: Option<String>,
    /// Kernel's release, as `uname -r` says it [default: that of the kernel that is there].
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// Further arguments of `ostree commit`.
    #[arg(last = true, value_name = "ARGS", requires = "repo", conflicts_with = "tree")]
    pub arguments: Vec<OsString>,
}

impl Ostree {
    /// What the library takes.
    pub fn request(self) -> Request {
        let target = match (self.tree, self.repo) {
            (_, Some(repo)) => {
                // clap wants one with a repository.
                let branch = self.branch.unwrap_or_default();
                Target::Commit(Commit { repo, branch, base: self.base, arguments: self.arguments })
            }
            (tree, None) => Target::Tree(tree.unwrap_or_default()),
        };
        Request { folder: self.dir, release: self.release, target }
    }
}
