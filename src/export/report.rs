//! What an export tells while it runs and when it is done.

/// Something that a person should hear of while an export runs. Paths are those in the archive.
#[derive(Debug)]
pub enum Notice {
    /// No archive holds sockets: it is left out.
    Socket {
        /// Which.
        path: String,
    },
    /// It is left out: it could never be read when it was backed up.
    NeverRead {
        /// Which.
        path: String,
    },
    /// What goes out is an older version: it could not be read when it was backed up.
    Older {
        /// Which.
        path: String,
    },
    /// A directory that could not be read to its end when it was backed up.
    Incomplete {
        /// Which.
        path: String,
    },
}

/// What an export came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of files, without holes.
    pub bytes: u64,
    /// Sockets that were left out.
    pub sockets: u64,
    /// Entries that were left out because they never could be read.
    pub never_read: u64,
    /// Files in an older version.
    pub older: u64,
    /// Directories that may lack entries.
    pub incomplete: u64,
}

impl Report {
    /// Whether the archive holds all that was there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.sockets + self.never_read + self.older + self.incomplete == 0
    }
}
