//! What waits to be done, sorted by the block that it needs.
//!
//! Owns the grouping: everything in a batch is done by one thread, which opens the block once while no other thread waits for it. Refuses to know
//! what the work is. Its invariant: nothing waits behind more than [`OPEN`] other blocks, and no batch is longer
//! than [`PIECES`].

use crate::format::pack::PackId;

/// Batches that are open at the same time: files come in the order of the blocks, but small ones, large ones and those of a full and its
/// differential each from blocks of their own.
const OPEN: usize = 6;
/// Pieces of a batch, at most.
const PIECES: usize = 1024;

/// A block of a pack.
pub(super) type Block = (PackId, u32);

struct Batch<P> {
    block: Option<Block>,
    pieces: Vec<P>,
}

/// The open batches; the last is the one that was added to last.
pub(super) struct Batches<P> {
    open: Vec<Batch<P>>,
}

impl<P> Batches<P> {
    pub(super) const fn new() -> Self {
        Self { open: Vec::new() }
    }

    /// Adds what needs `block`, or none. Answers a batch that is to be done now.
    pub(super) fn add(&mut self, piece: P, block: Option<Block>) -> Option<Vec<P>> {
        let of_block = |wanted: Option<Block>| self.open.iter().rposition(|batch| batch.block == wanted);
        let known = match block {
            // What needs no block goes with its neighbours.
            None => self.open.len().checked_sub(1),
            Some(_) => of_block(block).or_else(|| of_block(None)),
        };
        let begun = known.map(|known| self.open.remove(known));
        let mut batch = begun.unwrap_or(Batch { block: None, pieces: Vec::new() });
        batch.block = batch.block.or(block);
        batch.pieces.push(piece);
        if batch.pieces.len() >= PIECES {
            return Some(batch.pieces);
        }
        self.open.push(batch);
        (self.open.len() > OPEN).then(|| self.open.remove(0).pieces)
    }

    /// The batch that was begun first, to be done now although more might come.
    pub(super) fn pop(&mut self) -> Option<Vec<P>> {
        (!self.open.is_empty()).then(|| self.open.remove(0).pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u32) -> Option<Block> {
        Some((PackId([7; 32]), number))
    }

    fn rest(mut batches: Batches<u32>) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| batches.pop()).collect()
    }

    #[test]
    fn what_needs_one_block_is_one_batch_and_the_rest_goes_with_its_neighbours() {
        let mut batches = Batches::new();
        for (piece, block) in [(1, None), (2, block(1)), (3, block(2)), (4, None), (5, block(1)), (6, None)] {
            assert_eq!(batches.add(piece, block), None);
        }
        assert_eq!(rest(batches), [vec![3, 4], vec![1, 2, 5, 6]]);
    }

    #[test]
    fn batch_that_was_added_to_longest_ago_goes_first() {
        let mut batches = Batches::new();
        for piece in 0..OPEN {
            assert_eq!(batches.add(piece, block(u32::try_from(piece).unwrap())), None);
        }
        assert_eq!(batches.add(100, block(0)), None);
        assert_eq!(batches.add(101, block(99)), Some(vec![1]));
    }

    #[test]
    fn long_batch_goes_at_once() {
        let mut batches = Batches::new();
        let gone: Vec<_> = (0..PIECES + 5).filter_map(|piece| batches.add(piece, block(1))).collect();
        assert_eq!(gone.iter().map(Vec::len).collect::<Vec<_>>(), [PIECES]);
        assert_eq!(batches.pop().map(|batch| batch.len()), Some(5));
    }
}
