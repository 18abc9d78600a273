//! The index: which packs there are, and what earlier backups saw. The only place that names sled.
//!
//! Which chunks a pack holds is not in it: that stands in the pack's own table, which is read as fast.
//! Refuses to be the truth: everything here can be made anew from the packs, or costs only time when it is lost.
//! Invariant: nothing that sled says is believed without a check: a pack counts only if the caller has seen it in a listing, and
//! a value only if its checksum is right. An error, a panic or a doubt sets the whole index aside.

mod chunks;
mod settled;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use chunks::{ChunkTable, Location, PackOf};
pub use settled::SettledBlock;

use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::{FormatError, Number};

/// Bytes that sled may cache: the index is read once, front to back.
const SLED_CACHE_BYTES: u64 = 16 << 20;
/// Bytes of the segments in which sled's file grows, the least that an index takes. An entry has some dozens of bytes, so small ones do.
const SLED_SEGMENT_BYTES: usize = 32 << 10;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack's name and length.
    pub pack: PackRef,
    /// The family that it belongs to.
    pub family: u32,
    /// How many chunks it holds.
    pub chunks: u32,
}

/// What a file's `stat` says about change, as a hash of 128 bits.
pub type Fingerprint = [u8; 16];

/// The open index. One process at a time: its owner holds the store's writer lock.
pub struct Index {
    db: sled::Db,
    /// Pack → what is known of it: short, for every backup reads them all.
    packs: sled::Tree,
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
                .segment_size(SLED_SEGMENT_BYTES)
                .flush_every_ms(None)
                .print_profile_on_drop(false)
                .open()?;
            let (packs, settled) = (db.open_tree("packs")?, db.open_tree("settled")?);
            Ok(Self { db, packs, settled, path: path.to_owned() })
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

    /// The packs that the index names.
    ///
    /// # Errors
    /// Where the index is damaged.
    pub fn packs(&self) -> Result<Vec<IndexedPack>> {
        guarded(|| {
            self.packs
                .iter()
                .map(|entry| {
                    let (key, value) = entry?;
                    IndexedPack::decode(&key, &value)
                })
                .collect()
        })
    }

    /// Enters a pack that is durable.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn add(&self, indexed: &IndexedPack) -> Result<()> {
        guarded(|| Ok(self.packs.insert(indexed.pack.id.0, value::encode(indexed)).map(drop)?))
    }

    /// Drops the entry of a pack that is gone.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn drop_pack(&self, pack: &PackId) -> Result<()> {
        guarded(|| Ok(self.packs.remove(pack.0).map(drop)?))
    }

    /// The fingerprints under which records of backup `number` were found unchanged although their `stat` had changed or was too fresh: those of
    /// the block of records that `record` lies in.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn settled(&self, number: Number, record: u32) -> Result<SettledBlock> {
        let block = settled::block_of(record);
        guarded(|| {
            let value = self.settled.get(settled::key(number, block))?;
            Ok(SettledBlock::decode(number, block, value.as_deref().unwrap_or_default()))
        })
    }

    /// Remembers such fingerprints.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn settle(&self, mut found: Vec<(Number, u32, Fingerprint)>) -> Result<()> {
        found.sort_unstable_by_key(|(number, record, _)| (*number, *record));
        for of_block in
            found.chunk_by(|one, next| (one.0, settled::block_of(one.1)) == (next.0, settled::block_of(next.1)))
        {
            let (number, record, _) = of_block[0];
            let mut block = self.settled(number, record)?;
            for (_, record, fingerprint) in of_block {
                block.insert(*record, *fingerprint);
            }
            guarded(|| {
                Ok(self.settled.insert(settled::key(number, settled::block_of(record)), block.encode()).map(drop)?)
            })?;
        }
        Ok(())
    }

    /// Forgets the fingerprints of backup `number`, whose records nobody compares with any more.
    ///
    /// # Errors
    /// Where sled refuses.
    pub fn unsettle(&self, number: Number) -> Result<()> {
        guarded(|| {
            for key in self.settled.scan_prefix(settled::prefix(number)).keys() {
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

/// Runs `body`; a panic of sled's becomes an error. After one nothing of the index is used again but to set it aside.
fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(IndexError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(byte: u8, family: u32) -> IndexedPack {
        let pack = PackRef { id: PackId([byte; 32]), file_len: u64::from(byte) * 1000 };
        IndexedPack { pack, family, chunks: 7 }
    }

    #[test]
    fn what_was_entered_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let index = Index::open(&path).unwrap();
        index.add(&pack(1, 0)).unwrap();
        index.add(&pack(2, 9)).unwrap();
        index.settle(vec![(Number(5), 1, [4; 16]), (Number(4), 17, [3; 16])]).unwrap();
        index.flush().unwrap();
        drop(index);
        let index = Index::open(&path).unwrap();
        assert_eq!(index.packs().unwrap(), vec![pack(1, 0), pack(2, 9)]);
        let settled = |number, record| index.settled(Number(number), record).unwrap().get(record);
        assert_eq!(settled(4, 17), Some([3; 16]));
        index.unsettle(Number(4)).unwrap();
        assert_eq!(settled(4, 17), None);
        assert_eq!(settled(5, 1), Some([4; 16]));
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
        index.add(&pack(1, 0)).unwrap();
        let key = pack(1, 0).pack.id.0;
        let value = index.packs.get(key).unwrap().unwrap().to_vec();
        for at in 0..value.len() {
            let mut wrong = value.clone();
            wrong[at] ^= 1;
            index.packs.insert(key, wrong).unwrap();
            assert!(matches!(index.packs(), Err(IndexError::Value { .. })), "byte {at}");
        }
        index.packs.insert(key, &value[1..]).unwrap();
        assert!(matches!(index.packs(), Err(IndexError::Value { .. })));
        index.packs.insert(key, value.clone()).unwrap();
        index.packs.insert([2; 32], value).unwrap();
        assert!(matches!(index.packs(), Err(IndexError::Value { .. })), "the value of another pack");
    }

    #[test]
    fn settling_again_keeps_what_was_settled_and_the_newest_counts() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index")).unwrap();
        let settled = |record| index.settled(Number(1), record).unwrap().get(record);
        index.settle((0..5000).map(|record| (Number(1), record, [1; 16])).collect()).unwrap();
        index.settle(vec![(Number(1), 4000, [2; 16]), (Number(1), 9000, [3; 16]), (Number(2), 7, [4; 16])]).unwrap();
        assert_eq!((settled(3999), settled(4000), settled(4999)), (Some([1; 16]), Some([2; 16]), Some([1; 16])));
        assert_eq!((settled(5000), settled(9000)), (None, Some([3; 16])));
        assert!(index.settled.len() < 10, "not one entry for each record");
    }

    #[test]
    fn an_index_of_few_packs_takes_little_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let index = Index::open(&path).unwrap();
        (0..100).for_each(|byte| index.add(&pack(byte, 0)).unwrap());
        index.flush().unwrap();
        drop(index);
        let files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(files.sum::<u64>() < 200_000);
    }
}
