//! The first reading of an archive: all that is in it but the contents, and whether it is whole.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::acl::Named;
use super::input::{Input, Seen};
use super::listing::Listing;
use super::{ArchiveError, ArchiveReader, Format, Result};
use crate::format::Timestamp;
use crate::format::record::{encode_xattrs, xattrs};

/// What an archive holds.
pub struct Survey {
    /// Its tree.
    pub listing: Listing,
    /// The file.
    pub seen: Seen,
    /// How it is compressed.
    pub format: Format,
    /// Its members.
    pub members: u32,
    /// The newest time of any of them.
    pub newest: Option<Timestamp>,
    /// Members that lack attributes which no backup keeps.
    pub dropped_attributes: u64,
    /// Members whose ACLs name users or groups that are not known.
    pub unknown_names: u64,
}

/// Reads all of an archive. `keeps` says which attributes are wanted.
///
/// # Errors
/// Where any of it cannot be read, or be.
pub fn survey(
    path: &Path,
    wants_sha256: bool,
    keeps: fn(&[u8]) -> bool,
    number_of: &dyn Fn(Named, &[u8]) -> Option<u32>,
    read_bytes: &AtomicU64,
    cancel: &AtomicBool,
) -> Result<Survey> {
    let mut input = Input::open(path, wants_sha256, read_bytes, cancel)?;
    let format = input.format;
    let mut listing = Listing::default();
    let (mut members, mut newest) = (0, None);
    let (mut dropped_attributes, mut unknown_names) = (0, 0);
    let mut reader = ArchiveReader::new(&mut input.archive, number_of);
    let stopped = |error| if cancel.load(Ordering::Relaxed) { ArchiveError::Cancelled } else { error };
    while let Some(mut member) = reader.next_member().map_err(stopped)? {
        if cancel.load(Ordering::Relaxed) {
            return Err(ArchiveError::Cancelled);
        }
        if xattrs(&member.xattrs).any(|(name, _)| !keeps(name)) {
            dropped_attributes += 1;
            let kept: Vec<_> = xattrs(&member.xattrs).filter(|(name, _)| keeps(name)).collect();
            member.xattrs = encode_xattrs(kept);
        }
        unknown_names += u64::from(member.has_unknown_names);
        if !member.is_hard_link {
            newest = newest.max(Some(member.meta.mtime));
        }
        listing.add(&member, members)?;
        members = members.checked_add(1).ok_or(ArchiveError::TooLarge)?;
    }
    let seen = input.finish().map_err(stopped)?;
    let listing = listing.finish();
    Ok(Survey { listing, seen, format, members, newest, dropped_attributes, unknown_names })
}
