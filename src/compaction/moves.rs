//! Copying the needed chunks of packs into new packs, and remembering where each went.
//!
//! Owns the map from old places to new ones. Refuses to know catalogs. Invariant: bytes that lay side by side and are all needed lie side by side again,
//! in one block, so that a run of a file's bytes stays one run; no chunk is copied whose bytes are not what its id says.

use std::collections::{BTreeMap, BTreeSet};

use super::usage::{PackUse, Usage};
use super::{MoveError, Result};
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::Place;
use crate::format::table::Chunk;
use crate::pack::{Class, Pack, PackError, PackOptions, Packed, Packer};
use crate::repository::Store;

/// Chunks that lay side by side in a block, and where they lie now. `pack` of the place is a row of [`Moves::packs`].
#[derive(Clone, Copy, Debug)]
struct Moved {
    offset: u32,
    len: u32,
    to: Place,
}

/// Where chunks went.
#[derive(Debug, Default)]
pub struct Moves {
    packs: Vec<PackRef>,
    /// Runs of each block that was copied, by their first byte.
    blocks: BTreeMap<(PackId, u32), Vec<Moved>>,
    /// The packs that were copied.
    from: BTreeSet<PackId>,
}

impl Moves {
    /// The packs that were written.
    #[must_use]
    pub fn packs(&self) -> &[PackRef] {
        &self.packs
    }

    /// Whether the needed chunks of a pack were copied, as far as they could be read.
    #[must_use]
    pub fn has(&self, pack: &PackId) -> bool {
        self.from.contains(pack)
    }

    /// Where the `len` bytes at `place` of `pack` lie now, and in which pack; `None` if they were not copied, or not side by side.
    #[must_use]
    pub fn find(&self, pack: &PackId, place: Place, len: u32) -> Option<(PackRef, Place)> {
        let runs = self.blocks.get(&(*pack, place.block))?;
        let at = runs.partition_point(|run| run.offset <= place.offset).checked_sub(1)?;
        let run = runs[at];
        let from_start = place.offset - run.offset;
        let fits = u64::from(from_start) + u64::from(len) <= u64::from(run.len);
        let to = || Place { offset: run.to.offset + from_start, ..run.to };
        fits.then(|| (self.packs[run.to.pack as usize], to()))
    }
}

/// What to do with a pack of which something cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Leave all of it where it is.
    Leave,
    /// Copy each chunk whose bytes are those that its id names, out of damaged blocks, too.
    Salvage,
}

impl Moves {
    /// Copies the needed chunks of `packs`, family by family, into new packs, which are durable in the end. `step` is told the stored bytes of each block that is about to be read, and answers whether
    /// to go on; `told` gets what was wrong with a pack, of which nothing was moved then.
    ///
    /// # Errors
    /// Where a pack cannot be read for another reason than damage, new packs cannot be written, or it was stopped.
    pub fn copy(
        store: &Store,
        usage: &Usage,
        packs: &[PackRef],
        on_damage: OnDamage,
        told: &mut dyn FnMut(PackError),
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self> {
        let mut moves = Self::default();
        let mut used: Vec<&PackUse> = packs.iter().filter_map(|pack| usage.packs.get(&pack.id)).collect();
        used.sort_by_key(|used| (used.family, used.met));
        for family in used.chunk_by(|one, next| one.family == next.family) {
            let chunking = &store.config().chunking;
            let options = PackOptions {
                family: family[0].family,
                level: chunking.zstd_level,
                small_block_bytes: chunking.small_block_bytes,
                large_block_bytes: chunking.large_block_bytes,
            };
            let mut copier = Copier { store, packer: Packer::new(store.storage().clone(), options)?, on_damage };
            let mut copied = BTreeMap::new();
            for used in family {
                match copier.pack(used, step) {
                    Ok(blocks) => _ = copied.insert(used.pack.id, blocks),
                    Err(MoveError::Pack(error)) if error.is_damage() => told(error),
                    Err(error) => return Err(error),
                }
            }
            moves.add(copied, copier.packer.finish()?);
        }
        Ok(moves)
    }

    fn add(&mut self, copied: BTreeMap<PackId, Blocks>, packed: Vec<Packed>) {
        let first = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs");
        let mut packed: Vec<(u32, PackRef)> = packed.into_iter().map(|packed| (packed.ordinal, packed.pack)).collect();
        packed.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        self.packs.extend(packed.into_iter().map(|(_, pack)| pack));
        for (pack, blocks) in copied {
            self.from.insert(pack);
            for (block, mut runs) in blocks {
                runs.iter_mut().for_each(|run| run.to.pack += first);
                self.blocks.insert((pack, block), runs);
            }
        }
    }
}

struct Copier<'a> {
    store: &'a Store,
    packer: Packer,
    on_damage: OnDamage,
}

