//! `runs/<name>.toml`: what was run for a source, and how it ended.
//!
//! Owns those small files: counters that only grow, and the newest runs and checks. Refuses to know what a run does, and to be needed: a store without
//! them loses its history of runs and nothing else. Its invariant: a file holds at most [`RUNS_KEPT`] runs and [`CHECKS_KEPT`] checks, oldest first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::by_source::{self, OfSource};
use super::error::RepositoryError;
use super::notes::write_toml;
use super::{SourceName, Store, WriterLock};
use crate::format::layout;
use crate::format::{Number, Timestamp};
use crate::storage::{Replace, Storage, StorageError};

/// Runs that are kept of a source.
pub const RUNS_KEPT: usize = 200;
/// Checks that are kept of a source.
pub const CHECKS_KEPT: usize = 100;

/// The upper bounds of the histogram of durations, in seconds; one more bucket has no bound.
pub const BUCKETS_SECS: [u32; 12] = [1, 5, 15, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];

/// What was run for a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunNotes {
    /// The source.
    pub name: String,
    /// Counters since the source was first backed up, by type.
    #[serde(default)]
    pub totals: BTreeMap<BackupType, Totals>,
    /// The newest runs, oldest first.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// The newest checks, oldest first.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// When the run began that was last told to stop: it is counted as failed, and the schedule makes up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// What later programs keep here.
    #[serde(flatten)]
    pub others: BTreeMap<String, toml::Value>,
}

/// Full or differential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// A full.
    Full,
    /// A differential.
    Differential,
}

/// Counters that only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Runs that ended well.
    pub success: u64,
    /// Runs that did not.
    pub failure: u64,
    /// Seconds that runs took, all together.
    pub secs: f64,
    /// Runs by duration: as [`BUCKETS_SECS`], then those above. Not cumulative.
    pub buckets: Vec<u64>,
}

/// One backup, or an attempt at one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub secs: f64,
    /// What was made, or, where it failed before that was decided, asked for.
    pub r#type: BackupType,
    /// How it ended.
    pub end: RunEnd,
    /// Why this type, or why it failed.
    pub reason: String,
    /// The point that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Number>,
    /// Bytes of the backup: see [`crate::format::Counts::size_bytes`].
    #[serde(default)]
    pub size_bytes: u64,
    /// Bytes that the store grew by.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Files at the point.
    #[serde(default)]
    pub files: u64,
}

/// How a backup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunEnd {
    /// There is a new point.
    Made,
    /// There is, but some files could not be read.
    Incomplete,
    /// Nothing had changed.
    Unchanged,
    /// No point was made, though one was wanted.
    Failed,
}

/// One check of what is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub secs: f64,
    /// What was checked.
    pub kind: CheckKind,
    /// What came of it.
    pub end: CheckEnd,
    /// The point that was checked; none where it was the whole store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Number>,
    /// The type of that point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<BackupType>,
    /// What was found, a line each; not more than some ten.
    #[serde(default)]
    pub findings: Vec<String>,
    /// Bytes that were read back or restored.
    #[serde(default)]
    pub bytes: u64,
    /// Of a rehearsal: how long a restore of the whole point would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_restore_secs: Option<f64>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// What a backup had just written.
    Written,
    /// A sample of it.
    Sample,
    /// The whole store, every byte.
    Full,
    /// A restore of a sample.
    Rehearsal,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckEnd {
    /// All was as it should be.
    Pass,
    /// Something was not.
    Fail,
    /// It could not be done, which is no pass.
    NotRun,
}

impl RunNotes {
    /// A source of which nothing was run yet.
    #[must_use]
    pub fn new(name: &SourceName) -> Self {
        Self { name: name.to_string(), ..Self::default() }
    }

