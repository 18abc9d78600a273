//! Comparing content by the ids of its chunks, where its places say nothing.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::table::{Chunk, Extent};
use crate::pack::BlockReader;

/// The ids of the chunks in some packs, for comparing content that lies in two places.
pub(super) struct ChunkIds {
    tables: LruCache<PackId, Arc<Vec<(ChunkId, Chunk)>>>,
}

impl ChunkIds {
    pub(super) fn new() -> Self {
        Self { tables: LruCache::new(const { NonZeroUsize::new(8).expect("8 is not zero") }) }
    }

    /// Whether `extents` hold exactly these chunks. Packs whose table cannot be read hold none: the content is stored anew.
    pub(super) fn are(
        &mut self,
        chunks: &[(u64, u32, ChunkId)],
        extents: &[Extent],
        packs: &[PackRef],
        blocks: &BlockReader,
    ) -> bool {
        let mut chunks = chunks.iter();
        for extent in extents {
            let Some(pack) = packs.get(extent.place.pack as usize) else { return false };
            let Some(table) = self.table(*pack, blocks) else { return false };
            let key = (extent.place.block, extent.place.offset);
            let Ok(mut row) = table.binary_search_by_key(&key, |(_, chunk)| (chunk.block, chunk.offset)) else {
                return false;
            };
            let mut at = extent.at;
            while at < extent.end() {
                let (Some((id, chunk)), Some(fresh)) = (table.get(row), chunks.next()) else { return false };
                if chunk.block != extent.place.block || *fresh != (at, chunk.len, *id) {
                    return false;
                }
                at += u64::from(chunk.len);
                row += 1;
            }
        }
        chunks.next().is_none()
    }

    fn table(&mut self, pack: PackRef, blocks: &BlockReader) -> Option<Arc<Vec<(ChunkId, Chunk)>>> {
        if let Some(table) = self.tables.get(&pack.id) {
            return Some(Arc::clone(table));
        }
        let table = Arc::new(blocks.pack(pack).and_then(|open| open.chunks()).ok()?);
        self.tables.put(pack.id, Arc::clone(&table));
        Some(table)
    }
}
