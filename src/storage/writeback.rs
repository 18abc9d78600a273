//! Asking the kernel to begin writing, so that the fsync at the end is short.
//!
//! Owns one system call that the safe wrappers lack. Refuses to promise anything: durability is fsync's alone.
//! Its invariant: a file system that cannot do it is no error.
#![allow(unsafe_code, reason = "sync_file_range has no safe wrapper; it takes a descriptor and numbers, no memory")]

use std::{fs::File, io, os::fd::AsRawFd};

/// Starts writing out `len` bytes of `file` from `offset`, without waiting for them.
pub(super) fn start(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no memory of ours.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if answer == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::ESPIPE | libc::EOPNOTSUPP | libc::EINTR | libc::EPERM) => Ok(()),
        _ => Err(error),
    }
}
