//! When a task of a source is due: by cron, so long after the last time, or after another has succeeded.
//!
//! What was missed is due once, however often it was missed; what failed is not due again before its next time.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Secs;
use super::cron::{Cron, CronError};
use crate::format::Timestamp;

/// What can be scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A backup, full or differential as the rules say.
    #[default]
    Auto,
    /// A full.
    Full,
    /// A differential.
    Differential,
    /// `verify --data`.
    Verify,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Full, Self::Differential, Self::Verify];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Differential => "differential",
            Self::Verify => "verify",
        }
    }

    /// Of the tasks that are due at once, which comes first: a full serves for every other backup, and what was backed up can be verified.
    const fn rank(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Auto => 1,
            Self::Differential => 2,
            Self::Verify => 3,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum When {
    /// At the times of a cron expression.
    Cron(Cron),
    /// So long after it last began.
    Every(Secs),
    /// Whenever that has succeeded.
    After(Task),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(span) => write!(f, "every {span}"),
            Self::After(task) => write!(f, "after {task}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a schedule is a cron expression, { every = \"6h\" } or { after = \"full\" }")]
enum Written {
    Cron(String),
    Table(BTreeMap<String, String>),
}

impl TryFrom<Written> for When {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let wrong = || "a schedule is a cron expression, { every = \"6h\" } or { after = \"full\" }".to_owned();
        let table = match written {
            Written::Cron(text) => {
                return text.parse().map(Self::Cron).map_err(|error: CronError| error.to_string());
            }
            Written::Table(table) => table,
        };
        let mut pairs = table.into_iter();
        let (Some((key, value)), None) = (pairs.next(), pairs.next()) else { return Err(wrong()) };
        match key.as_str() {
            "every" => {
                let every: Secs = value.parse().map_err(|error: super::duration::SecsError| error.to_string())?;
                if every.0 == 0 { Err("every 0 is always".to_owned()) } else { Ok(Self::Every(every)) }
            }
            "after" => Task::ALL
                .into_iter()
                .find(|task| task.as_str() == value)
                .map(Self::After)
                .ok_or_else(|| format!("after {value:?}: write auto, full, differential or verify")),
            _ => Err(wrong()),
        }
    }
}

/// One line of the schedule.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The source.
    pub source: &'a str,
    /// What is done.
    pub task: Task,
    /// When.
    pub when: &'a When,
    /// It begins up to this much later, by chance.
    pub jitter: Secs,
}

/// What is known of the past of a line.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// When runs that serve for the task began, whatever came of them.
    pub begun: Vec<Timestamp>,
    /// When what the task comes after was done.
    pub done: Vec<Timestamp>,
    /// Since when the line has been known.
    pub since: Timestamp,
}

/// When the line is due: not after `now` if it is due now. None if nothing is to come, or something else must come before it. `seed` is what sets this
/// machine apart from others with the same schedule.
#[must_use]
pub fn due(line: &Line<'_>, past: &Past, seed: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    // What a clock that was wrong has dated into the future would hold everything up until then.
    let newest = |times: &[Timestamp]| times.iter().copied().filter(|time| *time <= now).max();
    let last = newest(&past.begun);
    let since = past.since.min(now);
    let planned = match line.when {
        When::Cron(cron) => cron.next(last.unwrap_or(since), zone)?,
        When::Every(every) => last.map_or(since, |last| last.plus_secs(every.signed())),
        When::After(_) => newest(&past.done).filter(|done| last.is_none_or(|last| *done > last))?,
    };
    Some(planned.plus_secs(jitter(line, planned, seed).signed()))
}

/// How much later a line begins than planned: always the same for the same moment, so that a look beforehand shows it.
fn jitter(line: &Line<'_>, planned: Timestamp, seed: &str) -> Secs {
    if line.jitter.0 == 0 {
        return Secs(0);
    }
    let text = format!("{seed}\0{}\0{}", line.source, planned.secs);
    let hash = blake3::hash(text.as_bytes());
    let word = hash.as_bytes().first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    Secs(word % line.jitter.0.saturating_add(1))
}

/// Something that is due, now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The source.
    pub source: String,
    /// What is done.
    pub task: Task,
    /// When.
    pub at: Timestamp,
}

/// What is done first of what is due now: backups before verifications, the source that has waited longest before others, and of its tasks the full before
/// all others.
#[must_use]
pub fn first(dues: &[Due], now: Timestamp) -> Option<&Due> {
    let is_verify = |due: &Due| due.task == Task::Verify;
    dues.iter().filter(|due| due.at <= now).min_by_key(|due| {
        let like = dues.iter().filter(|other| other.source == due.source && is_verify(other) == is_verify(due));
        let waits_since = like.map(|other| other.at).min();
        (is_verify(due), waits_since, &due.source, due.task.rank())
    })
}

/// When it must be looked at again; none if nothing is to come.
#[must_use]
pub fn next(dues: &[Due]) -> Option<Timestamp> {
    dues.iter().map(|due| due.at).min()
}

#[cfg(test)]
mod tests;
