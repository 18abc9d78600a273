//! Reading a pack once from its first byte to its last, as `verify` does.
//!
//! Owns the order of reading. Refuses to judge chunks. Invariant: no byte is read twice, and one block is held at a time.

use super::reader::Pack;
use super::{PackError, Result};
use crate::format::pack::PackId;
use crate::format::seal;
use crate::storage::StorageError;

/// Bytes between blocks that are read at once.
const READ_BYTES: u64 = 1 << 20;

impl Pack {
    /// Reads the whole file, gives `take` each block as it opens or why it does not, in the order of the file, and answers what the pack should be named
    /// after its bytes; nothing where some of them could not be read.
    pub fn scan(&self, mut take: impl FnMut(u32, Result<&[u8]>)) -> Option<PackId> {
        let mut order: Vec<u32> = (0..).take(self.blocks().len()).collect();
        order.sort_unstable_by_key(|block| self.blocks()[*block as usize].offset);
        let mut hasher = blake3::Hasher::new();
        let mut is_readable = true;
        let (mut stored, mut raw) = (Vec::new(), Vec::new());
        let mut at = 0;
        for block in order {
            let frame = &self.blocks()[block as usize];
            if frame.offset < at {
                take(block, Err(PackError::Overlap { pack: self.id(), block }));
                continue;
            }
            is_readable &= self.hash(at, frame.offset, &mut stored, &mut hasher).is_ok();
            stored.resize(frame.stored_len as usize, 0);
            if let Err(error) = self.file().read_exact_at(&mut stored, frame.offset) {
                is_readable = false;
                take(block, Err(error.into()));
            } else {
                hasher.update(&stored);
                let opened = seal::open(frame, &stored, &mut raw);
                let part = || format!("block {block}");
                take(
                    block,
                    opened.map(|()| &raw[..]).map_err(|source| PackError::Damaged {
                        pack: self.id(),
                        part: part(),
                        source,
                    }),
                );
            }
            at = frame.end();
        }
        is_readable &= self.hash(at, self.file().len(), &mut stored, &mut hasher).is_ok();
        is_readable.then(|| PackId(*hasher.finalize().as_bytes()))
    }

    fn hash(
        &self,
        mut at: u64,
        end: u64,
        buffer: &mut Vec<u8>,
        hasher: &mut blake3::Hasher,
    ) -> std::result::Result<(), StorageError> {
        while at < end {
            let len = (end - at).min(READ_BYTES);
            buffer.resize(usize::try_from(len).expect("bounded just above"), 0);
            self.file().read_exact_at(buffer, at)?;
            hasher.update(buffer);
            at += len;
        }
        Ok(())
    }
}
