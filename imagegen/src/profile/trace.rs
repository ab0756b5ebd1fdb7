//! A profile from the trace of a board's own kernel: event `filemap:mm_filemap_add_to_page_cache`, switched on by the command line, so
//! that the target needs nothing of ours. The kernel names device, inode and offset; an EROFS inode has the number it has in the
//! image (`erofs_iget()`, fs/erofs/inode.c), so that compressed images can be traced too.

use super::blocks::Seen;
use super::{PAGE, Profile, Used};
use crate::erofs;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What has the kernel trace; the size is for some 200 000 pages.
pub const ARGUMENTS: &str = "trace_event=filemap:mm_filemap_add_to_page_cache trace_buf_size=16M";
/// The event, as a line of the trace says it (include/trace/events/filemap.h).
const EVENT: &str = " mm_filemap_add_to_page_cache: ";
/// The largest trace that is read, in bytes: a line is about 100.
const MAX_BYTES: u64 = 256 << 20;
/// The largest folio as a power of two of pages, that of arm64 with 64 KiB pages (`MAX_PAGECACHE_ORDER`, include/linux/pagemap.h).
const MAX_ORDER: u32 = 13;
/// Bits of a minor number in the kernel's own numbers, which are the inodes of block devices (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;
/// Of what a device has in the trace, the part that must be pages of the image: another image's numbers fit now and then.
const LEAST_SHARE: f64 = 0.5;

/// Pages that came into the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Major and minor number of the file system's device.
    pub device: (u32, u32),
    /// Number of the inode.
    pub inode: u64,
    /// First page.
    pub page: u64,
    /// How many.
    pub pages: u64,
}

/// Reads the trace at `path`; with `until` only what is not later than that, in seconds of the trace's clock.
///
/// # Errors
/// Bad input, with the line, if it is no trace, has no such event, or the kernel had no room for all of it.
pub fn read(path: &Path, until: Option<f64>) -> Result<Vec<Added>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("{}: more than {MAX_BYTES} bytes", path.display());
        return Err(Error::bad_input(what, "trace this one event, and read it off after the boot"));
    }
    parse(&bytes, until)
        .map_err(|(line, what, hint)| Error::bad_input(format!("{}:{line}: {what}", path.display()), hint))
}

