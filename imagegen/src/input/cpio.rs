//! One newc cpio archive, up to and including its `TRAILER!!!`, unpacked as `init/initramfs.c` does it.

use super::builder::{Builder, PATH_BYTES_MAX, Put, text};
use super::source::Stream;
use crate::Result;
use crate::tree::{Content, Node, NodeKind};
use std::collections::{BTreeMap, HashMap};

const HEADER_BYTES: usize = 110;
const NAME_BYTES_MAX: u32 = 4096;
const TRAILER: &[u8] = b"TRAILER!!!";

const TYPE_MASK: u32 = 0o170_000;

/// What follows the magic, 13 numbers of 8 hexadecimal digits.
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
    rdev: (u32, u32),
    name_bytes: u32,
    /// Sum of the content's bytes, in archives of magic 070702.
    sum: Option<u32>,
}

/// What the kernel tells hard links by.
type LinkKey = (u32, u32, u32, u32);

struct Archive<'s, 'i, 'b> {
    stream: &'s mut Stream<'i>,
    builder: &'b mut Builder,
    links: HashMap<LinkKey, Vec<u8>>,
}

/// Reads one archive from `stream`.
pub fn read(stream: &mut Stream, builder: &mut Builder) -> Result<()> {
    let mut archive = Archive { stream, builder, links: HashMap::new() };
    loop {
        let start = archive.stream.offset();
        let header = archive.header()?;
        let name = archive.name(start, &header)?;
        if name == TRAILER {
            return archive.skip_body(&header, "TRAILER!!!");
        }
        archive.entry(start, &header, &name)?;
    }
}

fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let (magic, digits) = bytes.split_at_checked(6)?;
    let mut fields = [0_u32; 13];
    for (field, digits) in fields.iter_mut().zip(digits.chunks(8)) {
        for digit in digits {
            *field = *field << 4 | char::from(*digit).to_digit(16)?;
        }
    }
    let [ino, mode, uid, gid, links, _time, size, major, minor, rmajor, rminor, name_bytes, sum] = fields;
    let sum = (magic == b"070702").then_some(sum);
    let (device, rdev) = ((major, minor), (rmajor, rminor));
    Some(Header { ino, mode, uid, gid, links, size, device, rdev, name_bytes, sum })
}

