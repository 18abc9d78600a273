//! The way through the tree: what is done at once, and what the threads do.
//!
//! Owns the stack of directories that are being restored, and the names of hard links, whose order counts. Refuses to recurse. Its invariant: a
//! level of it is a few hundred bytes; no listing and no block of a catalog is held for a directory other than the last.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::batches::{Batches, Block};
use super::crew::Crew;
use super::destination::Destination;
use super::directory::Level;
use super::fault::Fault;
use super::hand::{Account, Hand, Piece, Run};
use super::here::Here;
use super::large::Large;
use super::leaf::existing_leaf;
use super::links::Links;
use super::make::is_one_run;
use super::trail::Trail;
use super::unfinished::{Queue, Unfinished};
use super::{Notice, Report, RestoreError};
use crate::format::record::{Content, Place as PackPlace};
use crate::format::table::Extent;
use crate::format::{Kind, Stat};
use crate::overlay::{Node, Records};
use crate::source::FileId;
use crate::source::dir::Place;

/// One restore, as the main thread sees it.
pub(super) struct Engine<'a> {
    pub(super) hand: Hand<'a>,
    pub(super) crew: Crew,
    pub(super) batches: Batches<Piece>,
    pub(super) unfinished: Queue,
    pub(super) notify: &'a mut dyn FnMut(Notice),
    /// The directories from DEST to where the restore is; the levels say more about the same.
    pub(super) trail: Trail,
    pub(super) levels: Vec<Level>,
    pub(super) links: Links,
    met: Records,
    report: Report,
}

impl<'a> Engine<'a> {
    pub(super) fn new(run: &'a Run<'a>, crew: Crew, notify: &'a mut dyn FnMut(Notice)) -> Self {
        Self {
            hand: Hand::new(run),
            crew,
            batches: Batches::new(),
            unfinished: Queue::new(),
            notify,
            trail: Trail::default(),
            levels: Vec::new(),
            links: Links::default(),
            met: Records::none_of(run.tree),
            report: Report::default(),
        }
    }

    /// Restores `node` into `dest`.
    pub(super) fn run(mut self, node: &Node, dest: Destination) -> Result<Report, RestoreError> {
        let is_synced = self.hand.run.options.sync;
        let (fd, path) = (Arc::new(dest.fd), dest.path);
        let place = Place::root(&path);
        let outcome = self.walk(node, place, dest.id, &fd, dest.is_fresh).and_then(|()| self.finish_all());
        if let Err(error) = outcome {
            self.abandon();
            return Err(error);
        }
        if is_synced {
            let failed = |errno: Errno| RestoreError::Destination { act: "sync", path, source: errno.into() };
            rustix::fs::syncfs(&fd).map_err(failed)?;
        }
        Ok(self.report)
    }

