//! Archives as `tar` makes and reads them: writing members, reading members that anybody may have written, and listing them as one tree.
//!
//! Owns the formats (ustar, pax, GNU's own, three forms of sparse files) and the compression around them. Refuses to know stores, and to touch what a
//! member names: nothing is ever unpacked here. Invariant: whatever the bytes are, what is read is bounded, and a listing holds only names that a
//! directory can hold, below its own root.

pub mod acl;
mod compression;
mod error;
mod input;
mod label;
mod listing;
mod number;
mod output;
mod pax;
mod people;
mod reader;
mod sidecar;
mod sparse;
mod survey;
mod writer;

pub use compression::{Compressed, Format};
pub use error::{ArchiveError, Result};
pub use input::{Input, Seen};
pub use label::{Label, LabelKind};
pub use listing::{Inode, Listing, ROOT};
pub use output::NewArchive;
pub use people::People;
pub use reader::ArchiveReader;
pub use sidecar::{Sidecar, SidecarError};
pub use sparse::SparseShape;
pub use survey::{Survey, survey};
pub use writer::{ArchiveWriter, Link, NewMember};

use std::ops::Range;

use crate::format::Meta;

/// The unit of an archive.
pub(crate) const BLOCK_BYTES: usize = 512;
/// The longest path of a member.
pub const MAX_PATH_BYTES: usize = 1 << 16;
/// The longest header that stands before a member's own (attributes, long names, sparse maps).
pub const MAX_PAX_BYTES: u64 = 16 << 20;
/// The most pieces of one sparse file.
pub const MAX_RANGES: usize = 1 << 22;
/// The most names in one archive, with the directories that its paths go through.
pub const MAX_NAMES: u32 = 1 << 24;

/// One member of an archive, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path, as it was written.
    pub path: Vec<u8>,
    /// What is said of it; of a hard link only the path counts.
    pub meta: Meta,
    /// The target of a symbolic or hard link.
    pub link: Vec<u8>,
    /// Whether it is a further name of an earlier member.
    pub is_hard_link: bool,
    /// Its extended attributes, ACLs among them, as a catalog holds them.
    pub xattrs: Vec<u8>,
    /// The ranges of a sparse file that its data is for, in order.
    pub ranges: Option<Vec<Range<u64>>>,
    /// Whether it names ACLs of users or groups that have no number here: those ACLs are left out.
    pub has_unknown_names: bool,
}

impl Member {
    /// Bytes of data that follow it.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        match &self.ranges {
            Some(ranges) => ranges.iter().map(|range| range.end - range.start).sum(),
            None => self.meta.size,
        }
    }
}
