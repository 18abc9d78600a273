//! A lock on a file of the store, that the kernel drops with the process.
//!
//! Owns `flock` and the few bytes that the holder may leave in the file for others to read. Refuses to know what the
//! lock protects. Its invariant: while a [`Lock`] lives, its name in the store is the locked file and no other.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::error::{Act, StorageError};

/// Whether others may hold the lock too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// One holder.
    Exclusive,
    /// Any number of holders, none of them exclusive.
    Shared,
}

/// What to do while another holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    Never,
    /// Wait until it is free.
    Forever,
}

/// A held lock; dropping it lets it go, and so does the end of the process, however it ends.
///
/// A child made by `fork` holds the lock too. Take locks after forking.
#[derive(Debug)]
pub struct Lock {
    file: File,
    name: String,
}

impl Lock {
    pub(super) const fn new(file: File, name: String) -> Self {
        Self { file, name }
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// The locked file's name, relative to the store.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves `text` in the file, as information for other processes: in place, and not durably, for it means nothing
    /// once the lock is gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_note(&self, text: &[u8]) -> Result<(), StorageError> {
        let written = self.file.write_all_at(text, 0).and_then(|()| self.file.set_len(text.len() as u64));
        written.map_err(|error| StorageError::new(Act::Write, &self.name, error))
    }
}

/// Locks `file`; `false` if another holds it and `wait` forbids to wait.
pub(super) fn acquire(file: &File, name: &str, kind: LockKind, wait: Wait) -> Result<bool, StorageError> {
    let operation = match (kind, wait) {
        (LockKind::Exclusive, Wait::Never) => FlockOperation::NonBlockingLockExclusive,
        (LockKind::Exclusive, Wait::Forever) => FlockOperation::LockExclusive,
        (LockKind::Shared, Wait::Never) => FlockOperation::NonBlockingLockShared,
        (LockKind::Shared, Wait::Forever) => FlockOperation::LockShared,
    };
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(StorageError::new(Act::Lock, name, error)),
        }
    }
}
