//! The bytes of an index entry: length of the pack's file, family, and the sealed table of its chunks.

use super::{IndexError, IndexedPack, Result, short};
use crate::format::FormatError;
use crate::format::bytes::Bytes;
use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::seal::{self, Frame, Sealer};
use crate::format::table::{self, Chunk};

/// The index is rebuilt rather than kept small.
const LEVEL: i32 = 1;

pub(super) fn encode(pack: PackRef, family: u32, chunks: &[(ChunkId, Chunk)]) -> Vec<u8> {
    let rows: Vec<Chunk> = chunks.iter().map(|(_, chunk)| *chunk).collect();
    let mut raw = Vec::with_capacity(chunks.len() * 24);
    table::encode(&rows, &mut raw);
    for (id, _) in chunks {
        raw.extend_from_slice(&short(id));
    }
    let mut stored = Vec::new();
    let frame = Sealer::new(LEVEL).expect("zstd has this level").seal(&raw, 0, &mut stored);
    let mut value = Vec::with_capacity(12 + Frame::LEN + stored.len());
    value.extend_from_slice(&pack.file_len.to_le_bytes());
    value.extend_from_slice(&family.to_le_bytes());
    frame.encode(&mut value);
    value.extend_from_slice(&stored);
    value
}

pub(super) fn decode_head(key: &[u8], value: &[u8]) -> Result<PackRef> {
    let id = pack_id(key)?;
    let file_len = Bytes(value).u64().map_err(|source| IndexError::Value { pack: id, source })?;
    Ok(PackRef { id, file_len })
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<IndexedPack> {
    let id = pack_id(key)?;
    let decode = || -> std::result::Result<IndexedPack, FormatError> {
        let mut bytes = Bytes(value);
        let (file_len, family, frame) = (bytes.u64()?, bytes.u32()?, Frame::decode(&mut bytes)?);
        let mut raw = Vec::new();
        seal::open(&frame, bytes.0, &mut raw)?;
        let mut bytes = Bytes(&raw);
        let rows: Vec<Chunk> = table::decode(&mut bytes, raw.len() as u64 / 16)?;
        let mut chunks = Vec::with_capacity(rows.len());
        for row in rows {
            chunks.push((bytes.array()?, row));
        }
        bytes.end()?;
        Ok(IndexedPack { pack: PackRef { id, file_len }, family, chunks })
    };
    decode().map_err(|source| IndexError::Value { pack: id, source })
}

fn pack_id(key: &[u8]) -> Result<PackId> {
    let wrong = || IndexError::Value { pack: PackId([0; 32]), source: FormatError::Impossible("key") };
    key.try_into().map(PackId).map_err(|_| wrong())
}
