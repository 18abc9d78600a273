//! A prune from its beginning to its end.
//!
//! Owns the order. Refuses to judge. Invariant: nothing is removed before what takes its place is durable, and before nobody can reach it.

use std::collections::BTreeSet;

use super::plan::{self, Deadlines, Plan};
use super::{PruneError, Result};
use crate::compaction::{self, Moves, OnDamage, Scan, Stay, Usage};
use crate::format::catalog::PackRef;
use crate::format::{Number, layout};
use crate::pack;
use crate::repository::marks::Marks;
use crate::repository::{Alarms, PointNotes, Points, ReaderWait, Store, WriterLock, lease, readers};
use crate::storage::StorageError;

/// What a prune may do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Points go that were forgotten then, or earlier.
    pub forgotten_before: Deadlines,
    /// A pack is rewritten where less than this percentage of it is needed; 0: none is.
    pub repack_below: u8,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Prune although readers on other machines might not be seen: there are none, the caller says.
    pub sole_host: bool,
    /// How long readers are waited for.
    pub readers: ReaderWait,
}

/// What a prune is at, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Looking at catalogs: so many of so many.
    Looking(usize, usize),
    /// Rewriting packs: so many bytes of so many.
    Rewriting(u64, u64),
    /// Writing catalogs anew: so many of so many.
    Revising(usize, usize),
    /// Waiting for readers to let go.
    Waiting,
    /// Removing files: so many of so many.
    Removing(usize, usize),
}

/// What is told while a prune runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// How far it is.
    Progress(Progress),
    /// Something is wrong, and less is removed than could be.
    Problem(&'a str),
}

/// What stays for now because readers may still see it; the next prune looks again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Readers that may see it.
    pub readers: usize,
    /// Bytes of it.
    pub bytes: u64,
}

/// What a prune did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// Packs that were removed.
    pub removed_packs: usize,
    /// Bytes of files that were removed.
    pub removed_bytes: u64,
    /// Packs that were written.
    pub written_packs: usize,
    /// Bytes of packs that were written.
    pub written_bytes: u64,
    /// What stays for now.
    pub left: Left,
}

/// Prunes the store. Between two files `is_stopped` is asked whether to stop: what was done till then is whole.
///
/// # Errors
/// Where the store cannot be read or written, or it was stopped. The next prune goes on.
pub fn prune(
    store: &Store,
    lock: &WriterLock,
    options: &Options,
    is_stopped: &dyn Fn() -> bool,
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<Report> {
    if !options.sole_host && !options.dry_run && !store.storage().flock_reach()?.is_known() {
        return Err(PruneError::ReadersElsewhere);
    }
    let mut run = Run { store, lock, options, is_stopped, notify };
    let points = Points::list(store.storage())?;
    for problem in &points.problems {
        (run.notify)(Event::Problem(&problem.to_string()));
    }
    let (plan, usage) = run.plan(&points)?;
    let mut report = Report { plan, ..Report::default() };
    if !options.dry_run {
        run.apply(&usage, &mut report)?;
    }
    Ok(report)
}

struct Run<'a> {
    store: &'a Store,
    lock: &'a WriterLock,
    options: &'a Options,
    is_stopped: &'a dyn Fn() -> bool,
    notify: &'a mut dyn FnMut(Event<'_>),
}

