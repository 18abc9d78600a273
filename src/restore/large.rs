//! Files whose bytes lie in several runs: threads write them side by side, a run each.
//!
//! Owns such a file from its making to its end. Refuses to know which thread writes which run. Its invariant: it gets its metadata, and
//! its name where another file has that, when all runs are written; if one is not, it is gone again.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::ftruncate;

use super::content;
use super::fault::{During, Fault};
use super::hand::{Hand, Run};
use super::here::{Given, Here};
use super::leaf::Berth;
use super::make::create;
use crate::format::Stat;
use crate::format::table::Extent;
use crate::overlay::Node;
use crate::source::FileId;

/// A file in the making.
pub(super) struct Large {
    pub(super) here: Arc<Here>,
    pub(super) node: Node,
    berth: Berth,
    file: OwnedFd,
    given: Given,
    written: AtomicU64,
    fault: OnceLock<Fault>,
}

impl Large {
    /// Makes the file for `node`, empty and with all its size, in the place of `existing`.
    pub(super) fn begin(here: &Arc<Here>, node: &Node, existing: Option<Stat>) -> Result<Self, Fault> {
        let berth = Berth::beside(existing);
        let at = berth.at(node.entry.name());
        let (file, given) = create(here, node, at)?;
        if let Err(fault) = ftruncate(&file, node.entry.record().meta.size).during("set the size of") {
            here.discard(at);
            return Err(fault);
        }
        let (here, node, written, fault) = (Arc::clone(here), node.clone(), AtomicU64::new(0), OnceLock::new());
        Ok(Self { here, node, berth, file, given, written, fault })
    }

    /// Notes that the file cannot be made, and the first reason.
    pub(super) fn fail(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.fault.get().is_some()
    }

    /// Reads and writes the run `extent`.
    pub(super) fn write(&self, run: &Run<'_>, extent: Extent) {
        if self.has_failed() {
            return;
        }
        let (file, catalog) = (self.file.as_fd(), run.tree.catalog(self.node.layer));
        let write = |bytes: &[u8]| content::write_at(file, bytes, extent.at);
        let outcome = run.check().and_then(|()| run.reader.with(catalog, extent.place, extent.len, write)?);
        match outcome {
            Ok(()) => {
                self.written.fetch_add(extent.len.into(), Ordering::Relaxed);
                run.progress.add_bytes(extent.len.into());
            }
            Err(fault) => self.fail(fault),
        }
    }
}

impl Hand<'_> {
    /// Ends a large file that no thread writes to any more. Answers its inode, if it is to have more names.
    pub(super) fn finish_large(&mut self, large: Large) -> Result<Option<FileId>, Fault> {
        let Large { here, node, berth, file, given, written, fault } = large;
        let written = written.into_inner();
        let outcome = match fault.into_inner() {
            Some(fault) => Err(fault),
            None if written != node.entry.record().data_bytes => Err(self.run.damaged(&node, "extents")),
            None => self.finish_file(&here, &node, &file, given),
        };
        if outcome.is_err() {
            here.discard(berth.at(node.entry.name()));
        }
        let id = outcome?;
        self.account.report.written_bytes += written;
        self.run.progress.add_bytes(node.entry.record().meta.size.saturating_sub(written));
        if !self.put_in_place(&here, &node, &berth)? {
            return Ok(None);
        }
        self.account.report.made += 1;
        Ok(id)
    }
}
