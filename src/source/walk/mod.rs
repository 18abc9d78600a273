//! Walks one source in the order in which a catalog is written.
//!
//! Owns what the walk tells its consumer, and starting and ending its thread. Refuses to read files or to compare
//! anything with an earlier backup. Its invariant: listings arrive depth first and in preorder: all of a directory's
//! entries, sorted bytewise by name, and then for each of its subdirectories marked [`Descend::Yes`], in that order,
//! the same again. Each such directory gets exactly one run of listings, which ends with `last`; if it could not be
//! read, with an `error`. The walk never ends early without the consumer having asked for it.

mod descent;
mod queue;
mod verdict;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use queue::Queue;

use super::ahead::{Early, EarlyFile, ReadAhead};
use super::dir::{OpenDir, Place};
use super::exclude::Exclude;
use super::open::open_untouched;
use super::settled::Margin;
use super::stat::{FileId, stat_of};
use crate::format::{Kind, Stat, Timestamp};

/// Entries that one listing holds at most.
pub const BATCH_ENTRIES: usize = 1_024;

/// Listings that wait for the consumer at most: each keeps its directory open, and what was read of its files.
const WAITING_LISTINGS: usize = 16;

/// How a source is walked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Do not enter directories on other file systems than the root's.
    pub one_file_system: bool,
    /// Of a directory that holds a valid `CACHEDIR.TAG`, list nothing but that file.
    pub exclude_caches: bool,
    /// What the user wants left out.
    pub exclude: Exclude,
    /// Directories that are never entered below the root: the store that the backup goes to.
    pub never_enter: Vec<FileId>,
    /// Which files are read before the consumer asks for them; none where it is `None`.
    pub read_ahead: Option<ReadAhead>,
    /// Set it to end the walk; it then ends without its remaining listings.
    pub cancel: Arc<AtomicBool>,
}

/// A walk under way: an iterator of listings. Dropping it ends the thread.
#[derive(Debug)]
pub struct Walk {
    root: Root,
    /// None once the walk has ended.
    listings: Option<Queue>,
    /// The one that walks, and those that read ahead.
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// Where a walk began.
#[derive(Clone, Debug)]
pub struct Root {
    /// The canonical path of the SOURCE that was named: links in it, and itself if it is one, are followed.
    pub path: PathBuf,
    /// The root directory's stat; for a SOURCE that is a file, that of the directory it stands in.
    pub stat: Stat,
    /// The root directory, open.
    pub dir: Arc<OpenDir>,
    /// The one entry that the tree consists of, if the SOURCE is a single file.
    pub only: Option<Vec<u8>>,
}

/// One batch of a directory's entries.
#[derive(Debug)]
pub struct Listing {
    /// The directory.
    pub dir: Arc<OpenDir>,
    /// The names of the entries, one after the other; see [`Listing::name`].
    pub names: Vec<u8>,
    /// The entries, ascending bytewise by name, within a listing and from one to the next.
    pub entries: Vec<Found>,
    /// A moment before the first of the entries was looked at, for [`is_settled`](super::is_settled).
    pub taken_at: Timestamp,
    /// Whether this listing ends its directory.
    pub last: bool,
    /// Whether the directory is tagged as a cache, so that only the tag is listed.
    pub cache: bool,
    /// Whether names may be missing, here or in the directory's other listings: `last` will come with an `error`.
    pub is_partial: bool,
    /// Why the directory could not be opened, or not be listed to its end: the entries so far may not be all. Comes
    /// only with `last`. `NotFound` if it was removed since its stat was taken, `StaleNetworkFileHandle` if something
    /// else has taken its place since.
    pub error: Option<io::Error>,
    /// See [`Listing::early`].
    pub(in crate::source) early: Early,
}

impl Listing {
    /// The name of `found`, which is one of this listing's entries.
    #[must_use]
    pub fn name(&self, found: &Found) -> &[u8] {
        &self.names[found.name.start as usize..found.name.end as usize]
    }

