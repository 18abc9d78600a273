//! Reading one catalog: its point, and any record by number, through a cache that many catalogs share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CatalogError, Result};
use crate::cache::ByteCache;
use crate::format::catalog::{DIRECTORY_ROWS, Foot, PackRef, Section, Sections};
use crate::format::file::{FileKind, Head};
use crate::format::layout;
use crate::format::record::{Birth, Limits, Record, RecordBlock};
use crate::format::seal::{self, Frame};
use crate::format::table::{self, Adopted, Children, Extent, Row};
use crate::format::{FormatError, Number, Point};
use crate::storage::{Storage, StoredFile};

/// The foot and the point of most catalogs fit in one read of this many bytes from the end.
const TAIL_BYTES: u64 = 4096;

/// The decoded blocks of all open catalogs, bounded in bytes.
pub type CatalogCache = ByteCache<(u64, Part, u32), Decoded>;

/// Which section of a catalog a cached block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Records.
    Records,
    /// Extents.
    Extents,
    /// Children of directories.
    Directories,
    /// Adopted births.
    Adopted,
}

/// A decoded block of a catalog.
#[derive(Debug)]
pub enum Decoded {
    /// Of the records. Shared once more, because entries keep it alive by itself.
    Records(Arc<RecordBlock>),
    /// Of the extents.
    Extents(Vec<Extent>),
    /// Of the directories.
    Directories(Vec<Children>),
    /// Of the adopted births.
    Adopted(Vec<Adopted>),
}

/// An open catalog.
pub struct Catalog {
    point: Point,
    file: StoredFile,
    sections: Sections,
    limits: Limits,
    cache: Arc<CatalogCache>,
    /// Tells the blocks of this catalog from those of others in the cache.
    key: u64,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "catalog {}", self.point.number)
    }
}

/// One record of a catalog, and the block that keeps its bytes.
#[derive(Clone, Debug)]
pub struct Entry {
    block: Arc<RecordBlock>,
    row: u32,
    number: u32,
}

impl Entry {
    /// The record's number in its catalog.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        self.block.record(self.row as usize)
    }

    /// Its name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.block.name(self.row as usize)
    }

    /// Its inline bytes: a tiny file, a link's target.
    #[must_use]
    pub fn inline(&self) -> &[u8] {
        self.block.inline(self.row as usize)
    }

    /// Its encoded attributes; see [`crate::format::record::xattrs`].
    #[must_use]
    pub fn xattrs(&self) -> &[u8] {
        self.block.xattrs(self.row as usize)
    }
}

/// What stands at the end of a catalog: read for a listing without the rest.
struct Tail {
    point: Point,
    foot: Foot,
}

impl Tail {
    fn read(file: &StoredFile, number: Number) -> Result<Self> {
        let tail = Self::read_any(file, number)?;
        if tail.point.number != number {
            return Err(CatalogError::Mismatch { number, what: "it says another number" });
        }
        Ok(tail)
    }

    /// Whatever number it says; `number` is that of its name, for messages.
    fn read_any(file: &StoredFile, number: Number) -> Result<Self> {
        let damaged = |part: &str| {
            let part = part.to_owned();
            move |source| CatalogError::Damaged { number, part, source }
        };
        let file_len = file.len();
        if file_len < (Head::LEN + Foot::LEN) as u64 {
            return Err(damaged("its length")(FormatError::Short));
        }
        let start = file_len.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; usize::try_from(file_len - start).expect("no more than the tail")];
        file.read_exact_at(&mut tail, start)?;
        let foot = Foot::decode(&tail[tail.len() - Foot::LEN..], file_len).map_err(damaged("foot"))?;
        let (mut read, mut raw) = (Vec::new(), Vec::new());
        let stored = match foot.point.offset.checked_sub(start) {
            Some(at) => {
                let at = usize::try_from(at).expect("inside the tail");
                &tail[at..at + foot.point.stored_len as usize]
            }
            None => {
                read.resize(foot.point.stored_len as usize, 0);
                file.read_exact_at(&mut read, foot.point.offset)?;
                &read
            }
        };
        seal::open(&foot.point, stored, &mut raw).map_err(damaged("point"))?;
        let point: Point = serde_json::from_slice(&raw)
            .map_err(|_| damaged("point")(FormatError::Impossible("description of a point")))?;
        if !point.is_possible() {
            return Err(damaged("point")(FormatError::Impossible("description of a point")));
        }
        Ok(Self { point, foot })
    }
}

