//! Makes the trees that are measured: the same bytes and names for the same seed, everywhere.
//!
//! Owns nothing but the generator. Its invariant: files are text of a skewed vocabulary, so that they compress about as source code does.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot make its tree has nothing to measure")]
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

/// A small generator of numbers (splitmix64): no dependency, the same everywhere.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }
}

/// Words of the vocabulary.
const WORDS: usize = 4096;

/// Writes text.
pub(crate) struct Text {
    numbers: Numbers,
    words: Vec<Vec<u8>>,
}

impl Text {
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut numbers = Numbers::seeded(seed);
        let word = |numbers: &mut Numbers| {
            let len = 2 + numbers.below(9);
            (0..len).map(|_| b"etaoinshrdlucmfwypvbgkjqxz_"[numbers.below(27)]).collect()
        };
        let words = (0..WORDS).map(|_| word(&mut numbers)).collect();
        Self { numbers, words }
    }

    /// `len` bytes of text. Of two words drawn the more frequent is taken, twice over: a few words make up most of it.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 16);
        let mut line = 0;
        while out.len() < len {
            let draw = (0..4).map(|_| self.numbers.below(WORDS)).min().expect("four are drawn");
            out.extend_from_slice(&self.words[draw]);
            line += 1;
            out.push(if line % 9 == 0 { b'\n' } else { b' ' });
        }
        out.truncate(len);
        out
    }
}

/// What a tree is made of.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) directories: usize,
    pub(crate) files_in_each: usize,
    /// The usual length of a file; some are empty, some eight times as long.
    pub(crate) file_bytes: usize,
}

impl Shape {
    pub(crate) const fn files(self) -> usize {
        self.directories * self.files_in_each
    }
}

/// Makes a tree below `root`, which is made; the files in the order in which they were made.
pub(crate) fn make(root: &Path, shape: Shape, seed: u64) -> Vec<PathBuf> {
    let mut text = Text::seeded(seed);
    let mut files = Vec::with_capacity(shape.files());
    for directory in 0..shape.directories {
        // Two levels, as wide as they are many.
        let path = root.join(format!("part-{:02}/dir-{directory:04}", directory % 16));
        fs::create_dir_all(&path).unwrap();
        for file in 0..shape.files_in_each {
            let len = match text.numbers.below(16) {
                0 => 0,
                1 => 100,
                2..8 => shape.file_bytes / 4,
                8..14 => shape.file_bytes,
                14 => shape.file_bytes * 2,
                _ => shape.file_bytes * 6,
            };
            let path = path.join(format!("file-{file:03}.txt"));
            fs::write(&path, text.bytes(len)).unwrap();
            files.push(path);
        }
    }
    files
}

/// Rewrites every `step`th file, and leaves the others alone.
pub(crate) fn change(files: &[PathBuf], step: usize, seed: u64) {
    let mut text = Text::seeded(seed);
    for path in files.iter().step_by(step) {
        let len = 500 + text.numbers.below(20_000);
        fs::write(path, text.bytes(len)).unwrap();
    }
}
