//! Saving what can be saved of a damaged store.
//!
//! Owns the order of mending. Refuses to judge what is damaged (that is verification's) and to remove anything: what is damaged is set aside, under its name
//! with `.damaged` behind it. Invariant: none reads other bytes at any step, and after each step whoever opens the store anew reads what could be read before; a reader that holds the
//! store open and does not go over to revisions meets errors.
//!
//! The steps: small files, which are made anew or set aside; packs and catalogs that stand under each other's names, which are put back; then all is verified. Of each pack of which
//! something cannot be read, all chunks that are still what their ids say are copied into new packs, and catalogs get revisions that name these. The pack is set aside,
//! so that no backup takes a damaged chunk for one that is stored: the next backup reads from the source again what it needs of the lost ones. Points that lost something are marked.

mod action;
mod places;
mod run;
mod salvage;

pub use action::Action;
pub use run::{Event, Report, repair};

use crate::catalog::CatalogError;
use crate::compaction::MoveError;
use crate::repository::RepositoryError;
use crate::storage::StorageError;
use crate::verify::VerifyError;

/// Why a store could not be mended, or no further. What was done till then is whole.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A file of the store could not be read, written or renamed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A catalog could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Something could not be moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// The store could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Something could not be read, and not because it is damaged.
    #[error("not all of the store could be read now, so nothing more is mended: {0}")]
    NotReadNow(String),
    /// The store as a whole.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// The result of mending.
pub type Result<T> = std::result::Result<T, RepairError>;
