//! Tables of fixed-width rows: the extents, directories and adopted births of a catalog, the blocks and chunks of a pack.
//!
//! A row is `K` numbers; a run of rows is encoded column by column. Invariant: nobody allocates for more rows than the
//! caller allowed.

use super::bytes::Bytes;
use super::columns;
use super::error::{FormatError, Result};
use super::record::Place;

/// A row of `K` numbers that stands for a value.
pub trait Row<const K: usize>: Sized {
    /// The value as numbers.
    fn numbers(&self) -> [u64; K];
    /// The value that the numbers stand for; `None` where they can be no such value.
    fn from_numbers(numbers: [u64; K]) -> Option<Self>;
}

/// Appends the rows: their number (u32), then the columns.
pub fn encode<const K: usize, R: Row<K>>(rows: &[R], out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(rows.len()).expect("tables have fewer than 2^32 rows").to_le_bytes());
    let mut scratch = Vec::with_capacity(rows.len());
    for column in 0..K {
        columns::encode(rows.iter().map(|row| row.numbers()[column]), &mut scratch, out);
    }
}

/// Takes the rows from `bytes`, at most `limit` of them.
///
/// # Errors
/// Where there are more, the bytes end early or a row is impossible.
pub fn decode<const K: usize, R: Row<K>>(bytes: &mut Bytes<'_>, limit: u64) -> Result<Vec<R>> {
    let rows = bytes.u32()?;
    if u64::from(rows) > limit {
        return Err(FormatError::Impossible("number of rows"));
    }
    let mut numbers: Vec<[u64; K]> = vec![[0; K]; rows as usize];
    let mut values = Vec::new();
    for column in 0..K {
        columns::decode(bytes, rows as usize, &mut values)?;
        for (row, value) in numbers.iter_mut().zip(&values) {
            row[column] = *value;
        }
    }
    numbers.into_iter().map(|row| R::from_numbers(row).ok_or(FormatError::Impossible("row"))).collect()
}

fn narrow(value: u64) -> Option<u32> {
    u32::try_from(value).ok()
}

/// A run of a file's bytes. Between two extents of a file lies a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the run in the file.
    pub at: u64,
    /// Bytes of the run, at least one.
    pub len: u32,
    /// Where they lie.
    pub place: Place,
}

impl Extent {
    /// The offset in the file just after the run.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.at.saturating_add(self.len as u64)
    }
}

impl Row<5> for Extent {
    fn numbers(&self) -> [u64; 5] {
        let Place { pack, block, offset } = self.place;
        [self.at, self.len.into(), pack.into(), block.into(), offset.into()]
    }

    fn from_numbers([at, len, pack, block, offset]: [u64; 5]) -> Option<Self> {
        let place = Place { pack: narrow(pack)?, block: narrow(block)?, offset: narrow(offset)? };
        let extent = Self { at, len: narrow(len)?, place };
        (len > 0 && at.checked_add(len).is_some()).then_some(extent)
    }
}

/// The children of one directory: a run of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// The first child's record.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Row<2> for Children {
    fn numbers(&self) -> [u64; 2] {
        [self.first.into(), self.count.into()]
    }

    fn from_numbers([first, count]: [u64; 2]) -> Option<Self> {
        let children = Self { first: narrow(first)?, count: narrow(count)? };
        children.first.checked_add(children.count).is_some().then_some(children)
    }
}

/// A version that was first recorded by another backup, and the record that carries it here. Sorted by birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Adopted {
    /// The backup that first recorded the version.
    pub number: u32,
    /// The record there.
    pub birth_record: u32,
    /// The record here.
    pub record: u32,
}

impl Row<3> for Adopted {
    fn numbers(&self) -> [u64; 3] {
        [self.number.into(), self.birth_record.into(), self.record.into()]
    }

    fn from_numbers([number, birth_record, record]: [u64; 3]) -> Option<Self> {
        Some(Self { number: narrow(number)?, birth_record: narrow(birth_record)?, record: narrow(record)? })
    }
}

/// A chunk of a pack, without its hash, which stands in a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Row of the pack's block table.
    pub block: u32,
    /// First byte inside the opened block.
    pub offset: u32,
    /// Bytes, at least one.
    pub len: u32,
}

impl Row<3> for Chunk {
    fn numbers(&self) -> [u64; 3] {
        [self.block.into(), self.offset.into(), self.len.into()]
    }

    fn from_numbers([block, offset, len]: [u64; 3]) -> Option<Self> {
        let chunk = Self { block: narrow(block)?, offset: narrow(offset)?, len: narrow(len)? };
        (len > 0 && chunk.offset.checked_add(chunk.len).is_some()).then_some(chunk)
    }
}
