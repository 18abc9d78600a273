//! The thread that walks.
//!
//! Owns the stack of directories from the root to where the walk is. Refuses to know who listens. Its invariant: it
//! neither recurses nor keeps more than some dozens of directories open, however deep the tree is, and it lists no
//! directory other than the one whose stat it has told.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::queue::Outlet;
use super::verdict::{CACHE_TAG, Rules, is_cache};
use super::{BATCH_ENTRIES, Descend, Found, Listing, Options, Root};
use crate::format::{Kind, Stat, Timestamp};
use crate::source::ahead::{self, Early};
use crate::source::dir::{OpenDir, Place};
use crate::source::mounts::Mounts;
use crate::source::names::Names;
use crate::source::open::open_untouched;
use crate::source::settled::Margin;
use crate::source::stat::{FileId, remembered_stat_at, stat_at, stat_of};

/// Ancestors that stay open above the directory where the walk is, besides the root.
const OPEN_ANCESTORS: usize = 32;

/// Bytes of directory that one system call fetches at most.
const LISTING_BYTES: usize = 256 << 10;

/// How often a full table of open files is waited for, and how long each time: the reader may close some.
const OPEN_RETRIES: usize = 200;
const OPEN_RETRY: Duration = Duration::from_millis(10);

/// The walk was cancelled, or nobody listens any more.
#[derive(Debug)]
pub(super) struct Ended;

/// The state of the walk's thread.
pub(super) struct Descent {
    options: Options,
    rules: Rules,
    outlet: Outlet,
    /// The root first, the directory where the walk is last.
    stack: Vec<Level>,
    /// Those of the directory where the walk is.
    names: Names,
    /// Whether the names are set already: the source is a single file.
    only: bool,
    buffer: Vec<MaybeUninit<u8>>,
    /// A path below the root, built only to be matched with patterns.
    path: Vec<u8>,
}

/// A directory that has been listed, and whose subdirectories are next.
struct Level {
    place: Arc<Place>,
    /// None while too many directories below are open.
    dir: Option<Arc<OpenDir>>,
    id: FileId,
    margin: Margin,
    below: Subdirectories,
}

/// The subdirectories of one directory that are to be entered, and how many have been.
#[derive(Default)]
struct Subdirectories {
    /// The names, each followed by a NUL.
    names: Vec<u8>,
    ids: Vec<FileId>,
    entered: usize,
    /// Where in `names` the next one begins.
    next: usize,
}

impl Subdirectories {
    fn push(&mut self, name: &CStr, id: FileId) {
        self.names.extend_from_slice(name.to_bytes_with_nul());
        self.ids.push(id);
    }

    /// The next one to enter.
    fn advance(&mut self) -> Option<(&CStr, FileId)> {
        let id = *self.ids.get(self.entered)?;
        let name = CStr::from_bytes_until_nul(&self.names[self.next..]).expect("each name ends with a NUL");
        self.entered += 1;
        self.next += name.count_bytes() + 1;
        Some((name, id))
    }
}

impl Descent {
    pub(super) fn new(root: &Root, options: Options, outlet: Outlet) -> Self {
        let mounts = Mounts::below(root.dir.place().path().as_path());
        let mut descent = Self {
            rules: Rules::new(&options, &root.stat, mounts),
            options,
            outlet,
            stack: Vec::new(),
            names: Names::default(),
            only: root.only.is_some(),
            buffer: vec![MaybeUninit::uninit(); LISTING_BYTES],
            path: Vec::new(),
        };
        descent.push_level(Arc::clone(&root.dir), FileId::of(&root.stat));
        if let Some(only) = &root.only {
            let mut name = only.clone();
            name.push(0);
            // A file is never left out of the tree that it makes up by itself.
            descent.options.exclude = super::Exclude::default();
            descent.names.set_only(CStr::from_bytes_with_nul(&name).expect("a file's name holds no NUL"));
        }
        descent
    }

    /// Walks until the end of the tree, or until nobody wants more.
    pub(super) fn run(mut self) {
        // The error says that nobody listens: there is nobody to tell it.
        let _: Result<(), Ended> = self.walk();
    }

    fn walk(&mut self) -> Result<(), Ended> {
        if self.only {
            self.list(false, None)?;
        } else {
            self.read_and_list()?;
        }
        while let Some(level) = self.stack.last_mut() {
            self.options.check()?;
            let Some((name, id)) = level.below.advance() else {
                self.leave();
                continue;
            };
            let place = Place::below(&level.place, name.to_bytes());
            match self.open_subdirectory(&place, id) {
                Ok(dir) => {
                    self.push_level(Arc::new(dir), id);
                    self.read_and_list()?;
                }
                Err((errno, error)) => {
                    let listing = Listing {
                        dir: Arc::new(OpenDir::closed(place, errno)),
                        names: Vec::new(),
                        entries: Vec::new(),
                        taken_at: Timestamp::now(),
                        last: true,
                        cache: false,
                        is_partial: true,
                        error: Some(error),
                        early: Early::default(),
                    };
                    self.send(listing, false)?;
                }
            }
        }
        Ok(())
    }

