//! What a backup tells while it runs and when it is done.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::Number;
use crate::repository::Alarm;
use crate::source::Descend;

/// How far a backup has come; any thread may look.
#[derive(Debug, Default)]
pub struct Progress {
    entries: AtomicU64,
    expected_entries: AtomicU64,
    read_bytes: AtomicU64,
}

impl Progress {
    pub(super) fn entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Entries of the source compared so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Begins again.
    pub(super) fn restart(&self) {
        self.entries.store(0, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, entries: u64) {
        self.expected_entries.store(entries, Ordering::Relaxed);
    }

    /// Entries that the previous point had, as an estimate of the whole; 0 where there is no previous point.
    #[must_use]
    pub fn expected_entries(&self) -> u64 {
        self.expected_entries.load(Ordering::Relaxed)
    }

    /// Bytes of file data read so far.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
}

/// Something that a person should hear of while a backup runs.
#[derive(Debug)]
pub enum Notice {
    /// An entry could not be read. The point is incomplete.
    Unread {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file changed while it was read, each time it was tried.
    Torn {
        /// Which.
        path: PathBuf,
    },
    /// A directory was recorded empty on purpose.
    LeftOut {
        /// Which.
        path: PathBuf,
        /// Why.
        why: Descend,
    },
    /// The index could not be used and was made anew.
    IndexRebuilt {
        /// Why.
        reason: String,
        /// Packs that were read for it.
        packs: usize,
    },
    /// The index lacked packs, or named packs that are gone; it has been set right.
    IndexMended {
        /// Packs entered.
        added: usize,
        /// Packs dropped.
        dropped: usize,
    },
    /// The clock stands before the newest point of the source; the point's time was moved after it.
    ClockBehind,
    /// A differential was asked for, and there is no full to build on.
    FullInstead,
    /// A differential was asked for, and is larger than the rules would let it be.
    LargeDifferential {
        /// Its bytes.
        bytes: u64,
        /// Those of its full.
        full_bytes: u64,
    },
    /// A differential became too large while it was made; a full is made from the beginning, of which what is packed already is part.
    BecomesFull,
    /// A base that cannot be built on was passed over.
    BaseUnusable {
        /// The full.
        number: Number,
        /// What is wrong with it.
        error: String,
    },
    /// The point changed far more than the source's points use to: nothing of the source is forgotten by rules or pruned until somebody has looked.
    Alarm(Alarm),
    /// Something in the store is wrong that does not stop the backup.
    Problem(String),
}
