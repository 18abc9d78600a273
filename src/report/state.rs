//! What is known of each source: its points, what was run for it, and what is wanted of it.
//!
//! Owns putting these together from the store and from what stands beside it. Refuses to judge against the clock. Invariant: a run is counted once, though it
//! may stand in the store and among those that are not yet recorded there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::format::{Number, Origin, Point, Timestamp};
use crate::policy::Secs;
use crate::policy::decision::DecisionRules;
use crate::repository::runs::{self, BackupType, Check, CheckEnd, CheckKind, Run, RunEnd, RunNotes};
use crate::repository::{Alarm, Points, RepositoryError, SourceNotes, sources};
use crate::settings::{SourceSettings, Task, VerifyAfter};

use crate::storage::Storage;

/// What is known outside the store.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What is wanted of the sources that the configuration names.
    pub wanted: BTreeMap<String, Wanted>,
    /// Runs and checks that the store does not hold yet, for it could not be written when they ended.
    pub unrecorded: Vec<Unrecorded>,
}

/// What is wanted of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The most time that may pass between two successes.
    pub rpo: Option<Secs>,
    /// The most time that a full restore may take.
    pub rto: Option<Secs>,
    /// The percentage of its full that a differential is not to exceed.
    pub diff_threshold: u32,
    /// Whether each backup is followed by a check.
    pub is_checked: bool,
    /// Whether backups of it are scheduled.
    pub is_scheduled: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        let diff_threshold = DecisionRules::default().diff_threshold;
        Self { rpo: None, rto: None, diff_threshold, is_checked: true, is_scheduled: false }
    }
}

impl From<&SourceSettings> for Wanted {
    fn from(settings: &SourceSettings) -> Self {
        Self {
            rpo: settings.rpo,
            rto: settings.rto,
            diff_threshold: settings.decision().diff_threshold,
            is_checked: settings.verify != VerifyAfter::Off,
            is_scheduled: settings.schedule.keys().any(|task| *task != Task::Verify),
        }
    }
}

/// Something that the store does not hold yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unrecorded {
    /// The name of the source.
    pub source: String,
    /// What of it.
    pub what: Noted,
}

/// What can be noted of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noted {
    /// A backup, or an attempt at one.
    Run(Run),
    /// A check.
    Check(Check),
}

/// All sources of a store.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By name.
    pub sources: BTreeMap<String, SourceState>,
    /// What could not be read, a line each; all else is here.
    pub problems: Vec<String>,
}

/// One source.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// The points that are not forgotten, by time.
    pub points: Vec<StoredPoint>,
    /// When the newest backup of each type was finished whose point the store still holds, forgotten or not.
    pub made: BTreeMap<BackupType, Timestamp>,
    /// What was run, with what is not recorded yet.
    pub ledger: RunNotes,
    /// When a backup last ended well, as noted with the source.
    pub noted_success: Option<Timestamp>,
    /// The change that nobody has acknowledged.
    pub alarm: Option<Alarm>,
    /// What is wanted of it.
    pub wanted: Wanted,
}

/// A point and its catalog.
#[derive(Clone, Debug)]
pub struct StoredPoint {
    /// What its catalog says.
    pub point: Point,
    /// Bytes of that.
    pub catalog_bytes: u64,
}

impl StoredPoint {
    /// Bytes that the store grew by.
    #[must_use]
    pub const fn stored_bytes(&self) -> u64 {
        self.point.counts.stored_bytes.saturating_add(self.catalog_bytes)
    }

    /// Full or differential.
    #[must_use]
    pub const fn backup_type(&self) -> BackupType {
        type_of(&self.point)
    }
}

/// What is known of whether backups are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// They are.
    Passed,
    /// They are not.
    Failed,
    /// Nobody has looked, or could.
    NotRun,
}

/// Clocks of machines that share a store differ by less.
const AHEAD_SECS: i64 = 3_600;

const fn type_of(point: &Point) -> BackupType {
    if point.is_full() { BackupType::Full } else { BackupType::Differential }
}

impl State {
    /// Reads what a store says. `before` is an earlier listing of its points, or an empty one; answers the new one, too. Takes no lease: it reads the heads of
    /// catalogs and small files, and a point that a prune has just taken away is not there.
    ///
    /// # Errors
    /// A directory of the store cannot be read. Single files that cannot are [`State::problems`].
    pub fn read(
        storage: &Storage,
        before: &Points,
        beside: &Beside,
        now: Timestamp,
    ) -> Result<(Self, Points), RepositoryError> {
        let points = Points::list_again(storage, before)?;
        let (notes, broken) = sources::read_all(storage)?;
        let (runs, more) = runs::read_all(storage)?;
        let mut state = Self::of(&points, notes, runs, beside);
        state.disbelieve_the_future(now);
        state.problems.extend(broken.iter().chain(&more).map(ToString::to_string));
        Ok((state, points))
    }

