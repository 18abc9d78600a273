//! One directory itself: whether it is the version that is known, and how it is listed.

use super::Result;
use super::before::{Before, Ground};
use super::engine::{Below, Engine};
use super::group::{Group, Version};
use super::leaf::encode;
use super::version;
use crate::catalog::Entry;
use crate::format::record::{Content, Flags, Status};
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::overlay::{Layer, Node};
use crate::source::{OpenDir, is_settled, xattr};

impl Engine<'_> {
    /// Compares a directory itself, and lists it: for good if it differs, as a passage if it does not.
    #[expect(clippy::too_many_arguments, reason = "what was seen, and all that it is held against")]
    pub(super) fn directory(
        &mut self,
        group: &mut Group,
        name: &[u8],
        stat: &Stat,
        dir: &OpenDir,
        before: &Before,
        is_root: bool,
        taken_at: Timestamp,
    ) -> Result<Below> {
        let base = before.base_of_kind(Kind::Directory);
        let seen = before.seen.as_ref().filter(|seen| seen.is_directory());
        let checksum = self.settings.checksum;
        let unchanged = |entry: &Entry| !checksum && version::is_unchanged(stat, entry.record());
        let mut xattrs = None;
        let mut is_version = |engine: &mut Self, entry: &Entry| -> bool {
            if unchanged(entry) {
                return true;
            }
            let xattrs = xattrs.get_or_insert_with(|| engine.directory_xattrs(dir, name, is_root));
            // What could not be read is not taken for a change.
            stat.meta.is_same(&entry.record().meta) && xattrs.as_ref().is_none_or(|xattrs| xattrs == entry.xattrs())
        };
        let is_previous = seen.is_some_and(|seen| is_version(self, &seen.entry));
        let is_base = match (base, seen) {
            // One and the same entry is compared once.
            (Some(_), Some(seen)) if is_previous && seen.layer == Layer::Full => true,
            (Some(base), _) => is_version(self, base),
            (None, _) => false,
        };
        // What the base says could not be read is listed anew once it could: unlisted it would still say so.
        let is_base = is_base && base.is_some_and(|base| base.record().status != Status::Unread);
        let was_unread = seen.is_some_and(|seen| seen.entry.record().status == Status::Unread);
        self.has_changed |= !is_previous;
        let kept = if is_previous { seen.map(|seen| &seen.entry) } else { base.filter(|_| is_base) };
        let read = match (kept, xattrs) {
            (Some(entry), None) => Some(entry.xattrs().to_vec()),
            (_, Some(read)) => read,
            (None, None) => self.directory_xattrs(dir, name, is_root),
        };
        let is_unread = read.is_none();
        let xattrs = read.or_else(|| seen.map(|seen| seen.entry.xattrs().to_vec())).unwrap_or_default();
        self.count_entry(&stat.meta, &xattrs);
        // Attributes that change within the same tick of the clock leave the same ctime behind.
        let flags = if is_settled(stat, taken_at, dir.margin()) { Flags::default() } else { Flags::RECHECK };
        let version = Version {
            meta: Meta { nlink: 1, ..stat.meta },
            ctime: stat.ctime,
            ino: stat.ino,
            xattrs,
            content: Content::Children(0),
            ..Version::bare(stat.meta, flags)
        };
        let status = match base {
            Some(_) if is_base => Status::Unchanged,
            Some(_) => Status::Updated,
            None => Status::New,
        };
        let slot = group.push(name, &version, status, base.map(Entry::number));
        match status {
            Status::New => self.counts.new += 1,
            Status::Updated => self.counts.updated += 1,
            _ => group.make_passage(slot),
        }
        let ground = match (seen, base, &self.previous) {
            (Some(seen), _, Some(tree)) => Ground { directory: tree.directory(seen)?, is_hidden: false },
            (None, Some(base), Some(tree)) => {
                let base = Node { layer: Layer::Full, entry: base.clone() };
                Ground { directory: tree.directory(&base)?, is_hidden: true }
            }
            _ => Ground::default(),
        };
        if is_unread {
            group.mark_unread(slot);
        }
        Ok(Below { slot, before: ground, was_unread, is_unread })
    }

    /// The attributes of a directory; none, and said, where they cannot be read.
    fn directory_xattrs(&mut self, dir: &OpenDir, name: &[u8], is_root: bool) -> Option<Vec<u8>> {
        let read = dir
            .fd()
            .map_err(std::io::Error::from)
            .and_then(|fd| if is_root { xattr::xattrs_of(fd) } else { xattr::xattrs_at(fd, name) });
        match read {
            Ok(found) => Some(encode(&found)),
            // It has gone meanwhile; whoever enters it finds that out.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Vec::new()),
            Err(error) => {
                self.unread(if is_root { dir.path() } else { dir.path_of(name) }, error);
                None
            }
        }
    }
}
