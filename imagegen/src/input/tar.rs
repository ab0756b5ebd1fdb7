//! A tar archive: ustar, GNU or pax. Entries are read raw, because the `tar` crate takes pax records apart at newlines,
//! which breaks binary attributes (`security.capability`).

use super::builder::{Builder, PATH_BYTES_MAX, Put, text};
use super::compression::{Compression, Extent, unpack};
use super::source::{Place, Source, Stream};
use crate::tree::{Node, NodeKind};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use tar::{Archive, Entry, EntryType, Header};

const BLOCK_BYTES: u64 = 512;
/// Largest extension header: names and attributes.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;

/// Whether `block` is the header of a tar entry: its checksum says so, in every dialect.
pub fn is_header(block: &[u8]) -> bool {
    let Some((fields, _)) = block.split_at_checked(BLOCK_BYTES as usize) else { return false };
    let header = Header::from_byte_slice(fields);
    // The checksum's own field counts as spaces.
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) };
    let sum: u32 = fields.iter().enumerate().map(byte).sum();
    header.cksum().is_ok_and(|expected| expected == sum && sum != 8 * 32)
}

/// Unpacks the tar at `path` into `builder`.
pub fn read(
    path: &Path,
    compression: Option<Compression>,
    builder: &mut Builder,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut source = Source::open(path)?;
    if let Some(compression) = compression {
        return unpack(&mut source, compression, Extent::ToTheEnd, progress, |stream| read_archive(stream, builder));
    }
    let input = source.shared_position();
    let place = Place { path: path.to_owned(), member: None };
    read_archive(&mut Stream::new(&mut source, place, 0, input, progress), builder)
}

/// What extension headers say about the next entry; pax records of a global header about all.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn read_archive(stream: &mut Stream, builder: &mut Builder) -> Result<()> {
    let place = stream.place().clone();
    let mut archive = Archive::new(&mut *stream);
    let mut end = 0;
    let (mut global, mut next) = (Extension::default(), Extension::default());
    let entries = archive.entries().map_err(|error| place.read_error(end, &error, "the tar archive"))?;
    for entry in entries.raw(true) {
        let entry = entry.map_err(|error| place.read_error(end, &error, "the tar archive"))?;
        let mut entry = RawEntry { start: entry.raw_header_position(), place: &place, entry };
        end = entry.end();
        match entry.kind() {
            EntryType::GNULongName => next.name = Some(entry.extension_text()?),
            EntryType::GNULongLink => next.target = Some(entry.extension_text()?),
            EntryType::XHeader => entry.records(&mut next)?,
            EntryType::XGlobalHeader => entry.records(&mut global)?,
            _ => {
                let mut extension = std::mem::take(&mut next);
                for (key, value) in &global.records {
                    extension.records.entry(key.clone()).or_insert_with(|| value.clone());
                }
                entry.unpack(extension, builder)?;
            }
        }
    }
    // A block of zeros ends a tar; without it the archive was cut between two entries.
    if stream.offset() <= end {
        return Err(stream.read_error(&ErrorKind::UnexpectedEof.into(), "the tar archive (no end mark)"));
    }
    stream.drain()
}

struct RawEntry<'a, R: Read> {
    start: u64,
    place: &'a Place,
    entry: Entry<'a, R>,
}

