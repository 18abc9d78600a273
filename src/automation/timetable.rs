//! What the schedule says now: for each source and task what was done last and what is next, from the ledger in the store.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::record::{Noted, failed};
use super::spool::State;
use crate::format::{Origin, Timestamp};
use crate::policy::schedule::{self, Due, Line, Past, Task, When};
use crate::repository::runs::{self, BackupType, CheckEnd, CheckKind, Run, RunEnd};
use crate::repository::{Points, RepositoryError, RunNotes, SourceName, Store};
use crate::settings::Settings;

/// What is known of the past of all sources, by name.
pub type Ledger = BTreeMap<SourceName, RunNotes>;

/// A task of a source.
#[derive(Clone, Debug)]
pub struct Row {
    /// The source.
    pub name: SourceName,
    /// The task.
    pub task: Task,
    /// When it is done.
    pub when: When,
    /// What was done last that serves for it.
    pub last: Option<Last>,
    /// When it is due: not after now, if it is due now.
    pub next: Option<Timestamp>,
}

/// What was done last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Last {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub secs: f64,
    /// How it ended, in one word.
    pub result: &'static str,
    /// Why.
    pub reason: String,
}

/// Attempts that a daemon has made itself.
pub type Attempts = Vec<(SourceName, Task, Timestamp)>;

/// Reads the ledger of a store, and what the state directory keeps for it. A store that is not there has no ledger; what is wrong with one goes to `say`.
#[must_use]
pub fn ledger(
    store: Result<&Store, &RepositoryError>,
    path: &Path,
    state: Option<&State>,
    say: &dyn Fn(String),
) -> Ledger {
    let mut ledger = Ledger::new();
    match store.map(|store| runs::read_all(store.storage())) {
        Ok(Ok((notes, problems))) => {
            problems.iter().for_each(|problem| say(problem.to_string()));
            let named = notes.into_iter().filter_map(|notes| Some((SourceName::new(&notes.name).ok()?, notes)));
            ledger.extend(named);
        }
        Ok(Err(error)) => say(super::chain(&error)),
        Err(error) => say(super::chain(error)),
    }
    if let Ok(store) = store {
        remember_points(store, &mut ledger);
    }
    for kept in state.and_then(|state| state.kept(path).ok()).unwrap_or_default() {
        let Ok(name) = SourceName::new(&kept.name) else { continue };
        let notes = ledger.entry(name.clone()).or_insert_with(|| RunNotes::new(&name));
        match kept.what {
            Noted::Run(run) => {
                if kept.was_stopped {
                    notes.stopped = Some(run.began);
                }
                notes.push_run(run);
            }
            Noted::Check(check) => notes.push_check(check),
        }
    }
    ledger
}

/// Of a source without a ledger, as one from before there was any, the points tell when it was backed up.
fn remember_points(store: &Store, ledger: &mut Ledger) {
    let Ok(sources) = crate::repository::sources::read_all(store.storage()) else { return };
    let names = sources.0.iter().filter_map(|notes| SourceName::new(&notes.source.name).ok());
    let unknown: Vec<SourceName> =
        names.filter(|name| ledger.get(name).is_none_or(|notes| notes.runs.is_empty())).collect();
    if unknown.is_empty() {
        return;
    }
    let Ok(points) = Points::list(store.storage()) else { return };
    for name in unknown {
        let notes = ledger.entry(name.clone()).or_insert_with(|| RunNotes::new(&name));
        for point in points.of_source(name.as_str()).filter(|point| point.origin == Origin::Backup) {
            let kind = if point.is_full() { BackupType::Full } else { BackupType::Differential };
            // Of a run that was not noted only its end is known.
            let run = failed(point.finished, 0.0, kind, "before runs were noted".to_owned());
            notes.push_run(Run { end: RunEnd::Made, number: Some(point.number), ..run });
        }
    }
}

/// What the schedule says at `now`. `attempts` are those of this process, which count even if nothing is noted of them.
#[must_use]
pub fn rows(
    settings: &Settings,
    ledger: &Ledger,
    attempts: &Attempts,
    since: &dyn Fn(&[String]) -> Vec<Timestamp>,
    host: &str,
    now: Timestamp,
) -> Vec<Row> {
    let zone = settings.zone();
    let mut lines = Vec::new();
    for (name, source) in &settings.sources {
        lines.extend(source.schedule.iter().map(|(task, when)| (name, source.jitter, *task, when)));
    }
    let keys: Vec<String> = lines.iter().map(|(name, _, task, when)| format!("{name}\n{task}\n{when}")).collect();
    let since = since(&keys);
    let rows = lines.into_iter().zip(since).map(|((name, jitter, task, when), since)| {
        let empty = RunNotes::default();
        let notes = ledger.get(name).unwrap_or(&empty);
        let mut past = past(notes, task, when, since);
        let own = attempts.iter().filter(|(of, attempted, _)| of == name && serves(*attempted, task));
        past.begun.extend(own.map(|(_, _, began)| *began));
        let line = Line { source: name.as_str(), task, when, jitter };
        Row {
            name: name.clone(),
            task,
            when: when.clone(),
            last: last(notes, task),
            next: schedule::due(&line, &past, host, &zone, now),
        }
    });
    rows.collect()
}

