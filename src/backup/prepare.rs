//! The index, opened and checked against the packs that are really there, on a thread of its own while the walk begins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::{BackupError, Notice, Result};
use crate::format::catalog::PackRef;
use crate::format::layout;
use crate::format::pack::{ChunkId, PackId};
use crate::format::table::Chunk;
use crate::index::{ChunkTable, Index, IndexedPack, Location, PackOf};
use crate::pack::{self, Pack, Packed};
use crate::repository::{Store, notes};
use crate::storage::Storage;

/// The index and the packs that may be referred to.
pub(crate) struct Prepared {
    index: Option<Index>,
    listed: BTreeMap<PackId, u64>,
    pub(crate) notices: Vec<Notice>,
    storage: Storage,
}

/// The packs of a store that new data may be held to be stored in, by name, with the lengths of their files.
pub(crate) fn list_packs(storage: &Storage) -> Result<BTreeMap<PackId, u64>> {
    // Notes that are damaged are said where points are listed.
    let distrusted = notes::distrusted(&notes::read_all(storage)?.0);
    let packs = pack::list(storage)?.into_iter().filter(|pack| !distrusted.contains(&pack.id));
    Ok(packs.map(|pack| (pack.id, pack.file_len)).collect())
}

/// Begins to prepare. Only the holder of the writer lock may: sled has one owner.
pub(crate) fn begin(store: &Store) -> Result<JoinHandle<Result<Prepared>>> {
    let store = store.clone();
    let start = std::thread::Builder::new().name("index".to_owned()).spawn(move || prepare(&store));
    start.map_err(|error| pack::PackError::Thread(error).into())
}

