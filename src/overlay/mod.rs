//! One point in time as one tree: a full, or a differential laid over its full when somebody looks.
//!
//! Owns the rule of the overlay: a name means the differential's record if it has one (none at all for a whiteout), else
//! the base's. Refuses to know who asks: backup, mount, restore and verify all look through here. Invariant: nothing is ever
//! materialised; a look-up costs one search in each layer.

mod cursor;
#[cfg(test)]
pub(crate) mod model;
mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use cursor::{OverlayCursor, Pair, Position};
pub use records::Records;

use crate::catalog::{Catalog, CatalogError, Entry, Result};
use crate::format::record::{Content, Status};
use crate::format::table::Children;
use crate::format::{FormatError, Kind, Number, Point, PointKind};

/// Which catalog of a point an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The full.
    Full,
    /// The differential over it.
    Differential,
}

/// One point in time.
#[derive(Clone, Debug)]
pub struct PointTree {
    full: Arc<Catalog>,
    differential: Option<Arc<Catalog>>,
}

/// An entry that can be seen at a point in time, and the layer that it comes from.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the entry stands.
    pub layer: Layer,
    /// The entry.
    pub entry: Entry,
}

impl Node {
    /// Whether it is the same entry of the same layer of the same tree.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.layer == other.layer && self.entry.number() == other.entry.number()
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.entry.record().meta.kind == Kind::Directory
    }
}

/// What a directory shows: children of its own in the differential, over children in the full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Children in the differential.
    pub own: Option<Children>,
    /// Children in the full.
    pub base: Option<Children>,
}

impl PointTree {
    /// The tree of a full.
    ///
    /// # Errors
    /// Where the catalog is a differential.
    pub fn of_full(full: Arc<Catalog>) -> Result<Self> {
        if full.point().is_full() {
            Ok(Self { full, differential: None })
        } else {
            Err(CatalogError::Mismatch { number: full.point().number, what: "it is no full" })
        }
    }

    /// The tree of a differential over its base.
    ///
    /// # Errors
    /// Where `full` is not the base that `differential` names.
    pub fn of_differential(differential: Arc<Catalog>, full: Arc<Catalog>) -> Result<Self> {
        let number = full.point().number;
        match differential.point().kind {
            PointKind::Differential { base, base_id } if base == number && base_id == full.point().id => {}
            _ => return Err(CatalogError::Mismatch { number, what: "the differential stands on another base" }),
        }
        if !full.point().is_full() {
            return Err(CatalogError::Mismatch { number, what: "it is no full" });
        }
        Ok(Self { full, differential: Some(differential) })
    }

    /// The point.
    #[must_use]
    pub fn point(&self) -> &Point {
        self.top().1.point()
    }

    /// The number of the full below.
    #[must_use]
    pub fn base_number(&self) -> Number {
        self.full.point().number
    }

    /// The catalog of a layer.
    ///
    /// # Panics
    /// Where the tree has no such layer: nodes of one tree are asked of that tree.
    #[must_use]
    pub fn catalog(&self, layer: Layer) -> &Arc<Catalog> {
        match layer {
            Layer::Full => &self.full,
            Layer::Differential => self.differential.as_ref().expect("a node of this tree names a layer it has"),
        }
    }

    /// Whether the tree has that layer.
    #[must_use]
    pub const fn has(&self, layer: Layer) -> bool {
        matches!(layer, Layer::Full) || self.differential.is_some()
    }

    fn top(&self) -> (Layer, &Arc<Catalog>) {
        self.differential.as_ref().map_or((Layer::Full, &self.full), |catalog| (Layer::Differential, catalog))
    }

    /// The root directory.
    ///
    /// # Errors
    /// Where a catalog is damaged.
    pub fn root(&self) -> Result<Node> {
        let (layer, catalog) = self.top();
        Ok(Node { layer, entry: catalog.root()? })
    }

    /// The node of record `record` in `layer`.
    ///
    /// # Errors
    /// Where there is none, or a catalog is damaged.
    pub fn node(&self, layer: Layer, record: u32) -> Result<Node> {
        Ok(Node { layer, entry: self.catalog(layer).entry(record)? })
    }

    /// Where the children of a directory stand.
    ///
    /// # Errors
    /// Where the node is no directory, or a catalog is damaged.
    pub fn directory(&self, node: &Node) -> Result<Directory> {
        let own = children(self.catalog(node.layer), &node.entry)?;
        if node.layer == Layer::Full {
            return Ok(Directory { own: None, base: Some(own) });
        }
        let base = match node.entry.record().base {
            Some(base) => Some(children(&self.full, &self.full.entry(base)?)?),
            None => None,
        };
        Ok(Directory { own: Some(own), base })
    }

    /// What `name` means in `directory`.
    ///
    /// # Errors
    /// Where a catalog is damaged.
    pub fn find(&self, directory: Directory, name: &[u8]) -> Result<Option<Node>> {
        if let Some(own) = directory.own
            && let Some(entry) = self.catalog(Layer::Differential).find(own, name)?
        {
            let whiteout = entry.record().status == Status::Deleted;
            return Ok((!whiteout).then_some(Node { layer: Layer::Differential, entry }));
        }
        let Some(base) = directory.base else { return Ok(None) };
        Ok(self.full.find(base, name)?.map(|entry| Node { layer: Layer::Full, entry }))
    }

    /// What a path means, from the root; `/` at either end and doubled is of no account.
    ///
    /// # Errors
    /// Where a catalog is damaged.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<Node>> {
        let mut node = self.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if !node.is_directory() {
                return Ok(None);
            }
            match self.find(self.directory(&node)?, name)? {
                Some(found) => node = found,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// A cursor over the entries of `directory`, from the start.
    #[must_use]
    pub fn entries(&self, directory: Directory) -> OverlayCursor {
        self.entries_from(directory, Position::default())
    }

    /// A cursor over the entries of `directory`, from where another one stood.
    #[must_use]
    pub fn entries_from(&self, directory: Directory, position: Position) -> OverlayCursor {
        OverlayCursor::new(self, directory, position)
    }
}

fn children(catalog: &Catalog, entry: &Entry) -> Result<Children> {
    let damaged = |what| CatalogError::Damaged {
        number: catalog.point().number,
        part: format!("record {}", entry.number()),
        source: FormatError::Impossible(what),
    };
    let Content::Children(row) = entry.record().content else { return Err(damaged("directory")) };
    let children = catalog.children(row)?;
    // Children stand before their directory, always: so no directory can be inside itself.
    if children.first.checked_add(children.count).is_none_or(|end| end > entry.number()) {
        return Err(damaged("children"));
    }
    Ok(children)
}
