//! How each source stands, measured against what is wanted of it.
//!
//! Owns the judgement. Refuses to print it, and to read a clock. Invariant: an objective that nobody set is not judged, and one that was set and could not be
//! measured is never met.

use serde::{Serialize, Serializer};

use super::state::{SourceState, State, StoredPoint, Verification, ended};
use super::words;
use crate::format::Timestamp;
use crate::policy::decision::{DecisionRules, threshold_bytes};
use crate::policy::growth::{self, Sample};
use crate::repository::runs::{BackupType, Check, CheckEnd, CheckKind, Run, RunEnd};
use crate::repository::when;

/// Runs that a status shows.
const RUNS_SHOWN: usize = 10;

/// How a source stands.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Points that are not forgotten.
    pub points: usize,
    /// Bytes that the store grew by for them.
    pub stored_bytes: u64,
    /// The newest full.
    pub last_full: Option<LastPoint>,
    /// The newest differential, of whatever series.
    pub last_differential: Option<LastPoint>,
    /// When a backup last ended well, with a new point or without need of one.
    #[serde(serialize_with = "as_name")]
    pub last_success: Option<Timestamp>,
    /// The age of that against the most that is wanted (recovery point objective).
    pub rpo: Objective,
    /// What a restore of everything would take, as rehearsed, against the most that is wanted (recovery time objective).
    pub rto: Objective,
    /// How the differentials of the newest series grow.
    pub growth: GrowthStatus,
    /// Whether the newest fulls and differentials were found whole; none where nobody wants to know.
    pub verified: Verified,
    /// The newest runs, newest first.
    pub runs: Vec<RunStatus>,
    /// The newest check of each kind.
    pub checks: Vec<CheckStatus>,
    /// The change that nobody has acknowledged.
    pub alarm: Option<AlarmStatus>,
    /// What is not as it should be, a sentence each.
    pub amiss: Vec<String>,
}

/// A point, and its age.
#[derive(Clone, Debug, Serialize)]
pub struct LastPoint {
    /// Its number.
    pub number: u32,
    /// As commands take it.
    pub point: String,
    /// When it was made.
    #[serde(serialize_with = "name_of")]
    pub time: Timestamp,
    /// How long ago that was.
    pub age_secs: u64,
    /// The size of the backup: see [`crate::format::Counts::size_bytes`].
    pub size_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Files at the point.
    pub files: u64,
    /// Whether everything could be read.
    pub complete: bool,
}

/// What is wanted, and what is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Objective {
    /// The most that is wanted.
    pub wanted_secs: Option<u64>,
    /// What it is; none where it was never measured.
    pub measured_secs: Option<f64>,
    /// Whether the objective is met; none where there is none, or nothing was measured.
    pub met: Option<bool>,
}

/// How the differentials of the newest series grow.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GrowthStatus {
    /// The percentage of the full that a differential is not to exceed.
    pub threshold_percent: u32,
    /// The size of the full.
    pub full_bytes: Option<u64>,
    /// The differentials, oldest first.
    pub differentials: Vec<GrownTo>,
    /// Bytes that each day adds to a differential; none where they are too few to say.
    pub bytes_per_day: Option<f64>,
    /// When the threshold will be crossed, or was; none where they do not grow.
    #[serde(serialize_with = "as_name")]
    pub crosses: Option<Timestamp>,
}

/// The size of a differential.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GrownTo {
    /// When it was made.
    #[serde(serialize_with = "name_of")]
    pub time: Timestamp,
    /// Its size.
    pub size_bytes: u64,
    /// That, in percent of the full's.
    pub percent: f64,
}

/// Whether the backups of each type were found whole.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verified {
    /// Fulls.
    pub full: Option<Verification>,
    /// Differentials.
    pub differential: Option<Verification>,
}

/// A run, for people.
#[derive(Clone, Debug, Serialize)]
pub struct RunStatus {
    /// When it began.
    #[serde(serialize_with = "name_of")]
    pub began: Timestamp,
    /// How long it took.
    pub secs: f64,
    /// Full or differential.
    pub r#type: BackupType,
    /// How it ended.
    pub end: RunEnd,
    /// Why.
    pub reason: String,
    /// The size of the backup.
    pub size_bytes: u64,
}

