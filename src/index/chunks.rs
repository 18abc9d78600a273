//! Where each chunk lies: a compact table in memory, filled from the tables of the packs.

use hashbrown::HashTable;

use crate::format::catalog::PackRef;
use crate::format::pack::ChunkId;

/// A pack as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackOf {
    /// A pack of the store.
    Stored(PackRef),
    /// A pack of the session that is being written, by its place in the session.
    Session(u32),
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack's row in the table's own list.
    pub pack: u32,
    /// The block in the pack.
    pub block: u32,
    /// First byte in the block.
    pub offset: u32,
}

struct Slot {
    id: ChunkId,
    location: Location,
}

/// Every chunk that a backup may refer to, some 32 bytes of memory each.
#[derive(Default)]
pub struct ChunkTable {
    slots: HashTable<Slot>,
    packs: Vec<PackOf>,
}

impl ChunkTable {
    /// An empty table with room for so many chunks: one that grows is copied, and for a moment there twice.
    #[must_use]
    pub fn with_room_for(chunks: usize) -> Self {
        Self { slots: HashTable::with_capacity(chunks), packs: Vec::new() }
    }

    /// Adds a pack and returns its row.
    pub fn add_pack(&mut self, pack: PackOf) -> u32 {
        self.packs.push(pack);
        u32::try_from(self.packs.len() - 1).expect("fewer than 2^32 packs")
    }

    /// The pack in a row that [`ChunkTable::add_pack`] returned.
    #[must_use]
    pub fn pack(&self, row: u32) -> PackOf {
        self.packs[row as usize]
    }

    /// Enters a chunk; the first place of a chunk stays.
    pub fn insert(&mut self, id: ChunkId, location: Location) {
        let hash = hash(&id);
        if self.slots.find(hash, |slot| slot.id == id).is_none() {
            self.slots.insert_unique(hash, Slot { id, location }, |slot| self::hash(&slot.id));
        }
    }

    /// Where a chunk lies, if it is known.
    #[must_use]
    pub fn find(&self, id: &ChunkId) -> Option<Location> {
        self.slots.find(hash(id), |slot| slot.id == *id).map(|slot| slot.location)
    }

    /// Chunks in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// The id is a keyed hash already; its first bytes serve the table.
fn hash(id: &ChunkId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
