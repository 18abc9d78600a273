//! The one pair of functions that every stored run of bytes passes through: [`Sealer::seal`] and [`open`].
//!
//! Today they compress and check; authenticated encryption would come in here. A sealed run says nothing of itself:
//! its [`Frame`] stands in a table elsewhere, so that a run can be neither moved nor exchanged unseen.
//! Invariant: [`open`] never yields a byte before the checksum of the stored bytes has been found right.

use std::cell::RefCell;

use zstd::zstd_safe::CParameter;

use super::bytes::Bytes;
use super::error::{FormatError, Result};

/// No run of bytes is longer than this before it is sealed: the bound on what a reader allocates for one.
pub const MAX_RAW_BYTES: u32 = 16 << 20;

/// Where a sealed run stands in its file and what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Offset of the stored bytes in the file.
    pub offset: u64,
    /// Bytes as stored. Equal to `raw_len` where compression gained nothing: then they are stored as they were.
    pub stored_len: u32,
    /// Bytes when opened.
    pub raw_len: u32,
    /// [`checksum`] of the stored bytes.
    pub checksum: u64,
}

impl Frame {
    /// Bytes of an encoded frame.
    pub const LEN: usize = 24;

    /// Appends the encoded frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    /// Takes a frame from `bytes`.
    ///
    /// # Errors
    /// Where the bytes end early, or the lengths cannot be.
    pub fn decode(bytes: &mut Bytes<'_>) -> Result<Self> {
        let frame =
            Self { offset: bytes.u64()?, stored_len: bytes.u32()?, raw_len: bytes.u32()?, checksum: bytes.u64()? };
        frame.check()?;
        Ok(frame)
    }

    /// Checks that the lengths are in bounds, so that they may be allocated.
    ///
    /// # Errors
    /// [`FormatError::Impossible`] where they are not.
    pub fn check(&self) -> Result<()> {
        if self.raw_len > MAX_RAW_BYTES || self.stored_len > self.raw_len {
            return Err(FormatError::Impossible("length of a sealed run"));
        }
        if self.offset.checked_add(u64::from(self.stored_len)).is_none() {
            return Err(FormatError::Impossible("offset of a sealed run"));
        }
        Ok(())
    }

    /// The first byte after the run.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.stored_len as u64)
    }
}

/// The fast checksum of stored bytes: the first eight bytes of their blake3.
#[must_use]
pub fn checksum(stored: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(stored).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Seals runs of bytes, one after another; holds the compressor's working memory.
pub struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
}

impl Sealer {
    /// A sealer that compresses with zstd at `level`.
    ///
    /// # Errors
    /// Where zstd cannot allocate its working memory.
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(level)? })
    }

    /// A sealer for runs of some hundred kilobytes. At level 3 zstd looks matches up in tables of 768 KiB, made for a window of 2 MiB; a quarter of that
    /// stays in a core's own cache, beside the run: a seventh less time, and a hundredth more bytes.
    ///
    /// # Errors
    /// Where zstd cannot allocate its working memory.
    pub fn with_small_tables(level: i32) -> std::io::Result<Self> {
        let mut sealer = Self::new(level)?;
        // Other levels search in other ways, with tables of other sizes.
        if level == 3 {
            sealer.compressor.set_parameter(CParameter::HashLog(15))?;
            sealer.compressor.set_parameter(CParameter::ChainLog(14))?;
        }
        Ok(sealer)
    }

    /// Appends the sealed form of `raw` to `out` and returns its frame, which stands at `offset` in its file.
    ///
    /// # Panics
    /// Where `raw` is longer than [`MAX_RAW_BYTES`]: a writer's bug.
    pub fn seal(&mut self, raw: &[u8], offset: u64, out: &mut Vec<u8>) -> Frame {
        let raw_len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        assert!(raw_len <= MAX_RAW_BYTES, "a run of {raw_len} bytes is too long to be sealed");
        let start = out.len();
        // One byte less room than the raw bytes take: what does not shrink does not fit.
        out.resize(start + raw.len().saturating_sub(1), 0);
        match self.compressor.compress_to_buffer(raw, &mut out[start..]) {
            Ok(len) => out.truncate(start + len),
            Err(_) => {
                out.truncate(start);
                out.extend_from_slice(raw);
            }
        }
        let stored = &out[start..];
        let stored_len = u32::try_from(stored.len()).expect("never longer than the raw bytes");
        Frame { offset, stored_len, raw_len, checksum: checksum(stored) }
    }
}