/// What is wrong with a trace: line, what, hint.
type Wrong = (usize, String, &'static str);

fn parse(bytes: &[u8], until: Option<f64>) -> std::result::Result<Vec<Added>, Wrong> {
    const GROW: &str = "boot with a larger trace_buf_size=, and read the trace off once, after the boot";
    const WHOLE: &str = "give /sys/kernel/tracing/trace of the board, as a file";
    let text = String::from_utf8_lossy(bytes);
    let (mut found, mut number, mut first) = (Vec::new(), 0, None);
    for line in text.lines() {
        number += 1;
        let line = line.trim_end();
        if let Some(comment) = line.strip_prefix('#') {
            if lacks_lines(comment) {
                return Err((number, format!("the kernel had no room for all of it:{comment}"), GROW));
            }
        } else if line.starts_with("CPU:") && line.contains(" EVENTS]") {
            return Err((number, format!("the kernel had no room for all of it: {line}"), GROW));
        } else if let Some((before, fields)) = line.split_once(EVENT) {
            let shown = || line.trim_start().chars().take(120).collect::<String>();
            let wrong = |what: &str| (number, format!("{what}: {:?}", shown()), WHOLE);
            let added = added(fields).ok_or_else(|| wrong("not device, inode and offset of a page"))?;
            let late = match until {
                Some(until) => {
                    let at = seconds(before).ok_or_else(|| wrong("no time in front of the event"))?;
                    first.get_or_insert((number, at));
                    at > until
                }
                None => false,
            };
            found.extend((!late).then_some(added));
        } else if !line.is_empty() && !is_other_event(line) {
            let shown: String = line.chars().take(120).collect();
            return Err((number, format!("not a line of a trace: {shown:?}"), WHOLE));
        }
    }
    if let (true, Some((number, at))) = (found.is_empty(), first) {
        return Err((number, format!("the first event, at {at} s, is later than --until"), "give a later moment"));
    }
    if found.is_empty() {
        const ASK: &str = "boot with trace_event=filemap:mm_filemap_add_to_page_cache trace_buf_size=16M; the kernel needs \
                           CONFIG_FTRACE and CONFIG_ENABLE_DEFAULT_TRACERS, or any tracer";
        return Err((number, "no event mm_filemap_add_to_page_cache up to here".to_owned(), ASK));
    }
    Ok(found)
}

/// Whether `# entries-in-buffer/entries-written: 12/40   #P:1` says that lines were overwritten: the first of the boot.
fn lacks_lines(comment: &str) -> bool {
    let counts = comment.split_once("entries-in-buffer/entries-written:").and_then(|(_, counts)| {
        let (kept, written) = counts.split_whitespace().next()?.split_once('/')?;
        Some((kept.parse::<u64>().ok()?, written.parse::<u64>().ok()?))
    });
    counts.is_some_and(|(kept, written)| kept < written)
}

/// Whether it has a processor in brackets, `[000]`, as every event's line has.
fn is_other_event(line: &str) -> bool {
    let is_processor = |word: &str| {
        let digits = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        digits.is_some_and(|digits| digits.len() >= 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.split_whitespace().any(is_processor)
}

/// Reads `  init-1  [000] .....  0.123456:`.
fn seconds(before: &str) -> Option<f64> {
    before.split_whitespace().next_back()?.strip_suffix(':')?.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// Reads `dev 254:1 ino 24 pfn=0x12345 ofs=4096 order=0`: no order before Linux 6.2, where each page has its line; a `page=` besides
/// before 6.0; the inode hexadecimal.
fn added(fields: &str) -> Option<Added> {
    let mut words = fields.split_whitespace();
    let (major, minor) = match (words.next()?, words.next()?.split_once(':')?) {
        ("dev", device) => device,
        _ => return None,
    };
    let inode = match (words.next()?, words.next()?) {
        ("ino", inode) => inode.strip_prefix("0x").unwrap_or(inode),
        _ => return None,
    };
    let (mut offset, mut order) = (None, 0);
    for word in words {
        match word.split_once('=')? {
            ("ofs", value) => offset = Some(value.parse::<u64>().ok()?),
            ("order", value) => order = value.parse().ok().filter(|order| *order <= MAX_ORDER)?,
            _ => {}
        }
    }
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some(Added { device, inode: u64::from_str_radix(inode, 16).ok()?, page: offset? / PAGE, pages: 1 << order })
}

/// The inodes of an image.
pub struct Inodes {
    paths: Vec<Vec<u8>>,
    /// Number to file and pages. Hard links are one inode: the first path stands for all.
    by_number: HashMap<u64, (usize, u64)>,
    /// Block of the image to files whose inodes lie in it.
    by_block: BTreeMap<u64, Vec<usize>>,
}

impl Inodes {
    /// Goes through the image at `path`.
    ///
    /// # Errors
    /// Bad input if it is none.
    pub fn of(path: &Path) -> Result<Self> {
        let mut inodes = Inodes { paths: Vec::new(), by_number: HashMap::new(), by_block: BTreeMap::new() };
        erofs::entries(path, &mut |inside, entry| {
            let file = inodes.paths.len();
            inodes.paths.push(inside.to_vec());
            inodes.by_number.entry(entry.number).or_insert((file, entry.bytes.div_ceil(PAGE)));
            for block in entry.place.start / PAGE..entry.place.end.div_ceil(PAGE) {
                inodes.by_block.entry(block).or_default().push(file);
            }
        })?;
        Ok(inodes)
    }

    /// What a boot used, by its trace; none if no device of the trace holds this image.
    pub fn used(&self, trace: &[Added]) -> Option<Vec<Used>> {
        let device = self.device(trace)?;
        let own = u64::from(device.0) << MINOR_BITS | u64::from(device.1);
        let mut seen = Seen::default();
        for added in trace {
            let end = added.page.saturating_add(added.pages);
            if added.device == device {
                let Some((file, pages)) = self.by_number.get(&added.inode) else { continue };
                for page in added.page..end.min(*pages) {
                    // No file is that large.
                    let Ok(page) = u32::try_from(page) else { break };
                    seen.add(*file, Some(page));
                }
            } else if added.device.0 == 0 && added.inode == own {
                // The device's own pages: the kernel's file system for block devices is a nameless one.
                self.by_block
                    .range(added.page..end)
                    .flat_map(|(_, files)| files)
                    .for_each(|file| seen.add(*file, None));
            }
        }
        Some(seen.used(&self.paths))
    }

    /// The device whose pages are those of this image.
    fn device(&self, trace: &[Added]) -> Option<(u32, u32)> {
        let mut counts: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
        // Inode 0 is no file's: the kernel keeps compressed bytes under it.
        for added in trace.iter().filter(|added| added.inode != 0) {
            let fits = self.by_number.get(&added.inode).is_some_and(|(_, pages)| added.page < *pages);
            let (fitting, all) = counts.entry(added.device).or_default();
            *fitting += u64::from(fits);
            *all += 1;
        }
        // A larger device has more that fits by chance, but a smaller share.
        let fits = |(fitting, all): &(u64, u64)| *fitting as f64 > *all as f64 * LEAST_SHARE;
        let best = counts.into_iter().filter(|(_, count)| fits(count)).max_by_key(|(_, (fitting, _))| *fitting);
        best.map(|(device, _)| device)
    }
}

impl Profile {
    /// Takes in what a board's kernel traced of a boot of `image`.
    ///
    /// # Errors
    /// As [`read`]; bad input if the trace is of another image.
    pub(super) fn merge_trace(
        &mut self,
        inodes: &Inodes,
        image: &Path,
        trace: &Path,
        until: Option<f64>,
    ) -> Result<()> {
        let Some(used) = inodes.used(&read(trace, until)?) else {
            let what = format!("{}: no device in it has the inodes of {}", trace.display(), image.display());
            return Err(Error::bad_input(what, "give the folder of the very image that was booted"));
        };
        self.merge(used);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Linux 6.12 (with order) and 5.10 (with page) write them.
    const TRACE: &str = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 4/4   #P:1\n#\n\
        \x20           init-1       [000] .....     0.912345: mm_filemap_add_to_page_cache: dev 254:1 ino 2f pfn=0x4567 ofs=8192 order=2\n\
        \x20 kworker/0:1 x-12  [000] d..1.     1.000001: sched_switch: prev_comm=a\n\
        \x20           <...>-177   [001]     1.166966: mm_filemap_add_to_page_cache: dev 0:2 ino fe00001 page=0x2776a0 pfn=25 ofs=4096\n";

    #[test]
    fn events_of_old_and_new_kernels_are_read_until_a_time() {
        let found = parse(TRACE.as_bytes(), None).unwrap();
        let first = Added { device: (254, 1), inode: 0x2f, page: 2, pages: 4 };
        assert_eq!(found, [first, Added { device: (0, 2), inode: 0x0fe0_0001, page: 1, pages: 1 }]);
        assert_eq!(parse(TRACE.as_bytes(), Some(1.1)).unwrap(), [first]);
        let (line, why, _) = parse(TRACE.as_bytes(), Some(0.5)).unwrap_err();
        assert_eq!((line, why.as_str()), (5, "the first event, at 0.912345 s, is later than --until"));
    }

    #[test]
    fn what_is_wrong_has_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        for (from, to, line, cause) in [
            ("4/4", "4/9", 3, "no room"),
            ("ofs=8192", "ofs=x", 5, "not device"),
            ("ino 2f", "ino zz", 5, "not device"),
            ("dev 254:1", "dev 254", 5, "not device"),
            ("order=2", "order=60", 5, "not device"),
            ("# tracer", "tracer", 1, "not a line"),
            ("[000] d..1.", "CPU", 6, "not a line"),
            ("  kworker", "CPU:0 [LOST 13 EVENTS]\n kworker", 6, "no room"),
            ("mm_filemap_add", "mm_filemap_del", 7, "no event"),
        ] {
            std::fs::write(&path, TRACE.replace(from, to)).unwrap();
            let error = read(&path, None).unwrap_err();
            let start = format!("{}:{line}: ", path.display());
            assert!(error.what.starts_with(&start) && error.what.contains(cause), "{error}");
        }
        std::fs::write(&path, TRACE.replace("0.912345:", "now:")).unwrap();
        assert!(read(&path, Some(1.0)).unwrap_err().what.contains(":5: no time"));
    }

    #[test]
    fn numbers_lead_to_files_of_the_image_that_fits() {
        let mut by_block = BTreeMap::new();
        by_block.insert(1, vec![1]);
        let inodes = Inodes {
            paths: vec![b"/a".to_vec(), b"/b".to_vec()],
            by_number: HashMap::from([(0x2f, (0, 4)), (0x40, (1, 1))]),
            by_block,
        };
        let used = inodes.used(&parse(TRACE.as_bytes(), None).unwrap()).unwrap();
        let expected = [Used { path: "/a".into(), pages: vec![[2, 2]] }, Used { path: "/b".into(), pages: Vec::new() }];
        assert_eq!(used, expected);
        let other = TRACE.replace("ino 2f", "ino 2e");
        assert_eq!(inodes.used(&parse(other.as_bytes(), None).unwrap()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..600_usize) {
            let _ = parse(&bytes, Some(1.0));
            let mut within = TRACE.as_bytes().to_vec();
            within.truncate(cut);
            within.extend(&bytes);
            let _ = parse(&within, None);
        }
    }
}
