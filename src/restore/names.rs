//! The names in one directory of DEST, sorted as a catalog sorts them.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// Bytes of directory that one system call fetches at most.
const LISTING_BYTES: usize = 64 << 10;

/// A name, and whether it is a directory as far as the listing says.
pub(super) type Name = (CString, Option<bool>);

/// The names in `dir`, which has not been read before, ascending bytewise, without `.` and `..`.
pub(super) fn names_of(dir: BorrowedFd<'_>) -> Result<Vec<Name>, Errno> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut listing = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let is_dir = match entry.file_type() {
            FileType::Directory => Some(true),
            FileType::Unknown => None,
            _ => Some(false),
        };
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), is_dir));
        }
    }
    names.sort_unstable();
    names.dedup_by(|a, b| a.0 == b.0);
    Ok(names)
}
