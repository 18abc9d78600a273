//! The judgement: which rule keeps a point, and what goes where a collection is full.
//!
//! Each series goes by the rules that it began with. So for each set of rules all points of the source are judged as if it held for all of them, which is what "the
//! last seven" means, and of that judgement the series takes what is said of its own points.

use std::collections::{BTreeMap, BTreeSet};

use super::KeepRules;
use super::verdict::{Candidate, Forget, Judged, Judgement, Keep, Period, Verdict, Warning};
use crate::format::{Number, Origin, Timestamp};
use crate::policy::Secs;
use crate::policy::Today;

/// Judges the living points of a source. `began` has, by their fulls, the rules that series began with; a series that is not in it goes by `current`.
#[must_use]
pub fn judge(
    points: &[Candidate],
    began: &BTreeMap<Number, KeepRules>,
    current: &KeepRules,
    today: &Today,
) -> Judgement {
    let mut points: Vec<Candidate> = points.to_vec();
    points.sort_unstable_by_key(|point| point.number);
    let (rotation, promoted): (Vec<Candidate>, Vec<Candidate>) =
        points.iter().partition(|point| point.origin != Origin::Promotion);
    let mut by_rules: Vec<(&KeepRules, Verdicts)> = Vec::new();
    for rules in began.values().chain([current]) {
        if by_rules.iter().all(|(judged, _)| *judged != rules) {
            by_rules.push((rules, by_one_set(&rotation, rules, today)));
        }
    }
    let mut verdicts: Verdicts = promoted
        .iter()
        .map(|point| (point.number, Verdict::Keep(point.hold.map_or(Keep::Promoted, Keep::Held))))
        .collect();
    for point in &rotation {
        let rules = began.get(&point.series()).unwrap_or(current);
        let judged =
            by_rules.iter().find(|(set, _)| *set == rules).and_then(|(_, verdicts)| verdicts.get(&point.number));
        verdicts.insert(point.number, *judged.expect("each set of rules has judged each point"));
    }
    name_bases(&points, &mut verdicts);
    let judged: Vec<Judged> = points
        .iter()
        .map(|point| Judged {
            point: *point,
            verdict: verdicts[&point.number],
            is_by_old_rules: point.origin != Origin::Promotion
                && began.get(&point.series()).is_some_and(|rules| rules != current),
        })
        .collect();
    let warnings = warnings(&judged, current);
    Judgement { judged, warnings }
}

type Verdicts = BTreeMap<Number, Verdict>;

/// Judges all points by one set of rules.
fn by_one_set(points: &[Candidate], rules: &KeepRules, today: &Today) -> Verdicts {
    let mut newest_first: Vec<&Candidate> = points.iter().collect();
    newest_first.sort_unstable_by_key(|point| std::cmp::Reverse((point.time, point.number)));
    let mut kept: BTreeMap<Number, Keep> = BTreeMap::new();
    let mut keep = |point: &Candidate, why: Keep| _ = kept.entry(point.number).or_insert(why);
    for point in points {
        if let Some(hold) = point.hold {
            keep(point, Keep::Held(hold));
        }
    }
    for point in newest_first.iter().take(rules.keep_last as usize) {
        keep(point, Keep::Last(rules.keep_last));
    }
    for period in Period::ALL {
        let most = rules.newest_of(period);
        let mut seen: BTreeSet<Option<(i16, i8, i8)>> = BTreeSet::new();
        for point in &newest_first {
            let one = one_of(period, point.time, today);
            if seen.len() < most as usize && seen.insert(one) {
                keep(point, Keep::Newest(period, most));
            }
        }
    }
    let span = Secs::days(u64::from(rules.keep_days)).signed();
    // Points made in quick succession have times ahead of the clock: 0 days keep not even those.
    let is_young = |point: &&Candidate| span > 0 && today.now.secs.saturating_sub(point.time.secs) < span;
    for point in points.iter().filter(is_young) {
        keep(point, Keep::Days(rules.keep_days));
    }
    if let Some(newest) = newest_first.first() {
        keep(newest, Keep::NewestOfAll);
    }
    // Whatever an archive or a clock says of its time: what was backed up last never goes.
    if let Some(newest) = points.iter().filter(|point| point.origin == Origin::Backup).max_by_key(|point| point.number)
    {
        keep(newest, Keep::NewestOfAll);
    }
    let bases: BTreeMap<Number, Number> = points
        .iter()
        .filter(|point| kept.contains_key(&point.number))
        .filter_map(|point| Some((point.base?, point.number)))
        .collect();
    for (base, differential) in bases {
        kept.entry(base).or_insert(Keep::BaseOf(differential));
    }
    let gone = bound(points, &kept, rules);
    let verdict = |point: &Candidate| match (kept.get(&point.number), gone.get(&point.number)) {
        (Some(keep), _) => Verdict::Keep(*keep),
        (None, Some(forget)) => Verdict::Forget(*forget),
        (None, None) => Verdict::Keep(Keep::Room(rules.max_series)),
    };
    points.iter().map(|point| (point.number, verdict(point))).collect()
}

