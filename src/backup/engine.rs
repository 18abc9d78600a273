//! The comparison of a source with the previous point, directory by directory, in one pass over both.
//!
//! The walk brings listings in preorder; the previous point's entries are merged in as streams. A directory's own listing is written
//! when all below it is done: only then is it known whether a differential must list the way there.

use std::sync::atomic::{AtomicBool, Ordering};

use super::before::{Alongside, Before, Ground};
use super::chunk_ids::ChunkIds;
use super::chunks::ChunkStore;
use super::content::ContentReader;
use super::group::{Born, Group, Slot, Version};
use super::links::Links;
use super::lost::LostPacks;
use super::{BackupError, Choice, Notice, Progress, Result};
use crate::catalog::CatalogWriter;
use crate::format::record::{Content, Flags, Status};
use crate::format::table::Children;
use crate::format::{Counts, Kind, Meta, Number, Stat, Timestamp};
use crate::index::Fingerprint;
use crate::overlay::{Layer, Node, Pair, PointTree};
use crate::repository::Reader;
use crate::source::{Descend, Listing, OpenDir};

/// Settings of a comparison that do not change while it runs.
pub(super) struct Settings {
    pub(super) number: Number,
    pub(super) choice: Choice,
    /// Read every file, whatever its stat says.
    pub(super) checksum: bool,
    /// Read no file: what may have changed counts as changed.
    pub(super) only_looks: bool,
    /// Bytes that the backup may have; none where it may have any number.
    pub(super) most_bytes: Option<u64>,
}

/// One backup of one source under way.
pub(super) struct Engine<'a> {
    pub(super) settings: Settings,
    pub(super) reader: &'a Reader,
    /// The newest point of the source: for a differential it stands on the same base.
    pub(super) previous: Option<PointTree>,
    /// None in a dry run.
    pub(super) writer: Option<CatalogWriter>,
    pub(super) chunks: ChunkStore<'a>,
    pub(super) content: ContentReader,
    pub(super) links: Links,
    pub(super) counts: Counts,
    pub(super) has_xattrs: bool,
    /// Whether the source differs from the previous point.
    pub(super) has_changed: bool,
    /// Fingerprints under which records were found unchanged after all.
    pub(super) settled: Vec<(Number, u32, Fingerprint)>,
    pub(super) is_settled: Box<dyn FnMut(Number, u32) -> Option<Fingerprint> + 'a>,
    pub(super) progress: &'a Progress,
    pub(super) notify: &'a dyn Fn(Notice),
    pub(super) cancel: &'a AtomicBool,
    pub(super) chunk_ids: ChunkIds,
    pub(super) lost: LostPacks,
}

/// A directory whose listing is under way, or whose subdirectories are.
struct Frame {
    group: Group,
    /// Where its own record waits in the group above.
    slot: Slot,
    below: std::vec::IntoIter<Below>,
    /// It was gone when it was entered; its record has been taken back.
    has_vanished: bool,
}

/// A subdirectory whose listings are to come.
pub(super) struct Below {
    pub(super) slot: Slot,
    pub(super) before: Ground,
    /// The previous point could not show all of it.
    pub(super) was_unread: bool,
    /// Its attributes could not be read.
    pub(super) is_unread: bool,
}

