//! What a thread of a restore works with, and the account of what happened to it.
//!
//! Owns the counts and the notices until the main thread takes them over. Refuses to know who does what. Its invariant: every
//! entry that a hand takes up is counted once, whatever becomes of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::{Fault, spares_others};
use super::here::Here;
use super::large::Large;
use super::meta::Missing;
use super::remove::Removed;
use super::{KeptBecause, Notice, Options, Progress, Report, RestoreError};
use crate::catalog::{CatalogError, Entry};
use crate::format::FormatError;
use crate::format::record::Status;
use crate::format::table::Extent;
use crate::overlay::{Node, PointTree};
use crate::repository::{ReadError, Reader};
use crate::source::FileId;

/// One restore, as all its threads see it.
pub(super) struct Run<'a> {
    pub(super) reader: &'a Reader,
    pub(super) tree: &'a PointTree,
    pub(super) options: &'a Options,
    pub(super) progress: &'a Progress,
    /// The store's directory.
    pub(super) store: Option<FileId>,
    /// Set when the restore ends early: what waits is not begun.
    has_ended: AtomicBool,
}

impl<'a> Run<'a> {
    pub(super) const fn new(
        reader: &'a Reader,
        tree: &'a PointTree,
        options: &'a Options,
        progress: &'a Progress,
        store: Option<FileId>,
    ) -> Self {
        Self { reader, tree, options, progress, store, has_ended: AtomicBool::new(false) }
    }

    /// Whether the record of `node` is to be restored.
    pub(super) fn wants(&self, node: &Node) -> bool {
        self.options.only.as_ref().is_none_or(|only| only.has(node))
    }

    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.options.cancel.load(Ordering::Relaxed) { Err(Fault::Cancelled) } else { Ok(()) }
    }

    /// Says that the record of `node` cannot be.
    pub(super) fn damaged(&self, node: &Node, what: &'static str) -> Fault {
        damaged(self.tree.catalog(node.layer).point().number, &node.entry, what).into()
    }
}

/// Says that a record of catalog `number` cannot be.
pub(super) fn damaged(number: crate::format::Number, entry: &Entry, what: &'static str) -> ReadError {
    let part = format!("record {}", entry.number());
    CatalogError::Damaged { number, part, source: FormatError::Impossible(what) }.into()
}

/// A part of the work, which one thread does at once.
pub(super) enum Piece {
    /// Restore an entry that is no directory and has no other name.
    Leaf(Arc<Here>, Node),
    /// Write one run of a large file.
    Part(Arc<Large>, Extent),
}

/// What happened, as far as the main thread does not know yet.
#[derive(Default)]
pub(super) struct Account {
    pub(super) report: Report,
    pub(super) notices: Vec<Notice>,
    /// What ends the restore.
    pub(super) end: Option<RestoreError>,
}

/// What one thread works with.
pub(super) struct Hand<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) account: Account,
    pub(super) buffer: Vec<u8>,
}

impl<'a> Hand<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self { run, account: Account::default(), buffer: Vec::new() }
    }

    /// Does everything in `batch`, unless the restore has ended.
    pub(super) fn work(&mut self, batch: Vec<Piece>) {
        for piece in batch {
            if self.run.has_ended() {
                continue;
            }
            let outcome = match piece {
                Piece::Leaf(here, node) => self.leaf(&here, &node),
                Piece::Part(large, extent) => {
                    large.write(self.run, extent);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                self.account.end.get_or_insert(error);
                self.run.end();
            }
        }
    }

    /// Counts an entry of the point that is looked at now.
    pub(super) fn count(&mut self) {
        self.run.progress.entry();
        self.account.report.entries += 1;
    }

    /// Ends the account of an entry that is no directory.
    pub(super) fn settle(&mut self, here: &Here, node: &Node, outcome: Result<(), Fault>) -> Result<(), RestoreError> {
        let path = || here.path_of(node.entry.name());
        match outcome {
            Ok(()) if node.entry.record().status == Status::Unread => {
                self.account.report.older += 1;
                self.notice(Notice::Older { path: path() });
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(fault) => self.fault(path(), fault),
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.account.notices.push(notice);
    }

    /// Counts and tells what went wrong with one entry, or ends the restore where it would go wrong with all.
    pub(super) fn fault(&mut self, path: PathBuf, fault: Fault) -> Result<(), RestoreError> {
        match fault {
            Fault::Cancelled => return Err(RestoreError::Cancelled),
            Fault::Read(ReadError::NeverRead) => {
                self.account.report.never_read += 1;
                self.notice(Notice::NeverRead { path });
            }
            Fault::Read(error) => {
                self.account.report.damaged += 1;
                self.notice(Notice::Damaged { path, error });
            }
            Fault::System(act, errno) if spares_others(errno) => {
                self.account.report.failed += 1;
                self.notice(Notice::Failed { path, act, error: errno.into() });
            }
            Fault::System(act, errno) => {
                return Err(RestoreError::Destination { act, path, source: errno.into() });
            }
        }
        Ok(())
    }

    /// Counts what an entry had to go without.
    pub(super) fn without(&mut self, missing: Missing, path: impl Fn() -> PathBuf) {
        if missing == Missing::default() {
            return;
        }
        let Report { owners, attributes, modes, times, .. } = &mut self.account.report;
        let refusals =
            [(missing.owner, owners), (missing.attributes, attributes), (missing.mode, modes), (missing.times, times)];
        for (_, refused) in refusals.into_iter().filter(|(is_missing, _)| *is_missing) {
            refused.add(&path);
        }
    }

    /// Counts and tells what became of something that was to be removed.
    pub(super) fn removal(&mut self, removed: Removed) {
        self.account.report.removed += removed.count;
        for (path, why) in removed.kept {
            self.kept(path, why);
        }
        for (path, errno) in removed.failed {
            self.account.report.failed += 1;
            self.notice(Notice::Failed { path, act: "remove", error: errno.into() });
        }
    }

    pub(super) fn kept(&mut self, path: PathBuf, why: KeptBecause) {
        self.account.report.not_removed += 1;
        self.notice(Notice::Kept { path, why });
    }
}
