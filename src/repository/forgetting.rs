//! Which points may be forgotten or brought back, and in which order that is written.
//!
//! Owns that a living differential never loses its full. Plans before it writes: a plan is a list of numbers. Its invariant: however far
//! the writes of a plan get, every differential that is not forgotten stands on a full that is not forgotten either.

use std::collections::BTreeSet;

use crate::format::Number;

use super::{PointNotes, Points, RepositoryError, Store, WriterLock};
use crate::format::{Timestamp, layout};
use crate::index::Index;

/// Why points cannot be forgotten or brought back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// Differentials stand on the full, and they were not asked for.
    #[error("backup {full} is the full of {} that would be lost with it: {}", counted(.differentials.len()), listed(.differentials))]
    HasDifferentials {
        /// The full.
        full: Number,
        /// The living differentials that stand on it and were not named.
        differentials: Vec<Number>,
    },
    /// The point is pinned.
    #[error("backup {0} is pinned")]
    Pinned(Number),
    /// There is no such point, or it is forgotten already.
    #[error("there is no point with the number {0}")]
    NoSuchPoint(Number),
    /// There is no such forgotten point: it was never forgotten, or its space has been reclaimed.
    #[error("no forgotten point has the number {0}")]
    NotForgotten(Number),
    /// The full that a forgotten differential stands on is gone.
    #[error("backup {number} cannot be brought back: its full, backup {base}, is gone")]
    BaseGone {
        /// The differential.
        number: Number,
        /// Its full.
        base: Number,
    },
}

fn counted(differentials: usize) -> String {
    if differentials == 1 { "a differential".to_owned() } else { format!("{differentials} differentials") }
}

fn listed(numbers: &[Number]) -> String {
    numbers.iter().map(Number::to_string).collect::<Vec<_>>().join(", ")
}

/// The points to be forgotten, in the order in which that is written: differentials first.
///
/// # Errors
/// A number names no living point, a point is pinned, or a full has living differentials that are neither `wanted` nor to go `with_differentials`.
pub fn forget(
    points: &Points,
    wanted: &BTreeSet<Number>,
    with_differentials: bool,
) -> Result<Vec<Number>, ForgetError> {
    for number in wanted {
        if points.get(*number).is_none() && !points.unreadable.contains(number) {
            return Err(ForgetError::NoSuchPoint(*number));
        }
    }
    let mut all = wanted.clone();
    for full in wanted {
        let on_it = points.points.iter().filter(|point| point.kind.base() == Some(*full)).map(|point| point.number);
        let left: Vec<Number> = on_it.filter(|number| !wanted.contains(number)).collect();
        if !left.is_empty() && !with_differentials {
            return Err(ForgetError::HasDifferentials { full: *full, differentials: left });
        }
        all.extend(left);
    }
    if let Some(pinned) = all.iter().find(|number| points.notes_of(**number).pinned) {
        return Err(ForgetError::Pinned(*pinned));
    }
    // What cannot be read may be a full.
    let is_differential = |number: &Number| points.get(*number).is_some_and(|point| !point.is_full());
    let (mut order, fulls): (Vec<_>, Vec<_>) = all.into_iter().partition(is_differential);
    order.extend(fulls);
    Ok(order)
}

/// The points to be brought back, in the order in which that is written: fulls first, and with each differential its full.
///
/// # Errors
/// A number names no forgotten point, or the full of a differential is gone.
pub fn unforget(points: &Points, wanted: &BTreeSet<Number>) -> Result<Vec<Number>, ForgetError> {
    let forgotten = |number: Number| points.forgotten.iter().find(|point| point.number == number);
    let mut all = wanted.clone();
    for number in wanted {
        let point = forgotten(*number).ok_or(ForgetError::NotForgotten(*number))?;
        if let Some(base) = point.kind.base().filter(|base| points.get(*base).is_none()) {
            forgotten(base).ok_or(ForgetError::BaseGone { number: *number, base })?;
            all.insert(base);
        }
    }
    let is_full = |number: &Number| forgotten(*number).is_some_and(crate::format::Point::is_full);
    let (mut order, differentials): (Vec<_>, Vec<_>) = all.into_iter().partition(is_full);
    order.extend(differentials);
    Ok(order)
}

/// Notes in this order that the points were forgotten at `when`, or, with `None`, that they are not. What else is noted of them stays.
///
/// A disk that is full is when people forget points. So where there is no room for a note, the index goes: the next backup makes it anew. Answers whether it went.
///
/// # Errors
/// What is noted of a point cannot be read or written; the points before it are done.
pub fn write(
    store: &Store,
    lock: &WriterLock,
    order: &[Number],
    when: Option<Timestamp>,
) -> Result<bool, RepositoryError> {
    let mut made_room = false;
    for number in order {
        let mut notes = PointNotes::read(store.storage(), *number)?;
        notes.forgotten = when;
        match notes.write(store, lock, *number) {
            Err(RepositoryError::Storage(error)) if error.is_full() && !made_room => {
                // Nobody has it open: that takes the writer lock. Where it cannot go, the disk is as full as before.
                made_room = Index::set_aside(&store.path().join(layout::INDEX)).is_ok();
                notes.write(store, lock, *number)?;
            }
            done => done?,
        }
    }
    Ok(made_room)
}

