//! How far something has come that goes through a point.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a restore or an export has come; any thread may look.
#[derive(Debug, Default)]
pub struct Progress {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Entries dealt with so far. The whole of a point is `files + directories + others` of its [`Counts`](crate::format::point::Counts).
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes of files dealt with so far. A restore counts holes, too, and what was right already; an export what it writes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
