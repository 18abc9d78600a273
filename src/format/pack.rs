//! The layout of a pack: `head | blocks | sealed block table | sealed chunk table | foot`. See `docs/format.md`.

use std::fmt;

use super::bytes::Bytes;
use super::error::{FormatError, Result};
use super::file::{self, FileKind, Head};
use super::seal::Frame;
use super::table::{self, Chunk, Row};

/// The name of a pack: blake3 of all bytes of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 32]);

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PackId {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = FormatError::Impossible("pack name");
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong);
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong.clone())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong.clone())?;
        }
        Ok(Self(id))
    }
}

/// The id of a chunk: the first half of the blake3 of its bytes, keyed with the store's secret.
///
/// 128 bits of a keyed hash tell chunks apart as surely as all 256, and an id is what no compressor shrinks: with many small files half of an id
/// more would be a hundredth of the store, and half of the memory of every backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; Self::LEN]);

impl ChunkId {
    /// Bytes of an id.
    pub const LEN: usize = 16;

    /// The id of the chunk with these bytes, in a store with this key.
    #[must_use]
    pub fn of(key: &[u8; 32], bytes: &[u8]) -> Self {
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..Self::LEN]);
        Self(id)
    }
}

impl Row<4> for Frame {
    fn numbers(&self) -> [u64; 4] {
        [self.offset, self.stored_len.into(), self.raw_len.into(), self.checksum]
    }

    fn from_numbers([offset, stored_len, raw_len, checksum]: [u64; 4]) -> Option<Self> {
        let frame = Self {
            offset,
            stored_len: u32::try_from(stored_len).ok()?,
            raw_len: u32::try_from(raw_len).ok()?,
            checksum,
        };
        frame.check().is_ok().then_some(frame)
    }
}

/// Encodes the table of blocks.
#[must_use]
pub fn encode_blocks(blocks: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    table::encode(blocks, &mut out);
    out
}

/// Decodes the table of blocks of a pack of `file_len` bytes.
///
/// # Errors
/// Where the bytes are not what [`encode_blocks`] could have written.
pub fn decode_blocks(raw: &[u8], file_len: u64) -> Result<Vec<Frame>> {
    let mut bytes = Bytes(raw);
    // A block has some bytes, in the file, and a place and two lengths that are not 0, in the table.
    let blocks: Vec<Frame> = table::decode(&mut bytes, file_len.min(raw.len() as u64 / 3))?;
    bytes.end()?;
    if blocks.iter().any(|block| block.offset < Head::LEN as u64 || block.end() > file_len || block.stored_len == 0) {
        return Err(FormatError::Impossible("place of a block"));
    }
    Ok(blocks)
}

/// Encodes the table of chunks, in the order of their places, and their ids.
#[must_use]
pub fn encode_chunks(chunks: &[(ChunkId, Chunk)]) -> Vec<u8> {
    let rows: Vec<Chunk> = chunks.iter().map(|(_, chunk)| *chunk).collect();
    let mut out = Vec::with_capacity(chunks.len() * (ChunkId::LEN + size_of::<Chunk>()));
    table::encode(&rows, &mut out);
    for (id, _) in chunks {
        out.extend_from_slice(&id.0);
    }
    out
}

/// Decodes the table of chunks of a pack with these blocks.
///
/// # Errors
/// Where the bytes are not what [`encode_chunks`] could have written, or a chunk lies outside its block.
pub fn decode_chunks(raw: &[u8], blocks: &[Frame]) -> Result<Vec<(ChunkId, Chunk)>> {
    let mut bytes = Bytes(raw);
    let rows: Vec<Chunk> = table::decode(&mut bytes, (raw.len() / ChunkId::LEN) as u64)?;
    let mut out = Vec::with_capacity(rows.len());
    for chunk in rows {
        let block = blocks.get(chunk.block as usize).ok_or(FormatError::Impossible("block of a chunk"))?;
        if chunk.offset.checked_add(chunk.len).is_none_or(|end| end > block.raw_len) {
            return Err(FormatError::Impossible("place of a chunk"));
        }
        out.push((ChunkId(bytes.array()?), chunk));
    }
    bytes.end()?;
    Ok(out)
}

/// What a foot says of the head of its file: the first four bytes of the head's blake3.
#[must_use]
pub fn head_check(head: &[u8]) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(head).as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The end of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foot {
    /// The sealed table of blocks.
    pub blocks: Frame,
    /// The sealed table of chunks.
    pub chunks: Frame,
    /// The family that the pack belongs to: 0, or the number of the independent full that began it.
    pub family: u32,
    /// [`head_check`] of the pack's head, whose id is random: so two packs of the same data have two names.
    pub head_check: u32,
}

impl Foot {
    /// Bytes of an encoded foot: two frames, family (4), check of the head (4), checksum and magic.
    pub const LEN: usize = 2 * Frame::LEN + 8 + file::FOOT_OVERHEAD;

    /// The name of the pack that ends with this foot: the blake3 of the encoded foot, which names the tables by their checksums, which name the blocks.
    #[must_use]
    pub fn name(&self) -> PackId {
        PackId(*blake3::hash(&self.encode()).as_bytes())
    }

    /// The encoded foot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.blocks.encode(&mut out);
        self.chunks.encode(&mut out);
        out.extend_from_slice(&self.family.to_le_bytes());
        out.extend_from_slice(&self.head_check.to_le_bytes());
        file::close(FileKind::Pack, &mut out);
        out
    }

    /// Decodes the foot of a pack of `file_len` bytes.
    ///
    /// # Errors
    /// Where it is damaged, or points outside the file.
    pub fn decode(raw: &[u8], file_len: u64) -> Result<Self> {
        let mut bytes = file::opened(FileKind::Pack, raw)?;
        let (blocks, chunks) = (Frame::decode(&mut bytes)?, Frame::decode(&mut bytes)?);
        let foot = Self { blocks, chunks, family: bytes.u32()?, head_check: bytes.u32()? };
        bytes.end()?;
        let inside = |frame: &Frame| frame.offset >= Head::LEN as u64 && frame.end() <= file_len;
        if inside(&foot.blocks) && inside(&foot.chunks) {
            Ok(foot)
        } else {
            Err(FormatError::Impossible("place of the tables"))
        }
    }
}