impl<R: Read> RawEntry<'_, R> {
    fn kind(&self) -> EntryType {
        self.entry.header().entry_type()
    }

    fn end(&self) -> u64 {
        let blocks = self.entry.size().div_ceil(BLOCK_BYTES);
        self.entry.raw_file_position().saturating_add(blocks.saturating_mul(BLOCK_BYTES))
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        self.place.error(self.start, what, super::source::DAMAGED)
    }

    fn extension(&mut self) -> Result<Vec<u8>> {
        let size = self.entry.size();
        if size > EXTENSION_BYTES_MAX {
            return Err(self.error(format_args!("an extension header of {size} bytes")));
        }
        let mut bytes = Vec::new();
        let read = self.entry.read_to_end(&mut bytes);
        match read {
            Ok(read) if read as u64 == size => Ok(bytes),
            Ok(_) => Err(self.place.read_error(self.start, &ErrorKind::UnexpectedEof.into(), "an extension header")),
            Err(error) => Err(self.place.read_error(self.start, &error, "an extension header")),
        }
    }

    /// GNU: a long name, ended by a zero byte.
    fn extension_text(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.extension()?;
        bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
        Ok(bytes)
    }

    /// pax: records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record and VALUE may hold anything.
    fn records(&mut self, extension: &mut Extension) -> Result<()> {
        let bytes = self.extension()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (record, behind) = split_record(rest).ok_or_else(|| self.error("a damaged pax header"))?;
            let equals =
                record.iter().position(|byte| *byte == b'=').ok_or_else(|| self.error("a damaged pax header"))?;
            let (key, value) = record.split_at(equals);
            extension.records.insert(key.to_vec(), value.get(1..).unwrap_or_default().to_vec());
            rest = behind;
        }
        Ok(())
    }

    fn unpack(&mut self, extension: Extension, builder: &mut Builder) -> Result<()> {
        let records = &extension.records;
        let name = records.get(&b"path"[..]).cloned().or(extension.name);
        let name = name.unwrap_or_else(|| self.entry.path_bytes().into_owned());
        let shown = format!("`{}`", text(&name));
        if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) || self.kind().is_gnu_sparse() {
            return Err(self.place.error(
                self.start,
                format_args!("{shown} is stored sparse"),
                "pack it without --sparse",
            ));
        }
        if decimal(records.get(&b"size"[..])).is_some_and(|size| size != self.entry.size()) {
            return Err(self.error(format_args!("{shown} is larger than 8 GiB")));
        }
        let path = builder.locate(&name).map_err(|what| self.error(format_args!("{shown} {what}")))?;
        let target = records.get(&b"linkpath"[..]).cloned().or(extension.target);
        let target = target.or_else(|| self.entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        let target_bytes = target.as_ref().map_or(0, Vec::len);
        if target_bytes > PATH_BYTES_MAX {
            return Err(
                self.error(format_args!("{shown}: a target of {target_bytes} bytes, the limit is {PATH_BYTES_MAX}"))
            );
        }
        let put = if self.kind() == EntryType::Link {
            self.link(path, &target.unwrap_or_default(), &shown, builder)?
        } else {
            let kind = self.node_kind(&name, target, &shown, builder)?;
            let node = self.node(kind, records, &shown)?;
            builder.put(path, node)
        };
        match put {
            Put::Done => Ok(()),
            Put::Kept => Err(self.error(format_args!("{shown} stands where a directory with content already is"))),
        }
    }

    fn link(&mut self, path: Vec<u8>, target: &[u8], shown: &str, builder: &mut Builder) -> Result<Put> {
        let target_shown = text(target);
        let from = builder
            .locate(target)
            .map_err(|what| self.error(format_args!("{shown} is a hard link of `{target_shown}`, which {what}")))?;
        match builder.node(&from) {
            None => Err(self.error(format_args!("{shown} is a hard link of `{target_shown}`, which is not there"))),
            Some(node) if node.kind == NodeKind::Directory => {
                Err(self.error(format_args!("{shown} is a hard link of the directory `{target_shown}`")))
            }
            Some(_) if from == path => Ok(Put::Done),
            Some(_) => Ok(builder.link(&from, path)),
        }
    }

    fn node_kind(
        &mut self,
        name: &[u8],
        target: Option<Vec<u8>>,
        shown: &str,
        builder: &mut Builder,
    ) -> Result<NodeKind> {
        Ok(match self.kind() {
            EntryType::Regular | EntryType::Continuous if !name.ends_with(b"/") => {
                let id = builder.new_id();
                let (place, start, size) = (self.place, self.start, self.entry.size());
                let entry = &mut self.entry;
                let fill = &mut |piece: &mut [u8]| {
                    entry.read_exact(piece).map_err(|error: io::Error| place.read_error(start, &error, shown))
                };
                NodeKind::File(builder.spool(id, size, fill)?)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => NodeKind::Directory,
            EntryType::Symlink => match target.filter(|target| !target.is_empty()) {
                Some(target) => NodeKind::Symlink(target),
                None => return Err(self.error(format_args!("{shown}: a symbolic link without a target"))),
            },
            kind @ (EntryType::Char | EntryType::Block) => {
                let header = self.entry.header();
                let (Ok(Some(major)), Ok(Some(minor))) = (header.device_major(), header.device_minor()) else {
                    return Err(self.error(format_args!("{shown}: a device without numbers")));
                };
                if kind == EntryType::Char {
                    NodeKind::CharDevice(major, minor)
                } else {
                    NodeKind::BlockDevice(major, minor)
                }
            }
            EntryType::Fifo => NodeKind::Fifo,
            other => {
                return Err(self.error(format_args!("{shown} is of unknown type {:?}", char::from(other.as_byte()))));
            }
        })
    }

    fn node(&self, kind: NodeKind, records: &BTreeMap<Vec<u8>, Vec<u8>>, shown: &str) -> Result<Node> {
        let header = self.entry.header();
        let number = |key: &[u8], field: io::Result<u64>| match decimal(records.get(key)) {
            Some(number) => Some(number),
            None => field.ok(),
        };
        let owner = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let (uid, gid) = (owner(number(b"uid", header.uid())), owner(number(b"gid", header.gid())));
        let (Ok(mode), Some(uid), Some(gid)) = (header.mode(), uid, gid) else {
            return Err(self.error(format_args!("{shown}: unusable mode or owner")));
        };
        let mode = if matches!(kind, NodeKind::Symlink(_)) { 0o777 } else { mode & 0o7777 };
        let mut xattrs: BTreeMap<Vec<u8>, Vec<u8>> = records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?, value)))
            .filter(|(name, _)| super::builder::keeps_xattr(name))
            .map(|(name, value)| (name.to_vec(), value.clone()))
            .collect();
        // GNU tar's `--selinux`, which leaves the end out that libselinux gives a file's label (`setfilecon_raw()`).
        if let Some(label) = records.get(&b"RHT.security.selinux"[..]) {
            xattrs.entry(b"security.selinux".to_vec()).or_insert_with(|| [label.as_slice(), b"\0"].concat());
        }
        Ok(Node { kind, mode, uid, gid, xattrs })
    }
}

fn decimal(record: Option<&Vec<u8>>) -> Option<u64> {
    std::str::from_utf8(record?).ok()?.parse().ok()
}

/// The first pax record of `bytes`, without length and newline, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    Some((record, bytes.get(length..)?))
}
