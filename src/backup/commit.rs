//! The end of a backup: what must be durable before the catalog is renamed, the rename, and what follows it.

use super::engine::Engine;
use super::prepare::chain;
use super::run::{Done, Made, Outcome, Run};
use super::{BackupError, Choice, Decision, Notice, Result};
use crate::format::catalog::PackRef;
use crate::format::layout;
use crate::format::{Counts, Number, Point, SourceId, Timestamp};
use crate::index::Fingerprint;
use crate::pack::Packed;
use crate::policy::decision::Facts;
use crate::repository::notes::Notes;
use crate::repository::{PointNotes, Points, WriterLock, marks, tags};

impl Run<'_> {
    /// Commits the point, or finds that there is nothing to commit.
    pub(super) fn conclude(
        &self,
        engine: Engine<'_>,
        mut point: Point,
        points: &Points,
        decision: Decision,
        facts: Facts,
    ) -> Result<Done> {
        let Engine { writer, chunks, counts, has_changed, settled, .. } = engine;
        let (packed, packs) = chunks.finish()?;
        point.counts = counts;
        let mut written = self.abandoned.map(|left| left.packs.clone()).unwrap_or_default();
        written.extend(packed.iter().map(|packed| packed.pack));
        point.counts.stored_bytes = written.iter().map(|pack| pack.file_len).sum();
        let done = |outcome, counts| Done { outcome, decision, facts, counts };
        let (Some(writer), Some(lock)) = (writer, &self.session.lock) else {
            return Ok(done(Outcome::Tried { has_changed }, counts));
        };
        let newest = points.backups_of(self.name.as_str()).max_by_key(|point| point.time);
        // A full that is asked for or due is made for its own sake.
        let is_wanted = self.options.force || matches!(decision.choice, Choice::Full { .. });
        if let Some(newest) = newest.filter(|_| !has_changed && !is_wanted) {
            drop(writer);
            let mut notes = points.notes.clone();
            for (number, changed) in self.tag_writes(&points.points, &mut notes, newest.number)? {
                changed.write(&self.session.store, lock, number)?;
            }
            self.tell_problem(self.note_success(lock, newest.number, &point.source));
            self.tell_index(&packed, point.family, settled, &[]);
            return Ok(done(Outcome::Unchanged(Box::new(newest.clone())), counts));
        }
        let mut notes = points.notes.clone();
        let mut all = points.points.clone();
        all.push(point.clone());
        let writes = self.tag_writes(&all, &mut notes, point.number)?;
        self.reserve(lock, point.number, &packs)?;
        // The new point's tags are there before the point is; those of other points go after it has come.
        let (mut own, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(|(number, _)| *number == point.number);
        if let Some(keep) = self.options.keep.as_ref().filter(|_| point.is_full()) {
            if own.is_empty() {
                own.push((point.number, PointNotes::default()));
            }
            own.iter_mut().for_each(|(_, notes)| notes.keep = Some(keep.clone()));
        }
        for (number, changed) in own {
            changed.write(&self.session.store, lock, number)?;
        }
        let alarm = self.raise_alarm(lock, points, &point)?;
        point.finished = self.options.clock.unwrap_or_else(Timestamp::now);
        let catalog_bytes = writer.finish(&point, packs)?;
        // The point is made. What fails from here on is said, and mended by the next backup: a tag that two points hold is the newer one's.
        for (number, changed) in others {
            self.tell_problem(changed.write(&self.session.store, lock, number));
        }
        self.tell_problem(self.note_success(lock, point.number, &point.source));
        let outdated: Vec<Number> = if point.is_full() {
            points.of_source(self.name.as_str()).map(|point| point.number).collect()
        } else {
            Vec::new()
        };
        self.tell_index(&packed, point.family, settled, &outdated);
        let counts = point.counts;
        Ok(done(Outcome::Made(Box::new(Made { point, catalog_bytes, packs: written, alarm })), counts))
    }

    /// Commits a point that is no backup: what does not come from the source says nothing of its last success, and no tag goes to it.
    pub(super) fn publish(&self, engine: Engine<'_>, mut point: Point) -> Result<Option<Made>> {
        let Engine { writer, chunks, counts, .. } = engine;
        let (packed, packs) = chunks.finish()?;
        point.counts = Counts { stored_bytes: packed.iter().map(|packed| packed.pack.file_len).sum(), ..counts };
        let (Some(writer), Some(lock)) = (writer, &self.session.lock) else { return Ok(None) };
        self.reserve(lock, point.number, &packs)?;
        point.finished = self.options.clock.unwrap_or_else(Timestamp::now);
        let catalog_bytes = writer.finish(&point, packs)?;
        self.tell_index(&packed, point.family, Vec::new(), &[]);
        let packs = packed.iter().map(|packed| packed.pack).collect();
        Ok(Some(Made { point, catalog_bytes, packs, alarm: None }))
    }

    /// What must hold, and be durable, before the catalog is renamed: its packs are there, the lock is the store's, the number is used up.
    fn reserve(&self, lock: &WriterLock, number: Number, packs: &[PackRef]) -> Result<()> {
        self.check_packs(packs)?;
        if !lock.is_current(&self.session.store)? {
            return Err(BackupError::LockLost);
        }
        let reserved = marks::reserve(&self.session.store, lock, Points::highest(self.session.store.storage())?)?;
        if let Some(problem) = reserved.problem {
            (self.notify)(Notice::Problem(problem.to_string()));
        }
        if reserved.value != number {
            return Err(BackupError::NumberTaken { number });
        }
        Ok(())
    }

    /// What must be written so that the tags stand at `number`, each point once, in order.
    fn tag_writes(&self, points: &[Point], notes: &mut Notes, number: Number) -> Result<Vec<(Number, PointNotes)>> {
        let mut order: Vec<Number> = Vec::new();
        for tag in &self.options.tags {
            let plan = tags::assign(points, notes, number, tag, self.moving())?;
            for (number, changed) in plan.writes {
                notes.insert(number, changed);
                if !order.contains(&number) {
                    order.push(number);
                }
            }
        }
        for number in &order {
            // What is noted about a point and cannot be read is not written over: a pin, or that it was forgotten, would be lost.
            PointNotes::read(self.session.store.storage(), *number)?;
        }
        Ok(order.into_iter().map(|number| (number, notes.get(&number).cloned().unwrap_or_default())).collect())
    }

    /// Every pack that is referred to must be there: the index may be older than the store.
    fn check_packs(&self, packs: &[PackRef]) -> Result<()> {
        for pack in packs {
            if self.session.store.storage().len(&layout::pack(&pack.id))? != Some(pack.file_len) {
                return Err(BackupError::PackGone { pack: pack.id });
            }
        }
        Ok(())
    }

    fn tell_problem<E: std::fmt::Display>(&self, answer: std::result::Result<(), E>) {
        if let Err(error) = answer {
            (self.notify)(Notice::Problem(error.to_string()));
        }
    }

    fn note_success(&self, lock: &WriterLock, point: Number, source: &SourceId) -> Result<()> {
        let mut notes = self.source_notes(source, point)?;
        notes.source.clone_from(source);
        notes.last_success = Some(self.options.clock.unwrap_or_else(Timestamp::now));
        notes.last_point = Some(point);
        Ok(notes.write(&self.session.store, lock)?)
    }

    /// Tells the index what the catalog knows already. An index that refuses is set aside: the next backup makes it anew.
    pub(super) fn tell_index(
        &self,
        packed: &[Packed],
        family: u32,
        settled: Vec<(Number, u32, Fingerprint)>,
        outdated: &[Number],
    ) {
        let tell = || -> Result<()> {
            let mut prepared = self.session.index(self.notify)?;
            for packed in packed {
                prepared.learn(packed, family)?;
            }
            let index = prepared.index();
            for number in outdated {
                index.unsettle(*number)?;
            }
            let is_new = !packed.is_empty() || !settled.is_empty();
            index.settle(settled.into_iter().filter(|(number, ..)| !outdated.contains(number)).collect())?;
            if is_new {
                index.flush()?;
            }
            Ok(())
        };
        if let Err(error) = tell() {
            (self.notify)(Notice::Problem(format!("the index is given up: {}", chain(&error))));
            self.session.give_up_index(self.notify);
        }
    }
}
