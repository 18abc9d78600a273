//! One entry that is no directory: unchanged, another version, a further name, or not to be read.

use std::path::PathBuf;
use std::sync::Arc;

use super::before::Before;
use super::chunk_ids::extents_of;
use super::engine::Engine;
use super::group::{Born, Group, Version};
use super::leaf::{FreshLeaf, Read};
use super::links::{LinkId, Named};
use super::{Notice, Result, version};
use crate::catalog::Entry;
use crate::format::record::{Content, Flags, Status};
use crate::format::table::Extent;
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::overlay::{Layer, Node};
use crate::source::{EarlyFile, Margin, OpenDir, is_settled};

impl Engine<'_> {
    /// Deals with an entry that is no directory, and that may have been read already.
    pub(super) fn leaf(
        &mut self,
        group: &mut Group,
        dir: &OpenDir,
        name: &[u8],
        stat: &Stat,
        early: Option<(EarlyFile<'_>, Timestamp)>,
        before: &Before,
    ) -> Result<()> {
        if stat.meta.nlink > 1
            && let Some(link) = self.links.find(stat)
        {
            return self.further_name(group, name, link, before);
        }
        let candidates = self.candidates(before, stat.meta.kind)?;
        for candidate in candidates.iter().flatten() {
            if self.is_unchanged(stat, candidate) {
                return self.adopt(group, name, stat, before, candidate, Flags::default());
            }
        }
        if self.settings.only_looks {
            return self.unseen(group, name, stat, before);
        }
        let former = candidates.iter().flatten().next();
        let read = match early {
            Some((early, taken_at)) => self.take_early(early, taken_at, *stat)?,
            None => self.read_leaf(dir, name, *stat, former)?,
        };
        match read {
            Read::Fresh(fresh) => {
                // What was replaced while it was read may be of another kind than was listed.
                let candidates = if fresh.stat.ino == stat.ino {
                    candidates
                } else {
                    self.candidates(before, fresh.stat.meta.kind)?
                };
                self.fresh(group, name, &fresh, before, &candidates, dir.margin(), &|| dir.path_of(name))
            }
            Read::Gone => {
                self.has_changed |= before.seen.is_some();
                if let Some(seen) = &before.seen {
                    self.measure_gone_node(seen)?;
                }
                if let Some(base) = &before.base {
                    group.push_whiteout(name, &base.record().meta, base.number());
                    self.counts.deleted += 1;
                }
                Ok(())
            }
            Read::Failed(error) => {
                self.unread(dir.path_of(name), error);
                self.list_unread(group, name, Some(stat), before)
            }
        }
    }

    /// Deals with an entry that may have changed, and that nobody reads to find out.
    fn unseen(&mut self, group: &mut Group, name: &[u8], stat: &Stat, before: &Before) -> Result<()> {
        self.has_changed = true;
        self.measure_unseen(stat)?;
        let version = Version::bare(stat.meta, Flags::RECHECK);
        if stat.meta.nlink > 1 {
            let (id, _) = self.links.begin(stat, None);
            self.links.keep(id, Named::Listed(version.clone()));
        }
        self.count_entry(&version.meta, &[]);
        self.push(group, name, &version, before);
        Ok(())
    }

    /// The versions that an entry of this kind may turn out to be: the previous point's first, then the base's if it is another. One whose data
    /// is gone is none: the entry is read again, and its data stored anew.
    pub(super) fn candidates(&self, before: &Before, kind: Kind) -> Result<[Option<Node>; 2]> {
        let seen = before.seen.clone().filter(|seen| seen.entry.record().meta.kind == kind);
        let base = before.base_of_kind(kind).map(|base| Node { layer: Layer::Full, entry: base.clone() });
        let base = base.filter(|base| seen.as_ref().is_none_or(|seen| !seen.is_same(base)));
        let mut candidates = [seen, base];
        for candidate in &mut candidates {
            if let Some(node) = candidate
                && self.lost.held(self.previous(), node)?
            {
                *candidate = None;
            }
        }
        Ok(candidates)
    }

    /// Whether `stat`, or what the index remembers of it, proves that the entry is the version that `candidate` holds.
    fn is_unchanged(&mut self, stat: &Stat, candidate: &Node) -> bool {
        let record = candidate.entry.record();
        if self.settings.checksum || record.status == Status::Unread || record.flags.has(Flags::NO_CONTENT) {
            return false;
        }
        if version::is_unchanged(stat, record) {
            return true;
        }
        if !stat.meta.is_same(&record.meta) {
            return false;
        }
        let number = self.previous().catalog(candidate.layer).point().number;
        (self.is_settled)(number, candidate.entry.number()) == Some(version::fingerprint(stat))
    }

    /// Takes over the version that `candidate` holds: unseen if it is the base's, else as a record of its own.
    fn adopt(
        &mut self,
        group: &mut Group,
        name: &[u8],
        stat: &Stat,
        before: &Before,
        candidate: &Node,
        flags: Flags,
    ) -> Result<()> {
        let record = candidate.entry.record();
        self.has_changed |= before
            .seen
            .as_ref()
            .is_none_or(|seen| !seen.is_same(candidate) || seen.entry.record().status == Status::Unread);
        self.count_entry(&record.meta, candidate.entry.xattrs());
        self.measure_return(candidate, before)?;
        let mut link = None;
        let mut is_free = true;
        if stat.meta.nlink > 1 {
            let (id, free) = self.links.begin(stat, Some(record.birth));
            (link, is_free) = (Some(id), free);
            self.has_changed |= !free;
        }
        if is_free && self.is_differential() && candidate.layer == Layer::Full && record.status != Status::Unread {
            if let Some(id) = link {
                self.links.keep(id, Named::Before(candidate.clone()));
            }
            return Ok(());
        }
        self.measure_carried(candidate, before)?;
        let mut version = self.carry(candidate)?;
        version.flags = flags;
        (version.ctime, version.ino) = (stat.ctime, stat.ino);
        if let Some(id) = link {
            version.born = Born::Linked(id);
            self.links.keep(id, Named::Listed(version.clone()));
        }
        self.push(group, name, &version, before);
        Ok(())
    }

    /// Lists a version as new or updated against the base.
    fn push(&mut self, group: &mut Group, name: &[u8], version: &Version, before: &Before) {
        let base = before.base_of_kind(version.meta.kind);
        let status = if base.is_some() { Status::Updated } else { Status::New };
        match status {
            Status::New => self.counts.new += 1,
            _ => self.counts.updated += 1,
        }
        group.push(name, version, status, base.map(Entry::number));
    }

    /// Deals with a further name of an inode that was met before.
    fn further_name(&mut self, group: &mut Group, name: &[u8], link: LinkId, before: &Before) -> Result<()> {
        let birth = self.links.birth(link);
        let kind = match self.links.version(link) {
            Named::Listed(version) => version.meta.kind,
            Named::Before(node) => node.entry.record().meta.kind,
        };
        let is_known = |node: &&Node| {
            let record = node.entry.record();
            birth == Some(record.birth) && record.status != Status::Unread
        };
        let candidates = self.candidates(before, kind)?;
        let known = candidates.iter().flatten().find(is_known);
        self.has_changed |= known.is_none_or(|known| before.seen.as_ref().is_none_or(|seen| !seen.is_same(known)));
        if let Some(known) = known.filter(|known| self.is_differential() && known.layer == Layer::Full) {
            self.count_entry(&known.entry.record().meta, known.entry.xattrs());
            return Ok(());
        }
        let version = match self.links.version(link) {
            Named::Listed(version) => version.clone(),
            Named::Before(node) => {
                let node = node.clone();
                let version = Version { born: Born::Linked(link), ..self.carry(&node)? };
                self.links.keep(link, Named::Listed(version.clone()));
                version
            }
        };
        self.count_entry(&version.meta, &version.xattrs);
        self.push(group, name, &version, before);
        Ok(())
    }

    /// Deals with an entry that was read: it may still be a version that is known.
    #[expect(clippy::too_many_arguments, reason = "what was read, and all that it is held against")]
    pub(super) fn fresh(
        &mut self,
        group: &mut Group,
        name: &[u8],
        fresh: &FreshLeaf,
        before: &Before,
        candidates: &[Option<Node>; 2],
        margin: Margin,
        path: &dyn Fn() -> PathBuf,
    ) -> Result<()> {
        let settled = !fresh.is_torn && is_settled(&fresh.stat, fresh.taken_at, margin);
        let mut flags = if settled { Flags::default() } else { Flags::RECHECK };
        for candidate in candidates.iter().flatten() {
            if self.is_same_version(fresh, candidate)? {
                // What `stat` alone tells need not be remembered.
                if settled && !version::is_unchanged(&fresh.stat, candidate.entry.record()) {
                    let number = self.previous().catalog(candidate.layer).point().number;
                    self.settled.push((number, candidate.entry.number(), version::fingerprint(&fresh.stat)));
                }
                return self.adopt(group, name, &fresh.stat, before, candidate, flags);
            }
        }
        if fresh.is_torn {
            flags = flags.with(Flags::TORN);
            self.counts.torn += 1;
            (self.notify)(Notice::Torn { path: path() });
        }
        self.has_changed = true;
        if fresh.stat.meta.kind == Kind::File {
            self.measure_fresh(&fresh.content, before)?;
        }
        let content = self.list_content(&fresh.content)?;
        let mut version = Version {
            meta: fresh.meta(),
            flags,
            ctime: fresh.stat.ctime,
            ino: fresh.stat.ino,
            born: Born::Here,
            data_bytes: fresh.content.data_bytes,
            content,
            inline: fresh.content.inline.clone(),
            xattrs: fresh.xattrs.clone(),
        };
        if fresh.stat.meta.nlink > 1 {
            let (id, _) = self.links.begin(&fresh.stat, None);
            version.born = Born::Linked(id);
            self.links.keep(id, Named::Listed(version.clone()));
        }
        self.count_entry(&version.meta, &version.xattrs);
        self.push(group, name, &version, before);
        Ok(())
    }

    /// Lists an entry that could not be read, with the newest version that the source's backups hold, if any.
    pub(super) fn list_unread(
        &mut self,
        group: &mut Group,
        name: &[u8],
        stat: Option<&Stat>,
        before: &Before,
    ) -> Result<()> {
        let Some(seen) = &before.seen else {
            let meta = stat.map_or(UNKNOWN, |stat| stat.meta);
            self.has_changed = true;
            self.count_entry(&meta, &[]);
            let version = Version::bare(meta, Flags::NO_CONTENT.with(Flags::RECHECK));
            let base = before.base_of_kind(meta.kind).map(Entry::number);
            group.push(name, &version, Status::Unread, base);
            return Ok(());
        };
        self.has_changed |= seen.entry.record().status != Status::Unread;
        self.measure_carried(seen, before)?;
        let mut version = self.carry(seen)?;
        version.flags = version.flags.with(Flags::RECHECK);
        self.count_entry(&version.meta, &version.xattrs);
        let base = before.base_of_kind(version.meta.kind).map(Entry::number);
        let slot = group.push(name, &version, Status::Unread, base);
        if seen.is_directory() {
            let children = self.carry_directory(seen)?;
            group.set_children(slot, children);
        }
        Ok(())
    }

    /// Whether what was read is the version that `candidate` holds.
    pub(super) fn is_same_version(&mut self, fresh: &FreshLeaf, candidate: &Node) -> Result<bool> {
        let entry = &candidate.entry;
        let record = entry.record();
        if record.flags.has(Flags::NO_CONTENT)
            || !fresh.meta().is_same(&record.meta)
            || fresh.xattrs != entry.xattrs()
            || fresh.content.data_bytes != record.data_bytes && record.meta.kind == Kind::File
        {
            return Ok(false);
        }
        let catalog = Arc::clone(self.previous().catalog(candidate.layer));
        let extents = match record.content {
            Content::None => return Ok(fresh.content.inline.is_empty() && fresh.content.chunks.is_empty()),
            Content::Inline => return Ok(fresh.content.inline == entry.inline()),
            _ => extents_of(&catalog, record)?,
        };
        let Some(extents) = extents else { return Ok(false) };
        let is_same_place = extents.len() == fresh.content.extents.len()
            && extents.iter().zip(&fresh.content.extents).all(|(before, now)| {
                let place = self.carry_place(candidate.layer, before.place);
                Extent { place, ..*before } == *now
            });
        Ok(is_same_place || self.chunk_ids.are(&fresh.content.chunks, extents, catalog.packs(), self.reader.blocks()))
    }
}

/// What is said of an entry that was never seen by anybody.
const UNKNOWN: Meta =
    Meta { kind: Kind::File, mode: 0, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0, mtime: Timestamp::new(0, 0) };
