//! Checks, as commands ask for them, run them, keep them and show them.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbakfs::automation;
use dbakfs::backup::{Done, Made, Outcome};
use dbakfs::repository::runs::{Check, CheckEnd};
use dbakfs::repository::{RepositoryError, SourceName, Store, WriterLock};
use dbakfs::settings::VerifyAfter;
use dbakfs::verify::written::{self, Pending};
use serde_json::{Value, json};

use super::{Exit, Global, output, progress};

/// How long another writer is waited for that is busy when a verdict is to be kept.
const PATIENCE: Duration = Duration::from_secs(30);

/// How what was written is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum How {
    /// All that the backup wrote
    Written,
    /// A sample of it
    Sample,
    /// The whole store, every byte
    Full,
    /// Nothing
    Off,
}

impl From<How> for VerifyAfter {
    fn from(how: How) -> Self {
        match how {
            How::Written => Self::Written,
            How::Sample => Self::Sample,
            How::Full => Self::Full,
            How::Off => Self::Off,
        }
    }
}

/// A check that is to be made.
pub(super) enum Asked {
    /// None was asked for, or the backup was only tried.
    Nothing,
    /// Nothing was written.
    NothingWritten,
    /// This.
    Check(Box<Pending>),
}

/// A check that was made, if one was to be.
pub(super) enum Checked {
    Nothing,
    NothingWritten,
    Done(Box<written::Outcome>),
}

/// Gets ready to check what `done` has written, while the writer lock is still held.
pub(super) fn ask(store: &Store, how: VerifyAfter, done: &Done) -> Asked {
    match &done.outcome {
        Outcome::Tried { .. } => Asked::Nothing,
        Outcome::Unchanged(_) if how == VerifyAfter::Off => Asked::Nothing,
        Outcome::Unchanged(_) => Asked::NothingWritten,
        Outcome::Made(made) => ask_of(store, how, made),
    }
}

/// The same of a point that was made, however it came to be.
pub(super) fn ask_of(store: &Store, how: VerifyAfter, made: &Made) -> Asked {
    automation::pending_check(store, how, made).map_or(Asked::Nothing, |pending| Asked::Check(Box::new(pending)))
}

impl Asked {
    /// Makes the check and keeps its verdict.
    pub(super) fn run(self, global: &Global, store: &Store, name: &SourceName, cancel: &AtomicBool) -> Checked {
        let pending = match self {
            Self::Nothing => return Checked::Nothing,
            Self::NothingWritten => return Checked::NothingWritten,
            Self::Check(pending) => pending,
        };
        let is_stopped = || cancel.load(Ordering::Relaxed);
        let outcome = progress::of_verification(global, |_, tell| pending.check(&is_stopped, tell));
        let hint = "the next backup reads what is damaged from the source again; `dbakfs repair` saves what can be saved of older points";
        say(name.as_str(), &outcome.check, hint);
        keep(store, |lock| outcome.keep(store, lock, name));
        Checked::Done(Box::new(outcome))
    }
}

impl Checked {
    /// What is added to the line about the backup.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::NothingWritten => "; nothing was written, so nothing is checked".to_owned(),
            Self::Done(outcome) => format!("; check: {}", word(outcome.check.end)),
        }
    }

    pub(super) fn as_json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::NothingWritten => json!({ "end": "nothing-written" }),
            Self::Done(outcome) => as_json(&outcome.check),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Nothing | Self::NothingWritten => Exit::Done,
            Self::Done(outcome) => match outcome.check.end {
                CheckEnd::Pass => Exit::Done,
                CheckEnd::Fail => Exit::Damage,
                CheckEnd::NotRun => Exit::Incomplete,
            },
        }
    }
}

/// The verdict as it is shown.
pub(super) const fn word(end: CheckEnd) -> &'static str {
    match end {
        CheckEnd::Pass => "PASS",
        CheckEnd::Fail => "FAIL",
        CheckEnd::NotRun => "NOT RUN",
    }
}

/// A check as `--json` shows it.
pub(super) fn as_json(check: &Check) -> Value {
    serde_json::to_value(check).unwrap_or_default()
}

/// Says what a check has found, and what to do where it has failed.
pub(super) fn say(name: &str, check: &Check, hint: &str) {
    let kind = if check.end == CheckEnd::Fail { "error" } else { "warning" };
    for finding in &check.findings {
        output::complain(&format!("{kind}: check of {name}: {finding}"));
    }
    if check.end == CheckEnd::Fail {
        output::complain(&format!("hint: {hint}"));
    }
}

/// Keeps a verdict under the writer lock, which is waited for for a while. What cannot be kept is said, and changes no exit code.
pub(super) fn keep(store: &Store, write: impl FnOnce(&WriterLock) -> Result<Option<RepositoryError>, RepositoryError>) {
    let kept = WriterLock::take_within(store, PATIENCE).and_then(|lock| write(&lock));
    match kept {
        Ok(None) => {}
        Ok(Some(problem)) => output::complain(&format!("warning: {problem}; it is begun anew")),
        Err(error) => output::complain(&format!("warning: the verdict is not kept: {error}")),
    }
}

/// A number by chance.
pub(super) fn drawn() -> u64 {
    // Short enough to be typed again.
    std::hash::RandomState::new().hash_one(std::process::id()) % 1_000_000_000
}
