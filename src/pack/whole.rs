//! Reading a pack once from its first block to its last, as `verify` does.
//!
//! Owns the order of reading. Refuses to judge chunks. Invariant: no byte is read twice, and one block is held at a time.

use super::reader::Pack;
use super::{PackError, Result};
use crate::format::file::Head;
use crate::format::pack::Foot;
use crate::format::seal;

impl Pack {
    /// Whether blocks, tables, head and foot are all that the file holds.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        let frames = self.blocks().iter().chain(self.tables());
        let bytes: u64 = frames.map(|frame| u64::from(frame.stored_len)).sum();
        bytes + (Head::LEN + Foot::LEN) as u64 == self.file().len()
    }

    /// Reads all blocks, and gives `take` each as it opens or why it does not, in the order of the file.
    pub fn scan(&self, take: impl FnMut(u32, Result<&[u8]>)) {
        self.scan_some(|_| true, take);
    }

    /// As [`Pack::scan`], but only the blocks that are `wanted`.
    pub fn scan_some(&self, wanted: impl Fn(u32) -> bool, mut take: impl FnMut(u32, Result<&[u8]>)) {
        let mut order: Vec<u32> = (0..).take(self.blocks().len()).filter(|block| wanted(*block)).collect();
        order.sort_unstable_by_key(|block| self.blocks()[*block as usize].offset);
        let (mut stored, mut raw) = (Vec::new(), Vec::new());
        let mut at = 0;
        for block in order {
            let frame = &self.blocks()[block as usize];
            if frame.offset < at {
                take(block, Err(PackError::Overlap { pack: self.id(), block }));
                continue;
            }
            stored.resize(frame.stored_len as usize, 0);
            if let Err(error) = self.file().read_exact_at(&mut stored, frame.offset) {
                take(block, Err(error.into()));
            } else {
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
    }
}
