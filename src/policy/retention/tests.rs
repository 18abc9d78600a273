//! Each rule by itself, the edges of the calendar, and what must hold whatever the rules and the points.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::format::{Number, Origin, Timestamp};
use crate::policy::Today;

const NONE: KeepRules = KeepRules {
    keep_days: 0,
    keep_last: 0,
    keep_daily: 0,
    keep_weekly: 0,
    keep_monthly: 0,
    keep_yearly: 0,
    max_series: 0,
    max_series_length: 0,
};

fn at(text: &str) -> Timestamp {
    Timestamp::new(text.parse::<jiff::Timestamp>().unwrap().as_second(), 0)
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn today(now: &str, zone_name: &str) -> Today {
    Today { now: at(now), zone: zone(zone_name) }
}

fn point(number: u32, base: u32, time: Timestamp) -> Candidate {
    let base = (base > 0).then_some(Number(base));
    Candidate { number: Number(number), time, base, origin: Origin::Backup, hold: None }
}

/// Points of such times, each a full.
fn fulls(times: &[&str]) -> Vec<Candidate> {
    (1..).zip(times).map(|(number, time)| point(number, 0, at(time))).collect()
}

/// One point a day at 02:00 from 2026-09-01 on, each seventh a full.
fn weeks(days: u32) -> Vec<Candidate> {
    let first = at("2026-09-01T02:00:00Z");
    let of_day = |day: u32| {
        let base = if day.is_multiple_of(7) { 0 } else { day - day % 7 + 1 };
        point(day + 1, base, first.plus_secs(i64::from(day) * 86_400))
    };
    (0..days).map(of_day).collect()
}

fn by(points: &[Candidate], rules: &KeepRules, today: &Today) -> Judgement {
    judge(points, &BTreeMap::new(), rules, today)
}

fn kept(judgement: &Judgement) -> Vec<u32> {
    judgement.judged.iter().filter(|judged| judged.verdict.keeps()).map(|judged| judged.point.number.0).collect()
}

fn verdict(judgement: &Judgement, number: u32) -> Verdict {
    judgement.judged.iter().find(|judged| judged.point.number.0 == number).unwrap().verdict
}

#[test]
fn with_no_rule_at_all_the_newest_point_and_its_full_stay() {
    let judgement = by(&weeks(10), &NONE, &today("2027-09-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), [8, 10]);
    assert_eq!(verdict(&judgement, 10).to_string(), "it is the newest of the source, which never goes");
    assert_eq!(verdict(&judgement, 8).to_string(), "differential 10, which stays, stands on it");
    assert_eq!(verdict(&judgement, 3).to_string(), "no rule keeps it");
    // Differentials before fulls.
    assert_eq!(judgement.forgotten().iter().map(|number| number.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 9, 1]);
    assert_eq!(by(&[], &NONE, &today("2027-09-01T00:00:00Z", "UTC")), Judgement::default());
}

#[test]
fn pins_tags_and_what_may_be_one_stay_with_their_fulls() {
    let mut points = weeks(21);
    let holds = [(3, Hold::Pinned), (10, Hold::Tagged), (8, Hold::MayBeBaseOf(Number(40))), (2, Hold::NotesUnreadable)];
    for (number, hold) in holds {
        points[number - 1].hold = Some(hold);
    }
    let judgement = by(&points, &NONE, &today("2027-09-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), [1, 2, 3, 8, 10, 15, 21]);
    let words = [(3, "it is pinned"), (10, "it has a tag"), (1, "differential 3, which stays, stands on it")];
    for (number, text) in words {
        assert_eq!(verdict(&judgement, number).to_string(), text);
    }
    assert_eq!(verdict(&judgement, 8).to_string(), "backup 40, which cannot be read, may stand on it");
}

#[test]
fn keep_days_counts_days_of_24_hours_and_what_lies_ahead_is_young() {
    let points = fulls(&["2026-03-01T02:00:00Z", "2026-03-01T02:00:01Z", "2027-01-01T00:00:00Z"]);
    let judgement = by(&points, &KeepRules { keep_days: 30, ..NONE }, &today("2026-03-31T02:00:00Z", "Europe/Berlin"));
    assert_eq!(kept(&judgement), [2, 3]);
    assert_eq!(verdict(&judgement, 2).to_string(), "it is younger than 30 days (keep_days)");
    let judgement = by(&points[..2], &NONE, &today("2026-03-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), [2], "0 days keep nothing, not even what lies ahead");
    assert_eq!(KeepRules::default().keep_days, 30);
}

#[test]
fn keep_last_counts_points_by_time_and_not_by_number() {
    // The last was imported, and is the oldest.
    let points =
        fulls(&["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2025-01-01T00:00:00Z"]);
    let mut points = points;
    points[3].origin = Origin::Import;
    let judgement = by(&points, &KeepRules { keep_last: 2, ..NONE }, &today("2026-02-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), [2, 3]);
    // What an archive or a wrong clock has dated ahead takes the place of no backup.
    points[2].origin = Origin::Import;
    points[1].origin = Origin::Import;
    let judgement = by(&points, &KeepRules { keep_last: 1, ..NONE }, &today("2026-02-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), [1, 3]);
    points[1].origin = Origin::Backup;
    points[2].origin = Origin::Backup;
    let judgement = by(&points, &KeepRules { keep_last: 2, ..NONE }, &today("2026-02-01T00:00:00Z", "UTC"));
    assert_eq!(verdict(&judgement, 2).rule(), "keep_last");
}

#[test]
fn periods_keep_the_newest_of_each_that_has_one() {
    let points = fulls(&[
        "2024-12-29T12:00:00Z", // Sunday, week 52 of 2024
        "2024-12-30T12:00:00Z", // Monday, week 1 of 2025
        "2025-01-05T10:00:00Z", // Sunday of that week
        "2025-01-05T11:00:00Z",
        "2025-03-01T00:00:00Z",
    ]);
    let now = today("2025-03-02T00:00:00Z", "UTC");
    let of = |rules: KeepRules| kept(&by(&points, &rules, &now));
    assert_eq!(of(KeepRules { keep_daily: 2, ..NONE }), [4, 5], "days without a point do not count");
    assert_eq!(of(KeepRules { keep_daily: 3, ..NONE }), [2, 4, 5]);
    assert_eq!(
        of(KeepRules { keep_weekly: 3, ..NONE }),
        [1, 4, 5],
        "the 30th of December is of the next year's first week"
    );
    assert_eq!(of(KeepRules { keep_monthly: 3, ..NONE }), [2, 4, 5]);
    assert_eq!(of(KeepRules { keep_yearly: 5, ..NONE }), [2, 5]);
    let judgement = by(&points, &KeepRules { keep_weekly: 3, ..NONE }, &now);
    assert_eq!(
        verdict(&judgement, 4).to_string(),
        "it is the newest of its week, one of the last 3 that have one (keep_weekly)"
    );
}

#[test]
fn days_are_those_of_the_zone() {
    let points = fulls(&["2026-06-01T21:30:00Z", "2026-06-01T22:30:00Z", "2026-06-02T12:00:00Z"]);
    let rules = KeepRules { keep_daily: 9, ..NONE };
    let of = |zone: &str| kept(&by(&points, &rules, &today("2026-06-03T00:00:00Z", zone)));
    assert_eq!(of("UTC"), [2, 3]);
    assert_eq!(of("Europe/Berlin"), [1, 3], "22:30 UTC is the next day there");
    assert_eq!(of("Pacific/Kiritimati"), [2, 3]);
}

#[test]
fn days_of_23_and_25_hours_are_days() {
    let rules = KeepRules { keep_daily: 9, ..NONE };
    // 00:30 and 23:30 of the day with 25 hours, which lie 24 hours apart, then 00:30 of the next.
    let long = fulls(&["2026-10-24T22:30:00Z", "2026-10-25T22:30:00Z", "2026-10-25T23:30:00Z"]);
    assert_eq!(kept(&by(&long, &rules, &today("2026-10-27T00:00:00Z", "Europe/Berlin"))), [2, 3]);
    // Both times that are 02:30 there.
    let twice = fulls(&["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    assert_eq!(kept(&by(&twice, &rules, &today("2026-10-27T00:00:00Z", "Europe/Berlin"))), [2]);
    // 23:30 of the evening before the day with 23 hours, its own 23:30, and 00:30 of the next.
    let short = fulls(&["2026-03-28T22:30:00Z", "2026-03-29T21:30:00Z", "2026-03-29T22:30:00Z"]);
    assert_eq!(kept(&by(&short, &rules, &today("2026-03-31T00:00:00Z", "Europe/Berlin"))), [1, 2, 3]);
}

#[test]
fn a_moment_that_no_calendar_reaches_harms_nothing() {
    let mut points = fulls(&["2026-01-01T00:00:00Z"]);
    points.push(point(2, 0, Timestamp::new(i64::MIN, 0)));
    points.push(point(3, 0, Timestamp::new(i64::MAX, 0)));
    let rules = KeepRules { keep_daily: 9, keep_days: u32::MAX, ..NONE };
    assert_eq!(kept(&by(&points, &rules, &today("2026-01-02T00:00:00Z", "UTC"))), [1, 3]);
}

#[test]
fn without_other_rules_max_series_keeps_the_newest_series_whole() {
    let rules = KeepRules { max_series: 2, ..NONE };
    let now = today("2027-09-01T00:00:00Z", "UTC");
    assert_eq!(kept(&by(&weeks(14), &rules, &now)), (1..=14).collect::<Vec<_>>(), "there is room");
    let judgement = by(&weeks(15), &rules, &now);
    assert_eq!(kept(&judgement), (8..=15).collect::<Vec<_>>(), "the full of a third series ends the first");
    assert!(judgement.warnings.is_empty());
    assert_eq!(verdict(&judgement, 9).to_string(), "there is room for it in 2 series (max_series)");
    assert_eq!(verdict(&judgement, 1).to_string(), "its series is beyond the 2 of max_series");
    assert_eq!(judgement.forgotten().iter().map(|number| number.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 1]);
}

#[test]
fn a_full_collection_loses_the_oldest_differential_of_the_oldest_series_first() {
    // A series of five and one of three, where two of three may be: six points.
    let mut points: Vec<Candidate> = weeks(5);
    points.extend(weeks(10).split_off(7));
    let now = today("2027-09-01T00:00:00Z", "UTC");
    let rules = |length| KeepRules { max_series: 2, max_series_length: length, ..NONE };
    let judgement = by(&points, &rules(3), &now);
    assert_eq!(kept(&judgement), [1, 4, 5, 8, 9, 10]);
    assert_eq!(verdict(&judgement, 2).to_string(), "the collection is full: 6 points (max_series × max_series_length)");
    assert!(judgement.warnings.is_empty());
    // The full counts, and goes when it is the last of its series.
    assert_eq!(kept(&by(&points, &rules(2), &now)), [1, 8, 9, 10]);
    assert_eq!(kept(&by(&points, &rules(1), &now)), [8, 10]);
}

#[test]
fn a_collection_that_is_just_full_loses_nothing_until_the_next_point_has_come() {
    let now = today("2027-09-01T00:00:00Z", "UTC");
    let rules = KeepRules { max_series: 4, max_series_length: 7, ..NONE };
    assert!(by(&weeks(28), &rules, &now).forgotten().is_empty(), "four series of seven");
    let gone: Vec<u32> = by(&weeks(29), &rules, &now).forgotten().iter().map(|number| number.0).collect();
    assert_eq!(gone, [2, 3, 4, 5, 6, 7, 1], "the full of a fifth takes the first");
    // One more differential than a series should have, made by hand: one point goes.
    let mut points = weeks(28);
    points.push(point(29, 22, at("2026-09-29T02:00:00Z")));
    assert_eq!(by(&points, &rules, &now).forgotten(), [Number(2)]);
}

#[test]
fn max_series_takes_nothing_that_another_rule_keeps_and_says_so() {
    let points = weeks(28);
    let now = today("2026-09-28T12:00:00Z", "UTC");
    let rules = KeepRules { keep_days: 30, max_series: 2, max_series_length: 7, ..NONE };
    let judgement = by(&points, &rules, &now);
    assert!(judgement.forgotten().is_empty());
    assert_eq!(judgement.warnings, [Warning::Series { stay: 4, most: 2 }, Warning::Points { stay: 28, most: 14 }]);
    assert!(judgement.warnings[0].to_string().starts_with("4 series stay, max_series is 2"));
    // A pin in the first series holds that one, so the second makes room; what is loose in the first goes before it, and nothing in vain.
    let mut points = weeks(22);
    points[2].hold = Some(Hold::Pinned);
    let judgement = by(&points, &KeepRules { max_series: 3, ..NONE }, &now);
    assert_eq!(kept(&judgement), [&[1, 3][..], &(15..=22).collect::<Vec<_>>()].concat());
    assert!(judgement.warnings.is_empty());
    // Where the bound cannot be kept, no series is hollowed out for it.
    let judgement = by(&points[14..], &KeepRules { max_series: 1, ..NONE }, &now);
    assert_eq!(kept(&judgement), [22], "the newest never goes");
    let mut two = weeks(10);
    two[0].hold = Some(Hold::Pinned);
    let judgement = by(&two, &KeepRules { max_series: 1, ..NONE }, &now);
    assert_eq!(kept(&judgement), (1..=10).collect::<Vec<_>>());
    assert_eq!(judgement.warnings, [Warning::Series { stay: 2, most: 1 }]);
}

#[test]
fn what_was_promoted_stands_outside_and_what_was_imported_does_not() {
    let mut points = weeks(15);
    points[0].origin = Origin::Import;
    points.push(Candidate { origin: Origin::Promotion, ..point(16, 0, at("2020-01-01T00:00:00Z")) });
    points.push(Candidate { origin: Origin::Promotion, ..point(17, 0, at("2026-12-01T00:00:00Z")) });
    let judgement = by(&points, &KeepRules { max_series: 2, ..NONE }, &today("2027-01-01T00:00:00Z", "UTC"));
    assert_eq!(kept(&judgement), (8..=17).collect::<Vec<_>>());
    assert!(judgement.warnings.is_empty(), "they are no series of the rotation");
    assert_eq!(verdict(&judgement, 16).to_string(), "it was promoted, and stands outside the rotation");
    assert_eq!(verdict(&judgement, 15).rule(), "newest", "a promotion does not take the place of the newest");
}

#[test]
fn a_series_goes_on_by_the_rules_that_it_began_with() {
    let points = weeks(21);
    let now = today("2026-09-21T12:00:00Z", "UTC");
    let current = KeepRules { keep_last: 1, ..NONE };
    let began = BTreeMap::from([(Number(1), KeepRules { keep_days: 30, ..NONE })]);
    let judgement = judge(&points, &began, &current, &now);
    // The first series keeps its 30 days; the second, of which nothing is noted, goes by the present rules, and the third holds the last.
    assert_eq!(kept(&judgement), [1, 2, 3, 4, 5, 6, 7, 15, 21]);
    let by_old: Vec<u32> =
        judgement.judged.iter().filter(|judged| judged.is_by_old_rules).map(|judged| judged.point.number.0).collect();
    assert_eq!(by_old, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(kept(&by(&points, &current, &now)), [15, 21], "as `--current-rules` has it");
    // Rules that are more generous now help no series that began before; that is what it was promised, no more.
    let began = BTreeMap::from([(Number(1), current)]);
    let judgement = judge(&points, &began, &KeepRules { keep_days: 30, ..NONE }, &now);
    assert_eq!(kept(&judgement), (8..=21).collect::<Vec<_>>());
}

#[test]
fn a_bound_that_is_narrowed_takes_no_series_that_began_under_a_wider_one() {
    let points = weeks(29);
    let now = today("2027-09-01T00:00:00Z", "UTC");
    let wide = KeepRules { max_series: 4, ..NONE };
    let narrow = KeepRules { max_series: 2, ..NONE };
    let began: BTreeMap<Number, KeepRules> = [1, 8, 15, 22].map(|full| (Number(full), wide.clone())).into();
    let judgement = judge(&points, &began, &narrow, &now);
    assert_eq!(kept(&judgement), (8..=29).collect::<Vec<_>>(), "the oldest goes, as it would have");
    assert_eq!(judgement.warnings, [Warning::Series { stay: 4, most: 2 }]);
}

fn any_rules() -> impl Strategy<Value = KeepRules> {
    let few = || prop_oneof![2 => Just(0_u32), 1 => 1..5_u32];
    (prop_oneof![Just(0), 0..40_u32], few(), few(), few(), few(), few(), few(), few()).prop_map(
        |(keep_days, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly, max_series, max_series_length)| {
            KeepRules {
                keep_days,
                keep_last,
                keep_daily,
                keep_weekly,
                keep_monthly,
                keep_yearly,
                max_series,
                max_series_length,
            }
        },
    )
}

/// Points of a source in the order of their numbers: some fulls, differentials on any of them, some held, imported or promoted, in any order of times.
fn any_points() -> impl Strategy<Value = Vec<Candidate>> {
    let hold = prop_oneof![9 => Just(None), 1 => Just(Some(Hold::Pinned)), 1 => Just(Some(Hold::Tagged))];
    let one = (any::<prop::sample::Index>(), prop::bool::weighted(0.3), 0..200_000_i64, hold, 0..12_u8);
    prop::collection::vec(one, 0..40).prop_map(|made| {
        let mut points: Vec<Candidate> = Vec::new();
        let mut time = at("2026-01-01T00:00:00Z");
        for (number, (on, is_full, step, hold, origin)) in (1..).zip(made) {
            time = time.plus_secs(step);
            let fulls: Vec<Number> =
                points.iter().filter(|point| point.base.is_none()).map(|point| point.number).collect();
            let base = if is_full || fulls.is_empty() { None } else { Some(*on.get(&fulls)) };
            let origin = match origin {
                0 => Origin::Import,
                1 if base.is_none() => Origin::Promotion,
                _ => Origin::Backup,
            };
            // What was imported is of any time.
            let time = if origin == Origin::Import { time.plus_secs(-step * 20) } else { time };
            points.push(Candidate { number: Number(number), time, base, origin, hold });
        }
        points
    })
}

/// The rules that keep, said once more and plainly: how many points, or periods with a point, are newer.
fn plainly_kept(points: &[Candidate], rules: &KeepRules, today: &Today) -> BTreeSet<Number> {
    let rotation: Vec<Candidate> = points.iter().copied().filter(|point| point.origin != Origin::Promotion).collect();
    let key = |point: &Candidate| (point.time, point.number);
    let date =
        |point: &Candidate| jiff::Timestamp::from_second(point.time.secs).unwrap().to_zoned(today.zone.clone()).date();
    let day = |point: &Candidate| date(point).to_string();
    let week = |point: &Candidate| date(point).strftime("%G-%V").to_string();
    let month = |point: &Candidate| date(point).strftime("%Y-%m").to_string();
    let year = |point: &Candidate| date(point).strftime("%Y").to_string();
    let newest_of = |point: &Candidate, most: u32, of: &dyn Fn(&Candidate) -> String| {
        let newer: Vec<&Candidate> = rotation.iter().filter(|other| key(other) > key(point)).collect();
        let periods: BTreeSet<String> = newer.iter().map(|other| of(other)).collect();
        !periods.contains(&of(point)) && periods.len() < most as usize
    };
    let backups = rotation.iter().filter(|point| point.origin == Origin::Backup);
    let newest_backup = backups.map(|point| point.number).max();
    let is_kept = |point: &Candidate| {
        let newer = rotation.iter().filter(|other| key(other) > key(point)).count();
        point.hold.is_some()
            || newer == 0
            || Some(point.number) == newest_backup
            || newer < rules.keep_last as usize
            || newest_of(point, rules.keep_daily, &day)
            || newest_of(point, rules.keep_weekly, &week)
            || newest_of(point, rules.keep_monthly, &month)
            || newest_of(point, rules.keep_yearly, &year)
            || rules.keep_days > 0 && today.now.secs - point.time.secs < i64::from(rules.keep_days) * 86_400
    };
    let mut kept: BTreeSet<Number> = rotation.iter().filter(|point| is_kept(point)).map(|point| point.number).collect();
    let bases = rotation.iter().filter(|point| kept.contains(&point.number)).filter_map(|point| point.base);
    kept.extend(bases.collect::<Vec<_>>());
    kept.extend(points.iter().filter(|point| point.origin == Origin::Promotion).map(|point| point.number));
    kept
}

fn set(judgement: &Judgement) -> BTreeSet<Number> {
    kept(judgement).into_iter().map(Number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_rules_no_base_no_pin_and_not_the_newest_goes(
        points in any_points(), rules in any_rules(), old in any_rules(), series in any::<u64>(), later in -2..90_i64,
    ) {
        let now = points.iter().map(|point| point.time).max().unwrap_or_default().plus_secs(later * 86_400);
        let today = Today { now, zone: zone("Europe/Berlin") };
        let began: BTreeMap<Number, KeepRules> = points
            .iter()
            .filter(|point| point.base.is_none() && series >> (point.number.0 % 64) & 1 == 1)
            .map(|point| (point.number, old.clone()))
            .collect();
        let judgement = judge(&points, &began, &rules, &today);
        let kept = set(&judgement);
        prop_assert_eq!(judgement.judged.len(), points.len());
        for point in &points {
            let stays = kept.contains(&point.number);
            prop_assert!(stays || point.hold.is_none(), "{:?} was held", point);
            prop_assert!(stays || point.origin != Origin::Promotion);
            prop_assert!(!stays || point.base.is_none_or(|base| kept.contains(&base)), "{:?} lost its full", point);
        }
        let newest = points.iter().filter(|point| point.origin != Origin::Promotion).max_by_key(|point| (point.time, point.number));
        prop_assert!(newest.is_none_or(|newest| kept.contains(&newest.number)));
        // Each prefix of the plan leaves every differential its full.
        let order = judgement.forgotten();
        let mut there: BTreeSet<Number> = points.iter().map(|point| point.number).collect();
        for number in order {
            there.remove(&number);
            for point in points.iter().filter(|point| there.contains(&point.number)) {
                prop_assert!(point.base.is_none_or(|base| there.contains(&base)), "{:?} stood on nothing", point);
            }
        }
        prop_assert_eq!(there, kept);
    }

    #[test]
    fn what_is_kept_is_what_the_plain_words_keep(points in any_points(), rules in any_rules(), later in -2..90_i64) {
        let now = points.iter().map(|point| point.time).max().unwrap_or_default().plus_secs(later * 86_400);
        let today = Today { now, zone: zone("America/St_Johns") };
        let plain = plainly_kept(&points, &rules, &today);
        let bounded = by(&points, &rules, &today);
        prop_assert!(plain.is_subset(&set(&bounded)), "a bound took what a rule keeps");
        let unbounded = KeepRules { max_series: 0, ..rules.clone() };
        prop_assert_eq!(&set(&by(&points, &unbounded, &today)), &plain);
        // More days keep more, and the same again keeps the same.
        let more = KeepRules { keep_days: rules.keep_days + 7, ..unbounded };
        prop_assert!(plain.is_subset(&set(&by(&points, &more, &today))));
        let left: Vec<Candidate> =
            points.iter().copied().filter(|point| set(&bounded).contains(&point.number)).collect();
        prop_assert!(by(&left, &rules, &today).forgotten().is_empty(), "a second look forgets more");
        prop_assert_eq!(by(&left, &rules, &today).warnings, bounded.warnings);
    }

    #[test]
    fn a_collection_is_within_its_bounds_or_only_other_rules_keep_it_above(
        points in any_points(), rules in any_rules(), bound in 1..4_u32, later in -2..90_i64,
    ) {
        let now = points.iter().map(|point| point.time).max().unwrap_or_default().plus_secs(later * 86_400);
        let today = Today { now, zone: TimeZone::UTC };
        let rules = KeepRules { max_series: bound, ..rules };
        let judgement = by(&points, &rules, &today);
        let plain = plainly_kept(&points, &rules, &today);
        let stay: Vec<Candidate> = judgement
            .judged
            .iter()
            .filter(|judged| judged.verdict.keeps() && judged.point.origin != Origin::Promotion)
            .map(|judged| judged.point)
            .collect();
        let series: BTreeSet<Number> = stay.iter().map(|point| point.series()).collect();
        let loose = |point: &&Candidate| !plain.contains(&point.number);
        let is_loose = |series: &&Number| stay.iter().filter(|point| point.series() == **series).all(|point| loose(&point));
        let warned_series = judgement.warnings.iter().any(|warning| matches!(warning, Warning::Series { .. }));
        let warned_points = judgement.warnings.iter().any(|warning| matches!(warning, Warning::Points { .. }));
        if series.len() > bound as usize {
            prop_assert!(warned_series);
            prop_assert_eq!(series.iter().filter(is_loose).count(), 0, "a series could have gone");
        } else {
            prop_assert!(!warned_series);
        }
        if rules.max_points().is_some_and(|most| stay.len() as u64 > most) {
            prop_assert!(warned_points);
            prop_assert_eq!(stay.iter().filter(loose).count(), 0, "a point could have gone");
        }
        // Nothing goes in vain: with the one that went last, there would have been too many.
        let gone = points.len() - judgement.judged.iter().filter(|judged| judged.verdict.keeps()).count();
        let all: BTreeSet<Number> =
            points.iter().filter(|point| point.origin != Origin::Promotion).map(|point| point.series()).collect();
        let rotation = points.iter().filter(|point| point.origin != Origin::Promotion).count() as u64;
        let fits = all.len() <= bound as usize && rules.max_points().is_none_or(|most| rotation <= most);
        prop_assert!(!fits || gone == 0, "there was room for all");
    }
}
