//! The records of an archive: its tree, laid over that of the full if it is a differential.

use super::super::Result;
use super::super::engine::Engine;
use super::super::group::{Born, Group, Slot, Version};
use super::contents::Contents;
use crate::archive::ROOT;
use crate::catalog::Entry;
use crate::format::record::{Flags, Status};
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::overlay::{Directory, Node};

/// A directory whose entries are being listed.
struct Frame {
    name: u32,
    /// Children that were listed.
    at: usize,
    group: Group,
    slot: Slot,
    /// What the base has there.
    base: Option<Directory>,
}

impl Engine<'_> {
    /// Lists everything. A directory of the archive that is as the base has it is listed only where something below it is.
    pub(super) fn list_archive(&mut self, contents: &mut Contents<'_>, time: Timestamp) -> Result<()> {
        let base = self.previous.as_ref().map(|base| base.root()).transpose()?;
        let mut root = Group::default();
        let mut stack = vec![self.enter(&mut root, contents, ROOT, base.as_ref(), time)?];
        while let Some(frame) = stack.last_mut() {
            if let Some(child) = contents.listing.children(frame.name).get(frame.at).copied() {
                frame.at += 1;
                let base = match (&self.previous, frame.base) {
                    (Some(tree), Some(directory)) => tree.find(directory, contents.listing.text(child))?,
                    _ => None,
                };
                if contents.listing.inode(child).meta.kind == Kind::Directory {
                    let below = self.enter(&mut frame.group, contents, child, base.as_ref(), time)?;
                    stack.push(below);
                } else {
                    self.list_leaf(&mut frame.group, contents, child, base.as_ref())?;
                }
                continue;
            }
            let Some(done) = stack.pop() else { break };
            let (above, is_root) = match stack.last_mut() {
                Some(above) => (&mut above.group, false),
                None => (&mut root, true),
            };
            if is_root || !above.is_passage(done.slot) || !done.group.is_empty() {
                let row = self.write_group(done.group)?;
                above.set_children(done.slot, row);
            }
        }
        self.write_records(root).map(drop)
    }

    /// Lists a directory itself; `base` is what the base has under its name.
    fn enter(
        &mut self,
        group: &mut Group,
        contents: &Contents<'_>,
        name: u32,
        base: Option<&Node>,
        time: Timestamp,
    ) -> Result<Frame> {
        let inode = contents.listing.inode(name);
        let known = base.filter(|base| base.is_directory());
        let (meta, xattrs) = match (inode.member, known) {
            (Some(_), _) => (inode.meta, contents.listing.xattrs(inode)),
            // Only what lies in it is in the archive.
            (None, Some(known)) => (known.entry.record().meta, known.entry.xattrs()),
            (None, None) => (Meta { mtime: time, ..inode.meta }, &b""[..]),
        };
        let meta = Meta { nlink: 1, ..meta };
        let version = Version { xattrs: xattrs.to_vec(), ..Version::bare(meta, Flags::RECHECK) };
        let is_same =
            known.is_some_and(|known| meta.is_same(&known.entry.record().meta) && xattrs == known.entry.xattrs());
        let status = match known {
            Some(_) if is_same => Status::Unchanged,
            Some(_) => Status::Updated,
            None => Status::New,
        };
        let slot = group.push(contents.listing.text(name), &version, status, known.map(|known| known.entry.number()));
        self.has_xattrs |= !xattrs.is_empty();
        match status {
            Status::Unchanged => group.make_passage(slot),
            Status::Updated => self.counts.updated += 1,
            _ => self.count_new(&meta, base)?,
        }
        let base = match (&self.previous, known) {
            (Some(tree), Some(known)) => Some(tree.directory(known)?),
            _ => None,
        };
        Ok(Frame { name, at: 0, group: Group::default(), slot, base })
    }

    fn list_leaf(
        &mut self,
        group: &mut Group,
        contents: &mut Contents<'_>,
        name: u32,
        base: Option<&Node>,
    ) -> Result<()> {
        let listing = contents.listing;
        let (number, inode) = (listing.inode_of(name), listing.inode(name));
        let (held, inline) = contents.held(number);
        if held.is_in_base {
            return Ok(());
        }
        let mut version = Version {
            data_bytes: held.data_bytes,
            content: held.content,
            inline: inline.to_vec(),
            xattrs: listing.xattrs(inode).to_vec(),
            ..Version::bare(inode.meta, Flags::RECHECK)
        };
        if inode.meta.nlink > 1 {
            let (meta, ctime) = (inode.meta, Timestamp::default());
            let stat = Stat { meta, ctime, ino: number.into(), dev: 0, allocated_bytes: 0 };
            let links = &mut self.links;
            version.born = Born::Linked(*contents.links.entry(number).or_insert_with(|| links.begin(&stat, None).0));
        }
        self.has_xattrs |= !version.xattrs.is_empty();
        let known = base.filter(|base| base.entry.record().meta.kind == inode.meta.kind).map(|base| &base.entry);
        let status = if known.is_some() { Status::Updated } else { Status::New };
        match known {
            Some(known) => {
                self.counts.updated += 1;
                self.counts.bytes = self.counts.bytes + inode.meta.size - known.record().meta.size;
            }
            None => self.count_new(&inode.meta, base)?,
        }
        group.push(listing.text(name), &version, status, known.map(Entry::number));
        Ok(())
    }

    /// Counts an entry that the base has not; what it has under the name is something else, and is not seen any more.
    fn count_new(&mut self, meta: &Meta, hidden: Option<&Node>) -> Result<()> {
        self.counts.new += 1;
        self.count_entry(meta, &[]);
        let Some(hidden) = hidden else { return Ok(()) };
        let tree = self.previous().clone();
        let mut waiting = vec![hidden.clone()];
        while let Some(node) = waiting.pop() {
            let meta = node.entry.record().meta;
            match meta.kind {
                Kind::Directory => self.counts.directories -= 1,
                Kind::File => {
                    self.counts.files -= 1;
                    self.counts.bytes -= meta.size;
                }
                _ => self.counts.others -= 1,
            }
            if node.is_directory() {
                let mut entries = tree.entries(tree.directory(&node)?);
                while let Some(below) = entries.next_node()? {
                    waiting.push(below);
                }
            }
        }
        Ok(())
    }
}
