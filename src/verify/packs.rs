//! The pass over the packs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Damage, DamageError, Depth, Event, Harm, Object, Progress, Report, VerifyError};
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::table::Chunk;
use crate::format::{FormatError, layout};
use crate::pack::{Pack, PackError};
use crate::repository::Reader;
use crate::storage::StorageError;

/// Threads that read packs.
const THREADS: usize = 2;

/// Which blocks of each pack are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    None,
    All,
    /// Some, and of each pack one at least; the same for the same seed.
    Sample([u8; 16]),
}

/// Of a sample, one block in so many.
const SAMPLED: u64 = 16;

impl From<Depth> for Blocks {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Structure => Self::None,
            Depth::Data => Self::All,
        }
    }
}

impl Blocks {
    /// Whether block `block`, of `count`, of a pack is read.
    fn has(self, pack: &PackId, block: u32, count: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Sample(seed) => {
                let drawn = |what: &[u8]| drawn(&seed, &[&pack.0, what]);
                drawn(b"one") % count.max(1) as u64 == u64::from(block) || drawn(&block.to_le_bytes()) % SAMPLED == 0
            }
        }
    }
}

/// A number that looks as if drawn by chance, and is the same for the same seed and parts.
pub(super) fn drawn(seed: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed);
    for part in parts {
        hasher.update(part);
    }
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    u64::from_le_bytes(number)
}

/// Counts bytes and tells whoever wants to know.
pub(super) struct Meter<'a> {
    done: AtomicU64,
    total: u64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Meter<'a> {
    pub(super) fn new(total: u64, tell: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { done: AtomicU64::new(0), total, tell }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done_bytes = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.tell)(Progress { done_bytes: done_bytes.min(self.total), total_bytes: self.total });
    }
}

/// What is known of a pack.
#[derive(Debug, Default)]
pub(super) struct PackState {
    pub(super) file_len: u64,
    pub(super) is_referred_to: bool,
    /// Bytes of each block, opened.
    raw_lens: Vec<u32>,
    /// Nothing in it can be read.
    is_lost: bool,
    /// All of it can be read, but it is not as it was written.
    is_latent: bool,
    bad_blocks: BTreeSet<u32>,
}

/// What is known of all packs.
#[derive(Debug, Default)]
pub(super) struct PackStates(BTreeMap<PackId, PackState>);

impl PackStates {
    /// Whether the pack was there when packs were looked at.
    pub(super) fn knows(&self, pack: &PackId) -> bool {
        self.0.contains_key(pack)
    }

    /// Notes that a catalog refers to a pack. Answers what is wrong with it, if this is the first to know.
    pub(super) fn refer(&mut self, PackRef { id: pack, file_len }: PackRef) -> Option<Damage> {
        let damage = |error| Some(Damage { object: Object::Pack(pack), error, harm: Harm::Data });
        let Some(state) = self.0.get_mut(&pack) else {
            let lost = PackState { is_lost: true, is_referred_to: true, ..PackState::default() };
            self.0.insert(pack, lost);
            return damage(DamageError::NoPack { pack });
        };
        state.is_referred_to = true;
        if state.file_len != file_len && !state.is_lost {
            state.is_lost = true;
            return damage(PackError::Length { pack, found: state.file_len, expected: file_len }.into());
        }
        None
    }

    /// Whether anything is wrong with the pack.
    pub(super) fn is_hurt(&self, pack: &PackId) -> bool {
        self.0.get(pack).is_none_or(|state| state.is_lost || state.is_latent || !state.bad_blocks.is_empty())
    }

    /// Whether all that refers to the pack must be told, although every block can be read.
    pub(super) fn is_latent(&self, pack: &PackId) -> bool {
        self.0.get(pack).is_some_and(|state| state.is_latent)
    }

    /// The damage that takes a block with it.
    pub(super) fn harm(&self, pack: PackId, block: u32) -> Option<Object> {
        match self.0.get(&pack) {
            Some(state) if state.bad_blocks.contains(&block) => Some(Object::Block { pack, block }),
            Some(state) if !state.is_lost => None,
            _ => Some(Object::Pack(pack)),
        }
    }

    /// The length of a block, opened; `None` where there is no such block. Nothing is known of the blocks of a lost pack: `Some(None)`.
    pub(super) fn raw_len(&self, pack: &PackId, block: u32) -> Option<Option<u32>> {
        match self.0.get(pack) {
            Some(state) if !state.is_lost => state.raw_lens.get(block as usize).map(|len| Some(*len)),
            _ => Some(None),
        }
    }

    /// Packs that nothing refers to.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &PackState> {
        self.0.values().filter(|state| !state.is_referred_to)
    }
}

/// What looking at one pack gave.
struct Looked {
    pack: PackId,
    state: PackState,
    damages: Vec<Damage>,
    chunks: u64,
    /// Bytes of the blocks that were read, as they are stored.
    read_bytes: u64,
    /// It went after it was listed: a prune may remove what no catalog refers to. Where one does, that is found there.
    is_gone: bool,
}

/// Looks at every pack that is listed, until `is_stopped`.
pub(super) fn check(
    reader: &Reader,
    blocks: Blocks,
    listed: &[PackRef],
    is_stopped: &(dyn Fn() -> bool + Sync),
    meter: &Meter<'_>,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<PackStates, VerifyError> {
    let mut states = PackStates::default();
    let next = AtomicUsize::new(0);
    let (send, looked) = crossbeam_channel::bounded(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(listed.len()) {
            let (send, next) = (send.clone(), &next);
            let work = move || {
                while let Some(pack) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_stopped() || send.send(look(reader, blocks, *pack, meter)).is_err() {
                        break;
                    }
                }
            };
            std::thread::Builder::new()
                .name("verify".to_owned())
                .spawn_scoped(scope, work)
                .map_err(VerifyError::Thread)?;
        }
        drop(send);
        looked.into_iter().for_each(|looked| states.enter(looked, report, notify));
        Ok(states)
    })
}

