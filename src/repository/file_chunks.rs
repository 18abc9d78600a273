//! The chunks that a file of a point is made of, and their ids: what its places do not say, the tables of packs do.
//!
//! Owns the way from a record to ids. Refuses to read any data. Invariant: the chunks of a file come in its order, and none reaches over the end of a run.

use std::sync::Arc;

use super::{ReadError, Reader};
use crate::cache::ByteCache;
use crate::catalog::{Catalog, Entry};
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::{Content, Place};
use crate::format::table::{Chunk, Extent};
use crate::pack::PackError;

type Table = Vec<(ChunkId, Chunk)>;

/// Memory for tables of chunks.
const TABLES_BYTES: usize = 24 << 20;

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChunk {
    /// Where it begins in the file.
    pub at: u64,
    /// Its bytes.
    pub len: u32,
    /// Its id.
    pub id: ChunkId,
}

/// Finds the chunks of files; holds some tables.
pub struct FileChunks<'a> {
    reader: &'a Reader,
    tables: ByteCache<PackId, Table>,
}

impl<'a> FileChunks<'a> {
    /// Finds chunks in the store of `reader`.
    #[must_use]
    pub fn new(reader: &'a Reader) -> Self {
        Self { reader, tables: ByteCache::new(TABLES_BYTES) }
    }

    /// Gives `take` the chunks of a file in its order; `take` answers whether it wants more. A file with nothing in packs has none.
    ///
    /// # Errors
    /// A catalog or a pack's table is damaged, or they do not fit.
    pub fn each(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        mut take: impl FnMut(FileChunk) -> bool,
    ) -> Result<(), ReadError> {
        match entry.record().content {
            Content::One(place) => {
                let len = u32::try_from(entry.record().meta.size).unwrap_or(u32::MAX);
                self.run(catalog, Extent { at: 0, len, place }, &mut take).map(drop)
            }
            Content::Many { first, count } => {
                let mut failure = None;
                catalog.extents(first, count, 0, |extent| match self.run(catalog, *extent, &mut take) {
                    Ok(wants_more) => wants_more,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                })?;
                failure.map_or(Ok(()), Err)
            }
            Content::None | Content::Inline | Content::Children(_) => Ok(()),
        }
    }

    /// The chunks of one run; answers whether more are wanted.
    fn run(
        &self,
        catalog: &Catalog,
        extent: Extent,
        take: &mut impl FnMut(FileChunk) -> bool,
    ) -> Result<bool, ReadError> {
        let Extent { mut at, len: mut left, place: Place { pack, block, mut offset } } = extent;
        let no_place = |pack| PackError::NoSuchPlace { pack, block, offset: extent.place.offset, len: extent.len };
        let Some(pack) = catalog.packs().get(pack as usize).copied() else {
            return Err(no_place(PackId([0; 32])).into());
        };
        let table = self.tables.get(pack.id, || {
            let table = self.reader.blocks().pack(pack)?.chunks()?;
            let weight = table.capacity() * size_of::<(ChunkId, Chunk)>();
            Ok::<_, PackError>((table, weight))
        })?;
        let table: Arc<Table> = table;
        let first = table.partition_point(|(_, chunk)| (chunk.block, chunk.offset) < (block, offset));
        for (id, chunk) in &table[first..] {
            if left == 0 {
                break;
            }
            if (chunk.block, chunk.offset) != (block, offset) || chunk.len > left || chunk.len == 0 {
                return Err(no_place(pack.id).into());
            }
            if !take(FileChunk { at, len: chunk.len, id: *id }) {
                return Ok(false);
            }
            at += u64::from(chunk.len);
            offset = offset.saturating_add(chunk.len);
            left -= chunk.len;
        }
        if left == 0 { Ok(true) } else { Err(no_place(pack.id).into()) }
    }
}
