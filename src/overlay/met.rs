//! The records that a way through a tree has met.
//!
//! Owns one bit for each record of each layer. Refuses to know what becomes of a record. Its invariant: a record is new once, so that a catalog that
//! lists the same children in many directories, and those in many again, is no tree without end.

use super::{Layer, Node, PointTree};
use crate::bits::Bits;

/// Which records were met.
pub(crate) struct Met {
    full: Bits,
    differential: Option<Bits>,
}

impl Met {
    /// None of the records of `tree`.
    pub(crate) fn none_of(tree: &PointTree) -> Self {
        let bits = |layer| Bits::new(tree.catalog(layer).len());
        let differential = tree.has(Layer::Differential).then(|| bits(Layer::Differential));
        Self { full: bits(Layer::Full), differential }
    }

    /// Takes a record in; answers whether it is new.
    pub(crate) fn is_new(&mut self, node: &Node) -> bool {
        let bits = match node.layer {
            Layer::Full => Some(&mut self.full),
            Layer::Differential => self.differential.as_mut(),
        };
        bits.is_some_and(|bits| bits.set(node.entry.number()))
    }
}
