//! One directory of the source: where it stands, and an open descriptor that the walk and the reader share.
//!
//! Owns the directory's descriptor and its chain of names. Refuses to know what is in it. Its invariant: a path is
//! never stored, only built when somebody asks, so a tree of any depth costs one name for each directory that is being
//! looked at, and the descriptor closes with its last user.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::settled::Margin;

/// A directory of the source, shared between the walk and whoever reads the files in it.
#[derive(Debug)]
pub struct OpenDir {
    place: Arc<Place>,
    fd: Result<OwnedFd, Errno>,
    margin: Margin,
}

impl OpenDir {
    pub(super) const fn new(place: Arc<Place>, fd: OwnedFd, margin: Margin) -> Self {
        Self { place, fd: Ok(fd), margin }
    }

    /// A directory that could not be opened: it has a place, and no descriptor.
    pub(super) const fn closed(place: Arc<Place>, errno: Errno) -> Self {
        Self { place, fd: Err(errno), margin: Margin::COARSE }
    }

    /// The open descriptor, to look things up with.
    ///
    /// # Errors
    /// The reason why the directory could not be opened. A listing that holds entries has a directory that could.
    pub fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match &self.fd {
            Ok(fd) => Ok(fd.as_fd()),
            Err(errno) => Err(*errno),
        }
    }

    /// Where the directory stands in the tree.
    #[must_use]
    pub const fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// How old a time must be on this directory's file system before it proves that nothing changed since.
    #[must_use]
    pub const fn margin(&self) -> Margin {
        self.margin
    }

    /// The path of the directory, for messages: it may be longer than the kernel accepts.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The path of the entry `name` in this directory, for messages.
    #[must_use]
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path().join(std::ffi::OsStr::from_bytes(name))
    }
}

/// Where a directory stands: its name, and the place of the directory above it.
#[derive(Debug)]
pub struct Place {
    parent: Option<Arc<Self>>,
    /// The name in `parent`; the whole canonical path for the root.
    name: Box<[u8]>,
}

impl Place {
    /// The place of the root, at `path`.
    #[must_use]
    pub fn root(path: &Path) -> Arc<Self> {
        Arc::new(Self { parent: None, name: path.as_os_str().as_bytes().into() })
    }

    /// The place of the directory `name` in `parent`.
    #[must_use]
    pub fn below(parent: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        Arc::new(Self { parent: Some(Arc::clone(parent)), name: name.into() })
    }

    /// The name in the directory above; the whole path for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The whole path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let relative = self.relative();
        let root = std::iter::successors(Some(self), |place| place.parent.as_deref()).last().unwrap_or(self);
        let path = PathBuf::from(OsString::from_vec(root.name.to_vec()));
        if relative.is_empty() { path } else { path.join(OsString::from_vec(relative)) }
    }

    /// The path below the root, without a slash at either end; empty for the root.
    #[must_use]
    pub fn relative(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut place = self;
        while let Some(parent) = &place.parent {
            names.push(&*place.name);
            place = parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Dropping the chain link by link, since a recursion as deep as the tree would overflow the stack.
        let mut next = self.parent.take();
        while let Some(mut place) = next.and_then(Arc::into_inner) {
            next = place.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_built_from_the_chain_of_names() {
        let root = Place::root(Path::new("/srv/www"));
        assert_eq!((root.path(), root.relative()), (PathBuf::from("/srv/www"), Vec::new()));
        let deep = Place::below(&Place::below(&root, b"a b"), b"\xff");
        assert_eq!(deep.relative(), b"a b/\xff");
        assert_eq!(deep.path().as_os_str().as_bytes(), b"/srv/www/a b/\xff");
        assert_eq!(Place::below(&Place::root(Path::new("/")), b"etc").path(), Path::new("/etc"));
    }

    #[test]
    fn chain_of_a_million_names_drops_without_overflowing_the_stack() {
        let mut place = Place::root(Path::new("/"));
        for _ in 0..1_000_000 {
            place = Place::below(&place, b"d");
        }
        drop(place);
    }
}
