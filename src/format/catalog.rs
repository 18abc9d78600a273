//! The layout of a catalog around its records: the tables of sections, the foot.
//!
//! `head | sealed runs of rows … | sealed sections | sealed point (JSON) | foot`. See `docs/format.md`.

use super::bytes::Bytes;
use super::error::{FormatError, Result};
use super::file::{self, FileKind, Head};
use super::pack::PackId;
use super::record::MAX_RECORDS;
use super::seal::Frame;
use super::table::{self, Row};

/// Rows in a run of the extent table, at most.
pub const EXTENT_ROWS: usize = 1024;
/// Rows in a run of the directory table: just so many in every run but the last, so that a row is found by division.
pub const DIRECTORY_ROWS: usize = 4096;
/// Rows in a run of the table of adopted births, at most.
pub const ADOPTED_ROWS: usize = 2048;

/// One sealed run of rows of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Rows in it, at least one.
    pub rows: u32,
    /// Where it stands.
    pub frame: Frame,
}

impl Row<5> for Run {
    fn numbers(&self) -> [u64; 5] {
        let Frame { offset, stored_len, raw_len, checksum } = self.frame;
        [self.rows.into(), offset, stored_len.into(), raw_len.into(), checksum]
    }

    fn from_numbers([rows, offset, stored_len, raw_len, checksum]: [u64; 5]) -> Option<Self> {
        let frame = Frame {
            offset,
            stored_len: u32::try_from(stored_len).ok()?,
            raw_len: u32::try_from(raw_len).ok()?,
            checksum,
        };
        frame.check().ok()?;
        Some(Self { rows: u32::try_from(rows).ok().filter(|rows| *rows > 0)?, frame })
    }
}

/// A table in sealed runs of rows, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    runs: Vec<Run>,
    /// Number of the first row of each run.
    firsts: Vec<u32>,
    rows: u32,
}

impl Section {
    /// Adds a run.
    ///
    /// # Errors
    /// [`FormatError::Impossible`] where the rows would no longer have numbers of 32 bits.
    pub fn push(&mut self, run: Run) -> Result<()> {
        self.firsts.push(self.rows);
        self.rows = self.rows.checked_add(run.rows).ok_or(FormatError::Impossible("number of rows"))?;
        self.runs.push(run);
        Ok(())
    }

    /// Rows in all runs.
    #[must_use]
    pub const fn rows(&self) -> u32 {
        self.rows
    }

    /// The runs.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The number of the first row of run `run`.
    #[must_use]
    pub fn first_row(&self, run: usize) -> u32 {
        self.firsts[run]
    }

    /// The run that holds row `row`, and the row's place in it.
    #[must_use]
    pub fn find(&self, row: u32) -> Option<(usize, usize)> {
        if row >= self.rows {
            return None;
        }
        let run = self.firsts.partition_point(|first| *first <= row) - 1;
        Some((run, (row - self.firsts[run]) as usize))
    }

    /// Decodes a section whose runs have at most `most_rows` rows.
    fn decode(bytes: &mut Bytes<'_>, file_len: u64, most_rows: usize) -> Result<Self> {
        let mut section = Self::default();
        // Every run takes some bytes of the file, and its number of rows, which is not 0, one of the table at least.
        let most_runs = (file_len / 8).min(bytes.0.len() as u64);
        for run in table::decode::<5, Run>(bytes, most_runs)? {
            if run.frame.offset < Head::LEN as u64 || run.frame.end() > file_len {
                return Err(FormatError::Impossible("place of a run"));
            }
            // What a reader allocates for a run is bounded by its rows, and they may take no bytes at all.
            if run.rows as usize > most_rows {
                return Err(FormatError::Impossible("number of rows"));
            }
            section.push(run)?;
        }
        Ok(section)
    }
}

/// A pack that a catalog refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRef {
    /// The pack.
    pub id: PackId,
    /// Bytes of its file.
    pub file_len: u64,
}

/// Everything that says where the parts of a catalog are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// The records, in order.
    pub records: Section,
    /// Extents of the files that have several.
    pub extents: Section,
    /// Children of each directory, in the order of the directories' records.
    pub directories: Section,
    /// Births adopted from other backups, sorted.
    pub adopted: Section,
    /// The packs that places count in.
    pub packs: Vec<PackRef>,
}

impl Sections {
    /// Appends the encoded sections.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for section in [&self.records, &self.extents, &self.directories, &self.adopted] {
            table::encode(&section.runs, out);
        }
        out.extend_from_slice(&u32::try_from(self.packs.len()).expect("fewer than 2^32 packs").to_le_bytes());
        for pack in &self.packs {
            out.extend_from_slice(&pack.id.0);
            out.extend_from_slice(&pack.file_len.to_le_bytes());
        }
    }

    /// Decodes the sections of a catalog of `file_len` bytes.
    ///
    /// # Errors
    /// Where the bytes are not what [`Sections::encode`] could have written.
    pub fn decode(raw: &[u8], file_len: u64) -> Result<Self> {
        let mut bytes = Bytes(raw);
        let mut sections = Self {
            records: Section::decode(&mut bytes, file_len, MAX_RECORDS)?,
            extents: Section::decode(&mut bytes, file_len, EXTENT_ROWS)?,
            directories: Section::decode(&mut bytes, file_len, DIRECTORY_ROWS)?,
            adopted: Section::decode(&mut bytes, file_len, ADOPTED_ROWS)?,
            packs: Vec::new(),
        };
        for _ in 0..bytes.u32()? {
            sections.packs.push(PackRef { id: PackId(bytes.array()?), file_len: bytes.u64()? });
        }
        bytes.end()?;
        let whole = |run: &Run| run.rows as usize == DIRECTORY_ROWS;
        let runs = &sections.directories.runs;
        if sections.records.rows == 0 || !runs[..runs.len().saturating_sub(1)].iter().all(whole) {
            return Err(FormatError::Impossible("number of rows"));
        }
        Ok(sections)
    }
}

/// The end of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foot {
    /// The sealed [`Sections`].
    pub sections: Frame,
    /// The sealed point, as JSON.
    pub point: Frame,
    /// blake3 of every byte of the file before the foot.
    pub hash: [u8; 32],
}

impl Foot {
    /// Bytes of an encoded foot.
    pub const LEN: usize = 2 * Frame::LEN + 32 + file::FOOT_OVERHEAD;

    /// The encoded foot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.sections.encode(&mut out);
        self.point.encode(&mut out);
        out.extend_from_slice(&self.hash);
        file::close(FileKind::Catalog, &mut out);
        out
    }

    /// Decodes the foot of a catalog of `file_len` bytes.
    ///
    /// # Errors
    /// Where it is damaged, or points outside the file.
    pub fn decode(raw: &[u8], file_len: u64) -> Result<Self> {
        let mut bytes = file::opened(FileKind::Catalog, raw)?;
        let foot =
            Self { sections: Frame::decode(&mut bytes)?, point: Frame::decode(&mut bytes)?, hash: bytes.array()? };
        bytes.end()?;
        let inside = |frame: &Frame| frame.offset >= Head::LEN as u64 && frame.end() <= file_len;
        if inside(&foot.sections) && inside(&foot.point) {
            Ok(foot)
        } else {
            Err(FormatError::Impossible("place of the sections"))
        }
    }
}