impl Engine<'_> {
    pub(super) const fn is_differential(&self) -> bool {
        matches!(self.settings.choice, Choice::Differential { .. })
    }

    /// The previous point.
    ///
    /// # Panics
    /// Where there is none: nodes of it exist only where it does.
    pub(super) fn previous(&self) -> &PointTree {
        self.previous.as_ref().expect("a node of the previous point was met")
    }

    /// Compares everything. `root` is the source's root directory; its record is the last of the catalog.
    pub(super) fn run(
        &mut self,
        root: &Stat,
        dir: &OpenDir,
        listings: &mut dyn Iterator<Item = Listing>,
    ) -> Result<()> {
        let mut root_group = Group::default();
        let before = match &self.previous {
            None => Before { seen: None, base: None },
            Some(tree) => {
                let seen = tree.root()?;
                let base = self.is_differential().then(|| tree.catalog(Layer::Full).root()).transpose()?;
                Before { seen: Some(seen), base }
            }
        };
        let below = self.directory(&mut root_group, b"", root, dir, &before, true, Timestamp::now())?;
        let mut stack: Vec<Frame> = Vec::new();
        let mut next = Some(below);
        loop {
            while let Some(below) = next.take() {
                let frame = self.list(below, &mut stack, &mut root_group, listings)?;
                stack.push(frame);
                next = stack.last_mut().and_then(|frame| frame.below.next());
            }
            let Some(frame) = stack.pop() else { break };
            let (parent, is_root) = match stack.last_mut() {
                Some(above) => (&mut above.group, false),
                None => (&mut root_group, true),
            };
            let slot = frame.slot;
            // The root is always written, and so is a directory that leads to something.
            if !frame.has_vanished && (is_root || !parent.is_passage(slot) || !frame.group.is_empty()) {
                let row = self.write_group(frame.group)?;
                parent.set_children(slot, row);
            }
            next = stack.last_mut().and_then(|frame| frame.below.next());
        }
        self.write_records(root_group).map(drop)
    }

    /// Merges the listings of one directory with what was there before.
    fn list(
        &mut self,
        Below { slot, before: ground, was_unread, is_unread }: Below,
        stack: &mut [Frame],
        root_group: &mut Group,
        listings: &mut dyn Iterator<Item = Listing>,
    ) -> Result<Frame> {
        let mut group = Group::default();
        let mut below = Vec::new();
        let mut before = Alongside::new(self.previous.as_ref(), ground);
        loop {
            let Some(mut listing) = listings.next() else { return Err(BackupError::Cancelled) };
            let is_root = stack.is_empty();
            let parent = stack.last_mut().map_or(&mut *root_group, |frame| &mut frame.group);
            let is_gone = listing.error.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
                && listing.entries.is_empty()
                && group.is_empty()
                && below.is_empty();
            if is_gone && is_root {
                let path = listing.dir.path();
                return Err(BackupError::SourceGone { path });
            }
            if is_gone {
                let vanished = parent.vanish(slot);
                match vanished.was {
                    Status::New => self.counts.new -= 1,
                    Status::Updated => self.counts.updated -= 1,
                    _ => {}
                }
                self.counts.deleted += u64::from(vanished.is_whiteout);
                self.counts.directories -= 1;
                self.has_changed = true;
                return Ok(Frame { group, slot, below: Vec::new().into_iter(), has_vanished: true });
            }
            for position in 0..listing.entries.len() {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(BackupError::Cancelled);
                }
                let name = listing.name(&listing.entries[position]);
                let pair = self.before(name, &mut before, &mut group, listing.is_partial)?;
                self.progress.entry();
                if let Some(next) = self.entry(&mut group, &listing, position, &pair)? {
                    below.push(next);
                }
            }
            if !listing.last {
                continue;
            }
            while before.peek()?.is_some() {
                self.absent(&mut before, &mut group, listing.is_partial)?;
            }
            // Still unread is no change.
            self.has_changed |= was_unread != (is_unread || listing.error.is_some());
            if let Some(error) = listing.error.take() {
                parent.mark_unread(slot);
                let path = listing.dir.path();
                if is_unread {
                    // Counted already, for its attributes.
                    (self.notify)(Notice::Unread { path, error });
                } else {
                    self.unread(path, error);
                }
            }
            return Ok(Frame { group, slot, below: below.into_iter(), has_vanished: false });
        }
    }

    /// What there was under `name`; what sorts before it is gone from the source.
    pub(super) fn before(
        &mut self,
        name: &[u8],
        before: &mut Alongside,
        group: &mut Group,
        is_partial: bool,
    ) -> Result<Before> {
        loop {
            let order = before.peek()?.map(|pair| pair.name().cmp(name));
            match order {
                Some(std::cmp::Ordering::Less) => self.absent(before, group, is_partial)?,
                Some(std::cmp::Ordering::Equal) => {
                    let pair = before.head.take();
                    let seen = pair.as_ref().and_then(Pair::seen).filter(|_| !before.is_hidden);
                    let base = pair.and_then(|pair| pair.base).filter(|_| self.is_differential());
                    return Ok(Before { seen, base });
                }
                _ => return Ok(Before { seen: None, base: None }),
            }
        }
    }

    /// Deals with a name that the source no longer has, or that a broken listing does not show.
    pub(super) fn absent(&mut self, before: &mut Alongside, group: &mut Group, is_partial: bool) -> Result<()> {
        let Some(pair) = before.head.take() else { return Ok(()) };
        if is_partial && !before.is_hidden {
            return self.carry_pair(group, &pair);
        }
        if pair.seen().is_some() && !before.is_hidden {
            self.has_changed = true;
            self.measure_gone(&pair)?;
        }
        if let Some(base) = pair.base.filter(|_| self.is_differential()) {
            group.push_whiteout(base.name(), &base.record().meta, base.number());
            self.counts.deleted += 1;
        }
        Ok(())
    }

    /// Deals with one entry of the source; answers a directory whose listings are to come.
    fn entry(
        &mut self,
        group: &mut Group,
        listing: &Listing,
        position: usize,
        before: &Before,
    ) -> Result<Option<Below>> {
        let found = &listing.entries[position];
        let name = listing.name(found);
        let stat = match &found.stat {
            Ok(stat) => *stat,
            Err(errno) if found.descend == Descend::Mount => {
                return self.left_out_unseen(group, listing, name, *errno, before);
            }
            Err(errno) => {
                self.unread(listing.dir.path_of(name), (*errno).into());
                self.list_unread(group, name, None, before)?;
                return Ok(None);
            }
        };
        if let Some(seen) = before.seen.as_ref().filter(|seen| seen.entry.record().meta.kind != stat.meta.kind) {
            self.measure_gone_node(seen)?;
        }
        if stat.meta.kind != Kind::Directory {
            let early = listing.early(position).map(|file| (file, listing.taken_at));
            self.leaf(group, &listing.dir, name, &stat, early, before)?;
            return Ok(None);
        }
        let mut stat = stat;
        if matches!(found.descend, Descend::Store | Descend::Mount)
            && let Some(seen) = before.seen.as_ref().filter(|seen| seen.is_directory())
        {
            // Its time tells of what it holds, which is not kept: or each backup would find that the one before it has changed the source.
            stat.meta.mtime = seen.entry.record().meta.mtime;
        }
        let below = self.directory(group, name, &stat, &listing.dir, before, false, listing.taken_at)?;
        if found.descend == Descend::Yes {
            return Ok(Some(below));
        }
        (self.notify)(Notice::LeftOut { path: listing.dir.path_of(name), why: found.descend });
        self.leave_empty(group, below)?;
        Ok(None)
    }

    /// Lists a directory that is recorded empty: what earlier backups had in it is gone.
    fn leave_empty(&mut self, group: &mut Group, below: Below) -> Result<()> {
        self.has_changed |= below.was_unread != below.is_unread;
        group.mark_left_out(below.slot);
        let mut before = Alongside::new(self.previous.as_ref(), below.before);
        let mut inside = Group::default();
        while before.peek()?.is_some() {
            self.absent(&mut before, &mut inside, false)?;
        }
        if !group.is_passage(below.slot) || !inside.is_empty() {
            let row = self.write_group(inside)?;
            group.set_children(below.slot, row);
        }
        Ok(())
    }

    /// Lists a mount point that does not even answer `stat`, as an empty directory.
    fn left_out_unseen(
        &mut self,
        group: &mut Group,
        listing: &Listing,
        name: &[u8],
        errno: rustix::io::Errno,
        before: &Before,
    ) -> Result<Option<Below>> {
        let was_unread = |seen: &Node| seen.is_directory() && seen.entry.record().status == Status::Unread;
        self.has_changed |= !before.seen.as_ref().is_some_and(was_unread);
        let meta = Meta {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            size: 0,
            mtime: Timestamp::default(),
        };
        self.unread(listing.dir.path_of(name), errno.into());
        self.count_entry(&meta, &[]);
        let version = Version::bare(meta, Flags::LEFT_OUT);
        let slot = group.push(name, &version, Status::Unread, None);
        let row = self.write_group(Group::default())?;
        group.set_children(slot, row);
        Ok(None)
    }

    /// Counts an entry that can be seen at the new point.
    pub(super) fn count_entry(&mut self, meta: &Meta, xattrs: &[u8]) {
        self.has_xattrs |= !xattrs.is_empty();
        match meta.kind {
            Kind::Directory => self.counts.directories += 1,
            Kind::File => {
                self.counts.files += 1;
                self.counts.bytes += meta.size;
            }
            _ => self.counts.others += 1,
        }
    }

    /// Counts and reports something that could not be read.
    pub(super) fn unread(&mut self, path: std::path::PathBuf, error: std::io::Error) {
        self.counts.unread += 1;
        (self.notify)(Notice::Unread { path, error });
    }

    /// Writes the records of a directory's listing and its row of the directory table; answers the row.
    pub(super) fn write_group(&mut self, group: Group) -> Result<u32> {
        let children = self.write_records(group)?;
        match &mut self.writer {
            Some(writer) => Ok(writer.push_directory(children)?),
            None => Ok(0),
        }
    }

    pub(super) fn write_records(&mut self, group: Group) -> Result<Children> {
        match &mut self.writer {
            Some(writer) => Ok(group.write(self.settings.number, &mut self.links, writer)?),
            None => Ok(Children::default()),
        }
    }
}

impl Version {
    /// A new version with no content and no attributes.
    pub(super) fn bare(meta: Meta, flags: Flags) -> Self {
        Self {
            meta,
            flags,
            ctime: Timestamp::default(),
            ino: 0,
            born: Born::Here,
            data_bytes: 0,
            content: Content::None,
            inline: Vec::new(),
            xattrs: Vec::new(),
        }
    }
}