/// What [`begin`] prepared.
pub(crate) fn join(thread: JoinHandle<Result<Prepared>>) -> Result<Prepared> {
    match thread.join() {
        Ok(prepared) => prepared,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Opens the index and sets it right.
pub(crate) fn prepare(store: &Store) -> Result<Prepared> {
    let path = store.path().join(layout::INDEX);
    let listed = list_packs(store.storage())?;
    match store.storage().create_dir(layout::INDEX) {
        // No directory stands there: it cannot be opened, and is set aside as every damaged index is.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
        answer => answer?,
    }
    let existed = path.join("db").exists();
    let opened = Index::open(&path).and_then(|index| index.packs().map(|packs| (index, packs)));
    match opened {
        Ok((index, known)) => {
            let mut prepared =
                Prepared { index: Some(index), listed, notices: Vec::new(), storage: store.storage().clone() };
            match prepared.mend(&known, existed) {
                Ok(()) => Ok(prepared),
                Err(BackupError::Index(error)) => {
                    let listed = std::mem::take(&mut prepared.listed);
                    drop(prepared);
                    Prepared::rebuild(store.storage(), path, listed, &chain(&error))
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Prepared::rebuild(store.storage(), path, listed, &chain(&error)),
    }
}

impl Prepared {
    /// The index.
    pub(crate) fn index(&self) -> &Index {
        self.index.as_ref().expect("it is away only while it is made anew")
    }

    /// Enters a pack that this session has written: further backups of the session may refer to it.
    pub(crate) fn learn(&mut self, packed: &Packed, family: u32) -> Result<()> {
        let chunks = count(&packed.chunks);
        self.index().add(&IndexedPack { pack: packed.pack, family, chunks })?;
        self.listed.insert(packed.pack.id, packed.pack.file_len);
        Ok(())
    }

    /// Sets a damaged index aside and fills a new one from the packs.
    pub(crate) fn rebuild(
        storage: &Storage,
        path: PathBuf,
        listed: BTreeMap<PackId, u64>,
        reason: &str,
    ) -> Result<Self> {
        Index::set_aside(&path)?;
        // By the storage, which makes directories that nobody else can look into; sled would not.
        storage.create_dir(layout::INDEX)?;
        let index = Index::open(&path)?;
        let mut prepared = Self { index: Some(index), listed, notices: Vec::new(), storage: storage.clone() };
        let all: Vec<PackRef> = prepared.listed.iter().map(|(id, len)| PackRef { id: *id, file_len: *len }).collect();
        let packs = prepared.enter(&all)?;
        prepared.notices.push(Notice::IndexRebuilt { reason: reason.to_owned(), packs });
        Ok(prepared)
    }

    /// Enters listed packs that the index lacks, and drops those that are gone or have another length.
    fn mend(&mut self, known: &[IndexedPack], existed: bool) -> Result<()> {
        let mut missing = self.listed.clone();
        let mut dropped = 0;
        for IndexedPack { pack, .. } in known {
            if missing.get(&pack.id) == Some(&pack.file_len) {
                missing.remove(&pack.id);
            } else {
                self.index().drop_pack(&pack.id)?;
                dropped += 1;
            }
        }
        let missing: Vec<PackRef> = missing.into_iter().map(|(id, file_len)| PackRef { id, file_len }).collect();
        let added = self.enter(&missing)?;
        if known.is_empty() && !missing.is_empty() {
            let reason = if existed { "it was empty" } else { "there was none" };
            self.notices.push(Notice::IndexRebuilt { reason: reason.to_owned(), packs: added });
        } else if added + dropped > 0 {
            self.notices.push(Notice::IndexMended { added, dropped });
        }
        Ok(())
    }

    /// Reads packs and enters them. A damaged pack is said and left out: nothing will be deduplicated against it.
    fn enter(&mut self, packs: &[PackRef]) -> Result<usize> {
        let mut entered = 0;
        for pack in packs {
            let read = Pack::open(&self.storage, *pack).and_then(|open| Ok((open.family(), open.chunks()?)));
            match read {
                Ok((family, chunks)) => {
                    self.index().add(&IndexedPack { pack: *pack, family, chunks: count(&chunks) })?;
                    entered += 1;
                }
                Err(error) => {
                    self.listed.remove(&pack.id);
                    self.notices.push(Notice::Problem(chain(&error)));
                }
            }
        }
        if entered > 0 {
            self.index().flush()?;
        }
        Ok(entered)
    }

    /// The chunks of a family, as the packs themselves tell them. An index that turns out to be damaged is made anew.
    pub(crate) fn chunk_table(&mut self, family: u32) -> Result<ChunkTable> {
        match self.fill(family) {
            Ok(table) => Ok(table),
            Err(BackupError::Index(error)) => {
                let path = self.index().path().to_owned();
                // sled holds its files until it is dropped.
                self.index = None;
                let listed = std::mem::take(&mut self.listed);
                let mut rebuilt = Self::rebuild(&self.storage, path, listed, &chain(&error))?;
                self.notices.append(&mut rebuilt.notices);
                (self.index, self.listed) = (rebuilt.index.take(), std::mem::take(&mut rebuilt.listed));
                self.fill(family)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the tables of the packs of a family that are there. A damaged pack is said and left out: nothing will be deduplicated against it.
    fn fill(&mut self, family: u32) -> Result<ChunkTable> {
        let mut known = self.index().packs()?;
        known.retain(|IndexedPack { pack, family: its, .. }| {
            *its == family && self.listed.get(&pack.id) == Some(&pack.file_len)
        });
        let mut table = ChunkTable::with_room_for(known.iter().map(|indexed| indexed.chunks as usize).sum());
        for IndexedPack { pack, .. } in known {
            let read = Pack::open(&self.storage, pack).and_then(|open| Ok((open.family(), open.chunks()?)));
            match read {
                // The pack is the one to believe: what another family holds is not there for this one.
                Ok((its, _)) if its != family => {}
                Ok((_, chunks)) => {
                    let pack = table.add_pack(PackOf::Stored(pack));
                    for (id, chunk) in chunks {
                        table.insert(id, Location { pack, block: chunk.block, offset: chunk.offset });
                    }
                }
                Err(error) => self.notices.push(Notice::Problem(chain(&error))),
            }
        }
        Ok(table)
    }
}

fn count(chunks: &[(ChunkId, Chunk)]) -> u32 {
    u32::try_from(chunks.len()).expect("the table of a pack has fewer than 2^32 rows")
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
