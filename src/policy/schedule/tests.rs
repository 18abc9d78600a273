//! The schedule, held against a calendar.

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::new(text.parse::<jiff::Timestamp>().unwrap().as_second(), 0)
}

fn cron(text: &str) -> When {
    When::Cron(text.parse().unwrap())
}

fn line(when: &When) -> Line<'_> {
    Line { source: "www", task: Task::Auto, when, jitter: Secs(0) }
}

fn past(begun: &[&str], since: &str) -> Past {
    Past { begun: begun.iter().map(|text| at(text)).collect(), done: Vec::new(), since: at(since) }
}

const SINCE: &str = "2026-11-01T00:00:00Z";

#[test]
fn runs_that_were_missed_are_due_once() {
    let when = cron("0 2 * * *");
    let now = at("2026-11-20T09:00:00Z");
    // Off for four nights.
    let missed = past(&["2026-11-16T02:00:05Z"], SINCE);
    assert_eq!(due(&line(&when), &missed, "", &TimeZone::UTC, now), Some(at("2026-11-17T02:00:00Z")));
    // It ran when the machine came back: nothing is left of them.
    let made_good = past(&["2026-11-16T02:00:05Z", "2026-11-20T09:00:00Z"], SINCE);
    assert_eq!(due(&line(&when), &made_good, "", &TimeZone::UTC, now), Some(at("2026-11-21T02:00:00Z")));
}

#[test]
fn source_that_was_never_backed_up_waits_for_its_time_and_not_for_ever() {
    let when = cron("0 2 * * *");
    let never = past(&[], "2026-11-20T08:00:00Z");
    let of = |now: &str| due(&line(&when), &never, "", &TimeZone::UTC, at(now)).unwrap();
    assert_eq!(of("2026-11-20T09:00:00Z"), at("2026-11-21T02:00:00Z"));
    // A machine that is off each night comes on in the morning.
    assert_eq!(of("2026-11-21T09:00:00Z"), at("2026-11-21T02:00:00Z"));
    // What should be done every six hours and never was is due now.
    let every = When::Every(Secs(21_600));
    let now = at("2026-11-20T09:00:00Z");
    assert!(due(&line(&every), &never, "", &TimeZone::UTC, now).unwrap() <= now);
}

#[test]
fn every_counts_from_the_last_beginning_and_after_from_the_end_of_another() {
    let now = at("2026-11-20T09:00:00Z");
    let every = When::Every(Secs(21_600));
    let run = past(&["2026-11-20T04:00:00Z", "2026-11-20T05:00:00Z"], SINCE);
    assert_eq!(due(&line(&every), &run, "", &TimeZone::UTC, now), Some(at("2026-11-20T11:00:00Z")));

    let after = When::After(Task::Full);
    let of = |begun: &[&str], done: &[&str]| {
        let past = Past { done: done.iter().map(|text| at(text)).collect(), ..past(begun, SINCE) };
        due(&line(&after), &past, "", &TimeZone::UTC, now)
    };
    assert_eq!(of(&[], &[]), None, "there is no full to come after");
    assert_eq!(of(&[], &["2026-11-20T04:00:00Z"]), Some(at("2026-11-20T04:00:00Z")));
    assert_eq!(of(&["2026-11-20T03:00:00Z"], &["2026-11-20T04:00:00Z"]), Some(at("2026-11-20T04:00:00Z")));
    assert_eq!(of(&["2026-11-20T04:30:00Z"], &["2026-11-20T04:00:00Z"]), None, "it came after it already");
}

#[test]
fn run_that_a_wrong_clock_dated_into_the_future_holds_nothing_up() {
    let when = cron("0 2 * * *");
    let now = at("2026-11-20T09:00:00Z");
    let wrong = past(&["2026-11-19T02:00:00Z", "2031-01-01T00:00:00Z"], SINCE);
    assert_eq!(due(&line(&when), &wrong, "", &TimeZone::UTC, now), Some(at("2026-11-20T02:00:00Z")));
    let only = past(&["2031-01-01T00:00:00Z"], "2031-01-01T00:00:00Z");
    assert_eq!(due(&line(&when), &only, "", &TimeZone::UTC, now), Some(at("2026-11-21T02:00:00Z")));
}

#[test]
fn jitter_is_bounded_differs_between_machines_and_is_the_same_when_asked_again() {
    let when = cron("0 2 * * *");
    let line = Line { jitter: Secs(600), ..line(&when) };
    let planned = at("2026-11-21T02:00:00Z").secs;
    let mut seen = std::collections::BTreeSet::new();
    for machine in 0..50 {
        let ask = |now: &str| {
            due(&line, &past(&[], "2026-11-20T08:00:00Z"), &format!("host-{machine}"), &TimeZone::UTC, at(now)).unwrap()
        };
        let one = ask("2026-11-20T09:00:00Z");
        assert_eq!(one, ask("2026-11-21T01:59:00Z"));
        assert!((planned..=planned + 600).contains(&one.secs), "{one:?}");
        seen.insert(one.secs);
    }
    assert!(seen.len() > 25, "{seen:?}");
}

#[test]
fn of_what_is_due_the_full_comes_first_and_verification_last() {
    let now = at("2026-11-20T09:00:00Z");
    let due = |source: &str, task, time: &str| Due { source: source.to_owned(), task, at: at(time) };
    let mut dues = vec![
        due("www", Task::Verify, "2026-11-20T01:00:00Z"),
        due("www", Task::Differential, "2026-11-20T02:00:00Z"),
        due("www", Task::Auto, "2026-11-20T02:00:00Z"),
        due("www", Task::Full, "2026-11-20T03:00:00Z"),
        due("db", Task::Differential, "2026-11-20T02:30:00Z"),
        due("etc", Task::Full, "2026-11-20T10:00:00Z"),
    ];
    let mut order = Vec::new();
    while let Some(next) = first(&dues, now).cloned() {
        order.push((next.source.clone(), next.task));
        dues.retain(|due| *due != next);
    }
    let named: Vec<_> = order.iter().map(|(source, task)| format!("{source} {task}")).collect();
    // In truth the full serves for the differential of its source: then that is not due any more.
    assert_eq!(named, ["www full", "www auto", "www differential", "db differential", "www verify"]);
    assert_eq!(next(&dues), Some(at("2026-11-20T10:00:00Z")));
}
