//! A file of the store that is being written and has no name yet.
//!
//! Owns the temporary and its removal. Refuses to know the format of what is written. Its invariant: until
//! [`NewFile::finish`] returns `Ok`, no name but that of a temporary has ever led to the file; if it never does,
//! nothing is left of it.

use std::fs::File;

use rustix::fd::OwnedFd;

use super::{
    Storage,
    beneath::split,
    disk::{self, Place},
    durable::{self, Replace},
    error::{Act, StorageError},
    writeback,
};

/// How the names of temporaries begin; no listing shows them.
pub(super) const TEMPORARY_PREFIX: &str = ".tmp-";

/// A file that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    storage: Storage,
    file: File,
    directory: OwnedFd,
    temporary: String,
    /// The temporary relative to the store, for messages.
    name: String,
    len_bytes: u64,
    handed_to_disk_bytes: u64,
    is_published: bool,
}

impl NewFile {
    pub(super) fn new(
        storage: Storage,
        file: File,
        directory: OwnedFd,
        directory_name: &str,
        temporary: String,
    ) -> Self {
        let name = if directory_name.is_empty() { temporary.clone() } else { format!("{directory_name}/{temporary}") };
        Self { storage, file, directory, temporary, name, len_bytes: 0, handed_to_disk_bytes: 0, is_published: false }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The disk is full, or the system refuses; the file is then of no more use.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        disk::append(&self.file, bytes).map_err(|error| StorageError::new(Act::Write, &self.name, error))?;
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    /// The bytes written so far.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty file is no special case to a writer of formats")]
    pub const fn len(&self) -> u64 {
        self.len_bytes
    }

    /// Lets the kernel begin to write out what was appended since the last call, without waiting for it, so that
    /// [`NewFile::finish`] has less to wait for. Promises nothing about durability.
    ///
    /// # Errors
    /// The disk reports a failure.
    pub fn start_writeback(&mut self) -> Result<(), StorageError> {
        let fresh_bytes = self.len_bytes - self.handed_to_disk_bytes;
        if fresh_bytes > 0 {
            writeback::start(&self.file, self.handed_to_disk_bytes, fresh_bytes)
                .map_err(|error| StorageError::new(Act::Write, &self.name, error))?;
            self.handed_to_disk_bytes = self.len_bytes;
        }
        Ok(())
    }

    /// Makes the file durable under `name` (relative to the store, in whatever directory; made if absent).
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] where the name is taken and must not be replaced; else what the system says. Only if
    /// the very last step fails, flushing the directory, can the name be seen after an error.
    pub fn finish(mut self, name: &str, replace: Replace) -> Result<(), StorageError> {
        let (directory_name, last) = split(name);
        let directory = self.storage.ensure_directory(directory_name)?;
        let from = Place { directory: &self.directory, name: &self.temporary };
        let to = Place { directory: &directory, name: last };
        durable::publish(&self.file, from, to, replace).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => StorageError::AlreadyExists { name: name.to_owned() },
            _ => StorageError::new(Act::Create, name, error),
        })?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed now is a stale temporary, which the next writer removes.
            let _ = disk::unlink(Place { directory: &self.directory, name: &self.temporary });
        }
    }
}