/// What goes of the points that no rule keeps: all, or, with `max_series`, what is beyond it.
fn bound(points: &[Candidate], kept: &BTreeMap<Number, Keep>, rules: &KeepRules) -> BTreeMap<Number, Forget> {
    let is_loose = |point: &&Candidate| !kept.contains_key(&point.number);
    if rules.max_series == 0 {
        return points.iter().filter(is_loose).map(|point| (point.number, Forget::NoRule)).collect();
    }
    let mut gone = BTreeMap::new();
    let series = oldest_first(points);
    // Only a series of which nothing is kept makes room for another. What is loose in older ones goes before it, but nothing goes in vain.
    let surplus = series.len().saturating_sub(rules.max_series as usize);
    let wholly_loose = series.iter().enumerate().filter(|(_, series)| series.iter().all(is_loose));
    if let Some((last, _)) = wholly_loose.take(surplus).last() {
        for point in series[..=last].iter().flatten().copied().filter(is_loose) {
            gone.insert(point.number, Forget::Series(rules.max_series));
        }
    }
    if let Some(most) = rules.max_points() {
        let left = (points.len() - gone.len()) as u64;
        let surplus = usize::try_from(left.saturating_sub(most)).unwrap_or(usize::MAX);
        let there: Vec<Number> = series
            .iter()
            .flatten()
            .copied()
            .filter(is_loose)
            .map(|point| point.number)
            .filter(|number| !gone.contains_key(number))
            .take(surplus)
            .collect();
        gone.extend(there.into_iter().map(|number| (number, Forget::Points(most))));
    }
    gone
}

/// The series, the oldest first, and of each its points in the order in which they go: the oldest differential first, the full last.
fn oldest_first(points: &[Candidate]) -> Vec<Vec<&Candidate>> {
    let mut series: BTreeMap<Number, Vec<&Candidate>> = BTreeMap::new();
    for point in points {
        series.entry(point.series()).or_default().push(point);
    }
    let mut series: Vec<Vec<&Candidate>> = series.into_values().collect();
    for points in &mut series {
        points.sort_unstable_by_key(|point| (point.base.is_none(), point.time, point.number));
    }
    series.sort_by_cached_key(|points| points.iter().map(|point| (point.time, point.number)).min());
    series
}

/// A full on which differentials stand that stay is kept for them, whatever else would keep it.
fn name_bases(points: &[Candidate], verdicts: &mut Verdicts) {
    for point in points {
        let Some(base) = point.base.filter(|_| verdicts[&point.number].keeps()) else { continue };
        match verdicts.get_mut(&base) {
            None | Some(Verdict::Keep(Keep::Held(_) | Keep::Promoted)) => {}
            Some(verdict) => *verdict = Verdict::Keep(Keep::BaseOf(point.number)),
        }
    }
}

/// The day, week, month or year of a moment; all that no calendar reaches are one.
fn one_of(period: Period, time: Timestamp, today: &Today) -> Option<(i16, i8, i8)> {
    let date = today.date(time)?;
    Some(match period {
        Period::Day => (date.year(), date.month(), date.day()),
        Period::Week => {
            let week = date.iso_week_date();
            (week.year(), week.week(), 0)
        }
        Period::Month => (date.year(), date.month(), 0),
        Period::Year => (date.year(), 0, 0),
    })
}

fn warnings(judged: &[Judged], rules: &KeepRules) -> Vec<Warning> {
    let stay = || {
        let in_rotation = |judged: &&Judged| judged.point.origin != Origin::Promotion && judged.verdict.keeps();
        judged.iter().filter(in_rotation).map(|judged| judged.point)
    };
    let mut warnings = Vec::new();
    let series = stay().map(|point| point.series()).collect::<BTreeSet<_>>().len() as u64;
    if rules.max_series > 0 && series > u64::from(rules.max_series) {
        warnings.push(Warning::Series { stay: series, most: rules.max_series });
    }
    let points = stay().count() as u64;
    if let Some(most) = rules.max_points().filter(|most| points > *most) {
        warnings.push(Warning::Points { stay: points, most });
    }
    warnings
}

impl KeepRules {
    const fn newest_of(&self, period: Period) -> u32 {
        match period {
            Period::Day => self.keep_daily,
            Period::Week => self.keep_weekly,
            Period::Month => self.keep_monthly,
            Period::Year => self.keep_yearly,
        }
    }
}
