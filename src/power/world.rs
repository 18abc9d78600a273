//! What can be seen of a store from outside, as plain data.
//!
//! Owns looking. Refuses to judge. Its invariant: what is in it was read just now, with the readers that everybody has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::look::{self, Shown};
use super::script::{CACHE, SOURCE, say};
use crate::format::{Number, Timestamp, layout};
use crate::pack;
use crate::repository::marks::Marks;
use crate::repository::{Reader, SourceName, SourceNotes, Store, Tag};

/// What can be seen of a store.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) points: BTreeMap<Number, Seen>,
    /// The highest number that was ever given.
    pub(super) highest: u32,
    /// The packs that are there.
    pub(super) packs: BTreeSet<String>,
    /// Of which points anything is noted, and whether it is that they were forgotten.
    pub(super) noted: BTreeMap<Number, bool>,
    /// The last success, as is noted of the source.
    pub(super) success: Option<(Option<Timestamp>, Option<Number>)>,
    /// Whether there is a store, and it opens.
    pub(super) exists: bool,
    /// The description, and its copy.
    pub(super) texts: [Option<Vec<u8>>; 2],
    /// Points that are marked as damaged.
    pub(super) marked: BTreeSet<Number>,
    /// Points whose catalogs cannot be read or were set aside.
    pub(super) lost: BTreeSet<Number>,
    /// What could not be read, a line each.
    pub(super) problems: Vec<String>,
}

/// What can be seen of a point.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) tree: Arc<Shown>,
    pub(super) tags: BTreeSet<Tag>,
    pub(super) is_forgotten: bool,
}

impl World {
    /// Looks at a living store, with everything in it; what cannot be read is an error.
    pub(super) fn look(path: &Path) -> Result<Self, String> {
        let world = Self::of_damaged(path);
        world.problems.first().map_or(Ok(()), |problem| Err(problem.clone()))?;
        Ok(world)
    }

    /// Looks at what can be seen of a store.
    pub(super) fn of_damaged(path: &Path) -> Self {
        let texts = [layout::STORE_TOML, layout::STORE_COPY].map(|name| fs::read(path.join(name)).ok());
        let mut world = Self { texts, ..Self::default() };
        if path.join(layout::STORE_TOML).exists()
            && let Err(problem) = world.see(path)
        {
            world.problems.push(problem);
        }
        world
    }

    fn see(&mut self, path: &Path) -> Result<(), String> {
        let store = Store::open(path).map_err(say)?;
        self.exists = true;
        let reader = Reader::open(store.clone(), CACHE).map_err(say)?;
        let points = reader.points().map_err(say)?;
        self.problems.extend(points.problems.iter().map(|problem| format!("the listing says: {problem}")));
        self.problems.extend(points.unreadable.iter().map(|number| format!("backup {number} cannot be read")));
        let living = points.points.iter().map(|point| (point, false));
        for (point, is_forgotten) in living.chain(points.forgotten.iter().map(|point| (point, true))) {
            let mut wrong = |error: String| self.problems.push(format!("backup {}: {error}", point.number));
            let tree = match reader.tree(point) {
                Ok(tree) => look::point(&reader, &tree, &mut wrong),
                Err(error) => {
                    wrong(error.to_string());
                    Shown::new()
                }
            };
            let tags = points.notes_of(point.number).tags;
            self.points.insert(point.number, Seen { tree: Arc::new(tree), tags, is_forgotten });
        }
        self.packs = pack::list(store.storage()).map_err(say)?.iter().map(|pack| pack.id.to_string()).collect();
        self.noted = points.notes.iter().map(|(number, notes)| (*number, notes.forgotten.is_some())).collect();
        let marked = points.notes.iter().filter(|(_, notes)| !notes.damaged.is_empty());
        self.marked = marked.map(|(number, _)| *number).collect();
        self.lost = points.unreadable;
        let name = SourceName::new(SOURCE).expect("it is a name");
        match SourceNotes::read(store.storage(), &name) {
            Ok(notes) => self.success = notes.map(|notes| (notes.last_success, notes.last_point)),
            Err(error) => self.problems.push(say(error)),
        }
        self.highest = Marks::read(store.storage()).map_err(say)?.highest;
        Ok(())
    }
}