    /// What was read ahead of the entry at `position`: its content and attributes as they were when its stat was taken.
    #[must_use]
    pub fn early(&self, position: usize) -> Option<EarlyFile<'_>> {
        self.early.file(position)
    }
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where its name lies in the listing's `names`.
    pub name: Range<u32>,
    /// What `statx` said; `ENOTSUP` for an inode that is none of Linux's seven kinds.
    pub stat: Result<Stat, Errno>,
    /// Whether the walk goes down into it.
    pub descend: Descend,
}

/// Whether the walk goes down into an entry, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descend {
    /// It is no directory, or nobody knows.
    No,
    /// It is a directory whose listings will follow.
    Yes,
    /// It lies on another file system, and the walk stays on one.
    OtherFilesystem,
    /// It is a store of dbakfs.
    Store,
    /// A dbakfs is mounted on it. Its `stat` is what the kernel remembers, an error if that is nothing.
    Mount,
}

impl Walk {
    /// Opens `source` and begins to walk it on a thread of its own.
    ///
    /// A link given as `source` is followed. A single regular file is a tree of one entry below the directory that it
    /// stands in; patterns and cache tags do not apply to it.
    ///
    /// # Errors
    /// [`StartError`] if there is nothing at `source`, if it cannot be opened, or if it is neither a directory nor a
    /// regular file.
    pub fn start(source: &Path, options: Options) -> Result<Self, StartError> {
        let root = open_root(source)?;
        let no_thread = |error| StartError::Thread { source: error };
        let (outlet, queue, mut threads) = queue::start(options.read_ahead).map_err(no_thread)?;
        let stop = Arc::clone(&options.cancel);
        let descent = descent::Descent::new(&root, options, outlet);
        let thread = std::thread::Builder::new().name("walk".to_owned()).spawn(move || descent.run());
        threads.push(thread.map_err(no_thread)?);
        Ok(Self { root, listings: Some(queue), threads, stop })
    }

    /// Where the walk began.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Whether the walk was told to end: only then may directories be missing once it has no more listings.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Iterator for Walk {
    type Item = Listing;

    /// Waits for the next listing.
    ///
    /// # Panics
    /// If a thread of the walk did: an unfinished walk must not look like a finished one.
    fn next(&mut self) -> Option<Listing> {
        if let Some(listing) = self.listings.as_ref()?.next() {
            return Some(listing);
        }
        self.listings = None;
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        None
    }
}

fn open_root(source: &Path) -> Result<Root, StartError> {
    let refuse = |error| StartError::Open { path: source.to_owned(), source: error };
    let path = source.canonicalize().map_err(refuse)?;
    let found = path.symlink_metadata().map_err(refuse)?;
    let (directory, only) = if found.is_dir() {
        (path.as_path(), None)
    } else if let (true, Some(parent), Some(name)) = (found.is_file(), path.parent(), path.file_name()) {
        (parent, Some(name.as_bytes().to_vec()))
    } else {
        return Err(StartError::Kind { path });
    };
    let fd = open_untouched(CWD, directory, OFlags::DIRECTORY).map_err(|errno| refuse(errno.into()))?;
    let stat = stat_of(&fd).map_err(|errno| refuse(errno.into()))?;
    debug_assert_eq!(stat.meta.kind, Kind::Directory, "O_DIRECTORY opened it");
    let margin = Margin::of(&fd);
    let dir = Arc::new(OpenDir::new(Place::root(directory), fd, margin));
    Ok(Root { path, stat, dir, only })
}

/// Why a walk did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The SOURCE cannot be found or opened.
    #[error("cannot open the source {}", path.display())]
    Open {
        /// The SOURCE as named.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The SOURCE is a device, a pipe or a socket.
    #[error("the source {} is neither a directory nor a regular file", path.display())]
    Kind {
        /// The canonical path of the SOURCE.
        path: PathBuf,
    },
    /// There is no thread to walk on.
    #[error("cannot start the thread that walks the source")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}
