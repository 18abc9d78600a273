//! Moving what is needed into new packs: what catalogs need, where it goes, and catalogs that say so.
//!
//! Owns the three steps that `prune` and `repair` have in common: [`Scan`] finds what catalogs need of each pack, [`Moves`] copies it, [`revise`] puts a revision in the place of a
//! catalog. Refuses to decide what is moved, and to remove anything. Invariant: a revision has the same records under the same numbers, and each of its places holds the same
//! bytes as before.

mod moves;
mod revise;
mod usage;

pub use moves::{Moves, OnDamage};
pub use revise::{Stay, revise};
pub use usage::{PackUse, Scan, Usage};

use crate::catalog::CatalogError;
use crate::pack::PackError;

/// Why something could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A pack could not be read or written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A catalog could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Whoever watches told it to stop.
    #[error("stopped")]
    Stopped,
}

/// The result of moving something.
pub type Result<T> = std::result::Result<T, MoveError>;