    /// Takes away what a clock that was wrong has dated ahead of `now`: a success that lies years ahead would hide every failure until then.
    fn disbelieve_the_future(&mut self, now: Timestamp) {
        let latest = now.plus_secs(AHEAD_SECS);
        for source in self.sources.values_mut() {
            source.made.retain(|_, finished| *finished <= latest);
            source.noted_success = source.noted_success.filter(|success| *success <= latest);
            source.ledger.runs.retain(|run| run.began <= latest);
            source.ledger.checks.retain(|check| check.began <= latest);
        }
    }

    /// Puts together what was read.
    #[must_use]
    pub fn of(points: &Points, notes: Vec<SourceNotes>, runs: Vec<RunNotes>, beside: &Beside) -> Self {
        let mut sources: BTreeMap<String, SourceState> = BTreeMap::new();
        for name in beside.wanted.keys() {
            sources.entry(name.clone()).or_default();
        }
        for point in &points.points {
            let source = sources.entry(point.source.name.clone()).or_default();
            let catalog_bytes = points.catalog_bytes.get(&point.number).copied().unwrap_or(0);
            source.points.push(StoredPoint { point: point.clone(), catalog_bytes });
        }
        for point in points.points.iter().chain(&points.forgotten).filter(|point| point.origin == Origin::Backup) {
            let made = &mut sources.entry(point.source.name.clone()).or_default().made;
            let newest = made.entry(type_of(point)).or_insert(point.finished);
            *newest = point.finished.max(*newest);
        }
        for notes in notes {
            let source = sources.entry(notes.source.name).or_default();
            (source.noted_success, source.alarm) = (notes.last_success, notes.alarm);
        }
        for ledger in runs {
            let source = sources.entry(ledger.name.clone()).or_default();
            source.ledger = ledger;
        }
        for Unrecorded { source, what } in &beside.unrecorded {
            let ledger = &mut sources.entry(source.clone()).or_default().ledger;
            match what {
                Noted::Run(run)
                    if !ledger.runs.iter().any(|known| (known.began, known.end) == (run.began, run.end)) =>
                {
                    ledger.push_run(run.clone());
                }
                Noted::Check(check) if !ledger.checks.contains(check) => ledger.push_check(check.clone()),
                Noted::Run(_) | Noted::Check(_) => {}
            }
        }
        for (name, source) in &mut sources {
            source.points.sort_by_key(|stored| (stored.point.time, stored.point.number));
            source.ledger.name.clone_from(name);
            source.ledger.runs.sort_by_key(|run| run.began);
            source.ledger.checks.sort_by_key(|check| check.began);
            source.wanted = beside.wanted.get(name).cloned().unwrap_or_default();
        }
        Self { sources, problems: points.problems.iter().map(ToString::to_string).collect() }
    }
}

impl SourceState {
    /// The newest full. One that was imported, or made of a differential, stands outside the rotation, and counts only where there is no other.
    #[must_use]
    pub fn newest_full(&self) -> Option<&StoredPoint> {
        let fulls = || self.points.iter().rev().filter(|stored| stored.point.is_full());
        fulls().find(|stored| stored.point.origin == Origin::Backup).or_else(|| fulls().next())
    }

    /// The differentials on a full, by time. How far imported ones have grown is nothing that a new full could mend.
    pub fn differentials_on(&self, full: Number) -> impl DoubleEndedIterator<Item = &StoredPoint> {
        let is_on = move |stored: &&StoredPoint| stored.point.kind.base() == Some(full);
        self.points.iter().filter(is_on).filter(|stored| stored.point.origin == Origin::Backup)
    }

    /// The newest of the newest series: of either type, what the next one is measured by.
    #[must_use]
    pub fn newest(&self, of: BackupType) -> Option<&StoredPoint> {
        let full = self.newest_full()?;
        match of {
            BackupType::Full => Some(full),
            BackupType::Differential => self.differentials_on(full.point.number).next_back(),
        }
    }

    /// The newest differential of any series; an imported one counts only where there is no other.
    #[must_use]
    pub fn newest_differential(&self) -> Option<&StoredPoint> {
        let differentials = || self.points.iter().rev().filter(|stored| !stored.point.is_full());
        differentials().find(|stored| stored.point.origin == Origin::Backup).or_else(|| differentials().next())
    }

