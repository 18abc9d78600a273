//! The index: which chunks the packs hold, and what earlier backups saw. The only place that names sled.
//!
//! Refuses to be the truth: everything here can be made anew from the packs, or costs only time when it is lost.
//! Invariant: nothing that sled says is believed without a check: a pack counts only if the caller has seen it in a listing, and
//! a value only if its checksum is right. An error, a panic or a doubt sets the whole index aside.

mod chunks;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use chunks::{ChunkTable, Location, PackOf};

use crate::format::catalog::PackRef;
use crate::format::pack::{ChunkId, PackId};
use crate::format::table::Chunk;
use crate::format::{FormatError, Number};

/// Bytes that sled may cache: the index is read once, front to back.
const SLED_CACHE_BYTES: u64 = 16 << 20;

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled refused.
    #[error("the index cannot be used")]
    Sled(#[from] sled::Error),
    /// sled panicked; its message stands on standard error.
    #[error("the index is damaged: sled gave up")]
    Panicked,
    /// A value is not what was written.
    #[error("the index is damaged: the entry of pack {pack}: {source}")]
    Value {
        /// The pack whose entry it is.
        pack: PackId,
        /// What is wrong.
        source: FormatError,
    },
    /// The directory could not be moved away or removed.
    #[error("cannot set the damaged index {path} aside")]
    SetAside {
        /// The directory of the index.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The result of using the index.
pub type Result<T> = std::result::Result<T, IndexError>;

/// What the index knows of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack's name and length.
    pub pack: PackRef,
    /// The family that it belongs to.
    pub family: u32,
    /// Its chunks: shortened id and place.
    pub chunks: Vec<(ShortId, Chunk)>,
}

/// The first half of a [`ChunkId`]: 128 bits of a keyed hash tell chunks apart as surely as all 256 and take half the memory.
pub type ShortId = [u8; 16];

/// The short form of a chunk id.
#[must_use]
pub fn short(id: &ChunkId) -> ShortId {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

/// The open index. One process at a time: its owner holds the store's writer lock.
pub struct Index {
    db: sled::Db,
    /// Pack → length of its file and family: short, for every backup reads them all.
    packs: sled::Tree,
    /// Pack → its chunks, sealed: long, and read only by a backup that has something to store.
    chunks: sled::Tree,
    settled: sled::Tree,
    path: PathBuf,
}

impl Index {
    /// Opens the index in directory `path`, and makes an empty one where there is none.
    ///
    /// # Errors
    /// Where what is there cannot be opened: then [`Index::set_aside`] and open again.
    pub fn open(path: &Path) -> Result<Self> {
        guarded(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(SLED_CACHE_BYTES)
                .flush_every_ms(None)
                .print_profile_on_drop(false)
                .open()?;
            let (packs, chunks, settled) = (db.open_tree("packs")?, db.open_tree("chunks")?, db.open_tree("settled")?);
            Ok(Self { db, packs, chunks, settled, path: path.to_owned() })
        })
    }

    /// Removes what stands at `path`, so that the next [`Index::open`] begins anew. It is moved away first: a half-removed index is never opened.
    ///
    /// # Errors
    /// Where the directory cannot be moved or removed.
    pub fn set_aside(path: &Path) -> Result<()> {
        let wrong = |source| IndexError::SetAside { path: path.to_owned(), source };
        let aside = path.with_extension("aside");
        let remove = |path: &Path| match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
            Ok(_) => std::fs::remove_file(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        remove(&aside).map_err(wrong)?;
        match std::fs::rename(path, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(wrong(error)),
            _ => remove(&aside).map_err(wrong),
        }
    }

    /// Where the index lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The packs that the index names, without their chunks.
    ///
    /// # Errors
    /// Where the index is damaged.
    pub fn packs(&self) -> Result<Vec<PackRef>> {
        guarded(|| {
            self.packs
                .iter()
                .map(|entry| {
                    let (key, head) = entry?;
                    Ok(value::decode_head(&key, &head)?.0)
                })
                .collect()
        })
    }

    /// Enters a pack that is durable.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn add(&self, pack: PackRef, family: u32, chunks: &[(ChunkId, Chunk)]) -> Result<()> {
        let chunks = value::encode_chunks(chunks);
        guarded(|| {
            // In this order: a pack that is named has its chunks.
            self.chunks.insert(pack.id.0, chunks)?;
            Ok(self.packs.insert(pack.id.0, &value::encode_head(pack, family)).map(drop)?)
        })
    }

    /// Drops the entry of a pack that is gone.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn drop_pack(&self, pack: &PackId) -> Result<()> {
        guarded(|| {
            self.packs.remove(pack.0)?;
            Ok(self.chunks.remove(pack.0).map(drop)?)
        })
    }

    /// Gives every pack with its chunks to `take`.
    ///
    /// # Errors
    /// Where an entry is damaged.
    pub fn for_each(&self, mut take: impl FnMut(IndexedPack)) -> Result<()> {
        guarded(|| {
            for entry in &self.packs {
                let (key, head) = entry?;
                let (pack, family) = value::decode_head(&key, &head)?;
                let chunks = value::decode_chunks(pack.id, self.chunks.get(&key)?.as_deref())?;
                take(IndexedPack { pack, family, chunks });
            }
            Ok(())
        })
    }

    /// The fingerprint under which record `record` of backup `number` was found unchanged although its `stat` had changed or was too fresh.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn settled(&self, number: Number, record: u32) -> Result<Option<ShortId>> {
        guarded(|| {
            Ok(self.settled.get(settled_key(number, record))?.and_then(|value| ShortId::try_from(value.as_ref()).ok()))
        })
    }

    /// Remembers such fingerprints.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn settle(&self, found: impl IntoIterator<Item = (Number, u32, ShortId)>) -> Result<()> {
        guarded(|| {
            for (number, record, fingerprint) in found {
                self.settled.insert(settled_key(number, record), fingerprint.to_vec())?;
            }
            Ok(())
        })
    }

    /// Forgets the fingerprints of backup `number`, whose records nobody compares with any more.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn unsettle(&self, number: Number) -> Result<()> {
        guarded(|| {
            for key in self.settled.scan_prefix(number.0.to_be_bytes()).keys() {
                self.settled.remove(key?)?;
            }
            Ok(())
        })
    }

    /// Makes what was entered durable.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn flush(&self) -> Result<()> {
        guarded(|| Ok(self.db.flush().map(drop)?))
    }
}

