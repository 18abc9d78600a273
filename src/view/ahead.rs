//! What a reader will likely want next: the files that stand behind the one it read, and the rest of the run that a read out of a large file
//! had opened.
//!
//! Records of a directory's files follow one another, and so do their bytes in blocks: what is given here is mostly decoded already. Gives data only;
//! who pushes it where is the mount's business. Invariant: what is wrong ends the giving and is not told; the read that needs it will tell.

use dbakfs_mount::tree::NodeId;

use super::View;
use super::node::Node;
use crate::catalog::{Catalog, Entry};
use crate::format::Kind;
use crate::format::record::{Birth, Content, Place, Record};
use crate::repository::Reader;

/// Pages of the kernel: what is given begins at a multiple.
const PAGE_BYTES: u64 = 4096;

/// Reads of this length are the kernel's own reading ahead in a large file, which needs no other.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// Longer files are read by themselves.
const SIBLING_BYTES: u64 = 1 << 20;

/// So many records are looked at behind one read.
const RECORDS: u32 = 4096;

/// A block further away than this holds something else than the next files.
const NEAR_BLOCKS: u32 = 2;

/// So much of a hole is given at once.
static ZEROS: [u8; 512 << 10] = [0; 512 << 10];

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
                    push_rest_of_run(self.reader(), &catalog, &entry, (first, count), offset, push);
                }
            }
            _ => push_siblings(self.reader(), &catalog, &entry, push),
        }
    }
}

/// The files whose records follow that of `entry`.
fn push_siblings(reader: &Reader, catalog: &Catalog, entry: &Entry, push: &mut Push<'_>) {
    let mut at = place_of(entry);
    let mut gathered = Vec::new();
    for number in entry.number() + 1..entry.number().saturating_add(RECORDS).min(catalog.len()) {
        let Ok(next) = catalog.entry(number) else { return };
        let Record { meta, birth, content, .. } = next.record();
        if meta.kind != Kind::File || meta.size > SIBLING_BYTES {
            continue;
        }
        let node = Node::File(*birth).id();
        let len = u32::try_from(meta.size).unwrap_or(u32::MAX);
        let wants_more = match *content {
            Content::Inline => Ok(push(node, 0, next.inline())),
            Content::One(place) if at.is_none_or(|at| is_near(at, place)) => {
                at = Some(place);
                reader.with(catalog, place, len, |bytes| push(node, 0, bytes))
            }
            Content::Many { .. } => {
                gathered.clear();
                let read = reader.read(catalog, &next, 0, len as usize, &mut gathered);
                read.map(|()| push(node, 0, &gathered))
            }
            _ => continue,
        };
        if !wants_more.unwrap_or(false) {
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

/// Whether a block is the same or one of those around it: small and large files take turns at them.
const fn is_near(from: Place, to: Place) -> bool {
    from.pack == to.pack && from.block.abs_diff(to.block) <= NEAR_BLOCKS
}

/// The whole pages of the run at `offset` of a large file: what lies together in a block, or a piece of a hole.
fn push_rest_of_run(
    reader: &Reader,
    catalog: &Catalog,
    entry: &Entry,
    (first, count): (u32, u32),
    offset: u64,
    push: &mut Push<'_>,
) {
    let size = entry.record().meta.size;
    let piece = ZEROS.len() as u64;
    let window = offset / piece * piece;
    let mut hole = window..size.min(window.saturating_add(piece));
    let mut run = None;
    let found = catalog.extents(first, count, window, |extent| {
        if extent.end() <= offset {
            hole.start = extent.end();
        } else if extent.at <= offset {
            run = Some(*extent);
        } else {
            hole.end = hole.end.min(extent.at);
        }
        extent.end() <= offset
    });
    if found.is_err() {
        return;
    }
    let whole = run.map_or(hole, |run| run.at..run.end());
    let start = whole.start.next_multiple_of(PAGE_BYTES);
    let end = if whole.end >= size { size } else { whole.end / PAGE_BYTES * PAGE_BYTES };
    let Ok(len @ 1..) = u32::try_from(end.saturating_sub(start)) else { return };
    let node = Node::File(entry.record().birth).id();
    match run {
        None => _ = push(node, start, &ZEROS[..len as usize]),
        Some(run) => {
            let skip = u32::try_from(start - run.at).ok();
            let Some(offset) = skip.and_then(|skip| run.place.offset.checked_add(skip)) else { return };
            // Damage is told to whoever reads it.
            let _ = reader.with(catalog, Place { offset, ..run.place }, len, |bytes| push(node, start, bytes));
        }
    }
}
