//! `imagegen profile` on a Debian that does some work, and the image that is built by it: it boots, does the same work, holds what
//! was used in front, is asked for less, and is not later on the instruction clock, even where the disk answers at once. Also where the
//! content has changed since, the kernel is another, or the board's own kernel recorded it.

use imagegen::boot::qemu::{Disk, Port, Qemu};
use imagegen::boot::{Options, prepare};
use imagegen::profile::{Profile, Used};
use imagegen::{erofs, manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tests::Result;
use tests::bench::content::Content;
use tests::bench::machine::{Boot, board, build_parts, imagegen, reported};
use tests::bench::sample::Sample;
use tests::cpio::Entry;
use tests::kernel::{Kernel, get};

/// A boot that is not over by then has failed.
const DEADLINE: Duration = Duration::from_secs(600);
/// The line that ends the boot, and the argument that has the guest work.
const END: &str = "guest: content done";
const WORK: &str = "guest=work";
/// How much later an image with a profile may be than one without, on a disk that answers at once: what the larger program, its list
/// and the start of the child take.
const LATER_MS: f64 = 0.25;
/// The same for a kernel that waits by ticks of four milliseconds: with every draw of random numbers it is up to three ticks earlier or later
/// (a deviation of 6.5 ms), so that medians of five lie 5 ms apart by chance, 16 ms hardly ever. A child that gave nothing away cost 40.
const TICKS_MS: f64 = 16.0;
/// Draws of random numbers, each for both images.
const DRAWS: u32 = 5;

fn boot(kernel: &Kernel, out: &Path, trace: &Path) -> Result<Boot> {
    let options =
        Options { kernel: Some(kernel.image.clone()), deterministic: true, timeout: DEADLINE, append: WORK.into() };
    let machine = prepare(out, &options)?;
    let mut extra = machine.extra.clone();
    extra.extend(["-trace".into(), format!("enable=virtio_blk_handle_read,file={}", trace.display()).into()]);
    Ok(reported(&Qemu { port: Some(Port::File(out.join("report"))), extra, ..machine })?.0)
}

/// Boots until the work is done.
fn works(kernel: &Kernel, out: &Path) -> Result<()> {
    let options =
        Options { kernel: Some(kernel.image.clone()), deterministic: false, timeout: DEADLINE, append: WORK.into() };
    let mut console: Vec<u8> = Vec::new();
    let is_done = |console: &[u8]| console.windows(END.len()).any(|part| part == END.as_bytes());
    prepare(out, &options)?.start()?.watch(Some(Instant::now() + DEADLINE), &mut |new| {
        console.extend_from_slice(new);
        !is_done(&console)
    })?;
    if is_done(&console) { Ok(()) } else { Err(String::from_utf8_lossy(&console).into_owned().into()) }
}

/// Runs `imagegen profile` for a folder.
fn record(kernel: &Kernel, out: &Path, to: &Path) -> Result<Profile> {
    let run = ["--end", END, "--append", WORK, "--runs", "1", "--timeout", "600s", "--kernel"];
    profile(Command::new(imagegen()).arg("profile").arg(out).args(run).arg(&kernel.image), to)
}

fn profile(command: &mut Command, to: &Path) -> Result<Profile> {
    good(command.arg("--out").arg(to).output()?)?;
    Ok(Profile::read(to)?)
}

fn good(output: Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said.into()) }
}