fn settled_key(number: Number, record: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&number.0.to_be_bytes());
    key[4..].copy_from_slice(&record.to_be_bytes());
    key
}

/// Runs `body`; a panic of sled's becomes an error. After one nothing of the index is used again but to set it aside.
fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(IndexError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ChunkId {
        ChunkId([byte; 32])
    }

    fn pack(byte: u8) -> PackRef {
        PackRef { id: PackId([byte; 32]), file_len: u64::from(byte) * 1000 }
    }

    fn chunk(block: u32, offset: u32) -> Chunk {
        Chunk { block, offset, len: 10 }
    }

    #[test]
    fn what_was_entered_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let index = Index::open(&path).unwrap();
        index.add(pack(1), 0, &[(id(7), chunk(0, 5)), (id(8), chunk(3, 0))]).unwrap();
        index.add(pack(2), 9, &[]).unwrap();
        index.settle([(Number(4), 17, [3; 16]), (Number(5), 1, [4; 16])]).unwrap();
        index.flush().unwrap();
        drop(index);
        let index = Index::open(&path).unwrap();
        assert_eq!(index.packs().unwrap(), vec![pack(1), pack(2)]);
        let mut all = Vec::new();
        index.for_each(|pack| all.push(pack)).unwrap();
        assert_eq!(all[0].chunks, vec![([7; 16], chunk(0, 5)), ([8; 16], chunk(3, 0))]);
        assert_eq!(all[1].family, 9);
        index.unsettle(Number(4)).unwrap();
        assert_eq!(index.settled(Number(4), 17).unwrap(), None);
        assert_eq!(index.settled(Number(5), 1).unwrap(), Some([4; 16]));
    }

    #[test]
    fn rubbish_is_an_error_and_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        std::fs::create_dir(&path).unwrap();
        for name in ["db", "conf", "blobs"] {
            std::fs::write(path.join(name), [0xa5; 5000]).unwrap();
        }
        assert!(Index::open(&path).is_err());
        Index::set_aside(&path).unwrap();
        assert_eq!(Index::open(&path).unwrap().packs().unwrap(), vec![]);
    }

    #[test]
    fn a_damaged_value_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index")).unwrap();
        index.add(pack(1), 0, &[(id(7), chunk(0, 5))]).unwrap();
        let mut value = index.chunks.get(pack(1).id.0).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        index.chunks.insert(pack(1).id.0, value).unwrap();
        assert!(matches!(index.for_each(drop), Err(IndexError::Value { .. })));
        index.chunks.remove(pack(1).id.0).unwrap();
        assert!(matches!(index.for_each(drop), Err(IndexError::Value { .. })));
    }
}
