//! The chunks that an earlier version of a file was made of: what its extents do not say, the tables of packs do.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use super::Result;
use crate::cache::ByteCache;
use crate::catalog::Catalog;
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::{Content, Record};
use crate::format::table::{Chunk, Extent};
use crate::pack::{BlockReader, PackError};

type Table = Vec<(ChunkId, Chunk)>;

/// Memory for the chunk tables of packs. An image that many backups have changed lies in as many packs, all in the order of the image: what
/// matters is that a table of each is held.
const TABLES_BYTES: usize = 24 << 20;

/// The ids of the chunks in some packs, for comparing content that lies in two places.
pub(super) struct ChunkIds {
    tables: ByteCache<PackId, Table>,
}

/// A chunk of an earlier version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Former {
    /// Where it began in the file.
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) id: ChunkId,
    /// Whether the run of data ended with it: then nothing says that its content did.
    pub(super) ends_run: bool,
}

impl ChunkIds {
    pub(super) fn new() -> Self {
        Self { tables: ByteCache::new(TABLES_BYTES) }
    }

    /// The chunks that lie in `extents`, in their order; `packs` are what the extents count packs by. None stands for chunks that are not known, because
    /// the table of their pack cannot be read or says something else.
    pub(super) fn of<'a>(
        &'a self,
        extents: Vec<Extent>,
        packs: &'a [PackRef],
        blocks: &'a BlockReader,
    ) -> impl Iterator<Item = Option<Former>> + 'a {
        Formers { ids: self, packs, blocks, extents: extents.into_iter().peekable(), run: None }
    }

    /// Whether `extents` hold exactly these chunks. Packs whose table cannot be read hold none: the content is stored anew.
    pub(super) fn are(
        &self,
        chunks: &[(u64, u32, ChunkId)],
        extents: Vec<Extent>,
        packs: &[PackRef],
        blocks: &BlockReader,
    ) -> bool {
        let formers = self.of(extents, packs, blocks);
        formers
            .map(|former| former.map(|former| (former.at, former.len, former.id)))
            .eq(chunks.iter().copied().map(Some))
    }

    fn table(&self, pack: PackRef, blocks: &BlockReader) -> Option<Arc<Table>> {
        let load = || {
            let table = blocks.pack(pack)?.chunks()?;
            let weight = table.capacity() * size_of::<(ChunkId, Chunk)>();
            Ok::<_, PackError>((table, weight))
        };
        self.tables.get(pack.id, load).ok()
    }
}

/// Where the data of a file lies; none if that is not in packs.
pub(super) fn extents_of(catalog: &Catalog, record: &Record) -> Result<Option<Vec<Extent>>> {
    Ok(match record.content {
        Content::One(place) => {
            let len = u32::try_from(record.meta.size).unwrap_or(u32::MAX);
            Some(vec![Extent { at: 0, len, place }])
        }
        Content::Many { first, count } => Some(catalog.all_extents(first, count)?),
        Content::None | Content::Inline | Content::Children(_) => None,
    })
}

struct Formers<'a> {
    ids: &'a ChunkIds,
    packs: &'a [PackRef],
    blocks: &'a BlockReader,
    extents: Peekable<vec::IntoIter<Extent>>,
    run: Option<Run>,
}

/// What is left of an extent.
struct Run {
    table: Arc<Table>,
    row: usize,
    extent: Extent,
}

impl Formers<'_> {
    /// The next chunk: of the extent that was begun, or the first of the next one.
    fn former(&mut self, begun: Option<Run>) -> Option<Former> {
        let Run { table, row, mut extent } = match begun {
            Some(run) => run,
            None => {
                let extent = self.extents.next()?;
                self.enter(extent)?
            }
        };
        let (id, chunk) = *table.get(row)?;
        let place = &mut extent.place;
        if (chunk.block, chunk.offset) != (place.block, place.offset) {
            return None;
        }
        let (at, left) = (extent.at, extent.len.checked_sub(chunk.len)?);
        place.offset = chunk.offset.saturating_add(chunk.len);
        (extent.at, extent.len) = (at.saturating_add(chunk.len.into()), left);
        let next_at = if left > 0 { Some(extent.at) } else { self.extents.peek().map(|next| next.at) };
        let ends_run = next_at != Some(extent.at);
        if left > 0 {
            self.run = Some(Run { table, row: row + 1, extent });
        }
        Some(Former { at, len: chunk.len, id, ends_run })
    }

    fn enter(&self, extent: Extent) -> Option<Run> {
        let pack = self.packs.get(extent.place.pack as usize)?;
        let table = self.ids.table(*pack, self.blocks)?;
        let key = (extent.place.block, extent.place.offset);
        let row = table.binary_search_by_key(&key, |(_, chunk)| (chunk.block, chunk.offset)).ok()?;
        Some(Run { table, row, extent })
    }
}

