//! Ten weeks of daily changes under a clock of the test's own: what is decided each day and why, what is kept after each prune, what can be restored, and what is
//! told to Prometheus. The runs are those that the daemon makes; the expectations come from a model of a few lines.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, reason = "the ten weeks are shown")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dbakfs::automation::{self, Order, Outcome, Surroundings};
use dbakfs::backup::Progress;
use dbakfs::format::{Number, Timestamp};
use dbakfs::metrics;
use dbakfs::policy::schedule::Task;
use dbakfs::report::{Beside, State};
use dbakfs::repository::config::Chunking;
use dbakfs::repository::runs::{CheckEnd, CheckKind};
use dbakfs::repository::{Points, RunNotes, SourceName, Store, WriterLock, alarms};
use dbakfs::settings::Settings;
use dbakfs::storage::Wait;
use support::cli::Place;
use support::points::noise;

/// Monday 2026-09-07, 02:00 in Berlin.
const BEGIN: i64 = 1_788_739_200;
const DAY: i64 = 86_400;
const DAYS: i64 = 70;
const FILES: u64 = 40;
const FILE_BYTES: usize = 20_000;

/// A day on which more than half of the tree is new.
const DEPLOY: i64 = 17;
/// The alarm that it raises is acknowledged so much later.
const ACKNOWLEDGED: i64 = 20;
/// Days on which nothing changes.
const QUIET: [i64; 3] = [30, 31, 32];
/// Days on which the machine is off, a Sunday among them.
const OFF: std::ops::Range<i64> = 38..44;
/// Days with two runs.
const BUSY: std::ops::Range<i64> = 50..54;
/// The day from which fewer days are kept.
const STRICTER: i64 = 35;

const fn kept_days(day: i64) -> i64 {
    if day < STRICTER { 14 } else { 5 }
}

fn settings(source: &Path, day: i64) -> Settings {
    let text = format!(
        "timezone = 'Europe/Berlin'\n[sources.www]\npath = {source:?}\nfull_day = 'Sunday'\nmax_series_length = 9\n\
         keep_days = {}\nkeep_weekly = 4\ngrace = '3d'\n",
        kept_days(day)
    );
    Settings::parse(&text).unwrap()
}

fn is_sunday(day: i64) -> bool {
    day % 7 == 6
}

/// A point as the model has it.
struct Known {
    number: Number,
    time: i64,
    /// The day of its full, and that full's number.
    series: (i64, Number),
    tree: BTreeMap<PathBuf, Vec<u8>>,
}

/// What the test knows of the past.
#[derive(Default)]
struct Model {
    points: Vec<Known>,
    full_day: Option<i64>,
    full: Option<Number>,
    length: u32,
    runs: BTreeMap<&'static str, u64>,
}

impl Model {
    /// What a run must make: its type, and a part of the reason.
    fn expected(&self, day: i64, is_deploy: bool) -> (&'static str, &'static str) {
        match self.full_day {
            _ if is_sunday(day) && self.full_day != Some(day) => ("full", "it is Sunday"),
            None => ("full", "there is no full"),
            Some(full) if day - full >= 7 => ("full", "max_full_age"),
            Some(_) if self.length >= 9 => ("full", "max_series_length"),
            Some(_) if is_deploy => ("full", "a differential would hold"),
            Some(_) => ("differential", "no rule asks for a full"),
        }
    }

    /// The numbers of the points that stay. What is said of a series is said on the day of its full.
    fn kept(&self, now: i64) -> BTreeSet<Number> {
        let week = |time: i64| (time - BEGIN + 2 * 3_600).div_euclid(7 * DAY);
        let mut newest: BTreeMap<i64, Number> = BTreeMap::new();
        for point in &self.points {
            newest.insert(week(point.time), point.number);
        }
        let weekly: BTreeSet<Number> = newest.values().rev().take(4).copied().collect();
        let is_kept =
            |point: &&Known| now - point.time < kept_days(point.series.0) * DAY || weekly.contains(&point.number);
        let kept: Vec<&Known> = self.points.iter().filter(is_kept).collect();
        kept.iter().flat_map(|point| [point.number, point.series.1]).collect()
    }
}