impl Run<'_> {
    /// What could go, and what is needed.
    fn plan(&mut self, points: &Points) -> Result<(Plan, Usage)> {
        let storage = self.store.storage();
        let alarms = Alarms::read(storage)?;
        for problem in &alarms.problems {
            (self.notify)(Event::Problem(&problem.to_string()));
        }
        let fate = plan::expire(points, &self.options.forgotten_before, &alarms);
        let gone: BTreeSet<Number> = fate.expired.iter().map(|expired| expired.number).collect();
        let numbers: BTreeSet<Number> =
            Points::numbers(storage)?.into_iter().chain(points.unreadable.clone()).collect();
        let kept: Vec<Number> = numbers.iter().filter(|number| !gone.contains(number)).copied().collect();
        let has_removed = !self.removed_catalogs()?.is_empty();
        let mut scan = Scan::new(storage);
        for (done, number) in kept.iter().enumerate() {
            self.step(Progress::Looking(done, kept.len()))?;
            scan.catalog(*number);
        }
        let listed = pack::list(storage)?;
        let marks = Marks::read(storage).map_or(1, |marks| marks.highest);
        if numbers.is_empty() && !has_removed && !listed.is_empty() && marks > 0 {
            return Err(PruneError::NoCatalogs);
        }
        let usage = scan.finish();
        let mut plan = plan::judge(&usage, &listed, self.options.repack_below);
        (plan.expired, plan.waiting, plan.held) = (fate.expired, fate.waiting, fate.held);
        plan.alarms = alarms.standing;
        for problem in &plan.problems {
            (self.notify)(Event::Problem(problem));
        }
        Ok((plan, usage))
    }

    fn apply(&mut self, usage: &Usage, report: &mut Report) -> Result<()> {
        let store = self.store;
        self.lock.remove_stale_temporaries(store)?;
        lease::sweep(store, self.lock)?;
        self.hide_expired(&report.plan)?;
        if !report.plan.repacks.is_empty() {
            // Room for what is written, where nobody can miss it.
            if self.readers_left()? == 0 {
                let named: BTreeSet<_> = usage.listed_by.values().flatten().map(|pack| pack.id).collect();
                let nameless = |pack: &PackRef| !named.contains(&pack.id);
                let unneeded: Vec<PackRef> = report.plan.unneeded.iter().copied().filter(nameless).collect();
                self.remove(&unneeded, report)?;
            }
            self.rewrite(usage, report)?;
        } else if !report.plan.revised.is_empty() {
            self.revise(&Moves::default(), report)?;
        }
        let going = self.unreachable(report)?;
        let removed = self.removed_catalogs()?;
        if going.is_empty() && removed.is_empty() && report.plan.expired.is_empty() {
            // Of points that an earlier prune took away, and then the power went.
            return self.forget_notes();
        }
        let readers = self.readers_left()?;
        if readers > 0 {
            let packs: u64 = going.iter().map(|pack| pack.file_len).sum();
            let catalogs: u64 = removed.iter().map(|(_, len)| len).sum();
            report.left = Left { readers, bytes: packs + catalogs };
            return Ok(());
        }
        self.remove(&going, report)?;
        self.forget_for_good(&removed, report)
    }

    /// How many readers may still see what is unreachable by now.
    fn readers_left(&mut self) -> Result<usize> {
        self.step(Progress::Waiting)?;
        let (highest, patience) = (Points::highest(self.store.storage())?, self.options.readers);
        let notify = &mut *self.notify;
        Ok(readers::left(self.store, self.lock, highest, patience, &mut |text| notify(Event::Problem(&text)))?)
    }

    /// Takes the catalogs of expired points out of every listing. Readers that have listed them find them under their other names.
    fn hide_expired(&mut self, plan: &Plan) -> Result<()> {
        let storage = self.store.storage();
        // A differential has a higher number than its full, and goes first: what is still there after a power cut stands on something.
        for expired in plan.expired.iter().rev() {
            self.check_lock()?;
            let to = layout::removed_catalog(expired.number);
            match storage.rename(&layout::catalog(expired.number), &to, crate::storage::Replace::Always) {
                Err(error) if error.is_not_found() => {}
                answer => answer?,
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, usage: &Usage, report: &mut Report) -> Result<()> {
        let repacked: Vec<PackRef> = report.plan.repacks.iter().map(|repack| repack.pack).collect();
        let (total, mut done) = (report.plan.rewritten_bytes(), 0);
        let mut problems = Vec::new();
        let (notify, is_stopped) = (&mut *self.notify, self.is_stopped);
        let moves = Moves::copy(
            self.store,
            usage,
            &repacked,
            OnDamage::Leave,
            &mut |error| problems.push(format!("it is left as it is: {error}")),
            &mut |bytes| {
                done += bytes;
                notify(Event::Progress(Progress::Rewriting(done.min(total), total)));
                !is_stopped()
            },
        )?;
        for problem in problems {
            (self.notify)(Event::Problem(&problem));
            report.plan.problems.push(problem);
        }
        for pack in moves.packs() {
            if self.store.storage().len(&layout::pack(&pack.id))? != Some(pack.file_len) {
                return Err(PruneError::PackGone(pack.id));
            }
        }
        report.plan.repacks.retain(|repack| moves.has(&repack.pack.id));
        report.written_packs = moves.packs().len();
        report.written_bytes = moves.packs().iter().map(|pack| pack.file_len).sum();
        self.revise(&moves, report)
    }

    fn revise(&mut self, moves: &Moves, report: &mut Report) -> Result<()> {
        let level = self.store.config().chunking.zstd_level;
        let all = report.plan.revised.len();
        for (done, number) in report.plan.revised.iter().enumerate() {
            self.step(Progress::Revising(done, all))?;
            self.check_lock()?;
            compaction::revise(self.store.storage(), *number, moves, Stay::InOtherPacks, level)
                .map_err(compaction::MoveError::from)?;
        }
        Ok(())
    }

    /// The packs that no catalog which is listed names any more.
    fn unreachable(&self, report: &Report) -> Result<Vec<PackRef>> {
        let rewritten = report.plan.repacks.iter().map(|repack| repack.pack);
        let going: BTreeSet<_> = report.plan.unneeded.iter().copied().chain(rewritten).map(|pack| pack.id).collect();
        Ok(pack::list(self.store.storage())?.into_iter().filter(|pack| going.contains(&pack.id)).collect())
    }

    fn removed_catalogs(&self) -> Result<Vec<(Number, u64)>> {
        let listed = self.store.storage().list(layout::CATALOGS)?;
        let removed = listed.into_iter().filter_map(|(name, len)| Some((layout::removed_catalog_number(&name)?, len)));
        Ok(removed.collect())
    }

    fn remove(&mut self, packs: &[PackRef], report: &mut Report) -> Result<()> {
        let storage = self.store.storage();
        let mut directories = BTreeSet::new();
        for (done, pack) in packs.iter().enumerate() {
            self.step(Progress::Removing(done, packs.len()))?;
            self.check_lock()?;
            let name = layout::pack(&pack.id);
            gone(storage.remove(&name))?;
            report.removed_packs += 1;
            report.removed_bytes += pack.file_len;
            directories.extend(name.rsplit_once('/').map(|(directory, _)| directory.to_owned()));
        }
        for directory in directories {
            storage.sync_dir(&directory)?;
        }
        Ok(())
    }

    /// Removes what is left of points that are gone: their catalogs and what is noted of them.
    fn forget_for_good(&mut self, removed: &[(Number, u64)], report: &mut Report) -> Result<()> {
        let storage = self.store.storage();
        for (number, len) in removed {
            gone(storage.remove(&layout::removed_catalog(*number)))?;
            report.removed_bytes += len;
        }
        let gone_for_good: BTreeSet<Number> = report.plan.expired.iter().map(|expired| expired.number).collect();
        for (name, len) in storage.list(layout::CATALOGS)? {
            let number = layout::set_aside_catalog_number(&name);
            if number.is_some_and(|number| gone_for_good.contains(&number)) {
                gone(storage.remove(&format!("{}/{name}", layout::CATALOGS)))?;
                report.removed_bytes += len;
            }
        }
        storage.sync_dir(layout::CATALOGS)?;
        self.forget_notes()
    }

    /// Removes what is noted of points that are gone.
    fn forget_notes(&self) -> Result<()> {
        let storage = self.store.storage();
        let mut has_removed = false;
        let listed: BTreeSet<Number> = Points::numbers(self.store.storage())?.into_iter().collect();
        for (name, _) in storage.list(layout::POINTS)? {
            let Some(number) = layout::point_number(&name).filter(|number| !listed.contains(number)) else { continue };
            // What is noted of a point whose catalog was lost, and not taken away, stays.
            if PointNotes::read(storage, number).is_ok_and(|notes| notes.forgotten.is_some()) {
                gone(storage.remove(&layout::point(number)))?;
                has_removed = true;
            }
        }
        if has_removed {
            storage.sync_dir(layout::POINTS)?;
        }
        Ok(())
    }

    fn step(&mut self, progress: Progress) -> Result<()> {
        (self.notify)(Event::Progress(progress));
        if (self.is_stopped)() { Err(PruneError::Stopped) } else { Ok(()) }
    }

    fn check_lock(&self) -> Result<()> {
        if self.lock.is_current(self.store)? { Ok(()) } else { Err(PruneError::LockLost) }
    }
}

/// What is gone already need not be removed.
fn gone(answer: std::result::Result<(), StorageError>) -> Result<()> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        answer => Ok(answer?),
    }
}
