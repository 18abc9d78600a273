//! Where new data goes: every chunk is hashed, looked up, and packed only if no pack of the family holds it.

use std::collections::HashMap;

use super::Result;
use super::pack_table::PackTable;
use crate::format::catalog::PackRef;
use crate::format::pack::ChunkId;
use crate::format::record::Place;
use crate::index::{ChunkTable, Location, PackOf};
use crate::pack::{Class, PackOptions, Packed, Packer};
use crate::storage::Storage;

/// Takes chunks and says where they lie. The first chunk loads the table of known chunks and starts the packing threads: a backup that reads nothing pays for neither.
pub(super) struct ChunkStore<'a> {
    key: [u8; 32],
    storage: Storage,
    options: PackOptions,
    load: Option<Box<dyn FnOnce() -> Result<ChunkTable> + 'a>>,
    known: ChunkTable,
    /// Row of the table of known chunks of each pack of the session.
    session_rows: Vec<u32>,
    packer: Option<Packer>,
    /// The pack table of the catalog that will refer to the chunks.
    pub(super) packs: PackTable,
    is_dry: bool,
}

impl<'a> ChunkStore<'a> {
    /// A store for chunks; `load` gives the table of those that are known. A dry one hashes and keeps nothing.
    pub(super) fn new(
        key: [u8; 32],
        storage: Storage,
        options: PackOptions,
        is_dry: bool,
        load: impl FnOnce() -> Result<ChunkTable> + 'a,
    ) -> Self {
        Self {
            key,
            storage,
            options,
            load: Some(Box::new(load)),
            known: ChunkTable::default(),
            session_rows: Vec::new(),
            packer: None,
            packs: PackTable::default(),
            is_dry,
        }
    }

    /// Takes a chunk of at least one byte: its id, and where it lies (the pack as a row of `packs`).
    pub(super) fn put(&mut self, bytes: &[u8], class: Class) -> Result<(ChunkId, Place)> {
        let id = ChunkId::of(&self.key, bytes);
        if self.is_dry {
            return Ok((id, Place { pack: u32::MAX, block: u32::MAX, offset: 0 }));
        }
        if let Some(load) = self.load.take() {
            self.known = load()?;
        }
        if let Some(found) = self.known.find(&id) {
            let pack = self.packs.row(self.known.pack(found.pack));
            return Ok((id, Place { pack, block: found.block, offset: found.offset }));
        }
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new(self.storage.clone(), self.options)?),
        };
        let place = packer.add(id, bytes, class)?;
        while self.session_rows.len() <= place.pack as usize {
            let ordinal = u32::try_from(self.session_rows.len()).expect("fewer than 2^32 packs");
            self.session_rows.push(self.known.add_pack(PackOf::Session(ordinal)));
        }
        let row = self.session_rows[place.pack as usize];
        self.known.insert(id, Location { pack: row, block: place.block, offset: place.offset });
        let pack = self.packs.row(PackOf::Session(place.pack));
        Ok((id, Place { pack, ..place }))
    }

    /// Waits until everything is durable; the packs of the session, and the table of all that are referred to.
    pub(super) fn finish(mut self) -> Result<(Vec<Packed>, Vec<PackRef>)> {
        let packed = match self.packer.take() {
            Some(packer) => packer.finish()?,
            None => Vec::new(),
        };
        let named: HashMap<u32, PackRef> = packed.iter().map(|packed| (packed.ordinal, packed.pack)).collect();
        Ok((packed, self.packs.finish(&named)))
    }
}
