//! What can go wrong with a store as a whole.
//!
//! Owns the kinds that a command line answers with different exit codes. Refuses to know those codes. Its invariant:
//! each text is one line that names the store or the file in it.

use std::path::PathBuf;

use crate::{format::Number, storage::StorageError};

use super::{config::ConfigError, writer::Holder};

/// Why a store could not be made, opened, locked or changed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is nothing at that path.
    #[error("there is no store at {}", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// There is something, and it is no store.
    #[error("{} is not a store: {reason}", path.display())]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// What speaks against it.
        reason: String,
    },
    /// A store is to be made where one is.
    #[error("{} is a store already", path.display())]
    AlreadyAStore {
        /// The path.
        path: PathBuf,
    },
    /// A store is to be made in a directory that holds other things.
    #[error("{} is not empty (it holds {found:?}), and a store is made only in an empty directory", path.display())]
    NotEmpty {
        /// The path.
        path: PathBuf,
        /// One name in it.
        found: String,
    },
    /// The store's own description cannot be obeyed: too new, an unknown feature, or damaged.
    #[error("cannot open the store {}: {source}", path.display())]
    Config {
        /// The store.
        path: PathBuf,
        /// What is wrong with `store.toml`.
        source: ConfigError,
    },
    /// The store has a feature that this program must know before it may write.
    #[error(
        "cannot write to the store {}: it uses the feature {feature:?}, which this program does not know; reading is safe",
        path.display()
    )]
    ReadOnlyFeature {
        /// The store.
        path: PathBuf,
        /// The feature's name.
        feature: String,
    },
    /// Another process holds the writer lock.
    #[error("another writer is busy with the store{}", holder.as_ref().map_or(String::new(), |holder| format!(": {holder}")))]
    Busy {
        /// Who, if the lock file says.
        holder: Option<Holder>,
    },
    /// A small file of the store cannot be understood.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// The file, relative to the store.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No backup number is left.
    #[error("the store has used all its backup numbers, up to {}", Number::MAX)]
    NumbersExhausted,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(String),
    /// An access to the store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl RepositoryError {
    /// A damaged small file, with its reason on one line.
    pub(super) fn damaged(name: &str, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        let line = reason.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("");
        Self::Damaged { name: name.to_owned(), reason: line.to_owned() }
    }
}
