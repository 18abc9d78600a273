//! What is noted of a run: in the ledger of its store, and where that cannot be, in the state directory until it can.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::chain;
use super::spool::State;
use crate::backup::{Choice, Done, Outcome};
use crate::format::{Point, Timestamp};
use crate::policy::schedule::Task;
pub use crate::report::Noted;
use crate::repository::runs::{BackupType, Check, Run, RunEnd};
use crate::repository::{Points, RepositoryError, RunNotes, SourceName, SourceNotes, Store, WriterLock};

/// Something to be noted of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The source.
    pub name: SourceName,
    /// What of it.
    pub what: Noted,
    /// Whether the run was told to stop: the schedule makes up for it.
    pub was_stopped: bool,
}

impl Entry {
    /// A run that ended by itself.
    #[must_use]
    pub fn run(name: &SourceName, run: Run) -> Self {
        Self { name: name.clone(), what: Noted::Run(run), was_stopped: false }
    }

    /// A check.
    #[must_use]
    pub fn check(name: &SourceName, check: Check) -> Self {
        Self { name: name.clone(), what: Noted::Check(check), was_stopped: false }
    }
}

/// A backup that was made, or was not needed, as it is noted.
#[must_use]
pub fn run_of(began: Timestamp, secs: f64, done: &Done) -> Run {
    let (end, number, catalog_bytes) = match &done.outcome {
        Outcome::Made(made) => {
            let end = if done.counts.unread > 0 { RunEnd::Incomplete } else { RunEnd::Made };
            (end, Some(made.point.number), made.catalog_bytes)
        }
        Outcome::Unchanged(_) | Outcome::Tried { .. } => (RunEnd::Unchanged, None, 0),
    };
    Run {
        began,
        secs,
        r#type: match done.decision.choice {
            Choice::Full { .. } => BackupType::Full,
            Choice::Differential { .. } => BackupType::Differential,
        },
        end,
        reason: done.decision.reason.to_string(),
        number,
        // Of a point that was not made there is no size.
        size_bytes: number.map_or(0, |_| done.counts.size_bytes),
        stored_bytes: number.map_or(0, |_| done.counts.stored_bytes + catalog_bytes),
        files: done.counts.files,
    }
}

/// A backup that came to nothing, as it is noted.
#[must_use]
pub fn failed(began: Timestamp, secs: f64, r#type: BackupType, reason: String) -> Run {
    Run { began, secs, r#type, end: RunEnd::Failed, reason, number: None, size_bytes: 0, stored_bytes: 0, files: 0 }
}

/// What type a run counts as that failed before it was decided: that which was asked for; of `auto` a differential where there is a full to build on.
#[must_use]
pub fn asked_type(task: Task, store: Option<&Store>, name: &SourceName) -> BackupType {
    match task {
        Task::Full => BackupType::Full,
        Task::Differential => BackupType::Differential,
        Task::Auto | Task::Verify => {
            let points = store.and_then(|store| Points::list(store.storage()).ok());
            let has_full = points.is_some_and(|points| points.backups_of(name.as_str()).any(Point::is_full));
            if has_full { BackupType::Differential } else { BackupType::Full }
        }
    }
}

/// Whether a store knows the source: of one that nobody ever backed up there is nothing to note, most likely the name is a slip of the pen.
#[must_use]
pub fn is_known(store: &Store, name: &SourceName) -> bool {
    let is_noted = !matches!(SourceNotes::read(store.storage(), name), Ok(None));
    is_noted || RunNotes::read(store.storage(), name).is_ok_and(|notes| !notes.runs.is_empty())
}

/// Notes entries in the ledger, and with them all that the state directory keeps for this store. `say` hears of a ledger that was damaged.
///
/// # Errors
/// The ledger cannot be read or written.
pub fn write(
    store: &Store,
    writer: &WriterLock,
    entries: &[Entry],
    state: Option<&State>,
    say: &dyn Fn(String),
) -> Result<(), RepositoryError> {
    let add = |kept: Vec<Entry>| add(store, writer, kept.iter().chain(entries), say);
    match state {
        Some(state) => state.hand_over(store.path(), add),
        None => add(Vec::new()),
    }
}

fn add<'a>(
    store: &Store,
    writer: &WriterLock,
    entries: impl Iterator<Item = &'a Entry>,
    say: &dyn Fn(String),
) -> Result<(), RepositoryError> {
    let mut by_name: BTreeMap<&SourceName, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        by_name.entry(&entry.name).or_default().push(entry);
    }
    for (name, entries) in by_name {
        let (mut notes, problem) = RunNotes::read_or_begin(store, writer, name)?;
        if let Some(problem) = problem {
            say(format!("{problem}; it is begun anew"));
        }
        for entry in entries {
            match &entry.what {
                // Whoever noted it may have died before it was taken out of the state directory.
                Noted::Run(run) if notes.runs.contains(run) => {}
                Noted::Check(check) if notes.checks.contains(check) => {}
                Noted::Run(run) => {
                    if entry.was_stopped {
                        notes.stopped = Some(run.began);
                    }
                    notes.push_run(run.clone());
                }
                Noted::Check(check) => notes.push_check(check.clone()),
            }
        }
        notes.write(store, writer)?;
    }
    Ok(())
}

/// Notes entries: in the ledger, if the writer lock can be had within `patience`, else in the state directory. What cannot be noted anywhere is said.
pub fn note(
    store: Option<&Store>,
    path: &Path,
    entries: &[Entry],
    state: Option<&State>,
    patience: Duration,
    say: &dyn Fn(String),
) {
    let in_ledger = store.map(|store| {
        let lock = WriterLock::take_within(store, patience)?;
        write(store, &lock, entries, state, say)
    });
    let reason = match in_ledger {
        Some(Ok(())) => return,
        Some(Err(error)) => chain(&error),
        None => "there is no store".to_owned(),
    };
    match state.map(|state| state.keep(path, entries)) {
        Some(Ok(())) => {}
        Some(Err(error)) => say(format!("this run is noted nowhere: {reason}; {}", chain(&error))),
        None => say(format!("this run is noted nowhere: {reason}; and there is no state directory")),
    }
}
