//! Full or differential, and why. Pure: the points of a source go in, a choice with its reason comes out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Secs, Today, Weekday};
use crate::format::{Number, Timestamp};

/// What kind of backup was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What the rules say.
    #[default]
    Auto,
    /// A full.
    Full {
        /// Share no data with anything older.
        independent: bool,
    },
    /// A differential; a full where there is none to build on.
    Differential,
}

/// Which fulls share no data with anything older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndependentFull {
    /// None.
    #[default]
    Never,
    /// Each.
    Every,
    /// The first of each month.
    Monthly,
}

/// Why a text does not say which fulls are independent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say which fulls are independent: write never, every or monthly")]
pub struct IndependentFullError(String);

impl FromStr for IndependentFull {
    type Err = IndependentFullError;

    fn from_str(text: &str) -> Result<Self, IndependentFullError> {
        match text {
            "never" => Ok(Self::Never),
            "every" => Ok(Self::Every),
            "monthly" => Ok(Self::Monthly),
            _ => Err(IndependentFullError(text.to_owned())),
        }
    }
}

/// The rules of `--auto`, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionRules {
    /// The day of the week on which a full is made, at most one each such day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_day: Option<Weekday>,
    /// A full as old as this is followed by another.
    pub max_full_age: Secs,
    /// A series of so many points, its full among them, is followed by another; 0: a series may be of any length.
    pub max_series_length: u32,
    /// A differential above so many percent of its full becomes a full.
    pub diff_threshold: u32,
    /// Which fulls share no data with anything older.
    pub independent_full: IndependentFull,
}

impl DecisionRules {
    /// Rules by which a series goes on for ever.
    #[must_use]
    pub fn lasting() -> Self {
        Self { max_full_age: Secs(u64::MAX), diff_threshold: u32::MAX, ..Self::default() }
    }
}

impl Default for DecisionRules {
    fn default() -> Self {
        Self {
            full_day: None,
            max_full_age: Secs::days(7),
            max_series_length: 0,
            diff_threshold: 50,
            independent_full: IndependentFull::Never,
        }
    }
}

/// What kind of backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A full.
    Full {
        /// It begins a family of packs of its own.
        independent: bool,
    },
    /// A differential on this full.
    Differential {
        /// The base.
        base: Number,
    },
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for.
    Asked,
    /// The day of the week for fulls has come, and there is none of this day.
    FullDay(Weekday),
    /// There is no full to build on.
    NoFull,
    /// The full is this old, which is `max_full_age` or more.
    FullAge {
        /// Its age.
        age: Secs,
        /// The rule.
        most: Secs,
    },
    /// The series has reached `max_series_length`.
    SeriesLength {
        /// Its points.
        length: u32,
    },
    /// A differential would exceed `diff_threshold`.
    TooLarge {
        /// Its bytes, or those that had been counted when it was clear.
        bytes: u64,
        /// The bytes of the full.
        full_bytes: u64,
        /// The rule, in percent.
        percent: u32,
    },
    /// No rule asks for a full.
    NoneDue,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("as asked"),
            Self::FullDay(day) => write!(f, "it is {day}, and there is no full of today"),
            Self::NoFull => f.write_str("there is no full to build on"),
            Self::FullAge { age, most } => write!(f, "the full is {age} old, max_full_age is {most}"),
            Self::SeriesLength { length } => write!(f, "the series has {length} points, which is max_series_length"),
            Self::TooLarge { bytes, full_bytes, percent } => {
                write!(
                    f,
                    "a differential would hold {bytes} bytes or more, above {percent} % of the full's {full_bytes}"
                )
            }
            Self::NoneDue => f.write_str("no rule asks for a full"),
        }
    }
}

/// A choice and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is made.
    pub choice: Choice,
    /// Why.
    pub reason: Reason,
}

/// The series that a differential would go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSeries {
    /// Its full.
    pub full: Number,
    /// When that was made.
    pub full_time: Timestamp,
    /// Points that it has had, its full among them.
    pub length: u32,
    /// Bytes of the full: see [`crate::format::Counts::size_bytes`].
    pub full_bytes: u64,
}

/// What is known of a source when its backup begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The newest series whose full can be built on.
    pub series: Option<OpenSeries>,
    /// When the source last had a full, whether it can be built on or not.
    pub newest_full: Option<Timestamp>,
    /// When it last had an independent one.
    pub newest_independent: Option<Timestamp>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// The key of the rule in the configuration.
    pub rule: &'static str,
    /// Whether it asks for a full.
    pub asks: bool,
    /// Why, or why not.
    pub why: String,
}

