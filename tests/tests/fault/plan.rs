//! The plan: missing, cut, flipped, of another version, or intact and still not to be followed.
//!
//! That *every* flipped bit and *every* length is refused is shown on the host (tests/src/image.rs); here is a choice of
//! them, because each is a boot.

use crate::case::{Expected, On, Scene, refused};
use bootstrap::Step::{EarlyMounts, SwitchRoot};
use bootstrap::crc::crc32;
use bootstrap::envelope::HEADER_BYTES;
use bootstrap::plan::{self, List};
use tests::cpio::Entry;
use tests::image::PLAN;
use tests::{Result, equal};

const EBADMSG: u32 = 74;
const ENOENT: u32 = 2;

/// The plan's bytes are changed before the boot.
fn changed(on: &On, change: impl FnOnce(&mut Vec<u8>), cause: &str) -> Result<Scene> {
    let mut parts = on.parts()?;
    let mut bytes = parts.member(PLAN)?;
    change(&mut bytes);
    parts.replace(PLAN, 0o644, bytes);
    Ok(Scene::new(on, parts, refused(EarlyMounts, format!("plan is invalid: {cause}"), EBADMSG)))
}

/// The payload is changed and sealed again: the envelope is right.
fn resealed(on: &On, change: impl FnOnce(&mut Vec<u8>)) -> Result<Scene> {
    let seal = |bytes: &mut Vec<u8>| {
        let mut payload = bytes.split_off(HEADER_BYTES);
        change(&mut payload);
        bytes.truncate(8);
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&crc32(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
    };
    changed(on, seal, "payload does not decode")
}

pub fn missing(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.remove(PLAN);
    Ok(Scene::new(on, parts, refused(EarlyMounts, "cannot read the plan", ENOENT)))
}

pub fn folder(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.remove(PLAN);
    parts.entries.push(Entry::folder(PLAN));
    // EISDIR
    Ok(Scene::new(on, parts, refused(EarlyMounts, "cannot read the plan", 21)))
}

/// Longer than any plan: not read into memory that is not there.
pub fn too_long(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    parts.replace(PLAN, 0o644, vec![0; plan::MAX_BYTES + 1]);
    // E2BIG
    Ok(Scene::new(on, parts, refused(EarlyMounts, "cannot read the plan", 7)))
}

/// As long as a plan may be: read whole.
pub fn longest(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    // What has no room in a line of the log is left out there. The length of such a name takes a byte more.
    let board = "b".repeat(plan::MAX_BYTES - bytes.len() + plan.board.len() - 1);
    plan.board = &board;
    parts.set_plan(&plan)?;
    equal("bytes of the plan", &parts.member(PLAN)?.len(), &plan::MAX_BYTES)?;
    Ok(Scene::new(on, parts, Expected::Boots))
}

pub fn cut(on: &On, length: impl FnOnce(usize) -> usize) -> Result<Scene> {
    changed(on, |bytes| bytes.truncate(length(bytes.len())), "truncated")
}

pub fn longer(on: &On) -> Result<Scene> {
    changed(on, |bytes| bytes.push(0), "longer than its header says")
}

/// One bit of a byte, counted from the start.
pub fn flipped(on: &On, at: usize, cause: &str) -> Result<Scene> {
    changed(on, |bytes| bytes[at] ^= 0x10, cause)
}

/// One bit of a byte of the payload, at this part of a hundred of its length.
pub fn payload_flipped(on: &On, percent: usize) -> Result<Scene> {
    let flip = |bytes: &mut Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[HEADER_BYTES + (last - HEADER_BYTES) * percent / 100] ^= 0x10;
    };
    changed(on, flip, "wrong CRC-32")
}

pub fn version(on: &On, version: u32) -> Result<Scene> {
    let set = |bytes: &mut Vec<u8>| bytes[4..8].copy_from_slice(&version.to_le_bytes());
    changed(on, set, "unknown format version")
}

/// A record is sealed in the same envelope.
pub fn record(on: &On) -> Result<Scene> {
    changed(on, |bytes| bytes[..4].copy_from_slice(&bootstrap::record::KIND.magic), "wrong magic")
}

pub fn rubbish(on: &On) -> Result<Scene> {
    resealed(on, |payload| payload.fill(0xFF))
}

/// Every field is there, and a byte more.
pub fn surplus(on: &On) -> Result<Scene> {
    resealed(on, |payload| payload.push(0))
}

pub fn no_slot(on: &On) -> Result<Scene> {
    let mut parts = on.parts()?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    plan.slots = List::encode([], &mut [])?;
    parts.set_plan(&plan)?;
    Ok(Scene::new(on, parts, refused(EarlyMounts, "plan is invalid: payload does not decode", EBADMSG)))
}

/// A path that bootstrap has no room for is not cut to one that might exist.
pub fn long_path(on: &On) -> Result<Scene> {
    let path = format!("/{}init", "./".repeat(300));
    let mut parts = on.parts()?;
    let bytes = parts.member(PLAN)?;
    let mut plan = plan::open(&bytes)?;
    plan.next_init = &path;
    parts.set_plan(&plan)?;
    Ok(Scene::new(on, parts, refused(SwitchRoot, "next init is missing", ENOENT)))
}
