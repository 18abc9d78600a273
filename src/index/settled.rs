//! Fingerprints of records that were found unchanged although their `stat` says nothing: a block of neighbouring records in one entry.
//!
//! Owns the bytes of such an entry. Refuses to know what a fingerprint is made of. Its invariant: an entry that is not what was written
//! holds no fingerprint that any file has, so that the worst it can do is that a file is read once more.

use super::Fingerprint;
use crate::format::Number;

/// Records whose fingerprints are one entry: with an entry for each of a million files, sled takes ten seconds and 150 MB.
const BLOCK_RECORDS: u32 = 1024;

/// The fingerprints of one block of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledBlock {
    number: Number,
    block: u32,
    /// Ascending by record.
    rows: Vec<(u32, Fingerprint)>,
}

pub(super) const fn block_of(record: u32) -> u32 {
    record / BLOCK_RECORDS
}

pub(super) fn prefix(number: Number) -> [u8; 4] {
    number.0.to_be_bytes()
}

pub(super) fn key(number: Number, block: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&prefix(number));
    key[4..].copy_from_slice(&block.to_be_bytes());
    key
}

impl SettledBlock {
    /// Whether the record lies in this block.
    #[must_use]
    pub fn covers(&self, number: Number, record: u32) -> bool {
        self.number == number && self.block == block_of(record)
    }

    /// The fingerprint of a record of this block, if it has one.
    #[must_use]
    pub fn get(&self, record: u32) -> Option<Fingerprint> {
        self.position(record).ok().map(|at| self.rows[at].1)
    }

    pub(super) fn insert(&mut self, record: u32, fingerprint: Fingerprint) {
        match self.position(record) {
            Ok(at) => self.rows[at].1 = fingerprint,
            Err(at) => self.rows.insert(at, (record, fingerprint)),
        }
    }

    fn position(&self, record: u32) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&record, |(record, _)| *record)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.rows.len() * size_of::<(u32, Fingerprint)>());
        for (record, fingerprint) in &self.rows {
            value.extend_from_slice(&record.to_le_bytes());
            value.extend_from_slice(fingerprint);
        }
        value
    }

    /// The fingerprints that an entry of the index holds; of one that is not what was written, whatever its bytes are.
    #[must_use]
    pub fn decode(number: Number, block: u32, value: &[u8]) -> Self {
        let row = |row: &[u8]| {
            let (record, fingerprint) = row.split_first_chunk()?;
            Some((u32::from_le_bytes(*record), Fingerprint::try_from(fingerprint).ok()?))
        };
        let mut rows: Vec<_> = value.chunks_exact(size_of::<(u32, Fingerprint)>()).filter_map(row).collect();
        rows.sort_unstable_by_key(|(record, _)| *record);
        Self { number, block, rows }
    }
}