    fn walk(
        &mut self,
        node: &Node,
        place: Arc<Place>,
        id: FileId,
        fd: &Arc<OwnedFd>,
        is_fresh: bool,
    ) -> Result<(), RestoreError> {
        if !node.is_directory() {
            self.trail.push(Arc::clone(&place), id, Arc::clone(fd));
            let here = Here {
                may_inherit_acl: !is_fresh,
                fd: Arc::clone(fd),
                place,
                dev: id.dev,
                is_fresh,
                is_private: false,
                keeps: None,
                given: Mutex::new(None),
            };
            return self.leaf(&Arc::new(here), node);
        }
        self.begin(node, place, id, fd, is_fresh)?;
        while let Some(level) = self.levels.last() {
            self.check()?;
            if !level.is_listed {
                self.list()?;
            } else if let Some(node) = self.next_directory()? {
                self.enter(&node)?;
            } else {
                self.leave()?;
            }
            self.tell()?;
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), RestoreError> {
        self.hand.run.check().map_err(|_| RestoreError::Cancelled)
    }

    /// Takes note of a record that is about to be restored: a second time it is damage.
    pub(super) fn meet(&mut self, node: &Node) -> Result<(), Fault> {
        if self.met.add(node) { Ok(()) } else { Err(self.hand.run.damaged(node, "record: it is listed twice")) }
    }

    /// Restores an entry that is no directory, or has it restored.
    pub(super) fn leaf(&mut self, here: &Arc<Here>, node: &Node) -> Result<(), RestoreError> {
        if let Err(fault) = self.meet(node) {
            self.hand.count();
            return self.hand.settle(here, node, Err(fault));
        }
        let record = node.entry.record();
        // A link must come after what it links to, and one thread alone would write a large file slowly.
        if record.meta.nlink <= 1 && (record.meta.kind != Kind::File || is_one_run(record)) {
            let block = match record.content {
                Content::One(place) if record.meta.kind == Kind::File => self.block(node, place),
                _ => None,
            };
            return self.hand_out(Piece::Leaf(Arc::clone(here), node.clone()), block);
        }
        self.hand.count();
        match self.leaf_here(here, node) {
            Ok(None) => self.hand.settle(here, node, Ok(()))?,
            Err(fault) => self.hand.settle(here, node, Err(fault))?,
            Ok(Some(large)) => self.write_large(large)?,
        }
        self.tell()
    }

    /// Restores an entry, but for the content and the metadata of a large file that it answers.
    fn leaf_here(&mut self, here: &Arc<Here>, node: &Node) -> Result<Option<Large>, Fault> {
        self.hand.run.check()?;
        let record = node.entry.record();
        let existing = existing_leaf(here, node)?;
        let link = if record.meta.nlink > 1 { self.links.find(record.birth) } else { None };
        if let Some(link) = link
            && self.link(here, node, existing, &link)?
        {
            self.links.count(record.birth);
            self.hand.run.progress.add_bytes(record.meta.size);
            return Ok(None);
        }
        if let Some(stat) = &existing
            && self.keep(here, node, stat)?
        {
            self.hand.count_kept(node);
            self.begin_link(here, node, Some(FileId::of(stat)));
            return Ok(None);
        }
        if record.meta.kind == Kind::File && !is_one_run(record) {
            return Large::begin(here, node, existing).map(Some);
        }
        let id = self.hand.replace(here, node, existing)?;
        self.begin_link(here, node, id);
        Ok(None)
    }

    fn keep(&mut self, here: &Here, node: &Node, stat: &Stat) -> Result<bool, Fault> {
        let is_kept = self.hand.keep(here, node, stat)?;
        Ok(is_kept && (stat.meta.nlink <= 1 || self.links.claim(FileId::of(stat), node.entry.record().birth)))
    }

    fn begin_link(&mut self, here: &Here, node: &Node, id: Option<FileId>) {
        if let Some(id) = id {
            let record = node.entry.record();
            self.links.begin(record.birth, record.meta.nlink, &here.place, node.entry.name(), id);
        }
    }

    /// Hands out the writing of all runs of a file.
    fn write_large(&mut self, large: Large) -> Result<(), RestoreError> {
        let large = Arc::new(large);
        let outcome = self.hand_out_runs(&large);
        let has_names = large.node.entry.record().meta.nlink > 1;
        let (ended, fault) = match outcome {
            Ok(fault) => (Ok(()), fault),
            Err(error) => (Err(error), Some(Fault::Cancelled)),
        };
        if let Some(fault) = fault {
            large.fail(fault);
        }
        self.unfinished.push_back(Unfinished::Large(large));
        ended?;
        // Further names wait for the first.
        if has_names { self.finish_all() } else { self.finish_ready() }
    }

    /// Answers what is wrong with the runs.
    fn hand_out_runs(&mut self, large: &Arc<Large>) -> Result<Option<Fault>, RestoreError> {
        let (run, node) = (self.hand.run, &large.node);
        let catalog = run.tree.catalog(node.layer);
        let (first, count) = match node.entry.record().content {
            Content::Many { first, count } => (first, count),
            Content::None => return Ok(None),
            _ => return Ok(Some(run.damaged(node, "content"))),
        };
        let size = node.entry.record().meta.size;
        let (mut ended, mut is_possible) = (Ok(()), true);
        let read = catalog.extents(first, count, 0, |extent: &Extent| {
            is_possible = extent.end() <= size;
            if is_possible {
                let block = self.block(node, extent.place);
                ended = self.check().and_then(|()| self.hand_out(Piece::Part(Arc::clone(large), *extent), block));
            }
            is_possible && ended.is_ok() && !large.has_failed()
        });
        ended?;
        Ok(match read {
            Err(error) => Some(error.into()),
            Ok(()) if !is_possible => Some(run.damaged(node, "extents")),
            Ok(()) => None,
        })
    }

    /// Ends a large file.
    pub(super) fn finish_large(&mut self, large: Arc<Large>) -> Result<(), RestoreError> {
        let (here, node) = (Arc::clone(&large.here), large.node.clone());
        // A thread that died over it has let go of it too.
        let Some(large) = Arc::into_inner(large) else { return Ok(()) };
        let outcome = self.hand.finish_large(large).map(|id| self.begin_link(&here, &node, id));
        self.hand.settle(&here, &node, outcome)
    }

    fn block(&self, node: &Node, place: PackPlace) -> Option<Block> {
        let pack = self.hand.run.tree.catalog(node.layer).packs().get(place.pack as usize)?;
        Some((pack.id, place.block))
    }

    fn hand_out(&mut self, piece: Piece, block: Option<Block>) -> Result<(), RestoreError> {
        match self.batches.add(piece, block) {
            Some(batch) => self.hand_over(batch),
            None => Ok(()),
        }
    }

    /// Hands over all that waits for more of the same block.
    pub(super) fn hand_over_all(&mut self) -> Result<(), RestoreError> {
        while let Some(batch) = self.batches.pop() {
            self.hand_over(batch)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, batch: Vec<Piece>) -> Result<(), RestoreError> {
        if let Err(batch) = self.crew.hand_over(batch) {
            self.hand.work(batch);
        }
        self.tell()
    }

    /// Takes over what has happened meanwhile.
    pub(super) fn tell(&mut self) -> Result<(), RestoreError> {
        let own = std::mem::take(&mut self.hand.account);
        self.take_over(own)?;
        while let Some(account) = self.crew.account() {
            self.take_over(account)?;
        }
        Ok(())
    }

    pub(super) fn take_over(&mut self, account: Account) -> Result<(), RestoreError> {
        self.report.add(account.report);
        account.notices.into_iter().for_each(&mut *self.notify);
        account.end.map_or(Ok(()), Err)
    }
}