/// A check, for people.
#[derive(Clone, Debug, Serialize)]
pub struct CheckStatus {
    /// When it began.
    #[serde(serialize_with = "name_of")]
    pub began: Timestamp,
    /// How long it took.
    pub secs: f64,
    /// What was checked.
    pub kind: CheckKind,
    /// What came of it.
    pub end: CheckEnd,
    /// The number of the point that was checked.
    pub number: Option<u32>,
    /// What was found.
    pub findings: Vec<String>,
}

/// An alarm, for people.
#[derive(Clone, Debug, Serialize)]
pub struct AlarmStatus {
    /// The number of the point that holds the change.
    pub number: u32,
    /// When it was found.
    #[serde(serialize_with = "name_of")]
    pub since: Timestamp,
    /// What was found.
    pub reason: String,
}

/// How all sources stand at the moment `now`, by name.
#[must_use]
pub fn all(state: &State, now: Timestamp) -> Vec<SourceStatus> {
    state.sources.iter().map(|(name, source)| of(name, source, now)).collect()
}

/// How a source stands at the moment `now`.
#[must_use]
pub fn of(name: &str, source: &SourceState, now: Timestamp) -> SourceStatus {
    let last_success = source.last_success_of_any();
    let last = |stored: Option<&StoredPoint>| stored.map(|stored| last_point(stored, now));
    let mut status = SourceStatus {
        name: name.to_owned(),
        points: source.points.len(),
        stored_bytes: source.points.iter().map(StoredPoint::stored_bytes).fold(0, u64::saturating_add),
        last_full: last(source.newest_full()),
        last_differential: last(source.newest_differential()),
        last_success,
        rpo: objective(source.wanted.rpo.map(|rpo| rpo.0), last_success.map(|time| precise(age(time, now)))),
        rto: objective(source.wanted.rto.map(|rto| rto.0), source.restore_secs()),
        growth: growth_of(source),
        verified: Verified {
            full: source.verification(BackupType::Full),
            differential: source.verification(BackupType::Differential),
        },
        runs: source.ledger.runs.iter().rev().take(RUNS_SHOWN).map(RunStatus::from).collect(),
        checks: newest_checks(&source.ledger.checks),
        alarm: source.alarm.as_ref().map(|alarm| AlarmStatus {
            number: alarm.point.0,
            since: alarm.since,
            reason: alarm.reason.clone(),
        }),
        amiss: Vec::new(),
    };
    // Where an objective was set, a source that never had a success misses it.
    if last_success.is_none() && status.rpo.wanted_secs.is_some() {
        status.rpo.met = Some(false);
    }
    status.amiss = amiss(&status, source);
    status
}

/// What is not as it should be: what the alerts in `contrib/` would say, but for the age of the full, and the restore time.
fn amiss(status: &SourceStatus, source: &SourceState) -> Vec<String> {
    let mut amiss = Vec::new();
    for (of, word, verified) in [
        (BackupType::Full, "full", status.verified.full),
        (BackupType::Differential, "differential", status.verified.differential),
    ] {
        if source.is_job_well(of) == Some(false) {
            let run = source.last_run(of).map(|run| format!(" ({}): {}", words::moment_utc(ended(run)), run.reason));
            amiss.push(format!("the last {word} failed{}", run.unwrap_or_default()));
        }
        match verified {
            Some(Verification::Failed) => amiss.push(format!("the last check found something wrong with the {word}s")),
            Some(Verification::NotRun) => amiss.push(format!("the last {word} was not checked")),
            Some(Verification::Passed) | None => {}
        }
    }
    if status.rpo.met == Some(false) {
        let wanted = words::span(precise(status.rpo.wanted_secs.unwrap_or(0)));
        amiss.push(match status.rpo.measured_secs {
            Some(age) => format!("the last success was {} ago, wanted is one within {wanted}", words::span(age)),
            None => format!("no backup has ended well yet, wanted is one within {wanted}"),
        });
    } else if source.wanted.is_scheduled && source.points.is_empty() && status.last_success.is_none() {
        amiss.push("it was never backed up".to_owned());
    }
    if let (Some(false), Some(secs), Some(wanted)) = (status.rto.met, status.rto.measured_secs, status.rto.wanted_secs)
    {
        let wanted = words::span(precise(wanted));
        amiss.push(format!("a restore would take {}, wanted is {wanted} at most", words::span(secs)));
    }
    let (growth, newest) = (&status.growth, status.growth.differentials.last());
    if let Some(newest) = newest.filter(|newest| newest.percent > f64::from(growth.threshold_percent)) {
        amiss.push(format!(
            "the differential is {:.0} % of its full, wanted is {} % at most",
            newest.percent, growth.threshold_percent
        ));
    }
    if let Some(alarm) = &status.alarm {
        amiss.push(format!("alarm since {}: {}", words::moment_utc(alarm.since), alarm.reason));
    }
    amiss
}

