//! Opening a name below a directory without leaving it and without following a symbolic link.
//!
//! Owns the rules for names and the two ways to obey them: `openat2`, and where the kernel or a sandbox has none, one
//! component after the other. Refuses to know what is opened. Its invariant: the opened inode lies below the given
//! directory by a path that holds no symbolic link and no `..`.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// Files are for their owner alone: a store holds copies of everything its owner may read.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// Directories are for their owner alone.
pub(super) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);
/// How every directory is opened.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Refuses a name that is not plain components joined by `/`. The empty name is the root itself.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.is_empty() || name.split('/').all(plain) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name inside a store"))
}

/// Splits `packs/91/x` into `packs/91` and `x`; the directory of `x` is the empty name.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// Opens `name` below `root`. `flags` must not contain `O_CREAT` unless the parent is to be found the same way.
pub(super) fn open_beneath(root: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    check_name(name)?;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mode = if flags.contains(OFlags::CREATE) { FILE_MODE } else { Mode::empty() };
    if name.is_empty() {
        return Ok(openat(root, ".", flags, mode)?);
    }
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, name, flags, mode, resolve) {
            // Too old a kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => match walk(root, name, flags, mode) {
                Ok(fd) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    return Ok(fd);
                }
                Err(error) => return Err(error),
            },
            answer => return Ok(answer?),
        }
    }
    walk(root, name, flags, mode)
}

fn walk(root: &OwnedFd, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut parts = name.split('/');
    let last = parts.next_back().unwrap_or(name);
    let mut here: Option<OwnedFd> = None;
    for part in parts {
        let next = match &here {
            None => openat(root, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?,
            Some(fd) => openat(fd, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?,
        };
        here = Some(next);
    }
    let parent = here.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    Ok(openat(parent, last, flags, mode)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn both_ways_open_what_is_there_and_no_symbolic_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "x").unwrap();
        symlink("b", dir.path().join("a/link")).unwrap();
        symlink("file", dir.path().join("a/b/link")).unwrap();
        let root: OwnedFd = fs::File::open(dir.path()).unwrap().into();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for open in [
            &(|name: &str| walk(&root, name, flags, Mode::empty())) as &dyn Fn(&str) -> io::Result<OwnedFd>,
            &|name: &str| open_beneath(&root, name, OFlags::RDONLY),
        ] {
            assert!(open("a/b/file").is_ok());
            for name in ["a/link/file", "a/b/link", "a/link"] {
                assert!(open(name).is_err(), "{name} was followed");
            }
        }
    }

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for name in ["..", "/etc", "a/../b", "a//b", "a/", ".", "./a", "a/./b", "a\0b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["", "a", "a/b", "..a", "packs/91/91c0.pack"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
