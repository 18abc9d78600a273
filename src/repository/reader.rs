//! The reading side of a store: points as trees, and the bytes of their files.
//!
//! Owns the lease and the caches. Refuses to write anything but its lease. Invariant: the lease is taken before the first catalog is listed,
//! so that whatever a listing names stays readable while the reader lives.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::marks::Marks;
use super::open_catalogs::OpenCatalogs;
use super::points::Points;
use super::{Lease, RepositoryError, Store};
use crate::cache::ByteCache;
use crate::catalog::{Catalog, CatalogError, Entry};
use crate::format::record::{Content, Flags, Place};
use crate::format::table::Extent;
use crate::format::{FormatError, Kind, Number, Point, PointKind};
use crate::overlay::PointTree;
use crate::pack::{BlockReader, PackError};

/// How much memory the caches of a reader may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct CacheBytes {
    /// Decoded blocks of catalogs.
    pub catalogs: usize,
    /// Opened blocks of packs.
    pub blocks: usize,
}

impl CacheBytes {
    /// Shares `total` bytes out: a third for catalogs, the rest for blocks of data.
    #[must_use]
    pub const fn of_total(total: usize) -> Self {
        Self { catalogs: total / 3, blocks: total - total / 3 }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// In a catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// In a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The source's file could not be read when it was backed up, and never before.
    #[error("the content was never read: it could not be when it was backed up")]
    NeverRead,
}

/// Reads a store.
pub struct Reader {
    store: Store,
    lease: Mutex<Lease>,
    catalogs: OpenCatalogs,
    blocks: BlockReader,
}

impl Reader {
    /// Takes a lease and opens the store for reading.
    ///
    /// # Errors
    /// Where no lease can be taken although the store can be written.
    pub fn open(store: Store, cache: CacheBytes) -> Result<Self, RepositoryError> {
        Self::with_notice(store, cache, || ())
    }

    /// As [`Reader::open`]; `before_wait` is called by whoever is about to read from the store or to decode, which takes a while.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn with_notice(store: Store, cache: CacheBytes, before_wait: fn()) -> Result<Self, RepositoryError> {
        let lease = Lease::take(&store)?;
        let blocks = BlockReader::new(store.storage().clone(), ByteCache::with_notice(cache.blocks, before_wait));
        let catalog_cache = Arc::new(ByteCache::with_notice(cache.catalogs, before_wait));
        let catalogs = OpenCatalogs::new(store.storage().clone(), catalog_cache, before_wait);
        Ok(Self { store, lease: Mutex::new(lease), catalogs, blocks })
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Why the reader has no lease, where the store cannot be written.
    #[must_use]
    pub fn missing_lease(&self) -> Option<String> {
        self.lease().missing().map(ToString::to_string)
    }

    /// The points that there are now.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn points(&self) -> Result<Points, RepositoryError> {
        self.points_again(&Points::default())
    }