    /// Lists the directory at the top of the stack and gathers its subdirectories.
    fn read_and_list(&mut self) -> Result<(), Ended> {
        let dir = self.top();
        let fd = dir.fd().expect("only open directories are on the stack");
        let error = self.names.read(fd, &mut self.buffer, &self.options.cancel).err();
        let cache = self.options.exclude_caches && self.names.contains(CACHE_TAG.to_bytes()) && is_cache(fd);
        if cache {
            self.names.set_only(CACHE_TAG);
        }
        let too_long = || {
            let count = self.names.too_long();
            (count > 0).then(|| io::Error::other(format!("{count} names in it are longer than 255 bytes")))
        };
        let error = error.map(io::Error::from).or_else(too_long);
        self.list(cache, error)
    }

    /// Stats the names and sends what they are.
    fn list(&mut self, cache: bool, error: Option<io::Error>) -> Result<(), Ended> {
        let dir = self.top();
        let fd = dir.fd().expect("only open directories are on the stack");
        let mounted = self.rules.mounted_in(dir.place());
        let dir_dev = self.stack.last().map_or(0, |level| level.id.dev);
        let prefix_len = self.begin_path(&dir);
        let mut below = Subdirectories::default();
        let is_partial = error.is_some();
        let mut batch = Batch::begin(self.names.len());
        for position in 0..self.names.len() {
            self.options.check()?;
            let (name, hint) = self.names.get(position);
            // Before anything is touched: what is excluded may be a mount that does not answer.
            if let Some(is_dir) = hint
                && leaves_out(&self.options, &mut self.path, prefix_len, name, is_dir)
            {
                continue;
            }
            let is_mount = !mounted.is_empty() && mounted.iter().any(|mount| **mount == *name.to_bytes());
            let stat = if is_mount { remembered_stat_at(fd, name) } else { stat_at(fd, name) };
            // Gone since it was listed.
            if stat == Err(Errno::NOENT) {
                continue;
            }
            let is_dir = stat.is_ok_and(|stat| stat.meta.kind == Kind::Directory);
            if hint.is_none() && leaves_out(&self.options, &mut self.path, prefix_len, name, is_dir) {
                continue;
            }
            let descend = match &stat {
                _ if is_mount => Descend::Mount,
                Ok(stat) => self.rules.judge(fd, dir_dev, name, stat),
                Err(_) => Descend::No,
            };
            if let (Descend::Yes, Ok(stat)) = (descend, &stat) {
                below.push(name, FileId::of(stat));
            }
            if batch.is_full() {
                let full = std::mem::replace(&mut batch, Batch::begin(self.names.len() - position));
                let read_ahead = full.early_bytes.is_some();
                self.send(Listing { is_partial, ..full.listing(&dir, cache) }, read_ahead)?;
            }
            if let (Some(ahead), Ok(stat)) = (&self.options.read_ahead, &stat)
                && ahead.wants(stat)
            {
                *batch.early_bytes.get_or_insert(0) += stat.meta.size;
            }
            batch.push(name, stat, descend);
        }
        if let Some(level) = self.stack.last_mut() {
            level.below = below;
        }
        let read_ahead = batch.early_bytes.is_some();
        self.send(Listing { last: true, is_partial, error, ..batch.listing(&dir, cache) }, read_ahead)
    }

    /// Starts a path with that of `dir`, if there are patterns to match it with; returns its length.
    fn begin_path(&mut self, dir: &OpenDir) -> usize {
        self.path.clear();
        if !self.options.exclude.is_empty() {
            self.path = dir.place().relative();
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
        }
        self.path.len()
    }

    fn top(&self) -> Arc<OpenDir> {
        let dir = self.stack.last().and_then(|level| level.dir.as_ref());
        Arc::clone(dir.expect("the directory where the walk is, is open"))
    }

    fn push_level(&mut self, dir: Arc<OpenDir>, id: FileId) {
        let level = Level {
            place: Arc::clone(dir.place()),
            margin: dir.margin(),
            dir: Some(dir),
            id,
            below: Subdirectories::default(),
        };
        self.stack.push(level);
        // The root stays open: it is where the way down begins if the way up is lost.
        if let Some(distant) = self.stack.len().checked_sub(OPEN_ANCESTORS + 2).filter(|distant| *distant > 0) {
            self.stack[distant].dir = None;
        }
    }

    /// Goes up to the directory above, and opens it again if it had to be closed.
    fn leave(&mut self) {
        let left = self.stack.pop().and_then(|level| level.dir);
        if let (Some(left), Some(above)) = (left, self.stack.last_mut())
            && above.dir.is_none()
            && let Ok(fd) = left.fd()
        {
            // If it fails, the directory was moved meanwhile, and the way down from the root is tried when needed.
            above.dir = open_known(fd, c"..", above.id).ok().map(|fd| above.reopened(fd));
        }
    }

