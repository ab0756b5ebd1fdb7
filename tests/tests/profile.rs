//! `imagegen profile` on a Debian that does some work, and the image that is built by it: it boots, does the same work, holds what
//! was used in front, and is asked for less. No time is held against a number.

use imagegen::boot::qemu::{Port, Qemu};
use imagegen::boot::{Options, prepare};
use imagegen::profile::{Profile, Used};
use imagegen::{erofs, manifest};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::Result;
use tests::bench::content::Content;
use tests::bench::machine::{Boot, build_parts, imagegen, reported};
use tests::kernel::{Kernel, get};

/// A boot that is not over by then has failed.
const DEADLINE: Duration = Duration::from_secs(600);
/// The line that ends the boot, and the argument that has the guest work.
const END: &str = "guest: content done";
const WORK: &str = "guest=work";

fn boot(kernel: &Kernel, out: &Path, trace: &Path) -> Result<Boot> {
    let options =
        Options { kernel: Some(kernel.image.clone()), deterministic: true, timeout: DEADLINE, append: WORK.into() };
    let machine = prepare(out, &options)?;
    let mut extra = machine.extra.clone();
    extra.extend(["-trace".into(), format!("enable=virtio_blk_handle_read,file={}", trace.display()).into()]);
    Ok(reported(&Qemu { port: Some(Port::File(out.join("report"))), extra, ..machine })?.0)
}

/// Runs `imagegen profile` for a folder.
fn record(kernel: &Kernel, out: &Path, to: &Path) -> Result<Profile> {
    let mut command = Command::new(imagegen());
    command.arg("profile").arg(out).args(["--end", END, "--append", WORK, "--runs", "1", "--timeout", "600s"]);
    let output = command.arg("--kernel").arg(&kernel.image).arg("--out").arg(to).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(Profile::read(to)?)
}

/// Where the content of each regular file begins in an image.
fn places(image: &Path) -> Result<BTreeMap<Vec<u8>, u64>> {
    let mut found = BTreeMap::new();
    erofs::places(image, &mut |path, extents| {
        let content = extents.iter().find_map(|extent| match extent {
            erofs::Extent::Content { at, .. } => Some(*at),
            erofs::Extent::Inode(_) => None,
        });
        found.extend(content.map(|at| (path.to_vec(), at)));
    })?;
    Ok(found)
}

fn requests(trace: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(trace)?.matches("virtio_blk_handle_read ").count())
}

#[test]
fn what_a_boot_reads_comes_first_and_is_read_ahead() -> Result<()> {
    let kernel = get("arm64-tuned")?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    Content::debian(None)?.with_work().write(&at("content"))?;
    build_parts("tuned", &kernel, &at("content"), &at("plain"), &[])?;
    let profile = record(&kernel, &at("plain"), &at("profile"))?;
    let used = |path: &str| profile.files.iter().find(|used| used.path == path);
    let program = used("/usr/lib/systemd/systemd").filter(|used| !used.pages.is_empty());
    assert!(program.is_some(), "the profile has no page of what was started");
    let path = at("profile");
    build_parts("tuned", &kernel, &at("content"), &at("profiled"), &["--profile".as_ref(), path.as_os_str()])?;
    let built = manifest::read(&at("profiled"))?;
    assert!(built.plan.iter().any(|line| line.contains("read ahead beside it")), "{:?}", built.plan);

    // Used contents, in their order, lie in front of all others.
    let places = places(&at("profiled").join(manifest::EROFS))?;
    // A folder comes with the first file in it, read itself or not.
    let is_folder = |used: &Used| profile.files.iter().any(|other| other.path.starts_with(&format!("{}/", used.path)));
    let with_pages = |used: &&Used| !used.pages.is_empty() && !is_folder(used);
    let order: Vec<u64> =
        profile.files.iter().filter(with_pages).filter_map(|used| places.get(&used.raw_path()?).copied()).collect();
    assert!(order.len() > 20 && order.is_sorted(), "{} files", order.len());
    let other = places.iter().find(|(path, _)| used(&path.escape_ascii().to_string()).is_none());
    assert!(other.is_none_or(|(_, at)| Some(at) > order.last()), "{other:?}");

    let plain = boot(&kernel, &at("plain"), &at("plain.trace"))?;
    let ahead = boot(&kernel, &at("profiled"), &at("ahead.trace"))?;
    let (before, after) = (requests(&at("plain.trace"))?, requests(&at("ahead.trace"))?);
    println!(
        "requests {before} -> {after}, next init at {:.3} -> {:.3} ms, work done at {:.3?} -> {:.3?} ms",
        plain.first_ms, ahead.first_ms, plain.done_ms, ahead.done_ms
    );
    assert!(ahead.done_ms.is_some() && after < before, "{before} requests without a profile, {after} with it");
    Ok(())
}