    /// The points that there are now; only what is not in `before` is read.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn points_again(&self, before: &Points) -> Result<Points, RepositoryError> {
        Points::list_again(self.store.storage(), before)
    }

    /// Where runs of bytes are read.
    #[must_use]
    pub const fn blocks(&self) -> &BlockReader {
        &self.blocks
    }

    /// The catalog of backup `number`.
    ///
    /// # Errors
    /// Where it is missing or damaged.
    pub fn catalog(&self, number: Number) -> Result<Arc<Catalog>, CatalogError> {
        self.catalogs.get(number)
    }

    /// The generation that the lease states.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.lease().generation()
    }

    /// The generation that the store has now. List points after this, not before.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn store_generation(&self) -> Result<u64, RepositoryError> {
        Ok(Marks::read(self.store.storage())?.generation)
    }

    /// From here on, of those catalogs that prune has taken away only `served` are found; until this is called all of them are. One that is open
    /// is found until [`Reader::reopen`].
    pub fn serve(&self, served: BTreeSet<Number>) {
        self.catalogs.serve(served);
    }

    /// Closes all catalogs and packs: from here on what prune has put in their places is read.
    pub fn reopen(&self) {
        self.catalogs.reopen();
        self.blocks.close_packs();
    }

    /// Whether nobody holds a catalog any more that was opened before the last [`Reader::reopen`].
    #[must_use]
    pub fn has_let_go(&self) -> bool {
        self.catalogs.has_let_go()
    }

    /// States that what was unreachable at `generation` is not needed any more: only after the points were listed at that generation and the catalogs
    /// [reopened](Reader::reopen), and when the reader [has let go](Reader::has_let_go) of those before.
    ///
    /// # Errors
    /// Where the lease cannot be written; more is kept then than need be.
    pub fn advance(&self, generation: u64) -> Result<(), RepositoryError> {
        // Whoever held an old catalog may have opened an old pack.
        self.blocks.close_packs();
        Ok(self.lease().advance(generation)?)
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree of a point.
    ///
    /// # Errors
    /// Where its catalog, or its base's, is missing or damaged.
    pub fn tree(&self, point: &Point) -> Result<PointTree, CatalogError> {
        let catalog = self.catalog(point.number)?;
        if catalog.point().id != point.id {
            return Err(CatalogError::Mismatch { number: point.number, what: "another catalog has taken its place" });
        }
        match point.kind {
            PointKind::Full => PointTree::of_full(catalog),
            PointKind::Differential { base, .. } => {
                let full = self.catalog(base).map_err(|error| match error {
                    CatalogError::Storage(error) if error.is_not_found() => {
                        CatalogError::Mismatch { number: point.number, what: "the full that it stands on is gone" }
                    }
                    error => error,
                })?;
                PointTree::of_differential(catalog, full)
            }
        }
    }

    /// Appends to `out` the bytes of a file from `offset`: `len` of them, or fewer where the file ends. Holes are zeros.
    ///
    /// # Errors
    /// Where the catalog or a block is damaged, or the content was never read.
    pub fn read(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let record = entry.record();
        if record.flags.has(Flags::NO_CONTENT) {
            return Err(ReadError::NeverRead);
        }
        let end = record.meta.size.min(offset.saturating_add(len as u64));
        if offset >= end {
            return Ok(());
        }
        let wanted = usize::try_from(end - offset).unwrap_or(len);
        let begin = out.len();
        match record.content {
            Content::Children(_) => return Err(damaged(catalog, entry, "content").into()),
            Content::None => out.resize(begin + wanted, 0),
            Content::Inline => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = entry.inline().get(from..from.saturating_add(wanted));
                out.extend_from_slice(bytes.ok_or_else(|| damaged(catalog, entry, "content"))?);
            }
            Content::One(place) => {
                let size = u32::try_from(record.meta.size).map_err(|_| damaged(catalog, entry, "size"))?;
                self.copy(catalog, &Extent { at: 0, len: size, place }, offset..end, out)?;
            }
            Content::Many { first, count } => {
                let mut failure = None;
                catalog.extents(first, count, offset, |extent| {
                    let at = offset + (out.len() - begin) as u64;
                    if extent.at >= end {
                        return false;
                    }
                    let hole = extent.at.saturating_sub(at);
                    out.resize(out.len() + usize::try_from(hole).unwrap_or(0), 0);
                    failure = self.copy(catalog, extent, at + hole..extent.end().min(end), out).err();
                    failure.is_none() && extent.end() < end
                })?;
                if let Some(failure) = failure {
                    return Err(failure);
                }
                out.resize(begin + wanted, 0);
            }
        }
        Ok(())
    }

    /// Appends the bytes of `extent` that lie in `range` of the file.
    fn copy(
        &self,
        catalog: &Catalog,
        extent: &Extent,
        range: std::ops::Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let skip = u32::try_from(range.start - extent.at).map_err(|_| wrong_place(catalog, "offset"))?;
        let len = u32::try_from(range.end.saturating_sub(range.start)).map_err(|_| wrong_place(catalog, "length"))?;
        let offset = extent.place.offset.checked_add(skip).ok_or_else(|| wrong_place(catalog, "offset"))?;
        self.with(catalog, Place { offset, ..extent.place }, len, |bytes| out.extend_from_slice(bytes))
    }

    /// Calls `use_bytes` with the `len` bytes at `place`, which a record or an extent of `catalog` names.
    ///
    /// # Errors
    /// Where there is no such place, or its block is damaged.
    pub fn with<R>(
        &self,
        catalog: &Catalog,
        place: Place,
        len: u32,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, ReadError> {
        let pack = *catalog.packs().get(place.pack as usize).ok_or_else(|| wrong_place(catalog, "pack"))?;
        Ok(self.blocks.with(pack, place.block, place.offset, len, use_bytes)?)
    }

    /// Gives `take` the ranges of a file that hold data, in order, from the first that ends after `offset`; what lies between them is holes. `take`
    /// answers whether it wants more.
    ///
    /// # Errors
    /// Where the catalog is damaged.
    pub fn data_ranges(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        offset: u64,
        mut take: impl FnMut(std::ops::Range<u64>) -> bool,
    ) -> Result<(), CatalogError> {
        let record = entry.record();
        let size = record.meta.size;
        match record.content {
            _ if record.meta.kind != Kind::File || offset >= size => Ok(()),
            // No holes: the extents need not be looked at.
            _ if record.data_bytes == size => {
                take(0..size);
                Ok(())
            }
            Content::None | Content::Children(_) => Ok(()),
            Content::Inline | Content::One(_) => {
                take(0..size);
                Ok(())
            }
            Content::Many { first, count } => {
                let mut run: Option<std::ops::Range<u64>> = None;
                let mut wants_more = true;
                catalog.extents(first, count, offset, |extent| {
                    match &mut run {
                        Some(run) if run.end == extent.at => run.end = extent.end(),
                        _ => {
                            if let Some(run) = run.replace(extent.at..extent.end()) {
                                wants_more = take(run.start..run.end.min(size));
                            }
                        }
                    }
                    wants_more
                })?;
                if let Some(run) = run.filter(|_| wants_more) {
                    take(run.start..run.end.min(size));
                }
                Ok(())
            }
        }
    }
}

fn wrong_place(catalog: &Catalog, what: &'static str) -> CatalogError {
    let (number, part) = (catalog.point().number, "a place".to_owned());
    CatalogError::Damaged { number, part, source: FormatError::Impossible(what) }
}

fn damaged(catalog: &Catalog, entry: &Entry, what: &'static str) -> CatalogError {
    CatalogError::Damaged {
        number: catalog.point().number,
        part: format!("record {}", entry.number()),
        source: FormatError::Impossible(what),
    }
}