    /// Opens the directory at `place`, below the one at the top of the stack, which must be the inode `id`.
    fn open_subdirectory(&mut self, place: &Arc<Place>, id: FileId) -> Result<OpenDir, (Errno, io::Error)> {
        let mut name = place.name().to_vec();
        name.push(0);
        let name = CStr::from_bytes_with_nul(&name).expect("a listed name holds no NUL");
        let mut tries = 0;
        loop {
            let opened = self.open_top().and_then(|above| {
                let fd = open_known(above.fd()?, name, id)?;
                Ok((fd, above.margin()))
            });
            match opened {
                Ok((fd, above_margin)) => {
                    let crossed = self.stack.last().is_none_or(|level| level.id.dev != id.dev);
                    let margin = if crossed { Margin::of(&fd) } else { above_margin };
                    return Ok(OpenDir::new(Arc::clone(place), fd, margin));
                }
                Err(Errno::MFILE | Errno::NFILE) if tries < OPEN_RETRIES && self.options.check().is_ok() => {
                    tries += 1;
                    self.close_ancestors();
                    std::thread::sleep(OPEN_RETRY);
                }
                Err(errno @ Errno::STALE) => {
                    let error = "something else took its place while the source was read";
                    return Err((errno, io::Error::new(io::ErrorKind::StaleNetworkFileHandle, error)));
                }
                Err(errno) => return Err((errno, errno.into())),
            }
        }
    }

    /// The directory at the top of the stack, opened component by component if nothing else is left.
    fn open_top(&mut self) -> Result<Arc<OpenDir>, Errno> {
        let nearest = self.stack.iter().rposition(|level| level.dir.is_some()).ok_or(Errno::BADF)?;
        for depth in nearest + 1..self.stack.len() {
            let above = self.stack[depth - 1].dir.take().ok_or(Errno::BADF)?;
            let level = &mut self.stack[depth];
            let fd = above.fd().and_then(|above| open_known(above, level.place.name(), level.id));
            if depth == nearest + 1 || fd.is_err() {
                self.stack[depth - 1].dir = Some(above);
            }
            let level = &mut self.stack[depth];
            level.dir = Some(level.reopened(fd?));
        }
        Ok(self.top())
    }

    /// Closes what can be opened again: all but the root and the directory where the walk is.
    fn close_ancestors(&mut self) {
        let deepest = self.stack.len().saturating_sub(1);
        for level in self.stack.iter_mut().take(deepest).skip(1) {
            level.dir = None;
        }
    }

    fn send(&self, listing: Listing, read_ahead: bool) -> Result<(), Ended> {
        self.outlet.send(listing, read_ahead, || self.options.check())
    }
}

impl Level {
    fn reopened(&self, fd: OwnedFd) -> Arc<OpenDir> {
        Arc::new(OpenDir::new(Arc::clone(&self.place), fd, self.margin))
    }
}

impl Options {
    fn check(&self) -> Result<(), Ended> {
        if self.cancel.load(Ordering::Relaxed) { Err(Ended) } else { Ok(()) }
    }
}

/// Opens the directory `name` in `dir`, which must be the inode `id`: `ESTALE` if it is another.
fn open_known(dir: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy, id: FileId) -> Result<OwnedFd, Errno> {
    match open_untouched(dir, name, OFlags::DIRECTORY) {
        Ok(fd) if FileId::of(&stat_of(&fd)?) == id => Ok(fd),
        // Another directory, a link, or something else altogether.
        Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => Err(Errno::STALE),
        Err(errno) => Err(errno),
    }
}

fn leaves_out(options: &Options, path: &mut Vec<u8>, prefix_len: usize, name: &CStr, is_dir: bool) -> bool {
    if options.exclude.is_empty() {
        return false;
    }
    path.truncate(prefix_len);
    path.extend_from_slice(name.to_bytes());
    options.exclude.leaves_out(path, is_dir)
}

/// A listing in the making.
struct Batch {
    names: Vec<u8>,
    entries: Vec<Found>,
    taken_at: Timestamp,
    /// Bytes of the files that will be read ahead; `None` if there is none.
    early_bytes: Option<u64>,
}

impl Batch {
    /// An empty batch with room for what is left of `entries`.
    fn begin(entries: usize) -> Self {
        let entries = entries.min(BATCH_ENTRIES);
        Self {
            names: Vec::with_capacity(entries * 16),
            entries: Vec::with_capacity(entries),
            taken_at: Timestamp::now(),
            early_bytes: None,
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() == BATCH_ENTRIES || self.early_bytes.is_some_and(|bytes| bytes >= ahead::LISTING_BYTES)
    }

    fn push(&mut self, name: &CStr, stat: Result<Stat, Errno>, descend: Descend) {
        let end_of = |names: &Vec<u8>| u32::try_from(names.len()).expect("a batch of names has at most 64 MiB");
        let start = end_of(&self.names);
        self.names.extend_from_slice(name.to_bytes());
        self.entries.push(Found { name: start..end_of(&self.names), stat, descend });
    }

    fn listing(self, dir: &Arc<OpenDir>, cache: bool) -> Listing {
        let Self { names, entries, taken_at, early_bytes: _ } = self;
        let dir = Arc::clone(dir);
        let (last, is_partial, error, early) = (false, false, None, Early::default());
        Listing { dir, names, entries, taken_at, last, cache, is_partial, error, early }
    }
}
