//! Whether a new point changed far more than its source's points use to, and the note of it.
//!
//! Owns which points make the habit, and that the alarm is noted before the point is there: a crash in between leaves an alarm too many, never one too few. Refuses to judge.

use super::run::Run;
use super::{Notice, Result};
use crate::format::{Number, Origin, Point, SourceId, Timestamp};
use crate::policy::surge::{self, Change};
use crate::repository::{Alarm, Points, RepositoryError, SourceNotes, WriterLock};

impl Run<'_> {
    /// Notes an alarm where `point`, which is about to be committed, is a surge. One that stands already stays as it is.
    pub(super) fn raise_alarm(&self, lock: &WriterLock, points: &Points, point: &Point) -> Result<Option<Alarm>> {
        let before: Vec<&Point> = earlier(points, point);
        let Some(change) = change(&before, point) else { return Ok(None) };
        let habit: Vec<u64> = before
            .iter()
            .filter(|point| point.previous.is_some())
            .map(|point| point.counts.changed_bytes.saturating_add(point.counts.gone_bytes))
            .collect();
        let Some(surge) = surge::judge(&self.options.alarm, change, &habit) else { return Ok(None) };
        let alarm = Alarm { point: point.number, since: point.clock, reason: surge.to_string() };
        let store = &self.session.store;
        let mut notes = self.source_notes(&point.source, point.number)?;
        if notes.alarm.is_none() {
            notes.alarm = Some(alarm.clone());
            notes.write(store, lock)?;
        }
        (self.notify)(Notice::Alarm(alarm.clone()));
        Ok(Some(alarm))
    }
}

impl Run<'_> {
    /// What is noted of the source. Where that is damaged an alarm may have stood, which only a person ends: it is taken to stand.
    pub(super) fn source_notes(&self, source: &SourceId, number: Number) -> Result<SourceNotes> {
        match SourceNotes::read(self.session.store.storage(), self.name) {
            Ok(Some(notes)) => Ok(notes),
            Ok(None) => Ok(SourceNotes::new(source.clone())),
            Err(problem @ RepositoryError::Damaged { .. }) => {
                let since = self.options.clock.unwrap_or_else(Timestamp::now);
                let reason = format!("{problem}: whether an alarm stood is not known");
                let alarm = Alarm { point: number, since, reason };
                (self.notify)(Notice::Alarm(alarm.clone()));
                Ok(SourceNotes { alarm: Some(alarm), ..SourceNotes::new(source.clone()) })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The backups of the source before this one, newest first; forgotten ones have their part in the habit, too.
fn earlier<'a>(points: &'a Points, point: &Point) -> Vec<&'a Point> {
    let is_earlier = |other: &&Point| {
        other.source.name == point.source.name && other.origin == Origin::Backup && other.number < point.number
    };
    let mut earlier: Vec<&Point> = points.points.iter().chain(&points.forgotten).filter(is_earlier).collect();
    earlier.sort_unstable_by_key(|point| std::cmp::Reverse(point.number));
    earlier
}

/// What the point changed; none where there is nothing to compare with. Bytes by which the tree has shrunk are gone, whoever counted them: an independent full
/// is compared with no earlier point, and finds an emptied mount all the same.
fn change(before: &[&Point], point: &Point) -> Option<Change> {
    let previous = before.iter().find(|other| Some(other.number) == point.previous).or(before.first())?;
    let tree_bytes = previous.counts.bytes;
    let shrunk = tree_bytes.saturating_sub(point.counts.bytes);
    let gone_bytes = point.counts.gone_bytes.max(shrunk);
    Some(Change { changed_bytes: point.counts.changed_bytes, gone_bytes, tree_bytes })
}
