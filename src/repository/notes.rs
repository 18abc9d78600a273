//! `points/NNNNNNNN.toml`: what can change about a point.
//!
//! Owns those small files. Refuses to know the facts of a point, which stand in its catalog and never change. Its
//! invariant: reading a file and writing it back keeps what a later program put there; a damaged file is a problem of
//! its own point and of no other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    format::{Number, Timestamp},
    storage::{Replace, Storage, StorageError},
};

use super::{Store, Tag, WriterLock, checked_text, error::RepositoryError};
use crate::format::layout;
use crate::format::pack::PackId;
use crate::policy::retention::KeepRules;

const LIMIT_BYTES: u64 = 1 << 20;

/// What can change about a point. Without a file: nothing of it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PointNotes {
    /// The names that people gave it.
    pub tags: BTreeSet<Tag>,
    /// Whether retention must keep it.
    pub pinned: bool,
    /// When it was forgotten; it is no longer listed then, and prune may remove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<Timestamp>,
    /// What was found damaged, one line each.
    pub damaged: Vec<String>,
    /// Packs in which a check found damage: nothing new is held to be stored in them, and the next backup reads what lies in them again.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub distrusted: BTreeSet<String>,
    /// On a full: the retention rules that its series began with, and goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepRules>,
    /// What later programs keep here.
    #[serde(flatten)]
    pub others: BTreeMap<String, toml::Value>,
}

/// What is noted about the points of a store, by number. A point that is not in the map has nothing noted.
pub type Notes = BTreeMap<Number, PointNotes>;

impl PointNotes {
    /// Reads what is noted about a point: nothing, if it has no file.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn read(storage: &Storage, number: Number) -> Result<Self, RepositoryError> {
        Ok(read_toml(storage, &layout::point(number))?.unwrap_or_default())
    }

    /// Replaces what is noted about a point, durably.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, store: &Store, _writer: &WriterLock, number: Number) -> Result<(), RepositoryError> {
        write_toml(store.storage(), &layout::point(number), self)
    }
}

/// Reads what is noted about all points. The second part holds what is wrong with files that are damaged; their points
/// are not in the first.
///
/// # Errors
/// The directory cannot be read.
pub fn read_all(storage: &Storage) -> Result<(Notes, Vec<RepositoryError>), StorageError> {
    let (mut notes, mut problems) = (Notes::new(), Vec::new());
    for number in storage.list(layout::POINTS)?.iter().filter_map(|(name, _)| layout::point_number(name)) {
        match PointNotes::read(storage, number) {
            Ok(read) => drop(notes.insert(number, read)),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((notes, problems))
}

/// The packs in which any point says that there is damage.
#[must_use]
pub fn distrusted(notes: &Notes) -> BTreeSet<PackId> {
    notes.values().flat_map(|notes| &notes.distrusted).filter_map(|pack| pack.parse().ok()).collect()
}

/// Reads a small TOML file; `None` if it is not there.
pub(super) fn read_toml<T: DeserializeOwned>(storage: &Storage, name: &str) -> Result<Option<T>, RepositoryError> {
    let bytes = match storage.read_small(name, LIMIT_BYTES) {
        Err(error) if error.is_not_found() => return Ok(None),
        Err(StorageError::TooLarge { .. }) => return Err(RepositoryError::damaged(name, "it is too large")),
        answer => answer?,
    };
    let text = checked_text::open(&bytes).map_err(|reason| RepositoryError::damaged(name, reason))?;
    toml::from_str(text).map(Some).map_err(|error| RepositoryError::damaged(name, error.message()))
}

/// Replaces a small TOML file, durably.
pub(super) fn write_toml<T: Serialize>(storage: &Storage, name: &str, value: &T) -> Result<(), RepositoryError> {
    let text = toml::to_string(value).map_err(|error| RepositoryError::damaged(name, error))?;
    Ok(storage.put(name, checked_text::seal(&text).as_bytes(), Replace::Always)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{repository::config::Chunking, storage::Wait};

    fn store() -> (tempfile::TempDir, Store, WriterLock) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        (dir, store, lock)
    }

    #[test]
    fn notes_survive_their_file_and_absence_means_none() {
        let (_dir, store, lock) = store();
        assert_eq!(PointNotes::read(store.storage(), Number(42)).unwrap(), PointNotes::default());
        PointNotes::default().write(&store, &lock, Number(41)).unwrap();
        let notes = PointNotes {
            tags: [Tag::new("deploy-42").unwrap(), Tag::new("vor dem Umzug").unwrap()].into(),
            pinned: true,
            forgotten: Some(Timestamp::new(-5, 7)),
            damaged: vec!["pack 91c0: block 7: checksum differs".to_owned()],
            distrusted: ["91c0".to_owned()].into(),
            keep: Some(KeepRules { keep_last: 3, ..KeepRules::default() }),
            others: BTreeMap::new(),
        };
        notes.write(&store, &lock, Number(42)).unwrap();
        let (all, problems) = read_all(store.storage()).unwrap();
        assert_eq!(all, BTreeMap::from([(Number(41), PointNotes::default()), (Number(42), notes)]));
        assert!(problems.is_empty());
    }

    #[test]
    fn what_a_later_program_noted_is_kept() {
        let (dir, store, lock) = store();
        let path = dir.path().join("points/00000001.toml");
        fs::write(&path, "pinned = true\nmood = 'good'\n[weather]\nrain = 3\n").unwrap();
        let mut notes = PointNotes::read(store.storage(), Number(1)).unwrap();
        assert!(notes.pinned);
        notes.forgotten = Some(Timestamp::new(1, 0));
        notes.write(&store, &lock, Number(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("mood = \"good\"") && text.contains("rain = 3"), "{text}");
        assert_eq!(PointNotes::read(store.storage(), Number(1)).unwrap(), notes);
    }

    #[test]
    fn damaged_notes_are_named_and_hide_no_others() {
        let (dir, store, lock) = store();
        PointNotes { pinned: true, ..PointNotes::default() }.write(&store, &lock, Number(2)).unwrap();
        fs::write(dir.path().join("points/00000001.toml"), "pinned = perhaps").unwrap();
        fs::write(dir.path().join("points/00000003.toml"), "tags = ['latest']").unwrap();
        fs::write(dir.path().join("points/readme.toml"), "not ours").unwrap();
        let (notes, problems) = read_all(store.storage()).unwrap();
        assert_eq!(notes.keys().copied().collect::<Vec<_>>(), [Number(2)]);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("points/00000001.toml is damaged: "), "{problems:?}");
        assert!(problems[1].starts_with("points/00000003.toml is damaged: "), "{problems:?}");
    }
}
