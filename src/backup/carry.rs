//! Taking over what an earlier backup of the source holds: single versions, and whole directories that cannot be read.

use std::sync::atomic::Ordering;

use super::before::Before;
use super::content::Fresh;
use super::engine::Engine;
use super::group::{Born, Group, Slot, Version};
use super::{BackupError, Result};
use crate::format::record::{Content, Flags, Place, Status};
use crate::format::table::Extent;
use crate::index::PackOf;
use crate::overlay::{Layer, Node, OverlayCursor, Pair};

impl Engine<'_> {
    /// The version that `node` of the previous point holds, with its places counted in the new catalog's packs.
    pub(super) fn carry(&mut self, node: &Node) -> Result<Version> {
        let record = *node.entry.record();
        if self.lost.held(self.previous(), node)? {
            // Nobody has its content any more, and a point must not promise what is gone.
            let flags = Flags::NO_CONTENT.with(Flags::RECHECK);
            let xattrs = node.entry.xattrs().to_vec();
            return Ok(Version { ctime: record.ctime, ino: record.ino, xattrs, ..Version::bare(record.meta, flags) });
        }
        let content = match record.content {
            Content::One(place) => Content::One(self.carry_place(node.layer, place)),
            Content::Many { first, count } => {
                let mut extents = self.previous().catalog(node.layer).all_extents(first, count)?;
                for extent in &mut extents {
                    extent.place = self.carry_place(node.layer, extent.place);
                }
                self.list_extents(&extents)?
            }
            other => other,
        };
        Ok(Version {
            meta: record.meta,
            flags: record.flags,
            ctime: record.ctime,
            ino: record.ino,
            // A directory is of its own point alone.
            born: if node.is_directory() { Born::Here } else { Born::Earlier(record.birth) },
            data_bytes: record.data_bytes,
            content,
            inline: node.entry.inline().to_vec(),
            xattrs: node.entry.xattrs().to_vec(),
        })
    }

    /// What a record says of content that was just put into the store.
    pub(super) fn list_content(&mut self, fresh: &Fresh) -> Result<Content> {
        Ok(match fresh.extents.as_slice() {
            _ if !fresh.inline.is_empty() => Content::Inline,
            [] => Content::None,
            [Extent { at: 0, len, place }] if u64::from(*len) == fresh.size => Content::One(*place),
            extents => self.list_extents(extents)?,
        })
    }

    /// Enters extents in the catalog.
    pub(super) fn list_extents(&mut self, extents: &[Extent]) -> Result<Content> {
        let count = u32::try_from(extents.len()).expect("a file has fewer than 2^32 extents");
        let first = match &mut self.writer {
            Some(writer) => writer.push_extents(extents)?,
            None => 0,
        };
        Ok(Content::Many { first, count })
    }

    /// A place of the previous point, counted in the new catalog's packs.
    pub(super) fn carry_place(&mut self, layer: Layer, place: Place) -> Place {
        let pack = self.previous().catalog(layer).packs()[place.pack as usize];
        Place { pack: self.chunks.packs.row(PackOf::Stored(pack)), ..place }
    }

    /// Lists in `group` what the previous point shows under one name of a directory that could not be read: it is neither deleted nor
    /// unchanged.
    pub(super) fn carry_pair(&mut self, group: &mut Group, pair: &Pair) -> Result<()> {
        if let Some((slot, node)) = self.carry_entry(group, pair)? {
            let children = self.carry_directory(&node)?;
            group.set_children(slot, children);
        }
        Ok(())
    }

    /// Lists one entry; answers a directory that must be gone into.
    fn carry_entry(&mut self, group: &mut Group, pair: &Pair) -> Result<Option<(Slot, Node)>> {
        let base = pair.base.as_ref().filter(|_| self.is_differential());
        let Some(node) = pair.seen() else {
            if let Some(base) = base {
                group.push_whiteout(base.name(), &base.record().meta, base.number());
            }
            return Ok(None);
        };
        self.count_carried(&node)?;
        if self.is_differential() && node.layer == Layer::Full {
            return Ok(None);
        }
        let base = base.filter(|base| base.record().meta.kind == node.entry.record().meta.kind);
        self.measure_carried(&node, &Before { seen: None, base: base.cloned() })?;
        let version = self.carry(&node)?;
        let status = match (node.entry.record().status, base) {
            (Status::Unread, _) => Status::Unread,
            (_, None) => Status::New,
            (status @ Status::Unchanged, Some(_)) if self.is_differential() => status,
            (_, Some(_)) => Status::Updated,
        };
        let slot = group.push(pair.name(), &version, status, base.map(crate::catalog::Entry::number));
        Ok(node.is_directory().then_some((slot, node)))
    }

    /// Writes the listing of a directory of the previous point, as it is, and of all below it; answers its row. Trees may be deeper than
    /// a stack: directories that wait for those below them do so on the heap.
    pub(super) fn carry_directory(&mut self, node: &Node) -> Result<u32> {
        let tree = self.previous().clone();
        let mut stack: Vec<(OverlayCursor, Group, Option<Slot>)> = Vec::new();
        let mut current = (tree.entries(tree.directory(node)?), Group::default(), None);
        loop {
            let (pairs, group, _) = &mut current;
            if self.cancel.load(Ordering::Relaxed) {
                return Err(BackupError::Cancelled);
            }
            if let Some(pair) = pairs.next_pair()? {
                if let Some((slot, node)) = self.carry_entry(group, &pair)? {
                    let below = (tree.entries(tree.directory(&node)?), Group::default(), Some(slot));
                    stack.push(std::mem::replace(&mut current, below));
                }
                continue;
            }
            let (_, group, slot) = current;
            let row = self.write_group(group)?;
            let (Some(above), Some(slot)) = (stack.pop(), slot) else { return Ok(row) };
            current = above;
            current.1.set_children(slot, row);
        }
    }

    /// Counts an entry that is taken over unseen, and all below it where nothing else will.
    fn count_carried(&mut self, node: &Node) -> Result<()> {
        self.progress.entry();
        self.count_entry(&node.entry.record().meta, node.entry.xattrs());
        if node.is_directory() && self.is_differential() && node.layer == Layer::Full {
            let tree = self.previous().clone();
            let mut waiting = vec![tree.directory(node)?];
            while let Some(directory) = waiting.pop() {
                let mut nodes = tree.entries(directory);
                while let Some(node) = nodes.next_node()? {
                    self.count_entry(&node.entry.record().meta, node.entry.xattrs());
                    if node.is_directory() {
                        waiting.push(tree.directory(&node)?);
                    }
                }
            }
        }
        Ok(())
    }
}
