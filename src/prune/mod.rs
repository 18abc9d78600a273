//! Giving space back: what no point needs any more is removed, and packs that are mostly empty are rewritten.
//!
//! Owns what is needed, what is worth rewriting, and the order in which things go. Refuses to decide which points are forgotten, and to believe
//! the index: what is needed is computed anew, from the catalogs, under the writer lock, each time. Invariant: whatever a living or a
//! forgotten but not expired point needs is there after every step, and so is whatever a live reader may have seen.
//!
//! The steps: [`Scan`](crate::compaction::Scan) looks at the catalogs that stay, [`Plan`] says what could go and why, [`prune`] does it. A pack is rewritten by copying the chunks that
//! are needed into new packs and putting, one by one, a revision in the place of each catalog that refers to it: the same records under the same
//! numbers, at other places. Old files go last, and only when no live reader can reach them; see `docs/concurrency.md`.

mod estimate;
mod plan;
mod run;

pub use estimate::{Estimate, estimate};
pub use plan::{Deadlines, Expired, Plan, Repack};
pub use run::{Event, Left, Options, Progress, Report, prune};

use crate::compaction::MoveError;
use crate::format::pack::PackId;
use crate::repository::RepositoryError;
use crate::storage::StorageError;

/// A pack is rewritten where less than this percentage of it is needed, unless somebody says otherwise.
pub const REPACK_BELOW: u8 = 70;

/// Why nothing, or no more, could be pruned. Points and what they need are untouched.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A file of the store could not be read, written or removed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A catalog or a pack could not be read or written.
    #[error(transparent)]
    Move(MoveError),
    /// The store as a whole.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The file system is not known to carry locks between machines: there may be readers whose leases are not seen.
    #[error(
        "the file system of the store is not known to carry locks between machines, so readers elsewhere would not be seen"
    )]
    ReadersElsewhere,
    /// There are packs and no catalog at all, in a store that has had some: they were lost, not pruned.
    #[error(
        "the store has packs and not one catalog, although it had some: they were lost, and what they need must not be removed"
    )]
    NoCatalogs,
    /// The writer lock was taken away.
    #[error("the writer lock is no longer the store's: somebody has removed it")]
    LockLost,
    /// A pack that was just written is not there.
    #[error("pack {0}, which was just written, is gone")]
    PackGone(PackId),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl From<MoveError> for PruneError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Stopped => Self::Stopped,
            error => Self::Move(error),
        }
    }
}

/// The result of pruning.
pub type Result<T> = std::result::Result<T, PruneError>;
