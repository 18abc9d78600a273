//! What the rules say of the points of a source, and carrying that out.
//!
//! Owns what of a store the judgement must know: pins, tags, the rules that series began with, and what cannot be read. Refuses to judge. Invariant: while an alarm of
//! the source stands, or may stand, nothing of it is forgotten by rules.

use std::collections::BTreeMap;

use super::alarms::Alarms;
use super::forgetting::{self, ForgetError};
use super::{Alarm, Points, Problem, RepositoryError, SourceName, Store, WriterLock};
use crate::format::{Number, Timestamp, layout};
use crate::policy::Secs;
use crate::policy::Today;
use crate::policy::retention::{self, Candidate, Hold, Judgement, KeepRules};

/// Clocks that are set right go back by less.
const BEHIND_SECS: u64 = 86_400;
/// Few machines are off for longer.
const AHEAD_SECS: u64 = 60 * 86_400;

/// Why nothing was forgotten by rules.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// An alarm stands.
    #[error("an alarm stands for {name}: {}", alarm.reason)]
    AlarmStands {
        /// The source.
        name: SourceName,
        /// The alarm.
        alarm: Alarm,
    },
    /// What is noted of the source cannot be read.
    #[error("whether an alarm stands for {name} is not known")]
    AlarmUnknown {
        /// The source.
        name: SourceName,
        /// What is wrong with the file.
        source: RepositoryError,
    },
    /// A point is dated ahead of the clock: one of the two is wrong.
    #[error("backup {number} of {name} is dated {} ahead of the clock", Secs(*ahead))]
    ClockBehind {
        /// The source.
        name: SourceName,
        /// The point.
        number: Number,
        /// Seconds.
        ahead: u64,
    },
    /// The clock is far ahead of what was backed up last before the newest point.
    #[error("the clock has moved by {} since the last backup of {name} but one", Secs(*ahead))]
    ClockAhead {
        /// The source.
        name: SourceName,
        /// Seconds.
        ahead: u64,
    },
    /// A plan that must not be carried out.
    #[error(transparent)]
    Forget(#[from] ForgetError),
    /// The store.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Judges the living points of the source of that name. With `current_only` no series goes by the rules that it began with.
#[must_use]
pub fn judge(points: &Points, source: &str, current: &KeepRules, current_only: bool, today: &Today) -> Judgement {
    let unread = points.problems.iter().filter_map(number_of).collect::<Vec<_>>();
    // What is forgotten already is missed by nobody.
    let living = |number: &&Number| points.notes.get(number).is_none_or(|notes| notes.forgotten.is_none());
    let blind = points.unreadable.iter().filter(living).max().copied();
    let candidate = |point: &crate::format::Point| {
        let notes = points.notes.get(&point.number);
        let hold = if notes.is_some_and(|notes| notes.pinned) {
            Some(Hold::Pinned)
        } else if notes.is_some_and(|notes| !notes.tags.is_empty()) {
            Some(Hold::Tagged)
        } else if unread.contains(&point.number) || point.kind.base().is_some_and(|base| unread.contains(&base)) {
            Some(Hold::NotesUnreadable)
        } else {
            blind.filter(|blind| point.is_full() && point.number < *blind).map(Hold::MayBeBaseOf)
        };
        Candidate { number: point.number, time: point.time, base: point.kind.base(), origin: point.origin, hold }
    };
    let candidates: Vec<Candidate> = points.of_source(source).map(candidate).collect();
    let mut began = BTreeMap::new();
    if !current_only {
        let rules = |full: Number| points.notes.get(&full)?.keep.clone();
        began.extend(candidates.iter().filter_map(|point| Some((point.series(), rules(point.series())?))));
    }
    retention::judge(&candidates, &began, current, today)
}

/// The point whose notes a problem is about.
fn number_of(problem: &Problem) -> Option<Number> {
    let Problem::Notes(RepositoryError::Damaged { name, .. }) = problem else { return None };
    layout::point_number(name.strip_prefix(layout::POINTS)?.strip_prefix('/')?)
}

/// Refuses where an alarm of the source stands, or may stand.
///
/// # Errors
/// It does, or nothing can be read.
pub fn refuse_alarm(store: &Store, name: &SourceName) -> Result<(), KeepError> {
    let mut alarms = Alarms::read(store.storage()).map_err(RepositoryError::from)?;
    if let Some(alarm) = alarms.standing.remove(name.as_str()) {
        return Err(KeepError::AlarmStands { name: name.clone(), alarm });
    }
    if alarms.hold(name.as_str()) {
        let source = super::SourceNotes::read(store.storage(), name).err();
        let source = source.unwrap_or_else(|| RepositoryError::damaged(layout::SOURCES, "it cannot be read"));
        return Err(KeepError::AlarmUnknown { name: name.clone(), source });
    }
    Ok(())
}

/// Refuses where the clock cannot be trusted: rules that go by age would forget what is young. A point that is dated ahead of it holds its source back until it is
/// forgotten by hand, or its time has come; a clock that has jumped ahead does for one backup.
///
/// # Errors
/// It cannot.
pub fn refuse_clock(points: &Points, name: &SourceName, now: Timestamp) -> Result<(), KeepError> {
    let ahead = |from: Timestamp, to: Timestamp| u64::try_from(to.secs.saturating_sub(from.secs)).unwrap_or(0);
    let backups = || points.backups_of(name.as_str());
    if let Some(newest) =
        backups().max_by_key(|point| point.clock).filter(|point| ahead(now, point.clock) > BEHIND_SECS)
    {
        let ahead = ahead(now, newest.clock);
        return Err(KeepError::ClockBehind { name: name.clone(), number: newest.number, ahead });
    }
    let newest = backups().map(|point| point.number).max();
    let before = backups().filter(|point| Some(point.number) != newest).map(|point| point.clock).max();
    match before.map(|before| ahead(before, now)) {
        Some(ahead) if ahead > AHEAD_SECS => Err(KeepError::ClockAhead { name: name.clone(), ahead }),
        _ => Ok(()),
    }
}

/// Forgets what was judged to go, differentials first, as of `today`; answers the numbers in that order.
///
/// # Errors
/// An alarm stands, the judgement is of other points, or what is noted of a point cannot be read or written; the points before it are done.
pub fn carry_out(
    store: &Store,
    lock: &WriterLock,
    name: &SourceName,
    points: &Points,
    judgement: &Judgement,
    today: &Today,
) -> Result<Vec<Number>, KeepError> {
    refuse_alarm(store, name)?;
    if !judgement.forgotten().is_empty() {
        refuse_clock(points, name, today.now)?;
    }
    // Said once more by who owns it: no pin goes, and no full before all that stands on it.
    let order = forgetting::forget(points, &judgement.forgotten().into_iter().collect(), false)?;
    forgetting::write(store, lock, &order, Some(today.now))?;
    Ok(order)
}