/// Decides, but for what only reading can tell (`diff_threshold`: see [`threshold_bytes`]).
#[must_use]
pub fn decide(mode: Mode, rules: &DecisionRules, today: &Today, facts: &Facts) -> Decision {
    let due = |reason| due(rules, today, facts, reason);
    let differential = |series: &OpenSeries, reason| {
        let choice = Choice::Differential { base: series.full };
        Decision { choice, reason }
    };
    match (mode, &facts.series) {
        (Mode::Full { independent: true }, _) => {
            Decision { choice: Choice::Full { independent: true }, reason: Reason::Asked }
        }
        (Mode::Full { independent: false }, _) => due(Reason::Asked),
        (Mode::Differential, Some(series)) => differential(series, Reason::Asked),
        (Mode::Differential, None) => due(Reason::NoFull),
        (Mode::Auto, series) => {
            let is_today = |day: &Weekday| today.date(today.now).is_some_and(|date| date.weekday() == day.0);
            let has_one = facts.newest_full.is_some_and(|time| today.is_same_day(time));
            if let Some(day) = rules.full_day.filter(is_today).filter(|_| !has_one) {
                return due(Reason::FullDay(day));
            }
            let Some(series) = series else { return due(Reason::NoFull) };
            let age = today.age(series.full_time);
            if age >= rules.max_full_age {
                return due(Reason::FullAge { age, most: rules.max_full_age });
            }
            if rules.max_series_length > 0 && series.length >= rules.max_series_length {
                return due(Reason::SeriesLength { length: series.length });
            }
            differential(series, Reason::NoneDue)
        }
    }
}

/// A full for this reason, independent if the rules say so.
#[must_use]
pub fn due(rules: &DecisionRules, today: &Today, facts: &Facts, reason: Reason) -> Decision {
    let independent = match rules.independent_full {
        IndependentFull::Never => false,
        IndependentFull::Every => true,
        IndependentFull::Monthly => !facts.newest_independent.is_some_and(|time| today.is_same_month(time)),
    };
    Decision { choice: Choice::Full { independent }, reason }
}

