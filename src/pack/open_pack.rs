//! A pack that is being written: blocks arrive in any order, from any thread.

use std::sync::{Mutex, PoisonError};

use super::Result;
use crate::format::catalog::PackRef;
use crate::format::file::{FileKind, Head};
use crate::format::layout;
use crate::format::pack::{ChunkId, Foot, encode_blocks, encode_chunks, head_check};
use crate::format::seal::{Frame, Sealer};
use crate::format::table::Chunk;
use crate::storage::{NewFile, Replace, Storage};

/// After so many bytes the kernel is asked to begin writing them out.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A pack under construction.
pub(super) struct OpenPack {
    /// Which pack of its session this is.
    pub(super) ordinal: u32,
    state: Mutex<State>,
}

struct State {
    file: NewFile,
    family: u32,
    head_check: u32,
    blocks: Vec<Option<Frame>>,
    chunks: Vec<Vec<(ChunkId, Chunk)>>,
    missing: usize,
    is_closed: bool,
    handed_to_disk: u64,
}

impl State {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all(bytes)?)
    }
}

impl OpenPack {
    pub(super) fn create(storage: &Storage, ordinal: u32, family: u32) -> Result<Self> {
        let mut id = [0; 16];
        crate::random::fill(&mut id);
        let head = Head { id }.encode(FileKind::Pack);
        let mut state = State {
            file: storage.create(layout::PACKS)?,
            family,
            head_check: head_check(&head),
            blocks: Vec::new(),
            chunks: Vec::new(),
            missing: 0,
            is_closed: false,
            handed_to_disk: 0,
        };
        state.append(&head)?;
        Ok(Self { ordinal, state: Mutex::new(state) })
    }

    /// Takes the next block number; the block follows with [`OpenPack::put`].
    pub(super) fn announce_block(&self) -> u32 {
        let mut state = self.lock();
        state.blocks.push(None);
        state.chunks.push(Vec::new());
        state.missing += 1;
        u32::try_from(state.blocks.len() - 1).expect("a pack is bounded long before")
    }

    /// Writes an announced block. Answers whether the pack is complete now.
    pub(super) fn put(
        &self,
        block: u32,
        mut frame: Frame,
        stored: &[u8],
        chunks: Vec<(ChunkId, Chunk)>,
    ) -> Result<bool> {
        let mut state = self.lock();
        frame.offset = state.file.len();
        state.append(stored)?;
        state.blocks[block as usize] = Some(frame);
        state.chunks[block as usize] = chunks;
        state.missing -= 1;
        if state.file.len() - state.handed_to_disk >= WRITEBACK_BYTES {
            state.file.start_writeback()?;
            state.handed_to_disk = state.file.len();
        }
        Ok(state.is_closed && state.missing == 0)
    }

    /// No more blocks will be announced. Answers whether the pack is complete now.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        state.is_closed = true;
        state.missing == 0
    }

    /// Writes the tables of a complete pack and makes it durable under its name.
    pub(super) fn finish(self, sealer: &mut Sealer) -> Result<(PackRef, Vec<(ChunkId, Chunk)>)> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let blocks: Vec<Frame> =
            state.blocks.iter().map(|block| block.expect("a complete pack has all its blocks")).collect();
        let chunks: Vec<(ChunkId, Chunk)> = std::mem::take(&mut state.chunks).into_iter().flatten().collect();
        let mut table = |state: &mut State, raw: &[u8]| {
            let mut stored = Vec::new();
            let frame = sealer.seal(raw, state.file.len(), &mut stored);
            state.append(&stored).map(|()| frame)
        };
        let blocks = table(&mut state, &encode_blocks(&blocks))?;
        let chunk_table = table(&mut state, &encode_chunks(&chunks))?;
        let foot = Foot { blocks, chunks: chunk_table, family: state.family, head_check: state.head_check };
        state.append(&foot.encode())?;
        let id = foot.name();
        let file_len = state.file.len();
        state.file.finish(&layout::pack(&id), Replace::Never)?;
        Ok((PackRef { id, file_len }, chunks))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