    /// Adds a run, and counts it. Of those that are kept the newest of each type and end is always one, however many came after it.
    pub fn push_run(&mut self, run: Run) {
        let totals = self.totals.entry(run.r#type).or_default();
        match run.end {
            RunEnd::Failed => totals.failure += 1,
            RunEnd::Made | RunEnd::Incomplete | RunEnd::Unchanged => totals.success += 1,
        }
        totals.secs += run.secs;
        totals.buckets.resize(BUCKETS_SECS.len() + 1, 0);
        totals.buckets[BUCKETS_SECS.partition_point(|bound| f64::from(*bound) < run.secs)] += 1;
        // One that could not be noted at its time comes later than its time.
        let at = self.runs.partition_point(|other| other.began <= run.began);
        self.runs.insert(at, run);
        thin(&mut self.runs, RUNS_KEPT, |run| (run.r#type, run.end));
    }

    /// Adds a check. Of those that are kept the newest of each kind and end is always one.
    pub fn push_check(&mut self, check: Check) {
        let at = self.checks.partition_point(|other| other.began <= check.began);
        self.checks.insert(at, check);
        thin(&mut self.checks, CHECKS_KEPT, |check| (check.kind, check.end));
    }

    /// Adds a check to what is noted of the source of this name, durably; answers what was wrong with a file that was damaged and is begun anew.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_check(
        store: &Store,
        writer: &WriterLock,
        name: &SourceName,
        check: Check,
    ) -> Result<Option<RepositoryError>, RepositoryError> {
        let (mut notes, problem) = Self::read_or_begin(store, writer, name)?;
        notes.push_check(check);
        notes.write(store, writer)?;
        Ok(problem)
    }

    /// Reads what was run for the source of this name; nothing, if it has no file.
    ///
    /// # Errors
    /// The file is damaged, belongs to another name, or cannot be read.
    pub fn read(storage: &Storage, name: &SourceName) -> Result<Self, RepositoryError> {
        Ok(by_source::read(storage, &name.file_stem())?.unwrap_or_else(|| Self::new(name)))
    }

    /// As [`RunNotes::read`], for who is about to add something: a file that is damaged is set aside, and said.
    ///
    /// # Errors
    /// The file cannot be read or set aside.
    pub fn read_or_begin(
        store: &Store,
        _writer: &WriterLock,
        name: &SourceName,
    ) -> Result<(Self, Option<RepositoryError>), RepositoryError> {
        match Self::read(store.storage(), name) {
            Ok(notes) => Ok((notes, None)),
            Err(problem @ RepositoryError::Damaged { .. }) => {
                let damaged = by_source::file::<Self>(&name.file_stem());
                let aside = format!("{damaged}{}", layout::DAMAGED_SUFFIX);
                store.storage().rename(&damaged, &aside, Replace::Always)?;
                Ok((Self::new(name), Some(problem)))
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces what is noted, durably.
    ///
    /// # Errors
    /// Its name cannot be one, or the file cannot be written.
    pub fn write(&self, store: &Store, _writer: &WriterLock) -> Result<(), RepositoryError> {
        let name = SourceName::new(&self.name).map_err(|error| RepositoryError::damaged(layout::RUNS, error))?;
        // A store that was made before there were runs has no such directory.
        store.storage().create_dir(layout::RUNS)?;
        write_toml(store.storage(), &by_source::file::<Self>(&name.file_stem()), self)
    }
}

/// Takes the oldest away until so many are left, but never the newest of its class: a full that was made a week ago must not be lost among differentials.
fn thin<T, C: PartialEq>(kept: &mut Vec<T>, most: usize, class: impl Fn(&T) -> C) {
    while kept.len() > most {
        let has_newer = |at: &usize| kept[at + 1..].iter().any(|newer| class(newer) == class(&kept[*at]));
        let at = (0..kept.len()).find(has_newer).unwrap_or(0);
        kept.remove(at);
    }
}

/// Reads what was run for all sources, by name. The second part holds what is wrong with files that are damaged.
///
/// # Errors
/// The directory cannot be read.
pub fn read_all(storage: &Storage) -> Result<(Vec<RunNotes>, Vec<RepositoryError>), StorageError> {
    by_source::read_all(storage)
}

impl OfSource for RunNotes {
    const DIRECTORY: &'static str = layout::RUNS;

    fn source_name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::config::Chunking;
    use crate::storage::Wait;

    fn run(secs: i64, r#type: BackupType, end: RunEnd) -> Run {
        Run {
            began: Timestamp::new(secs, 0),
            secs: 1.0,
            r#type,
            end,
            reason: String::new(),
            number: None,
            size_bytes: 0,
            stored_bytes: 0,
            files: 0,
        }
    }

    #[test]
    fn a_full_is_not_lost_among_differentials_and_counters_lose_nothing() {
        let mut notes = RunNotes::new(&SourceName::new("www").unwrap());
        notes.push_run(run(0, BackupType::Full, RunEnd::Made));
        notes.push_run(run(1, BackupType::Full, RunEnd::Failed));
        for secs in 2..1_000 {
            notes.push_run(run(secs, BackupType::Differential, RunEnd::Unchanged));
        }
        assert_eq!(notes.runs.len(), RUNS_KEPT);
        assert_eq!(notes.runs[0], run(0, BackupType::Full, RunEnd::Made));
        assert_eq!(notes.runs[1], run(1, BackupType::Full, RunEnd::Failed));
        assert!(notes.runs.is_sorted_by_key(|run| run.began));
        assert_eq!(notes.totals[&BackupType::Full].success, 1);
        assert_eq!(notes.totals[&BackupType::Full].failure, 1);
        assert_eq!(notes.totals[&BackupType::Differential].success, 998);
        assert_eq!(notes.totals[&BackupType::Differential].buckets.iter().sum::<u64>(), 998);
    }

    #[test]
    fn run_that_is_noted_late_stands_at_its_time() {
        let mut notes = RunNotes::new(&SourceName::new("www").unwrap());
        for secs in [5, 9, 7] {
            notes.push_run(run(secs, BackupType::Full, RunEnd::Made));
        }
        assert_eq!(notes.runs.iter().map(|run| run.began.secs).collect::<Vec<_>>(), [5, 7, 9]);
    }

    #[test]
    fn damaged_ledger_is_set_aside_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        let name = SourceName::new("www").unwrap();
        std::fs::write(dir.path().join("runs/www.toml"), "runs = perhaps").unwrap();
        let (notes, problem) = RunNotes::read_or_begin(&store, &lock, &name).unwrap();
        assert_eq!(notes, RunNotes::new(&name));
        assert!(problem.unwrap().to_string().starts_with("runs/www.toml is damaged"));
        notes.write(&store, &lock).unwrap();
        assert_eq!(RunNotes::read(store.storage(), &name).unwrap(), notes);
        assert!(dir.path().join("runs/www.toml.damaged").exists());
    }
}
