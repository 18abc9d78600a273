//! Whether two files hold the same bytes, found out as cheaply as can be: by length, by place, by chunk id, and only then by reading.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::catalog::{Catalog, Entry, Result as CatalogResult};
use crate::format::FormatError;
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::Content;
use crate::format::table::{Chunk, Extent};
use crate::overlay::{Node, PointTree};
use crate::repository::{ReadError, Reader};

/// Bytes of each file that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Tables of chunks that are held.
const TABLES: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not zero");

/// The chunks of a pack, in the order of their places.
type Table = Vec<(ChunkId, Chunk)>;

/// Compares contents.
pub(super) struct Contents<'a> {
    reader: &'a Reader,
    tables: LruCache<PackId, Arc<Table>>,
}

/// A file of a catalog.
#[derive(Clone, Copy)]
struct File<'a> {
    catalog: &'a Catalog,
    entry: &'a Entry,
}

impl<'a> Contents<'a> {
    pub(super) fn new(reader: &'a Reader) -> Self {
        Self { reader, tables: LruCache::new(TABLES) }
    }

    /// Whether two files hold the same bytes; holes count as zeros.
    pub(super) fn are_same(&mut self, trees: [&PointTree; 2], nodes: [&Node; 2]) -> Result<bool, ReadError> {
        let [one, two] =
            [0, 1].map(|side| File { catalog: trees[side].catalog(nodes[side].layer), entry: &nodes[side].entry });
        if one.entry.record().meta.size != two.entry.record().meta.size {
            return Ok(false);
        }
        if let (Content::Inline, Content::Inline) = (one.entry.record().content, two.entry.record().content) {
            return Ok(one.entry.inline() == two.entry.inline());
        }
        if let (Some(before), Some(after)) = (extents(one)?, extents(two)?) {
            if before == after {
                return Ok(true);
            }
            if let (Some(before), Some(after)) = (self.chunks(&before), self.chunks(&after)) {
                let cuts =
                    |chunks: &[(u64, u32, ChunkId)]| chunks.iter().map(|(at, len, _)| (*at, *len)).collect::<Vec<_>>();
                if before == after {
                    return Ok(true);
                }
                // The same cuts and another chunk: another id is other bytes.
                if cuts(&before) == cuts(&after) {
                    return Ok(false);
                }
            }
        }
        self.read(one, two)
    }

    /// The chunks that extents are made of, where they begin in the file; `None` where they cannot be told.
    fn chunks(&mut self, extents: &[(PackRef, Extent)]) -> Option<Vec<(u64, u32, ChunkId)>> {
        let mut chunks = Vec::with_capacity(extents.len());
        for (pack, extent) in extents {
            let table = self.table(*pack)?;
            let key = (extent.place.block, extent.place.offset);
            let row = table.binary_search_by_key(&key, |(_, chunk)| (chunk.block, chunk.offset)).ok()?;
            let (mut at, mut offset) = (extent.at, extent.place.offset);
            for (id, chunk) in &table[row..] {
                if at == extent.end() {
                    break;
                }
                if (chunk.block, chunk.offset) != (extent.place.block, offset) {
                    return None;
                }
                chunks.push((at, chunk.len, *id));
                at = at.checked_add(chunk.len.into())?;
                offset = offset.checked_add(chunk.len)?;
            }
            if at != extent.end() {
                return None;
            }
        }
        Some(chunks)
    }

    /// A table that cannot be read is none: then the bytes decide.
    fn table(&mut self, pack: PackRef) -> Option<Arc<Table>> {
        if let Some(table) = self.tables.get(&pack.id) {
            return Some(Arc::clone(table));
        }
        let table = Arc::new(self.reader.blocks().pack(pack).and_then(|open| open.chunks()).ok()?);
        self.tables.put(pack.id, Arc::clone(&table));
        Some(table)
    }

    fn read(&self, one: File<'_>, two: File<'_>) -> Result<bool, ReadError> {
        let size = one.entry.record().meta.size;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < size {
            for (file, buffer) in [(one, &mut left), (two, &mut right)] {
                buffer.clear();
                self.reader.read(file.catalog, file.entry, at, READ_BYTES, buffer)?;
            }
            if left != right {
                return Ok(false);
            }
            at += left.len() as u64;
        }
        Ok(true)
    }
}

/// Where the bytes of a file lie; `None` where they lie in the catalog.
fn extents(File { catalog, entry }: File<'_>) -> CatalogResult<Option<Vec<(PackRef, Extent)>>> {
    let record = entry.record();
    let mut extents = Vec::new();
    match record.content {
        Content::Inline | Content::Children(_) => return Ok(None),
        Content::None => {}
        Content::One(place) => {
            let len = u32::try_from(record.meta.size).map_err(|_| crate::catalog::CatalogError::Damaged {
                number: catalog.point().number,
                part: format!("record {}", entry.number()),
                source: FormatError::Impossible("size"),
            })?;
            extents.push(Extent { at: 0, len, place });
        }
        Content::Many { first, count } => extents = catalog.all_extents(first, count)?,
    }
    // Rows of the catalog's own table of packs mean nothing in another: the pack stands beside the place.
    let named = extents.into_iter().map(|mut extent| {
        let pack = catalog.packs()[extent.place.pack as usize];
        extent.place.pack = 0;
        (pack, extent)
    });
    Ok(Some(named.collect()))
}