impl Archive<'_, '_, '_> {
    fn header(&mut self) -> Result<Header> {
        let start = self.stream.offset();
        if self.stream.peek()?.is_none() {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            return Err(self.stream.read_error(&error, "a cpio archive (no TRAILER!!!)"));
        }
        let mut bytes = [0; HEADER_BYTES];
        let (magic, rest) = bytes.split_at_mut(6);
        self.stream.read_exact(magic, "a cpio header")?;
        match &*magic {
            b"070701" | b"070702" => {}
            b"070707" => {
                let hint =
                    "unpack it with `cpio -i`, and pack it with `find . | cpio -o -H newc`, which the kernel takes";
                return Err(self.stream.place().error(start, "an old cpio archive (odc)", hint));
            }
            other => {
                let what = format!("not the magic of a newc cpio entry: found `{}`", text(other));
                return Err(self.stream.error(start, what));
            }
        }
        self.stream.read_exact(rest, "a cpio header")?;
        parse(&bytes)
            .ok_or_else(|| self.stream.error(start, "a cpio header with something else than hexadecimal digits"))
    }

    /// The entry's name, up to its first zero byte, and the padding behind it.
    fn name(&mut self, start: u64, header: &Header) -> Result<Vec<u8>> {
        if header.name_bytes == 0 || header.name_bytes > NAME_BYTES_MAX {
            let what = format!(
                "a cpio entry with a name of {} bytes, the limit is {NAME_BYTES_MAX} with its end",
                header.name_bytes
            );
            return Err(self.stream.error(start, what));
        }
        let mut name = vec![0; header.name_bytes as usize];
        self.stream.read_exact(&mut name, "the name of a cpio entry")?;
        if name.pop() != Some(0) {
            return Err(self.stream.error(start, format_args!("`{}`: a name without an end", text(&name))));
        }
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        if name != TRAILER || header.size > 0 {
            self.skip_padding("the name of a cpio entry")?;
        }
        if name.is_empty() { Err(self.stream.error(start, "a cpio entry without a name")) } else { Ok(name) }
    }

    fn skip_padding(&mut self, within: &str) -> Result<()> {
        let mut padding = [0; 3];
        let length = self.stream.offset().wrapping_neg() & 3;
        self.stream.read_exact(padding.get_mut(..length as usize).unwrap_or_default(), within)
    }

    fn skip_body(&mut self, header: &Header, within: &str) -> Result<()> {
        let mut left = header.size as usize;
        let mut buffer = [0; 4096];
        while left > 0 {
            let piece = left.min(buffer.len());
            self.stream.read_exact(buffer.get_mut(..piece).unwrap_or_default(), within)?;
            left -= piece;
        }
        if header.size > 0 { self.skip_padding(within) } else { Ok(()) }
    }

    fn entry(&mut self, start: u64, header: &Header, name: &[u8]) -> Result<()> {
        let shown = format!("`{}`", text(name));
        let path = match self.builder.locate(name) {
            Ok(path) => path,
            Err(what) => return Err(self.stream.error(start, format_args!("{shown} {what}"))),
        };
        let put = match header.mode & TYPE_MASK {
            0o100_000 => self.file(start, header, path, &shown)?,
            0o120_000 => {
                if header.size as usize > PATH_BYTES_MAX {
                    let what = format!("{shown}: a target of {} bytes, the limit is {PATH_BYTES_MAX}", header.size);
                    return Err(self.stream.error(start, what));
                }
                let mut target = vec![0; header.size as usize];
                self.stream.read_exact(&mut target, &shown)?;
                self.skip_padding(&shown)?;
                target.truncate(target.iter().position(|byte| *byte == 0).unwrap_or(target.len()));
                if target.is_empty() {
                    return Err(self.stream.error(start, format_args!("{shown}: a symbolic link without a target")));
                }
                self.builder.put(path, node(header, NodeKind::Symlink(target)))
            }
            kind => {
                let Some(kind) = special(kind, header.rdev) else {
                    let what = format!("{shown} is of unknown type: mode {:o}", header.mode);
                    return Err(self.stream.error(start, what));
                };
                self.skip_body(header, &shown)?;
                self.special(header, path, kind)
            }
        };
        if put == Put::Kept {
            log::warn!("{shown} does not replace the directory there, which is not empty: as the kernel does it");
        }
        Ok(())
    }

    /// The earlier entry this one is a hard link of, if any; remembers it otherwise.
    fn earlier_link(&mut self, header: &Header, path: &[u8]) -> Option<Vec<u8>> {
        if header.links < 2 {
            return None;
        }
        let key = (header.device.0, header.device.1, header.ino, header.mode & TYPE_MASK);
        match self.links.get(&key) {
            // Twice the same path is no link of itself.
            Some(earlier) if earlier != path => Some(earlier.clone()),
            _ => {
                self.links.insert(key, path.to_vec());
                None
            }
        }
    }

    fn file(&mut self, start: u64, header: &Header, path: Vec<u8>, shown: &str) -> Result<Put> {
        if let Some(earlier) = self.earlier_link(header, &path)
            && self.builder.link(&earlier, path.clone()) == Put::Kept
        {
            self.skip_body(header, shown)?;
            return Ok(Put::Kept);
        }
        // An existing regular file is written over in place, hard links included.
        let existing = match self.builder.node(&path) {
            Some(Node { kind: NodeKind::File(content), .. }) => Some(content.clone()),
            _ => None,
        };
        let linked = header.links >= 2;
        let content = match &existing {
            // A link without content of its own keeps what its inode has.
            Some(content) if linked && header.size == 0 => content.clone(),
            Some(content) => self.content(start, header, content.id, shown)?,
            None => {
                let id = self.builder.new_id();
                self.content(start, header, id, shown)?
            }
        };
        let node = node(header, NodeKind::File(content));
        if existing.is_some() {
            self.builder.rewrite(&path, &node);
            Ok(Put::Done)
        } else {
            Ok(self.builder.put(path, node))
        }
    }

    fn content(&mut self, start: u64, header: &Header, id: u64, shown: &str) -> Result<Content> {
        let mut sum = 0_u32;
        let stream = &mut *self.stream;
        let content = self.builder.spool(id, u64::from(header.size), &mut |piece| {
            stream.read_exact(piece, shown)?;
            if header.sum.is_some() {
                sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            }
            Ok(())
        })?;
        // Of hard links only the one that brings the content has its sum.
        if header.size > 0 && header.sum.is_some_and(|expected| expected != sum) {
            return Err(self.stream.error(start, format_args!("{shown}: wrong checksum, sum {sum:08x}")));
        }
        if header.size > 0 {
            self.skip_padding(shown)?;
        }
        Ok(content)
    }

    fn special(&mut self, header: &Header, path: Vec<u8>, kind: NodeKind) -> Put {
        let existing = self.builder.node(&path).map(|node| node.kind.clone());
        let kind = match (existing, kind) {
            // mknod over a node of the same type fails, unnoticed, and its device numbers stay.
            (Some(old @ NodeKind::CharDevice(..)), NodeKind::CharDevice(..)) => old,
            (Some(old @ NodeKind::BlockDevice(..)), NodeKind::BlockDevice(..)) => old,
            (_, kind) => kind,
        };
        self.builder.put(path, node(header, kind))
    }
}

fn node(header: &Header, kind: NodeKind) -> Node {
    let mode = if matches!(kind, NodeKind::Symlink(_)) { 0o777 } else { header.mode & 0o7777 };
    Node { kind, mode, uid: header.uid, gid: header.gid, xattrs: BTreeMap::new() }
}

fn special(kind: u32, (major, minor): (u32, u32)) -> Option<NodeKind> {
    Some(match kind {
        0o040_000 => NodeKind::Directory,
        0o020_000 => NodeKind::CharDevice(major, minor),
        0o060_000 => NodeKind::BlockDevice(major, minor),
        0o010_000 => NodeKind::Fifo,
        0o140_000 => NodeKind::Socket,
        _ => return None,
    })
}
