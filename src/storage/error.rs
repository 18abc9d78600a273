//! What can go wrong with a file of a store: the object, the act and the cause.
//!
//! Owns the wording. Refuses to know what the caller wanted the file for. Its invariant: the text of an error is one
//! whole line that includes its cause, and the cause is kept as the source for those who ask for its kind.

use std::{fmt, io};

/// What was being done to a file or a directory of the store; it reads as a verb after "cannot".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open it.
    Open,
    /// Read it.
    Read,
    /// Write into it.
    Write,
    /// Make it.
    Create,
    /// Make it durable.
    Flush,
    /// Give it its name.
    Rename,
    /// Remove it.
    Remove,
    /// List it.
    List,
    /// Lock it.
    Lock,
    /// Look at its size, kind or permissions.
    Inspect,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Flush => "flush to the disk",
            Self::Rename => "rename to",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Lock => "lock",
            Self::Inspect => "look at",
        })
    }
}

/// A failed access to the store. Displays as one line that says everything, the cause included.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The name is taken, and the file there must not be replaced.
    #[error("cannot create {name}: it exists already")]
    AlreadyExists {
        /// The taken name, relative to the store.
        name: String,
    },
    /// A file that should be small is not.
    #[error("cannot read {name}: it has {len_bytes} bytes, more than the {limit_bytes} that such a file may have")]
    TooLarge {
        /// The file, relative to the store.
        name: String,
        /// Its length in bytes.
        len_bytes: u64,
        /// The most that was allowed, in bytes.
        limit_bytes: u64,
    },
    /// The system refused.
    #[error("cannot {act} {name}: {}", plain(source))]
    Io {
        /// What was being done.
        act: Act,
        /// To which file or directory, relative to the store; the store's own path where it is the store's root.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl StorageError {
    pub(super) fn new(act: Act, name: &str, source: impl Into<io::Error>) -> Self {
        Self::Io { act, name: name.to_owned(), source: source.into() }
    }

    /// The kind of the cause.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
            Self::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Self::Io { source, .. } => source.kind(),
        }
    }

    /// Whether the file or directory is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Whether the name was taken.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.kind() == io::ErrorKind::AlreadyExists
    }

    /// Whether this user cannot write here: a read-only file system, or no permission.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
    }

    /// Whether the medium does not give back what was written: it is damaged, and asking again will not help.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::EIO | libc::EUCLEAN | libc::EBADMSG))
    }

    /// Whether the disk or the user's quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The cause without the number that the standard library adds: "No such file or directory".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_act_object_and_cause_and_keeps_its_source() {
        let error = StorageError::new(Act::Read, "packs/91/91c0.pack", io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.to_string(), "cannot read packs/91/91c0.pack: No such file or directory");
        assert!(error.is_not_found());
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn full_disk_says_so() {
        let error = StorageError::new(Act::Write, "packs/.tmp-1", io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(error.is_full());
        assert_eq!(error.to_string(), "cannot write packs/.tmp-1: No space left on device");
    }
}
