//! The records of a catalog, in blocks.
//!
//! A record is one entry of one directory. Records have numbers, from 0; the last is the root. A block holds a run of them with
//! the bytes that belong to them (names, tiny files, link targets, attributes). Invariant: every range of a
//! decoded record lies inside its block's heap, and every name is one that a directory can hold.

use super::bytes::Bytes;
use super::columns;
use super::entry::{Kind, Meta};
use super::error::{FormatError, Result};
use super::point::Number;
use super::seal::MAX_RAW_BYTES;
use super::time::Timestamp;

/// A block is closed when it holds this many records.
pub const MAX_RECORDS: usize = 512;
/// A block is closed when its heap has grown past this many bytes; one record more may make it longer.
pub const FULL_HEAP_BYTES: usize = 256 << 10;
/// No record's own bytes are more than this (a name, 64 KiB of attribute names with 64 KiB of value each is refused before).
pub const MAX_RECORD_BYTES: usize = 8 << 20;
/// The longest name, as Linux has it (`NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;

/// How a record relates to the base of its catalog. In a full, everything is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// As in the base; listed only because something below it differs.
    Unchanged = 0,
    /// The base has no such name, or something of another kind under it.
    New = 1,
    /// The base's entry, with other data or other archived metadata.
    Updated = 2,
    /// A whiteout: the base's entry is gone.
    Deleted = 3,
    /// Could not be read; carries the newest version that the source's backups hold, if any.
    Unread = 4,
}

impl Status {
    const fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Unchanged,
            1 => Self::New,
            2 => Self::Updated,
            3 => Self::Deleted,
            4 => Self::Unread,
            _ => return None,
        })
    }
}

/// Marks on a record, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The file's times were too fresh to be trusted, or it would not hold still: read it again next time, whatever `stat` says.
    pub const RECHECK: Self = Self(1);
    /// The file changed while it was read, again and again: what is kept may be torn.
    pub const TORN: Self = Self(2);
    /// Recorded as an empty directory on purpose: another file system, a store, a dbakfs mount.
    pub const LEFT_OUT: Self = Self(4);
    /// Nothing is known of the content (it never could be read): reading it is an error.
    pub const NO_CONTENT: Self = Self(8);
    const ALL: u8 = 15;

    /// Whether every mark of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These marks and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where a version of a file was first recorded; the mount makes its inode number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Birth {
    /// The backup.
    pub number: Number,
    /// The record in its catalog.
    pub record: u32,
}

/// Where a run of a file's bytes lies: in a block of a pack. `pack` counts in the catalog's own table of packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Row of the catalog's pack table.
    pub pack: u32,
    /// Row of the pack's block table.
    pub block: u32,
    /// First byte inside the opened block.
    pub offset: u32,
}

/// What a record holds besides metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: an empty file, a pipe, a socket, a device, a whiteout.
    None,
    /// All bytes of a tiny file, or the target of a link, in the block's heap.
    Inline,
    /// All bytes of a file in one run.
    One(Place),
    /// Several runs, with or without holes: `count` rows of the catalog's extent table from row `first` on.
    Many {
        /// First row.
        first: u32,
        /// Number of rows, at least one.
        count: u32,
    },
    /// The children of a directory: the row of the catalog's directory table.
    Children(u32),
}

/// One entry. Its name, its inline bytes and its attributes lie in the heap of its [`RecordBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is archived of the inode.
    pub meta: Meta,
    /// How it relates to the base.
    pub status: Status,
    /// Marks.
    pub flags: Flags,
    /// Last change of the inode at the source, for change detection.
    pub ctime: Timestamp,
    /// Inode number at the source, for change detection.
    pub ino: u64,
    /// First record of this very version; for directories and whiteouts the record itself.
    pub birth: Birth,
    /// The record of the same path in the base, if there is one that it continues; a directory with it shows the base's children too.
    pub base: Option<u32>,
    /// Bytes of `meta.size` that are not holes.
    pub data_bytes: u64,
    /// What it holds.
    pub content: Content,
}

/// A record with the bytes that belong to it, as a writer gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// The record.
    pub record: Record,
    /// Its name; empty for the root alone.
    pub name: &'a [u8],
    /// The bytes of [`Content::Inline`], else empty.
    pub inline: &'a [u8],
    /// Extended attributes as [`encode_xattrs`] makes them; empty where there are none.
    pub xattrs: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    record: Record,
    name: (u32, u32),
    inline: (u32, u32),
    xattrs: (u32, u32),
}

/// A run of records, decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordBlock {
    rows: Vec<Row>,
    heap: Vec<u8>,
}

