//! What follows a backup that succeeded: what was written is checked, a restore is rehearsed when it is due, what the rules no longer keep is forgotten, what was
//! forgotten long enough ago is pruned. And, however the run ended, the file of metrics.
//!
//! Owns the order, and what of it is noted and reported. Refuses to judge: the policies do. Invariant: nothing is forgotten or pruned after a check that found damage.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chain;
use super::record::Entry;
use super::report::{Outcome, Report};
use super::run::{PATIENCE, Run};
use super::spool::State;
use crate::backup::Made;
use crate::metrics;
use crate::policy::Secs;
use crate::policy::Today;
use crate::policy::rehearsal as timing;
use crate::prune::{self, Deadlines, Event};
use crate::rehearsal::{self, SampleSize};
use crate::report::{self, Beside, Unrecorded};
use crate::repository::runs::{Check, CheckEnd, CheckKind};
use crate::repository::{CacheBytes, Points, Reader, ReaderWait, RunNotes, Store, WriterLock, keeping, notes};
use crate::settings::{Settings, VerifyAfter};
use crate::verify::written::{Level, Pending};

/// Memory for what a rehearsal reads, in bytes.
const CACHE_BYTES: usize = 24 << 20;

/// What the configuration wants of the sources of a store, and what of it is not noted there yet.
#[must_use]
pub fn beside(settings: Option<&Settings>, state: Option<&State>, store: &std::path::Path) -> Beside {
    let sources = settings.into_iter().flat_map(|settings| &settings.sources);
    // What cannot be read there is said by who wants to write it.
    let kept = state.and_then(|state| state.kept(store).ok()).unwrap_or_default();
    Beside {
        wanted: sources.map(|(name, source)| (name.to_string(), source.into())).collect(),
        unrecorded: kept.into_iter().map(|kept| Unrecorded { source: kept.name, what: kept.what }).collect(),
    }
}

/// Until when points must have been forgotten to go, by what the configuration says of their sources.
#[must_use]
pub fn deadlines(settings: &Settings, now: crate::format::Timestamp) -> Deadlines {
    let ago = |grace: Secs| now.plus_secs(-grace.signed());
    let of_source = settings.sources.iter().map(|(name, source)| (name.to_string(), ago(source.grace))).collect();
    Deadlines { usual: ago(settings.defaults.grace), of_source }
}

/// Gets ready to check what was written, as `how` says, while the writer lock is still held; `None` where nothing is to be checked.
#[must_use]
pub fn pending_check(store: &Store, how: VerifyAfter, made: &Made) -> Option<Pending> {
    let level = match how {
        VerifyAfter::Off => return None,
        VerifyAfter::Written => Level::Written,
        VerifyAfter::Sample => Level::Sample,
        VerifyAfter::Full => Level::Full,
    };
    Some(Pending::begin(store, level, made.point.number, made.packs.clone()))
}

