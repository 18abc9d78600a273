//! Which entries of a point are restored for a rehearsal.
//!
//! Owns the draw. Refuses to read data. Invariants: the same seed draws the same entries of a point; memory is bounded by the sample and the directories that wait, not by the tree.
//!
//! Three groups. `small`: entries of one run at most, drawn by the block that they lie in, so that whole blocks are restored, as a full restore does, and the pace is that of one. `large`: files of
//! several runs. `spread`: of each size some, no two from one directory while there are others. Every draw gives each entry a number and keeps the lowest.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::{SampleSize, is_stopped};
use crate::catalog::CatalogError;
use crate::format::Kind;
use crate::format::record::{Content, Flags, Status};
use crate::overlay::Records;
use crate::overlay::{Directory, Layer, Node, PointTree};

pub(super) const SMALL: &str = "small";
pub(super) const LARGE: &str = "large";
pub(super) const SPREAD: &str = "spread";

/// The usual sample, in entries and bytes.
const USUAL_PERCENT: f64 = 1.0;
const USUAL_ENTRIES: std::ops::RangeInclusive<u64> = 200..=5_000;
const USUAL_BYTES: u64 = 1 << 30;

/// Files up to so many bytes are of one class of the spread; the first class is of what is no file.
const CLASSES: [u64; 5] = [0, 4 << 10, 64 << 10, 1 << 20, u64::MAX];

/// Entries that are restored together.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) entries: Vec<Chosen>,
}

/// One entry of a sample.
pub(super) struct Chosen {
    /// From the root of the point, without `/` in front.
    pub(super) path: Vec<u8>,
    layer: Layer,
    record: u32,
}

impl Chosen {
    pub(super) fn node(&self, tree: &PointTree) -> Result<Node, CatalogError> {
        tree.node(self.layer, self.record)
    }
}

impl Group {
    /// The records of the entries, and of the directories on the way to them.
    pub(super) fn records(&self, tree: &PointTree) -> Result<Records, CatalogError> {
        let mut records = Records::none_of(tree);
        let root = tree.root()?;
        records.add(&root);
        for chosen in &self.entries {
            let mut node = root.clone();
            for name in chosen.path.split(|byte| *byte == b'/') {
                let Some(found) = tree.find(tree.directory(&node)?, name)? else { break };
                node = found;
                records.add(&node);
            }
        }
        Ok(records)
    }
}

/// A sample, and what it is one of.
pub(super) struct Sample {
    pub(super) small: Group,
    pub(super) large: Group,
    pub(super) spread: Group,
    /// All entries of the point that are no large files; directories too.
    pub(super) all_small: u64,
    /// Data bytes of all large files.
    pub(super) all_large_bytes: u64,
}

/// Why no sample could be drawn.
#[derive(Debug)]
pub(super) enum DrawError {
    Catalog(CatalogError),
    Stopped,
}

impl From<CatalogError> for DrawError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// How much each group may have.
struct Limits {
    small: usize,
    large: usize,
    spread: usize,
    bytes: u64,
}

impl Limits {
    fn new(size: SampleSize, files: u64, room: u64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share"
        )]
        let share = |percent: f64| (files as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as u64;
        // Where half of the room would not do there is none for a restore either, and one that fills a disk harms others.
        let room = room / 2;
        let (entries, bytes) = match size {
            SampleSize::Usual => {
                let entries = share(USUAL_PERCENT).clamp(*USUAL_ENTRIES.start(), *USUAL_ENTRIES.end());
                (entries, USUAL_BYTES.min(room))
            }
            SampleSize::Files(files) => (files, room),
            SampleSize::Percent(percent) if percent >= 100.0 => {
                return Self { small: usize::MAX, large: usize::MAX, spread: 0, bytes: room };
            }
            SampleSize::Percent(percent) => (share(percent), room),
        };
        let entries = usize::try_from(entries.max(1)).unwrap_or(usize::MAX);
        // Large files are few, and restoring one says as much as hundreds of small ones.
        Self { small: entries.div_ceil(2), large: entries.div_ceil(8), spread: entries / 2, bytes }
    }
}

impl Sample {
    /// Draws a sample of a point of which `room` bytes can be restored.
    pub(super) fn draw(
        tree: &PointTree,
        size: SampleSize,
        seed: u64,
        room: u64,
        cancel: &AtomicBool,
    ) -> Result<Self, DrawError> {
        let counts = tree.point().counts;
        let limits = Limits::new(size, counts.files + counts.others, room);
        let mut draw = Draw::new(seed, &limits);
        let mut waiting: Vec<(Vec<u8>, Directory)> = vec![(Vec::new(), tree.directory(&tree.root()?)?)];
        while let Some((path, directory)) = waiting.pop() {
            if is_stopped(cancel) {
                return Err(DrawError::Stopped);
            }
            draw.all_small += 1;
            let mut entries = tree.entries(directory);
            while let Some(node) = entries.next_node()? {
                let record = node.entry.record();
                if record.flags.has(Flags::NO_CONTENT) {
                    continue;
                }
                if node.is_directory() {
                    waiting.push((below(&path, node.entry.name()), tree.directory(&node)?));
                } else {
                    draw.entry(tree, &path, &node);
                }
            }
            draw.leave();
        }
        Ok(draw.finish())
    }
}

fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        [] => name.to_vec(),
        path => [path, b"/", name].concat(),
    }
}

