//! Sparse files in archives: what is data and what is a hole.
//!
//! GNU tar has three ways of pax for it (0.0 and 0.1 in headers, 1.0 before the data) and one of its own, in blocks after the header. Read are all; written is 1.0.

use std::ops::Range;

use super::{BLOCK_BYTES, MAX_RANGES};

/// The map of a sparse file that is written: as much of it as its header must know before the first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct SparseShape {
    rows: u64,
    text_bytes: u64,
    data_bytes: u64,
}

impl SparseShape {
    /// Counts one range of data; the last of a file that ends in a hole is an empty one, at its end.
    pub fn add(&mut self, range: &Range<u64>) {
        self.rows += 1;
        self.text_bytes += row(range).len() as u64;
        self.data_bytes += range.end - range.start;
    }

    /// The text before the rows.
    pub(super) fn head(&self) -> String {
        format!("{}\n", self.rows)
    }

    /// Bytes of the map, in whole blocks.
    pub(super) fn map_bytes(&self) -> u64 {
        (self.head().len() as u64 + self.text_bytes).next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Bytes of map and data.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.map_bytes() + self.data_bytes
    }
}

/// The text of one row.
pub(super) fn row(range: &Range<u64>) -> String {
    format!("{}\n{}\n", range.start, range.end - range.start)
}

/// Ranges under collection; each must lie after the one before.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ranges: Vec<Range<u64>>,
    end: u64,
}

impl Ranges {
    /// Adds a row, unless it is empty.
    pub(super) fn add(&mut self, at: u64, len: u64) -> Result<(), &'static str> {
        let end = at.checked_add(len).filter(|_| at >= self.end).ok_or("its map of holes does not rise")?;
        self.end = end;
        if len > 0 {
            if self.ranges.len() >= MAX_RANGES {
                return Err("its map of holes is too long");
            }
            self.ranges.push(at..end);
        }
        Ok(())
    }

    /// All of them, for a file of `size` bytes of which `stored` are in the archive.
    pub(super) fn finish(self, size: u64, stored: u64) -> Result<Vec<Range<u64>>, &'static str> {
        let data: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        if self.end > size {
            return Err("its map of holes goes past its end");
        }
        if data != stored { Err("its map of holes does not fit its data") } else { Ok(self.ranges) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_fall_overlap_or_do_not_fit_are_refused() {
        let of = |rows: &[(u64, u64)], size, stored| {
            let mut ranges = Ranges::default();
            rows.iter().try_for_each(|(at, len)| ranges.add(*at, *len))?;
            ranges.finish(size, stored)
        };
        assert_eq!(of(&[(0, 5), (10, 5), (20, 0)], 20, 10), Ok(vec![0..5, 10..15]));
        assert!(of(&[(10, 5), (0, 5)], 20, 10).is_err());
        assert!(of(&[(0, 5), (4, 5)], 20, 10).is_err());
        assert!(of(&[(0, 5), (18, 5)], 20, 10).is_err());
        assert!(of(&[(u64::MAX, 5)], 20, 5).is_err());
        assert!(of(&[(0, 5)], 20, 6).is_err());
    }
}