/// The rows as what is due.
#[must_use]
pub fn dues(rows: &[Row]) -> Vec<Due> {
    let due = |row: &Row| Some(Due { source: row.name.to_string(), task: row.task, at: row.next? });
    rows.iter().filter_map(due).collect()
}

/// What a daemon says when it begins: how much there is to do, and what of it comes next.
#[must_use]
pub fn greeting(settings: &Settings, dues: &[Due], now: Timestamp) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let scheduled = || settings.sources.values().map(|source| source.schedule.len()).filter(|tasks| *tasks > 0);
    let (tasks, sources) = (scheduled().sum(), scheduled().count());
    if tasks == 0 {
        return "warning: the configuration schedules nothing".to_owned();
    }
    let next = schedule::first(dues, now).or_else(|| dues.iter().min_by_key(|due| due.at));
    let next = next.map_or_else(String::new, |due| {
        let at = jiff::Timestamp::from_second(due.at.secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let at = at.to_zoned(settings.zone()).strftime("at %Y-%m-%d %H:%M %Z").to_string();
        format!("; next: {} of {} {}", due.task, due.source, if due.at <= now { "now".to_owned() } else { at })
    });
    format!("{} of {}{next}", count(tasks, "task"), count(sources, "source"))
}

/// Whether an attempt at one task serves for another: a full is as good as any backup.
fn serves(attempted: Task, task: Task) -> bool {
    match attempted {
        Task::Full => task != Task::Verify,
        Task::Auto | Task::Differential => matches!(task, Task::Auto | Task::Differential),
        Task::Verify => task == Task::Verify,
    }
}

/// Whether a run of this type serves for a task.
fn run_serves(kind: BackupType, task: Task) -> bool {
    match kind {
        BackupType::Full => task != Task::Verify,
        BackupType::Differential => matches!(task, Task::Auto | Task::Differential),
    }
}

fn past(notes: &RunNotes, task: Task, when: &When, since: Timestamp) -> Past {
    let begun = if task == Task::Verify {
        notes.checks.iter().filter(|check| check.kind == CheckKind::Full).map(|check| check.began).collect()
    } else {
        let counts = |run: &&Run| run_serves(run.r#type, task) && Some(run.began) != notes.stopped;
        notes.runs.iter().filter(counts).map(|run| run.began).collect()
    };
    let done = match when {
        When::After(first) => {
            let is_it = |run: &&Run| match first {
                Task::Full => run.r#type == BackupType::Full,
                Task::Differential => run.r#type == BackupType::Differential,
                Task::Auto | Task::Verify => true,
            };
            // Where nothing was made there is nothing new to come after.
            let made = notes.runs.iter().filter(|run| matches!(run.end, RunEnd::Made | RunEnd::Incomplete));
            made.filter(is_it).map(ended).collect()
        }
        When::Cron(_) | When::Every(_) => Vec::new(),
    };
    Past { begun, done, since }
}

fn ended(run: &Run) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a run takes less than the age of the world")]
    let secs = run.secs.max(0.0) as i64;
    run.began.plus_secs(secs)
}

