//! What is to be finished when the threads are done with it: large files, and directories that were left.
//!
//! Owns their order. Refuses to know how work is handed out. Its invariant: a directory gets its own metadata after all of its
//! entries, for it stands behind them here; and no more than [`LIMIT`] directories and files are held open by what waits.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use super::RestoreError;
use super::directory::Level;
use super::engine::Engine;
use super::fault::Fault;
use super::here::Here;
use super::large::Large;

/// What may wait.
const LIMIT: usize = 256;

/// Something that waits for what stands before it.
pub(super) enum Unfinished {
    /// A directory whose entries are being made.
    Entries(Weak<Here>),
    /// A file that is being written.
    Large(Arc<Large>),
    /// A directory that only lacks its own metadata.
    Directory(Level, Arc<OwnedFd>),
}

impl Unfinished {
    /// Whether no thread has to do with it any more.
    fn is_ready(&self) -> bool {
        match self {
            Self::Entries(here) => here.strong_count() == 0,
            Self::Large(large) => Arc::strong_count(large) == 1,
            Self::Directory(..) => true,
        }
    }
}

/// All that waits, in the order in which it is to be finished.
pub(super) type Queue = VecDeque<Unfinished>;

impl Engine<'_> {
    /// Puts `unfinished` behind all that waits.
    pub(super) fn put_off(&mut self, unfinished: Unfinished) -> Result<(), RestoreError> {
        self.unfinished.push_back(unfinished);
        self.finish_ready()
    }

    /// Finishes what can be finished, and makes room.
    pub(super) fn finish_ready(&mut self) -> Result<(), RestoreError> {
        while self.unfinished.front().is_some_and(Unfinished::is_ready) || self.unfinished.len() > LIMIT {
            self.finish_first()?;
        }
        Ok(())
    }

    /// Has all done that waits, finishes it, and takes over what there is to tell.
    pub(super) fn finish_all(&mut self) -> Result<(), RestoreError> {
        self.hand_over_all()?;
        while let Some(account) = self.crew.wait() {
            self.take_over(account)?;
        }
        while !self.unfinished.is_empty() {
            self.finish_first()?;
        }
        self.tell()
    }

    fn finish_first(&mut self) -> Result<(), RestoreError> {
        while self.unfinished.front().is_some_and(|first| !first.is_ready()) {
            self.hand_over_all()?;
            match self.crew.wait() {
                Some(account) => self.take_over(account)?,
                None => break,
            }
        }
        match self.unfinished.pop_front() {
            Some(Unfinished::Large(large)) => self.finish_large(large),
            Some(Unfinished::Directory(level, fd)) => self.finish_directory(&level, &fd),
            Some(Unfinished::Entries(_)) | None => Ok(()),
        }
    }

    /// Waits for the threads after the restore has ended early, and leaves no file that is not whole.
    pub(super) fn abandon(&mut self) {
        self.hand.run.end();
        while self.batches.pop().is_some() {}
        while self.crew.wait().is_some() {}
        for unfinished in std::mem::take(&mut self.unfinished) {
            if let Unfinished::Large(large) = unfinished
                && let Some(large) = Arc::into_inner(large)
            {
                large.fail(Fault::Cancelled);
                let _ = self.hand.finish_large(large);
            }
        }
    }
}
