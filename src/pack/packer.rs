//! Chunks become blocks, blocks become packs.

use std::sync::Arc;

use super::Result;
pub use super::compress::Packed;
use super::compress::{Compressors, Job};
use super::open_pack::OpenPack;
use crate::format::pack::ChunkId;
use crate::format::record::Place;
use crate::format::seal::MAX_RAW_BYTES;
use crate::format::table::Chunk;
use crate::storage::Storage;

/// A pack is closed when it has taken this many bytes of data: some tens of megabytes when they are compressed.
const PACK_RAW_BYTES: u64 = 128 << 20;
/// A pack is closed when it has taken this many chunks, so that its table stays far below what a reader allocates.
const PACK_CHUNKS: u32 = 1 << 16;

/// What kind of file a chunk comes from: small files travel together in large blocks, large files are read at random and lie in smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A whole small file.
    Small,
    /// A part of a large file.
    Large,
}

/// How packs are written.
#[derive(Clone, Copy, Debug)]
pub struct PackOptions {
    /// The family that its packs belong to.
    pub family: u32,
    /// zstd level.
    pub level: i32,
    /// Bytes of a block of small files.
    pub small_block_bytes: u32,
    /// Bytes of a block of a large file.
    pub large_block_bytes: u32,
}

/// Writes packs. A place that it gives counts packs from 0 in the order of the session, until [`Packer::finish`] names them.
pub struct Packer {
    storage: Storage,
    options: PackOptions,
    compressors: Compressors,
    pack: Option<Current>,
    next_ordinal: u32,
}

struct Current {
    pack: Arc<OpenPack>,
    raw_bytes: u64,
    chunks: u32,
    groups: [Option<Group>; 2],
}

struct Group {
    block: u32,
    class: Class,
    raw: Vec<u8>,
    chunks: Vec<(ChunkId, Chunk)>,
}

impl Packer {
    /// A packer with nothing written yet: the first pack is begun by the first chunk.
    ///
    /// # Errors
    /// Where threads cannot be started.
    pub fn new(storage: Storage, options: PackOptions) -> Result<Self> {
        let compressors = Compressors::start(options.level)?;
        Ok(Self { storage, options, compressors, pack: None, next_ordinal: 0 })
    }

    /// Adds a chunk of 1 byte to [`MAX_RAW_BYTES`]. What is returned as `pack` is the pack's place in the session.
    ///
    /// # Errors
    /// Where a pack, this or an earlier one, cannot be written.
    pub fn add(&mut self, id: ChunkId, bytes: &[u8], class: Class) -> Result<Place> {
        self.add_run(&[(id, bytes)], class)
    }

    /// Adds chunks as [`Packer::add`] does, side by side in one block, and returns the place of the first. Together they have at most [`MAX_RAW_BYTES`].
    ///
    /// # Errors
    /// As [`Packer::add`].
    pub fn add_run(&mut self, run: &[(ChunkId, &[u8])], class: Class) -> Result<Place> {
        let run_bytes: usize = run.iter().map(|(_, bytes)| bytes.len()).sum();
        let len = u32::try_from(run_bytes).unwrap_or(u32::MAX);
        let has_bytes = run.iter().all(|(_, bytes)| !bytes.is_empty());
        assert!((1..=MAX_RAW_BYTES).contains(&len) && has_bytes, "chunks have some bytes, and fit in a block");
        let block_bytes = match class {
            Class::Small => self.options.small_block_bytes,
            Class::Large => self.options.large_block_bytes,
        };
        if self.pack.as_ref().is_some_and(|pack| pack.raw_bytes >= PACK_RAW_BYTES || pack.chunks >= PACK_CHUNKS) {
            self.close_pack()?;
        }
        let current = match &mut self.pack {
            Some(current) => current,
            none => {
                let pack = Arc::new(OpenPack::create(&self.storage, self.next_ordinal, self.options.family)?);
                self.next_ordinal += 1;
                none.insert(Current { pack, raw_bytes: 0, chunks: 0, groups: [None, None] })
            }
        };
        let slot = &mut current.groups[class as usize];
        if let Some(group) =
            slot.take_if(|group| !group.raw.is_empty() && group.raw.len() + run_bytes > block_bytes as usize)
        {
            self.compressors.submit(group.into_job(&current.pack))?;
        }
        let group = slot.get_or_insert_with(|| Group {
            block: current.pack.announce_block(),
            class,
            raw: self.compressors.buffer(),
            chunks: Vec::new(),
        });
        let offset = u32::try_from(group.raw.len()).expect("a block is bounded");
        for (id, bytes) in run {
            let offset = u32::try_from(group.raw.len()).expect("a block is bounded");
            let len = u32::try_from(bytes.len()).expect("a run is bounded");
            group.raw.extend_from_slice(bytes);
            group.chunks.push((*id, Chunk { block: group.block, offset, len }));
            current.chunks += 1;
        }
        current.raw_bytes += u64::from(len);
        let place = Place { pack: current.pack.ordinal, block: group.block, offset };
        if group.raw.len() >= block_bytes as usize
            && let Some(group) = slot.take()
        {
            self.compressors.submit(group.into_job(&current.pack))?;
        }
        Ok(place)
    }

    /// Closes the last pack and waits until all are durable; returns them.
    ///
    /// # Errors
    /// Where a pack cannot be written.
    pub fn finish(mut self) -> Result<Vec<Packed>> {
        self.close_pack()?;
        self.compressors.finish()
    }

    fn close_pack(&mut self) -> Result<()> {
        let Some(current) = self.pack.take() else { return Ok(()) };
        for group in current.groups.into_iter().flatten() {
            self.compressors.submit(group.into_job(&current.pack))?;
        }
        if current.pack.close() {
            self.compressors.complete(current.pack)?;
        }
        self.compressors.check()
    }
}

impl Group {
    fn into_job(self, pack: &Arc<OpenPack>) -> Job {
        Job { pack: Arc::clone(pack), block: self.block, class: self.class, raw: self.raw, chunks: self.chunks }
    }
}
