//! The pass over the catalogs: each is decoded wholly, and its records must fit together.

use std::collections::{BTreeMap, BTreeSet};

use super::packs::{Meter, PackStates, check_late};
use super::{Damage, DamageError, Depth, Event, Harm, Object, Report};
use crate::bits::Bits;
use crate::catalog::{Catalog, CatalogError, ChildCursor, Entry, Result};
use crate::format::pack::PackId;
use crate::format::record::{Content, Flags, Place, Status, xattrs};
use crate::format::table::Children;
use crate::format::{FormatError, Kind, Number, PointKind};
use crate::overlay::PointTree;
use crate::repository::Reader;

/// What the catalogs are to one another.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// The base of each readable differential; nothing for a full, and for a catalog that cannot be read.
    pub(super) points: BTreeMap<Number, Option<Number>>,
    /// Catalogs that are missing or damaged.
    pub(super) damaged: BTreeSet<Number>,
    /// Of each catalog, the packs that it refers to and that are not sound.
    hurt: BTreeMap<Number, BTreeSet<PackId>>,
}

impl Trees {
    /// The catalogs that a point needs.
    pub(super) fn needed(&self, number: Number) -> impl Iterator<Item = Number> {
        self.points.get(&number).copied().flatten().into_iter().chain([number])
    }

    /// The packs that a catalog refers to and that are not sound.
    pub(super) fn hurt(&self, number: Number) -> impl Iterator<Item = PackId> {
        self.hurt.get(&number).into_iter().flatten().copied()
    }
}

/// Looks at every catalog.
pub(super) fn check(
    reader: &Reader,
    depth: Depth,
    catalogs: &[(Number, u64)],
    packs: &mut PackStates,
    meter: &Meter<'_>,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) -> Trees {
    let mut trees = Trees::default();
    let damage = |number, error| Damage { object: Object::Catalog(number), error, harm: Harm::Point };
    for (number, file_len) in catalogs {
        report.catalogs += 1;
        trees.points.insert(*number, None);
        if let Err(error) = check_one(reader, depth, *number, packs, &mut trees, report, notify) {
            trees.damaged.insert(*number);
            report.add(damage(*number, error.into()), notify);
        }
        let base = trees.points[number];
        if let Some(base) = base.filter(|base| !trees.points.contains_key(base)) {
            trees.points.insert(base, None);
            trees.damaged.insert(base);
            report.add(damage(base, DamageError::NoCatalog { number: base }), notify);
        }
        meter.add(*file_len);
    }
    trees
}

fn check_one(
    reader: &Reader,
    depth: Depth,
    number: Number,
    packs: &mut PackStates,
    trees: &mut Trees,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    let catalog = reader.catalog(number)?;
    if let PointKind::Differential { base, .. } = catalog.point().kind {
        trees.points.insert(number, Some(base));
    }
    for pack in catalog.packs() {
        if !packs.knows(&pack.id) {
            check_late(reader, depth, *pack, packs, report, notify)?;
        }
        if let Some(damage) = packs.refer(*pack) {
            report.add(damage, notify);
        }
    }
    let hurt = catalog.packs().iter().map(|pack| pack.id).filter(|pack| packs.is_hurt(pack)).collect();
    trees.hurt.insert(number, hurt);
    catalog.check()?;
    let tree = match catalog.point().kind {
        PointKind::Full => PointTree::of_full(std::sync::Arc::clone(&catalog))?,
        PointKind::Differential { base, .. } if trees.damaged.contains(&base) || !trees.points.contains_key(&base) => {
            // The base is damage of its own; without it, only what stands here can be looked at.
            return Check { catalog: &catalog, full: None, packs }.run();
        }
        PointKind::Differential { .. } => reader.tree(catalog.point())?,
    };
    let full = (!catalog.point().is_full()).then(|| tree.catalog(crate::overlay::Layer::Full));
    Check { catalog: &catalog, full: full.map(|full| &**full), packs }.run()
}

/// Whether the records of a catalog fit together, and with the packs as far as these are known. `full` is the base of a differential.
pub(super) fn fits_together(
    catalog: &std::sync::Arc<Catalog>,
    full: Option<&Catalog>,
    packs: &PackStates,
) -> Result<()> {
    Check { catalog, full, packs }.run()
}

/// The check of one catalog, record by record.
struct Check<'a> {
    catalog: &'a std::sync::Arc<Catalog>,
    /// The base of a differential, if it can be read.
    full: Option<&'a Catalog>,
    packs: &'a PackStates,
}

