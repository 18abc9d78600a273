//! The directories above the points: which sources there are, which points, which tags.
//!
//! A snapshot: made by a listing of the store, asked by many threads, replaced whole when the store has changed.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;
use crate::format::{Number, Point, Timestamp};
use crate::repository::{Points, SourceName, when};

/// The sources of a store and their points.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    sources: Vec<Source>,
    by_name: BTreeMap<String, u32>,
    points: BTreeMap<Number, Point>,
    /// Those of the points that another mount shows.
    grafted: BTreeSet<Number>,
    /// Those that are listed nowhere and read only by who is inside already.
    leaving: BTreeSet<Number>,
    changed: Timestamp,
}

/// How a point stands in the directory of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// With all that it holds.
    Here,
    /// As a stub, covered by another mount.
    Grafted,
    /// Not yet: nothing leads to it.
    Hidden,
}

/// A source and what stands in its directory.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) name: String,
    /// Points by the names of their directories, which sort as their times do.
    pub(super) times: BTreeMap<String, Number>,
    pub(super) tags: BTreeMap<String, Number>,
    pub(super) latest: Option<Number>,
    /// When what stands in the directory last changed. The kernel keeps listings until it does.
    pub(super) changed: Timestamp,
}

impl Source {
    /// Whether the directories of both list the same.
    fn shows_as(&self, other: &Self) -> bool {
        (&self.times, &self.tags, self.latest) == (&other.times, &other.tags, other.latest)
    }
}

impl Shelf {
    /// Shelves `points`, each as `stand` says; those that are forgotten, or that have `departed` from the store, so that only who is inside reads on. Sources keep the places that they have in `before`: a place is part of a node's number.
    pub(super) fn new(
        points: &Points,
        departed: impl IntoIterator<Item = Point>,
        before: &Self,
        stand: impl Fn(&Point) -> Stand,
    ) -> Self {
        let mut shelf = Self { by_name: before.by_name.clone(), ..Self::default() };
        shelf.sources =
            before.sources.iter().map(|old| Source { name: old.name.clone(), ..Source::default() }).collect();
        let mut taken = BTreeSet::new();
        for point in &points.points {
            // A catalog may say anything; what could not be a directory is not shown.
            if SourceName::new(&point.source.name).is_err() {
                tracing::error!("backup {} is not shown: its source has an impossible name", point.number);
                continue;
            }
            let place = shelf.take_place(&point.source.name);
            let source = &mut shelf.sources[place as usize];
            let time = when::format_point_time(point.time);
            // One that is hidden has its name already.
            if !taken.insert((place, time.clone())) {
                tracing::error!("backup {} is not shown: another of its source has the same time", point.number);
                continue;
            }
            match stand(point) {
                Stand::Here => {}
                Stand::Grafted => _ = shelf.grafted.insert(point.number),
                Stand::Hidden => continue,
            }
            source.times.insert(time, point.number);
            let newest = source.latest.and_then(|number| shelf.points.get(&number)).map(|newest| newest.time);
            if newest.is_none_or(|newest| newest < point.time) {
                source.latest = Some(point.number);
            }
            if let Some(notes) = points.notes.get(&point.number) {
                // In the order of numbers: where two hold a tag, the higher has it.
                source.tags.extend(notes.tags.iter().map(|tag| (tag.to_string(), point.number)));
            }
            shelf.points.insert(point.number, point.clone());
        }
        for point in points.forgotten.iter().cloned().chain(departed) {
            if before.is_grafted(point.number) {
                shelf.grafted.insert(point.number);
            }
            shelf.leaving.insert(point.number);
            shelf.points.insert(point.number, point);
        }
        shelf.date(before);
        shelf
    }

    /// Dates the directories: as the newest of their points at first, and by the clock whenever a listing is another than `before`.
    fn date(&mut self, before: &Self) {
        let now = Timestamp::now();
        for (at, source) in self.sources.iter_mut().enumerate() {
            let made = source.times.values().filter_map(|number| self.points.get(number)).map(|point| point.finished);
            source.changed = match before.sources.get(at) {
                None => made.max().unwrap_or_default(),
                Some(old) if old.shows_as(source) => old.changed,
                Some(old) => now.max(old.changed.plus_nano()),
            };
        }
        let is_first = before.sources.is_empty();
        let names = |shelf: &Self| shelf.sources().map(|(place, _)| place).collect::<Vec<_>>();
        self.changed = if is_first {
            self.sources.iter().map(|source| source.changed).max().unwrap_or_default()
        } else if names(self) == names(before) {
            before.changed
        } else {
            now.max(before.changed.plus_nano())
        };
    }

    /// When what stands in the root last changed.
    pub(super) const fn changed(&self) -> Timestamp {
        self.changed
    }

