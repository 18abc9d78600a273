//! What a reader will likely want next: the files that stand behind the one it read, and the rest of the block that a read out of a large file had
//! opened.
//!
//! Records of a directory's files follow one another, and so do their bytes in blocks: what is given here is mostly decoded already. Gives data only;
//! who pushes it where is the mount's business. Invariant: what is wrong ends the giving and is not told; the read that needs it will tell.

use std::ops::Range;

use dbakfs_mount::tree::NodeId;

use super::View;
use super::node::Node;
use crate::catalog::{Catalog, Entry};
use crate::format::Kind;
use crate::format::record::{Birth, Content, Place};
use crate::repository::Reader;

/// Pages of the kernel: what is given begins at a multiple.
const PAGE_BYTES: u64 = 4096;

/// Reads of this length are the kernel's own reading ahead in a large file, which needs no other.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// Longer files are read by themselves.
const SIBLING_BYTES: u64 = 1 << 20;

/// So many records are looked at behind one read.
const RECORDS: u32 = 4096;

/// A block further on than this holds something else than the next files.
const NEXT_BLOCKS: u32 = 2;

/// No block that is written holds more of a file than this.
const BLOCK_SPAN_BYTES: u64 = 2 << 20;

/// Takes data of a node from an offset on; answers whether it wants more.
pub(super) type Push<'a> = dyn FnMut(NodeId, u64, &[u8]) -> bool + 'a;

impl View {
    /// Gives `push` what lies ahead of a read of `len` bytes at `offset` of the file born as `birth`.
    pub(super) fn push_ahead(&self, birth: Birth, offset: u64, len: usize, push: &mut Push<'_>) {
        let Ok((catalog, entry)) = self.version(birth) else { return };
        let size = entry.record().meta.size;
        let is_at_end = offset.saturating_add(len as u64) >= size;
        match entry.record().content {
            Content::Many { first, count } if !is_at_end || size > SIBLING_BYTES => {
                if len < READ_AHEAD_BYTES {
                    push_rest_of_block(self.reader(), &catalog, &entry, (first, count), offset, push);
                }
            }
            _ => push_siblings(self.reader(), &catalog, &entry, push),
        }
    }
}

/// The files whose records follow that of `entry`.
fn push_siblings(reader: &Reader, catalog: &Catalog, entry: &Entry, push: &mut Push<'_>) {
    let mut bytes = Vec::new();
    let mut at = place_of(entry);
    let records = entry.number() + 1..entry.number().saturating_add(RECORDS).min(catalog.len());
    for number in records {
        let Ok(next) = catalog.entry(number) else { return };
        let meta = &next.record().meta;
        if meta.kind != Kind::File || meta.size == 0 || meta.size > SIBLING_BYTES {
            continue;
        }
        if let Some(place) = place_of(&next) {
            if at.is_some_and(|at| !is_near(at, place)) {
                continue;
            }
            at = Some(place);
        }
        bytes.clear();
        let read = reader.read(catalog, &next, 0, usize::try_from(meta.size).unwrap_or(usize::MAX), &mut bytes);
        if read.is_err() || !push(Node::File(next.record().birth).id(), 0, &bytes) {
            return;
        }
    }
}

fn place_of(entry: &Entry) -> Option<Place> {
    match entry.record().content {
        Content::One(place) => Some(place),
        _ => None,
    }
}

/// Whether a block is the same or one of the next.
fn is_near(from: Place, to: Place) -> bool {
    from.pack == to.pack && (from.block..=from.block.saturating_add(NEXT_BLOCKS)).contains(&to.block)
}

/// What the block at `offset` of a large file holds of the file around it: whole pages of one run.
fn push_rest_of_block(
    reader: &Reader,
    catalog: &Catalog,
    entry: &Entry,
    (first, count): (u32, u32),
    offset: u64,
    push: &mut Push<'_>,
) {
    let mut at = None;
    let found = catalog.extents(first, count, offset, |extent| {
        at = (extent.at <= offset).then_some(extent.place);
        false
    });
    let (Ok(()), Some(place)) = (found, at) else { return };
    let mut run: Option<Range<u64>> = None;
    let from = offset.saturating_sub(BLOCK_SPAN_BYTES);
    let around = catalog.extents(first, count, from, |extent| {
        let is_here = (extent.place.pack, extent.place.block) == (place.pack, place.block);
        match &mut run {
            Some(run) if is_here && run.end == extent.at => run.end = extent.end(),
            // The run that was read has ended.
            Some(run) if run.end > offset => return false,
            _ if is_here => run = Some(extent.at..extent.end()),
            _ => {}
        }
        true
    });
    let (Ok(()), Some(run)) = (around, run) else { return };
    let size = entry.record().meta.size;
    let start = run.start.next_multiple_of(PAGE_BYTES);
    let end = if run.end >= size { size } else { run.end / PAGE_BYTES * PAGE_BYTES };
    let Ok(len) = usize::try_from(end.saturating_sub(start)) else { return };
    let mut bytes = Vec::new();
    if len > 0 && reader.read(catalog, entry, start, len, &mut bytes).is_ok() {
        push(Node::File(entry.record().birth).id(), start, &bytes);
    }
}
