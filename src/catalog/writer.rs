//! Writing one catalog in one pass: records, extents and directories go out as their runs fill.

use super::{CatalogError, Result};
use crate::format::catalog::{ADOPTED_ROWS, DIRECTORY_ROWS, EXTENT_ROWS, Foot, PackRef, Run, Section, Sections};
use crate::format::file::{FileKind, Head};
use crate::format::layout;
use crate::format::record::{Birth, Limits, NewRecord, RecordBlock, RecordBlockBuilder};
use crate::format::seal::{Frame, Sealer};
use crate::format::table::{self, Adopted, Children, Extent, Row};
use crate::format::{CatalogId, FormatError, Number, Point};
use crate::storage::{NewFile, Replace, Storage};

/// A catalog under construction: a temporary file until [`CatalogWriter::finish`] renames it, which is the commit.
pub struct CatalogWriter {
    file: NewFile,
    number: Number,
    id: CatalogId,
    sealer: Sealer,
    hasher: blake3::Hasher,
    sections: Sections,
    block: RecordBlockBuilder,
    extents: Vec<Extent>,
    directories: Vec<Children>,
    adopted: Vec<Adopted>,
    records: u32,
    stored: Vec<u8>,
}

impl CatalogWriter {
    /// Begins the catalog of backup `number`, compressed at zstd `level`.
    ///
    /// # Errors
    /// Where the temporary file cannot be written.
    pub fn create(storage: &Storage, number: Number, id: CatalogId, level: i32) -> Result<Self> {
        let mut writer = Self {
            file: storage.create(layout::CATALOGS)?,
            number,
            id,
            sealer: Sealer::new(level).map_err(CatalogError::Compression)?,
            hasher: blake3::Hasher::new(),
            sections: Sections::default(),
            block: RecordBlockBuilder::default(),
            extents: Vec::new(),
            directories: Vec::new(),
            adopted: Vec::new(),
            records: 0,
            stored: Vec::new(),
        };
        writer.append(&Head { id: id.0 }.encode(FileKind::Catalog))?;
        Ok(writer)
    }

    /// The number that the next record will have.
    #[must_use]
    pub const fn next_record(&self) -> u32 {
        self.records
    }

    /// Adds a record and returns its number. Its birth, where it is another's, is remembered for the table of adopted births.
    ///
    /// # Errors
    /// Where the file cannot be written, or has 2^32 - 1 records already.
    pub fn push(&mut self, new: &NewRecord<'_>) -> Result<u32> {
        let number = self.records;
        self.records = self.records.checked_add(1).ok_or_else(|| self.too_large())?;
        let Birth { number: born_by, record: birth_record } = new.record.birth;
        if born_by != self.number {
            self.adopted.push(Adopted { number: born_by.0, birth_record, record: number });
        }
        // Before the record, not after it: the last block must be known to be the last when it is checked.
        if self.block.is_full() {
            self.close_block(None)?;
        }
        self.block.push(new);
        Ok(number)
    }

