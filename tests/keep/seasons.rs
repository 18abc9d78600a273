//! Fifty days of backups under another clock, with forgetting and pruning after each: what stays, and that all of it can be read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use dbakfs::backup::{Mode, Options, Outcome, Progress, Session, Subject};
use dbakfs::format::{Number, Timestamp};
use dbakfs::policy::Today;
use dbakfs::policy::retention::KeepRules;
use dbakfs::prune;
use dbakfs::repository::{Points, ReaderWait, SourceName, Store, WriterLock, keeping};
use dbakfs::storage::Wait;
use jiff::tz::TimeZone;

use crate::support::cli::Place;

const DAY: i64 = 86_400;
/// 2026-09-06T02:00:00Z, a Sunday.
const FIRST: i64 = 1_788_660_000;

/// After each day the points that must be there, by the days they were made on: of the last ten days, the newest of the last four weeks, and the fulls of these.
fn expected(day: i64) -> Vec<i64> {
    let full = |of: i64| of - of % 7;
    // A week (ISO 8601) ends on a Sunday, and the days of fulls are Sundays: 0, 7, 14 …
    let weekly = (0..=day).rev().filter(|of| *of == day || of % 7 == 0).take(4);
    let mut days: Vec<i64> = (0..=day).filter(|of| day - of < 10).chain(weekly).collect();
    let bases: Vec<i64> = days.iter().map(|of| full(*of)).collect();
    days.extend(bases);
    days.sort_unstable();
    days.dedup();
    days
}

#[test]
fn fifty_days_keep_what_the_rules_say_and_all_of_it_restores() {
    let place = Place::with_store();
    let store = Store::open(&place.store()).unwrap();
    let name = SourceName::new("src").unwrap();
    let rules = KeepRules { keep_days: 10, keep_weekly: 4, ..KeepRules::default() };
    let mut day_of: BTreeMap<Number, i64> = BTreeMap::new();
    for day in 0..50 {
        fs::write(place.src().join("today"), format!("day {day}")).unwrap();
        let clock = Timestamp::new(FIRST + day * DAY, 0);
        let mode = if day % 7 == 0 { Mode::Full { independent: false } } else { Mode::Differential };
        let options = Options { mode, clock: Some(clock), keep: Some(rules.clone()), ..Options::default() };
        let subject = Subject::Tree { path: place.src(), walk: dbakfs::source::Options::default() };
        let session = Session::begin(&store, Wait::Never).unwrap();
        let done = session.back_up(&name, subject, &options, &Progress::default(), &|_| {}, &Arc::default()).unwrap();
        let Outcome::Made(made) = done.outcome else { panic!("no point on day {day}: {done:?}") };
        day_of.insert(made.point.number, day);
        drop(session);

        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        let points = Points::list(store.storage()).unwrap();
        let today = Today { now: clock.plus_secs(60), zone: TimeZone::UTC };
        let judgement = keeping::judge(&points, name.as_str(), &rules, false, &today);
        keeping::carry_out(&store, &lock, &name, &points, &judgement, &today).unwrap();
        let prune = prune::Options {
            forgotten_before: prune::Deadlines::all(today.now.plus_secs(-3 * DAY)),
            repack_below: 60,
            dry_run: false,
            sole_host: true,
            readers: ReaderWait::default(),
        };
        prune::prune(&store, &lock, &prune, &|| false, &mut |_| {}).unwrap();
        let points = Points::list(store.storage()).unwrap();
        let days: Vec<i64> = points.points.iter().map(|point| day_of[&point.number]).collect();
        assert_eq!(days, expected(day), "after day {day}");
        // Those that wait were forgotten less than three days ago.
        let waiting = points.forgotten.iter().map(|point| points.notes_of(point.number).forgotten.unwrap().secs);
        assert!(waiting.min().is_none_or(|oldest| today.now.secs - oldest < 3 * DAY), "day {day}");
    }
    let points = Points::list(store.storage()).unwrap();
    assert_eq!(points.points.len(), expected(49).len());
    for point in &points.points {
        let into = place.path(format!("restored-{}", point.number));
        place.run(["restore".into(), point.number.to_string().into(), into.clone().into_os_string()]).exits(0);
        assert_eq!(fs::read_to_string(into.join("today")).unwrap(), format!("day {}", day_of[&point.number]));
    }
}
