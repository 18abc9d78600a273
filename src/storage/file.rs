//! A file of the store, open for reading.
//!
//! Owns reading at an offset. Refuses to know what is read. Its invariant: a read gives all the bytes asked for, or an
//! error that names the file.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, sync::Arc};

use rustix::io::Errno;

use super::error::{Act, StorageError};

/// A file of the store, open for reading by any number of threads. A clone is the same open file.
#[derive(Clone)]
pub struct StoredFile {
    inner: Arc<Inner>,
}

struct Inner {
    file: File,
    name: String,
    len_bytes: u64,
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredFile({}, {} bytes)", self.inner.name, self.inner.len_bytes)
    }
}

impl StoredFile {
    pub(super) fn new(file: File, name: &str, len_bytes: u64) -> Self {
        Self { inner: Arc::new(Inner { file, name: name.to_owned(), len_bytes }) }
    }

    /// The file's name, relative to the store.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The length in bytes that the file had when it was opened.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty file is no special case to a reader of formats")]
    pub fn len(&self) -> u64 {
        self.inner.len_bytes
    }

    /// Lets the kernel forget what it holds of the file, so that what is read next comes from the medium. Only what has been written out is forgotten; a
    /// file system that cannot do it (in memory, over a network) goes on giving what it has.
    ///
    /// # Errors
    /// What the system says; one that does not know the call is no error.
    pub fn forget_cached(&self) -> Result<(), StorageError> {
        match rustix::fs::fadvise(&self.inner.file, 0, None, rustix::fs::Advice::DontNeed) {
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(StorageError::new(Act::Read, &self.inner.name, error)),
        }
    }

    /// Fills `buffer` with the bytes from `offset` (in bytes).
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends too early, else what the system says.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.inner.file.read_exact_at(buffer, offset).map_err(|error| {
            let error = match error.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("it ends before byte {}", offset.saturating_add(buffer.len() as u64)),
                ),
                _ => error,
            };
            StorageError::new(Act::Read, &self.inner.name, error)
        })
    }
}
