//! The second reading of an archive: the contents, into packs.
//!
//! Owns what is held of an inode until its records are written: where its bytes lie, and of tiny files the bytes. Invariant: only what a name of the
//! listing leads to is stored, and what is read is what the first reading saw.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::super::content::{ContentError, Fresh};
use super::super::engine::Engine;
use super::super::leaf::FreshLeaf;
use super::super::links::LinkId;
use super::super::{BackupError, Result as BackupResult};
use super::{Import, ImportError, Result};
use crate::archive::{ArchiveError, ArchiveReader, Inode, Input, Listing, Member, People};
use crate::format::record::Content;
use crate::format::{Kind, Stat, Timestamp};
use crate::overlay::Node;

/// What is known of an inode when its content was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) content: Content,
    /// Where its inline bytes begin, and how many they are.
    pub(super) inline: (u32, u32),
    pub(super) data_bytes: u64,
    /// The base has it under all its names: nothing need be listed.
    pub(super) is_in_base: bool,
}

const NOTHING: Held = Held { content: Content::None, inline: (0, 0), data_bytes: 0, is_in_base: false };

/// All inodes of an archive on their way into a catalog.
pub(super) struct Contents<'a> {
    pub(super) listing: &'a Listing,
    held: Vec<Held>,
    inline: Vec<u8>,
    /// A name of each inode.
    names: Vec<u32>,
    /// All names of those that have several.
    all_names: HashMap<u32, Vec<u32>>,
    pub(super) links: HashMap<u32, LinkId>,
}

impl<'a> Contents<'a> {
    fn new(listing: &'a Listing) -> Self {
        let count = listing.inodes().len();
        let mut names = vec![0; count];
        let mut all_names: HashMap<u32, Vec<u32>> = HashMap::new();
        for name in 0..u32::try_from(listing.len()).expect("names are bounded") {
            let inode = listing.inode_of(name);
            names[inode as usize] = name;
            if listing.inode(name).meta.nlink > 1 {
                all_names.entry(inode).or_default().push(name);
            }
        }
        Self { listing, held: vec![NOTHING; count], inline: Vec::new(), names, all_names, links: HashMap::new() }
    }

    /// What is held of an inode.
    pub(super) fn held(&self, inode: u32) -> (&Held, &[u8]) {
        let held = &self.held[inode as usize];
        (held, &self.inline[held.inline.0 as usize..][..held.inline.1 as usize])
    }

    fn names_of(&self, inode: u32) -> &[u32] {
        self.all_names.get(&inode).map_or(std::slice::from_ref(&self.names[inode as usize]), Vec::as_slice)
    }
}

