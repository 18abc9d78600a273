//! The way through the tree, and the account of what happened on it.
//!
//! Owns the stack of directories that are being restored. Refuses to recurse. Its invariant: a level of it is a few hundred bytes; no
//! listing and no block of a catalog is held for a directory other than the last.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::ahead::Ahead;
use super::content::Stored;
use super::destination::Destination;
use super::directory::Level;
use super::fault::{Fault, spares_others};
use super::links::Links;
use super::meta::Missing;
use super::remove::Removed;
use super::trail::Trail;
use super::{KeptBecause, Notice, Options, Progress, Report, RestoreError};
use crate::overlay::{Node, PointTree};
use crate::repository::{ReadError, Reader};
use crate::source::FileId;
use crate::source::dir::Place;

/// One restore.
pub(super) struct Engine<'a> {
    pub(super) reader: &'a Reader,
    pub(super) tree: &'a PointTree,
    pub(super) options: &'a Options,
    pub(super) progress: &'a Progress,
    pub(super) notify: &'a mut dyn FnMut(Notice),
    pub(super) store: Option<FileId>,
    /// The directories from DEST to where the restore is; the levels say more about the same.
    pub(super) trail: Trail,
    pub(super) levels: Vec<Level>,
    pub(super) links: Links,
    pub(super) report: Report,
    pub(super) buffer: Vec<u8>,
    pub(super) ahead: Ahead,
}

/// The directory of DEST whose entries are being restored.
pub(super) struct Here {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) place: Arc<Place>,
    pub(super) dev: u64,
    /// Whether it was made by this restore, so that no name in it needs a look.
    pub(super) is_fresh: bool,
    /// Whether what is made in it may inherit an ACL.
    pub(super) may_inherit_acl: bool,
    /// Why nothing is to be removed in it.
    pub(super) keeps: Option<KeptBecause>,
    /// Owner and group that a new file gets here, once known.
    pub(super) owner: Cell<Option<(u32, u32)>>,
}

impl Here {
    /// The path of the entry `name`, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.place.path().join(OsStr::from_bytes(name))
    }
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        tree: &'a PointTree,
        options: &'a Options,
        progress: &'a Progress,
        notify: &'a mut dyn FnMut(Notice),
        store: Option<FileId>,
        ahead: Ahead,
    ) -> Self {
        let (trail, levels, links, report) = (Trail::default(), Vec::new(), Links::default(), Report::default());
        Self { reader, tree, options, progress, notify, store, trail, levels, links, report, buffer: Vec::new(), ahead }
    }

    /// Restores `node` into `dest`.
    pub(super) fn run(mut self, node: &Node, dest: Destination) -> Result<Report, RestoreError> {
        let Destination { fd, id, is_fresh, path, .. } = dest;
        let fd = Arc::new(fd);
        let place = Place::root(&path);
        if node.is_directory() {
            self.begin(node, place, id, &fd, is_fresh)?;
            while let Some(level) = self.levels.last() {
                self.check()?;
                if !level.is_listed {
                    self.list()?;
                } else if let Some(node) = self.next_directory()? {
                    self.enter(&node)?;
                } else {
                    self.leave()?;
                }
            }
        } else {
            self.trail.push(Arc::clone(&place), id, Arc::clone(&fd));
            let here = Here {
                may_inherit_acl: !is_fresh,
                fd: Arc::clone(&fd),
                place,
                dev: id.dev,
                is_fresh,
                keeps: None,
                owner: Cell::new(None),
            };
            self.leaf(&here, node)?;
        }
        if self.options.sync {
            let failed = |errno: Errno| RestoreError::Destination { act: "sync", path, source: errno.into() };
            rustix::fs::syncfs(&fd).map_err(failed)?;
        }
        Ok(self.report)
    }

    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if self.options.cancel.load(Ordering::Relaxed) { Err(RestoreError::Cancelled) } else { Ok(()) }
    }

    /// The stored file of `node`.
    pub(super) fn stored<'n>(&self, node: &'n Node) -> Stored<'n>
    where
        'a: 'n,
    {
        let (reader, tree, options) = (self.reader, self.tree, self.options);
        Stored { reader, catalog: tree.catalog(node.layer), entry: &node.entry, cancel: &options.cancel }
    }

    /// Counts and tells what went wrong with one entry, or ends the restore where it would go wrong with all.
    pub(super) fn fault(&mut self, path: PathBuf, fault: Fault) -> Result<(), RestoreError> {
        match fault {
            Fault::Cancelled => return Err(RestoreError::Cancelled),
            Fault::Read(ReadError::NeverRead) => {
                self.report.never_read += 1;
                (self.notify)(Notice::NeverRead { path });
            }
            Fault::Read(error) => {
                self.report.damaged += 1;
                (self.notify)(Notice::Damaged { path, error });
            }
            Fault::System(act, errno) if spares_others(errno) => {
                self.report.failed += 1;
                (self.notify)(Notice::Failed { path, act, error: errno.into() });
            }
            Fault::System(act, errno) => {
                return Err(RestoreError::Destination { act, path, source: errno.into() });
            }
        }
        Ok(())
    }

    /// Counts what an entry had to go without.
    pub(super) fn account(&mut self, missing: Missing, path: impl Fn() -> PathBuf) {
        if missing == Missing::default() {
            return;
        }
        let Report { owners, attributes, modes, times, .. } = &mut self.report;
        let refusals =
            [(missing.owner, owners), (missing.attributes, attributes), (missing.mode, modes), (missing.times, times)];
        for (_, refused) in refusals.into_iter().filter(|(is_missing, _)| *is_missing) {
            refused.add(&path);
        }
    }

    /// Counts and tells what became of something that was to be removed.
    pub(super) fn account_removal(&mut self, removed: Removed) {
        self.report.removed += removed.count;
        for (path, why) in removed.kept {
            self.kept(path, why);
        }
        for (path, errno) in removed.failed {
            self.report.failed += 1;
            (self.notify)(Notice::Failed { path, act: "remove", error: errno.into() });
        }
    }

    pub(super) fn kept(&mut self, path: PathBuf, why: KeptBecause) {
        self.report.not_removed += 1;
        (self.notify)(Notice::Kept { path, why });
    }
}
