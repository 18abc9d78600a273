//! Why an archive is not read, or not written.

use std::io;

use crate::format::point::bytes_as_text;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes cannot be had: of the file, or because what is compressed is damaged.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("it is no tar archive, plain or compressed with gzip or zstd")]
    NotAnArchive,
    /// It ends too early.
    #[error("it is cut off: it ends {0}")]
    Cut(&'static str),
    /// A header that cannot be.
    #[error("its member {number} cannot be: {fault}")]
    Header {
        /// Which, from 1.
        number: u32,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A member that is refused.
    #[error("its member {path} is refused: {fault}")]
    Member {
        /// Its path, for people.
        path: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// More than a listing holds.
    #[error("it holds more than {} names, or more bytes of names and attributes than can be listed", super::MAX_NAMES)]
    TooLarge,
    /// Who asked does not want it any more.
    #[error("stopped")]
    Cancelled,
}

impl ArchiveError {
    pub(super) fn member(path: &[u8], fault: &'static str) -> Self {
        let shown = &path[..path.len().min(300)];
        Self::Member { path: bytes_as_text::encode(shown), fault }
    }
}

/// The result of reading an archive.
pub type Result<T> = std::result::Result<T, ArchiveError>;
