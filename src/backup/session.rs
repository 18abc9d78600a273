//! The one writer of a store: its lock, and its index.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use super::prepare::{self, Prepared};
use super::run::{Attempt, Done, Options, Run, Subject};
use super::{BackupError, Notice, Progress, Result};
use crate::catalog::CatalogError;
use crate::format::layout;
use crate::index::Index;
use crate::repository::{SourceName, Store, WriterLock, lease};
use crate::storage::Wait;

/// The index, being prepared or ready.
enum IndexState {
    Preparing(JoinHandle<Result<Prepared>>),
    Ready(Box<Prepared>),
    /// It could not be prepared, and why has been said; or nobody may use it.
    Unusable,
}

/// The one writer of a store, for one backup or several.
pub struct Session {
    pub(super) store: Store,
    index: RefCell<IndexState>,
    /// None in a dry run, which is no writer. Let go of last: while it is held nobody else opens the index.
    pub(super) lock: Option<WriterLock>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A thread that still prepares the index must not outlive the lock.
        if let IndexState::Preparing(thread) = std::mem::replace(self.index.get_mut(), IndexState::Unusable) {
            let _ = thread.join();
        }
    }
}

impl Session {
    /// Becomes the writer: takes the lock, clears away what dead writers and readers left, and begins to open the index.
    ///
    /// # Errors
    /// Where another writer is busy (and `wait` says not to wait), or the store cannot be written.
    pub fn begin(store: &Store, wait: Wait) -> Result<Self> {
        let lock = WriterLock::take(store, wait)?;
        lock.remove_stale_temporaries(store)?;
        lease::sweep(store, &lock)?;
        let index = RefCell::new(IndexState::Preparing(prepare::begin(store)?));
        Ok(Self { store: store.clone(), index, lock: Some(lock) })
    }

    /// A session that only tries: it takes no writer lock and changes nothing; like every reader it takes a lease.
    #[must_use]
    pub fn dry(store: &Store) -> Self {
        Self { store: store.clone(), index: RefCell::new(IndexState::Unusable), lock: None }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The writer lock, for who notes what came of a backup; none in a dry run.
    #[must_use]
    pub const fn writer(&self) -> Option<&WriterLock> {
        self.lock.as_ref()
    }

    /// The index, waited for if need be. Says once what was found when it was opened.
    pub(super) fn index(&self, notify: &dyn Fn(Notice)) -> Result<RefMut<'_, Prepared>> {
        let mut state = self.index.borrow_mut();
        if matches!(*state, IndexState::Preparing(_))
            && let IndexState::Preparing(thread) = std::mem::replace(&mut *state, IndexState::Unusable)
        {
            match prepare::join(thread) {
                Ok(prepared) => *state = IndexState::Ready(Box::new(prepared)),
                Err(error) => {
                    // Said here, for some who ask go on without an answer.
                    notify(Notice::Problem(prepare::chain(&error)));
                    return Err(error);
                }
            }
        }
        let ready = RefMut::filter_map(state, |state| match state {
            IndexState::Ready(prepared) => Some(&mut **prepared),
            _ => None,
        });
        let mut prepared = ready.map_err(|_| BackupError::NoIndex)?;
        for notice in prepared.notices.drain(..) {
            notify(notice);
        }
        Ok(prepared)
    }

    /// Lets go of an index that has failed, and sets it aside: the next backup makes it anew.
    pub(super) fn give_up_index(&self, notify: &dyn Fn(Notice)) {
        // Who only tries has none, and may touch nobody's.
        if self.lock.is_none() {
            return;
        }
        // sled holds its files until it is dropped.
        *self.index.borrow_mut() = IndexState::Unusable;
        if let Err(error) = Index::set_aside(&self.store.path().join(layout::INDEX)) {
            notify(Notice::Problem(prepare::chain(&error)));
        }
    }

    /// Backs up `subject` under `name`.
    ///
    /// # Errors
    /// Where no point could be made: the store then has at most packs more that nothing refers to.
    pub fn back_up(
        &self,
        name: &SourceName,
        mut subject: Subject,
        options: &Options,
        progress: &Progress,
        notify: &dyn Fn(Notice),
        cancel: &Arc<AtomicBool>,
    ) -> Result<Done> {
        let mut unusable = BTreeSet::new();
        let mut abandoned = None;
        loop {
            let run = Run { session: self, name, options, progress, notify, cancel, abandoned: abandoned.as_ref() };
            match run.once(&mut subject, &unusable) {
                Ok(Attempt::Done(done)) => return Ok(*done),
                Ok(Attempt::TooLarge(left)) => {
                    abandoned = Some(left);
                    progress.restart();
                    notify(Notice::BecomesFull);
                }
                // What a damaged catalog says cannot be built on; what it does not say is read from the source.
                Err(BackupError::Catalog(CatalogError::Damaged { number, part, source }))
                    if matches!(subject, Subject::Tree { .. }) && unusable.insert(number) =>
                {
                    let error = CatalogError::Damaged { number, part, source };
                    notify(Notice::BaseUnusable { number, error: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes the index anew from the packs; answers how many were entered.
///
/// # Errors
/// Where another writer is busy, or the packs or the index cannot be read or written.
pub fn rebuild_index(store: &Store, wait: Wait, notify: &dyn Fn(Notice)) -> Result<usize> {
    let lock = WriterLock::take(store, wait)?;
    lock.remove_stale_temporaries(store)?;
    let listed = prepare::list_packs(store.storage())?;
    let path = store.path().join(layout::INDEX);
    let rebuilt = Prepared::rebuild(store.storage(), path, listed, "as asked")?;
    let mut entered = 0;
    for notice in rebuilt.notices {
        match notice {
            Notice::IndexRebuilt { packs, .. } => entered = packs,
            other => notify(other),
        }
    }
    Ok(entered)
}