fn tree(source: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(source).unwrap().map(|entry| entry.unwrap());
    files.map(|entry| (entry.file_name().into(), fs::read(entry.path()).unwrap())).collect()
}

fn change(source: &Path, day: i64, run: i64) {
    let write = |file: u64, salt: u64| {
        let seed = file + 1_000 * salt;
        fs::write(source.join(format!("{file:02}")), noise(seed, FILE_BYTES)).unwrap();
    };
    let salt = u64::try_from(1 + day * 2 + run).unwrap();
    let day = u64::try_from(day).unwrap();
    match i64::try_from(day).unwrap() {
        0 => (0..FILES).for_each(|file| write(file, 0)),
        DEPLOY => (0..FILES * 3 / 5).for_each(|file| write(file, salt)),
        quiet if QUIET.contains(&quiet) => {}
        _ => {
            write(day * 7 % FILES, salt);
            if day % 5 == 0 {
                write(FILES + day, salt);
            }
            if day % 7 == 3 {
                let _ = fs::remove_file(source.join(format!("{:02}", FILES + day / 7 * 5)));
            }
        }
    }
}

#[test]
fn ten_weeks_are_decided_kept_checked_and_told_as_the_rules_say() {
    let place = Place::new();
    let source = place.src();
    let store = Store::init(&place.store(), Chunking::default()).unwrap();
    let name = SourceName::new("www").unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut model = Model::default();
    for day in (0..DAYS).filter(|day| !OFF.contains(day)) {
        for run in 0..if BUSY.contains(&day) { 2 } else { 1 } {
            change(&source, day, run);
            let now = BEGIN + day * DAY + run * 3_600;
            let settings = settings(&source, day);
            if day == ACKNOWLEDGED {
                let lock = WriterLock::take(&store, Wait::Never).unwrap();
                let alarm = alarms::acknowledge(&store, &lock, &name).unwrap().expect("the deploy raised an alarm");
                assert!(alarm.reason.contains("median"), "{}", alarm.reason);
            }
            let before = tree(&source);
            let (kind, reason) = model.expected(day, day == DEPLOY);
            let order = Order {
                settings: &settings,
                name: &name,
                source: &settings.sources[&name],
                task: Task::Auto,
                force: false,
                store: store.path(),
                host: "here",
                clock: Some(Timestamp::new(now, 0)),
            };
            let around = Surroundings {
                open: &|| Store::open(&place.store()),
                state: None,
                progress: &Progress::default(),
                verified: &|_| {},
                say: &|_| {},
                cancel: &cancel,
            };
            let ended = automation::run(&order, &around);
            let report = ended.report;
            assert!(ended.failure.is_none() && !ended.has_failed_after, "day {day}: {report:?}");
            *model.runs.entry(kind).or_default() += 1;
            let is_quiet = QUIET.contains(&day) && kind == "differential";
            let result = if is_quiet { Outcome::Unchanged } else { Outcome::Made };
            assert_eq!(report.result, result, "day {day}: {report:?}");
            let said = report.reason.clone().unwrap();
            assert!(said.contains(reason), "day {day}: {said:?} does not say {reason:?}");
            if !is_quiet {
                let check = report.check.as_ref().expect("what was written is checked");
                assert_eq!((check.kind, check.end), (CheckKind::Written, CheckEnd::Pass), "day {day}: {check:?}");
                let number = report.number.unwrap();
                if kind == "full" {
                    (model.full_day, model.full, model.length) = (Some(day), Some(number), 0);
                }
                model.length += 1;
                let series = (model.full_day.unwrap(), model.full.unwrap());
                model.points.push(Known { number, time: now, series, tree: before });
            }
            keep(&place, &store, &mut model, day, now, &report);
            told(&store, &model, day, now, &settings);
            println!(
                "day {day:>2}: {result:?} {kind}: {said}; {} points stay, {} forgotten, {} bytes freed",
                model.points.len(),
                report.forgotten.len(),
                report.freed_bytes.unwrap_or(0)
            );
        }
        if day % 10 == 9 || day == DAYS - 1 {
            restored(&place, &model);
        }
    }
    let notes = RunNotes::read(store.storage(), &name).unwrap();
    let rehearsals: Vec<_> = notes.checks.iter().filter(|check| check.kind == CheckKind::Rehearsal).collect();
    assert_eq!(rehearsals.len(), 3, "September, October and November");
    assert!(rehearsals.iter().all(|check| check.end == CheckEnd::Pass), "{rehearsals:?}");
    place.run(["verify", "--data"]).exits(0);
}

