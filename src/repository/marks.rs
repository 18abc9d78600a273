//! `marks.toml`: the highest number ever used, and the generation of the store.
//!
//! Owns both marks and what to do when they are lost. Refuses to know catalogs: the highest number among them is
//! given. Its invariant: a number is marked durably before it is used, so that none is ever used twice; a generation
//! never falls below one that a live reader has read.

use serde::{Deserialize, Serialize};

use crate::{
    format::Number,
    storage::{Replace, Storage, StorageError},
};

use super::{Store, WriterLock, checked_text, error::RepositoryError, lease};
use crate::format::layout;

const LIMIT_BYTES: u64 = 4 << 10;

/// The durable marks of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The highest number that was ever given to a backup; 0 before the first.
    pub highest: u32,
    /// Rises whenever something has become unreachable; from 1.
    pub generation: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self { highest: 0, generation: 1 }
    }
}

impl Marks {
    /// Reads the marks.
    ///
    /// # Errors
    /// They are missing, damaged, or cannot be read.
    pub fn read(storage: &Storage) -> Result<Self, RepositoryError> {
        let damaged = |reason: &str| RepositoryError::damaged(layout::MARKS_TOML, reason);
        let bytes = storage.read_small(layout::MARKS_TOML, LIMIT_BYTES).map_err(|error| match error {
            StorageError::TooLarge { .. } => damaged("it is too large"),
            error if error.is_not_found() => damaged("it is missing"),
            error => error.into(),
        })?;
        let text = checked_text::open(&bytes).map_err(damaged)?;
        let marks: Self = toml::from_str(text).map_err(|error| damaged(error.message()))?;
        if marks.highest > Number::MAX.0 || marks.generation == 0 || marks.generation > lease::GENERATION_MAX {
            return Err(damaged("it holds an impossible value"));
        }
        Ok(marks)
    }

    pub(super) fn write(self, storage: &Storage) -> Result<(), RepositoryError> {
        let text = toml::to_string(&self).map_err(|error| RepositoryError::damaged(layout::MARKS_TOML, error))?;
        Ok(storage.put(layout::MARKS_TOML, checked_text::seal(&text).as_bytes(), Replace::Always)?)
    }
}

/// A value out of the marks, and what was wrong with them, if they had to be made anew.
#[derive(Debug)]
pub struct Marked<T> {
    /// The value, durable.
    pub value: T,
    /// Why the marks were made anew, to be told.
    pub problem: Option<RepositoryError>,
}

/// The number that [`reserve`] would give now.
///
/// # Errors
/// No number is left, or the marks cannot be read.
pub fn next(store: &Store, catalogs_highest: Option<Number>) -> Result<Number, RepositoryError> {
    let highest = current(store, catalogs_highest)?.value.highest;
    if highest >= Number::MAX.0 { Err(RepositoryError::NumbersExhausted) } else { Ok(Number(highest + 1)) }
}

/// Reserves the next number for a backup, durably. It is used up even if the backup never comes to be.
///
/// # Errors
/// No number is left, or the mark cannot be written.
pub fn reserve(
    store: &Store,
    _writer: &WriterLock,
    catalogs_highest: Option<Number>,
) -> Result<Marked<Number>, RepositoryError> {
    let Marked { value: mut marks, problem } = current(store, catalogs_highest)?;
    if marks.highest >= Number::MAX.0 {
        return Err(RepositoryError::NumbersExhausted);
    }
    marks.highest += 1;
    marks.write(store.storage())?;
    Ok(Marked { value: Number(marks.highest), problem })
}

/// Raises the generation, durably, and returns it: after something was made unreachable, and before it is asked what
/// readers may still see.
///
/// # Errors
/// The mark cannot be written.
pub fn raise_generation(
    store: &Store,
    _writer: &WriterLock,
    catalogs_highest: Option<Number>,
) -> Result<Marked<u64>, RepositoryError> {
    let Marked { value: mut marks, problem } = current(store, catalogs_highest)?;
    // An older copy of the marks may have come back: what a reader has read stays behind it.
    let read = lease::newest_generation(store)?.unwrap_or(0);
    marks.generation = marks.generation.max(read).saturating_add(1).min(lease::GENERATION_MAX);
    marks.write(store.storage())?;
    Ok(Marked { value: marks.generation, problem })
}

