//! Packs that the previous point refers to and that are gone or not to be trusted: what lay in them is read from the source again.

use std::collections::{BTreeSet, HashSet};

use super::Result;
use crate::format::layout;
use crate::format::pack::PackId;
use crate::format::record::Content;
use crate::overlay::{Layer, Node, PointTree};
use crate::storage::Storage;

/// The rows of lost packs in the pack tables of the previous point. Empty in a store that nobody has lost anything of.
#[derive(Default)]
pub(super) struct LostPacks {
    rows: HashSet<(Layer, u32)>,
    ids: HashSet<PackId>,
}

impl LostPacks {
    /// Looks for the packs of `previous`; `distrusted` are those in which a check found damage.
    pub(super) fn of(previous: &PointTree, storage: &Storage, distrusted: &BTreeSet<PackId>) -> Result<Self> {
        let mut lost = Self::default();
        for layer in [Layer::Full, Layer::Differential].into_iter().filter(|layer| previous.has(*layer)) {
            for (row, pack) in (0..).zip(previous.catalog(layer).packs()) {
                let is_trusted = !distrusted.contains(&pack.id);
                if !is_trusted || storage.len(&layout::pack(&pack.id))? != Some(pack.file_len) {
                    lost.rows.insert((layer, row));
                    lost.ids.insert(pack.id);
                }
            }
        }
        Ok(lost)
    }

    /// Their names, in order.
    pub(super) fn ids(&self) -> Vec<PackId> {
        let mut ids: Vec<PackId> = self.ids.iter().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Whether any data of `node`, of the previous point or its base, lay in them.
    pub(super) fn held(&self, previous: &PointTree, node: &Node) -> Result<bool> {
        if self.rows.is_empty() {
            return Ok(false);
        }
        let mut held = false;
        match node.entry.record().content {
            Content::One(place) => held = self.rows.contains(&(node.layer, place.pack)),
            Content::Many { first, count } => previous.catalog(node.layer).extents(first, count, 0, |extent| {
                held = self.rows.contains(&(node.layer, extent.place.pack));
                !held
            })?,
            Content::None | Content::Inline | Content::Children(_) => {}
        }
        Ok(held)
    }
}
