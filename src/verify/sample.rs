//! Some files of a point, read as a restore reads them.
//!
//! Owns which files, always the same ones of a point, and holding their bytes against the ids of their chunks. Refuses to read packs that it is not given.

use std::collections::{BTreeMap, BTreeSet};

use super::DamageError;
use super::packs::drawn;
use crate::catalog::{Catalog, CatalogError, Entry};
use crate::format::Kind;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::{Content, Flags};
use crate::repository::{FileChunk, FileChunks, ReadError, Reader};

/// Files that are read.
const FILES: usize = 16;
/// Of each, no more than about so many bytes.
const FILE_BYTES: u64 = 8 << 20;

/// Reads some files of `catalog` whose data lies in `packs` alone; answers their bytes.
pub(super) fn extract(
    reader: &Reader,
    catalog: &Catalog,
    packs: &BTreeSet<PackId>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<u64, DamageError> {
    let chunks = FileChunks::new(reader);
    let mut bytes = 0;
    for entry in chosen(catalog, packs)?.values() {
        if is_stopped() {
            break;
        }
        bytes += extract_one(reader, &chunks, catalog, entry)?;
    }
    Ok(bytes)
}

/// The files with the lowest numbers, each drawn for its record.
fn chosen(catalog: &Catalog, packs: &BTreeSet<PackId>) -> Result<BTreeMap<u64, Entry>, CatalogError> {
    let rows: BTreeSet<u32> =
        (0..).zip(catalog.packs()).filter(|(_, pack)| packs.contains(&pack.id)).map(|(row, _)| row).collect();
    let seed = catalog.point().id.0;
    let mut chosen: BTreeMap<u64, Entry> = BTreeMap::new();
    catalog.scan(|entry| {
        let record = entry.record();
        if record.meta.kind != Kind::File || record.flags.has(Flags::NO_CONTENT) {
            return Ok(());
        }
        let number = drawn(&seed, &[b"file", &entry.number().to_le_bytes()]);
        let is_low = chosen.len() < FILES || chosen.keys().next_back().is_some_and(|highest| number < *highest);
        if is_low && lies_in(catalog, &entry, &rows)? {
            chosen.insert(number, entry);
            if chosen.len() > FILES {
                chosen.pop_last();
            }
        }
        Ok::<_, CatalogError>(())
    })?;
    Ok(chosen)
}

/// Whether a file has data in packs, and all of it in those of `rows`.
fn lies_in(catalog: &Catalog, entry: &Entry, rows: &BTreeSet<u32>) -> Result<bool, CatalogError> {
    match entry.record().content {
        Content::One(place) => Ok(rows.contains(&place.pack)),
        Content::Many { first, count } => {
            let mut is_in = true;
            catalog.extents(first, count, 0, |extent| {
                is_in = rows.contains(&extent.place.pack);
                is_in
            })?;
            Ok(is_in)
        }
        Content::None | Content::Inline | Content::Children(_) => Ok(false),
    }
}

fn extract_one(reader: &Reader, chunks: &FileChunks<'_>, catalog: &Catalog, entry: &Entry) -> Result<u64, DamageError> {
    let key = &reader.store().config().secrets.chunk_key;
    let number = catalog.point().number;
    let (mut bytes, mut read, mut fault) = (0, Vec::new(), None);
    chunks.each(catalog, entry, |FileChunk { at, len, id }| {
        read.clear();
        match reader.read(catalog, entry, at, len as usize, &mut read) {
            Err(error) => fault = Some(error.into()),
            Ok(()) if read.len() != len as usize || ChunkId::of(key, &read) != id => {
                fault = Some(DamageError::WrongFile { number, record: entry.number(), at });
            }
            Ok(()) => bytes += u64::from(len),
        }
        fault.is_none() && bytes < FILE_BYTES
    })?;
    fault.map_or(Ok(bytes), Err)
}

impl From<ReadError> for DamageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Catalog(error) => error.into(),
            ReadError::Pack(error) => error.into(),
            ReadError::NeverRead => Self::NoContent,
        }
    }
}