impl Catalog {
    /// Reads only the point of backup `number`: two or three system calls.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn read_point(storage: &Storage, number: Number) -> Result<Point> {
        Ok(Tail::read(&storage.open(&layout::catalog(number))?, number)?.point)
    }

    /// The number that a file says which has this name in the store; `number` is for errors to name.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn read_number(storage: &Storage, name: &str, number: Number) -> Result<Number> {
        Ok(Tail::read_any(&storage.open(name)?, number)?.point.number)
    }

    /// Opens the catalog of backup `number`. Its blocks are read when they are asked for.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn open(storage: &Storage, number: Number, cache: Arc<CatalogCache>) -> Result<Self> {
        Self::of(storage.open(&layout::catalog(number))?, number, cache)
    }

    /// Opens the catalog of a backup that was pruned, for a reader who has seen it listed and holds a lease that is as old.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn open_removed(storage: &Storage, number: Number, cache: Arc<CatalogCache>) -> Result<Self> {
        Self::of(storage.open(&layout::removed_catalog(number))?, number, cache)
    }

    fn of(file: StoredFile, number: Number, cache: Arc<CatalogCache>) -> Result<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let Tail { point, foot } = Tail::read(&file, number)?;
        let damaged = |part: &str| {
            let part = part.to_owned();
            move |source| CatalogError::Damaged { number, part, source }
        };
        let mut head = [0; Head::LEN];
        file.read_exact_at(&mut head, 0)?;
        let head = Head::decode(&head, FileKind::Catalog).map_err(damaged("head"))?;
        if head.id != point.id.0 {
            return Err(CatalogError::Mismatch { number, what: "its head has another id" });
        }
        let mut raw = Vec::new();
        read_frame(&file, &foot.sections, &mut raw)?.map_err(damaged("sections"))?;
        let sections = Sections::decode(&raw, file.len()).map_err(damaged("sections"))?;
        let limits = Limits {
            number,
            records: sections.records.rows(),
            directories: sections.directories.rows(),
            extents: sections.extents.rows(),
            packs: u32::try_from(sections.packs.len()).unwrap_or(u32::MAX),
            based: !point.is_full(),
        };
        Ok(Self { point, file, sections, limits, cache, key: KEYS.fetch_add(1, Ordering::Relaxed) })
    }

    /// The point in time.
    #[must_use]
    pub const fn point(&self) -> &Point {
        &self.point
    }

    /// The packs that places count in.
    #[must_use]
    pub fn packs(&self) -> &[PackRef] {
        &self.sections.packs
    }

    /// Records in the catalog.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.sections.records.rows()
    }

    /// Whether the catalog has no record; none is so.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file.
    pub(super) const fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file.len()
    }

    /// The root directory: the last record.
    ///
    /// # Errors
    /// Where the catalog is damaged.
    pub fn root(&self) -> Result<Entry> {
        self.entry(self.len() - 1)
    }

    /// The entry with this number.
    ///
    /// # Errors
    /// Where there is none, or the catalog is damaged.
    pub fn entry(&self, number: u32) -> Result<Entry> {
        let (run, row) = self.find_row(&self.sections.records, number, "record")?;
        Ok(Entry { block: self.records(run)?, row, number })
    }

    /// The children of the directory in row `row` of the directory table.
    ///
    /// # Errors
    /// Where there is none, or the catalog is damaged.
    pub fn children(&self, row: u32) -> Result<Children> {
        let run = row as usize / DIRECTORY_ROWS;
        self.find_row(&self.sections.directories, row, "directory")?;
        let Decoded::Directories(rows) = &*self.block(Part::Directories, run)? else {
            unreachable!("the cache's key names the part")
        };
        let children = rows[row as usize % DIRECTORY_ROWS];
        if children.first.checked_add(children.count).is_none_or(|end| end > self.len()) {
            return Err(self.damaged("directories", FormatError::Impossible("children")));
        }
        Ok(children)
    }

    /// The child of that name, found by halving.
    ///
    /// # Errors
    /// Where the catalog is damaged.
    pub fn find(&self, children: Children, name: &[u8]) -> Result<Option<Entry>> {
        let (mut low, mut high) = (children.first, children.first + children.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            match entry.name().cmp(name) {
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Gives `take` the `count` extents from row `first` on, in order, starting with the first that ends after `offset`
    /// bytes of the file; `take` answers whether it wants more.
    ///
    /// # Errors
    /// Where the rows are not there, do not rise, or the catalog is damaged.
    pub fn extents(&self, first: u32, count: u32, offset: u64, mut take: impl FnMut(&Extent) -> bool) -> Result<()> {
        let section = &self.sections.extents;
        let (mut low, mut high) = (first, first.saturating_add(count));
        let end = high;
        // Halve down to the first extent that ends after the offset; each step decodes one block at most.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.extent(middle)?.end() <= offset { low = middle + 1 } else { high = middle }
        }
        let mut reached = 0;
        while low < end {
            let (run, row) = self.find_row(section, low, "extent")?;
            let Decoded::Extents(rows) = &*self.block(Part::Extents, run)? else {
                unreachable!("the cache's key names the part")
            };
            for extent in rows[row as usize..].iter().take((end - low) as usize) {
                if extent.at < reached || self.limits.packs <= extent.place.pack {
                    return Err(self.damaged("extents", FormatError::Impossible("extent")));
                }
                reached = extent.end();
                low += 1;
                if !take(extent) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// All `count` extents from row `first` on.
    ///
    /// # Errors
    /// As [`Catalog::extents`].
    pub fn all_extents(&self, first: u32, count: u32) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        self.extents(first, count, 0, |extent| {
            extents.push(*extent);
            true
        })?;
        Ok(extents)
    }

    fn extent(&self, number: u32) -> Result<Extent> {
        let (run, row) = self.find_row(&self.sections.extents, number, "extent")?;
        let Decoded::Extents(rows) = &*self.block(Part::Extents, run)? else {
            unreachable!("the cache's key names the part")
        };
        Ok(rows[row as usize])
    }

    /// The record that carries the version born as `birth` in another backup, if this catalog adopted it.
    ///
    /// # Errors
    /// Where the catalog is damaged.
    pub fn adopted(&self, birth: Birth) -> Result<Option<u32>> {
        let section = &self.sections.adopted;
        let key = (birth.number.0, birth.record);
        let (mut low, mut high) = (0, section.runs().len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Decoded::Adopted(rows) = &*self.block(Part::Adopted, middle)? else {
                unreachable!("the cache's key names the part")
            };
            let of = |row: &Adopted| (row.number, row.birth_record);
            if rows.last().is_none_or(|last| of(last) < key) {
                low = middle + 1;
            } else if rows.first().is_some_and(|first| of(first) > key) {
                high = middle;
            } else {
                return Ok(rows.binary_search_by_key(&key, of).ok().map(|row| rows[row].record));
            }
        }
        Ok(None)
    }

    /// The record block that holds record `number`, and the number of its first record.
    ///
    /// # Errors
    /// Where there is no such record, or the catalog is damaged.
    pub(super) fn record_block(&self, number: u32) -> Result<(Arc<RecordBlock>, u32)> {
        let (run, _) = self.find_row(&self.sections.records, number, "record")?;
        Ok((self.records(run)?, self.sections.records.first_row(run)))
    }

    pub(super) fn entry_in(block: &Arc<RecordBlock>, first: u32, number: u32) -> Entry {
        Entry { block: Arc::clone(block), row: number - first, number }
    }

    pub(super) fn records(&self, run: usize) -> Result<Arc<RecordBlock>> {
        match &*self.block(Part::Records, run)? {
            Decoded::Records(block) => Ok(Arc::clone(block)),
            _ => unreachable!("the cache's key names the part"),
        }
    }

    pub(super) fn block(&self, part: Part, run: usize) -> Result<Arc<Decoded>> {
        let index = u32::try_from(run).expect("sections have fewer than 2^32 runs");
        self.cache.get((self.key, part, index), || self.decode(part, run))
    }

    pub(super) fn section(&self, part: Part) -> &Section {
        match part {
            Part::Records => &self.sections.records,
            Part::Extents => &self.sections.extents,
            Part::Directories => &self.sections.directories,
            Part::Adopted => &self.sections.adopted,
        }
    }

    pub(super) fn decode(&self, part: Part, run: usize) -> Result<(Decoded, usize)> {
        let section = self.section(part);
        let this = section.runs()[run];
        let mut raw = Vec::new();
        let damaged = |source| self.damaged(&format!("{part:?}, run {run}"), source);
        read_frame(&self.file, &this.frame, &mut raw)?.map_err(damaged)?;
        let rows = this.rows as usize;
        let decoded = match part {
            Part::Records => {
                let block = RecordBlock::decode(&raw, section.first_row(run), &self.limits).map_err(damaged)?;
                if block.len() != rows {
                    return Err(damaged(FormatError::Impossible("number of rows")));
                }
                let bytes = block.memory_bytes();
                return Ok((Decoded::Records(Arc::new(block)), bytes));
            }
            Part::Extents => Decoded::Extents(decode_rows(&raw, this.rows).map_err(damaged)?),
            Part::Directories => Decoded::Directories(decode_rows(&raw, this.rows).map_err(damaged)?),
            Part::Adopted => Decoded::Adopted(decode_rows(&raw, this.rows).map_err(damaged)?),
        };
        Ok((decoded, rows * size_of::<Extent>()))
    }

    fn find_row(&self, section: &Section, row: u32, what: &'static str) -> Result<(usize, u32)> {
        let (run, row) = section.find(row).ok_or_else(|| self.damaged("sections", FormatError::Impossible(what)))?;
        Ok((run, u32::try_from(row).expect("a run has fewer than 2^32 rows")))
    }

    pub(super) fn damaged(&self, part: &str, source: FormatError) -> CatalogError {
        CatalogError::Damaged { number: self.point.number, part: part.to_owned(), source }
    }
}

fn decode_rows<const K: usize, R: Row<K>>(raw: &[u8], rows: u32) -> std::result::Result<Vec<R>, FormatError> {
    let mut bytes = crate::format::bytes::Bytes(raw);
    let decoded = table::decode(&mut bytes, rows.into())?;
    bytes.end()?;
    if decoded.len() == rows as usize { Ok(decoded) } else { Err(FormatError::Impossible("number of rows")) }
}

/// Reads and opens a sealed run. The outer error is the file's, the inner the format's.
fn read_frame(
    file: &StoredFile,
    frame: &Frame,
    raw: &mut Vec<u8>,
) -> std::result::Result<std::result::Result<(), FormatError>, crate::storage::StorageError> {
    let mut stored = vec![0; frame.stored_len as usize];
    file.read_exact_at(&mut stored, frame.offset)?;
    Ok(seal::open(frame, &stored, raw))
}
