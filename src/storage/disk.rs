//! The system calls that change the medium, all in one place.
//!
//! Owns making, writing, naming, removing and syncing. Refuses to choose their order. Its invariant: nothing else in this part changes a file or a name, so
//! whoever watches here has seen everything that a power cut can undo. In tests that is `recorder`; elsewhere nobody, and that costs nothing.

use std::{
    fs::{DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::Path,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, OFlags, RenameFlags, linkat, mkdirat, openat, renameat, renameat_with, unlinkat},
    io::Errno,
};

use super::beneath::{DIRECTORY_MODE, FILE_MODE, open_beneath};
#[cfg(test)]
use super::recorder::watched;

/// A name in an open directory.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) directory: &'a OwnedFd,
    pub(super) name: &'a str,
}

/// What a call is about to do.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), allow(dead_code, reason = "nobody looks, but in tests"))]
pub(super) enum Change<'a> {
    /// Make a directory; the path is not relative to a store.
    MakePath(&'a Path),
    /// Make a directory.
    MakeDirectory(Place<'a>),
    /// Make a file, if there is none. The name may have several components.
    Create(Place<'a>),
    /// Write into a file, at its end where no place is given.
    Write { file: &'a File, at: Option<u64>, bytes: &'a [u8] },
    /// Cut a file off.
    SetLen { file: &'a File, len: u64 },
    /// Make a file or the names in a directory durable.
    Sync(BorrowedFd<'a>),
    /// Give a file another name.
    Rename { from: Place<'a>, to: Place<'a> },
    /// Give a file one more name.
    Link { from: Place<'a>, to: Place<'a> },
    /// Take a name away.
    Unlink(Place<'a>),
}

#[cfg(not(test))]
fn watched<T, E>(_change: Change<'_>, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    call()
}

/// Makes a directory by its path, if there is none.
pub(super) fn make_path(path: &Path) -> io::Result<()> {
    watched(Change::MakePath(path), || {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE.as_raw_mode()).create(path)
    })
}

/// Makes a directory; one that is there is an error.
pub(super) fn make_directory(at: Place<'_>) -> Result<(), Errno> {
    watched(Change::MakeDirectory(at), || mkdirat(at.directory, at.name, DIRECTORY_MODE))
}

/// Makes a file that is not there yet, to be written from its beginning to its end.
pub(super) fn create(at: Place<'_>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    watched(Change::Create(at), || Ok(openat(at.directory, at.name, flags, FILE_MODE)?.into()))
}

/// Opens a file below `root`, with flags that may make it.
pub(super) fn open(root: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    if !flags.contains(OFlags::CREATE) {
        return open_beneath(root, name, flags);
    }
    watched(Change::Create(Place { directory: root, name }), || open_beneath(root, name, flags))
}

/// Writes at the end of what was written.
pub(super) fn append(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    watched(Change::Write { file, at: None, bytes }, || file.write_all(bytes))
}

/// Replaces the text of a file in place: neither durable nor in one step.
pub(super) fn overwrite(file: &File, text: &[u8]) -> io::Result<()> {
    let len = text.len() as u64;
    watched(Change::Write { file, at: Some(0), bytes: text }, || file.write_all_at(text, 0))?;
    watched(Change::SetLen { file, len }, || file.set_len(len))
}

/// Makes a file, or the names in a directory, durable.
pub(super) fn sync(fd: impl AsFd) -> io::Result<()> {
    watched(Change::Sync(fd.as_fd()), || Ok(rustix::fs::fsync(fd.as_fd())?))
}

/// Renames, over what has the name.
pub(super) fn rename(from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
    watched(Change::Rename { from, to }, || renameat(from.directory, from.name, to.directory, to.name))
}

/// Renames with flags, of which one should be `NOREPLACE`.
pub(super) fn rename_with(from: Place<'_>, to: Place<'_>, flags: RenameFlags) -> Result<(), Errno> {
    watched(Change::Rename { from, to }, || renameat_with(from.directory, from.name, to.directory, to.name, flags))
}

/// Gives a file one more name, which must be free.
pub(super) fn link(from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
    watched(Change::Link { from, to }, || linkat(from.directory, from.name, to.directory, to.name, AtFlags::empty()))
}

/// Takes a file's name away.
pub(super) fn unlink(at: Place<'_>) -> Result<(), Errno> {
    watched(Change::Unlink(at), || unlinkat(at.directory, at.name, AtFlags::empty()))
}