/// The most bytes that a differential may have on a full of so many, before `diff_threshold` makes it a full.
#[must_use]
pub fn threshold_bytes(rules: &DecisionRules, full_bytes: u64) -> u64 {
    let bytes = u128::from(full_bytes) * u128::from(rules.diff_threshold) / 100;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What each rule says, in the order in which they are asked. `most_bytes` is what a differential would hold at most.
#[must_use]
pub fn weigh(rules: &DecisionRules, today: &Today, facts: &Facts, most_bytes: u64) -> Vec<Weighed> {
    let weighed = |rule, asks, why| Weighed { rule, asks, why };
    let date = today.date(today.now);
    let day = match (rules.full_day, date) {
        (Some(day), Some(date)) if date.weekday() != day.0 => {
            (false, format!("{day}; today is {}", Weekday(date.weekday())))
        }
        (Some(day), _) if facts.newest_full.is_some_and(|time| today.is_same_day(time)) => {
            (false, format!("{day}, and there is a full of today"))
        }
        (Some(day), _) => (true, format!("{day}, and there is no full of today")),
        (None, _) => (false, "not set".to_owned()),
    };
    let mut all = vec![weighed("full_day", day.0, day.1)];
    let Some(series) = &facts.series else {
        all.push(weighed("full", true, "there is none to build on".to_owned()));
        return all;
    };
    all.push(weighed("full", false, format!("{} can be built on", series.full)));
    let age = today.age(series.full_time);
    let most = rules.max_full_age;
    all.push(weighed("max_full_age", age >= most, format!("{most}; the full is {age} old")));
    let (length, most) = (series.length, rules.max_series_length);
    let limit = if most == 0 { "not set".to_owned() } else { most.to_string() };
    let asks = most > 0 && length >= most;
    all.push(weighed("max_series_length", asks, format!("{limit}; the series has {length}")));
    let most = threshold_bytes(rules, series.full_bytes);
    let (percent, full) = (rules.diff_threshold, series.full_bytes);
    let why = format!("{percent} % of the full's {full} bytes; a differential would hold at most {most_bytes}");
    // More than the bound may turn out to be less when it is read.
    all.push(weighed(
        "diff_threshold",
        false,
        if most_bytes > most { format!("{why}: settled when it is read") } else { why },
    ));
    all
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// 2026-11-22, a Sunday, 02:00 in Berlin.
    const SUNDAY: i64 = 1_795_309_200;
    const DAY: i64 = 86_400;

    fn today(secs: i64) -> Today {
        Today { now: Timestamp::new(secs, 0), zone: TimeZone::get("Europe/Berlin").unwrap() }
    }

    fn series(age_secs: i64, length: u32) -> Facts {
        let full_time = Timestamp::new(SUNDAY - age_secs, 0);
        let series = OpenSeries { full: Number(4), full_time, length, full_bytes: 1_000 };
        Facts { series: Some(series), newest_full: Some(full_time), newest_independent: None }
    }

    fn rules() -> DecisionRules {
        DecisionRules { max_series_length: 7, ..DecisionRules::default() }
    }

    fn auto(rules: &DecisionRules, secs: i64, facts: &Facts) -> Decision {
        decide(Mode::Auto, rules, &today(secs), facts)
    }

    #[test]
    fn the_first_rule_that_asks_gives_the_reason() {
        let sunday = DecisionRules { full_day: Some("Sunday".parse().unwrap()), ..rules() };
        let full = |reason| Decision { choice: Choice::Full { independent: false }, reason };
        let day = Reason::FullDay("Sunday".parse().unwrap());
        let age = Reason::FullAge { age: Secs::days(8), most: Secs::days(7) };
        let differential = Decision { choice: Choice::Differential { base: Number(4) }, reason: Reason::NoneDue };
        for (rules, facts, expected) in [
            (&rules(), Facts::default(), full(Reason::NoFull)),
            (&sunday, Facts::default(), full(day)),
            (&sunday, series(8 * DAY, 9), full(day)),
            // One of the same day is enough, however many points come that day.
            (&sunday, series(3_600, 2), differential),
            (&rules(), series(8 * DAY, 9), full(age)),
            (&rules(), series(7 * DAY, 1), full(Reason::FullAge { age: Secs::days(7), most: Secs::days(7) })),
            (&rules(), series(7 * DAY - 1, 6), differential),
            (&rules(), series(7 * DAY - 1, 7), full(Reason::SeriesLength { length: 7 })),
            (&DecisionRules::default(), series(DAY, 1_000), differential),
        ] {
            assert_eq!(auto(rules, SUNDAY, &facts), expected, "{rules:?} {facts:?}");
        }
        assert_eq!(auto(&sunday, SUNDAY + DAY, &series(DAY, 2)), differential);
    }

    #[test]
    fn a_day_begins_where_the_zone_says() {
        let sunday = DecisionRules { full_day: Some("sun".parse().unwrap()), ..DecisionRules::default() };
        // 23:30 on Saturday in Berlin, and half an hour past midnight there; both are Saturday in Greenwich.
        let (before, after) = (SUNDAY - 9_000, SUNDAY - 5_400);
        assert_eq!(auto(&sunday, before, &series(DAY, 2)).reason, Reason::NoneDue);
        assert!(matches!(auto(&sunday, after, &series(DAY, 2)).reason, Reason::FullDay(_)));
        // The hour that comes twice when summer time ends is the same day both times.
        let end_of_summer = 1_792_886_400 + 1_800;
        let facts = Facts { newest_full: Some(Timestamp::new(end_of_summer - 3_600, 0)), ..series(0, 1) };
        assert_eq!(auto(&sunday, end_of_summer, &facts).reason, Reason::NoneDue);
    }

    #[test]
    fn what_is_asked_for_is_made() {
        let today = today(SUNDAY);
        let decide = |mode, facts: &Facts| decide(mode, &rules(), &today, facts);
        let asked = |choice| Decision { choice, reason: Reason::Asked };
        let differential = Choice::Differential { base: Number(4) };
        assert_eq!(decide(Mode::Differential, &series(30 * DAY, 99)), asked(differential));
        assert_eq!(decide(Mode::Differential, &Facts::default()).reason, Reason::NoFull);
        for independent in [false, true] {
            let full = Choice::Full { independent };
            assert_eq!(decide(Mode::Full { independent }, &series(0, 1)), asked(full));
        }
    }

    #[test]
    fn fulls_are_independent_as_the_rules_say() {
        let with = |independent_full, newest_independent| {
            let rules = DecisionRules { independent_full, ..rules() };
            let facts = Facts { newest_independent, ..series(8 * DAY, 1) };
            auto(&rules, SUNDAY, &facts).choice == Choice::Full { independent: true }
        };
        let month_ago = Some(Timestamp::new(SUNDAY - 23 * DAY, 0));
        let this_month = Some(Timestamp::new(SUNDAY - 20 * DAY, 0));
        assert!(!with(IndependentFull::Never, None));
        assert!(with(IndependentFull::Every, this_month));
        assert!(with(IndependentFull::Monthly, None) && with(IndependentFull::Monthly, month_ago));
        assert!(!with(IndependentFull::Monthly, this_month));
    }

    #[test]
    fn the_bound_of_a_differential_is_a_percentage_of_its_full() {
        let rules = DecisionRules::default();
        assert_eq!((threshold_bytes(&rules, 1_001), threshold_bytes(&rules, 0)), (500, 0));
        assert_eq!(threshold_bytes(&DecisionRules::lasting(), u64::MAX), u64::MAX);
    }

    #[test]
    fn every_rule_is_weighed_in_order_and_asks_as_it_decides() {
        let sunday = DecisionRules { full_day: Some("Sunday".parse().unwrap()), ..rules() };
        for facts in [Facts::default(), series(3_600, 2), series(DAY, 7), series(8 * DAY, 1)] {
            for rules in [&rules(), &sunday] {
                let weighed = weigh(rules, &today(SUNDAY), &facts, 501);
                let is_full = matches!(auto(rules, SUNDAY, &facts).choice, Choice::Full { .. });
                assert_eq!(weighed.iter().any(|rule| rule.asks), is_full, "{weighed:?}");
            }
        }
        let weighed = weigh(&sunday, &today(SUNDAY), &series(3_600, 2), 501);
        let rules: Vec<_> = weighed.iter().map(|rule| rule.rule).collect();
        assert_eq!(rules, ["full_day", "full", "max_full_age", "max_series_length", "diff_threshold"]);
        assert!(weighed[4].why.contains("settled when it is read"), "{weighed:?}");
    }
}
