//! Writing an archive, member after member: ustar headers, and pax ones for what they cannot say.

use std::io::{self, Write};
use std::ops::Range;

use super::number::time_text;
use super::pax;
use super::sparse::{SparseShape, row};
use super::{BLOCK_BYTES, acl};
use crate::format::record::xattrs;
use crate::format::{Kind, Meta, Timestamp};

/// The longest name, or target of a link, that a header itself holds.
const NAME_BYTES: usize = 100;
/// The largest numbers that fit into fields of 8 and of 12 octal digits.
const MAX_SHORT: u32 = 0o7_777_777;
const MAX_LONG: u64 = 0o77_777_777_777;

/// What a member leads to.
#[derive(Clone, Copy, Debug)]
pub enum Link<'a> {
    /// Nothing else.
    None,
    /// This text, as a symbolic link.
    Symbolic(&'a [u8]),
    /// The same inode as an earlier member of this path.
    Hard(&'a [u8]),
}

/// A member to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewMember<'a> {
    /// Its path in the archive.
    pub path: &'a [u8],
    /// What is said of it. A socket cannot be a member.
    pub meta: &'a Meta,
    /// What it leads to.
    pub link: Link<'a>,
    /// Attributes as a catalog holds them.
    pub xattrs: &'a [u8],
    /// Where its data lies, if it has holes.
    pub sparse: Option<SparseShape>,
}

/// An archive under construction. What is written before [`ArchiveWriter::finish`] is no whole archive.
pub struct ArchiveWriter<W> {
    out: W,
    /// Bytes of the member at hand that are still to come.
    left: u64,
    /// Zeros after them.
    padding: usize,
    pax: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub const fn new(out: W) -> Self {
        Self { out, left: 0, padding: 0, pax: Vec::new() }
    }