/// Makes the marks anew where they are lost, damaged, or below what is in use; answers what was wrong.
///
/// # Errors
/// The marks cannot be read or written.
pub fn mend(
    store: &Store,
    _writer: &WriterLock,
    catalogs_highest: Option<Number>,
) -> Result<Option<String>, RepositoryError> {
    let Marked { value, problem } = current(store, catalogs_highest)?;
    let problem = match problem {
        Some(problem) => problem.to_string(),
        None if Marks::read(store.storage())? == value => return Ok(None),
        None => format!("{} is older than what is in use", layout::MARKS_TOML),
    };
    value.write(store.storage())?;
    Ok(Some(problem))
}

/// The marks; where they are lost, the highest number that anything in the store shows, and a generation that no live
/// reader has reached.
fn current(store: &Store, catalogs_highest: Option<Number>) -> Result<Marked<Marks>, RepositoryError> {
    let storage = store.storage();
    let catalogs_highest = catalogs_highest.map_or(0, |number| number.0);
    match Marks::read(storage) {
        Ok(marks) => {
            let marks = Marks { highest: marks.highest.max(catalogs_highest), ..marks };
            Ok(Marked { value: marks, problem: None })
        }
        Err(problem @ RepositoryError::Damaged { .. }) => {
            let files = storage.list(layout::POINTS)?;
            let points_highest = files.iter().filter_map(|(name, _)| layout::point_number(name)).max();
            let highest = points_highest.map_or(0, |number| number.0).max(catalogs_highest);
            let generation = lease::newest_generation(store)?.unwrap_or(0) + 1;
            Ok(Marked { value: Marks { highest, generation }, problem: Some(problem) })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        repository::{Lease, config::Chunking},
        storage::Wait,
    };

    fn store() -> (tempfile::TempDir, Store, WriterLock) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        (dir, store, lock)
    }

    #[test]
    fn no_number_is_reserved_twice() {
        let (dir, store, lock) = store();
        let next = |catalogs: Option<u32>| reserve(&store, &lock, catalogs.map(Number)).unwrap().value.0;
        assert_eq!(next(None), 1);
        assert_eq!(Marks::read(Store::open(dir.path()).unwrap().storage()).unwrap().highest, 1);
        assert_eq!(next(None), 2, "the first backup may have failed, its number is gone");
        assert_eq!(next(Some(1)), 3, "a pruned point's number does not come back");
        assert_eq!(next(Some(40)), 41, "a catalog that the mark does not know counts");
    }

    #[test]
    fn last_number_is_the_last() {
        let (_dir, store, lock) = store();
        assert_eq!(reserve(&store, &lock, Some(Number(Number::MAX.0 - 1))).unwrap().value, Number::MAX);
        assert!(matches!(reserve(&store, &lock, None), Err(RepositoryError::NumbersExhausted)));
    }

    #[test]
    fn damaged_marks_are_made_anew_from_what_the_store_shows_and_it_is_said() {
        let (dir, store, lock) = store();
        for rubbish in ["", "highest = -1\ngeneration = 3", "highest = 4000000000\ngeneration = 3", "\u{0}"] {
            fs::write(dir.path().join("marks.toml"), rubbish).unwrap();
            fs::write(dir.path().join("points/00000007.toml"), "").unwrap();
            let marked = reserve(&store, &lock, Some(Number(5))).unwrap();
            assert_eq!(marked.value, Number(8));
            assert!(marked.problem.unwrap().to_string().starts_with("marks.toml is damaged: "));
            assert!(reserve(&store, &lock, None).unwrap().problem.is_none());
        }
        fs::remove_file(dir.path().join("marks.toml")).unwrap();
        let problem = reserve(&store, &lock, None).unwrap().problem.unwrap();
        assert_eq!(problem.to_string(), "marks.toml is damaged: it is missing");
    }

    #[test]
    fn lost_generation_comes_back_above_every_live_reader() {
        let (dir, store, lock) = store();
        for _ in 0..5 {
            raise_generation(&store, &lock, None).unwrap();
        }
        let lease = Lease::take(&store).unwrap();
        assert_eq!(lease.generation(), 6);
        fs::write(dir.path().join("marks.toml"), "rubbish").unwrap();
        assert_eq!(raise_generation(&store, &lock, None).unwrap().value, 8);
        assert_eq!(lease::oldest_generation(&store).unwrap(), Some(6));
    }
}