impl Check<'_> {
    fn run(&self) -> Result<()> {
        let catalog = self.catalog;
        let mut listed = Bits::new(catalog.len());
        let mut rows = Bits::new(catalog.directory_rows());
        catalog.scan(|entry| {
            let content = entry.record().content;
            if let Content::Children(row) = content {
                if !rows.set(row) {
                    return Err(self.wrong(&entry, "directory: its row is used twice"));
                }
                self.directory(&entry, catalog.children(row)?, &mut listed)?;
            }
            self.content(&entry)?;
            self.birth(&entry)
        })?;
        let root = catalog.root()?;
        if !rows.is_all() {
            return Err(self.wrong(&root, "directory: a row belongs to none"));
        }
        if !listed.set(root.number()) || !listed.is_all() {
            return Err(self.wrong(&root, "tree: a record is in no directory"));
        }
        if let Some(full) = self.full
            && root.record().base != Some(full.len() - 1)
        {
            return Err(self.wrong(&root, "base: the root stands on no root"));
        }
        self.adopted()
    }

    /// A directory's children stand before it, belong to it alone, rise, and continue children of its base.
    fn directory(&self, entry: &Entry, children: Children, listed: &mut Bits) -> Result<()> {
        if children.first + children.count > entry.number() {
            return Err(self.wrong(entry, "children: they do not stand before it"));
        }
        let base = match (entry.record().base, self.full) {
            (Some(base), Some(full)) => Some((full, self.base_children(entry, full, base)?)),
            _ => None,
        };
        let mut cursor = ChildCursor::new(std::sync::Arc::clone(self.catalog), children);
        while let Some(child) = cursor.advance()? {
            if !listed.set(child.number()) {
                return Err(self.wrong(&child, "tree: it is in two directories"));
            }
            let Some(record) = child.record().base else { continue };
            let Some((full, base)) = base else {
                if self.full.is_some() {
                    return Err(self.wrong(&child, "base: its directory has none"));
                }
                continue;
            };
            if record.checked_sub(base.first).is_none_or(|at| at >= base.count) {
                return Err(self.wrong(&child, "base: it lies in another directory"));
            }
            let before = full.entry(record)?;
            let is_whiteout = child.record().status == Status::Deleted;
            let kinds = [before.record(), child.record()].map(|record| record.meta.kind == Kind::Directory);
            if before.name() != child.name() || !is_whiteout && kinds[0] != kinds[1] {
                return Err(self.wrong(&child, "base: it is another name or kind"));
            }
        }
        Ok(())
    }

    fn base_children(&self, entry: &Entry, full: &Catalog, base: u32) -> Result<Children> {
        if base >= full.len() {
            return Err(self.wrong(entry, "base: there is no such record"));
        }
        match full.entry(base)?.record().content {
            Content::Children(row) => full.children(row),
            _ => Err(self.wrong(entry, "base: it is no directory")),
        }
    }

    /// Places lie inside blocks; extents rise, end inside the file, and hold as many bytes as the record says.
    fn content(&self, entry: &Entry) -> Result<()> {
        let record = entry.record();
        let size = record.meta.size;
        let attributes: usize = xattrs(entry.xattrs()).map(|(name, value)| 5 + name.len() + value.len()).sum();
        if attributes != entry.xattrs().len() {
            return Err(self.wrong(entry, "attributes"));
        }
        let data_bytes = match record.content {
            _ if record.flags.has(Flags::NO_CONTENT) || record.meta.kind != Kind::File => return Ok(()),
            Content::None | Content::Children(_) => 0,
            Content::Inline => size,
            Content::One(place) => {
                self.place(entry, place, size)?;
                size
            }
            Content::Many { first, count } => {
                let (mut bytes, mut result) = (0_u64, Ok(()));
                self.catalog.extents(first, count, 0, |extent| {
                    bytes = bytes.saturating_add(extent.len.into());
                    result = if extent.end() > size {
                        Err(self.wrong(entry, "extent: it ends after the file"))
                    } else {
                        self.place(entry, extent.place, extent.len.into())
                    };
                    result.is_ok()
                })?;
                result?;
                bytes
            }
        };
        if data_bytes == record.data_bytes { Ok(()) } else { Err(self.wrong(entry, "number of bytes")) }
    }

    fn place(&self, entry: &Entry, Place { pack, block, offset }: Place, len: u64) -> Result<()> {
        let pack = self.catalog.packs().get(pack as usize).ok_or_else(|| self.wrong(entry, "pack"))?;
        match self.packs.raw_len(&pack.id, block) {
            Some(Some(raw_len)) if u64::from(offset).saturating_add(len) > raw_len.into() => {
                Err(self.wrong(entry, "place: it ends after its block"))
            }
            Some(_) => Ok(()),
            None => Err(self.wrong(entry, "place: there is no such block")),
        }
    }

    /// A version born elsewhere can be found by its birth.
    fn birth(&self, entry: &Entry) -> Result<()> {
        let birth = entry.record().birth;
        if birth.number != self.catalog.point().number && self.catalog.adopted(birth)?.is_none() {
            return Err(self.wrong(entry, "birth: it is not in the table of adopted births"));
        }
        Ok(())
    }

    fn adopted(&self) -> Result<()> {
        let mut before = None;
        self.catalog.scan_adopted(|row| {
            let key = (row.number, row.birth_record);
            let entry = self.catalog.entry(row.record)?;
            let birth = entry.record().birth;
            if before.replace(key).is_some_and(|before| before >= key) || (birth.number.0, birth.record) != key {
                return Err(self.wrong(&entry, "birth: the table of adopted births says otherwise"));
            }
            Ok(())
        })
    }

    fn wrong(&self, entry: &Entry, what: &'static str) -> CatalogError {
        CatalogError::Damaged {
            number: self.catalog.point().number,
            part: format!("record {}", entry.number()),
            source: FormatError::Impossible(what),
        }
    }
}
