//! The bytes of index entries: the head of a pack (length of its file, family), and the sealed table of its chunks.

use super::{IndexError, Result, ShortId, short};
use crate::format::FormatError;
use crate::format::bytes::Bytes;
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::seal::{self, Frame, Sealer};
use crate::format::table::{self, Chunk};

/// The index is rebuilt rather than kept small.
const LEVEL: i32 = 1;

pub(super) fn encode_head(pack: PackRef, family: u32) -> [u8; 12] {
    let mut head = [0; 12];
    head[..8].copy_from_slice(&pack.file_len.to_le_bytes());
    head[8..].copy_from_slice(&family.to_le_bytes());
    head
}

pub(super) fn decode_head(key: &[u8], head: &[u8]) -> Result<(PackRef, u32)> {
    let id = pack_id(key)?;
    let decode = || {
        let mut bytes = Bytes(head);
        let (file_len, family) = (bytes.u64()?, bytes.u32()?);
        bytes.end()?;
        Ok((PackRef { id, file_len }, family))
    };
    decode().map_err(|source| IndexError::Value { pack: id, source })
}

pub(super) fn encode_chunks(chunks: &[(ChunkId, Chunk)]) -> Vec<u8> {
    let rows: Vec<Chunk> = chunks.iter().map(|(_, chunk)| *chunk).collect();
    let mut raw = Vec::with_capacity(chunks.len() * 24);
    table::encode(&rows, &mut raw);
    for (id, _) in chunks {
        raw.extend_from_slice(&short(id));
    }
    let mut stored = Vec::new();
    let frame = Sealer::new(LEVEL).expect("zstd has this level").seal(&raw, 0, &mut stored);
    let mut value = Vec::with_capacity(Frame::LEN + stored.len());
    frame.encode(&mut value);
    value.extend_from_slice(&stored);
    value
}

pub(super) fn decode_chunks(pack: PackId, value: Option<&[u8]>) -> Result<Vec<(ShortId, Chunk)>> {
    let decode = || -> std::result::Result<_, FormatError> {
        let mut bytes = Bytes(value.ok_or(FormatError::Short)?);
        let frame = Frame::decode(&mut bytes)?;
        let mut raw = Vec::new();
        seal::open(&frame, bytes.0, &mut raw)?;
        let mut bytes = Bytes(&raw);
        let rows: Vec<Chunk> = table::decode(&mut bytes, raw.len() as u64 / 16)?;
        let mut chunks = Vec::with_capacity(rows.len());
        for row in rows {
            chunks.push((bytes.array()?, row));
        }
        bytes.end()?;
        Ok(chunks)
    };
    decode().map_err(|source| IndexError::Value { pack, source })
}

fn pack_id(key: &[u8]) -> Result<PackId> {
    let wrong = || IndexError::Value { pack: PackId([0; 32]), source: FormatError::Impossible("key") };
    key.try_into().map(PackId).map_err(|_| wrong())
}
