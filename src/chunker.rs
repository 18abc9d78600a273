//! Where a large file is cut: at places that its content chooses, so that an insertion moves few cuts.
//!
//! Pure. The algorithm is FastCDC in its version of 2020 (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems"), normalised at level 1, its gear table changed by the store's secret seed. Invariant: the same
//! bytes and the same parameters give the same cuts for ever; a test pins them.

use std::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

/// How long chunks are, in bytes; even numbers, `min < average < max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLengths {
    /// The shortest, but for the last of a run.
    pub min: u32,
    /// The usual length.
    pub average: u32,
    /// The longest.
    pub max: u32,
}

/// Cuts runs of bytes into chunks.
pub struct Chunker {
    lengths: ChunkLengths,
    masks: (u64, u64),
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Chunker {
    /// A chunker with these lengths, seeded.
    #[must_use]
    pub fn new(lengths: ChunkLengths, seed: u64) -> Self {
        let (gear, gear_shifted) = get_gear_with_seed(seed);
        Self { lengths, masks: select_masks(lengths.average as usize, Normalization::Level1), gear, gear_shifted }
    }

    /// Bytes that must be at hand for [`Chunker::cut`], unless the run ends before.
    #[must_use]
    pub const fn window(&self) -> usize {
        self.lengths.max as usize
    }

    /// The length of the first chunk of `run`, which holds [`Chunker::window`] bytes or all that is left; not 0 unless `run` is empty.
    #[must_use]
    pub fn cut(&self, run: &[u8]) -> usize {
        let ChunkLengths { min, average, max } = self.lengths;
        let (strict, relaxed) = self.masks;
        let (_, len) = cut_gear(
            run,
            min as usize,
            average as usize,
            max as usize,
            strict,
            relaxed,
            strict << 1,
            relaxed << 1,
            &self.gear,
            &self.gear_shifted,
        );
        len
    }

    /// Whether the first chunk of such a `run` ends at `len`, given that it does not end before. It takes a look at what stands there only: the bytes
    /// up to `len`, and the one after them, which has a say too.
    #[must_use]
    pub fn ends_at(&self, run: &[u8], len: usize) -> bool {
        let ChunkLengths { min, average, max } = self.lengths;
        let end = run.len().min(max as usize);
        if len >= end {
            return len == end;
        }
        // Places are looked at in pairs: one that has no partner before the end is passed over.
        if len < min as usize || len | 1 >= end {
            return false;
        }
        // After 64 steps nothing is left of a byte.
        let seen = &run[(min as usize).max(len.saturating_sub(63))..=len];
        let hash = seen.iter().fold(0_u64, |hash, byte| (hash << 1).wrapping_add(self.gear[usize::from(*byte)]));
        let mask = if len < average as usize { self.masks.0 } else { self.masks.1 };
        hash & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: ChunkLengths = ChunkLengths { min: 8 << 10, average: 32 << 10, max: 128 << 10 };

    fn noise(len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    fn cuts(chunker: &Chunker, mut run: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !run.is_empty() {
            let len = chunker.cut(&run[..run.len().min(chunker.window())]);
            lengths.push(len);
            run = &run[len..];
        }
        lengths
    }

    #[test]
    fn cuts_are_pinned() {
        let lengths = cuts(&Chunker::new(LENGTHS, 0x0123_4567_89ab_cdef), &noise(300_000));
        assert_eq!(lengths, PINNED, "other cuts would end dedup with every store there is");
    }

    const PINNED: [usize; 4] = [43_144, 101_351, 34_031, 121_474];

    #[test]
    fn a_chunk_ends_where_it_is_cut_and_nowhere_before() {
        let lengths = ChunkLengths { min: 64, average: 256, max: 1024 };
        let chunker = Chunker::new(lengths, 7);
        let mut data = noise(60_000);
        data[20_000..30_000].fill(0);
        let mut checked = 0;
        for begin in (0..data.len()).step_by(97) {
            // Runs that go on, and runs that end, at even and at odd places.
            for len in [1024, 1023, 300, 299, 65, 64, 63, 1] {
                let run = &data[begin..data.len().min(begin + len)];
                let cut = chunker.cut(run);
                assert!(chunker.ends_at(run, cut), "a run of {} bytes at {begin}", run.len());
                let before = (1..cut).find(|len| chunker.ends_at(run, *len));
                assert_eq!(before, None, "a run of {} bytes at {begin}", run.len());
                assert!(!chunker.ends_at(run, run.len() + 1));
                checked += usize::from(cut < run.len());
            }
        }
        assert!(checked > 1_000, "only {checked} cuts were made by content");
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let chunker = Chunker::new(LENGTHS, 7);
        let before = noise(4 << 20);
        let mut after = before.clone();
        after.splice(1_000_000..1_000_000, *b"a few bytes more");
        let (before, after) = (cuts(&chunker, &before), cuts(&chunker, &after));
        let same = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        assert!(same * 4 > before.len() * 2, "{same} of {} chunks after the insertion are as before", before.len());
        assert!(before.iter().all(|len| *len <= chunker.window()));
    }

    #[test]
    fn another_seed_cuts_elsewhere() {
        let data = noise(1 << 20);
        assert_ne!(cuts(&Chunker::new(LENGTHS, 1), &data), cuts(&Chunker::new(LENGTHS, 2), &data));
    }
}
