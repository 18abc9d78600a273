//! How many bytes a backup holds that what it is held against does not.
//!
//! Owns the one definition of the size of a backup: the data bytes of its new and updated files that the base's version of the same file does not hold,
//! counted in chunks, each inode once, before deduplication and compression; of a full: all data bytes. Refuses to read any data: within a store equal
//! chunks lie at one place, so that places tell. Invariant: what is counted never falls while a backup runs, so whoever waits for a bound may stop when
//! it is crossed.

use std::collections::HashMap;

use super::before::Before;
use super::content::Fresh;
use super::engine::Engine;
use super::{BackupError, Result};
use crate::catalog::Catalog;
use crate::format::pack::PackId;
use crate::format::record::{Content, Record};
use crate::format::table::Extent;
use crate::format::{Kind, Stat};
use crate::index::PackOf;
use crate::overlay::{Layer, Node, Pair};

use super::chunk_ids::extents_of;

/// The data of one version, in whatever form it is there.
enum Data<'a> {
    Inline(&'a [u8]),
    /// Runs in packs. One whose pack is still being written has none: nothing older holds it.
    Runs(Vec<Run>),
}

struct Run {
    pack: Option<PackId>,
    block: u32,
    offset: u32,
    len: u32,
}

impl Run {
    fn of(extent: &Extent, pack: Option<PackId>) -> Self {
        Self { pack, block: extent.place.block, offset: extent.place.offset, len: extent.len }
    }
}

/// Bytes of `runs` that none of `others` covers. Runs of either come in any order, and may overlap.
fn uncovered(runs: &[Run], others: &[Run]) -> u64 {
    let mut covered: HashMap<(PackId, u32), Vec<(u64, u64)>> = HashMap::new();
    for Run { pack, block, offset, len } in others {
        if let Some(pack) = pack {
            let span = (u64::from(*offset), u64::from(*offset) + u64::from(*len));
            covered.entry((*pack, *block)).or_default().push(span);
        }
    }
    // Each block's spans in order and apart.
    for spans in covered.values_mut() {
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
    }
    let of_run = |run: &Run| {
        let (from, to) = (u64::from(run.offset), u64::from(run.offset) + u64::from(run.len));
        let Some(spans) = run.pack.and_then(|pack| covered.get(&(pack, run.block))) else { return to - from };
        let first = spans.partition_point(|span| span.1 <= from);
        let inside = spans[first..].iter().take_while(|span| span.0 < to);
        to - from - inside.map(|span| span.1.min(to) - span.0.max(from)).sum::<u64>()
    };
    runs.iter().map(of_run).sum()
}

fn data<'a>(catalog: &Catalog, record: &Record, inline: &'a [u8]) -> Result<Data<'a>> {
    let Some(extents) = extents_of(catalog, record)? else { return Ok(Data::Inline(inline)) };
    let packs = catalog.packs();
    let pack = |extent: &Extent| packs.get(extent.place.pack as usize).map(|pack| pack.id);
    Ok(Data::Runs(extents.iter().map(|extent| Run::of(extent, pack(extent))).collect()))
}

/// Bytes of `data` that `other` does not hold.
fn beyond(data: &Data<'_>, other: &Data<'_>) -> u64 {
    match (data, other) {
        (Data::Inline(bytes), Data::Inline(others)) if bytes == others => 0,
        (Data::Inline(bytes), _) => bytes.len() as u64,
        (Data::Runs(runs), Data::Runs(others)) => uncovered(runs, others),
        (Data::Runs(runs), Data::Inline(_)) => uncovered(runs, &[]),
    }
}

