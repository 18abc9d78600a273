//! Some of the records of a point: those that a way through it has met, or those that are wanted.
//!
//! Owns one bit for each record of each layer. Refuses to know what becomes of a record. Its invariant: a record is new once, so that a catalog that
//! lists the same children in many directories, and those in many again, is no tree without end.

use super::{Directory, Layer, Node, PointTree};
use crate::bits::Bits;
use crate::catalog::{CatalogError, Result};
use crate::format::FormatError;

/// A set of records of a point.
#[derive(Clone, Debug)]
pub struct Records {
    full: Bits,
    differential: Option<Bits>,
}

impl Records {
    /// None of the records of `tree`.
    #[must_use]
    pub fn none_of(tree: &PointTree) -> Self {
        let bits = |layer| Bits::new(tree.catalog(layer).len());
        let differential = tree.has(Layer::Differential).then(|| bits(Layer::Differential));
        Self { full: bits(Layer::Full), differential }
    }

    /// Takes the record of `node` in; answers whether it is new.
    pub fn add(&mut self, node: &Node) -> bool {
        let bits = match node.layer {
            Layer::Full => Some(&mut self.full),
            Layer::Differential => self.differential.as_mut(),
        };
        bits.is_some_and(|bits| bits.set(node.entry.number()))
    }

    /// The children of a directory of `tree` that is met for the first time.
    ///
    /// # Errors
    /// It was met before, or is no directory, or the catalog is damaged.
    pub fn enter(&mut self, tree: &PointTree, node: &Node) -> Result<Directory> {
        if self.add(node) {
            return tree.directory(node);
        }
        let number = tree.catalog(node.layer).point().number;
        let part = format!("record {}", node.entry.number());
        Err(CatalogError::Damaged { number, part, source: FormatError::Impossible("directory in two places") })
    }

    /// Whether the record of `node` is in.
    #[must_use]
    pub fn has(&self, node: &Node) -> bool {
        let bits = match node.layer {
            Layer::Full => Some(&self.full),
            Layer::Differential => self.differential.as_ref(),
        };
        bits.is_some_and(|bits| bits.has(node.entry.number()))
    }
}
