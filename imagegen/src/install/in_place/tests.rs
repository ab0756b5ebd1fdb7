//! A disk that loses, reorders and tears what was not flushed, cut off after every operation.

use super::*;
use bootstrap::superblock;

const BLOCK: usize = 4096;
/// Bytes of the disk of these tests; no image fills it.
const ROOM: usize = 48 * BLOCK;
/// Random subsets of what was not flushed, for every cut.
const SUBSETS: usize = 150;

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[derive(Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Flush,
    Read,
}

/// What is wrong with the disk.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// This operation fails; a write has done half of its sectors.
    Fails(usize),
    /// This operation, if it is a write, flips a bit.
    Flips(usize),
}

struct Disk {
    content: Vec<u8>,
    operations: Vec<Operation>,
    fault: Fault,
}

impl Disk {
    fn new(content: &[u8], fault: Fault) -> Self {
        Disk { content: content.to_vec(), operations: Vec::new(), fault }
    }

    fn fails(&self) -> bool {
        matches!(self.fault, Fault::Fails(at) if at == self.operations.len())
    }

    fn result(failed: bool) -> io::Result<()> {
        if failed { Err(io::Error::other("the disk fails")) } else { Ok(()) }
    }
}

impl Storage for Disk {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (at, failed) = (at as usize, self.fails());
        let sectors = bytes.len() / SECTOR / 2 * SECTOR;
        let mut bytes = bytes[..if failed { sectors } else { bytes.len() }].to_vec();
        if matches!(self.fault, Fault::Flips(at) if at == self.operations.len()) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        self.content[at..at + bytes.len()].copy_from_slice(&bytes);
        self.operations.push(Operation::Write(at, bytes));
        Self::result(failed)
    }

    fn flush(&mut self) -> io::Result<()> {
        let failed = self.fails();
        // What a failed flush has kept nobody knows: nothing counts as flushed.
        self.operations.push(if failed { Operation::Read } else { Operation::Flush });
        Self::result(failed)
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let failed = self.fails();
        self.operations.push(Operation::Read);
        bytes.copy_from_slice(&self.content[at as usize..at as usize + bytes.len()]);
        Self::result(failed)
    }
}

/// Every content that a power cut can leave: all that was flushed before, and of the rest any sectors.
struct Cuts<'a> {
    start: &'a [u8],
    operations: &'a [Operation],
    /// How many operations are done before the first cut; one after the other follows.
    first: usize,
    /// Whether a flush does what it says.
    honest: bool,
}

fn cuts(wanted: &Cuts<'_>, random: &mut Random, see: &mut dyn FnMut(&[u8])) {
    let Cuts { start, operations, first, honest } = *wanted;
    let mut flushed = start.to_vec();
    let mut pending: Vec<(usize, &[u8])> = Vec::new();
    for cut in 0..=operations.len() {
        // None and all of them first, then many, few, or half.
        for subset in 0..if cut < first { 0 } else { SUBSETS } {
            let wanted = match subset {
                0 => 0,
                1 => 64,
                2..50 => 60,
                50..100 => 4,
                _ => 32,
            };
            let mut state = flushed.clone();
            for (at, sector) in &pending {
                if random.next() % 64 < wanted {
                    state[*at..at + sector.len()].copy_from_slice(sector);
                }
            }
            see(&state);
        }
        match operations.get(cut) {
            Some(Operation::Write(at, bytes)) => {
                pending.extend(bytes.chunks(SECTOR).enumerate().map(|(index, sector)| (at + index * SECTOR, sector)));
            }
            Some(Operation::Flush) if honest => {
                for (at, sector) in pending.drain(..) {
                    flushed[at..at + sector.len()].copy_from_slice(sector);
                }
            }
            Some(Operation::Flush | Operation::Read) | None => (),
        }
    }
}

/// Bytes that are nobody's.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..bytes).map(|_| random.next() as u8).collect()
}

