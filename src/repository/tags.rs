//! Which point a tag stands at, and what must be written to put it at another.
//!
//! Owns that a tag is unique within its source. Refuses to write: it makes a plan. Its invariant: however far the
//! writes of a plan get, the tag stands at one point; where two hold it, the one with the higher number has it.

use crate::format::{Number, Point};

use super::{PointNotes, Tag, notes::Notes, when};

/// What to do when the tag stands at another point of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// Refuse.
    Forbidden,
    /// Take it away there.
    Allowed,
}

/// What must be written, in this order: the new place first, so that the tag is never lost. Empty where all is as it
/// should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagPlan {
    /// For each point its notes as they must become.
    pub writes: Vec<(Number, PointNotes)>,
    /// The point that has the tag now and loses it.
    pub moved_from: Option<Number>,
}

/// Why a tag cannot be put at a point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// It stands at another point of the same source.
    #[error("the tag {tag} stands at {source_name}/{time} (number {holder}) already; --move-tag moves it")]
    Elsewhere {
        /// The tag.
        tag: Tag,
        /// The source of both points.
        source_name: String,
        /// The point that has it.
        holder: Number,
        /// The time that names that point.
        time: String,
    },
    /// There is no such point.
    #[error("there is no point with the number {0}")]
    NoSuchPoint(Number),
}

/// Whether a point has been forgotten.
#[must_use]
pub fn is_forgotten(notes: &Notes, number: Number) -> bool {
    notes.get(&number).is_some_and(|notes| notes.forgotten.is_some())
}

/// The point of the source named `source_name` at which `tag` stands. Points that have been forgotten hold no tags.
#[must_use]
pub fn holder<'a>(points: &'a [Point], notes: &Notes, source_name: &str, tag: &Tag) -> Option<&'a Point> {
    let holds = |point: &&Point| notes.get(&point.number).is_some_and(|notes| notes.tags.contains(tag));
    points
        .iter()
        .filter(|point| point.source.name == source_name && !is_forgotten(notes, point.number))
        .filter(holds)
        .max_by_key(|point| point.number)
}

