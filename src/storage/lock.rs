//! A lock on a file of the store, that the kernel drops with the process.
//!
//! Owns `flock` and the few bytes that the holder may leave in the file for others to read. Refuses to know what the
//! lock protects. Its invariant: while a [`Lock`] lives, its name in the store is the locked file and no other.

use std::fs::File;

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    disk,
    error::{Act, StorageError},
};

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
/// A child made by `fork` shares it, and whoever drops it first lets it go for both. Take locks after forking.
#[derive(Debug)]
pub struct Lock {
    file: File,
    name: String,
}

impl Lock {
    /// Locks `file`; `None` if another holds it and `wait` forbids to wait. Whether the name still leads to the file is
    /// for the caller to see.
    pub(super) fn acquire(file: File, name: &str, kind: LockKind, wait: Wait) -> Result<Option<Self>, StorageError> {
        let operation = match (kind, wait) {
            (LockKind::Exclusive, Wait::Never) => FlockOperation::NonBlockingLockExclusive,
            (LockKind::Exclusive, Wait::Forever) => FlockOperation::LockExclusive,
            (LockKind::Shared, Wait::Never) => FlockOperation::NonBlockingLockShared,
            (LockKind::Shared, Wait::Forever) => FlockOperation::LockShared,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(Self { file, name: name.to_owned() })),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(StorageError::new(Act::Lock, name, error)),
            }
        }
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
        disk::overwrite(&self.file, text).map_err(|error| StorageError::new(Act::Write, &self.name, error))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked holds a copy of the descriptor until it
        // executes its program, and the lock with it.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
