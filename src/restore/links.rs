//! Names of one inode.
//!
//! Owns which inode in DEST stands for which version of the point. Its invariant: two versions never share an inode, and an inode is
//! remembered only while names of it are to come.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::record::Birth;
use crate::source::FileId;
use crate::source::dir::Place;

/// The first name of an inode that has more.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The directory of the name.
    pub(super) place: Arc<Place>,
    /// The name.
    pub(super) name: Arc<[u8]>,
    /// The inode in DEST.
    pub(super) id: FileId,
    /// Names that are still to come, at most.
    left: u32,
}

/// The inodes with more than one name that were restored.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: HashMap<Birth, Link>,
    /// Inodes that were in DEST and stay, and for which version.
    claimed: HashMap<FileId, Birth>,
}

impl Links {
    /// The first name of the version `birth`, if it has been restored.
    pub(super) fn find(&self, birth: Birth) -> Option<Link> {
        self.known.get(&birth).cloned()
    }

    /// Remembers the first name of a version that has `nlink` names at the source.
    pub(super) fn begin(&mut self, birth: Birth, nlink: u32, place: &Arc<Place>, name: &[u8], id: FileId) {
        if let Some(left @ 1..) = nlink.checked_sub(1) {
            self.known.insert(birth, Link { place: Arc::clone(place), name: name.into(), id, left });
        }
    }

    /// Notes that another name of the version is in its place.
    pub(super) fn count(&mut self, birth: Birth) {
        if let Some(link) = self.known.get_mut(&birth) {
            link.left = link.left.saturating_sub(1);
            if link.left == 0 {
                self.known.remove(&birth);
            }
        }
    }

    /// Claims an inode that was in DEST for a version; `false` where another version has it.
    pub(super) fn claim(&mut self, id: FileId, birth: Birth) -> bool {
        *self.claimed.entry(id).or_insert(birth) == birth
    }
}
