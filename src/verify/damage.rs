//! What can be damaged, and how.

use std::fmt;

use crate::catalog::CatalogError;
use crate::format::Number;
use crate::format::pack::PackId;
use crate::pack::PackError;
use crate::repository::RepositoryError;
use crate::repository::config::ConfigError;
use crate::storage::StorageError;

/// A thing of the store that can be damaged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A small file of text: its name in the store, or that of its directory.
    File(String),
    /// The catalog of a backup.
    Catalog(Number),
    /// A pack as a whole.
    Pack(PackId),
    /// One block of a pack.
    Block {
        /// The pack.
        pack: PackId,
        /// Its block.
        block: u32,
    },
}

impl Object {
    /// The pack, if it is one or a part of one.
    #[must_use]
    pub const fn pack(&self) -> Option<PackId> {
        match self {
            Self::Pack(pack) | Self::Block { pack, .. } => Some(*pack),
            Self::File(_) | Self::Catalog(_) => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::Catalog(number) => write!(f, "catalog {number}"),
            Self::Pack(pack) => write!(f, "pack {pack}"),
            Self::Block { pack, block } => write!(f, "block {block} of pack {pack}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum DamageError {
    /// With a catalog.
    #[error(transparent)]
    Catalog(CatalogError),
    /// With a pack.
    #[error(transparent)]
    Pack(PackError),
    /// With a small file.
    #[error(transparent)]
    Notes(#[from] RepositoryError),
    /// With `store.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// With a file as such.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store's description is another than when the store was opened.
    #[error("store.toml has changed since the store was opened")]
    Changed,
    /// A number above the mark is in use: it might be given twice.
    #[error("marks.toml says that {mark} is the highest number, and there is a catalog {highest}")]
    MarkTooLow {
        /// What the mark says.
        mark: u32,
        /// The highest catalog.
        highest: Number,
    },
    /// A differential's base has no catalog.
    #[error("catalog {number} is missing: differentials stand on it")]
    NoCatalog {
        /// The base.
        number: Number,
    },
    /// A catalog that could not be opened was set aside by a repair.
    #[error("catalog {number} was set aside, and its point is lost; forgetting {number} gives it up")]
    SetAside {
        /// The backup.
        number: Number,
    },
    /// A pack that catalogs refer to is not there.
    #[error("pack {pack} is missing")]
    NoPack {
        /// The pack.
        pack: PackId,
    },
    /// A chunk's bytes are not those that its id names.
    #[error("pack {pack}: block {block} is sound, but the chunk at {offset} is not the one that was stored")]
    WrongChunk {
        /// The pack.
        pack: PackId,
        /// The block.
        block: u32,
        /// The chunk's first byte.
        offset: u32,
    },
    /// The bytes of a file, read as a restore reads them, are not those that were stored.
    #[error("record {record} of catalog {number}: the bytes from {at} on are not those that were stored")]
    WrongFile {
        /// The backup.
        number: Number,
        /// The file's record.
        record: u32,
        /// The first byte, in the file.
        at: u64,
    },
    /// A file that was to be read says that it has no content.
    #[error("a file that was backed up has no content")]
    NoContent,
    /// Two blocks or chunks take the same bytes.
    #[error("pack {pack}: block {block} overlaps another, or its chunks overlap")]
    Overlap {
        /// The pack.
        pack: PackId,
        /// The block.
        block: u32,
    },
}

impl DamageError {
    /// The pack that is damaged, if it is one.
    #[must_use]
    pub const fn pack(&self) -> Option<PackId> {
        match self {
            Self::Pack(
                PackError::Damaged { pack, .. }
                | PackError::Overlap { pack, .. }
                | PackError::Length { pack, .. }
                | PackError::OtherPack { pack, .. }
                | PackError::NoSuchPlace { pack, .. }
                | PackError::WrongChunk { pack, .. },
            )
            | Self::NoPack { pack }
            | Self::WrongChunk { pack, .. }
            | Self::Overlap { pack, .. } => Some(*pack),
            _ => None,
        }
    }

    /// The error of this process or machine that was taken for damage, if it is one: too few descriptors, no permission.
    #[must_use]
    pub fn passing(&self) -> Option<&StorageError> {
        let (Self::Catalog(CatalogError::Storage(error))
        | Self::Pack(PackError::Storage(error))
        | Self::Storage(error)) = self
        else {
            return None;
        };
        (matches!(error, StorageError::Io { .. }) && !error.is_not_found() && !error.is_unreadable()).then_some(error)
    }
}

/// What damage takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Data: the files that lie there cannot be read, or are not to be believed.
    Data,
    /// No data yet: every block is sound, but the file is not what was written, or its chunks cannot be recognised any more.
    Latent,
    /// A point in time, and what stands on it.
    Point,
    /// Notes of what can change; no data.
    Notes,
}

/// One thing that is damaged.
#[derive(Debug)]
pub struct Damage {
    /// What.
    pub object: Object,
    /// How.
    pub error: DamageError,
    /// What it takes with it.
    pub harm: Harm,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
