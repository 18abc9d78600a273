//! Making a point in time out of a source.
//!
//! Owns the comparison of a source with earlier backups and the decision what is read and listed. Refuses to know how bytes are laid
//! out or files opened. Invariant: nothing is visible until the catalog is renamed, and by then every pack that it refers to is durable.

mod alarm;
mod before;
mod carry;
mod chunk_ids;
mod chunks;
mod commit;
mod content;
mod directory;
mod engine;
mod entry;
mod group;
mod import;
mod leaf;
mod links;
mod lost;
mod measure;
mod pack_table;
mod prepare;
mod promote;
mod report;
mod run;
mod session;
mod stdin;
mod trail;
pub mod version;

use std::path::PathBuf;

pub use crate::policy::decision::{Choice, Decision, Mode, Reason};
pub use import::{Base, Import, ImportError, Planned, Prepared, plan, prepare};
pub use promote::Promotion;
pub use report::{Notice, Progress};
pub use run::{Done, Made, Options, Outcome, Subject};
pub use session::{Session, rebuild_index};

use crate::catalog::CatalogError;
use crate::format::pack::PackId;
use crate::index::IndexError;
use crate::pack::PackError;
use crate::repository::tags::TagError;
use crate::repository::{RepositoryError, SourceNameError};
use crate::source::StartError;
use crate::storage::StorageError;

/// Why no point was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The source cannot be walked.
    #[error(transparent)]
    Source(#[from] StartError),
    /// The source was removed while it was backed up.
    #[error("the source {} is gone", path.display())]
    SourceGone {
        /// The source.
        path: PathBuf,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Stdin(#[source] std::io::Error),
    /// The store as a whole.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A pack cannot be written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The index can neither be used nor made anew.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index could not be prepared when it was first asked for.
    #[error("the index can neither be used nor made anew")]
    NoIndex,
    /// A file of the store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A name that cannot be a source's.
    #[error(transparent)]
    Name(#[from] SourceNameError),
    /// A tag stands elsewhere.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The name belongs to another source.
    #[error("the name {name} belongs to the source {}, not to {}", known.display(), given.display())]
    SourceElsewhere {
        /// The name.
        name: String,
        /// What it names.
        known: PathBuf,
        /// What it was to name.
        given: PathBuf,
    },
    /// A pack that the new catalog refers to is gone.
    #[error("pack {pack} is gone or has changed its length; nothing was committed")]
    PackGone {
        /// The pack.
        pack: PackId,
    },
    /// Another writer committed under the number of this backup, although it held no lock that this one sees.
    #[error("the number {number} was taken by another writer; nothing was committed")]
    NumberTaken {
        /// The number.
        number: crate::format::Number,
    },
    /// The file that this writer has locked is not the store's lock file any more.
    #[error("the writer lock was removed or replaced while the backup ran; nothing was committed")]
    LockLost,
    /// The differential is larger than it may be; another attempt makes a full.
    #[error("the differential holds {bytes} bytes or more, which is more than it may")]
    TooLarge {
        /// The bytes that had been counted.
        bytes: u64,
    },
    /// There is nothing to promote.
    #[error("backup {number} is a full already")]
    FullAlready {
        /// The point.
        number: crate::format::Number,
    },
    /// The backup was told to stop.
    #[error("the backup was stopped; nothing was committed")]
    Cancelled,
}

/// The result of backing up.
pub type Result<T> = std::result::Result<T, BackupError>;