impl Engine<'_> {
    /// Counts a version that was just read.
    pub(super) fn measure_fresh(&mut self, fresh: &Fresh, before: &Before) -> Result<()> {
        let base = before.base_of_kind(Kind::File).cloned().map(|entry| Node { layer: Layer::Full, entry });
        let size = self.fresh_beyond(fresh, base.as_ref())?;
        let changed = match &self.previous {
            None => 0,
            Some(_) => {
                let seen = before.seen.clone().filter(|seen| seen.entry.record().meta.kind == Kind::File);
                match (&seen, &base) {
                    (Some(seen), Some(base)) if seen.is_same(base) => size,
                    _ => self.fresh_beyond(fresh, seen.as_ref())?,
                }
            }
        };
        self.counts.changed_bytes += changed;
        self.grow(size)
    }

    /// Counts what a version that is taken over from an earlier backup changes against the previous one.
    pub(super) fn measure_return(&mut self, node: &Node, before: &Before) -> Result<()> {
        let seen = before.seen.as_ref();
        if node.entry.record().meta.kind == Kind::File && seen.is_none_or(|seen| !seen.is_same(node)) {
            self.counts.changed_bytes += self.node_beyond(node, seen)?;
        }
        Ok(())
    }

    /// Counts a version that is taken over from an earlier backup, and listed.
    pub(super) fn measure_carried(&mut self, node: &Node, before: &Before) -> Result<()> {
        if node.entry.record().meta.kind != Kind::File {
            return Ok(());
        }
        let base = before.base_of_kind(Kind::File).cloned().map(|entry| Node { layer: Layer::Full, entry });
        let size = self.node_beyond(node, base.as_ref())?;
        self.grow(size)
    }

    /// Counts a file that was only looked at: all of it may be new. An upper bound.
    pub(super) fn measure_unseen(&mut self, stat: &Stat) -> Result<()> {
        if stat.meta.kind != Kind::File {
            return Ok(());
        }
        // Not what is allocated: a file system that compresses allocates less than there is to read.
        let bytes = stat.meta.size;
        self.counts.changed_bytes += if self.previous.is_some() { bytes } else { 0 };
        self.grow(bytes)
    }

    /// Counts what the previous point shows under a name, and all below it, as gone.
    pub(super) fn measure_gone(&mut self, pair: &Pair) -> Result<()> {
        match pair.seen() {
            Some(node) => self.measure_gone_node(&node),
            None => Ok(()),
        }
    }

    /// The same for a node.
    pub(super) fn measure_gone_node(&mut self, node: &Node) -> Result<()> {
        let tree = self.previous().clone();
        let mut gone = data_bytes(node.entry.record());
        let mut waiting = if node.is_directory() { vec![tree.directory(node)?] } else { Vec::new() };
        while let Some(directory) = waiting.pop() {
            let mut nodes = tree.entries(directory);
            while let Some(node) = nodes.next_node()? {
                gone += data_bytes(node.entry.record());
                if node.is_directory() {
                    waiting.push(tree.directory(&node)?);
                }
            }
        }
        self.counts.gone_bytes += gone;
        Ok(())
    }

    /// Adds to the size of the backup.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`] where it crosses the bound of a differential that need not be one.
    fn grow(&mut self, bytes: u64) -> Result<()> {
        self.counts.size_bytes += bytes;
        match self.settings.most_bytes {
            Some(most) if self.counts.size_bytes > most => Err(BackupError::TooLarge { bytes: self.counts.size_bytes }),
            _ => Ok(()),
        }
    }

    /// Data bytes of what was read that `other` does not hold.
    pub(super) fn fresh_beyond(&self, fresh: &Fresh, other: Option<&Node>) -> Result<u64> {
        let Some(other) = other else { return Ok(fresh.data_bytes) };
        let record = other.entry.record();
        if self.writer.is_none() {
            return self.dry_beyond(fresh, other);
        }
        let pack = |extent: &Extent| match self.chunks.packs.get(extent.place.pack) {
            Some(PackOf::Stored(pack)) => Some(pack.id),
            Some(PackOf::Session(_)) | None => None,
        };
        let data_of_fresh = if fresh.inline.is_empty() {
            Data::Runs(fresh.extents.iter().map(|extent| Run::of(extent, pack(extent))).collect())
        } else {
            Data::Inline(&fresh.inline)
        };
        Ok(beyond(&data_of_fresh, &data(self.previous().catalog(other.layer), record, other.entry.inline())?))
    }

    /// The same where nothing is stored, so that there are no places: by the ids of chunks.
    fn dry_beyond(&self, fresh: &Fresh, other: &Node) -> Result<u64> {
        let catalog = self.previous().catalog(other.layer);
        let Some(extents) = extents_of(catalog, other.entry.record())? else {
            let is_same = !fresh.inline.is_empty() && fresh.inline == other.entry.inline();
            return Ok(if is_same { 0 } else { fresh.data_bytes });
        };
        let formers = self.chunk_ids.of(extents, catalog.packs(), self.reader.blocks());
        let held: std::collections::HashSet<_> = formers.flatten().map(|former| former.id).collect();
        let chunks = fresh.chunks.iter().filter(|(.., id)| !held.contains(id));
        Ok(chunks.map(|(_, len, _)| u64::from(*len)).sum::<u64>() + fresh.inline.len() as u64)
    }

    /// Data bytes of a node of the previous point that another does not hold.
    fn node_beyond(&self, node: &Node, other: Option<&Node>) -> Result<u64> {
        let Some(other) = other else { return Ok(node.entry.record().data_bytes) };
        let of = |node: &'_ Node| self.previous().catalog(node.layer).clone();
        let (its, others) = (of(node), of(other));
        let own = data(&its, node.entry.record(), node.entry.inline())?;
        Ok(beyond(&own, &data(&others, other.entry.record(), other.entry.inline())?))
    }
}

/// A name's share of its inode's data: a name of several that goes takes no data with it.
fn data_bytes(record: &Record) -> u64 {
    match (record.meta.kind, record.content) {
        (Kind::File, Content::None) | (Kind::Directory | Kind::Symlink, _) => 0,
        _ => record.data_bytes / u64::from(record.meta.nlink.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pack: u8, block: u32, offset: u32, len: u32) -> Run {
        Run { pack: (pack > 0).then_some(PackId([pack; 32])), block, offset, len }
    }

    #[test]
    fn bytes_are_uncovered_where_no_other_run_of_the_same_block_lies() {
        let others = [run(1, 0, 100, 50), run(1, 0, 140, 60), run(1, 1, 0, 10), run(2, 0, 0, 1_000), run(0, 0, 0, 500)];
        for (runs, expected) in [
            (vec![], 0),
            (vec![run(1, 0, 100, 100)], 0),
            (vec![run(1, 0, 90, 20)], 10),
            (vec![run(1, 0, 0, 300)], 200),
            (vec![run(1, 0, 200, 5)], 5),
            (vec![run(1, 2, 100, 50)], 50),
            (vec![run(3, 0, 0, 7), run(2, 0, 990, 20)], 17),
            // What is still being written is new, wherever it will lie.
            (vec![run(0, 0, 0, 500)], 500),
        ] {
            assert_eq!(uncovered(&runs, &others), expected);
        }
    }

    #[test]
    fn tiny_files_are_compared_by_their_bytes() {
        let runs = || Data::Runs(vec![run(1, 0, 0, 9)]);
        assert_eq!(beyond(&Data::Inline(b"one"), &Data::Inline(b"one")), 0);
        assert_eq!(beyond(&Data::Inline(b"one"), &Data::Inline(b"two")), 3);
        assert_eq!(beyond(&Data::Inline(b"one"), &runs()), 3);
        assert_eq!(beyond(&runs(), &Data::Inline(b"one")), 9);
        assert_eq!(beyond(&runs(), &runs()), 0);
    }
}