/// Plans what must be written so that `tag` stands at `number` and at no other point of its source.
///
/// # Errors
/// There is no such point, or the tag stands elsewhere and must not be moved.
pub fn assign(points: &[Point], notes: &Notes, number: Number, tag: &Tag, moving: Moving) -> Result<TagPlan, TagError> {
    let target = points.iter().find(|point| point.number == number).ok_or(TagError::NoSuchPoint(number))?;
    let holder = holder(points, notes, &target.source.name, tag).filter(|holder| holder.number != number);
    if let (Some(holder), Moving::Forbidden) = (holder, moving) {
        return Err(TagError::Elsewhere {
            tag: tag.clone(),
            source_name: target.source.name.clone(),
            holder: holder.number,
            time: when::format_point_time(holder.time),
        });
    }
    let mut plan = TagPlan { writes: Vec::new(), moved_from: holder.map(|holder| holder.number) };
    let mut here = notes.get(&number).cloned().unwrap_or_default();
    if here.tags.insert(tag.clone()) {
        plan.writes.push((number, here));
    }
    // All others, not only the one that counts: what an interrupted move or a forgotten point left goes too.
    for point in points.iter().filter(|point| point.source.name == target.source.name && point.number != number) {
        if let Some(notes) = notes.get(&point.number).filter(|notes| notes.tags.contains(tag)) {
            let mut without = notes.clone();
            without.tags.remove(tag);
            plan.writes.push((point.number, without));
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format::Timestamp, repository::address::tests::point};

    fn tag() -> Tag {
        Tag::new("deploy").unwrap()
    }

    fn tagged(numbers: &[u32]) -> Notes {
        let notes = PointNotes { tags: [tag()].into(), ..PointNotes::default() };
        numbers.iter().map(|number| (Number(*number), notes.clone())).collect()
    }

    fn points() -> Vec<Point> {
        vec![point(1, "www", 100), point(2, "db", 200), point(3, "www", 300), point(4, "www", 400)]
    }

    fn stands_at(notes: &Notes) -> Option<u32> {
        holder(&points(), notes, "www", &tag()).map(|point| point.number.0)
    }

    #[test]
    fn new_tag_is_one_write() {
        let plan = assign(&points(), &Notes::new(), Number(3), &tag(), Moving::Forbidden).unwrap();
        assert_eq!(plan.writes, tagged(&[3]).into_iter().collect::<Vec<_>>());
        assert_eq!(plan.moved_from, None);
    }

    #[test]
    fn tag_that_stands_there_needs_no_write() {
        assert_eq!(assign(&points(), &tagged(&[3]), Number(3), &tag(), Moving::Forbidden).unwrap(), TagPlan::default());
    }

    #[test]
    fn tag_of_another_source_is_another_tag() {
        let plan = assign(&points(), &tagged(&[2]), Number(3), &tag(), Moving::Forbidden).unwrap();
        assert_eq!(plan.writes.len(), 1);
    }

    #[test]
    fn tag_that_stands_elsewhere_is_refused_and_the_error_says_where() {
        let error = assign(&points(), &tagged(&[1]), Number(3), &tag(), Moving::Forbidden).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the tag deploy stands at www/1970-01-01T00-01-40Z (number 1) already; --move-tag moves it"
        );
        assert_eq!(
            assign(&points(), &tagged(&[]), Number(9), &tag(), Moving::Allowed),
            Err(TagError::NoSuchPoint(Number(9)))
        );
    }

    #[test]
    fn tag_stands_at_one_point_after_every_write_of_a_move() {
        for (from, to) in [(1, 4), (4, 1), (3, 4), (4, 3)] {
            let mut notes = tagged(&[from]);
            let plan = assign(&points(), &notes, Number(to), &tag(), Moving::Allowed).unwrap();
            assert_eq!(plan.moved_from, Some(Number(from)));
            let mut seen = Vec::new();
            for (number, write) in plan.writes {
                notes.insert(number, write);
                seen.push(stands_at(&notes).expect("never lost"));
            }
            assert!(seen.iter().all(|at| [from, to].contains(at)), "{seen:?}");
            assert_eq!(seen.last(), Some(&to));
            assert_eq!(notes.values().filter(|notes| notes.tags.contains(&tag())).count(), 1);
        }
    }

    #[test]
    fn interrupted_move_is_completed_by_the_next() {
        // Moved from 4 to 3, and cut off in between: the tag still counts as standing at 4.
        let notes = tagged(&[3, 4]);
        assert_eq!(stands_at(&notes), Some(4));
        assert!(assign(&points(), &notes, Number(3), &tag(), Moving::Forbidden).is_err());
        let plan = assign(&points(), &notes, Number(3), &tag(), Moving::Allowed).unwrap();
        assert_eq!(plan.writes, [(Number(4), PointNotes::default())]);
        // Moved from 3 to 4, and cut off: it stands at 4, and putting it there tidies up without being a move.
        let plan = assign(&points(), &notes, Number(4), &tag(), Moving::Forbidden).unwrap();
        assert_eq!((plan.writes, plan.moved_from), (vec![(Number(3), PointNotes::default())], None));
    }

    #[test]
    fn forgotten_point_holds_no_tag() {
        let mut notes = tagged(&[4]);
        notes.get_mut(&Number(4)).unwrap().forgotten = Some(Timestamp::new(1, 0));
        assert_eq!(stands_at(&notes), None);
        let plan = assign(&points(), &notes, Number(3), &tag(), Moving::Forbidden).unwrap();
        assert_eq!(plan.writes.iter().map(|(number, _)| number.0).collect::<Vec<_>>(), [3, 4]);
    }
}