    /// Begins a member; the bytes of a file follow by [`ArchiveWriter::data`], after its map by [`ArchiveWriter::map`] if it has holes.
    ///
    /// # Errors
    /// Where it cannot be written, or the member before is not complete.
    pub fn begin(&mut self, member: &NewMember<'_>) -> io::Result<()> {
        self.end_member()?;
        let meta = member.meta;
        let type_flag = match (member.link, meta.kind) {
            (Link::Hard(_), _) => tar::EntryType::Link,
            (_, Kind::Directory) => tar::EntryType::Directory,
            (_, Kind::File) => tar::EntryType::Regular,
            (_, Kind::Symlink) => tar::EntryType::Symlink,
            (_, Kind::Fifo) => tar::EntryType::Fifo,
            (_, Kind::CharDevice) => tar::EntryType::Char,
            (_, Kind::BlockDevice) => tar::EntryType::Block,
            (_, Kind::Socket) => return Err(io::Error::other("an archive holds no sockets")),
        };
        let stored = match (member.sparse, type_flag) {
            (Some(shape), tar::EntryType::Regular) => shape.stored_bytes(),
            (None, tar::EntryType::Regular) => meta.size,
            _ => 0,
        };
        let target = match member.link {
            Link::None => &b""[..],
            Link::Symbolic(target) | Link::Hard(target) => target,
        };
        self.pax.clear();
        self.extend(member, stored, target);
        let time = meta.mtime.secs.clamp(0, MAX_LONG.cast_signed()).cast_unsigned();
        if !self.pax.is_empty() {
            let records = std::mem::take(&mut self.pax);
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_mode(0o644);
            fill(&mut header.as_old_mut().name, &[b"./PaxHeaders/", base_name(member.path)].concat());
            set_numbers(&mut header, 0, 0, records.len() as u64, time);
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&records)?;
            self.zeros(padding_of(records.len() as u64))?;
            self.pax = records;
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(type_flag);
        header.set_mode(meta.mode);
        let fields = header.as_old_mut();
        if member.sparse.is_some() {
            fill(&mut fields.name, &[b"./GNUSparseFile.0/", base_name(member.path)].concat());
        } else {
            fill(&mut fields.name, member.path);
        }
        fill(&mut fields.linkname, target);
        if matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice) {
            header.set_device_major(rustix::fs::major(meta.rdev))?;
            header.set_device_minor(rustix::fs::minor(meta.rdev))?;
        }
        set_numbers(&mut header, meta.uid, meta.gid, stored, time);
        self.out.write_all(header.as_bytes())?;
        (self.left, self.padding) = (stored, padding_of(stored));
        Ok(())
    }

    /// Collects what the header cannot say.
    fn extend(&mut self, member: &NewMember<'_>, stored: u64, target: &[u8]) {
        let (meta, out) = (member.meta, &mut self.pax);
        if member.sparse.is_some() {
            pax::push(out, b"GNU.sparse.major", b"1");
            pax::push(out, b"GNU.sparse.minor", b"0");
            pax::push(out, b"GNU.sparse.name", member.path);
            pax::push(out, b"GNU.sparse.realsize", meta.size.to_string().as_bytes());
        } else if member.path.len() > NAME_BYTES {
            pax::push(out, b"path", member.path);
        }
        if target.len() > NAME_BYTES {
            pax::push(out, b"linkpath", target);
        }
        if stored > MAX_LONG {
            pax::push(out, b"size", stored.to_string().as_bytes());
        }
        for (key, id) in [(&b"uid"[..], meta.uid), (b"gid", meta.gid)] {
            if id > MAX_SHORT {
                pax::push(out, key, id.to_string().as_bytes());
            }
        }
        let Timestamp { secs, nanos } = meta.mtime;
        if nanos != 0 || u64::try_from(secs).map_or(true, |secs| secs > MAX_LONG) {
            pax::push(out, b"mtime", time_text(meta.mtime).as_bytes());
        }
        if matches!(member.link, Link::Hard(_)) {
            return;
        }
        for (name, value) in xattrs(member.xattrs) {
            let key = match name {
                b"system.posix_acl_access" => Some(&b"SCHILY.acl.access"[..]),
                b"system.posix_acl_default" => Some(&b"SCHILY.acl.default"[..]),
                _ => None,
            };
            // Twice: for those who ask tar for ACLs, and for those who ask for all attributes.
            if let Some((key, text)) = key.and_then(|key| Some((key, acl::to_text(value)?))) {
                pax::push(out, key, text.as_bytes());
            }
            pax::push(out, &[b"SCHILY.xattr.", &pax::encode_name(name)[..]].concat(), value);
        }
    }

    /// Writes the map of the sparse file that was begun with `shape`: the ranges that `give` gives to what it is called with.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn map<E: From<io::Error>>(
        &mut self,
        shape: &SparseShape,
        give: impl FnOnce(&mut dyn FnMut(&Range<u64>) -> io::Result<()>) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.left - shape.map_bytes();
        self.data(shape.head().as_bytes())?;
        give(&mut |range| self.data(row(range).as_bytes()))?;
        let rest = usize::try_from(self.left.saturating_sub(end)).unwrap_or(0);
        self.data(&[0; BLOCK_BYTES][..rest.min(BLOCK_BYTES)])?;
        if self.left == end { Ok(()) } else { Err(io::Error::other("a map of holes has changed").into()) }
    }

    /// Writes bytes of the member at hand.
    ///
    /// # Errors
    /// Where it cannot be written, or the member is complete already.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("a member has more bytes than were announced"))?;
        self.out.write_all(bytes)
    }

    fn end_member(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("a member has fewer bytes than were announced"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.zeros(padding)
    }

    fn zeros(&mut self, count: usize) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK_BYTES][..count])
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Where it cannot be written, or the last member is not complete.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_member()?;
        self.zeros(BLOCK_BYTES)?;
        self.zeros(BLOCK_BYTES)?;
        Ok(self.out)
    }
}

fn padding_of(len: u64) -> usize {
    let bytes = len.next_multiple_of(BLOCK_BYTES as u64) - len;
    usize::try_from(bytes).expect("it is less than a block")
}

fn base_name(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// As much of `bytes` as fits; the whole of it stands elsewhere.
fn fill(field: &mut [u8; NAME_BYTES], bytes: &[u8]) {
    let len = bytes.len().min(NAME_BYTES);
    field[..len].copy_from_slice(&bytes[..len]);
}

/// Sets the numbers, and in the end the checksum. What is too large stands in the pax header, and here as bytes for those who do not read it.
fn set_numbers(header: &mut tar::Header, uid: u32, gid: u32, size: u64, time: u64) {
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_size(size);
    header.set_mtime(time);
    header.set_cksum();
}
