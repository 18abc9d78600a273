//! A catalog again, with the same records under the same numbers, at other places.
//!
//! Owns the way of places through [`Moves`]. Refuses to change anything else. Invariant: the revision takes the place of the catalog in one step, and lists
//! only packs that it needs.

use std::collections::HashMap;
use std::sync::Arc;

use super::moves::Moves;
use super::usage::CATALOG_BYTES;
use crate::cache::ByteCache;
use crate::catalog::{Catalog, CatalogError, CatalogWriter};
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::record::{Content, NewRecord, Place};
use crate::format::table::Extent;
use crate::format::{FormatError, Number};
use crate::storage::Storage;

/// Which bytes may stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Those of packs that were not copied.
    InOtherPacks,
    /// Those that could not be copied, too: they are lost, and reading them is an error.
    WhereLost,
}

/// Puts a revision of catalog `number` in its place; answers the bytes of its file.
///
/// # Errors
/// Where the catalog cannot be read, or the revision cannot be written: then the catalog is as before.
pub fn revise(storage: &Storage, number: Number, moves: &Moves, stay: Stay, level: i32) -> Result<u64, CatalogError> {
    let catalog = Catalog::open(storage, number, Arc::new(ByteCache::new(CATALOG_BYTES)))?;
    let mut packs = Packs { old: catalog.packs(), moves, stay, new: Vec::new(), rows: HashMap::new() };
    let mut writer = CatalogWriter::create(storage, number, catalog.point().id, level)?;
    for row in 0..catalog.directory_rows() {
        writer.push_directory(catalog.children(row)?)?;
    }
    catalog.scan_extents(|extent| {
        let place = packs.place(number, extent.place, extent.len)?;
        writer.push_extents(&[Extent { place, ..*extent }]).map(drop)
    })?;
    catalog.scan(|entry| {
        let mut record = *entry.record();
        if let Content::One(place) = record.content {
            let len = u32::try_from(record.meta.size).unwrap_or(u32::MAX);
            record.content = Content::One(packs.place(number, place, len)?);
        }
        let new = NewRecord { record, name: entry.name(), inline: entry.inline(), xattrs: entry.xattrs() };
        writer.push(&new).map(drop)
    })?;
    let packs = packs.new;
    writer.finish_revision(catalog.point(), packs)
}

struct Packs<'a> {
    old: &'a [PackRef],
    moves: &'a Moves,
    stay: Stay,
    new: Vec<PackRef>,
    rows: HashMap<PackId, u32>,
}

impl Packs<'_> {
    /// Where the bytes lie now, in rows of the new list.
    fn place(&mut self, number: Number, place: Place, len: u32) -> Result<Place, CatalogError> {
        let damaged =
            |what| CatalogError::Damaged { number, part: "places".to_owned(), source: FormatError::Impossible(what) };
        let old = *self.old.get(place.pack as usize).ok_or_else(|| damaged("pack"))?;
        let (pack, place) = match self.moves.find(&old.id, place, len) {
            Some(found) => found,
            // What was needed was copied: the catalog is not the one that was scanned.
            None if self.stay == Stay::InOtherPacks && self.moves.has(&old.id) => return Err(damaged("place")),
            None => (old, place),
        };
        let row = *self.rows.entry(pack.id).or_insert_with(|| {
            self.new.push(pack);
            u32::try_from(self.new.len() - 1).expect("fewer than 2^32 packs")
        });
        Ok(Place { pack: row, ..place })
    }
}
