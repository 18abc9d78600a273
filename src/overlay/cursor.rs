//! The entries of one directory at one point in time: two sorted listings, merged as they are read.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Directory, Layer, Node, PointTree};
use crate::catalog::{ChildCursor, Entry, Result};
use crate::format::record::Status;
use crate::format::table::Children;

/// How far a listing has come: children taken of each layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Taken of the differential's.
    pub own: u32,
    /// Taken of the full's.
    pub base: u32,
}

/// What both layers have under one name; one of them at least.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The differential's record, which may be a whiteout.
    pub own: Option<Entry>,
    /// The full's record.
    pub base: Option<Entry>,
}

impl Pair {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.own.as_ref().or(self.base.as_ref()).map_or(b"", Entry::name)
    }

    /// What the name means at the point in time: nothing where it is whited out.
    #[must_use]
    pub fn seen(&self) -> Option<Node> {
        match (&self.own, &self.base) {
            (Some(own), _) if own.record().status == Status::Deleted => None,
            (Some(own), _) => Some(Node { layer: Layer::Differential, entry: own.clone() }),
            (None, base) => base.clone().map(|entry| Node { layer: Layer::Full, entry }),
        }
    }
}

/// Walks over the entries of a directory in the order of their names.
#[derive(Debug)]
pub struct OverlayCursor {
    own: Side,
    base: Side,
}

#[derive(Debug)]
struct Side {
    cursor: Option<ChildCursor>,
    head: Option<Entry>,
    taken: u32,
}

impl Side {
    fn new(catalog: impl FnOnce() -> Arc<crate::catalog::Catalog>, children: Option<Children>, taken: u32) -> Self {
        let cursor = children.map(|children| {
            let skip = taken.min(children.count);
            let rest = Children { first: children.first + skip, count: children.count - skip };
            ChildCursor::new(catalog(), rest)
        });
        Self { cursor, head: None, taken }
    }

    fn fill(&mut self) -> Result<()> {
        if self.head.is_none()
            && let Some(cursor) = &mut self.cursor
        {
            self.head = cursor.advance()?;
            if self.head.is_none() {
                self.cursor = None;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Entry> {
        let head = self.head.take();
        self.taken += u32::from(head.is_some());
        head
    }
}

impl OverlayCursor {
    pub(super) fn new(tree: &PointTree, directory: Directory, position: Position) -> Self {
        let catalog = |layer| move || Arc::clone(tree.catalog(layer));
        Self {
            own: Side::new(catalog(Layer::Differential), directory.own, position.own),
            base: Side::new(catalog(Layer::Full), directory.base, position.base),
        }
    }

    /// The next name and what each layer has under it, whiteouts included.
    ///
    /// # Errors
    /// Where a catalog is damaged.
    pub fn next_pair(&mut self) -> Result<Option<Pair>> {
        self.own.fill()?;
        self.base.fill()?;
        let order = match (&self.own.head, &self.base.head) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(own), Some(base)) => own.name().cmp(base.name()),
        };
        let own = if order.is_le() { self.own.take() } else { None };
        let base = if order.is_ge() { self.base.take() } else { None };
        Ok(Some(Pair { own, base }))
    }

    /// The next entry that can be seen.
    ///
    /// # Errors
    /// Where a catalog is damaged.
    pub fn next_node(&mut self) -> Result<Option<Node>> {
        while let Some(pair) = self.next_pair()? {
            if let Some(node) = pair.seen() {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// Where the listing stands, for [`PointTree::entries_from`].
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { own: self.own.taken, base: self.base.taken }
    }
}