/// A block of records under construction.
#[derive(Default)]
pub struct RecordBlockBuilder {
    records: Vec<Record>,
    lengths: Vec<[u32; 3]>,
    names: Vec<u8>,
    inline: Vec<u8>,
    xattrs: Vec<u8>,
    scratch: Vec<u64>,
}

const NO_BASE: u64 = u32::MAX as u64 + 1;

impl RecordBlockBuilder {
    /// Adds a record.
    ///
    /// # Panics
    /// Where the record's bytes exceed [`MAX_RECORD_BYTES`]; whoever reads sources bounds them.
    pub fn push(&mut self, new: &NewRecord<'_>) {
        let length = |bytes: &[u8]| {
            assert!(bytes.len() <= MAX_RECORD_BYTES, "a record's bytes are bounded where they are read");
            u32::try_from(bytes.len()).expect("bounded just above")
        };
        self.records.push(new.record);
        self.lengths.push([length(new.name), length(new.inline), length(new.xattrs)]);
        self.names.extend_from_slice(new.name);
        self.inline.extend_from_slice(new.inline);
        self.xattrs.extend_from_slice(new.xattrs);
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the block should be closed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.records.len() >= MAX_RECORDS || self.names.len() + self.inline.len() + self.xattrs.len() >= FULL_HEAP_BYTES
    }

    /// Appends the encoded block, whose first record has number `first` in catalog `number`, and begins a new one.
    pub fn encode(&mut self, number: Number, first: u32, out: &mut Vec<u8>) {
        let records = &self.records;
        let scratch = &mut self.scratch;
        out.extend_from_slice(&u32::try_from(records.len()).expect("a block is small").to_le_bytes());
        let mut put = |of: &dyn Fn(usize, &Record) -> u64| {
            columns::encode(records.iter().enumerate().map(|(row, record)| of(row, record)), scratch, out);
        };
        put(&|_, r| r.meta.kind as u64);
        put(&|_, r| r.status as u64);
        put(&|_, r| u64::from(r.flags.0));
        put(&|_, r| u64::from(r.meta.mode));
        put(&|_, r| u64::from(r.meta.uid));
        put(&|_, r| u64::from(r.meta.gid));
        put(&|_, r| u64::from(r.meta.nlink));
        put(&|_, r| r.meta.rdev);
        put(&|_, r| r.meta.size);
        put(&|_, r| r.meta.mtime.secs.cast_unsigned());
        put(&|_, r| u64::from(r.meta.mtime.nanos));
        put(&|_, r| r.ctime.secs.cast_unsigned());
        put(&|_, r| u64::from(r.ctime.nanos));
        put(&|_, r| r.ino);
        // A record that was born here says 0 and 0.
        put(&|_, r| u64::from(number.0).wrapping_sub(u64::from(r.birth.number.0)));
        put(&|row, r| own(first, row).wrapping_sub(u64::from(r.birth.record)));
        put(&|_, r| r.base.map_or(NO_BASE, u64::from));
        put(&|_, r| r.meta.size.wrapping_sub(r.data_bytes));
        put(&|_, r| content_parts(r.content)[0]);
        put(&|_, r| content_parts(r.content)[1]);
        put(&|_, r| content_parts(r.content)[2]);
        // Small files lie behind one another: an offset is mostly where the file before it ended.
        put(&|row, r| {
            content_parts(r.content)[3].wrapping_sub(expected_offset(row.checked_sub(1).map(|p| &records[p])))
        });
        for which in 0..3 {
            columns::encode(self.lengths.iter().map(|lengths| u64::from(lengths[which])), scratch, out);
        }
        out.extend_from_slice(&self.names);
        out.extend_from_slice(&self.inline);
        out.extend_from_slice(&self.xattrs);
        self.records.clear();
        self.lengths.clear();
        self.names.clear();
        self.inline.clear();
        self.xattrs.clear();
    }
}

fn own(first: u32, row: usize) -> u64 {
    u64::from(first) + row as u64
}

/// A content as four numbers: its tag and up to three more.
const fn content_parts(content: Content) -> [u64; 4] {
    match content {
        Content::None => [0, 0, 0, 0],
        Content::Inline => [1, 0, 0, 0],
        Content::One(place) => [2, place.pack as u64, place.block as u64, place.offset as u64],
        Content::Many { first, count } => [3, first as u64, count as u64, 0],
        Content::Children(row) => [4, row as u64, 0, 0],
    }
}

fn expected_offset(before: Option<&Record>) -> u64 {
    match before.map(|record| (record.content, record.meta.size)) {
        Some((Content::One(place), size)) => u64::from(place.offset).wrapping_add(size),
        _ => 0,
    }
}