/// Fails if an image with a profile starts the next init or has the work done later than one without by more than
/// `later_ms`.
fn not_later(kernel: &Kernel, plain: &Path, profiled: &Path, later_ms: f64) -> Result<()> {
    let options =
        Options { kernel: Some(kernel.image.clone()), deterministic: true, timeout: DEADLINE, append: WORK.into() };
    let mut medians = [[0.0; 2]; 2];
    for (out, medians) in [plain, profiled].into_iter().zip(&mut medians) {
        let machine = Qemu { port: Some(Port::File(out.join("report"))), ..prepare(out, &options)? };
        let boots = (1..=DRAWS).map(|seed| Ok(reported(&Qemu { seed, ..machine.clone() })?.0));
        let boots = boots.collect::<Result<Vec<Boot>>>()?;
        let done = boots.iter().map(|boot| boot.done_ms).collect::<Option<Vec<_>>>().ok_or("the work was not done")?;
        let times = [Sample::new(boots.iter().map(|boot| boot.first_ms).collect()), Sample::new(done)];
        println!("next init and work done: {times:.3?}, {}", out.display());
        *medians = times.map(|sample| sample.median());
    }
    for (plain, profiled) in medians[0].into_iter().zip(medians[1]) {
        assert!(profiled <= plain + later_ms, "{profiled} ms with a profile, {plain} without");
    }
    Ok(())
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
    build_parts("tuned", &kernel, &at("content"), &at("recorded"), &["--record".as_ref()])?;
    let profile = record(&kernel, &at("recorded"), &at("profile"))?;
    let used = |path: &str| profile.files.iter().find(|used| used.path == path);
    let is_program = |used: &Used| used.path == "/usr/lib/systemd/systemd" && !used.pages.is_empty();
    assert!(profile.files.iter().any(is_program), "the profile has no page of what was started");
    let path = at("profile");
    build_parts("tuned", &kernel, &at("content"), &at("profiled"), &["--profile".as_ref(), path.as_os_str()])?;
    let built = manifest::read(&at("profiled"))?;
    assert!(built.plan.iter().any(|line| line.contains("read ahead beside it")), "{:?}", built.plan);

    // Used contents, in their order, lie in front of all others.
    let places = places(&at("profiled").join(manifest::EROFS))?;
    // A folder comes with the first file in it, read itself or not.
    let is_folder = |used: &Used| profile.files.iter().any(|other| other.path.starts_with(&format!("{}/", used.path)));
    let with_pages = |used: &&Used| !used.pages.is_empty() && !is_folder(used);
    let mut known = BTreeSet::new();
    let first =
        profile.files.iter().filter(|used| known.insert(&used.path)).map(|first| (&first.path, first.raw_path()));
    let first: Vec<_> = first.collect();
    let has_pages: BTreeSet<&String> = profile.files.iter().filter(with_pages).map(|used| &used.path).collect();
    let order = first.iter().filter(|(path, _)| has_pages.contains(path));
    let order: Vec<u64> = order.filter_map(|(_, raw)| places.get(raw.as_ref()?).copied()).collect();
    assert!(order.len() > 20 && order.is_sorted(), "{} files", order.len());
    let other = places.iter().find(|(path, _)| used(&path.escape_ascii().to_string()).is_none());
    assert!(other.is_none_or(|(_, at)| Some(at) > order.last()), "{other:?}");

    let plain = boot(&kernel, &at("plain"), &at("plain.trace"))?;
    let ahead = boot(&kernel, &at("profiled"), &at("ahead.trace"))?;
    let (before, after) = (requests(&at("plain.trace"))?, requests(&at("ahead.trace"))?);
    println!("requests {before} -> {after}");
    assert!(ahead.done_ms.is_some() && plain.done_ms.is_some() && after < before, "{before} requests, {after} with it");
    not_later(&kernel, &at("plain"), &at("profiled"), LATER_MS)?;
    Ok(())
}

/// What `mkfs.erofs` packs is laid in the order of the profile; kernels of other years read it, and what is recorded page by page is less.
#[test]
fn compressed_images_have_the_order_too() -> Result<()> {
    let tuned = get("arm64-tuned")?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    Content::debian(None)?.with_work().write(&at("content"))?;
    for (out, arguments) in [("plain", &[][..]), ("recorded", &["--record".as_ref()])] {
        build_parts("tuned", &tuned, &at("content"), &at(out), arguments)?;
    }
    let along = record(&tuned, &at("plain"), &at("along"))?.bytes();
    let profile = record(&tuned, &at("recorded"), &at("profile"))?;
    assert!(profile.bytes() < along, "{} bytes page by page, {along} with what is read along", profile.bytes());
    let bytes = |out: &str| Ok::<_, tests::Failure>(std::fs::metadata(at(out).join(manifest::EROFS))?.len());
    let path = at("profile");
    for name in ["arm64-6.1", "arm64-7"] {
        let kernel = get(name)?;
        build_parts("stock-lz4hc", &kernel, &at("content"), &at(name), &["--profile".as_ref(), path.as_os_str()])?;
        works(&kernel, &at(name))?;
        assert!(bytes(name)? < bytes("plain")? * 2 / 3, "{name}: {} of {} bytes", bytes(name)?, bytes("plain")?);
    }
    Ok(())
}