impl Engine<'_> {
    /// Reads the archive and lists what is in it.
    pub(super) fn import(&mut self, import: &Import<'_>, time: Timestamp) -> Result<()> {
        let listing = &import.archive.survey.listing;
        let mut contents = Contents::new(listing);
        self.read_files(import, &mut contents)?;
        for (number, inode) in (0..).zip(listing.inodes()) {
            if inode.meta.nlink > 0 && !matches!(inode.meta.kind, Kind::File | Kind::Directory) {
                let fresh = Fresh { inline: listing.link(inode).to_vec(), ..Fresh::default() };
                self.hold(&mut contents, number, inode, fresh, None)?;
            }
        }
        Ok(self.list_archive(&mut contents, time)?)
    }

    fn read_files(&mut self, import: &Import<'_>, contents: &mut Contents<'_>) -> Result<()> {
        let path = &import.archive.path;
        let survey = &import.archive.survey;
        let failed = ImportError::archive(path);
        let changed = || ImportError::Changed { path: path.clone() };
        let people = People::default();
        let number_of = |named, name: &[u8]| people.number_of(named, name);
        let mut input = Input::open(path, false, import.read_bytes, self.cancel).map_err(&failed)?;
        let mut reader = ArchiveReader::new(&mut input.archive, &number_of);
        let is_wanted = |(_, inode): &(u32, &Inode)| inode.meta.kind == Kind::File && inode.meta.nlink > 0;
        let mut wanted = (0..).zip(survey.listing.inodes()).filter(is_wanted).peekable();
        let mut members = 0;
        loop {
            let member = match reader.next_member() {
                Ok(Some(member)) => member,
                Ok(None) => break,
                Err(_) if self.cancel.load(Ordering::Relaxed) => return Err(BackupError::Cancelled.into()),
                Err(error) => return Err(failed(error)),
            };
            self.progress.entry();
            if let Some((number, inode)) = wanted.next_if(|(_, inode)| inode.member == Some(members)) {
                if member.meta.kind != Kind::File || member.meta.size != inode.meta.size {
                    return Err(changed());
                }
                let former = self.former(contents, number)?;
                let fresh = self.read_member(&mut reader, &member, former.as_ref()).map_err(|error| match error {
                    ContentError::Source(error) => failed(ArchiveError::Read(error)),
                    ContentError::Store(error) => error.into(),
                })?;
                self.counts.read_bytes += fresh.data_bytes;
                self.hold(contents, number, inode, fresh, former)?;
            }
            members += 1;
        }
        let is_all = wanted.peek().is_none() && members == survey.members;
        let seen = input.finish().map_err(failed)?;
        if is_all && seen.blake3 == survey.seen.blake3 { Ok(()) } else { Err(changed()) }
    }

    fn read_member<R: std::io::Read>(
        &mut self,
        reader: &mut ArchiveReader<'_, R>,
        member: &Member,
        former: Option<&Node>,
    ) -> std::result::Result<Fresh, ContentError> {
        let trail = self.content.trail(self.previous.as_ref(), former, &self.chunk_ids, self.reader.blocks());
        let ranges = member.ranges.as_deref();
        self.content.read_member(reader, member.meta.size, ranges, trail, &mut self.chunks, self.progress)
    }

    /// The file that the base has under a name of the inode.
    fn former(&self, contents: &Contents<'_>, inode: u32) -> BackupResult<Option<Node>> {
        let Some(base) = &self.previous else { return Ok(None) };
        let node = base.resolve(&contents.listing.path(contents.names[inode as usize]))?;
        let Some(node) = node.filter(|node| node.entry.record().meta.kind == Kind::File) else { return Ok(None) };
        Ok(if self.lost.held(base, &node)? { None } else { Some(node) })
    }

    /// Keeps what was read of an inode, and finds out whether the base has it already.
    fn hold(
        &mut self,
        contents: &mut Contents<'_>,
        number: u32,
        inode: &Inode,
        fresh: Fresh,
        former: Option<Node>,
    ) -> BackupResult<()> {
        let stat =
            Stat { meta: inode.meta, ctime: Timestamp::default(), ino: number.into(), dev: 0, allocated_bytes: 0 };
        let xattrs = contents.listing.xattrs(inode).to_vec();
        let leaf = FreshLeaf { stat, taken_at: Timestamp::default(), xattrs, content: fresh, is_torn: false };
        if self.is_in_base(contents, number, &leaf)? {
            contents.held[number as usize].is_in_base = true;
            return Ok(());
        }
        let fresh = leaf.content;
        self.counts.size_bytes += self.fresh_beyond(&fresh, former.as_ref())?;
        let content = self.list_content(&fresh)?;
        // As many tiny files as fill it are more names than a listing holds.
        let begin = u32::try_from(contents.inline.len()).expect("a listing is bounded");
        let len = u32::try_from(fresh.inline.len()).expect("what is inline is short");
        contents.inline.extend_from_slice(&fresh.inline);
        let data_bytes = if inode.meta.kind == Kind::File { fresh.data_bytes } else { 0 };
        contents.held[number as usize] = Held { content, inline: (begin, len), data_bytes, is_in_base: false };
        Ok(())
    }

    /// Whether the base has this very version under every name of the inode. One name of an archive may be one of several in the base, of which the others did not change.
    fn is_in_base(&mut self, contents: &Contents<'_>, number: u32, fresh: &FreshLeaf) -> BackupResult<bool> {
        let Some(base) = self.previous.clone() else { return Ok(false) };
        let names = contents.names_of(number);
        let mut first: Option<Node> = None;
        for name in names {
            let Some(node) = base.resolve(&contents.listing.path(*name))? else { return Ok(false) };
            let record = node.entry.record();
            let is_other = |first: &Node| first.entry.record().birth != record.birth;
            if record.meta.kind != fresh.stat.meta.kind
                || first.as_ref().is_some_and(is_other)
                || self.lost.held(&base, &node)?
            {
                return Ok(false);
            }
            first.get_or_insert(node);
        }
        let Some(first) = first else { return Ok(false) };
        let nlink = first.entry.record().meta.nlink;
        if names.len() > 1 && names.len() != nlink as usize {
            return Ok(false);
        }
        let mut stat = fresh.stat;
        stat.meta.nlink = nlink;
        // Compared by what it holds, and that is what a clone would hold.
        let content = Fresh {
            size: fresh.content.size,
            data_bytes: fresh.content.data_bytes,
            inline: fresh.content.inline.clone(),
            extents: fresh.content.extents.clone(),
            chunks: fresh.content.chunks.clone(),
        };
        let alike = FreshLeaf { stat, content, xattrs: fresh.xattrs.clone(), ..*fresh };
        self.is_same_version(&alike, &first)
    }
}
