//! Catalogs: one immutable file for each point in time, written in one pass and read in streams or by record number.
//!
//! Owns how the sections of [`crate::format::catalog`] become a file and back. Refuses to know what an overlay is, or where data
//! comes from. Invariant: a catalog that can be opened was finished; a record of it is decoded only after its checksum was found right.

mod cursor;
mod reader;
#[cfg(test)]
mod tests;
mod whole;
mod writer;

pub use cursor::ChildCursor;
pub use reader::{Catalog, CatalogCache, Entry};
pub use writer::CatalogWriter;

use crate::format::{FormatError, Number};
use crate::storage::StorageError;

/// Why a catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file is damaged.
    #[error("catalog {number} is damaged: {part}: {source}")]
    Damaged {
        /// The backup.
        number: Number,
        /// What part of the file.
        part: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// What was to be written could not be read again.
    #[error("catalog {number} would be unreadable, so it was not written: {source}")]
    Unwritable {
        /// The backup.
        number: Number,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The file is another catalog than its name, or a differential, says.
    #[error("catalog {number} is not the one that was meant: {what}")]
    Mismatch {
        /// The backup.
        number: Number,
        /// What differs.
        what: &'static str,
    },
    /// zstd could not be set up.
    #[error("cannot set up compression")]
    Compression(#[source] std::io::Error),
}

impl CatalogError {
    /// Whether it is the catalog that is wrong, and not this process or machine.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_unreadable(),
            Self::Damaged { .. } | Self::Mismatch { .. } => true,
            Self::Unwritable { .. } | Self::Compression(_) => false,
        }
    }
}

/// The result of reading or writing a catalog.
pub type Result<T> = std::result::Result<T, CatalogError>;
