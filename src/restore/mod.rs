//! Writes a point in time, or a part of it, out into a directory.
//!
//! Owns the way from a [`PointTree`] to entries of a file system: what is made, what is kept because it is right already, what is
//! replaced and what is removed. Refuses to know how a point is named or who is told. Invariants: below DEST every
//! component is opened relative to the directory above it and never through a symbolic link; no file is seen half
//! written under a name that stood for another before; memory grows with the depth of the tree (and with its names of hard links), not
//! with its size, but for a bit an entry; no record is restored twice, however often a store may list it.
//!
//! The main thread goes through the tree and makes directories; the other threads do what lies in them, batches of what needs the same
//! block. A directory waits for its entries before it gets its own metadata. What depends on order, further names of an inode, the main thread
//! does itself. In which order notices come is not said.
//!
//! What it decides:
//! * DEST is made if it is absent, with the directories above it. DEST itself may be a link to a directory: the user named it.
//! * An existing file of the same size is compared byte by byte; if it is equal it stays the inode it is, and only what differs of its
//!   metadata is put right. So a second restore changes nothing. An inode that has names besides those of the point is never
//!   changed: the name becomes a new inode.
//! * An entry of another kind is replaced, also a directory with all that is in it, with or without `delete`.
//! * Nothing is removed below a directory that the backup could not read to its end or recorded as empty on purpose,
//!   nor below a mount point, nor is the store itself ever removed.
//! * Nothing is synced, as with `cp` and `tar`: what must survive a power cut wants [`Options::sync`], one `syncfs` at the end.

mod batches;
mod content;
mod crew;
mod destination;
mod directory;
mod engine;
mod fault;
mod hand;
mod hard_link;
mod here;
mod large;
mod leaf;
mod links;
mod make;
mod meta;
mod names;
mod remove;
mod report;
#[cfg(test)]
mod tests;
mod trail;
mod unfinished;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, OFlags, openat};

pub use report::{KeptBecause, Notice, Refused, Report};

pub use crate::progress::Progress;

use crate::catalog::CatalogError;
use crate::overlay::{PointTree, Records};
use crate::repository::Reader;
use crate::source::dir::Place;
use crate::source::stat::stat_of;
use crew::Crew;
use destination::Destination;
use engine::Engine;
use fault::Fault;
use hand::Run;

/// How a restore goes about it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether what the point does not have is removed from DEST.
    pub delete: bool,
    /// The records that are restored, where it is not all: those of directories on the way to them among them. Nothing is removed then.
    pub only: Option<Arc<Records>>,
    /// Whether the restore returns only when all is on the disk.
    pub sync: bool,
    /// Set by another thread to stop the restore: nothing half written stays, and the error is [`RestoreError::Cancelled`].
    pub cancel: Arc<AtomicBool>,
}

/// Why a restore did not come to its end. What concerns one entry only is a [`Notice`] instead.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The point has no such path.
    #[error("the point has no entry {}", path.display())]
    NoSuchPath {
        /// The path inside the point.
        path: PathBuf,
    },
    /// The entry that is to be restored could not be read when it was backed up.
    #[error("the point does not have the content of {}: it could not be read when it was backed up", path.display())]
    NeverRead {
        /// The path inside the point.
        path: PathBuf,
    },
    /// DEST is something else than a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// DEST.
        path: PathBuf,
    },
    /// DEST lies in the store, or is it.
    #[error("{} lies inside the store that it would be restored from", path.display())]
    InsideStore {
        /// DEST.
        path: PathBuf,
    },
    /// The point cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// DEST, or the system below it, fails: no space, a read-only file system, a broken disk.
    #[error("cannot {act} {}", path.display())]
    Destination {
        /// What was tried.
        act: &'static str,
        /// The entry in DEST.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The restore was told to stop.
    #[error("the restore was stopped; what it has written so far is whole")]
    Cancelled,
}

/// Restores `from`, a path inside the point (empty for all of it), into the directory `dest`: the contents of a directory become the
/// contents of `dest`, which gets the directory's own metadata too; anything else becomes an entry of `dest`.
///
/// What concerns single entries goes to `notify` and is counted in the report; whoever calls decides what it
/// means that a report is not [complete](Report::is_complete).
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    reader: &Reader,
    tree: &PointTree,
    from: &[u8],
    dest: &Path,
    options: &Options,
    progress: &Progress,
    notify: &mut dyn FnMut(Notice),
) -> Result<Report, RestoreError> {
    let inside = || PathBuf::from(std::ffi::OsString::from(String::from_utf8_lossy(from).into_owned()));
    let node = tree.resolve(from)?.ok_or_else(|| RestoreError::NoSuchPath { path: inside() })?;
    if node.entry.record().flags.has(crate::format::record::Flags::NO_CONTENT) {
        return Err(RestoreError::NeverRead { path: inside() });
    }
    let destination = Destination::open(dest, reader.store().path())?;
    let options = &Options { delete: options.delete && options.only.is_none(), ..options.clone() };
    let run = Run::new(reader, tree, options, progress, destination.store);
    Crew::beside(crew::threads(), &run, |crew| Engine::new(&run, crew, notify).run(&node, destination))
}

/// Removes the directory `path` that was restored into, with all that is in it, whatever modes were restored; but for what is mounted there.
///
/// # Errors
/// What could not be removed first.
pub fn discard(path: &Path) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = Arc::new(openat(CWD, above, flags, Mode::empty())?);
    let dev = stat_of(&fd)?.dev;
    match remove::remove(&fd, &Place::root(above), dev, name.as_bytes(), None) {
        Ok(removed) if removed.is_all() => Ok(()),
        Ok(removed) => {
            Err(removed.failed.first().map_or(io::ErrorKind::ResourceBusy.into(), |(_, errno)| (*errno).into()))
        }
        Err(Fault::System(_, errno)) => Err(errno.into()),
        Err(Fault::Read(_) | Fault::Cancelled) => Err(io::Error::from(io::ErrorKind::Interrupted)),
    }
}