fn narrow(value: u64, what: &'static str) -> Result<u32> {
    u32::try_from(value).map_err(|_| FormatError::Impossible(what))
}

/// Columns of a block; the last three are the lengths of name, inline bytes and attributes.
const COLUMNS: usize = 25;
const LENGTHS: usize = 22;

fn decode_record(values: &[u64; COLUMNS], own: u64, number: Number, before: Option<&Record>) -> Result<Record> {
    let [kind, status, flags, mode, uid, gid, nlink, rdev, size, mtime_secs, mtime_nanos, ctime_secs, ctime_nanos, ..] =
        *values;
    let [.., ino, birth_number, birth_record, base, hole_bytes, tag, one, two, three, _, _, _] = *values;
    let code = |value: u64| u8::try_from(value).ok();
    let meta = Meta {
        kind: code(kind).and_then(Kind::from_code).ok_or(FormatError::Impossible("kind"))?,
        mode: narrow(mode, "mode")?,
        uid: narrow(uid, "owner")?,
        gid: narrow(gid, "group")?,
        nlink: narrow(nlink, "link count")?,
        rdev,
        size,
        mtime: Timestamp::new(mtime_secs.cast_signed(), narrow(mtime_nanos, "nanoseconds")?),
    };
    let ctime = Timestamp::new(ctime_secs.cast_signed(), narrow(ctime_nanos, "nanoseconds")?);
    if meta.mode > 0o7777 || meta.mtime.nanos >= 1_000_000_000 || ctime.nanos >= 1_000_000_000 {
        return Err(FormatError::Impossible("mode or time"));
    }
    let content = match tag {
        0 => Content::None,
        1 => Content::Inline,
        2 => Content::One(Place {
            pack: narrow(one, "pack")?,
            block: narrow(two, "block")?,
            offset: narrow(three.wrapping_add(expected_offset(before)), "offset")?,
        }),
        3 => Content::Many { first: narrow(one, "extents")?, count: narrow(two, "extents")? },
        4 => Content::Children(narrow(one, "directory")?),
        _ => return Err(FormatError::Impossible("content")),
    };
    Ok(Record {
        meta,
        status: Status::from_code(status).ok_or(FormatError::Impossible("status"))?,
        flags: code(flags).filter(|bits| bits & !Flags::ALL == 0).map(Flags).ok_or(FormatError::Impossible("flags"))?,
        ctime,
        ino,
        birth: Birth {
            number: Number(narrow(u64::from(number.0).wrapping_sub(birth_number), "birth")?),
            record: narrow(own.wrapping_sub(birth_record), "birth")?,
        },
        base: if base == NO_BASE { None } else { Some(narrow(base, "base")?) },
        data_bytes: size.wrapping_sub(hole_bytes),
        content,
    })
}

impl RecordBlock {
    /// Decodes a block whose first record has number `first`.
    ///
    /// # Errors
    /// Where the bytes are not what [`RecordBlockBuilder::encode`] could have written, or point past `limits`.
    pub fn decode(raw: &[u8], first: u32, limits: &Limits) -> Result<Self> {
        let mut bytes = Bytes(raw);
        let rows = bytes.u32()? as usize;
        if rows == 0 || rows > MAX_RECORDS {
            return Err(FormatError::Impossible("number of records"));
        }
        let mut columns: [Vec<u64>; COLUMNS] = Default::default();
        for column in &mut columns {
            columns::decode(&mut bytes, rows, column)?;
        }
        let heap = bytes.0;
        let total = |which: usize| columns[LENGTHS + which].iter().fold(0_u64, |sum, len| sum.saturating_add(*len));
        let mut starts = [0, total(0), total(0).saturating_add(total(1))];
        if starts[2].saturating_add(total(2)) != heap.len() as u64 {
            return Err(FormatError::Impossible("length of the heap"));
        }
        let mut out: Vec<Row> = Vec::with_capacity(rows);
        #[expect(clippy::needless_range_loop, reason = "`at` runs across all columns")]
        for at in 0..rows {
            let values = std::array::from_fn(|column| columns[column][at]);
            let record = decode_record(&values, own(first, at), limits.number, out.last().map(|row| &row.record))?;
            let mut ranges = [(0, 0); 3];
            for (which, range) in ranges.iter_mut().enumerate() {
                let end = starts[which] + values[LENGTHS + which];
                *range = (narrow(starts[which], "heap")?, narrow(end, "heap")?);
                starts[which] = end;
            }
            let [name, inline, xattrs] = ranges;
            let row = Row { record, name, inline, xattrs };
            limits.check(&row, own(first, at), heap)?;
            out.push(row);
        }
        Ok(Self { rows: out, heap: heap.to_vec() })
    }

