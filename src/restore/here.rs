//! A directory of DEST in which entries are being restored.
//!
//! Owns what is known of it, for all threads that make entries in it. Refuses to know the entries. Its invariant: what it says that a
//! new file gets from the system was seen on a file made in it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, unlinkat};

use super::KeptBecause;
use super::fault::{During, Fault};
use crate::source::dir::Place;
use crate::source::stat::stat_of;

/// Owner, group and mode that the system gave to a new file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) owner: (u32, u32),
    pub(super) mode: u32,
    /// The mode that was asked for.
    asked: u32,
}

/// The directory of DEST whose entries are being restored.
pub(super) struct Here {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) place: Arc<Place>,
    pub(super) dev: u64,
    /// Whether it was made by this restore, so that no name in it needs a look.
    pub(super) is_fresh: bool,
    /// Whether nobody else can reach into it yet.
    pub(super) is_private: bool,
    /// Whether what is made in it may inherit an ACL.
    pub(super) may_inherit_acl: bool,
    /// Why nothing is to be removed in it.
    pub(super) keeps: Option<KeptBecause>,
    /// What the last file that was looked at got.
    pub(super) given: Mutex<Option<Given>>,
}

impl Here {
    /// The path of the entry `name`, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.place.path().join(OsStr::from_bytes(name))
    }

    /// What the system gave to `file`, which was made here just now with the mode `asked`. Only the first file of a mode is looked at.
    pub(super) fn given(&self, file: &OwnedFd, asked: u32) -> Result<Given, Fault> {
        let mut last = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = last.filter(|given| given.asked == asked) {
            return Ok(given);
        }
        let meta = stat_of(file).during("look at")?.meta;
        Ok(*last.insert(Given { owner: (meta.uid, meta.gid), mode: meta.mode, asked }))
    }

    /// Removes what could not be finished; the failure that is being told says why.
    pub(super) fn discard(&self, at: &[u8]) {
        let _ = unlinkat(&*self.fd, at, AtFlags::empty());
    }
}