/// The entries with the lowest keys, as many as the limits allow.
struct Pool {
    most: usize,
    most_bytes: u64,
    held: BTreeMap<(u64, u64), (Chosen, u64)>,
    bytes: u64,
    /// The smallest of those that are larger than all that is allowed, for where there is nothing else.
    oversized: Option<(Chosen, u64)>,
}

impl Pool {
    const fn new(most: usize, most_bytes: u64) -> Self {
        Self { most, most_bytes, held: BTreeMap::new(), bytes: 0, oversized: None }
    }

    fn offer(&mut self, key: (u64, u64), bytes: u64, chosen: impl FnOnce() -> Chosen) {
        if bytes > self.most_bytes {
            if self.most > 0 && self.oversized.as_ref().is_none_or(|(_, least)| bytes < *least) {
                self.oversized = Some((chosen(), bytes));
            }
            return;
        }
        let is_full = self.held.len() >= self.most || self.bytes + bytes > self.most_bytes;
        if is_full && self.held.keys().next_back().is_none_or(|highest| key > *highest) {
            return;
        }
        if self.held.insert(key, (chosen(), bytes)).is_none() {
            self.bytes += bytes;
        }
        while self.held.len() > self.most || self.bytes > self.most_bytes {
            let Some((_, (_, bytes))) = self.held.pop_last() else { break };
            self.bytes -= bytes;
        }
    }

    fn finish(self) -> Vec<Chosen> {
        let mut chosen: Vec<Chosen> = self.held.into_values().map(|(chosen, _)| chosen).collect();
        if chosen.is_empty() {
            chosen.extend(self.oversized.map(|(chosen, _)| chosen));
        }
        chosen
    }
}

struct Draw {
    key: [u8; 32],
    small: Pool,
    large: Pool,
    spread: [Pool; CLASSES.len()],
    /// Of each class, the lowest number in the directory that is gone through.
    best: [Option<(u64, u64, Chosen)>; CLASSES.len()],
    all_small: u64,
    all_large_bytes: u64,
}

impl Draw {
    fn new(seed: u64, limits: &Limits) -> Self {
        let spread = || Pool::new(limits.spread.div_ceil(CLASSES.len()), limits.bytes / 4 / CLASSES.len() as u64);
        Self {
            key: *blake3::hash(&seed.to_le_bytes()).as_bytes(),
            small: Pool::new(limits.small, limits.bytes / 4),
            large: Pool::new(limits.large, limits.bytes / 2),
            spread: std::array::from_fn(|_| spread()),
            best: Default::default(),
            all_small: 0,
            all_large_bytes: 0,
        }
    }

    fn number(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(part);
        }
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        u64::from_le_bytes(number)
    }

    /// An entry that is no directory, in the directory `path`.
    fn entry(&mut self, tree: &PointTree, path: &[u8], node: &Node) {
        let (entry, record) = (&node.entry, node.entry.record());
        let layer = [node.layer as u8];
        let own = self.number(&[b"entry", &layer, &entry.number().to_le_bytes()]);
        let chosen = || Chosen { path: below(path, entry.name()), layer: node.layer, record: entry.number() };
        let bytes = record.data_bytes;
        if matches!(record.content, Content::Many { .. }) {
            self.all_large_bytes += bytes;
            self.large.offer((own, 0), bytes, chosen);
        } else {
            self.all_small += 1;
            let block = match record.content {
                Content::One(place) => {
                    let pack = tree.catalog(node.layer).packs()[place.pack as usize].id;
                    self.number(&[b"block", &pack.0, &place.block.to_le_bytes()])
                }
                // What lies in the catalog lies beside its neighbours there.
                _ => self.number(&[b"records", &layer, &(entry.number() / 256).to_le_bytes()]),
            };
            self.small.offer((block, own), bytes, chosen);
        }
        if record.status == Status::Unread {
            return;
        }
        let class = match record.meta.kind {
            Kind::File => (1..CLASSES.len()).find(|class| record.meta.size <= CLASSES[*class]).unwrap_or(1),
            _ => 0,
        };
        // The lowest of the directory goes before all others, which come only where that is not enough.
        let (own, bytes, chosen) = match &mut self.best[class] {
            Some(best) if own < best.0 => std::mem::replace(best, (own, bytes, chosen())),
            Some(_) => (own, bytes, chosen()),
            none => {
                *none = Some((own, bytes, chosen()));
                return;
            }
        };
        self.spread[class].offer((1, own), bytes, || chosen);
    }

    /// The directory has been gone through.
    fn leave(&mut self) {
        for (best, pool) in self.best.iter_mut().zip(&mut self.spread) {
            if let Some((own, bytes, chosen)) = best.take() {
                pool.offer((0, own), bytes, || chosen);
            }
        }
    }

    fn finish(self) -> Sample {
        let Self { small, large, spread, all_small, all_large_bytes, .. } = self;
        let (small, large) = (small.finish(), large.finish());
        let has_some = !small.is_empty() || !large.is_empty();
        // What is larger than all that is allowed is restored once at most.
        let spread = spread.into_iter().flat_map(|mut pool| {
            if has_some {
                pool.oversized = None;
            }
            pool.finish()
        });
        Sample {
            spread: Group { name: SPREAD, entries: spread.collect() },
            small: Group { name: SMALL, entries: small },
            large: Group { name: LARGE, entries: large },
            all_small,
            all_large_bytes,
        }
    }
}
