//! Owns the one table that turns what a tree says into what the kernel understands.
//!
//! Invariant: `ENOSYS` is never among the answers, since the kernel takes it as "never ask again" for the whole mount.

use fuser::Errno;

use crate::tree::TreeError;

/// The errno of `error`.
pub(crate) fn of(error: TreeError) -> Errno {
    match error {
        TreeError::NotFound => Errno::ENOENT,
        TreeError::Gone => Errno::ESTALE,
        TreeError::NotDirectory => Errno::ENOTDIR,
        TreeError::WrongKind => Errno::EINVAL,
        TreeError::NoAttribute => Errno::ENODATA,
        TreeError::PastEnd => Errno::ENXIO,
        TreeError::Elsewhere => Errno::EREMOTE,
        TreeError::Damaged => Errno::EIO,
    }
}
