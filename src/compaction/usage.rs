//! What the catalogs that stay need of each pack.
//!
//! Owns the way from records to chunks. Refuses to judge. Invariant: what cannot be understood counts as needed. Memory: a bit for each chunk, some 24 bytes for
//! each chunk of the packs whose tables are at hand, and these are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bits::Bits;
use crate::cache::ByteCache;
use crate::catalog::{Catalog, CatalogError};
use crate::format::Number;
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::{Content, Place};
use crate::format::table::Chunk;
use crate::pack::{Pack, PackError};
use crate::storage::Storage;

/// Memory for the chunk tables of packs.
const TABLES_BYTES: usize = 64 << 20;

/// Memory for decoded blocks of the catalog that is scanned.
pub(super) const CATALOG_BYTES: usize = 16 << 20;

type Table = Vec<(ChunkId, Chunk)>;

/// What is needed of one pack.
#[derive(Debug)]
pub struct PackUse {
    /// The pack.
    pub pack: PackRef,
    /// The family that it belongs to.
    pub family: u32,
    /// Bytes of all chunks, not compressed.
    pub raw_bytes: u64,
    /// Bytes of those that are needed.
    pub live_bytes: u64,
    /// Rows of the table of chunks that are needed.
    pub(super) live: Bits,
    /// Needed as a whole, and not to be rewritten: its table cannot be read, or a catalog that names it cannot.
    pub is_fixed: bool,
    /// How many packs were needed before this one: packs that are rewritten keep the order in which their data is met.
    pub met: usize,
}

impl PackUse {
    /// Bytes of the file for which nobody has a use, as far as can be told: in proportion to the chunks.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        if self.is_fixed || self.raw_bytes == 0 {
            return 0;
        }
        let dead = u128::from(self.raw_bytes - self.live_bytes) * u128::from(self.pack.file_len);
        u64::try_from(dead / u128::from(self.raw_bytes)).unwrap_or(0)
    }
}

/// What the catalogs that stay need.
#[derive(Debug, Default)]
pub struct Usage {
    /// Each pack of which anything is needed, or that is fixed.
    pub packs: BTreeMap<PackId, PackUse>,
    /// Of each catalog that could be read, the packs that it lists.
    pub listed_by: BTreeMap<Number, Vec<PackRef>>,
    /// Catalogs that are damaged, but still say which packs they need.
    pub damaged: BTreeSet<Number>,
    /// Catalogs of which not even that is known: then nothing at all may go.
    pub unreadable: BTreeSet<Number>,
    /// What was wrong, a line each.
    pub problems: Vec<String>,
}

impl Usage {
    /// Whether anything of a pack is needed.
    #[must_use]
    pub fn needs(&self, pack: &PackId) -> bool {
        self.packs.get(pack).is_some_and(|used| used.is_fixed || used.live_bytes > 0)
    }

    /// The packs that damaged catalogs list: these cannot be revised.
    #[must_use]
    pub fn listed_by_damaged(&self) -> BTreeSet<PackId> {
        let lists = self.damaged.iter().filter_map(|number| self.listed_by.get(number));
        lists.flatten().map(|pack| pack.id).collect()
    }
}

/// Scans catalogs, one after another.
pub struct Scan<'a> {
    storage: &'a Storage,
    tables: ByteCache<PackId, Table>,
    usage: Usage,
}

impl<'a> Scan<'a> {
    /// A scan that has seen no catalog yet.
    #[must_use]
    pub fn new(storage: &'a Storage) -> Self {
        Self { storage, tables: ByteCache::new(TABLES_BYTES), usage: Usage::default() }
    }

