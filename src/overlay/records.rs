//! Some of the records of a point: those that a way through it has met, or those that are wanted.
//!
//! Owns one bit for each record of each layer. Refuses to know what becomes of a record. Its invariant: a record is new once, so that a catalog that
//! lists the same children in many directories, and those in many again, is no tree without end.

use super::{Layer, Node, PointTree};
use crate::bits::Bits;

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