    /// Records in the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the block holds nothing; no decoded block does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The record at `row`.
    #[must_use]
    pub fn record(&self, row: usize) -> &Record {
        &self.rows[row].record
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.heap[start as usize..end as usize]
    }

    /// The name of the record at `row`.
    #[must_use]
    pub fn name(&self, row: usize) -> &[u8] {
        self.slice(self.rows[row].name)
    }

    /// The inline bytes of the record at `row`: a tiny file, a link's target.
    #[must_use]
    pub fn inline(&self, row: usize) -> &[u8] {
        self.slice(self.rows[row].inline)
    }

    /// The encoded attributes of the record at `row`; see [`xattrs`].
    #[must_use]
    pub fn xattrs(&self, row: usize) -> &[u8] {
        self.slice(self.rows[row].xattrs)
    }

    /// Bytes of memory that the block takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.rows.capacity() * size_of::<Row>() + self.heap.capacity()
    }
}

/// How far the references of a catalog's records may reach.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of the catalog's backup; no version is born later.
    pub number: Number,
    /// Records of the catalog; the last is the root.
    pub records: u32,
    /// Rows of the directory table.
    pub directories: u32,
    /// Rows of the extent table.
    pub extents: u32,
    /// Rows of the pack table.
    pub packs: u32,
    /// Whether the catalog has a base.
    pub based: bool,
}

impl Limits {
    fn check(&self, row: &Row, own: u64, heap: &[u8]) -> Result<()> {
        let record = &row.record;
        let name = &heap[row.name.0 as usize..row.name.1 as usize];
        let inline = u64::from(row.inline.1 - row.inline.0);
        let own_bytes = inline + u64::from(row.xattrs.1 - row.xattrs.0);
        let is_root = own + 1 == u64::from(self.records);
        if own >= u64::from(self.records) || is_root && record.status == Status::Deleted {
            return Err(FormatError::Impossible("record"));
        }
        if if is_root { !name.is_empty() || record.meta.kind != Kind::Directory } else { !is_name(name) } {
            return Err(FormatError::Impossible("name"));
        }
        let born_here = record.birth.number == self.number;
        if record.birth.number.0 == 0
            || record.birth.number > self.number
            || born_here && u64::from(record.birth.record) > own
        {
            return Err(FormatError::Impossible("birth"));
        }
        if record.base.is_some() && !self.based {
            return Err(FormatError::Impossible("base"));
        }
        let kind = record.meta.kind;
        let fits = match record.content {
            Content::None => record.data_bytes == 0 && inline == 0 && kind != Kind::Directory,
            Content::Inline => {
                inline > 0 && (kind == Kind::Symlink || kind == Kind::File && record.meta.size == inline)
            }
            Content::One(place) => {
                // One run lies in one block.
                let fits = (1..=u64::from(MAX_RAW_BYTES)).contains(&record.meta.size);
                kind == Kind::File && inline == 0 && place.pack < self.packs && fits
            }
            Content::Many { first, count } => {
                kind == Kind::File
                    && inline == 0
                    && count > 0
                    && first.checked_add(count).is_some_and(|end| end <= self.extents)
            }
            Content::Children(directory) => kind == Kind::Directory && inline == 0 && directory < self.directories,
        };
        let is_bare = own_bytes == 0 && record.data_bytes == 0 && record.content == Content::None;
        let whiteout = record.status == Status::Deleted && record.base.is_some() && is_bare;
        if (fits && record.status != Status::Deleted || whiteout) && record.data_bytes <= record.meta.size {
            Ok(())
        } else {
            Err(FormatError::Impossible("content"))
        }
    }
}

/// Whether a directory can hold this name.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Encodes extended attributes: for each, sorted by name, the name's length (u8), the value's (u32), the name, the value.
#[must_use]
pub fn encode_xattrs<'a>(attributes: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in attributes {
        out.push(u8::try_from(name.len()).expect("Linux bounds attribute names to 255 bytes"));
        out.extend_from_slice(&u32::try_from(value.len()).expect("Linux bounds values to 64 KiB").to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

/// The attributes that [`encode_xattrs`] encoded, name and value; ends early where the bytes do not hold what they announce.
pub fn xattrs(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut bytes = Bytes(encoded);
    std::iter::from_fn(move || {
        let name_len = bytes.u8().ok()?;
        let value_len = bytes.u32().ok()?;
        Some((bytes.take(name_len.into()).ok()?, bytes.take(value_len as usize).ok()?))
    })
}

#[cfg(test)]
mod tests;