    /// Adds what the catalog of backup `number` needs.
    pub fn catalog(&mut self, number: Number) {
        let cache = Arc::new(ByteCache::new(CATALOG_BYTES));
        let catalog = match Catalog::open(self.storage, number, cache) {
            Ok(catalog) => catalog,
            Err(error) => {
                self.usage.unreadable.insert(number);
                self.usage.problems.push(error.to_string());
                return;
            }
        };
        if let Err(error) = self.records(&catalog) {
            self.usage.damaged.insert(number);
            self.usage.problems.push(error.to_string());
            for pack in catalog.packs() {
                self.pack(*pack).is_fixed = true;
            }
        }
        self.usage.listed_by.insert(number, catalog.packs().to_vec());
    }

    /// What was found so far.
    #[must_use]
    pub const fn so_far(&self) -> &Usage {
        &self.usage
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Usage {
        self.usage
    }

    fn records(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.scan(|entry| {
            let record = entry.record();
            match record.content {
                Content::One(place) => {
                    let len = u32::try_from(record.meta.size).unwrap_or(u32::MAX);
                    self.run(catalog.packs(), place, len);
                }
                Content::Many { first, count } => catalog.extents(first, count, 0, |extent| {
                    self.run(catalog.packs(), extent.place, extent.len);
                    true
                })?,
                Content::None | Content::Inline | Content::Children(_) => {}
            }
            Ok(())
        })
    }

    /// The `len` bytes at `place` are needed.
    fn run(&mut self, packs: &[PackRef], place: Place, len: u32) {
        // The decoder has seen that the place is inside the list.
        let Some(pack) = packs.get(place.pack as usize).copied() else { return };
        let used = self.pack(pack);
        if used.is_fixed || used.live.is_all() {
            return;
        }
        let Ok(table) = self.table(pack) else {
            self.pack(pack).is_fixed = true;
            return;
        };
        let used = self.pack(pack);
        let begins_after = |chunk: &Chunk| (chunk.block, chunk.offset) > (place.block, place.offset);
        let first = table.partition_point(|(_, chunk)| !begins_after(chunk)).saturating_sub(1);
        let end = place.offset.saturating_add(len);
        let mut covered = place.offset;
        for (row, (_, chunk)) in (0..).zip(&table[..]).skip(first) {
            if chunk.block > place.block || chunk.block == place.block && chunk.offset >= end {
                break;
            }
            if chunk.block < place.block {
                continue;
            }
            if chunk.offset <= covered {
                covered = covered.max(chunk.offset.saturating_add(chunk.len));
            }
            if used.live.set(row) {
                used.live_bytes += u64::from(chunk.len);
            }
        }
        // A table that does not know of bytes that are needed does not say what can go.
        used.is_fixed |= covered < end;
    }

    /// What is known of a pack; met now, if it was not before.
    fn pack(&mut self, pack: PackRef) -> &mut PackUse {
        if !self.usage.packs.contains_key(&pack.id) {
            let met = self.usage.packs.len();
            let entered = match self.look(pack) {
                Ok((family, table)) => PackUse {
                    pack,
                    family,
                    raw_bytes: table.iter().map(|(_, chunk)| u64::from(chunk.len)).sum(),
                    live_bytes: 0,
                    live: Bits::new(u32::try_from(table.len()).unwrap_or(u32::MAX)),
                    is_fixed: false,
                    met,
                },
                Err(error) => {
                    self.usage.problems.push(error.to_string());
                    let (family, raw_bytes, live_bytes) = Default::default();
                    PackUse { pack, family, raw_bytes, live_bytes, live: Bits::new(0), is_fixed: true, met }
                }
            };
            self.usage.packs.insert(pack.id, entered);
        }
        self.usage.packs.get_mut(&pack.id).expect("entered just above")
    }

    fn look(&self, pack: PackRef) -> Result<(u32, Arc<Table>), PackError> {
        Ok((Pack::open_headless(self.storage, pack)?.family(), self.table(pack)?))
    }

    fn table(&self, pack: PackRef) -> Result<Arc<Table>, PackError> {
        self.tables.get(pack.id, || {
            let table = Pack::open_headless(self.storage, pack)?.chunks()?;
            let weight = table.capacity() * size_of::<(ChunkId, Chunk)>();
            Ok((table, weight))
        })
    }
}
