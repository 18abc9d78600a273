//! The catalogs that a reader holds open, and those that it has given away.
//!
//! Owns which file stands behind a number. Refuses to know leases. Invariant: after [`OpenCatalogs::reopen`] nobody is given a catalog that was opened before, and
//! [`OpenCatalogs::has_let_go`] is true only when nobody holds one any more.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lru::LruCache;

use crate::catalog::{Catalog, CatalogCache, CatalogError};
use crate::format::Number;
use crate::storage::Storage;

/// Catalogs that are held open at the same time, at most.
const OPEN_CATALOGS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// The open catalogs of one reader.
pub(super) struct OpenCatalogs {
    storage: Storage,
    /// Their decoded blocks.
    cache: Arc<CatalogCache>,
    state: Mutex<State>,
    before_wait: fn(),
}

struct State {
    open: LruCache<Number, Arc<Catalog>>,
    /// All that were opened since the last reopening, as long as anybody may hold them, and the length at which it is worth looking who does.
    given: Vec<Weak<Catalog>>,
    given_limit: usize,
    /// Those that were opened before.
    old: Vec<Weak<Catalog>>,
    /// Rises with each reopening.
    epoch: u64,
    /// Those that are also read where prune has taken them away; all of them, until somebody says which.
    served: Option<BTreeSet<Number>>,
}

impl OpenCatalogs {
    /// None open yet. `before_wait` is called by whoever is about to open one.
    pub(super) fn new(storage: Storage, cache: Arc<CatalogCache>, before_wait: fn()) -> Self {
        let state = State {
            open: LruCache::new(OPEN_CATALOGS),
            given: Vec::new(),
            given_limit: 2 * OPEN_CATALOGS.get(),
            old: Vec::new(),
            epoch: 0,
            served: None,
        };
        Self { storage, cache, state: Mutex::new(state), before_wait }
    }

    /// The catalog of backup `number`.
    pub(super) fn get(&self, number: Number) -> Result<Arc<Catalog>, CatalogError> {
        loop {
            let mut state = self.lock();
            if let Some(catalog) = state.open.get(&number) {
                return Ok(Arc::clone(catalog));
            }
            let epoch = state.epoch;
            let may_be_removed = state.served.as_ref().is_none_or(|served| served.contains(&number));
            drop(state);
            (self.before_wait)();
            let opened = self.open(number, may_be_removed);
            state = self.lock();
            // Reopened meanwhile: this may be what stood there before.
            if state.epoch == epoch {
                return opened.map(|catalog| state.keep(number, catalog));
            }
        }
    }

    fn open(&self, number: Number, may_be_removed: bool) -> Result<Catalog, CatalogError> {
        let cache = || Arc::clone(&self.cache);
        match Catalog::open(&self.storage, number, cache()) {
            // Pruned since it was listed.
            Err(CatalogError::Storage(error)) if error.is_not_found() && may_be_removed => {
                Catalog::open_removed(&self.storage, number, cache()).map_err(|_| error.into())
            }
            answer => answer,
        }
    }

    /// From here on, of those catalogs that prune has taken away only `served` are opened.
    pub(super) fn serve(&self, served: BTreeSet<Number>) {
        self.lock().served = Some(served);
    }

    /// Closes all: from here on each is opened anew.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        let given = std::mem::take(&mut state.given);
        state.old.extend(given);
        let open = std::mem::replace(&mut state.open, LruCache::new(OPEN_CATALOGS));
        drop(state);
        // Files are closed outside the lock.
        drop(open);
    }

    /// Whether nobody holds a catalog any more that was opened before the last reopening.
    pub(super) fn has_let_go(&self) -> bool {
        let mut state = self.lock();
        state.old.retain(is_held);
        state.old.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, number: Number, catalog: Catalog) -> Arc<Catalog> {
        // Another may have opened it meanwhile; all must share one, for their blocks are cached by it.
        if let Some(catalog) = self.open.get(&number) {
            return Arc::clone(catalog);
        }
        let catalog = Arc::new(catalog);
        if self.given.len() >= self.given_limit {
            self.given.retain(is_held);
            self.given_limit = 2 * self.given.len().max(OPEN_CATALOGS.get());
        }
        self.given.push(Arc::downgrade(&catalog));
        self.open.put(number, Arc::clone(&catalog));
        catalog
    }
}

