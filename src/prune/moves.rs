//! Copying the needed chunks of packs into new packs, and remembering where each went.
//!
//! Owns the map from old places to new ones. Refuses to know catalogs. Invariant: bytes that lay side by side and are all needed lie side by side again,
//! in one block, so that a run of a file's bytes stays one run; no chunk is copied whose bytes are not what its id says.

use std::collections::{BTreeMap, BTreeSet};

use super::usage::{PackUse, Usage};
use super::{PruneError, Result};
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::record::Place;
use crate::format::table::Chunk;
use crate::pack::{Class, Pack, PackError, PackOptions, Packer};
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
pub(super) struct Moves {
    packs: Vec<PackRef>,
    /// Runs of each block that was copied, by their first byte.
    blocks: BTreeMap<(PackId, u32), Vec<Moved>>,
    /// The packs that were copied.
    from: BTreeSet<PackId>,
}

impl Moves {
    /// The packs that were written.
    pub(super) fn packs(&self) -> &[PackRef] {
        &self.packs
    }

    /// Whether the needed chunks of a pack were copied.
    pub(super) fn has(&self, pack: &PackId) -> bool {
        self.from.contains(pack)
    }

    /// Where the `len` bytes at `place` of `pack` lie now, and in which pack; `None` if they were not copied, or not side by side.
    pub(super) fn find(&self, pack: &PackId, place: Place, len: u32) -> Option<(PackRef, Place)> {
        let runs = self.blocks.get(&(*pack, place.block))?;
        let at = runs.partition_point(|run| run.offset <= place.offset).checked_sub(1)?;
        let run = runs[at];
        let from_start = place.offset - run.offset;
        let fits = u64::from(from_start) + u64::from(len) <= u64::from(run.len);
        let to = Place { offset: run.to.offset + from_start, ..run.to };
        fits.then(|| (self.packs[run.to.pack as usize], to))
    }
}

/// Copies the needed chunks of `repacked`, family by family. A pack that turns out to be damaged is left as it is, and `told` is called.
pub(super) fn copy(
    store: &Store,
    usage: &Usage,
    repacked: &[PackRef],
    told: &mut dyn FnMut(PackError),
    step: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Moves> {
    let mut moves = Moves::default();
    let used: Vec<&PackUse> = repacked.iter().filter_map(|pack| usage.packs.get(&pack.id)).collect();
    for family in used.chunk_by(|one, next| one.family == next.family) {
        let chunking = &store.config().chunking;
        let options = PackOptions {
            family: family[0].family,
            level: chunking.zstd_level,
            small_block_bytes: chunking.small_block_bytes,
            large_block_bytes: chunking.large_block_bytes,
        };
        let mut copier = Copier { store, packer: Packer::new(store.storage().clone(), options)? };
        let before = moves.packs.len();
        let mut waiting = BTreeMap::new();
        for used in family {
            match copier.pack(used, step) {
                Ok(blocks) => _ = waiting.insert(used.pack.id, blocks),
                Err(PruneError::Pack(error)) if error.is_damage() => told(error),
                Err(error) => return Err(error),
            }
        }
        let packed = copier.packer.finish()?;
        let first = u32::try_from(before).expect("fewer than 2^32 packs");
        moves.packs.resize(before + packed.len(), PackRef { id: PackId([0; 32]), file_len: 0 });
        for packed in packed {
            moves.packs[before + packed.ordinal as usize] = packed.pack;
        }
        for (pack, blocks) in waiting {
            moves.from.insert(pack);
            for (block, mut runs) in blocks {
                runs.iter_mut().for_each(|run| run.to.pack += first);
                moves.blocks.insert((pack, block), runs);
            }
        }
    }
    Ok(moves)
}

struct Copier<'a> {
    store: &'a Store,
    packer: Packer,
}

type Blocks = Vec<(u32, Vec<Moved>)>;

impl Copier<'_> {
    fn pack(&mut self, used: &PackUse, step: &mut dyn FnMut(u64) -> Result<()>) -> Result<Blocks> {
        let pack = Pack::open(self.store.storage(), used.pack)?;
        let table = pack.chunks()?;
        let live = |row: usize| used.live.has(u32::try_from(row).unwrap_or(u32::MAX));
        let mut blocks = Vec::new();
        let rows: Vec<(usize, &(ChunkId, Chunk))> = table.iter().enumerate().filter(|(row, _)| live(*row)).collect();
        for rows in rows.chunk_by(|(_, (_, one)), (_, (_, next))| one.block == next.block) {
            let block = rows[0].1.1.block;
            step(pack.blocks().get(block as usize).map_or(0, |frame| frame.stored_len.into()))?;
            let chunks: Vec<(ChunkId, Chunk)> = rows.iter().map(|(_, chunk)| **chunk).collect();
            blocks.push((block, self.block(&pack, block, &chunks)?));
        }
        Ok(blocks)
    }

    fn block(&mut self, pack: &Pack, block: u32, chunks: &[(ChunkId, Chunk)]) -> Result<Vec<Moved>> {
        let bytes = pack.block(block)?;
        let key = &self.store.config().secrets.chunk_key;
        let of = |chunk: &Chunk| bytes.get(chunk.offset as usize..chunk.offset as usize + chunk.len as usize);
        let mut run = Vec::with_capacity(chunks.len());
        for (id, chunk) in chunks {
            let found = of(chunk).filter(|bytes| ChunkId::of(key, bytes) == *id);
            let found = found.ok_or(PackError::WrongChunk { pack: pack.id(), block, offset: chunk.offset })?;
            run.push((*id, found));
        }
        // Blocks of large files are the shorter ones: what was read at random stays so.
        let is_large = bytes.len() <= self.store.config().chunking.large_block_bytes as usize;
        let class = if is_large { Class::Large } else { Class::Small };
        let to = self.packer.add_run(&run, class)?;
        let mut moved: Vec<Moved> = Vec::new();
        let mut offset = to.offset;
        for (_, chunk) in chunks {
            match moved.last_mut() {
                Some(last) if last.offset + last.len == chunk.offset => last.len += chunk.len,
                _ => moved.push(Moved { offset: chunk.offset, len: chunk.len, to: Place { offset, ..to } }),
            }
            offset += chunk.len;
        }
        Ok(moved)
    }
}
