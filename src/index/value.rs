//! The bytes of index entries: what is known of a pack, and a checksum of it.

use super::{IndexError, IndexedPack, Result};
use crate::format::FormatError;
use crate::format::bytes::Bytes;
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::seal::checksum;

/// Bytes of an entry without its checksum: length of the file, family, number of chunks.
const FACTS_BYTES: usize = 16;

pub(super) fn encode(indexed: &IndexedPack) -> Vec<u8> {
    let IndexedPack { pack, family, chunks } = indexed;
    let mut value = Vec::with_capacity(FACTS_BYTES + 8);
    value.extend_from_slice(&pack.file_len.to_le_bytes());
    value.extend_from_slice(&family.to_le_bytes());
    value.extend_from_slice(&chunks.to_le_bytes());
    value.extend_from_slice(&sum(&pack.id, &value).to_le_bytes());
    value
}

impl IndexedPack {
    /// What an entry of the index says: its key is the pack's name, its value what was written for it.
    ///
    /// # Errors
    /// [`IndexError::Value`] where it is not what was written.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let unknown = || IndexError::Value { pack: PackId([0; 32]), source: FormatError::Impossible("key") };
        let id = key.try_into().map(PackId).map_err(|_| unknown())?;
        let decode = || {
            let mut bytes = Bytes(value);
            let pack = PackRef { id, file_len: bytes.u64()? };
            let indexed = Self { pack, family: bytes.u32()?, chunks: bytes.u32()? };
            let expected = bytes.u64()?;
            bytes.end()?;
            if sum(&id, &value[..FACTS_BYTES]) == expected { Ok(indexed) } else { Err(FormatError::Checksum) }
        };
        decode().map_err(|source| IndexError::Value { pack: id, source })
    }
}

fn sum(id: &PackId, facts: &[u8]) -> u64 {
    checksum(&[&id.0, facts].concat())
}
