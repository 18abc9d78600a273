//! The packs that a new catalog refers to, in the order of its pack table. Some are being written and have no name yet.

use std::collections::HashMap;

use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::index::PackOf;

/// The pack table of a catalog under construction.
#[derive(Default)]
pub(super) struct PackTable {
    rows: Vec<PackOf>,
    stored: HashMap<PackId, u32>,
    session: Vec<Option<u32>>,
}

impl PackTable {
    /// The row of a pack; a new one where it has none yet.
    pub(super) fn row(&mut self, pack: PackOf) -> u32 {
        let next = u32::try_from(self.rows.len()).expect("fewer than 2^32 packs");
        let row = match pack {
            PackOf::Stored(stored) => *self.stored.entry(stored.id).or_insert(next),
            PackOf::Session(ordinal) => {
                let ordinal = ordinal as usize;
                if self.session.len() <= ordinal {
                    self.session.resize(ordinal + 1, None);
                }
                *self.session[ordinal].get_or_insert(next)
            }
        };
        if row == next {
            self.rows.push(pack);
        }
        row
    }

    /// The pack of a row.
    pub(super) fn get(&self, row: u32) -> Option<PackOf> {
        self.rows.get(row as usize).copied()
    }

    /// The table with every pack's name; `named` gives those of the session.
    pub(super) fn finish(self, named: &HashMap<u32, PackRef>) -> Vec<PackRef> {
        let name = |pack: PackOf| match pack {
            PackOf::Stored(stored) => stored,
            PackOf::Session(ordinal) => *named.get(&ordinal).expect("every pack of the session is durable by now"),
        };
        self.rows.into_iter().map(name).collect()
    }
}