impl Run<'_> {
    /// Makes the check of what the backup has written.
    pub(super) fn check_written(&self, store: &Store, pending: Pending, report: &mut Report) {
        let is_stopped = || self.around.cancel.load(Ordering::Relaxed);
        let outcome = pending.check(&is_stopped, self.around.verified);
        let marked = WriterLock::take_within(store, PATIENCE).and_then(|lock| outcome.mark(store, &lock));
        if let Err(error) = marked {
            self.warn(report, format!("what the check found is not marked: {}", chain(&error)));
        }
        self.note_check(store, outcome.check.clone(), report);
        report.check = Some(outcome.check);
    }

    /// Rehearses a restore, if that is due.
    pub(super) fn rehearse(&self, store: &Store, report: &mut Report) {
        let Self { order, around, .. } = self;
        let notes = match RunNotes::read(store.storage(), order.name) {
            Ok(notes) => notes,
            Err(error) => return self.warn(report, format!("no restore is rehearsed: {}", chain(&error))),
        };
        let is_verdict = |check: &&Check| check.kind == CheckKind::Rehearsal && check.end != CheckEnd::NotRun;
        let last = notes.checks.iter().filter(is_verdict).map(|check| check.began).max();
        let (now, zone) = (self.now(), order.settings.zone());
        if timing::due(order.source.rehearse, last, now, &zone).is_none() {
            return;
        }
        let Some(number) = report.number else { return };
        let options = rehearsal::Options {
            size: SampleSize::Usual,
            seed: now.secs.unsigned_abs(),
            scratch: std::env::temp_dir(),
            host: order.host.to_owned(),
            cancel: Arc::clone(around.cancel),
        };
        let opened = Reader::open(store.clone(), CacheBytes::of_total(CACHE_BYTES)).and_then(|reader| {
            let points = reader.points()?;
            Ok((reader, points))
        });
        // Another sample each time, and the same again for who wants to see it.
        report.rehearsal_seed = Some(options.seed);
        let outcome = match opened {
            Err(error) => rehearsal::Outcome::not_run(None, &chain(&error)),
            Ok((reader, points)) => match points.get(number).map(|point| (point, reader.tree(point))) {
                Some((_, Ok(tree))) => rehearsal::rehearse(&reader, &tree, &options, &rehearsal::Progress::default()),
                Some((point, Err(error))) => rehearsal::Outcome::not_run(Some(point), &chain(&error)),
                None => return,
            },
        };
        let check = Check { began: now, ..outcome.check };
        self.note_check(store, check.clone(), report);
        report.rehearsal = Some(check);
    }

    fn note_check(&self, store: &Store, check: Check, report: &mut Report) {
        match check.end {
            CheckEnd::Pass => {}
            CheckEnd::Fail => report.result = Outcome::Damaged,
            CheckEnd::NotRun => {
                let why = check.findings.first().map_or("", String::as_str);
                self.warn(report, format!("a check could not be made: {why}"));
            }
        }
        self.note(Some(store), &[Entry::check(self.order.name, check)]);
    }

    /// Forgets what the rules of the source no longer keep, and prunes what has been forgotten longer than its time of grace.
    pub(super) fn forget_and_prune(&self, store: &Store, report: &mut Report) {
        if let Err(error) = self.kept_to_rules(store, report) {
            self.warn(report, error);
        }
    }

    fn kept_to_rules(&self, store: &Store, report: &mut Report) -> Result<(), String> {
        let Self { order, around, .. } = self;
        let said = |act: &'static str| move |error: &dyn std::error::Error| format!("{act}: {}", chain(error));
        let not_forgotten = said("nothing is forgotten by rules");
        let lock = WriterLock::take_within(store, PATIENCE).map_err(|error| not_forgotten(&error))?;
        let mut points = Points::list(store.storage()).map_err(|error| not_forgotten(&error))?;
        let today = Today { now: self.now(), zone: order.settings.zone() };
        let judgement = keeping::judge(&points, order.name.as_str(), &order.source.keep(), false, &today);
        for warning in &judgement.warnings {
            self.warn(report, warning.to_string());
        }
        match keeping::carry_out(store, &lock, order.name, &points, &judgement, &today) {
            Ok(gone) => {
                for number in &gone {
                    points.notes.entry(*number).or_insert_with(notes::PointNotes::default).forgotten = Some(today.now);
                }
                report.forgotten = gone;
            }
            // Said, and told to whoever is told: pruning holds back by itself what belongs to the source.
            Err(error) => self.warn(report, not_forgotten(&error)),
        }
        let deadlines = deadlines(order.settings, today.now);
        if !points.notes.iter().any(|(_, notes)| notes.forgotten.is_some_and(|at| at <= deadlines.latest())) {
            return Ok(());
        }
        let options = prune::Options {
            forgotten_before: deadlines,
            repack_below: prune::REPACK_BELOW,
            dry_run: false,
            sole_host: false,
            readers: ReaderWait::default(),
        };
        let mut problems = Vec::new();
        let is_stopped = || around.cancel.load(Ordering::Relaxed);
        let pruned = prune::prune(store, &lock, &options, &is_stopped, &mut |event| {
            if let Event::Problem(text) = event {
                problems.push(text.to_owned());
            }
        });
        for problem in problems {
            self.warn(report, problem);
        }
        let pruned = pruned.map_err(|error| said("not pruned")(&error))?;
        report.freed_bytes = Some(pruned.removed_bytes.saturating_sub(pruned.written_bytes));
        Ok(())
    }

    /// Replaces the file of metrics. Where the store cannot be asked, what it said last stands, but that the job has failed.
    pub(super) fn write_metrics(&self) -> Result<(), String> {
        let Self { order, around, .. } = self;
        let Some(file) = &order.settings.metrics.textfile else { return Ok(()) };
        let not_written = |error: &dyn std::error::Error| format!("the metrics are not written: {}", chain(error));
        let beside = beside(Some(order.settings), around.state, order.store);
        let read = (around.open)()
            .and_then(|store| report::State::read(store.storage(), &Points::default(), &beside, self.now()));
        let page = match (read, report::file::page_of(file)) {
            (Ok((state, _)), _) => metrics::render(&state),
            (Err(_), Some(page)) => metrics::with_failed_job(&page, order.name.as_str()),
            (Err(_), None) => metrics::render(&report::State::of(&Points::default(), Vec::new(), Vec::new(), &beside)),
        };
        metrics::write_textfile(file, &page).map_err(|error| not_written(&error))
    }
}
