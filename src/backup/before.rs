//! What there was before: the entries of the previous point and of the base, read alongside a listing of the source.

use crate::catalog::{Entry, Result};
use crate::format::Kind;
use crate::overlay::{Directory, Node, OverlayCursor, Pair, PointTree};

/// What an entry is compared with.
pub(super) struct Before {
    /// What the previous point shows under the name.
    pub(super) seen: Option<Node>,
    /// What the base has under the name, if a differential is made.
    pub(super) base: Option<Entry>,
}

impl Before {
    /// The base's entry, if it is of this kind: then a listed entry continues it.
    pub(super) fn base_of_kind(&self, kind: Kind) -> Option<&Entry> {
        self.base.as_ref().filter(|base| base.record().meta.kind == kind)
    }
}

/// What the entries of a directory are compared with.
#[derive(Clone, Copy, Default)]
pub(super) struct Ground {
    pub(super) directory: Directory,
    /// The previous point does not show the directory: only the base has it.
    pub(super) is_hidden: bool,
}

/// The previous entries of one directory, read alongside its listing.
pub(super) struct Alongside {
    cursor: Option<OverlayCursor>,
    pub(super) is_hidden: bool,
    pub(super) head: Option<Pair>,
}

impl Alongside {
    pub(super) fn new(tree: Option<&PointTree>, ground: Ground) -> Self {
        Self { cursor: tree.map(|tree| tree.entries(ground.directory)), is_hidden: ground.is_hidden, head: None }
    }

    pub(super) fn peek(&mut self) -> Result<Option<&Pair>> {
        if self.head.is_none()
            && let Some(cursor) = &mut self.cursor
        {
            self.head = cursor.next_pair()?;
            if self.head.is_none() {
                self.cursor = None;
            }
        }
        Ok(self.head.as_ref())
    }
}
