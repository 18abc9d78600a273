//! Reading packs: one pack's tables, and runs of bytes through a cache of opened blocks.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::{PackError, Result};
use crate::cache::ByteCache;
use crate::format::FormatError;
use crate::format::catalog::PackRef;
use crate::format::file::{FileKind, Head};
use crate::format::layout;
use crate::format::pack::{ChunkId, Foot, PackId, decode_blocks, decode_chunks, head_check};
use crate::format::seal::{self, Frame};
use crate::format::table::Chunk;
use crate::storage::{Storage, StorageError, StoredFile};

/// An open pack and its table of blocks.
#[derive(Debug)]
pub struct Pack {
    id: PackId,
    file: StoredFile,
    foot: Foot,
    blocks: Vec<Frame>,
}

impl Pack {
    /// Opens a pack: its head, its foot and its table of blocks are read and checked, and that its name is its own.
    ///
    /// # Errors
    /// Where it is missing, has another length than expected, is another pack, or is damaged.
    pub fn open(storage: &Storage, pack: PackRef) -> Result<Self> {
        let open = Self::open_headless(storage, pack)?;
        let mut head = [0; Head::LEN];
        open.file.read_exact_at(&mut head, 0)?;
        Head::decode(&head, FileKind::Pack).map_err(|source| open.damaged("head", source))?;
        if head_check(&head) != open.foot.head_check {
            return Err(open.damaged("head", FormatError::Checksum));
        }
        Ok(open)
    }

    /// The name that a pack should have after its foot, whatever its file is called; nothing where it has no sound foot.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read_name(storage: &Storage, name: &str) -> Result<Option<PackId>> {
        Ok(read_foot(&storage.open(name)?)?.ok().map(|foot| foot.name()))
    }

    /// Opens a pack whatever its head says, which holds nothing that its blocks need.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn open_headless(storage: &Storage, PackRef { id, file_len: expected }: PackRef) -> Result<Self> {
        let file = storage.open(&layout::pack(&id))?;
        let file_len = file.len();
        if file_len != expected {
            return Err(PackError::Length { pack: id, found: file_len, expected });
        }
        let foot = read_foot(&file)?.map_err(|(part, source)| PackError::Damaged { pack: id, part, source })?;
        let found = foot.name();
        if found != id {
            return Err(PackError::OtherPack { pack: id, found });
        }
        let mut pack = Self { id, file, foot, blocks: Vec::new() };
        let raw = pack.open_frame(&foot.blocks, "table of blocks")?;
        pack.blocks = decode_blocks(&raw, file_len).map_err(|source| pack.damaged("table of blocks", source))?;
        Ok(pack)
    }

    /// The pack's name.
    #[must_use]
    pub const fn id(&self) -> PackId {
        self.id
    }

    /// The family that the pack belongs to.
    #[must_use]
    pub const fn family(&self) -> u32 {
        self.foot.family
    }

    /// Where the two tables stand.
    pub(super) const fn tables(&self) -> [&Frame; 2] {
        [&self.foot.blocks, &self.foot.chunks]
    }

    /// The blocks: where each stands and how long it is.
    #[must_use]
    pub fn blocks(&self) -> &[Frame] {
        &self.blocks
    }

    /// The chunks in the order of their places, with their ids.
    ///
    /// # Errors
    /// Where the table is damaged.
    pub fn chunks(&self) -> Result<Vec<(ChunkId, Chunk)>> {
        let part = "table of chunks";
        let raw = self.open_frame(&self.foot.chunks, part)?;
        decode_chunks(&raw, &self.blocks).map_err(|source| self.damaged(part, source))
    }

    /// The bytes of block `block`.
    ///
    /// # Errors
    /// Where there is no such block, or it is damaged.
    pub fn block(&self, block: u32) -> Result<Vec<u8>> {
        let frame = self.blocks.get(block as usize).ok_or(PackError::NoSuchPlace {
            pack: self.id,
            block,
            offset: 0,
            len: 0,
        })?;
        self.open_frame(frame, &format!("block {block}"))
    }

    /// What can still be unpacked of block `block`, whose checksum is wrong. Only what a hash names in it is to be believed.
    ///
    /// # Errors
    /// Where there is no such block, or nothing of it can be unpacked.
    pub fn damaged_block(&self, block: u32) -> Result<Vec<u8>> {
        let none = PackError::NoSuchPlace { pack: self.id, block, offset: 0, len: 0 };
        let frame = self.blocks.get(block as usize).ok_or(none)?;
        let mut stored = vec![0; frame.stored_len as usize];
        self.file.read_exact_at(&mut stored, frame.offset)?;
        // With the checksum of what is there: whoever asks knows that it is not what was written.
        let as_found = Frame { checksum: seal::checksum(&stored), ..*frame };
        let mut raw = Vec::new();
        seal::open(&as_found, &stored, &mut raw).map_err(|source| self.damaged(&format!("block {block}"), source))?;
        Ok(raw)
    }

    fn damaged(&self, part: &str, source: FormatError) -> PackError {
        PackError::Damaged { pack: self.id, part: part.to_owned(), source }
    }

    /// The file.
    pub(super) const fn file(&self) -> &StoredFile {
        &self.file
    }

    fn open_frame(&self, frame: &Frame, part: &str) -> Result<Vec<u8>> {
        let damaged = |source| self.damaged(part, source);
        frame.check().map_err(damaged)?;
        let mut stored = vec![0; frame.stored_len as usize];
        self.file.read_exact_at(&mut stored, frame.offset)?;
        let mut raw = Vec::new();
        seal::open(frame, &stored, &mut raw).map_err(damaged)?;
        Ok(raw)
    }
}