#[test]
fn a_profile_of_before_is_used_as_far_as_it_fits() -> Result<()> {
    const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";
    let (recorded, kernel) = (get("arm64-tuned")?, get("arm64-6.12")?);
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    Content::debian(None)?.with_work().write(&at("before"))?;
    build_parts("tuned", &recorded, &at("before"), &at("recorded"), &["--record".as_ref()])?;
    let profile = record(&recorded, &at("recorded"), &at("profile"))?;
    let library = |name: &str| {
        let of = |used: &&Used| used.path.contains(name) && !used.pages.is_empty();
        let used = profile.files.iter().find(of).ok_or_else(|| format!("nothing of {name} was read"))?;
        Ok::<_, tests::Failure>(used.path.trim_start_matches('/').to_owned())
    };
    // What no program of the work is linked with: shorter, away, under another name.
    let shorter = Entry::file(&library("/libapt-pkg.so")?, 0o644, vec![b'x'; 10_000]);
    let changed = Content::debian(None)?.with_work().without(&library("/libapt-private.so")?, None)?;
    let changed = changed.without(&library("/libstdc++.so")?, Some(&format!("{LIBRARIES}/libstdc++.so.99")))?;
    changed.with([shorter]).write(&at("content"))?;
    build_parts("stock", &kernel, &at("content"), &at("plain"), &[])?;
    let mut command = Command::new(imagegen());
    command.arg("build").arg(board("stock")).arg("--from").arg(at("content")).arg("--out").arg(at("profiled"));
    command
        .arg("--modules")
        .arg(kernel.modules.as_deref().unwrap_or(Path::new("")))
        .arg("--profile")
        .arg(at("profile"));
    let said = good(command.output()?)?;
    assert!(said.contains("2 paths it does not have") && said.contains("pages behind the end"), "{said}");
    not_later(&kernel, &at("plain"), &at("profiled"), TICKS_MS)?;
    Ok(())
}

/// What a kernel traced, against what QEMU saw of a boot of the same image.
#[test]
fn a_boards_own_kernel_records_the_same() -> Result<()> {
    const TRACED: &str = "/usr/lib/systemd/systemd --version > /dev/null
/usr/bin/find /usr/lib > /dev/null
/usr/bin/mount -t tracefs none /sys/kernel/tracing
/usr/bin/cat /sys/kernel/tracing/trace > /dev/vdb
/usr/bin/sync
exec /init done
";
    let kernel = get("arm64-6.12")?;
    let work = tempfile::tempdir()?;
    let at = |name: &str| work.path().join(name);
    Content::debian(None)?.with_script(TRACED).write(&at("content"))?;
    build_parts("stock", &kernel, &at("content"), &at("out"), &[])?;
    let seen = record(&kernel, &at("out"), &at("seen"))?;

    let append = format!("{WORK} {}", imagegen::profile::trace::ARGUMENTS).into();
    let options = Options { kernel: Some(kernel.image.clone()), deterministic: false, timeout: DEADLINE, append };
    let mut machine = prepare(&at("out"), &options)?;
    std::fs::File::create(at("disk"))?.set_len(64 << 20)?;
    machine.disks.push(Disk { image: at("disk"), writable: true });
    let mut console: Vec<u8> = Vec::new();
    machine.start()?.watch(Some(Instant::now() + DEADLINE), &mut |new| {
        console.extend_from_slice(new);
        !console.windows(END.len()).any(|part| part == END.as_bytes())
    })?;
    let mut text = std::fs::read(at("disk"))?;
    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    std::fs::write(at("trace"), &text)?;
    let traced =
        profile(Command::new(imagegen()).arg("profile").arg(at("out")).arg("--trace").arg(at("trace")), &at("traced"))?;

    let pages = |profile: &Profile| -> BTreeSet<(String, u32)> {
        let of = |used: &Used| {
            let path = used.path.clone();
            used.pages
                .iter()
                .flat_map(|[first, count]| *first..first + count)
                .map(move |page| (path.clone(), page))
                .collect::<Vec<_>>()
        };
        profile.files.iter().flat_map(of).collect()
    };
    let paths = |profile: &Profile| profile.files.iter().map(|used| used.path.clone()).collect::<BTreeSet<_>>();
    let (seen_pages, traced_pages) = (pages(&seen), pages(&traced));
    let missing = seen_pages.difference(&traced_pages).count();
    let (seen_paths, traced_paths) = (paths(&seen), paths(&traced));
    let only_seen: Vec<&String> = seen_paths.difference(&traced_paths).collect();
    // QEMU sees blocks: one of inodes that only one of both boots has read is many paths.
    let mut blocks = BTreeSet::new();
    erofs::places(&at("out").join(manifest::EROFS), &mut |path, extents| {
        let is_unknown = only_seen.contains(&&path.escape_ascii().to_string());
        blocks.extend(extents.iter().filter(|_| is_unknown).filter_map(|extent| match extent {
            erofs::Extent::Inode(range) => Some(range.start / 4096),
            erofs::Extent::Content { .. } => None,
        }));
    })?;
    println!(
        "QEMU: {} pages, {} paths; kernel: {} pages, {} paths; {missing} pages and {} blocks of inodes only QEMU has: {only_seen:?}",
        seen_pages.len(),
        seen_paths.len(),
        traced_pages.len(),
        traced_paths.len(),
        blocks.len()
    );
    // Two boots; and a page of a file's end that lies behind its inode is read with that, and only the kernel tells them apart.
    assert!(seen_pages.len() > 500 && (missing + blocks.len()) * 100 <= seen_pages.len());
    Ok(())
}
