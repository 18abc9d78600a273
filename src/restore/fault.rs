//! What can go wrong with one entry.
//!
//! Owns the line between what spares the other entries and what ends the restore. Refuses to know paths. Its invariant: an error
//! that would befall every further entry too (no space, a dead disk, no descriptors) is never taken for one entry's own.

use rustix::io::Errno;

use crate::repository::ReadError;

/// Why one entry was not restored.
#[derive(Debug)]
pub(super) enum Fault {
    /// The system did not do `act`.
    System(&'static str, Errno),
    /// The store is damaged.
    Read(ReadError),
    /// The restore was told to stop.
    Cancelled,
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<crate::catalog::CatalogError> for Fault {
    fn from(error: crate::catalog::CatalogError) -> Self {
        Self::Read(error.into())
    }
}

/// Names what was tried when a system call fails.
pub(super) trait During<T> {
    /// The fault of failing to do `act`.
    fn during(self, act: &'static str) -> Result<T, Fault>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, act: &'static str) -> Result<T, Fault> {
        self.map_err(|errno| Fault::System(act, errno))
    }
}

/// Whether `errno` is about the one entry that was at hand: the others may still be restored.
pub(super) fn spares_others(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ACCESS
            | Errno::PERM
            | Errno::BUSY
            | Errno::EXIST
            | Errno::FBIG
            | Errno::ILSEQ
            | Errno::INVAL
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::MLINK
            | Errno::NAMETOOLONG
            | Errno::NOENT
            | Errno::NOSYS
            | Errno::NOTDIR
            | Errno::NOTEMPTY
            | Errno::NOTSUP
            | Errno::OVERFLOW
            | Errno::STALE
            | Errno::TXTBSY
            | Errno::XDEV
    )
}

/// Whether `errno` says that this user, or this file system, cannot have an attribute of an entry: it goes without.
pub(super) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::OVERFLOW)
}
