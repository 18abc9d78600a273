//! Full or differential, and why. Pure: the points of a source go in, a choice with its reason comes out.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Secs, Weekday};
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
}

/// When something is decided.
#[derive(Clone, Debug)]
pub struct Today {
    /// The moment.
    pub now: Timestamp,
    /// Where days begin.
    pub zone: TimeZone,
}

impl Today {
    /// The day of a moment; none where the calendar ends before it.
    pub(super) fn date(&self, time: Timestamp) -> Option<jiff::civil::Date> {
        let moment = jiff::Timestamp::from_second(time.secs).ok()?;
        Some(moment.to_zoned(self.zone.clone()).date())
    }

    /// Whether `time` lies on the day of `now`.
    fn is_same_day(&self, time: Timestamp) -> bool {
        self.date(time).is_some_and(|date| Some(date) == self.date(self.now))
    }

    fn is_same_month(&self, time: Timestamp) -> bool {
        let month = |time| self.date(time).map(|date| (date.year(), date.month()));
        month(time).is_some_and(|at| Some(at) == month(self.now))
    }
}

/// Decides, but for what only reading can tell (`diff_threshold`: see [`threshold_bytes`]). `series` is the newest whose full can be built on,
/// `newest_full` when the source last had a full of any kind, `newest_independent` when it last had an independent one.
#[must_use]
pub fn decide(
    mode: Mode,
    rules: &DecisionRules,
    today: &Today,
    series: Option<&OpenSeries>,
    newest_full: Option<Timestamp>,
    newest_independent: Option<Timestamp>,
) -> Decision {
    let due = |reason| {
        let independent = match rules.independent_full {
            IndependentFull::Never => false,
            IndependentFull::Every => true,
            IndependentFull::Monthly => !newest_independent.is_some_and(|time| today.is_same_month(time)),
        };
        Decision { choice: Choice::Full { independent }, reason }
    };
    let differential = |series: &OpenSeries, reason| {
        let choice = Choice::Differential { base: series.full };
        Decision { choice, reason }
    };
    match (mode, series) {
        (Mode::Full { independent: true }, _) => {
            Decision { choice: Choice::Full { independent: true }, reason: Reason::Asked }
        }
        (Mode::Full { independent: false }, _) => due(Reason::Asked),
        (Mode::Differential, Some(series)) => differential(series, Reason::Asked),
        (Mode::Differential, None) => due(Reason::NoFull),
        (Mode::Auto, series) => {
            let is_today = |day: &Weekday| today.date(today.now).is_some_and(|date| date.weekday() == day.0);
            let has_one = newest_full.is_some_and(|time| today.is_same_day(time));
            if let Some(day) = rules.full_day.filter(is_today).filter(|_| !has_one) {
                return due(Reason::FullDay(day));
            }
            let Some(series) = series else { return due(Reason::NoFull) };
            let age = Secs(u64::try_from(today.now.secs.saturating_sub(series.full_time.secs)).unwrap_or(0));
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

/// The most bytes that a differential may have on a full of so many, before `diff_threshold` makes it a full.
#[must_use]
pub fn threshold_bytes(rules: &DecisionRules, full_bytes: u64) -> u64 {
    let bytes = u128::from(full_bytes) * u128::from(rules.diff_threshold) / 100;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
