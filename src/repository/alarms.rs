//! Which sources have an alarm that nobody has acknowledged.
//!
//! Owns who is held back by one. Refuses to raise it: a backup does. Invariant: where what is noted of a source cannot be read, an alarm may stand, and the
//! source is held back, too.

use std::collections::{BTreeMap, BTreeSet};

use super::by_source::{self, Unreadable};
use super::sources::{Alarm, SourceNotes};
use super::{RepositoryError, SourceName, Store, WriterLock};
use crate::storage::{Storage, StorageError};

/// The alarms of a store.
#[derive(Debug, Default)]
pub struct Alarms {
    /// By source.
    pub standing: BTreeMap<String, Alarm>,
    /// What could not be read.
    pub problems: Vec<RepositoryError>,
    /// Names of files, without suffix, that cannot be read.
    unreadable: BTreeSet<String>,
}

impl Alarms {
    /// Reads what is noted of all sources.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(storage: &Storage) -> Result<Self, StorageError> {
        let mut alarms = Self::default();
        let (sources, unreadable) = by_source::read_each::<SourceNotes>(storage)?;
        let standing = sources.into_iter().filter_map(|notes| Some((notes.source.name, notes.alarm?)));
        alarms.standing.extend(standing);
        for Unreadable { stem, problem } in unreadable {
            alarms.unreadable.insert(stem);
            alarms.problems.push(problem);
        }
        Ok(alarms)
    }

    /// Whether nothing of the source of that name may be given up: an alarm stands, or may stand.
    #[must_use]
    pub fn hold(&self, source: &str) -> bool {
        let is_unreadable = || SourceName::new(source).is_ok_and(|name| self.unreadable.contains(&name.file_stem()));
        self.standing.contains_key(source) || !self.unreadable.is_empty() && is_unreadable()
    }

    /// Whether there is none, and none that may be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.unreadable.is_empty()
    }
}

/// Takes the alarm of a source away, durably, and answers it; `None` where none stood.
///
/// # Errors
/// What is noted of the source cannot be read or written.
pub fn acknowledge(store: &Store, lock: &WriterLock, name: &SourceName) -> Result<Option<Alarm>, RepositoryError> {
    let Some(mut notes) = SourceNotes::read(store.storage(), name)? else { return Ok(None) };
    let alarm = notes.alarm.take();
    if alarm.is_some() {
        notes.write(store, lock)?;
    }
    Ok(alarm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Number, SourceId, Timestamp};
    use crate::repository::config::Chunking;
    use crate::storage::Wait;

    #[test]
    fn an_alarm_stands_until_it_is_acknowledged_and_one_that_cannot_be_read_may_stand() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        for (name, is_alarmed) in [("www", true), ("DB", false)] {
            let source = SourceId { name: name.to_owned(), host: "h".to_owned(), path: b"/srv".to_vec() };
            let alarm = Alarm { point: Number(7), since: Timestamp::new(9, 0), reason: "all is gone".to_owned() };
            let notes = SourceNotes { alarm: is_alarmed.then_some(alarm), ..SourceNotes::new(source) };
            notes.write(&store, &lock).unwrap();
        }
        let hold = |name: &str| Alarms::read(store.storage()).unwrap().hold(name);
        assert_eq!((hold("www"), hold("DB"), hold("none")), (true, false, false));
        let name = SourceName::new("www").unwrap();
        let taken = acknowledge(&store, &lock, &name).unwrap().unwrap();
        assert_eq!((taken.point, taken.reason.as_str()), (Number(7), "all is gone"));
        assert_eq!(acknowledge(&store, &lock, &name).unwrap(), None);
        assert!(!hold("www") && Alarms::read(store.storage()).unwrap().is_empty());
        let file = format!("sources/{}.toml", SourceName::new("DB").unwrap().file_stem());
        std::fs::write(dir.path().join(file), "rubbish").unwrap();
        assert!(hold("DB") && !hold("www"));
        assert_eq!(Alarms::read(store.storage()).unwrap().problems.len(), 1);
    }
}
