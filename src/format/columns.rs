//! Rows of numbers, stored column by column so that they shrink.
//!
//! A column of `n` numbers is one byte of width `w` (0 to 8), then `w` planes of `n` bytes: the zigzag coded difference
//! of each number from the one before it (from 0 for the first), lowest bytes first. Rows that are alike differ by
//! nothing, so their planes are runs of zeros, which zstd packs to almost nothing.
//! The layout is that of the byte-shuffle filters of column stores (Parquet's BYTE_STREAM_SPLIT, blosc's shuffle).

use super::bytes::Bytes;
use super::error::{FormatError, Result};

/// Appends the column of `values`.
pub fn encode(values: impl Iterator<Item = u64>, scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    scratch.clear();
    let mut before = 0_u64;
    let mut all = 0_u64;
    scratch.extend(values.map(|value| {
        let difference = value.wrapping_sub(before).cast_signed();
        before = value;
        let coded = ((difference << 1) ^ (difference >> 63)).cast_unsigned();
        all |= coded;
        coded
    }));
    let width = (71 - all.leading_zeros()) / 8;
    out.push(u8::try_from(width).expect("a u64 has eight bytes"));
    for plane in 0..width {
        #[allow(clippy::cast_possible_truncation)] // the byte of this plane is what is wanted
        out.extend(scratch.iter().map(|coded| (coded >> (8 * plane)) as u8));
    }
}

/// Takes a column of `rows` numbers from `bytes` into `out`, which is cleared first.
///
/// # Errors
/// Where the bytes end early or the width cannot be. Never allocates more than eight bytes a row; the caller bounds `rows`.
pub fn decode(bytes: &mut Bytes<'_>, rows: usize, out: &mut Vec<u64>) -> Result<()> {
    let width = usize::from(bytes.u8()?);
    if width > 8 {
        return Err(FormatError::Impossible("column width"));
    }
    let planes = bytes.take(width.checked_mul(rows).ok_or(FormatError::Short)?)?;
    out.clear();
    out.resize(rows, 0);
    for (plane, column) in planes.chunks_exact(rows.max(1)).enumerate() {
        for (coded, byte) in out.iter_mut().zip(column) {
            *coded |= u64::from(*byte) << (8 * plane);
        }
    }
    let mut value = 0_u64;
    for coded in out {
        value = value.wrapping_add((*coded >> 1) ^ (*coded & 1).wrapping_neg());
        *coded = value;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_come_back(values in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..300], 0..600)) {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            encode(values.iter().copied(), &mut Vec::new(), &mut out);
            let mut bytes = Bytes(&out);
            decode(&mut bytes, values.len(), &mut back).unwrap();
            prop_assert_eq!(values, back);
            prop_assert!(bytes.end().is_ok());
        }
    }

    #[test]
    fn equal_rows_take_one_byte_each_at_most() {
        let mut out = Vec::new();
        encode(std::iter::repeat_n(42, 500), &mut Vec::new(), &mut out);
        assert_eq!(out.len(), 501);
        encode(std::iter::repeat_n(0, 500), &mut Vec::new(), &mut out);
        assert_eq!(out.len(), 502);
    }

    #[test]
    fn a_cut_column_is_refused() {
        let mut out = Vec::new();
        encode([1, 1000, 5].into_iter(), &mut Vec::new(), &mut out);
        assert_eq!(decode(&mut Bytes(&out[..out.len() - 1]), 3, &mut Vec::new()), Err(FormatError::Short));
        assert_eq!(decode(&mut Bytes(&[9, 0, 0]), 1, &mut Vec::new()), Err(FormatError::Impossible("column width")));
    }
}
