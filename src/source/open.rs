//! Opens entries of the source without leaving a trace.
//!
//! Owns the flags that every open of the source shares. Refuses to know what is opened. Its invariant: nothing opened
//! here was reached through a symbolic link as its last component, and the access time is left alone where the kernel
//! lets us.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens `name` in `dir` to be read, with `flags` added.
///
/// The kernel grants `O_NOATIME` only to the owner of a file and to root; where it refuses, the entry is opened
/// without.
///
/// # Errors
/// What `openat` says, except for interruptions, which are tried again. A symbolic link is `ELOOP`, or `ENOTDIR` if
/// `flags` ask for a directory.
pub(super) fn open_untouched(dir: BorrowedFd<'_>, name: impl Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |flags| rustix::io::retry_on_intr(|| openat(dir, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }
}
