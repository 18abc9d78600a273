//! What a restore tells while it runs and when it is done.

use std::path::PathBuf;

use crate::repository::ReadError;

/// Why something in DEST was not removed although it should have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBecause {
    /// Another file system is mounted there.
    Mounted,
    /// It is the store.
    Store,
    /// It is a directory with something in it, below one that the backup could not read to its end.
    Incomplete,
}

/// Something that a person should hear of while a restore runs. Paths are those in DEST.
#[derive(Debug)]
pub enum Notice {
    /// The store is damaged: this was not restored. What was there before is untouched.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is damaged.
        error: ReadError,
    },
    /// The system did not let this one be restored, or removed.
    Failed {
        /// Which.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The backup never could read it: it was not made, and what was there before is untouched.
    NeverRead {
        /// Which.
        path: PathBuf,
    },
    /// The backup could not read it: this is the newest version that there is.
    Older {
        /// Which.
        path: PathBuf,
    },
    /// The backup could not read this directory to its end, or left it out: nothing was removed below.
    Incomplete {
        /// Which.
        path: PathBuf,
    },
    /// It should have been removed, and was not.
    Kept {
        /// Which.
        path: PathBuf,
        /// Why.
        why: KeptBecause,
    },
    /// A hard link could not be made: the name became a file of its own.
    Unlinked {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// How often the system refused one kind of thing, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How often.
    pub count: u64,
    /// The first entry.
    pub first: Option<PathBuf>,
}

impl Refused {
    pub(super) fn add(&mut self, path: impl FnOnce() -> PathBuf) {
        self.count += 1;
        self.first.get_or_insert_with(path);
    }

    fn join(&mut self, later: Self) {
        self.count += later.count;
        self.first = self.first.take().or(later.first);
    }
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries of the point that were looked at.
    pub entries: u64,
    /// Entries that were made anew; directories and further names of hard links among them.
    pub made: u64,
    /// Entries that were there, right in content; their metadata may have been put right.
    pub kept: u64,
    /// Entries of DEST that were removed because the point has not got them, or has another kind of entry there.
    pub removed: u64,
    /// Bytes of files that were written, holes not included.
    pub written_bytes: u64,
    /// Entries that could not be restored because the store is damaged.
    pub damaged: u64,
    /// Entries that the system did not let be restored, or removed.
    pub failed: u64,
    /// Entries that the backup never could read.
    pub never_read: u64,
    /// Entries restored in an older version, since the backup could not read them.
    pub older: u64,
    /// Directories below which nothing was removed, since the backup does not know all that was in them.
    pub incomplete: u64,
    /// Things that should have been removed and were kept.
    pub not_removed: u64,
    /// Names that should be hard links and are files of their own.
    pub unlinked: u64,
    /// Owners and groups that this user may not give.
    pub owners: Refused,
    /// Modes that could not be set whole: by the file system, or set-id bits left out because the owner could not be set.
    pub modes: Refused,
    /// Times that could not be set.
    pub times: Refused,
    /// Extended attributes, ACLs and capabilities that could not be set or removed; entries, not attributes.
    pub attributes: Refused,
    /// Devices that this user may not make.
    pub devices: Refused,
}

impl Report {
    /// Adds what happened meanwhile elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.made += other.made;
        self.kept += other.kept;
        self.removed += other.removed;
        self.written_bytes += other.written_bytes;
        self.damaged += other.damaged;
        self.failed += other.failed;
        self.never_read += other.never_read;
        self.older += other.older;
        self.incomplete += other.incomplete;
        self.not_removed += other.not_removed;
        self.unlinked += other.unlinked;
        self.owners.join(other.owners);
        self.modes.join(other.modes);
        self.times.join(other.times);
        self.attributes.join(other.attributes);
        self.devices.join(other.devices);
    }

    /// Whether every entry that the point holds is there, with its content.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.damaged == 0 && self.failed == 0
    }

    /// Whether, beyond that, nothing was refused that this user or this file system cannot have.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        let refused = self.owners.count + self.modes.count + self.times.count;
        self.is_complete() && refused + self.attributes.count + self.devices.count + self.unlinked == 0
    }
}