/// Notes of a point that retention must keep it, or need not; answers whether that was otherwise before.
///
/// # Errors
/// What is noted of the point cannot be read or written.
pub fn pin(store: &Store, lock: &WriterLock, number: Number, pinned: bool) -> Result<bool, RepositoryError> {
    let mut notes = PointNotes::read(store.storage(), number)?;
    let is_new = std::mem::replace(&mut notes.pinned, pinned) != pinned;
    if is_new {
        notes.write(store, lock, number)?;
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Point;
    use crate::overlay::model::{Item, ModelStore};

    /// Fulls 1 and 4; 2 and 3 stand on 1, 5 on 4.
    fn store() -> ModelStore {
        let tree = Item::dir([("a", Item::file("one"))]);
        let mut made = ModelStore::new();
        for base in [None, Some(1), Some(1), None, Some(4)] {
            match base {
                None => made.full(&tree),
                Some(base) => made.differential(Number(base), &tree),
            };
        }
        made
    }

    fn numbers(of: impl IntoIterator<Item = u32>) -> BTreeSet<Number> {
        of.into_iter().map(Number).collect()
    }

    fn shown(made: &ModelStore) -> (Vec<u32>, Vec<u32>) {
        let points = made.reader().points().unwrap();
        let of = |points: &[Point]| points.iter().map(|point| point.number.0).collect();
        (of(&points.points), of(&points.forgotten))
    }

    fn plan(made: &ModelStore, wanted: &[u32], with: bool) -> Result<Vec<u32>, ForgetError> {
        let points = made.reader().points().unwrap();
        forget(&points, &numbers(wanted.iter().copied()), with).map(|order| order.iter().map(|n| n.0).collect())
    }

    #[test]
    fn a_full_goes_only_with_all_its_differentials() {
        let made = store();
        let refused = plan(&made, &[1, 3], false).unwrap_err();
        assert_eq!(refused, ForgetError::HasDifferentials { full: Number(1), differentials: vec![Number(2)] });
        assert_eq!(refused.to_string(), "backup 1 is the full of a differential that would be lost with it: 2");
        assert_eq!(plan(&made, &[1, 2, 3], false).unwrap(), [2, 3, 1]);
        assert_eq!(plan(&made, &[4, 1], true).unwrap(), [2, 3, 5, 1, 4]);
        assert_eq!(plan(&made, &[3], false).unwrap(), [3]);
        assert_eq!(plan(&made, &[6], true).unwrap_err(), ForgetError::NoSuchPoint(Number(6)));
    }

    #[test]
    fn a_pinned_point_is_not_forgotten_not_even_with_its_full() {
        let made = store();
        std::fs::write(made.path().join("points/00000003.toml"), "pinned = true\n").unwrap();
        assert_eq!(plan(&made, &[1], true).unwrap_err(), ForgetError::Pinned(Number(3)));
        assert_eq!(plan(&made, &[2], true).unwrap(), [2]);
    }

    #[test]
    fn forgotten_points_are_listed_apart_and_come_back_with_their_full() {
        let made = store();
        let store = Store::open(&made.path()).unwrap();
        let lock = WriterLock::take(&store, crate::storage::Wait::Never).unwrap();
        std::fs::write(made.path().join("points/00000002.toml"), "tags = [\"kept\"]\n").unwrap();
        let order = [2, 3, 1].map(Number);
        write(&store, &lock, &order, Some(Timestamp::new(7, 0))).unwrap();
        assert_eq!(shown(&made), (vec![4, 5], vec![1, 2, 3]));
        assert_eq!(plan(&made, &[2], false).unwrap_err(), ForgetError::NoSuchPoint(Number(2)));
        let points = made.reader().points().unwrap();
        let back = unforget(&points, &numbers([2])).unwrap();
        assert_eq!(back, [1, 2].map(Number));
        assert_eq!(unforget(&points, &numbers([4])).unwrap_err(), ForgetError::NotForgotten(Number(4)));
        write(&store, &lock, &back, None).unwrap();
        assert_eq!(shown(&made), (vec![1, 2, 4, 5], vec![3]));
        assert!(made.reader().points().unwrap().notes_of(Number(2)).tags.iter().any(|tag| tag.to_string() == "kept"));
        std::fs::remove_file(made.path().join("catalogs/00000001.catalog")).unwrap();
        let points = made.reader().points().unwrap();
        let gone = unforget(&points, &numbers([3])).unwrap_err();
        assert_eq!(gone, ForgetError::BaseGone { number: Number(3), base: Number(1) });
    }

    #[test]
    fn what_cannot_be_read_can_be_forgotten_by_its_number() {
        let made = store();
        std::fs::write(made.path().join("catalogs/00000005.catalog"), "rubbish").unwrap();
        assert_eq!(plan(&made, &[5], false).unwrap(), [5]);
        // What stood on it can be read, and says so.
        std::fs::write(made.path().join("catalogs/00000001.catalog"), "rubbish").unwrap();
        assert!(matches!(plan(&made, &[1], false), Err(ForgetError::HasDifferentials { .. })));
        assert_eq!(plan(&made, &[1], true).unwrap(), [2, 3, 1]);
    }
}
