//! How a file appears: the one place that makes a name durable.
//!
//! Owns the order fsync → rename → fsync of the directory. Refuses to know what is in the file. Its invariant: when
//! [`publish`] returns `Ok`, a power cut leaves the whole file under its name; at no moment is a part of it there.

use std::{fs::File, io};

use rustix::{fd::OwnedFd, fs::RenameFlags, io::Errno};

use super::disk::{self, Place};

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Leave the old file and fail: for what is written once and for commits.
    Never,
    /// Put the new file in its place, in one step.
    Always,
}

/// Makes `file`, which is now called `from`, durable and gives it the name `to`.
///
/// If the last step (the fsync of the directory) fails, the error is reported although the name can be seen.
pub(super) fn publish(file: &File, from: Place<'_>, to: Place<'_>, replace: Replace) -> io::Result<()> {
    disk::sync(file)?;
    rename(from, to, replace)
}

/// Renames what is durable already, and makes the new name durable.
pub(super) fn rename(from: Place<'_>, to: Place<'_>, replace: Replace) -> io::Result<()> {
    match replace {
        Replace::Always => disk::rename(from, to)?,
        Replace::Never => rename_without_replacing(from, to, RenameFlags::NOREPLACE)?,
    }
    sync_directory(to.directory)
}

/// Makes the names in `directory` durable, those that went as well as those that came.
pub(super) fn sync_directory(directory: &OwnedFd) -> io::Result<()> {
    disk::sync(directory)
}

fn rename_without_replacing(from: Place<'_>, to: Place<'_>, flags: RenameFlags) -> io::Result<()> {
    match disk::rename_with(from, to, flags) {
        // The kernel or the file system (NFS, some FUSE) has no such rename; a hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_and_unlink(from, to),
        answer => Ok(answer?),
    }
}

fn link_and_unlink(from: Place<'_>, to: Place<'_>) -> io::Result<()> {
    disk::link(from, to)?;
    Ok(disk::unlink(from)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn hard_link_fallback_gives_the_name_and_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = File::open(dir.path()).unwrap().into();
        let at = |name| Place { directory: &fd, name };
        fs::write(dir.path().join("one"), "1").unwrap();
        fs::write(dir.path().join("two"), "2").unwrap();
        // The kernel answers EINVAL to flags that exclude each other, as a file system without NOREPLACE does.
        let unsupported = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        let taken = rename_without_replacing(at("one"), at("two"), unsupported).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.path().join("two")).unwrap(), b"2");
        rename_without_replacing(at("one"), at("three"), unsupported).unwrap();
        assert_eq!(fs::read(dir.path().join("three")).unwrap(), b"1");
        assert!(!dir.path().join("one").exists());
    }
}