/// Looks at a pack that was not listed and that a catalog refers to: a prune may have written it meanwhile, and a revision of the catalog. One that is not there is left to
/// whoever asks what is wrong with it.
pub(super) fn check_late(
    reader: &Reader,
    depth: Depth,
    pack: PackRef,
    states: &mut PackStates,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<(), StorageError> {
    if let Some(file_len) = reader.store().storage().len(&layout::pack(&pack.id))? {
        let meter = Meter::new(0, &|_| ());
        states.enter(look(reader, depth.into(), PackRef { file_len, ..pack }, &meter), report, notify);
    }
    Ok(())
}

impl PackStates {
    fn enter(&mut self, looked: Looked, report: &mut Report, notify: &mut dyn FnMut(Event<'_>)) {
        let Looked { pack, state, damages, chunks, read_bytes, is_gone } = looked;
        if is_gone {
            return;
        }
        report.packs += 1;
        report.pack_bytes += state.file_len;
        report.blocks += state.raw_lens.len() as u64;
        report.chunks += chunks;
        report.read_bytes += read_bytes;
        damages.into_iter().for_each(|damage| report.add(damage, notify));
        self.0.insert(pack, state);
    }
}

fn look(reader: &Reader, which: Blocks, listed: PackRef, meter: &Meter<'_>) -> Looked {
    let PackRef { id: pack, file_len } = listed;
    let mut looked = Looked {
        pack,
        state: PackState { file_len, ..PackState::default() },
        damages: Vec::new(),
        chunks: 0,
        read_bytes: 0,
        is_gone: false,
    };
    let open = match Pack::open(reader.store().storage(), listed) {
        Ok(open) => open,
        Err(PackError::Storage(error)) if error.is_not_found() => {
            looked.is_gone = true;
            meter.add(file_len);
            return looked;
        }
        Err(error) => {
            looked.state.is_lost = true;
            looked.damages.push(Damage { object: Object::Pack(pack), error: error.into(), harm: Harm::Data });
            meter.add(file_len);
            return looked;
        }
    };
    looked.state.raw_lens = open.blocks().iter().map(|frame| frame.raw_len).collect();
    let chunks = open.chunks();
    let chunks = match chunks {
        Ok(chunks) => Some(chunks),
        Err(error) => {
            looked.latent(error.into());
            None
        }
    };
    looked.chunks = chunks.as_ref().map_or(0, |chunks| chunks.len() as u64);
    if let Some(chunks) = &chunks {
        looked.chunks_lie_apart(chunks);
    }
    if !open.is_filled() {
        let (part, source) = ("whole file".to_owned(), FormatError::Impossible("length"));
        looked.latent(PackError::Damaged { pack, part, source }.into());
    }
    if which == Blocks::None {
        meter.add(file_len);
        return looked;
    }
    let key = &reader.store().config().secrets.chunk_key;
    let chunks = chunks.unwrap_or_default();
    let mut told = 0;
    let count = open.blocks().len();
    let is_wanted = |block| which.has(&pack, block, count);
    open.scan_some(is_wanted, |block, bytes| {
        match bytes {
            Ok(bytes) => looked.chunks_are_right(key, &chunks, block, bytes),
            Err(error) => looked.bad_block(block, error.into()),
        }
        let stored = u64::from(open.blocks()[block as usize].stored_len);
        told += stored;
        meter.add(stored);
    });
    looked.read_bytes = told;
    meter.add(file_len.saturating_sub(told));
    looked
}

impl Looked {
    fn latent(&mut self, error: DamageError) {
        self.state.is_latent = true;
        self.damages.push(Damage { object: Object::Pack(self.pack), error, harm: Harm::Latent });
    }

    fn bad_block(&mut self, block: u32, error: DamageError) {
        if self.state.bad_blocks.insert(block) {
            let object = Object::Block { pack: self.pack, block };
            self.damages.push(Damage { object, error, harm: Harm::Data });
        }
    }

    /// Chunks come in the order of their places, and do not overlap.
    fn chunks_lie_apart(&mut self, chunks: &[(ChunkId, Chunk)]) {
        for pair in chunks.windows(2) {
            let ((_, before), (_, after)) = (&pair[0], &pair[1]);
            let is_after = after.block > before.block
                || after.block == before.block && after.offset >= before.offset.saturating_add(before.len);
            if !is_after {
                self.latent(DamageError::Overlap { pack: self.pack, block: after.block });
                return;
            }
        }
    }

    fn chunks_are_right(&mut self, key: &[u8; 32], chunks: &[(ChunkId, Chunk)], block: u32, bytes: &[u8]) {
        let first = chunks.partition_point(|(_, chunk)| chunk.block < block);
        for (id, chunk) in chunks[first..].iter().take_while(|(_, chunk)| chunk.block == block) {
            let range = chunk.offset as usize..(chunk.offset as usize + chunk.len as usize);
            let is_right = bytes.get(range).is_some_and(|bytes| ChunkId::of(key, bytes) == *id);
            if !is_right {
                let error = DamageError::WrongChunk { pack: self.pack, block, offset: chunk.offset };
                self.bad_block(block, error);
                return;
            }
        }
    }
}
