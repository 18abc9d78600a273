//! Names of one inode: they share one version, and so one birth.

use std::collections::HashMap;

use super::group::Version;
use crate::format::Stat;
use crate::format::record::Birth;
use crate::overlay::Node;

/// Which group of names an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId(usize);

/// The groups of hard-linked names met so far; memory only for inodes with more than one name.
#[derive(Default)]
pub(super) struct Links {
    groups: Vec<Group>,
    by_inode: HashMap<(u64, u64), LinkId>,
    /// Which group a birth belongs to: two inodes that have parted must not share one.
    claimed: HashMap<Birth, LinkId>,
}

struct Group {
    /// The stat of the first name.
    stat: Stat,
    birth: Option<Birth>,
    version: Option<Named>,
}

/// The version that all names of an inode share.
pub(super) enum Named {
    /// The one that this entry of the previous point holds; nothing was listed for the first name.
    Before(Node),
    /// One that was listed for the first name.
    Listed(Version),
}

impl Links {
    /// The group of an inode that was met before.
    pub(super) fn find(&self, stat: &Stat) -> Option<LinkId> {
        let id = *self.by_inode.get(&(stat.dev, stat.ino))?;
        // A number that was freed and given to another inode meanwhile is no name of the first.
        let first = &self.groups[id.0].stat;
        let is_same = first.meta.kind == stat.meta.kind
            && first.meta.size == stat.meta.size
            && first.meta.mtime == stat.meta.mtime
            && first.ctime == stat.ctime;
        is_same.then_some(id)
    }

    /// Begins the group of an inode with the version that its first name has. A birth that it would adopt but that another inode has
    /// already is not taken: the answer says whether it was.
    pub(super) fn begin(&mut self, stat: &Stat, birth: Option<Birth>) -> (LinkId, bool) {
        let id = LinkId(self.groups.len());
        let free = birth.filter(|birth| *self.claimed.entry(*birth).or_insert(id) == id);
        self.groups.push(Group { stat: *stat, birth: free, version: None });
        self.by_inode.insert((stat.dev, stat.ino), id);
        (id, free.is_some() == birth.is_some())
    }

    /// Keeps the version of the group's first name, for the names to come.
    pub(super) fn keep(&mut self, id: LinkId, version: Named) {
        self.groups[id.0].version = Some(version);
    }

    /// The version of the group.
    pub(super) fn version(&self, id: LinkId) -> &Named {
        self.groups[id.0].version.as_ref().expect("a group is begun and kept in one step")
    }

    /// The birth of the group, if it is known yet.
    pub(super) fn birth(&self, id: LinkId) -> Option<Birth> {
        self.groups[id.0].birth
    }

    /// The birth of the group, which is `own` if it has none yet: the first of its records to be written gives it.
    pub(super) fn birth_or(&mut self, id: LinkId, own: Birth) -> Birth {
        *self.groups[id.0].birth.get_or_insert(own)
    }
}
