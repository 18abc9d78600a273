//! A backup of a stream: one file in a directory of its own.

use std::io::Read;

use super::before::{Alongside, Ground};
use super::content::ContentError;
use super::engine::Engine;
use super::group::{Group, Version};
use super::leaf::FreshLeaf;
use super::{BackupError, Choice, Result};
use crate::catalog::Entry;
use crate::format::record::{Content, Flags, Status};
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::overlay::{Layer, Node};
use crate::source::Margin;

impl Engine<'_> {
    /// Reads `input` to its end as the one file `name`. The time of the file and of its directory is now: two streams are two versions.
    pub(super) fn run_stream(&mut self, name: &[u8], input: &mut dyn Read) -> Result<()> {
        let (mut ground, mut base) = (Ground::default(), None);
        if let Some(tree) = &self.previous {
            ground.directory = tree.directory(&tree.root()?)?;
            if self.is_differential() {
                base = Some(tree.catalog(Layer::Full).root()?);
            }
        }
        let mut before = Alongside::new(self.previous.as_ref(), ground);
        let mut group = Group::default();
        let there = self.before(name, &mut before, &mut group, false)?;
        let candidates = self.candidates(&there, Kind::File)?;

        let taken_at = Timestamp::now();
        let former = candidates.iter().flatten().next();
        let trail = self.content.trail(self.previous.as_ref(), former, &self.chunk_ids, self.reader.blocks());
        let content = self.content.read_stream(input, trail, &mut self.chunks, self.progress);
        let content = content.map_err(|error| match error {
            ContentError::Source(error) => BackupError::Stdin(error),
            ContentError::Store(error) => error,
        })?;
        self.counts.read_bytes += content.data_bytes;
        let meta = |kind, mode| Meta {
            kind,
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            nlink: 1,
            rdev: 0,
            size: 0,
            mtime: taken_at,
        };
        let stat = Stat { meta: meta(Kind::File, 0o600), ctime: taken_at, ino: 0, dev: 0, allocated_bytes: 0 };
        let fresh = FreshLeaf { stat, taken_at, xattrs: Vec::new(), content, is_torn: false };
        // A stream cannot be read again: what it is to be is settled now that all of it is here.
        let mut there = there;
        if let Some(most) = self.settings.most_bytes.take() {
            let old = there.base_of_kind(Kind::File).cloned().map(|entry| Node { layer: Layer::Full, entry });
            if self.is_differential() && self.fresh_beyond(&fresh.content, old.as_ref())? > most {
                self.settings.choice = Choice::Full { independent: false };
                (there.base, base) = (None, None);
                // All that is in it yet are whiteouts.
                group = Group::default();
                self.counts.deleted = 0;
            }
        }
        self.fresh(&mut group, name, &fresh, &there, &candidates, Margin::FINE, &|| "standard input".into())?;
        while before.peek()?.is_some() {
            self.absent(&mut before, &mut group, false)?;
        }
        let directory = meta(Kind::Directory, 0o700);
        self.count_entry(&directory, &[]);
        self.has_changed = true;
        let mut root = Group::default();
        let version = Version { content: Content::Children(0), ..Version::bare(directory, Flags::default()) };
        let status = if base.is_some() { Status::Updated } else { Status::New };
        let slot = root.push(b"", &version, status, base.as_ref().map(Entry::number));
        let row = self.write_group(group)?;
        root.set_children(slot, row);
        self.write_records(root).map(drop)
    }
}