fn last(notes: &RunNotes, task: Task) -> Option<Last> {
    if task == Task::Verify {
        let check = notes.checks.iter().rfind(|check| check.kind == CheckKind::Full)?;
        let result = match check.end {
            CheckEnd::Pass => "pass",
            CheckEnd::Fail => "fail",
            CheckEnd::NotRun => "not run",
        };
        let reason = check.findings.first().cloned().unwrap_or_default();
        return Some(Last { began: check.began, secs: check.secs, result, reason });
    }
    let run = notes.runs.iter().rfind(|run| run_serves(run.r#type, task))?;
    let result = match run.end {
        RunEnd::Made => "made",
        RunEnd::Incomplete => "incomplete",
        RunEnd::Unchanged => "unchanged",
        RunEnd::Failed if Some(run.began) == notes.stopped => "stopped",
        RunEnd::Failed => "failed",
    };
    Some(Last { began: run.began, secs: run.secs, result, reason: run.reason.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::new(text.parse::<jiff::Timestamp>().unwrap().as_second(), 0)
    }

    fn settings() -> Settings {
        Settings::parse(
            "timezone = 'UTC'
             [sources.www]
             path = '/srv/www'
             schedule.full = '0 2 * * 0'
             schedule.differential = '0 2 * * 1-6'
             schedule.verify = { after = 'full' }",
        )
        .unwrap()
    }

    /// What is due at `now`, as words.
    fn due(notes: RunNotes, attempts: &Attempts, now: &str) -> Vec<String> {
        let (settings, now) = (settings(), at(now));
        let ledger = Ledger::from([(SourceName::new("www").unwrap(), notes)]);
        let since = |lines: &[String]| vec![at("2026-11-01T00:00:00Z"); lines.len()];
        let rows = rows(&settings, &ledger, attempts, &since, "host", now);
        rows.iter().filter(|row| row.next.is_some_and(|next| next <= now)).map(|row| row.task.to_string()).collect()
    }

    fn run(began: &str, kind: BackupType, end: RunEnd) -> Run {
        Run { end, ..failed(at(began), 60.0, kind, String::new()) }
    }

    fn notes(runs: Vec<Run>) -> RunNotes {
        let mut notes = RunNotes::new(&SourceName::new("www").unwrap());
        runs.into_iter().for_each(|run| notes.push_run(run));
        notes
    }

    // 2026-11-15 and 2026-11-22 are Sundays.
    #[test]
    fn full_serves_for_the_differential_and_not_the_other_way_round() {
        let sunday = notes(vec![run("2026-11-22T02:00:01Z", BackupType::Full, RunEnd::Made)]);
        assert_eq!(due(sunday.clone(), &Vec::new(), "2026-11-22T12:00:00Z"), ["verify"]);
        assert_eq!(due(sunday, &Vec::new(), "2026-11-23T12:00:00Z"), ["differential", "verify"]);
        let daily = notes(vec![run("2026-11-22T02:00:01Z", BackupType::Differential, RunEnd::Made)]);
        assert_eq!(due(daily, &Vec::new(), "2026-11-22T12:00:00Z"), ["full"]);
    }

    #[test]
    fn run_that_failed_waits_for_its_next_time_and_one_that_was_stopped_does_not() {
        let failed = notes(vec![run("2026-11-22T02:00:01Z", BackupType::Full, RunEnd::Failed)]);
        assert_eq!(due(failed.clone(), &Vec::new(), "2026-11-22T12:00:00Z"), [""; 0]);
        let was_stopped = RunNotes { stopped: Some(failed.runs[0].began), ..failed };
        let now = "2026-11-22T12:00:00Z";
        assert_eq!(due(was_stopped.clone(), &Vec::new(), now), ["full", "differential"], "as if it had never begun");
        // The daemon that started it knows that it did.
        let own = vec![(SourceName::new("www").unwrap(), Task::Full, at("2026-11-22T02:00:00Z"))];
        assert_eq!(due(was_stopped, &own, now), [""; 0]);
    }

    #[test]
    fn greeting_counts_what_is_scheduled_and_names_what_is_next() {
        let (settings, now) = (settings(), at("2026-11-20T12:00:00Z"));
        let next = |since: &str| {
            let since = |lines: &[String]| vec![at(since); lines.len()];
            let rows = rows(&settings, &Ledger::new(), &Attempts::new(), &since, "host", now);
            greeting(&settings, &dues(&rows), now)
        };
        let ahead = "3 tasks of 1 source; next: differential of www at 2026-11-21 02:00 UTC";
        assert_eq!(next("2026-11-20T12:00:00Z"), ahead);
        assert_eq!(next("2026-11-01T00:00:00Z"), "3 tasks of 1 source; next: full of www now");
        assert_eq!(greeting(&settings, &[], now), "3 tasks of 1 source");
        let idle = Settings::parse("[sources.www]\npath = '/srv/www'").unwrap();
        assert_eq!(greeting(&idle, &[], now), "warning: the configuration schedules nothing");
    }

    #[test]
    fn verification_comes_once_after_each_full_that_succeeded() {
        let mut full = notes(vec![run("2026-11-22T02:00:01Z", BackupType::Full, RunEnd::Made)]);
        assert_eq!(due(full.clone(), &Vec::new(), "2026-11-22T03:00:00Z"), ["verify"]);
        full.push_check(runs::Check {
            began: at("2026-11-22T03:00:00Z"),
            secs: 1.0,
            kind: CheckKind::Full,
            end: CheckEnd::NotRun,
            number: None,
            r#type: None,
            findings: Vec::new(),
            bytes: 0,
            full_restore_secs: None,
        });
        assert_eq!(due(full, &Vec::new(), "2026-11-22T04:00:00Z"), [""; 0]);
    }
}
