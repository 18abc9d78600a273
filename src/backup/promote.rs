//! Making a full of its own out of a differential, without a look at the source.
//!
//! Owns what the new full says of itself. All that its tree says is carried over, as what cannot be read is in a backup: births, so that what is
//! unchanged keeps its inode number, places, so that nothing is stored again, groups of hard links, and every mark. Invariant: nothing of the
//! differential or of its base changes, and the new full needs neither.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::engine::Engine;
use super::group::Group;
use super::run::{CACHE, Ground, Made, Options, Run};
use super::session::Session;
use super::{BackupError, Choice, Decision, Notice, Progress, Reason, Result};
use crate::format::record::{Flags, Status};
use crate::format::{CatalogId, Kind, Origin, Point, PointKind, Timestamp};
use crate::overlay::PointTree;
use crate::policy::decision::Facts;
use crate::repository::{Points, Reader, SourceName, marks, notes};

/// How a differential is promoted.
#[derive(Clone, Debug, Default)]
pub struct Promotion {
    /// What the clock is taken to say; the system's clock if absent.
    pub clock: Option<Timestamp>,
    /// How hard the catalog is compressed (zstd); as the store says if absent.
    pub level: Option<i32>,
}

impl Session {
    /// Makes the differential `point` a full of its own, outside the rotation. Its time is the first that is free after the differential's. A session that
    /// only tries makes none, and says so by bytes of the catalog that are 0.
    ///
    /// # Errors
    /// Where `point` is a full, or a catalog or a pack of it is damaged or gone; then nothing was committed.
    pub fn promote(
        &self,
        point: &Point,
        how: &Promotion,
        progress: &Progress,
        notify: &dyn Fn(Notice),
        cancel: &Arc<AtomicBool>,
    ) -> Result<Made> {
        if point.is_full() {
            return Err(BackupError::FullAlready { number: point.number });
        }
        let name = SourceName::new(&point.source.name)?;
        let options = Options { clock: how.clock, full_level: how.level, ..Options::default() };
        let run = Run { session: self, name: &name, options: &options, progress, notify, cancel, abandoned: None };
        let reader = Reader::open(self.store.clone(), CACHE)?;
        let points = reader.points()?;
        let tree = reader.tree(point)?;
        progress.expect(point.counts.files + point.counts.directories + point.counts.others);
        let number = marks::next(&self.store, Points::highest(self.store.storage())?)?;
        let mut id = [0; 16];
        crate::random::fill(&mut id);
        let id = CatalogId(id);
        let decision = Decision { choice: Choice::Full { independent: false }, reason: Reason::Asked };
        let ground = Ground { decision, facts: Facts::default(), previous: Some(tree), family: point.family };
        let mut engine = run.engine(&reader, &ground, &notes::distrusted(&points.notes), number, id, true)?;
        if let Some(pack) = engine.lost.ids().first() {
            return Err(BackupError::PackGone { pack: *pack });
        }
        engine.carry_all()?;
        // As far as it could be read then, and no further.
        (engine.counts.unread, engine.counts.torn) = (point.counts.unread, point.counts.torn);
        let clock = how.clock.unwrap_or_else(Timestamp::now);
        let promoted = Point {
            number,
            id,
            source: point.source.clone(),
            origin: Origin::Promotion,
            kind: PointKind::Full,
            family: point.family,
            time: points.free_time(name.as_str(), point.time.plus_secs(1)),
            clock,
            finished: clock,
            previous: Some(point.number),
            counts: engine.counts,
            has_xattrs: engine.has_xattrs,
            program: concat!("dbakfs ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let made = run.publish(engine, promoted.clone())?;
        Ok(made.unwrap_or(Made { point: promoted, catalog_bytes: 0, packs: Vec::new(), alarm: None }))
    }
}

impl Engine<'_> {
    /// Lists all that the previous point shows, as it is.
    fn carry_all(&mut self) -> Result<()> {
        let tree = self.previous().clone();
        let root = tree.root()?;
        let version = self.carry(&root)?;
        self.count_entry(&version.meta, &version.xattrs);
        let status = if root.entry.record().status == Status::Unread { Status::Unread } else { Status::New };
        let mut group = Group::default();
        let slot = group.push(b"", &version, status, None);
        let row = self.carry_directory(&root)?;
        group.set_children(slot, row);
        self.write_records(group)?;
        self.counts.new = self.counts.files + self.counts.directories + self.counts.others;
        self.counts.size_bytes = data_bytes(&tree)?;
        Ok(())
    }
}

/// The data bytes of all files of a tree, each inode once.
fn data_bytes(tree: &PointTree) -> Result<u64> {
    let mut linked = HashSet::new();
    let mut bytes = 0;
    let mut waiting = vec![tree.directory(&tree.root()?)?];
    while let Some(directory) = waiting.pop() {
        let mut nodes = tree.entries(directory);
        while let Some(node) = nodes.next_node()? {
            let record = node.entry.record();
            let is_met = record.meta.nlink > 1 && record.meta.kind == Kind::File && !linked.insert(record.birth);
            if node.is_directory() {
                waiting.push(tree.directory(&node)?);
            } else if !is_met && !record.flags.has(Flags::NO_CONTENT) {
                bytes += record.data_bytes;
            }
        }
    }
    Ok(bytes)
}