impl Iterator for Formers<'_> {
    type Item = Option<Former>;

    fn next(&mut self) -> Option<Self::Item> {
        let begun = self.run.take();
        if begun.is_none() {
            self.extents.peek()?;
        }
        Some(self.former(begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::Place;
    use crate::pack::{Class, PackOptions, Packer};
    use crate::storage::Storage;

    const OPTIONS: PackOptions =
        PackOptions { family: 0, level: 1, small_block_bytes: 1 << 20, large_block_bytes: 1_000 };

    /// A pack of five chunks of 400 bytes, two in each block, and where they lie.
    fn packed(storage: &Storage) -> (PackRef, Vec<(ChunkId, Place)>) {
        let mut packer = Packer::new(storage.clone(), OPTIONS).unwrap();
        let chunks = (1..=5).map(|number| {
            let id = ChunkId([number; 16]);
            (id, packer.add(id, &[number; 400], Class::Large).unwrap())
        });
        let chunks = chunks.collect();
        (packer.finish().unwrap().remove(0).pack, chunks)
    }

    #[test]
    fn extents_are_taken_apart_into_their_chunks() {
        let temp = tempfile::tempdir().unwrap();
        let storage = Storage::create_root(&temp.path().join("store")).unwrap();
        let (pack, chunks) = packed(&storage);
        let blocks = BlockReader::new(storage, ByteCache::new(0));
        let ids = ChunkIds::new();
        let extent = |at, len, chunk: usize| Extent { at, len, place: chunks[chunk].1 };
        let former = |at, chunk: usize, ends_run| Some(Former { at, len: 400, id: chunks[chunk].0, ends_run });
        let of = |extents, packs: &[PackRef]| ids.of(extents, packs, &blocks).collect::<Vec<_>>();

        let extents = vec![extent(0, 800, 0), extent(800, 400, 3), extent(5_000, 400, 4)];
        let expected = [former(0, 0, false), former(400, 1, false), former(800, 3, true), former(5_000, 4, true)];
        assert_eq!(of(extents.clone(), &[pack]), expected);
        let listed = expected.map(|former| former.map(|former| (former.at, former.len, former.id)).unwrap());
        assert!(ids.are(&listed, extents.clone(), &[pack], &blocks));
        assert!(!ids.are(&listed[..3], extents.clone(), &[pack], &blocks));
        assert!(!ids.are(&listed, extents[..2].to_vec(), &[pack], &blocks));
        assert!(!ids.are(&[], vec![extent(0, 1, 0)], &[pack], &blocks));

        // Each extent that no chunks are known of is one gap, whatever the reason, and what comes after it is known again.
        let inside = Place { offset: 1, ..chunks[0].1 };
        let elsewhere = Place { pack: 1, ..chunks[0].1 };
        let gone = PackRef { id: PackId([9; 32]), file_len: 1_000 };
        for (place, len) in [(inside, 400), (elsewhere, 400), (chunks[0].1, 399)] {
            let extents = vec![Extent { at: 0, len, place }, extent(400, 400, 4)];
            assert_eq!(of(extents, &[pack, gone]), [None, former(400, 4, true)]);
        }
        // An extent that is longer than its block has bytes.
        assert_eq!(of(vec![extent(0, 1_200, 0)], &[pack]), [former(0, 0, false), former(400, 1, false), None]);
        assert_eq!(of(vec![extent(u64::MAX - 3, 400, 0)], &[pack]).len(), 1);
    }
}