fn last_point(stored: &StoredPoint, now: Timestamp) -> LastPoint {
    let point = &stored.point;
    LastPoint {
        number: point.number.0,
        point: format!("{}/{}", point.source.name, when::format_point_time(point.time)),
        time: point.time,
        age_secs: age(point.time, now),
        size_bytes: point.counts.size_bytes,
        stored_bytes: stored.stored_bytes(),
        files: point.counts.files,
        complete: point.is_complete(),
    }
}

fn objective(wanted_secs: Option<u64>, measured_secs: Option<f64>) -> Objective {
    let met = wanted_secs.zip(measured_secs).map(|(wanted, measured)| measured <= precise(wanted));
    Objective { wanted_secs, measured_secs, met }
}

fn growth_of(source: &SourceState) -> GrowthStatus {
    let threshold_percent = source.wanted.diff_threshold;
    let Some(full) = source.newest_full() else { return GrowthStatus { threshold_percent, ..GrowthStatus::default() } };
    let full_bytes = full.point.counts.size_bytes;
    let differentials: Vec<GrownTo> =
        source.differentials_on(full.point.number).map(|on| grown(on, full_bytes)).collect();
    let samples: Vec<Sample> =
        differentials.iter().map(|on| Sample { time: on.time, size_bytes: on.size_bytes }).collect();
    let rules = DecisionRules { diff_threshold: threshold_percent, ..DecisionRules::default() };
    // Of an empty full there is no half.
    let line = if full_bytes == 0 { None } else { growth::fit(&samples, threshold_bytes(&rules, full_bytes)) };
    GrowthStatus {
        threshold_percent,
        full_bytes: Some(full_bytes),
        differentials,
        bytes_per_day: line.map(|line| line.bytes_per_day),
        crosses: line.and_then(|line| line.crosses),
    }
}

/// A differential held against its full.
pub(super) fn grown(differential: &StoredPoint, full_bytes: u64) -> GrownTo {
    let size_bytes = differential.point.counts.size_bytes;
    let percent = if full_bytes == 0 { 0.0 } else { precise(size_bytes) * 100.0 / precise(full_bytes) };
    GrownTo { time: differential.point.time, size_bytes, percent }
}

fn newest_checks(checks: &[Check]) -> Vec<CheckStatus> {
    let kinds = [CheckKind::Written, CheckKind::Sample, CheckKind::Full, CheckKind::Rehearsal];
    let newest = |kind| checks.iter().rev().find(|check| check.kind == kind);
    kinds.into_iter().filter_map(newest).map(CheckStatus::from).collect()
}

impl From<&Run> for RunStatus {
    fn from(run: &Run) -> Self {
        Self {
            began: run.began,
            secs: run.secs,
            r#type: run.r#type,
            end: run.end,
            reason: run.reason.clone(),
            size_bytes: run.size_bytes,
        }
    }
}

impl From<&Check> for CheckStatus {
    fn from(check: &Check) -> Self {
        Self {
            began: check.began,
            secs: check.secs,
            kind: check.kind,
            end: check.end,
            number: check.number.map(|number| number.0),
            findings: check.findings.clone(),
        }
    }
}

/// How long ago a moment was; 0 for one to come.
fn age(time: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.secs.saturating_sub(time.secs)).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a measure for people and thresholds")]
const fn precise(number: u64) -> f64 {
    number as f64
}

fn name_of<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&when::format_point_time(*time))
}

#[expect(clippy::ref_option, reason = "serde asks so")]
fn as_name<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(when::format_point_time).serialize(serializer)
}
