//! The children of one directory of one catalog, in order, a block at a time.

use std::sync::Arc;

use super::reader::{Catalog, Entry};
use super::{CatalogError, Result};
use crate::format::FormatError;
use crate::format::record::RecordBlock;
use crate::format::table::Children;

/// Walks over the children of a directory. Checks that their names rise, so that whatever merges cursors may rely on it.
#[derive(Debug)]
pub struct ChildCursor {
    catalog: Arc<Catalog>,
    next: u32,
    end: u32,
    block: Option<(Arc<RecordBlock>, u32)>,
    before: Option<Entry>,
}

impl ChildCursor {
    /// A cursor before the first of `children`.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, children: Children) -> Self {
        let end = children.first.saturating_add(children.count);
        Self { catalog, next: children.first, end, block: None, before: None }
    }

    /// The next child.
    ///
    /// # Errors
    /// Where the catalog is damaged, or names do not rise.
    pub fn advance(&mut self) -> Result<Option<Entry>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let number = self.next;
        let (block, first) = match &self.block {
            Some((block, first)) if ((number - first) as usize) < block.len() => (block, *first),
            _ => {
                let (block, first) = self.catalog.record_block(number)?;
                let (block, first) = self.block.insert((block, first));
                (&*block, *first)
            }
        };
        let entry = Catalog::entry_in(block, first, number);
        if self.before.as_ref().is_some_and(|before| before.name() >= entry.name()) {
            let number = self.catalog.point().number;
            let part = format!("record {}", entry.number());
            return Err(CatalogError::Damaged { number, part, source: FormatError::Impossible("order of names") });
        }
        self.next += 1;
        self.before = Some(entry.clone());
        Ok(Some(entry))
    }
}
