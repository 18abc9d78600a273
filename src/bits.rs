//! A set of small numbers, one bit for each.
//!
//! Knows nothing of what is numbered. Invariant: memory is an eighth of a byte for each number below the bound, asked for once.

/// A set of numbers below a bound.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    bound: u32,
    len: u32,
}

impl Bits {
    /// The empty set of numbers below `bound`.
    pub(crate) fn new(bound: u32) -> Self {
        Self { words: vec![0; (bound as usize).div_ceil(64)], bound, len: 0 }
    }

    /// Takes a number in; answers whether it is new. A number from the bound on is never new.
    pub(crate) fn set(&mut self, number: u32) -> bool {
        if number >= self.bound {
            return false;
        }
        let (word, bit) = (&mut self.words[number as usize / 64], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        self.len += u32::from(is_new);
        is_new
    }

    /// Whether the number is in.
    pub(crate) fn has(&self, number: u32) -> bool {
        number < self.bound && self.words[number as usize / 64] & (1 << (number % 64)) != 0
    }

    /// Whether any number of the range is in.
    pub(crate) fn has_any(&self, mut range: std::ops::Range<u32>) -> bool {
        range.any(|number| self.has(number))
    }

    /// Whether all numbers below the bound are in.
    pub(crate) const fn is_all(&self) -> bool {
        self.len == self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_in_and_nothing_else() {
        let mut bits = Bits::new(130);
        for number in [0, 63, 64, 129] {
            assert!(bits.set(number) && !bits.set(number), "{number}");
        }
        assert!(!bits.set(130) && !bits.has(130) && !bits.has(u32::MAX));
        assert_eq!((0..200).filter(|number| bits.has(*number)).collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert!(bits.has_any(60..64) && !bits.has_any(65..129) && !bits.has_any(5..5));
        assert!(!bits.is_all());
        for number in 0..130 {
            bits.set(number);
        }
        assert!(bits.is_all());
    }
}
