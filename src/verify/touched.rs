//! From damaged blocks to the files that they take with them.

use std::sync::Arc;

use super::catalogs::Trees;
use super::packs::PackStates;
use super::{Event, KEPT_FILES, Object, Report, TouchedFile};
use crate::bits::Bits;
use crate::catalog::{Catalog, Entry, Result};
use crate::format::Number;
use crate::format::record::{Content, Place};
use crate::overlay::{Layer, Node, PointTree};
use crate::repository::Reader;

/// The records of a catalog that need a damaged block: files, and the directories on the way to them.
struct Touched {
    number: Number,
    /// `None` where there are none.
    records: Option<Bits>,
}

impl Touched {
    /// Scans a catalog once. Children stand before their directory, so its own mark is known when it comes.
    fn scan(catalog: &Catalog, packs: &PackStates) -> Result<Self> {
        let mut records = Bits::new(catalog.len());
        let mut is_any = false;
        catalog.scan(|entry| {
            let is_touched = match entry.record().content {
                Content::Children(row) => {
                    let children = catalog.children(row)?;
                    records.has_any(children.first..children.first + children.count)
                }
                _ => cause(catalog, &entry, packs)?.is_some(),
            };
            if is_touched {
                is_any = records.set(entry.number());
            }
            Ok::<_, crate::catalog::CatalogError>(())
        })?;
        Ok(Self { number: catalog.point().number, records: is_any.then_some(records) })
    }

    fn has(&self, record: u32) -> bool {
        self.records.as_ref().is_some_and(|records| records.has(record))
    }
}

/// The damage that takes the content of an entry with it.
fn cause(catalog: &Catalog, entry: &Entry, packs: &PackStates) -> Result<Option<Object>> {
    let of = |place: Place| packs.harm(catalog.packs()[place.pack as usize].id, place.block);
    let mut cause = None;
    match entry.record().content {
        Content::One(place) => cause = of(place),
        Content::Many { first, count } => catalog.extents(first, count, 0, |extent| {
            cause = of(extent.place);
            cause.is_none()
        })?,
        _ => {}
    }
    Ok(cause)
}

/// Names every file of every point that needs a damaged block. Points whose catalogs are damaged are left out: there
/// the point itself is lost.
pub(super) fn find(
    reader: &Reader,
    trees: &Trees,
    packs: &PackStates,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) {
    let mut last_full: Option<Touched> = None;
    let mut points: Vec<(Number, Number)> =
        trees.points.iter().map(|(number, base)| (base.unwrap_or(*number), *number)).collect();
    // Series by series, so that a full is scanned once.
    points.sort_unstable();
    for (full, number) in points {
        let is_hurt = trees.needed(number).any(|needed| trees.hurt(needed).next().is_some());
        if !is_hurt || trees.needed(number).any(|needed| trees.damaged.contains(&needed)) {
            continue;
        }
        let mut found = Found { number, packs, report, notify };
        // What cannot be read now could be read a moment ago; it is then damage that the next run will find.
        let _ = found.in_point(reader, full, &mut last_full);
    }
}

struct Found<'a, 'b> {
    number: Number,
    packs: &'a PackStates,
    report: &'a mut Report,
    notify: &'a mut (dyn FnMut(Event<'_>) + 'b),
}

impl Found<'_, '_> {
    fn in_point(&mut self, reader: &Reader, full: Number, last_full: &mut Option<Touched>) -> Result<()> {
        let catalog = reader.catalog(self.number)?;
        let tree = reader.tree(catalog.point())?;
        let base = match last_full.take() {
            Some(scanned) if scanned.number == full => scanned,
            _ => Touched::scan(tree.catalog(Layer::Full), self.packs)?,
        };
        let base = last_full.insert(base);
        let own = match tree.has(Layer::Differential) {
            true => Touched::scan(tree.catalog(Layer::Differential), self.packs)?,
            false => Touched { number: full, records: None },
        };
        self.walk(&tree, base, &own)
    }

    /// Walks down to the touched files, past everything else.
    fn walk(&mut self, tree: &PointTree, base: &Touched, own: &Touched) -> Result<()> {
        let leads_on = |node: &Node| match node.layer {
            Layer::Full => base.has(node.entry.number()),
            Layer::Differential => {
                own.has(node.entry.number()) || node.entry.record().base.is_some_and(|record| base.has(record))
            }
        };
        let root = tree.root()?;
        let mut waiting = Vec::new();
        if leads_on(&root) {
            waiting.push((Vec::new(), root));
        }
        while let Some((path, directory)) = waiting.pop() {
            let mut entries = tree.entries(tree.directory(&directory)?);
            while let Some(node) = entries.next_node()? {
                let below = |path: &[u8]| match path {
                    [] => node.entry.name().to_vec(),
                    path => [path, b"/", node.entry.name()].concat(),
                };
                if node.is_directory() {
                    if leads_on(&node) {
                        waiting.push((below(&path), node));
                    }
                } else if match node.layer {
                    Layer::Full => base.has(node.entry.number()),
                    Layer::Differential => own.has(node.entry.number()),
                } {
                    self.file(tree.catalog(node.layer), &node.entry, below(&path))?;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, catalog: &Arc<Catalog>, entry: &Entry, path: Vec<u8>) -> Result<()> {
        let Some(cause) = cause(catalog, entry, self.packs)? else { return Ok(()) };
        (self.notify)(Event::Touched { point: self.number, path: &path, cause: cause.clone() });
        let point = self.report.point(self.number);
        point.touched_files += 1;
        point.damaged.insert(cause.clone());
        if point.files.len() < KEPT_FILES {
            point.files.push(TouchedFile { path, cause });
        }
        Ok(())
    }
}
