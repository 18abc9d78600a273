//! Which packs that earlier catalogs refer to are gone: what lies there must be read from the source again.

use crate::catalog::Catalog;
use crate::format::layout;
use crate::format::record::Content;
use crate::overlay::{Layer, Node, PointTree};
use crate::storage::Storage;

/// For each layer of the previous point, which rows of its pack table name packs that are not there, or not in their length.
#[derive(Default)]
pub(super) struct LostPacks {
    layers: [Vec<bool>; 2],
    any: [bool; 2],
}

impl LostPacks {
    /// Looks for the packs of `previous`.
    pub(super) fn of(previous: Option<&PointTree>, storage: &Storage) -> Self {
        let mut lost = Self::default();
        let Some(tree) = previous else { return lost };
        for layer in [Layer::Full, Layer::Differential] {
            if tree.has(layer) {
                // What cannot be asked about is taken for lost: it is read again, and stored if it is really gone.
                let is_lost = |pack: &crate::format::catalog::PackRef| {
                    storage.len(&layout::pack(&pack.id)).ok().flatten() != Some(pack.file_len)
                };
                let rows: Vec<bool> = tree.catalog(layer).packs().iter().map(is_lost).collect();
                lost.any[layer as usize] = rows.contains(&true);
                lost.layers[layer as usize] = rows;
            }
        }
        lost
    }

    /// Whether some of the bytes of `node` lie in a pack that is gone. A damaged catalog is for whoever reads it next to find.
    pub(super) fn touch(&self, catalog: &Catalog, node: &Node) -> bool {
        if !self.any[node.layer as usize] {
            return false;
        }
        let is_lost = |row: u32| self.layers[node.layer as usize].get(row as usize).copied().unwrap_or(true);
        match node.entry.record().content {
            Content::One(place) => is_lost(place.pack),
            Content::Many { first, count } => {
                let mut found = false;
                let read = catalog.extents(first, count, 0, |extent| {
                    found = is_lost(extent.place.pack);
                    !found
                });
                found || read.is_err()
            }
            Content::None | Content::Inline | Content::Children(_) => false,
        }
    }
}