    /// The directories above the points that list something else than in `before`, whose successor this is.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<Node> {
        let is_changed =
            |at: usize, source: &Source| before.sources.get(at).is_none_or(|old| old.changed < source.changed);
        let places = (0..).zip(self.sources.iter().enumerate());
        let changed = places.filter(|(_, (at, source))| is_changed(*at, source)).map(|(place, _)| place);
        let mut nodes: Vec<Node> = changed.flat_map(|place| [Node::Source(place), Node::Tags(place)]).collect();
        nodes.extend((before.changed < self.changed).then_some(Node::Root));
        nodes
    }

    fn take_place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.place(name) {
            return place;
        }
        let place = u32::try_from(self.sources.len()).expect("fewer than 2^32 sources");
        self.sources.push(Source { name: name.to_owned(), ..Source::default() });
        self.by_name.insert(name.to_owned(), place);
        place
    }

    /// The place of a source, whether any of its points is shown or not.
    pub(super) fn place(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The place of a source that has points.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        let place = self.place(std::str::from_utf8(name).ok()?)?;
        self.source(place).map(|_| place)
    }

    /// The source in a place, if it has points.
    pub(super) fn source(&self, place: u32) -> Option<&Source> {
        self.sources.get(place as usize).filter(|source| !source.times.is_empty())
    }

    /// All sources that have points, with their places.
    pub(super) fn sources(&self) -> impl Iterator<Item = (u32, &Source)> {
        (0..).zip(&self.sources).filter(|(_, source)| !source.times.is_empty())
    }

    /// The point of that number.
    pub(super) fn point(&self, number: Number) -> Option<&Point> {
        self.points.get(&number)
    }

    /// Whether another mount shows the point of that number.
    pub(super) fn is_grafted(&self, number: Number) -> bool {
        self.grafted.contains(&number)
    }

    /// All points that are not leaving, by number.
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.values().filter(|point| !self.leaving.contains(&point.number))
    }

    /// All points, those that are leaving included, by number.
    pub(super) fn all(&self) -> impl Iterator<Item = &Point> {
        self.points.values()
    }

    /// The names of points that this shelf lists and `after` does not, with the places of their sources. What is grafted is left out.
    pub(super) fn names_gone(&self, after: &Self) -> Vec<(u32, String)> {
        let is_gone = |place: u32, name: &String| {
            after.sources.get(place as usize).is_none_or(|source| !source.times.contains_key(name))
        };
        let names = self.sources().flat_map(|(place, source)| source.times.iter().map(move |named| (place, named)));
        names
            .filter(|(place, (name, number))| !self.is_grafted(**number) && is_gone(*place, name))
            .map(|(place, (name, _))| (place, name.clone()))
            .collect()
    }

    /// The numbers of all points, those that are leaving included.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> {
        self.points.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::model::{Item, ModelStore};

    /// Three points of one source, those in `forgotten` noted as such.
    fn listed(forgotten: &[u32]) -> (ModelStore, Points) {
        let mut made = ModelStore::new();
        for _ in 0..3 {
            made.full(&Item::dir([("a", Item::file("one"))]));
        }
        for number in forgotten {
            let note = "[forgotten]\nsecs = 1\nnanos = 0\n";
            std::fs::write(made.path().join(format!("points/{number:08}.toml")), note).unwrap();
        }
        let points = made.reader().points().unwrap();
        (made, points)
    }

    fn here(points: &Points, departed: Vec<Point>, before: &Shelf) -> Shelf {
        Shelf::new(points, departed, before, |_| Stand::Here)
    }

    fn numbers<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<u32> {
        points.map(|point| point.number.0).collect()
    }

    #[test]
    fn a_forgotten_point_has_no_name_and_is_still_found_by_number() {
        let (_, points) = listed(&[]);
        let before = here(&points, Vec::new(), &Shelf::default());
        let (_, points) = listed(&[2]);
        let after = here(&points, Vec::new(), &before);
        assert_eq!((numbers(after.points()), numbers(after.all())), (vec![1, 3], vec![1, 2, 3]));
        assert_eq!(after.source(0).unwrap().times.len(), 2);
        let time = when::format_point_time(after.point(Number(2)).unwrap().time);
        assert_eq!(before.names_gone(&after), [(0, time)]);
        assert!(after.names_gone(&before).is_empty());
        assert_eq!(after.changed_since(&before), [Node::Source(0), Node::Tags(0)]);
    }

    #[test]
    fn a_departed_point_stays_until_it_is_dropped_and_is_never_the_latest() {
        let (_, all) = listed(&[]);
        let before = here(&all, Vec::new(), &Shelf::default());
        let (made, _) = listed(&[]);
        std::fs::remove_file(made.path().join("catalogs/00000003.catalog")).unwrap();
        let points = made.reader().points().unwrap();
        let after = here(&points, vec![all.points[2].clone()], &before);
        assert_eq!((numbers(after.points()), numbers(after.all())), (vec![1, 2], vec![1, 2, 3]));
        assert_eq!(after.source(0).unwrap().latest, Some(Number(2)));
        let dropped = here(&points, Vec::new(), &after);
        assert!(dropped.point(Number(3)).is_none());
        assert!(dropped.changed_since(&after).is_empty(), "nothing that is listed has changed");
    }

    #[test]
    fn what_was_attached_stays_apart_while_it_leaves_and_its_name_is_not_dropped_again() {
        let (_, points) = listed(&[]);
        let before = Shelf::new(&points, [], &Shelf::default(), |point| match point.number {
            Number(2) => Stand::Grafted,
            _ => Stand::Here,
        });
        let (_, points) = listed(&[2]);
        let after = here(&points, Vec::new(), &before);
        assert!(after.is_grafted(Number(2)));
        assert!(before.names_gone(&after).is_empty());
        let (_, points) = listed(&[]);
        assert!(!here(&points, Vec::new(), &after).is_grafted(Number(2)));
    }
}