    /// The newest run of a type.
    #[must_use]
    pub fn last_run(&self, of: BackupType) -> Option<&Run> {
        self.ledger.runs.iter().rev().find(|run| run.r#type == of)
    }

    /// When a backup of a type last ended well.
    #[must_use]
    pub fn last_success(&self, of: BackupType) -> Option<Timestamp> {
        let runs = self.ledger.runs.iter().filter(|run| run.r#type == of && is_success(run)).map(ended);
        runs.chain(self.made.get(&of).copied()).max()
    }

    /// When any backup last ended well.
    #[must_use]
    pub fn last_success_of_any(&self) -> Option<Timestamp> {
        let types = [BackupType::Full, BackupType::Differential];
        types.into_iter().filter_map(|of| self.last_success(of)).chain(self.noted_success).max()
    }

    /// Whether the newest run of a type ended well; none where nothing was run. A differential that failed is made good by a full that came after it, never the
    /// other way round.
    #[must_use]
    pub fn is_job_well(&self, of: BackupType) -> Option<bool> {
        let last = self.last_run(of)?;
        let made_good = || {
            let later = self
                .last_run(BackupType::Full)
                .filter(|full| of == BackupType::Differential && full.began > last.began);
            later.is_some_and(is_success)
        };
        Some(is_success(last) || made_good())
    }

    /// What is known of whether a type's backups are whole: by the check after the backup, by the newest check of the whole store and by the newest rehearsal, as far
    /// as there were any. None where there is nothing to check, or nobody wants it checked. A check that could not run is no pass, nor is none at all, nor
    /// two backups since the last one. Nobody waits for a check of what was imported or promoted; where one was made, it counts if it found something, or
    /// if there is nothing else.
    #[must_use]
    pub fn verification(&self, of: BackupType) -> Option<Verification> {
        let has_point = self.points.iter().any(|stored| stored.backup_type() == of);
        let is_backup = |stored: &&StoredPoint| stored.point.origin == Origin::Backup;
        let has_backup = self.points.iter().filter(is_backup).any(|stored| stored.backup_type() == of);
        let is_wanted = self.wanted.is_checked && has_backup;
        // One that passed says nothing of the backup before it.
        let is_aside = |check: &Check| {
            let of_check = |stored: &&StoredPoint| Some(stored.point.number) == check.number;
            has_backup
                && check.end != CheckEnd::Fail
                && self.points.iter().find(of_check).is_some_and(|stored| !is_backup(&stored))
        };
        let checks = || self.ledger.checks.iter().rev();
        let own = checks().find(|check| {
            matches!(check.kind, CheckKind::Written | CheckKind::Sample)
                && check.r#type.is_none_or(|r#type| r#type == of)
                && !is_aside(check)
        });
        let whole = checks().find(|check| check.kind == CheckKind::Full);
        let rehearsal = checks().find(|check| check.kind == CheckKind::Rehearsal);
        let newest = own.into_iter().chain(whole).map(|check| check.began).max();
        if !has_point || (newest.is_none() && rehearsal.is_none() && !is_wanted) {
            return None;
        }
        let has_ended = |end| [own, whole, rehearsal].into_iter().flatten().any(|check| check.end == end);
        let since = |newest| {
            let made = self.ledger.runs.iter().filter(|run| run.r#type == of && run.number.is_some());
            made.filter(|run| run.began > newest).count()
        };
        let is_seen = !is_wanted || newest.is_some_and(|newest| since(newest) < 2);
        Some(if has_ended(CheckEnd::Fail) {
            Verification::Failed
        } else if has_ended(CheckEnd::NotRun) || !is_seen {
            Verification::NotRun
        } else {
            Verification::Passed
        })
    }

    /// How long a restore of everything would take, as the newest rehearsal that passed has measured.
    #[must_use]
    pub fn restore_secs(&self) -> Option<f64> {
        let rehearsals = self.ledger.checks.iter().rev().filter(|check| check.kind == CheckKind::Rehearsal);
        rehearsals.filter(|check| check.end == CheckEnd::Pass).find_map(|check| check.full_restore_secs)
    }
}

/// Whether a run ended well.
#[must_use]
pub const fn is_success(run: &Run) -> bool {
    !matches!(run.end, RunEnd::Failed)
}

/// When a run ended.
#[must_use]
pub fn ended(run: &Run) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a conversion of a float stays within bounds")]
    run.began.plus_secs(run.secs.max(0.0) as i64)
}