/// The foot of a pack, or which part of the file is damaged and how. The outer error is the file's.
fn read_foot(file: &StoredFile) -> std::result::Result<std::result::Result<Foot, (String, FormatError)>, StorageError> {
    if file.len() < (Head::LEN + Foot::LEN) as u64 {
        return Ok(Err(("its length".to_owned(), FormatError::Short)));
    }
    let mut foot = [0; Foot::LEN];
    file.read_exact_at(&mut foot, file.len() - Foot::LEN as u64)?;
    Ok(Foot::decode(&foot, file.len()).map_err(|source| ("foot".to_owned(), source)))
}

/// Packs that are held open at the same time, at most.
const OPEN_PACKS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Reads runs of bytes out of any pack; holds opened blocks in a cache, and some packs open.
pub struct BlockReader {
    storage: Storage,
    packs: Mutex<LruCache<PackId, Arc<Pack>>>,
    blocks: ByteCache<(PackId, u32), Vec<u8>>,
}

impl BlockReader {
    /// A reader that keeps opened blocks in `cache`.
    #[must_use]
    pub fn new(storage: Storage, cache: ByteCache<(PackId, u32), Vec<u8>>) -> Self {
        Self { storage, packs: Mutex::new(LruCache::new(OPEN_PACKS)), blocks: cache }
    }

    /// The open pack.
    ///
    /// # Errors
    /// Where it cannot be opened; see [`Pack::open`].
    pub fn pack(&self, pack: PackRef) -> Result<Arc<Pack>> {
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = packs.get(&pack.id) {
            return Ok(Arc::clone(open));
        }
        drop(packs);
        let open = Arc::new(Pack::open(&self.storage, pack)?);
        packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.put(pack.id, Arc::clone(&open));
        Ok(open)
    }

    /// Closes the files of all packs. What was opened of their blocks stays: a pack never changes.
    pub fn close_packs(&self) {
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        let open = std::mem::replace(&mut *packs, LruCache::new(OPEN_PACKS));
        drop(packs);
        drop(open);
    }

    /// The opened block.
    ///
    /// # Errors
    /// Where there is none, or it is damaged.
    pub fn block(&self, pack: PackRef, block: u32) -> Result<Arc<Vec<u8>>> {
        self.blocks.get((pack.id, block), || {
            let bytes = self.pack(pack)?.block(block)?;
            let weight = bytes.capacity();
            Ok((bytes, weight))
        })
    }

    /// Calls `use_bytes` with the `len` bytes at `offset` of a block.
    ///
    /// # Errors
    /// Where there is no such place, or the block is damaged.
    pub fn with<R>(
        &self,
        pack: PackRef,
        block: u32,
        offset: u32,
        len: u32,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        let bytes = self.block(pack, block)?;
        let end = u64::from(offset) + u64::from(len);
        let run = usize::try_from(end).ok().and_then(|end| bytes.get(offset as usize..end));
        Ok(use_bytes(run.ok_or(PackError::NoSuchPlace { pack: pack.id, block, offset, len })?))
    }
}