/// An image of so many blocks, all of it different from one with another seed but for zeros in front of the superblock.
fn image(blocks: usize, seed: u64) -> Vec<u8> {
    let mut image = noise(blocks * BLOCK, seed);
    image[..SUPERBLOCK].fill(0);
    image[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    image[1024 + 12] = 12;
    image[1024 + 36..1024 + 40].copy_from_slice(&u32::try_from(blocks).unwrap().to_le_bytes());
    image
}

/// What lies on the disk before, by name.
fn before() -> Vec<(&'static str, Vec<u8>)> {
    let on_disk = |start: Vec<u8>| [start, noise(ROOM, 99)].concat()[..ROOM].to_vec();
    let mut signed_anew = image(20, 1);
    signed_anew[19 * BLOCK..].fill(9);
    vec![
        ("an image of the same size", on_disk(image(20, 2))),
        ("a larger image", on_disk(image(40, 3))),
        ("a smaller image", on_disk(image(3, 4))),
        ("an image with the same superblock", on_disk(signed_anew)),
        ("the very image", on_disk(image(20, 1))),
        ("zeros", vec![0; ROOM]),
        ("noise", noise(ROOM, 5)),
    ]
}

/// Whether a power cut may leave `state`.
fn allowed(state: &[u8], before: &[u8], new: &[u8]) -> bool {
    let behind = state[new.len()..] == before[new.len()..];
    let is_new = state[..new.len()] == *new;
    let is_image = superblock::erofs(&state[..superblock::START_BYTES], ROOM as u64).is_ok();
    behind && (!is_image || is_new || state == before)
}

fn source(new: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(new, 0).unwrap();
    file
}

fn install(file: &File, disk: &mut Disk, chunk_bytes: usize) -> Result<()> {
    let bytes = file.metadata().unwrap().len();
    let job = Job { source: file, from: Path::new("image"), to: Path::new("disk"), bytes, chunk_bytes };
    job.run(disk, &mut |_| ())
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_the_new_or_no_image() {
    let new = image(20, 1);
    let file = source(&new);
    let mut random = Random(0x9E37_79B9);
    for chunk_bytes in [BLOCK, 7 * BLOCK, 64 * BLOCK] {
        for (name, before) in before() {
            let mut disk = Disk::new(&before, Fault::None);
            install(&file, &mut disk, chunk_bytes).unwrap();
            assert!(disk.content[..new.len()] == new && allowed(&disk.content, &before, &new));
            let (mut old, mut none, mut whole) = (0, 0, 0);
            cuts(
                &Cuts { start: &before, operations: &disk.operations, first: 0, honest: true },
                &mut random,
                &mut |state| {
                    assert!(allowed(state, &before, &new), "over {name}, {chunk_bytes} bytes at a time");
                    old += u32::from(state == before);
                    whole += u32::from(state[..new.len()] == new);
                    none += u32::from(superblock::erofs(state, ROOM as u64).is_err());
                },
            );
            assert!(old > 0 && none > 0 && whole > 0, "over {name}: {old} old, {none} without, {whole} new");
        }
    }
}

#[test]
fn the_check_finds_a_disk_that_does_not_flush_and_a_writer_that_goes_front_to_back() {
    let new = image(20, 1);
    let mut random = Random(0x1234_5678);
    for (name, before) in before().into_iter().take(4) {
        let mut disk = Disk::new(&before, Fault::None);
        install(&source(&new), &mut disk, BLOCK).unwrap();
        let mut wrong = 0;
        cuts(
            &Cuts { start: &before, operations: &disk.operations, first: 0, honest: false },
            &mut random,
            &mut |state| {
                wrong += u32::from(!allowed(state, &before, &new));
            },
        );
        assert!(wrong > 0, "over {name}");
        let naive: Vec<_> =
            new.chunks(BLOCK).enumerate().map(|(at, b)| Operation::Write(at * BLOCK, b.to_vec())).collect();
        wrong = 0;
        cuts(&Cuts { start: &before, operations: &naive, first: 0, honest: true }, &mut random, &mut |state| {
            wrong += u32::from(!allowed(state, &before, &new))
        });
        assert!(wrong > 0, "over {name}");
    }
}

#[test]
fn after_any_failure_there_is_no_half_image_and_the_next_try_succeeds() {
    let new = image(20, 1);
    let file = source(&new);
    let mut random = Random(0xABCD_EF01);
    for (name, before) in before() {
        let mut disk = Disk::new(&before, Fault::None);
        install(&file, &mut disk, 3 * BLOCK).unwrap();
        for at in 0..disk.operations.len() {
            let mut disk = Disk::new(&before, Fault::Fails(at));
            let error = install(&file, &mut disk, 3 * BLOCK).unwrap_err();
            assert!(error.exit_status() == 1 && error.what.contains("the disk fails"), "{error}");
            cuts(
                &Cuts { start: &before, operations: &disk.operations, first: at, honest: true },
                &mut random,
                &mut |state| {
                    assert!(allowed(state, &before, &new), "over {name}, operation {at} fails");
                },
            );
            disk.fault = Fault::None;
            install(&file, &mut disk, BLOCK).unwrap();
            assert!(disk.content[..new.len()] == new);
        }
    }
}

#[test]
fn a_disk_that_keeps_something_else_holds_no_image() {
    let new = image(20, 1);
    let file = source(&new);
    let before = [image(40, 3), noise(ROOM, 1)].concat()[..ROOM].to_vec();
    let mut good = Disk::new(&before, Fault::None);
    install(&file, &mut good, 3 * BLOCK).unwrap();
    let writes = good.operations.iter().enumerate().filter(|(_, operation)| matches!(operation, Operation::Write(..)));
    // The zeros of the first write are written again with the rest.
    for (at, _) in writes.skip(1) {
        let mut disk = Disk::new(&before, Fault::Flips(at));
        let error = install(&file, &mut disk, 3 * BLOCK).unwrap_err();
        assert!(error.exit_status() == 1 && error.what.contains("not what was written"), "{error}");
        assert!(superblock::erofs(&disk.content, ROOM as u64).is_err(), "operation {at}");
    }
}