    /// Adds a row to the directory table and returns its number.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn push_directory(&mut self, children: Children) -> Result<u32> {
        let row = self.sections.directories.rows() + u32::try_from(self.directories.len()).expect("a run is short");
        self.directories.push(children);
        if self.directories.len() == DIRECTORY_ROWS {
            let rows = std::mem::take(&mut self.directories);
            let run = self.seal_rows(&rows)?;
            add(&mut self.sections.directories, run, self.number)?;
        }
        Ok(row)
    }

    /// Adds the extents of one file and returns the number of the first.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn push_extents(&mut self, extents: &[Extent]) -> Result<u32> {
        let waiting = u32::try_from(self.extents.len()).expect("a run is short");
        let first = self.sections.extents.rows().checked_add(waiting).ok_or_else(|| self.too_large())?;
        for extent in extents {
            self.extents.push(*extent);
            if self.extents.len() == EXTENT_ROWS {
                let rows = std::mem::take(&mut self.extents);
                let run = self.seal_rows(&rows)?;
                add(&mut self.sections.extents, run, self.number)?;
            }
        }
        Ok(first)
    }

    /// Closes the catalog, makes it durable and commits it under its number. The last record pushed is the root.
    ///
    /// # Errors
    /// Where it cannot be written, or the number is taken: then another writer was here.
    pub fn finish(self, point: &Point, packs: Vec<PackRef>) -> Result<u64> {
        self.publish(point, packs, Replace::Never)
    }

    /// Closes the catalog, makes it durable and puts it in the place of the one that has its number: the same records, at other places.
    /// Whoever has that one open goes on reading it.
    ///
    /// # Errors
    /// Where it cannot be written; then the other one stays.
    pub fn finish_revision(self, point: &Point, packs: Vec<PackRef>) -> Result<u64> {
        self.publish(point, packs, Replace::Always)
    }

    fn publish(mut self, point: &Point, packs: Vec<PackRef>, replace: Replace) -> Result<u64> {
        assert!(point.number == self.number && point.id == self.id, "a catalog is finished as it was begun");
        self.close_block(Some(self.records))?;
        let rows = std::mem::take(&mut self.directories);
        if !rows.is_empty() {
            let run = self.seal_rows(&rows)?;
            add(&mut self.sections.directories, run, self.number)?;
        }
        let rows = std::mem::take(&mut self.extents);
        if !rows.is_empty() {
            let run = self.seal_rows(&rows)?;
            add(&mut self.sections.extents, run, self.number)?;
        }
        let mut adopted = std::mem::take(&mut self.adopted);
        adopted.sort_unstable();
        adopted.dedup_by_key(|row| (row.number, row.birth_record));
        for rows in adopted.chunks(ADOPTED_ROWS) {
            let run = self.seal_rows(rows)?;
            add(&mut self.sections.adopted, run, self.number)?;
        }
        self.sections.packs = packs;
        let mut raw = Vec::new();
        self.sections.encode(&mut raw);
        let sections = self.seal(&raw)?;
        let json = serde_json::to_vec(point).expect("a point is plain data");
        let point = self.seal(&json)?;
        let hash = *self.hasher.finalize().as_bytes();
        self.file.write_all(&Foot { sections, point, hash }.encode())?;
        let len = self.file.len();
        self.file.finish(&layout::catalog(self.number), replace)?;
        Ok(len)
    }

    /// Seals the block at hand; `records` is the number of all where it is the last. What a reader would refuse is not written: better no
    /// point than one that cannot be opened.
    fn close_block(&mut self, records: Option<u32>) -> Result<()> {
        let rows = u32::try_from(self.block.len()).expect("a block is small");
        let first = self.sections.records.rows();
        let mut raw = Vec::new();
        self.block.encode(self.number, first, &mut raw);
        let waiting = |rows: usize| u32::try_from(rows).unwrap_or(u32::MAX);
        let limits = Limits {
            number: self.number,
            records: records.unwrap_or(u32::MAX),
            directories: self.sections.directories.rows() + waiting(self.directories.len()),
            extents: self.sections.extents.rows() + waiting(self.extents.len()),
            packs: u32::MAX,
            based: true,
        };
        RecordBlock::decode(&raw, first, &limits)
            .map_err(|source| CatalogError::Unwritable { number: self.number, source })?;
        let frame = self.seal(&raw)?;
        add(&mut self.sections.records, Run { rows, frame }, self.number)
    }

    fn seal_rows<const K: usize, R: Row<K>>(&mut self, rows: &[R]) -> Result<Run> {
        let mut raw = Vec::new();
        table::encode(rows, &mut raw);
        let frame = self.seal(&raw)?;
        Ok(Run { rows: u32::try_from(rows.len()).expect("a run is short"), frame })
    }

    fn seal(&mut self, raw: &[u8]) -> Result<Frame> {
        if raw.len() > crate::format::seal::MAX_RAW_BYTES as usize {
            return Err(self.too_large());
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.clear();
        let frame = self.sealer.seal(raw, self.file.len(), &mut stored);
        self.append(&stored)?;
        self.stored = stored;
        Ok(frame)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }

    fn too_large(&self) -> CatalogError {
        CatalogError::Damaged {
            number: self.number,
            part: "size".to_owned(),
            source: FormatError::Impossible("size: the tree has more entries than a catalog can hold"),
        }
    }
}

fn add(section: &mut Section, run: Run, number: Number) -> Result<()> {
    section.push(run).map_err(|source| CatalogError::Damaged { number, part: "size".to_owned(), source })
}