type Blocks = Vec<(u32, Vec<Moved>)>;

impl Copier<'_> {
    fn pack(&mut self, used: &PackUse, step: &mut dyn FnMut(u64) -> bool) -> Result<Blocks> {
        let open = match self.on_damage {
            OnDamage::Leave => Pack::open,
            OnDamage::Salvage => Pack::open_headless,
        };
        let pack = open(self.store.storage(), used.pack)?;
        let table = pack.chunks()?;
        let live = |row: usize| used.live.has(u32::try_from(row).unwrap_or(u32::MAX));
        let mut blocks = Vec::new();
        let mut rows: Vec<(usize, &(ChunkId, Chunk))> =
            table.iter().enumerate().filter(|(row, _)| live(*row)).collect();
        // What a sound table has: then a block's rows are no more bytes than the block.
        rows.dedup_by(|(_, (_, next)), (_, (_, one))| {
            one.block == next.block && next.offset < one.offset.saturating_add(one.len)
        });
        for rows in rows.chunk_by(|(_, (_, one)), (_, (_, next))| one.block == next.block) {
            let block = rows[0].1.1.block;
            if !step(pack.blocks().get(block as usize).map_or(0, |frame| frame.stored_len.into())) {
                return Err(MoveError::Stopped);
            }
            let chunks: Vec<(ChunkId, Chunk)> = rows.iter().map(|(_, chunk)| **chunk).collect();
            blocks.push((block, self.block(&pack, block, &chunks)?));
        }
        Ok(blocks)
    }

    fn block(&mut self, pack: &Pack, block: u32, chunks: &[(ChunkId, Chunk)]) -> Result<Vec<Moved>> {
        let bytes = match (pack.block(block), self.on_damage) {
            (Err(error), OnDamage::Salvage) if error.is_damage() => match pack.damaged_block(block) {
                // This block costs what lies in it, and no other.
                Err(error) if error.is_damage() => return Ok(Vec::new()),
                answer => answer?,
            },
            (answer, _) => answer?,
        };
        let key = &self.store.config().secrets.chunk_key;
        let of = |chunk: &Chunk| bytes.get(chunk.offset as usize..chunk.offset as usize + chunk.len as usize);
        let mut run = Vec::with_capacity(chunks.len());
        let mut kept = Vec::with_capacity(chunks.len());
        for (id, chunk) in chunks {
            match of(chunk).filter(|bytes| ChunkId::of(key, bytes) == *id) {
                Some(bytes) => {
                    run.push((*id, bytes));
                    kept.push(chunk);
                }
                None if self.on_damage == OnDamage::Salvage => {}
                None => {
                    return Err(PackError::WrongChunk { pack: pack.id(), block, offset: chunk.offset }.into());
                }
            }
        }
        if run.is_empty() {
            return Ok(Vec::new());
        }
        // Blocks of large files are the shorter ones: what was read at random stays so.
        let is_large = bytes.len() <= self.store.config().chunking.large_block_bytes as usize;
        let class = if is_large { Class::Large } else { Class::Small };
        let to = self.packer.add_run(&run, class)?;
        let mut moved: Vec<Moved> = Vec::new();
        let mut offset = to.offset;
        for chunk in kept {
            match moved.last_mut() {
                Some(last) if last.offset + last.len == chunk.offset => last.len += chunk.len,
                _ => moved.push(Moved { offset: chunk.offset, len: chunk.len, to: Place { offset, ..to } }),
            }
            offset += chunk.len;
        }
        Ok(moved)
    }
}