/// Opens a sealed run: puts the raw bytes of `stored`, as `frame` describes it, into `out`, which is cleared first.
///
/// # Errors
/// Where the stored bytes are not those that were sealed, or do not unpack to the recorded length; `out` is then empty.
pub fn open(frame: &Frame, stored: &[u8], out: &mut Vec<u8>) -> Result<()> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    out.clear();
    frame.check()?;
    if stored.len() != frame.stored_len as usize {
        return Err(FormatError::Short);
    }
    if checksum(stored) != frame.checksum {
        return Err(FormatError::Checksum);
    }
    if frame.stored_len == frame.raw_len {
        out.extend_from_slice(stored);
        return Ok(());
    }
    let wrong = FormatError::Unpack(frame.raw_len);
    out.reserve_exact(frame.raw_len as usize);
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|_| wrong.clone())?),
        };
        match decompressor.decompress_to_buffer(stored, out) {
            Ok(len) if len == frame.raw_len as usize => Ok(()),
            _ => {
                out.clear();
                Err(wrong)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(raw: &[u8]) -> (Frame, Vec<u8>) {
        let mut stored = Vec::new();
        let frame = Sealer::new(3).unwrap().seal(raw, 77, &mut stored);
        (frame, stored)
    }

    #[test]
    fn what_was_sealed_opens() {
        let noise = noise(5000);
        for raw in [&b""[..], b"a", &[7; 100_000], &noise] {
            let (frame, stored) = sealed(raw);
            let mut out = b"before".to_vec();
            open(&frame, &stored, &mut out).unwrap();
            assert_eq!(out, raw);
            assert_eq!(frame.offset, 77);
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn incompressible_bytes_are_stored_as_they_are() {
        let noise = noise(5000);
        let (frame, stored) = sealed(&noise);
        assert_eq!(frame.stored_len, frame.raw_len);
        assert_eq!(stored, noise);
    }

    #[test]
    fn a_run_is_sealed_behind_what_is_there_already_whatever_the_tables() {
        for mut sealer in
            [Sealer::new(3).unwrap(), Sealer::with_small_tables(3).unwrap(), Sealer::with_small_tables(9).unwrap()]
        {
            let mut stored = b"before".to_vec();
            let noise = noise(5000);
            for raw in [&[3; 50_000][..], &noise, b""] {
                let start = stored.len();
                let frame = sealer.seal(raw, 0, &mut stored);
                assert_eq!(stored.len(), start + frame.stored_len as usize);
                let mut out = Vec::new();
                open(&frame, &stored[start..], &mut out).unwrap();
                assert_eq!(out, raw);
            }
            assert!(stored.starts_with(b"before"));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (frame, stored) = sealed(&[9; 300]);
        for bit in 0..stored.len() * 8 {
            let mut wrong = stored.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let mut out = Vec::new();
            assert_eq!(open(&frame, &wrong, &mut out), Err(FormatError::Checksum));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_run_cannot_unpack_past_its_recorded_length() {
        let (mut frame, stored) = sealed(&[1; 100_000]);
        frame.raw_len = 99_999;
        let mut out = Vec::with_capacity(1 << 20);
        assert_eq!(open(&frame, &stored, &mut out), Err(FormatError::Unpack(99_999)));
        assert!(out.is_empty());
        frame.raw_len = MAX_RAW_BYTES + 1;
        assert!(matches!(open(&frame, &stored, &mut out), Err(FormatError::Impossible(_))));
    }
}