fn is_held(catalog: &Weak<Catalog>) -> bool {
    catalog.strong_count() > 0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::format::layout;
    use crate::overlay::model::{Item, ModelStore};

    fn store(fulls: usize) -> ModelStore {
        let mut made = ModelStore::new();
        for _ in 0..fulls {
            made.full(&Item::dir([("a", Item::file("one"))]));
        }
        made
    }

    fn take_away(made: &ModelStore, number: Number) {
        let path = |name: String| made.path().join(name);
        fs::rename(path(layout::catalog(number)), path(layout::removed_catalog(number))).unwrap();
    }

    #[test]
    fn a_catalog_from_before_is_given_to_nobody_and_known_until_its_last_holder_drops_it() {
        let made = store(OPEN_CATALOGS.get() + 1);
        let reader = made.reader();
        let held = reader.catalog(Number(1)).unwrap();
        assert!(Arc::ptr_eq(&held, &reader.catalog(Number(1)).unwrap()));
        // Others push it out of what is held open.
        for number in (1..).take(OPEN_CATALOGS.get() + 1).skip(1) {
            reader.catalog(Number(number)).unwrap();
        }
        reader.reopen();
        assert!(!reader.has_let_go());
        let after = reader.catalog(Number(1)).unwrap();
        assert!(!Arc::ptr_eq(&held, &after));
        let also = Arc::clone(&held);
        drop(held);
        assert!(!reader.has_let_go());
        drop(also);
        assert!(reader.has_let_go());
        // What was opened since is not waited for, until the next time.
        reader.reopen();
        assert!(!reader.has_let_go());
        drop(after);
        assert!(reader.has_let_go());
    }

    #[test]
    fn a_catalog_that_was_taken_away_is_found_only_where_it_is_served_and_never_once_reopened_without() {
        let made = store(2);
        let reader = made.reader();
        take_away(&made, Number(1));
        assert_eq!(reader.catalog(Number(1)).unwrap().point().number, Number(1));
        reader.serve([Number(1)].into());
        reader.reopen();
        drop(reader.catalog(Number(1)).unwrap());
        reader.serve(BTreeSet::new());
        reader.reopen();
        let Err(CatalogError::Storage(error)) = reader.catalog(Number(1)) else { panic!("it is still read") };
        assert!(error.is_not_found());
        assert!(reader.has_let_go());
        assert!(reader.catalog(Number(2)).is_ok());
    }

    #[test]
    fn who_opens_a_catalog_while_all_are_reopened_gets_a_new_one() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static IS_FIRST: AtomicBool = AtomicBool::new(true);
        static OPEN: Mutex<Option<Arc<OpenCatalogs>>> = Mutex::new(None);
        /// The one who opens is about to: at this moment all are reopened, and what is taken away is served no more.
        fn interfere() {
            if IS_FIRST.swap(false, Ordering::Relaxed) {
                let catalogs = OPEN.lock().unwrap().clone().unwrap();
                catalogs.serve(BTreeSet::new());
                catalogs.reopen();
            }
        }
        let made = store(1);
        take_away(&made, Number(1));
        let reader = made.reader();
        let cache = Arc::new(CatalogCache::new(1 << 20));
        let catalogs = Arc::new(OpenCatalogs::new(reader.store().storage().clone(), cache, interfere));
        *OPEN.lock().unwrap() = Some(Arc::clone(&catalogs));
        assert!(catalogs.get(Number(1)).is_err(), "it was opened by what was true before");
        assert!(!IS_FIRST.load(Ordering::Relaxed));
        *OPEN.lock().unwrap() = None;
    }

    #[test]
    fn a_lease_states_the_generation_when_the_reader_is_told_to() {
        let made = store(1);
        let reader = made.reader();
        let before = reader.generation();
        assert_eq!(reader.store_generation().unwrap(), before);
        reader.advance(before + 1).unwrap();
        assert_eq!(reader.generation(), before + 1);
        let leases = fs::read_dir(made.path().join(layout::LEASES)).unwrap();
        let stated: Vec<u64> =
            leases.map(|lease| fs::read_to_string(lease.unwrap().path()).unwrap().parse().unwrap()).collect();
        assert_eq!(stated, [before + 1]);
    }
}
