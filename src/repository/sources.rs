//! `sources/<name>.toml`: what can change about a source.
//!
//! Owns those small files. Refuses to decide what a source may be: it notes what it is told. Its invariant: a file
//! belongs to the name that it states, and reading and writing it back keeps what a later program put there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    format::{Number, SourceId, Timestamp},
    storage::{Storage, StorageError},
};

use crate::format::layout;

use super::{
    SourceName, Store, WriterLock,
    by_source::{self, OfSource},
    error::RepositoryError,
    notes::write_toml,
};

/// What can change about a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceNotes {
    /// Name, machine and path.
    pub source: SourceId,
    /// When a backup of it last ended well, with a new point or without need of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Its newest point as of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_point: Option<Number>,
    /// A change far beyond the source's habit that nobody has acknowledged: nothing of the source is forgotten or pruned meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// What later programs keep here.
    #[serde(flatten)]
    pub others: BTreeMap<String, toml::Value>,
}

/// A change far beyond the habit of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The point that holds it.
    pub point: Number,
    /// When it was found.
    pub since: Timestamp,
    /// What was found, for people.
    pub reason: String,
}

impl SourceNotes {
    /// A source of which nothing is known yet.
    #[must_use]
    pub const fn new(source: SourceId) -> Self {
        Self { source, last_success: None, last_point: None, alarm: None, others: BTreeMap::new() }
    }

    /// Reads what is noted about the source of this name; `None` if nothing is.
    ///
    /// # Errors
    /// The file is damaged, belongs to another name, or cannot be read.
    pub fn read(storage: &Storage, name: &SourceName) -> Result<Option<Self>, RepositoryError> {
        by_source::read(storage, &name.file_stem())
    }

    /// Replaces what is noted about the source, durably.
    ///
    /// # Errors
    /// Its name cannot be one, or the file cannot be written.
    pub fn write(&self, store: &Store, _writer: &WriterLock) -> Result<(), RepositoryError> {
        let name =
            SourceName::new(&self.source.name).map_err(|error| RepositoryError::damaged(layout::SOURCES, error))?;
        write_toml(store.storage(), &by_source::file::<Self>(&name.file_stem()), self)
    }
}

/// Reads what is noted about all sources, by name. The second part holds what is wrong with files that are damaged.
///
/// # Errors
/// The directory cannot be read.
pub fn read_all(storage: &Storage) -> Result<(Vec<SourceNotes>, Vec<RepositoryError>), StorageError> {
    by_source::read_all(storage)
}

impl OfSource for SourceNotes {
    const DIRECTORY: &'static str = layout::SOURCES;

    fn source_name(&self) -> &str {
        &self.source.name
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{repository::config::Chunking, storage::Wait};

    #[test]
    fn sources_of_any_name_are_noted_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        let long = "Ü".repeat(100);
        let mut names = vec!["www", "WWW", ".tmp-1", "100%", "a b", &long];
        for name in &names {
            let source = SourceId { name: (*name).to_owned(), host: "h".to_owned(), path: b"/srv/\xff\\www".to_vec() };
            let mut notes = SourceNotes::new(source);
            notes.last_success = Some(Timestamp::new(1_700_000_000, 5));
            notes.last_point = Some(Number(7));
            notes.write(&store, &lock).unwrap();
            let name = SourceName::new(name).unwrap();
            assert_eq!(SourceNotes::read(store.storage(), &name).unwrap(), Some(notes));
        }
        names.sort_unstable();
        let (all, problems) = read_all(store.storage()).unwrap();
        assert_eq!(all.iter().map(|notes| notes.source.name.as_str()).collect::<Vec<_>>(), names);
        assert!(problems.is_empty());
    }

    #[test]
    fn file_of_another_name_is_damage_and_hides_no_other_source() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let text = "later = 1\n[source]\nname = 'www'\nhost = 'h'\npath = '/srv/www'\n";
        fs::write(dir.path().join("sources/www.toml"), text).unwrap();
        fs::write(dir.path().join("sources/db.toml"), text).unwrap();
        let (all, problems) = read_all(store.storage()).unwrap();
        assert_eq!(all.len(), 1);
        assert!(all[0].others.contains_key("later"));
        assert_eq!(problems[0].to_string(), "sources/db.toml is damaged: it states another name, \"www\"");
    }
}