/// The points that live are those of the model, and what was forgotten longer ago than the time of grace is gone for good.
fn keep(place: &Place, store: &Store, model: &mut Model, day: i64, now: i64, report: &automation::Report) {
    let is_alarmed = (DEPLOY..ACKNOWLEDGED).contains(&day);
    if is_alarmed {
        assert!(report.forgotten.is_empty() && report.warnings.iter().any(|text| text.contains("alarm")), "{report:?}");
    } else {
        assert_eq!(report.warnings, [""; 0], "day {day}");
        let kept = model.kept(now);
        model.points.retain(|point| kept.contains(&point.number));
    }
    let points = Points::list(store.storage()).unwrap();
    let living: Vec<Number> = points.points.iter().map(|point| point.number).collect();
    let expected: Vec<Number> = model.points.iter().map(|point| point.number).collect();
    assert_eq!(living, expected, "day {day}");
    for point in &points.forgotten {
        let age = now - points.notes[&point.number].forgotten.unwrap().secs;
        assert!(age < 3 * DAY || is_alarmed, "day {day}: backup {} was forgotten {age} s ago", point.number);
    }
    assert!(!place.store().join("index/.damaged").exists());
}

/// Every point that stays is what the source was.
fn restored(place: &Place, model: &Model) {
    for point in &model.points {
        let dest = place.path(format!("out-{}", point.number));
        place.run(["restore", &point.number.to_string(), dest.to_str().unwrap()]).exits(0);
        assert!(tree(&dest) == point.tree, "backup {} is not what the source was", point.number);
        fs::remove_dir_all(dest).unwrap();
    }
}

/// What Prometheus would read.
fn told(store: &Store, model: &Model, day: i64, now: i64, settings: &Settings) {
    let beside = Beside {
        wanted: settings.sources.iter().map(|(name, source)| (name.to_string(), source.into())).collect(),
        ..Beside::default()
    };
    let (state, _) = State::read(store.storage(), &Points::default(), &beside, Timestamp::new(now, 0)).unwrap();
    let page = metrics::render(&state);
    let value = |metric: &str, kind: &str| -> Option<f64> {
        let is_it =
            |line: &&str| line.starts_with(&format!("{metric}{{")) && line.contains(&format!("backup_type=\"{kind}\""));
        page.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
    };
    for (kind, runs) in &model.runs {
        #[expect(clippy::cast_precision_loss, reason = "some tens")]
        let runs = *runs as f64;
        assert_eq!(value("backup_success_total", kind), Some(runs), "day {day}\n{page}");
        assert_eq!(value("backup_failure_total", kind), Some(0.0), "day {day}\n{page}");
        assert_eq!(value("backup_job_status", kind), Some(1.0), "day {day}\n{page}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a moment of this century")]
    let now = now as f64;
    let newest = ["full", "differential"].iter().filter_map(|kind| value("backup_last_success_timestamp", kind));
    let newest = newest.fold(0.0, f64::max);
    // A run ends when it has lasted a while.
    assert!((now..now + 600.0).contains(&newest), "day {day}: {newest} {now}\n{page}");
    let sizes: Vec<&str> = page.lines().filter(|line| line.starts_with("backup_size_bytes{")).collect();
    assert!((1..=2).contains(&sizes.len()), "{sizes:?}");
}
